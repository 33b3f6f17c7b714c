"""Stamps only ever go on, whatever the clock does."""

from hypothesis import given
from hypothesis import strategies as st

from tunnel.wire.tai64n import NO_STAMP, STAMP_SIZE, next_stamp, pack_stamp

STEP = 1 << 24
MOMENTS = st.integers(-(10**9), 2**62)
CLOCK = st.lists(MOMENTS | st.integers(0, 2 * STEP) | st.integers(999_000_000, 1_001_000_000), max_size=30)


def is_valid(stamp: bytes) -> bool:
    nanoseconds = int.from_bytes(stamp[8:], "big")
    return len(stamp) == STAMP_SIZE and nanoseconds < 10**9 and nanoseconds % STEP == 0


@given(earlier=MOMENTS, later=MOMENTS)
def test_stamps_are_ordered_as_their_moments_are(earlier: int, later: int) -> None:
    earlier, later = sorted((earlier, later))
    assert pack_stamp(earlier) <= pack_stamp(later)


@given(moment=MOMENTS)
def test_a_stamp_is_less_than_a_step_before_its_moment(moment: int) -> None:
    stamp = pack_stamp(moment)
    label, nanoseconds = int.from_bytes(stamp[:8], "big"), int.from_bytes(stamp[8:], "big")
    assert 0 <= moment - ((label - 2**62 - 10) * 10**9 + nanoseconds) < STEP
    assert is_valid(stamp)


@given(clock=CLOCK)
def test_stamps_strictly_increase_over_any_clock(clock: list[int]) -> None:
    previous = NO_STAMP
    for moment in clock:
        stamp = next_stamp(previous, moment)
        assert stamp > previous
        assert stamp >= pack_stamp(moment)
        assert is_valid(stamp)
        previous = stamp


@given(moment=MOMENTS, low=st.integers(0, STEP - 1), clock=MOMENTS)
def test_a_previous_stamp_with_low_bits_is_passed_too(moment: int, low: int, clock: int) -> None:
    """Someone else's stamp, or one of ours with a tag in those bits."""
    packed = pack_stamp(moment)
    previous = packed[:8] + min(int.from_bytes(packed[8:], "big") | low, 999_999_999).to_bytes(4, "big")
    stamp = next_stamp(previous, clock)
    assert stamp > previous
    assert is_valid(stamp)

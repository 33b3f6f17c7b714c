from typing import Any

import pytest

from tests.vectors import load
from tunnel.wire.tai64n import NO_STAMP, next_stamp, pack_stamp

TABLE: dict[str, Any] = load("tables")["tai64n"]
STEP = 1 << 24


def test_the_epoch_is_ten_seconds_after_two_to_the_62() -> None:
    assert pack_stamp(0).hex() == "400000000000000a00000000"


def test_a_stamp_is_twelve_bytes_in_big_endian() -> None:
    assert pack_stamp(0x01020304 * 10**9 + 0x15000000).hex() == "400000000102030e15000000"


def test_the_low_24_bits_of_the_nanoseconds_are_zero() -> None:
    assert pack_stamp(999_999_999).hex() == "400000000000000a3b000000"


def test_a_moment_before_1970_is_earlier() -> None:
    assert pack_stamp(-1) == bytes.fromhex("40000000000000093b000000") < pack_stamp(0)


@pytest.mark.parametrize("case", TABLE["cases"])
def test_stamps_advance_in_steps_as_others_do(case: dict[str, Any]) -> None:
    start: int = TABLE["start_unix_ns"]
    is_after = pack_stamp(start + case["add_ns"]) > pack_stamp(start)
    assert is_after == case["later_stamp_is_after"]


def test_the_next_stamp_is_that_of_the_clock_if_it_went_on() -> None:
    assert next_stamp(pack_stamp(10**9), 2 * 10**9) == pack_stamp(2 * 10**9)


def test_the_first_stamp_is_that_of_the_clock() -> None:
    assert next_stamp(NO_STAMP, 10**9) == pack_stamp(10**9)


def test_the_next_stamp_within_a_step_is_one_step_later() -> None:
    assert next_stamp(pack_stamp(STEP), STEP + 1) == pack_stamp(2 * STEP)


def test_the_next_stamp_is_later_although_the_clock_went_back() -> None:
    assert next_stamp(pack_stamp(10**18), 0) == pack_stamp(10**18 + STEP)


def test_the_last_step_of_a_second_is_followed_by_the_next_second() -> None:
    assert next_stamp(pack_stamp(999_999_999), 0) == pack_stamp(10**9)


def test_a_previous_stamp_with_low_bits_is_passed_by_the_next_step() -> None:
    previous = pack_stamp(5 * STEP)[:-3] + b"\xff\xff\xff"
    assert next_stamp(previous, 5 * STEP) == pack_stamp(6 * STEP)

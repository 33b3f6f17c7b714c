"""Invariant: any frame and any packets are worked on without an exception, and only within the buffers that were given.

A superpacket that is not what its virtio header says is refused with a reason, and then nothing was written.
"""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.budget import examples
from tests.properties.superpackets import Superpacket, superpackets
from tests.properties.trains import bursts
from tunnel.offload.coalesce import Coalescer
from tunnel.offload.flow import Refusal
from tunnel.offload.segment import Segmenter, complete_checksum
from tunnel.wire.messages import Buffer
from tunnel.wire.train import MAX_TRAIN_BYTES, MAX_TRAIN_COUNT, Train

FENCE = b"\xc3" * 64
SIZES = st.sampled_from([0, 31, 100, 1500, 5000, 60000])


class Fenced:
    """A buffer of its own between two fences."""

    def __init__(self, content: bytes) -> None:
        self._memory = bytearray(FENCE + content + FENCE)
        self.view = memoryview(self._memory)[len(FENCE) : len(FENCE) + len(content)]

    def is_intact(self) -> bool:
        return self._memory.startswith(FENCE) and self._memory.endswith(FENCE)


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """Superpackets with a few bytes changed, mostly in the headers, or cut short; or garbage."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=150))
    superpacket: Superpacket = draw(superpackets(max_count=5))
    frame = bytearray(superpacket.frame())
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, min(len(frame), 10 + superpacket.flow.header) - 1))
        frame[place] = draw(st.sampled_from([0, 1, 4, 5, 0x60, 0x45, 255]) | st.integers(0, 255))
    return bytes(frame[: draw(st.integers(0, len(frame)))] if draw(st.booleans()) else frame)


@given(content=frames(), size=SIZES, mtu=st.sampled_from([0, 1, 576, 1280, 1420, 65535]))
@settings(max_examples=examples(500))
def test_any_frame_is_cut_within_the_arena_or_refused(content: bytes, size: int, mtu: int) -> None:
    frame, arena = Fenced(content), Fenced(bytes(size))
    segmenter = Segmenter()
    for _ in range(2):
        trains = segmenter.segment(frame.view, arena.view, mtu)
        assert frame.is_intact()
        assert frame.view == content
        assert arena.is_intact()
        if isinstance(trains, Refusal):
            assert not any(arena.view)
        else:
            start = 0
            for outbound in trains:
                train = outbound.train
                assert train.buffer == arena.view[start : start + len(train.buffer)]
                assert 1 <= train.count <= MAX_TRAIN_COUNT
                assert len(train.buffer) == (train.count - 1) * train.size + train.last <= MAX_TRAIN_BYTES
                assert 32 + outbound.last_packet_length <= train.last <= train.size
                start += len(train.buffer)


@given(content=frames())
def test_any_frame_gets_its_checksum_or_is_left_alone(content: bytes) -> None:
    frame = Fenced(content)
    if not complete_checksum(frame.view):
        assert frame.view == content
    assert frame.is_intact()
    assert sum(one != other for one, other in zip(frame.view, content, strict=True)) <= 2


@st.composite
def opened_trains(draw: st.DrawFn) -> list[tuple[Fenced, Train]]:
    """Garbage, or packets with damage, laid out in equal spaces that may be too short for them."""
    trains = []
    for _ in range(draw(st.integers(1, 3))):
        packets: Sequence[bytes] = draw(bursts() | st.lists(st.binary(max_size=90), min_size=1, max_size=80))
        size = draw(st.sampled_from([1, 16, 31, 32, 33, 64, 100, 150, 176]))
        last = draw(st.integers(1, size) | st.just(size))
        spaces = b"".join((bytes(16) + packet).ljust(size, b"\x07")[:size] for packet in packets)
        buffer = Fenced(spaces[: (len(packets) - 1) * size + last])
        trains.append((buffer, Train(buffer.view, len(packets), size, last)))
    return trains


@given(trains=opened_trains())
@settings(max_examples=examples(500))
def test_any_packets_become_frames_and_their_buffers_stay_as_they_are(trains: list[tuple[Fenced, Train]]) -> None:
    before = [bytes(buffer.view) for buffer, _ in trains]
    coalescer = Coalescer()
    for _ in range(2):
        written = coalescer.coalesce([train for _, train in trains])
        assert [bytes(buffer.view) for buffer, _ in trains] == before
        assert all(buffer.is_intact() for buffer, _ in trains)
        for frame in written:
            check_frame(frame)


def check_frame(frame: Sequence[Buffer]) -> None:
    """It is within the limits of a TUN, and if a superpacket, one that we would cut ourselves."""
    whole = memoryview(bytearray(b"".join(frame)))
    assert 10 < len(whole) <= 10 + 65535
    if any(whole[:10]):
        assert isinstance(Segmenter().segment(whole, memoryview(bytearray(1 << 17)), 1420), list)

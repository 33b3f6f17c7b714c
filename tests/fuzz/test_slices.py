"""Invariant: whatever bytes and headers a train holds, nothing raises, and each frame that comes out is right.

Its virtio header lies inside its packet and describes it, all lengths in it are consistent, and a kernel cuts it. What
is in no frame is counted, and the train stays as it is.
"""

import struct
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.budget import examples
from tests.fuzz.test_offload import SIZES, Fenced, frames
from tests.properties.slices import EXTENDED_DATA, LAST, PARTIAL, SLICE, lay_out_slices, slices_of
from tests.properties.superpackets import Superpacket, superpackets, word_sum
from tests.properties.trains import bursts
from tunnel.offload.coalesce import Coalescer
from tunnel.offload.flow import Refusal, parse_layout
from tunnel.offload.segment import Segmenter
from tunnel.offload.slices import Rebuilder, Slicer
from tunnel.wire.messages import Buffer
from tunnel.wire.train import MAX_TRAIN_BYTES, MAX_TRAIN_COUNT, Train

Arrived = tuple[Fenced, Train]

ODD_BYTES = st.sampled_from([0, 1, 2, 4, 5, 0x60, 0x45, 0x20, 255]) | st.integers(0, 255)


@st.composite
def slice_trains(draw: st.DrawFn) -> Arrived:
    """Slices of a few superpackets one behind the other with bytes changed, mostly in headers, and other segments."""
    superpacket: Superpacket = draw(superpackets(max_count=6).filter(lambda each: len(each.payload) > 0))
    slices = slices_of(superpacket) * draw(st.integers(1, 3))
    slices = [each for each in slices if draw(st.integers(0, 9))]
    size = max((len(each.content) for each in slices), default=0)
    even = [each._replace(content=each.content.ljust(size, b"\x07")) for each in slices]
    even[-1:] = slices[-1:]
    segment = draw(st.just(superpacket.segment) | st.sampled_from([0, 1, 65535]) | st.integers(0, 65535))
    train = lay_out_slices(even or slices_of(superpacket)[:1], segment)
    for _ in range(draw(st.integers(0, 4))):
        row = draw(st.integers(0, train.count - 1)) * train.size
        place = row + draw(st.integers(0, superpacket.flow.header + 16))
        if place < len(train.buffer):
            train.buffer[place] = draw(ODD_BYTES)
    fenced = Fenced(bytes(train.buffer))
    return fenced, Train(fenced.view, train.count, train.size, train.last)


@st.composite
def any_trains(draw: st.DrawFn, flags: int) -> Arrived:
    """Packets, garbage, or headers that go on and on, in equal spaces that may be too short for them."""
    contents: Sequence[bytes] = draw(bursts() | st.lists(st.binary(max_size=90), min_size=1, max_size=70))
    size = draw(st.sampled_from([1, 2, 16, 31, 32, 33, 52, 64, 100, 150, 176]))
    last = draw(st.integers(1, size) | st.just(size))
    segment = draw(st.sampled_from([1, 33, 100]) | st.integers(0, 65535))
    rows = []
    for content in contents:
        flag = flags | (draw(st.sampled_from([0, 0, 0, LAST])) if flags & SLICE else 0)
        rows.append(
            (struct.pack("<BBH", EXTENDED_DATA, flag, segment) + bytes(12) + content).ljust(size, b"\x07")[:size]
        )
    fenced = Fenced(b"".join(rows)[: (len(rows) - 1) * size + last])
    return fenced, Train(fenced.view, len(rows), size, last)


def check(frame: Sequence[Buffer]) -> None:
    whole = b"".join(frame)
    flags, gso_type, header_length, gso_size, start, offset = struct.unpack_from("<BBHHHH", whole)
    packet = whole[10:]
    layout = parse_layout(memoryview(packet))  # with all lengths
    assert not isinstance(layout, Refusal)
    assert len(packet) <= 65535
    assert flags == 1
    assert (start, start + offset) == (layout.transport, layout.checksum_field)
    assert start + offset + 2 <= layout.payload <= len(packet)
    if gso_type:
        assert layout.payload == header_length
        assert gso_size < len(packet) - layout.payload <= 64 * gso_size
        assert isinstance(Segmenter().segment(memoryview(bytearray(whole)), memoryview(bytearray(1 << 18)), 1420), list)
    else:
        assert header_length == gso_size == 0


@given(arrived=slice_trains() | any_trains(SLICE))
@settings(max_examples=examples(250))
def test_any_slices_become_right_frames_or_are_counted(arrived: Arrived) -> None:
    fenced, train = arrived
    before = bytes(fenced.view)
    rebuilder = Rebuilder()
    for round_number in (1, 2):  # with a new table, then with the kept one
        written = rebuilder.rebuild(train)
        for frame in written:
            check(frame)
            if frame[0][10] >> 4 == 4:
                assert word_sum(bytes(frame[0][10 : 10 + (frame[0][10] & 15) * 4])) == 0xFFFF
        in_frames = sum(len(frame) - 1 for frame in written)
        assert rebuilder.malformed == round_number * (train.count - in_frames)
        assert fenced.view == before
        assert fenced.is_intact()


@given(arrived=any_trains(PARTIAL))
@settings(max_examples=examples(250))
def test_any_packets_with_partial_checksums_become_right_frames_or_are_counted(arrived: Arrived) -> None:
    fenced, train = arrived
    before = bytes(fenced.view)
    coalescer = Coalescer()
    written = coalescer.coalesce([train])
    for frame in written:
        check(frame)
    if len(train.buffer) > 1:  # else there are no flags
        assert coalescer.malformed == train.count - sum(len(frame) - 1 for frame in written)
    assert fenced.view == before


@given(content=frames(), size=SIZES)
@settings(max_examples=examples(250))
def test_any_frame_is_sliced_within_the_arena_or_refused(content: bytes, size: int) -> None:
    frame, arena = Fenced(content), Fenced(bytes(size))
    trains = Slicer().slice(frame.view, arena.view)
    assert frame.is_intact()
    assert frame.view == content
    assert arena.is_intact()
    if isinstance(trains, Refusal):
        assert not any(arena.view)
        return
    for outbound in trains:
        train = outbound.train
        assert 1 <= train.count <= MAX_TRAIN_COUNT
        assert len(train.buffer) == (train.count - 1) * train.size + train.last <= MAX_TRAIN_BYTES
        assert train.last == 32 + outbound.last_packet_length


@given(content=frames())
@settings(max_examples=examples(250))
def test_whatever_is_sliced_is_rebuilt(content: bytes) -> None:
    trains = Slicer().slice(memoryview(bytearray(content)), memoryview(bytearray(1 << 18)))
    if isinstance(trains, Refusal):
        return
    rebuilder = Rebuilder()
    for outbound in trains:
        for datagram in outbound.train.datagrams():
            struct.pack_into("<BBH", datagram, 0, EXTENDED_DATA, SLICE, outbound.segment)
        if outbound.is_end:
            outbound.train.datagrams()[-1][1] |= LAST
        for frame in rebuilder.rebuild(outbound.train):
            check(frame)
    assert rebuilder.malformed == 0

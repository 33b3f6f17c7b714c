"""Vectorised slicing and rebuilding against slices made one by one, and against the packets they stand for."""

from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from tests.properties.slices import (
    PARTIAL,
    Slice,
    cut,
    mark,
    partial_frame,
    slices_of,
    trains_of_slices,
)
from tests.properties.superpackets import ACK, CWR, FIN, PSH, Flow, Superpacket, flows, superpackets
from tests.properties.trains import trains_of
from tunnel.offload.coalesce import Coalescer
from tunnel.offload.slices import Rebuilder, Slicer
from tunnel.wire.train import MAX_TRAIN_BYTES, Outbound

ARENA = memoryview(bytearray(1 << 19))
"""Never cleared: what was there before must not matter."""

FULL = superpackets().filter(lambda superpacket: len(superpacket.payload) > 0)


def sliced(superpacket: Superpacket) -> list[Outbound]:
    trains = Slicer().slice(memoryview(bytearray(superpacket.frame())), ARENA)
    assert isinstance(trains, list), trains
    return trains


def laid_out(trains: list[Outbound]) -> list[Slice]:
    slices = []
    for outbound in trains:
        slots, lengths = outbound.slots()
        for slot, length in zip(slots, lengths, strict=True):
            assert len(slot) == 32 + length
            slices.append(Slice(bytes(slot[16 : 16 + length]), outbound.is_end and slot is slots[-1]))
    return slices


def rebuilt(slices: list[Slice], segment: int, most: int = 64) -> list[bytes]:
    """The frames of these slices, each of which has a part in one."""
    rebuilder = Rebuilder()
    trains = trains_of_slices(slices, segment, most)
    frames = [b"".join(frame) for train in trains for frame in rebuilder.rebuild(train)]
    assert rebuilder.malformed == 0
    return frames


@given(superpacket=FULL)
@example(superpacket=Superpacket(Flow(flags=ACK | PSH | FIN | CWR), bytes(60000), 1368))
def test_slices_are_what_the_reference_makes(superpacket: Superpacket) -> None:
    slicer = Slicer()
    frame = memoryview(bytearray(superpacket.frame()))
    for _ in range(2):  # with a new plan, then with the kept one
        trains = slicer.slice(frame, ARENA)
        assert isinstance(trains, list)
        assert laid_out(trains) == slices_of(superpacket)


@given(superpacket=FULL)
def test_trains_lie_one_behind_the_other_and_fit_a_send_each(superpacket: Superpacket) -> None:
    trains = sliced(superpacket)
    together = b"".join(outbound.train.buffer for outbound in trains)
    assert together == ARENA[: len(together)]
    assert [outbound.is_end for outbound in trains] == [False] * (len(trains) - 1) + [True]
    for outbound in trains:
        train = outbound.train
        assert train.count <= 64
        assert len(train.buffer) == (train.count - 1) * train.size + train.last <= MAX_TRAIN_BYTES
        assert outbound.segment == superpacket.segment


@given(superpacket=FULL)
@example(superpacket=Superpacket(Flow(version=6), bytes(65535 - 60), 1023))
@example(superpacket=Superpacket(Flow(), bytes(65535 - 40), 1368))
def test_what_was_sliced_is_rebuilt_to_what_it_was(superpacket: Superpacket) -> None:
    slices = laid_out(sliced(superpacket))
    frames = rebuilt(slices, superpacket.segment)
    if len(slices) == 1:
        assert frames == [partial_frame(superpacket)]
    elif len(slices) <= 64:
        assert frames == [superpacket.frame()]
    assert [packet for frame in frames for packet in cut(frame)] == superpacket.packets()


@given(superpacket=FULL, data=st.data(), most=st.sampled_from([64, 64, 7, 1]))
def test_a_lost_slice_costs_its_own_packet_only(superpacket: Superpacket, data: st.DataObject, most: int) -> None:
    slices, packets = slices_of(superpacket), superpacket.packets()
    lost = data.draw(st.sets(st.integers(0, len(slices) - 1), max_size=8))
    kept = [number for number in range(len(slices)) if number not in lost]
    frames = rebuilt([slices[number] for number in kept], superpacket.segment, most)
    assert [packet for frame in frames for packet in cut(frame)] == [packets[number] for number in kept]


@given(
    flow=flows(),
    segment=st.integers(1, 60),
    counts=st.lists(st.integers(1, 20), min_size=2, max_size=6),
    lost=st.sets(st.integers(0, 40)),
)
def test_superpackets_one_behind_the_other_stay_in_order(
    flow: Flow, segment: int, counts: list[int], lost: set[int]
) -> None:
    """All slices are equally long, so they arrive in one train."""
    slices: list[Slice] = []
    packets: list[bytes] = []
    for number, count in enumerate(counts):
        payload = (bytes(range(number, 256)) * 6)[: count * segment]
        superpacket = Superpacket(replace(flow, sequence=flow.sequence + number), payload, segment)
        slices += slices_of(superpacket)
        packets += superpacket.packets()
    kept = [number for number in range(len(slices)) if number not in lost]
    frames = rebuilt([slices[number] for number in kept], segment)
    assert [packet for frame in frames for packet in cut(frame)] == [packets[number] for number in kept]


@given(superpacket=FULL, most=st.sampled_from([64, 7, 1]))
def test_packets_with_partial_checksums_are_joined_or_left_to_be_completed(superpacket: Superpacket, most: int) -> None:
    packets = superpacket.packets(is_partial=True)
    trains = [mark(train, PARTIAL) for train in trains_of(packets, most)]
    coalescer = Coalescer()
    frames = [b"".join(frame) for frame in coalescer.coalesce(trains)]
    assert [packet for frame in frames for packet in cut(frame)] == superpacket.packets()
    assert coalescer.malformed == 0
    is_plain = superpacket.flow.header == superpacket.flow.transport_size + (
        20 if superpacket.flow.version == 4 else 40
    )
    if is_plain and 1 < len(packets) <= 64:
        assert frames == [superpacket.frame()]


@given(superpacket=FULL)
def test_rebuilding_leaves_the_train_as_it_is(superpacket: Superpacket) -> None:
    for train in trains_of_slices(slices_of(superpacket), superpacket.segment):
        before = bytes(train.buffer)
        Rebuilder().rebuild(train)
        assert train.buffer == before


@given(superpacket=FULL)
def test_the_coalescer_has_slices_rebuilt(superpacket: Superpacket) -> None:
    trains = trains_of_slices(slices_of(superpacket), superpacket.segment)
    rebuilder = Rebuilder()
    assert Coalescer().coalesce(trains) == [frame for train in trains for frame in rebuilder.rebuild(train)]

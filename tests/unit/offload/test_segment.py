import struct
from dataclasses import replace

import pytest

from tests.properties.superpackets import ACK, CWR, ECE, FIN, PSH, TIMESTAMPS, UDP, Flow, Superpacket, word_sum
from tunnel.offload.flow import Refusal
from tunnel.offload.plans import MAX_PLANS
from tunnel.offload.segment import Segmenter
from tunnel.wire.train import MAX_TRAIN_BYTES, Outbound

MTU = 1420
VIRTIO = 10


def arena(size: int = 1 << 18) -> memoryview:
    return memoryview(bytearray(b"\xaa" * size))


def cut(superpacket: Superpacket, mtu: int = MTU) -> list[Outbound]:
    trains = Segmenter().segment(memoryview(bytearray(superpacket.frame())), arena(), mtu)
    assert isinstance(trains, list)
    return trains


def packets(superpacket: Superpacket) -> list[bytes]:
    return [
        bytes(slot[16 : 16 + length])
        for outbound in cut(superpacket)
        for slot, length in zip(*outbound.slots(), strict=True)
    ]


def refusal(frame: bytes, room: memoryview | None = None) -> Refusal:
    refused = Segmenter().segment(memoryview(bytearray(frame)), arena() if room is None else room, MTU)
    assert isinstance(refused, Refusal)
    return refused


BULK = Superpacket(Flow(options=TIMESTAMPS), bytes(range(256)) * 240, 1368)


def test_a_superpacket_of_the_planned_size_is_one_train() -> None:
    (outbound,) = cut(replace(BULK, payload=bytes(44 * 1368)))
    assert (outbound.train.count, outbound.train.size, outbound.train.last) == (44, 1452, 1452)
    assert (outbound.packet_length, outbound.last_packet_length) == (1420, 1420)
    assert (outbound.segment, outbound.is_end) == (0, False)


def test_a_short_tail_is_a_short_last_datagram() -> None:
    (outbound,) = cut(replace(BULK, payload=bytes(2 * 1368 + 5)))
    assert (outbound.train.count, outbound.train.last) == (3, 32 + 64)
    assert outbound.last_packet_length == 57


def test_payload_of_one_segment_is_one_datagram() -> None:
    (outbound,) = cut(replace(BULK, payload=bytes(100)))
    assert (outbound.train.count, outbound.train.size, outbound.train.last) == (1, 192, 192)
    assert outbound.packet_length == outbound.last_packet_length == 152


def test_a_superpacket_too_long_for_one_send_is_two_trains() -> None:
    first, second = cut(replace(BULK, payload=bytes(46 * 1368 + 1)))
    assert first.train.count == MAX_TRAIN_BYTES // 1452
    assert (second.train.count, second.last_packet_length) == (2, 53)
    assert first.last_packet_length == first.packet_length == second.packet_length == 1420


def test_more_than_64_segments_are_several_trains() -> None:
    assert [outbound.train.count for outbound in cut(replace(BULK, payload=bytes(150 * 8), segment=8))] == [64, 64, 22]


def test_fin_and_push_are_on_the_last_packet_only_and_cwr_on_the_first() -> None:
    flow = Flow(flags=ACK | ECE | FIN | PSH | CWR)
    flags = [packet[33] for packet in packets(Superpacket(flow, bytes(30), 10))]
    assert flags == [ACK | ECE | CWR, ACK | ECE, ACK | ECE | FIN | PSH]


def test_the_sequence_wraps_around() -> None:
    cut_up = packets(Superpacket(Flow(sequence=2**32 - 10), bytes(30), 10))
    assert [packet[24:28] for packet in cut_up] == [b"\xff\xff\xff\xf6", bytes(4), b"\0\0\0\x0a"]


def test_the_identification_wraps_around_with_right_header_checksums() -> None:
    cut_up = packets(Superpacket(Flow(identification=65534), bytes(40), 10))
    assert [int.from_bytes(packet[4:6], "big") for packet in cut_up] == [65534, 65535, 0, 1]
    assert {word_sum(packet[:20]) for packet in cut_up} == {0xFFFF}


def test_the_header_checksum_wraps_around() -> None:
    checksum_of_the_first = int.from_bytes(Flow(identification=0).packet(bytes(10))[10:12], "big")
    cut_up = packets(Superpacket(Flow(identification=checksum_of_the_first - 2), bytes(50), 10))
    assert [int.from_bytes(packet[10:12], "big") for packet in cut_up] == [2, 1, 0, 65534, 65533]
    assert {word_sum(packet[:20]) for packet in cut_up} == {0xFFFF}


@pytest.mark.parametrize("version", [4, 6])
def test_udp_segments_have_their_own_length(version: int) -> None:
    flow = Flow(version=version, protocol=UDP)
    lengths = [packet[flow.transport + 4 : flow.transport + 6] for packet in packets(Superpacket(flow, bytes(25), 10))]
    assert [int.from_bytes(length, "big") for length in lengths] == [18, 18, 13]


@pytest.mark.parametrize("header_length", [0, 20, 9999, 65535])
def test_the_header_length_of_the_virtio_header_is_not_believed(header_length: int) -> None:
    frame = bytearray(BULK.frame())
    frame[2:4] = header_length.to_bytes(2, "little")
    room, usual = arena(), arena()
    Segmenter().segment(memoryview(frame), room, MTU)
    Segmenter().segment(memoryview(bytearray(BULK.frame())), usual, MTU)
    assert room == usual


def test_a_routing_header_keeps_the_pseudo_header_that_the_kernel_made() -> None:
    flow = Flow(version=6, extensions=(43,))
    assert packets(Superpacket(flow, bytes(25), 10)) == [
        replace(flow, sequence=flow.sequence + start).packet(bytes(size))
        for start, size in ((0, 10), (10, 10), (20, 5))
    ]


def with_virtio(**fields: int) -> bytes:
    frame = bytearray(BULK.frame())
    names = ("flags", "gso_type", "header_length", "gso_size", "start", "offset")
    values = dict(zip(names, struct.unpack_from("<BBHHHH", frame), strict=True)) | fields
    struct.pack_into("<BBHHHH", frame, 0, *values.values())
    return bytes(frame)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"gso_type": 0}, Refusal.WRONG_GSO_TYPE),
        ({"gso_type": 3}, Refusal.WRONG_GSO_TYPE),
        ({"gso_type": 4}, Refusal.WRONG_GSO_TYPE),
        ({"gso_type": 5}, Refusal.WRONG_GSO_TYPE),
        ({"gso_type": 0x80}, Refusal.WRONG_GSO_TYPE),
        ({"flags": 0}, Refusal.NO_PARTIAL_CHECKSUM),
        ({"flags": 2}, Refusal.NO_PARTIAL_CHECKSUM),
        ({"start": 0}, Refusal.WRONG_CHECKSUM_PLACE),
        ({"start": 24}, Refusal.WRONG_CHECKSUM_PLACE),
        ({"offset": 6}, Refusal.WRONG_CHECKSUM_PLACE),
        ({"offset": 65535}, Refusal.WRONG_CHECKSUM_PLACE),
        ({"gso_size": 0}, Refusal.NO_SEGMENT_SIZE),
    ],
)
def test_a_virtio_header_that_is_not_of_this_packet_is_refused(fields: dict[str, int], reason: Refusal) -> None:
    assert refusal(with_virtio(**fields)) is reason


def test_a_udp_superpacket_cannot_have_ecn() -> None:
    frame = bytearray(Superpacket(Flow(protocol=UDP), bytes(30), 10).frame())
    frame[1] |= 0x80
    assert refusal(bytes(frame)) is Refusal.WRONG_GSO_TYPE


@pytest.mark.parametrize("size", [0, 9, 10, 29])
def test_a_frame_cut_short_is_refused(size: int) -> None:
    assert refusal(BULK.frame()[:size]) is Refusal.TOO_SHORT


def test_a_segment_too_big_for_a_datagram_is_refused() -> None:
    assert refusal(Superpacket(Flow(), bytes(65480), 65480).frame()) is Refusal.SEGMENT_TOO_BIG


def test_too_small_an_arena_is_refused_and_left_alone() -> None:
    room = arena(44 * 1452)
    assert refusal(BULK.frame(), room) is Refusal.NO_ROOM
    assert set(room) == {0xAA}


def test_nothing_is_written_behind_the_trains() -> None:
    room = arena()
    trains = Segmenter().segment(memoryview(bytearray(BULK.frame())), room, MTU)
    assert isinstance(trains, list)
    assert set(room[45 * 1452 :]) == {0xAA}


def test_plans_of_an_arena_that_went_are_not_used_for_the_next() -> None:
    segmenter = Segmenter()
    for _ in range(50):
        room = arena(1 << 17)
        trains = segmenter.segment(memoryview(bytearray(BULK.frame())), room, MTU)
        assert isinstance(trains, list)
        assert trains[0].train.buffer == room[: len(trains[0].train.buffer)]
        assert bytes(room[16:20]) == BULK.packets()[0][:4]


def test_superpackets_of_more_shapes_than_plans_are_cut_right() -> None:
    segmenter, room = Segmenter(), arena()
    for segment in [*range(1, MAX_PLANS + 20), 1, 2]:
        superpacket = Superpacket(Flow(), bytes(3 * segment), segment)
        trains = segmenter.segment(memoryview(bytearray(superpacket.frame())), room, MTU)
        assert isinstance(trains, list)
        (outbound,) = trains
        assert [bytes(slot[16 : 56 + segment]) for slot in outbound.slots()[0]] == superpacket.packets()

import struct
from dataclasses import replace

import pytest

from tests.properties.slices import (
    Slice,
    cut,
    lay_out_slices,
    partial_frame,
    slices_of,
    trains_of_slices,
)
from tests.properties.superpackets import ACK, CWR, FIN, PSH, TCP, TIMESTAMPS, UDP, Flow, Superpacket, word_sum
from tunnel.offload.flow import Refusal
from tunnel.offload.slices import Rebuilder, Slicer
from tunnel.wire.train import MAX_TRAIN_BYTES, Outbound

BULK = Superpacket(Flow(options=TIMESTAMPS), bytes(range(256)) * 240, 1368)
SMALL = Superpacket(Flow(options=TIMESTAMPS, flags=ACK | PSH | CWR), bytes(range(250)) * 4, 100)

FLOWS = [
    Flow(options=TIMESTAMPS),
    Flow(version=6),
    Flow(protocol=UDP),
    Flow(version=6, protocol=UDP),
    Flow(ip_options=b"\1" * 8),
    Flow(version=6, extensions=(0, 43, 60)),
]


def arena(size: int = 1 << 18) -> memoryview:
    return memoryview(bytearray(b"\xaa" * size))


def sliced(superpacket: Superpacket) -> list[Outbound]:
    trains = Slicer().slice(memoryview(bytearray(superpacket.frame())), arena())
    assert isinstance(trains, list)
    return trains


def refusal(frame: bytes, room: memoryview | None = None) -> Refusal:
    refused = Slicer().slice(memoryview(bytearray(frame)), arena() if room is None else room)
    assert isinstance(refused, Refusal)
    return refused


def test_a_superpacket_of_the_planned_size_is_one_train_without_padding() -> None:
    (outbound,) = sliced(replace(BULK, payload=bytes(43 * 1368 + 5)))
    assert (outbound.train.count, outbound.train.size, outbound.train.last) == (44, 1452, 32 + 57)
    assert (outbound.packet_length, outbound.last_packet_length) == (1420, 57)
    assert (outbound.segment, outbound.is_end) == (1368, True)


def test_a_superpacket_too_long_for_one_send_is_two_trains_and_ends_with_the_second() -> None:
    first, second = sliced(replace(BULK, payload=bytes(46 * 1368 + 1)))
    assert first.train.count == MAX_TRAIN_BYTES // 1452
    assert (second.train.count, second.last_packet_length) == (2, 53)
    assert [(each.segment, each.is_end) for each in (first, second)] == [(1368, False), (1368, True)]


def test_payload_of_one_segment_is_one_slice_that_says_how_long_it_might_have_been() -> None:
    (outbound,) = sliced(replace(BULK, payload=bytes(100)))
    assert (outbound.train.count, outbound.train.size, outbound.train.last) == (1, 184, 184)
    assert (outbound.packet_length, outbound.last_packet_length) == (152, 152)
    assert (outbound.segment, outbound.is_end) == (1368, True)


@pytest.mark.parametrize("flow", FLOWS)
def test_slices_have_the_headers_of_the_superpacket_but_for_offset_and_checksum(flow: Flow) -> None:
    superpacket = replace(SMALL, flow=flow)
    (outbound,) = sliced(superpacket)
    slots, lengths = outbound.slots()
    contents = [bytes(slot[16 : 16 + length]) for slot, length in zip(slots, lengths, strict=True)]
    assert contents == [each.content for each in slices_of(superpacket)]


def test_message_headers_and_tags_are_left_to_whoever_seals() -> None:
    (outbound,) = sliced(SMALL)
    assert {bytes(slot[:16]) + bytes(slot[-16:]) for slot in outbound.slots()[0]} == {b"\xaa" * 32}


def test_the_same_shape_gives_the_same_trains() -> None:
    slicer, room = Slicer(), arena()
    frames = [memoryview(bytearray(superpacket.frame())) for superpacket in (BULK, replace(BULK, flow=Flow(ttl=9)))]
    first, again = slicer.slice(frames[0], room), slicer.slice(frames[0], room)
    assert isinstance(first, list)
    assert isinstance(again, list)
    assert all(one.train is other.train for one, other in zip(first, again, strict=True))


@pytest.mark.parametrize(
    ("superpacket", "reason"),
    [
        (replace(BULK, payload=b""), Refusal.NO_PAYLOAD),
        (Superpacket(Flow(), bytes(65495), 65495), Refusal.SEGMENT_TOO_BIG),
        (Superpacket(Flow(version=6), bytes(65500), 1000), Refusal.TOO_LONG),
        *((replace(BULK, flow=Flow(flags=ACK | flag)), Refusal.ONE_PACKET_FLAGS) for flag in (2, 4, 32)),
    ],
)
def test_a_superpacket_that_could_not_be_rebuilt_is_refused(superpacket: Superpacket, reason: Refusal) -> None:
    assert refusal(superpacket.frame()) is reason


def test_a_frame_that_is_no_superpacket_is_refused() -> None:
    assert refusal(b"") is Refusal.TOO_SHORT
    assert refusal(partial_frame(BULK)) is Refusal.WRONG_GSO_TYPE
    assert refusal(SMALL.frame()[:-1]) is Refusal.WRONG_LENGTH


def test_too_small_an_arena_is_refused_and_left_alone() -> None:
    room = arena(44 * 1452)
    assert refusal(BULK.frame(), room) is Refusal.NO_ROOM
    assert set(room) == {0xAA}


def rebuilt(slices: list[Slice], segment: int = 100, *, malformed: int = 0) -> list[bytes]:
    rebuilder = Rebuilder()
    trains = trains_of_slices(slices, segment)
    frames = [b"".join(frame) for train in trains for frame in rebuilder.rebuild(train)]
    assert rebuilder.malformed == malformed
    return frames


def packets_of(frames: list[bytes]) -> list[bytes]:
    return [packet for frame in frames for packet in cut(frame)]


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("tail", [0, 1, 99])
def test_all_slices_are_the_superpacket_that_they_were(flow: Flow, tail: int) -> None:
    superpacket = Superpacket(flow, bytes(range(250)) * 4 + bytes(tail), 100)
    assert rebuilt(slices_of(superpacket)) == [superpacket.frame()]


@pytest.mark.parametrize("flow", FLOWS)
def test_a_superpacket_of_one_slice_is_a_packet_with_a_checksum_to_complete(flow: Flow) -> None:
    superpacket = Superpacket(flow, bytes(77), 100)
    assert rebuilt(slices_of(superpacket)) == [partial_frame(superpacket)]


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("lost", [0, 1, 4, 8, 9])
def test_a_lost_slice_costs_its_own_packet_only(flow: Flow, lost: int) -> None:
    superpacket = replace(SMALL, flow=flow)
    slices, packets = slices_of(superpacket), superpacket.packets()
    frames = rebuilt(slices[:lost] + slices[lost + 1 :])
    assert packets_of(frames) == packets[:lost] + packets[lost + 1 :]
    assert len(frames) == (1 if lost in (0, 9) else 2)


def test_push_and_fin_are_on_what_ends_with_the_last_slice_and_cwr_on_what_begins_with_the_first() -> None:
    slices = slices_of(replace(SMALL, flow=Flow(flags=ACK | PSH | FIN | CWR)))
    frames = rebuilt([*slices[:3], *slices[4:6], *slices[8:]])
    assert [frame[43] for frame in frames] == [ACK | CWR, ACK, ACK | PSH | FIN]
    assert [frame[1] for frame in frames] == [0x81, 1, 1]


def test_identification_and_sequence_wrap_around_behind_a_lost_slice() -> None:
    slices = slices_of(Superpacket(Flow(identification=65535, sequence=2**32 - 50), bytes(400), 100))
    (frame,) = rebuilt(slices[2:])
    assert (frame[14:16], frame[34:38]) == (b"\0\1", (150).to_bytes(4, "big"))
    assert word_sum(frame[10:30]) == 0xFFFF


def test_superpackets_one_behind_the_other_in_a_train_stay_apart_and_in_order() -> None:
    superpackets = [
        replace(SMALL, flow=Flow(ports=(1, port)), payload=bytes(count * 100))
        for port, count in ((5, 3), (6, 1), (7, 5), (5, 3))
    ]
    slices = [each for superpacket in superpackets for each in slices_of(superpacket)]
    expected = [each.frame() if len(each.payload) > 100 else partial_frame(each) for each in superpackets]
    assert rebuilt(slices) == expected
    assert len(trains_of_slices(slices, 100)) == 1


def test_a_superpacket_that_goes_on_in_the_next_train_is_two() -> None:
    superpacket = Superpacket(Flow(), bytes(7000), 100)
    frames = rebuilt(slices_of(superpacket))
    assert [len(frame) - 50 for frame in frames] == [6400, 600]
    assert packets_of(frames) == superpacket.packets()


def test_only_the_wanted_protocols_become_superpackets() -> None:
    superpacket = replace(SMALL, flow=Flow(protocol=UDP))
    (train,) = trains_of_slices(slices_of(superpacket), 100)
    frames = [b"".join(frame) for frame in Rebuilder((TCP,)).rebuild(train)]
    assert len(frames) == 10
    assert packets_of(frames) == superpacket.packets()


def test_frames_are_views_of_the_train() -> None:
    (train,) = trains_of_slices(slices_of(SMALL), 100)
    ((head, *payloads),) = Rebuilder().rebuild(train)
    assert len(head) == 62
    assert all(isinstance(payload, memoryview) and payload.obj is train.buffer.obj for payload in payloads)


def changed(slices: list[Slice], row: int, place: int, value: bytes) -> list[Slice]:
    content = bytearray(slices[row].content)
    content[place : place + len(value)] = value
    return [*slices[:row], slices[row]._replace(content=bytes(content)), *slices[row + 1 :]]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, b"\x44"),  # shorter than an IPv4 header can be
        (0, b"\x4f"),  # options that go into the TCP header, which then has no sense
        (0, b"\x95"),  # another version
        (2, b"\x01\x91"),  # an offset between two slices
        (2, b"\xff\xdc"),  # an offset behind which the payload has no room
        (6, b"\x20"),  # a fragment
        (7, b"\x01"),  # the same
        (9, b"\x01"),  # ICMP
        (32, b"\x40"),  # shorter than a TCP header can be
        (32, b"\xf0"),  # TCP options that are payload: too little is left of it
        (33, b"\x12"),  # SYN
        (33, b"\x14"),  # RST
        (33, b"\x30"),  # URG
    ],
)
def test_a_malformed_slice_is_dropped_and_those_on_both_sides_are_not(place: int, value: bytes) -> None:
    frames = rebuilt(changed(slices_of(SMALL), 4, place, value), malformed=1)
    packets = SMALL.packets()
    assert packets_of(frames) == packets[:4] + packets[5:]


def test_a_slice_with_other_headers_is_a_frame_of_its_own() -> None:
    packets = SMALL.packets()
    frames = rebuilt(changed(slices_of(SMALL), 4, 8, b"\x3f"))
    other = replace(SMALL.flow, ttl=63, sequence=1400, identification=5, flags=ACK).packet(SMALL.payload[400:500])
    assert packets_of(frames) == [*packets[:4], other, *packets[5:]]
    assert len(frames) == 3


def test_slices_may_follow_each_other_only_forwards() -> None:
    slices, packets = slices_of(SMALL)[:3], SMALL.packets()[:3]
    assert packets_of(rebuilt(slices[::-1])) == packets[::-1]
    assert len(rebuilt([slices[1], slices[1]])) == 2


@pytest.mark.parametrize("segment", [0, 99, 101, 65535])
def test_slices_of_another_size_than_the_segment_are_dropped(segment: int) -> None:
    slices = [each._replace(is_last=False) for each in slices_of(SMALL)]
    assert rebuilt(slices, segment, malformed=10) == []


def test_a_short_slice_that_is_not_the_last_is_dropped() -> None:
    slices = slices_of(replace(SMALL, payload=bytes(250)))
    assert len(rebuilt([*slices[:2], slices[2]._replace(is_last=False)], malformed=1)) == 1
    assert rebuilt([slices[2]._replace(is_last=False)], malformed=1) == []


def test_a_slice_without_payload_is_dropped() -> None:
    slices = slices_of(SMALL)
    empty = Slice(slices[2].content[:52], is_last=True)
    assert [len(frame) for frame in rebuilt([*slices[:2], empty], malformed=1)] == [62 + 200]
    assert rebuilt([empty], malformed=1) == []


@pytest.mark.parametrize("size", [0, 1, 19, 39])
def test_a_slice_too_short_for_its_headers_is_dropped(size: int) -> None:
    slices = slices_of(SMALL)
    short = Slice(slices[2].content[:size], is_last=True)
    assert [len(frame) for frame in rebuilt([*slices[:2], short], malformed=1)] == [62 + 200]


def test_a_frame_is_at_most_65535_bytes_long() -> None:
    superpacket = Superpacket(Flow(version=6), bytes(65535 - 60), 1200)
    first, second = rebuilt(slices_of(superpacket), 1200), rebuilt(slices_of(replace(superpacket, flow=Flow())), 1200)
    assert first == [superpacket.frame()]
    assert second == [replace(superpacket, flow=Flow()).frame()]


def test_a_slice_that_would_make_the_superpacket_longer_than_that_is_dropped() -> None:
    superpacket = Superpacket(Flow(), bytes(65535 - 40), 1200)
    slices = slices_of(superpacket)
    tail = slices[-1]._replace(content=slices[-1].content + b"\0")
    (frame,) = rebuilt([*slices[:-1], tail], 1200, malformed=1)
    assert len(frame) == 50 + 54 * 1200


def test_offsets_beyond_what_an_ip_packet_holds_end_the_run() -> None:
    slices = slices_of(Superpacket(Flow(), bytes(65000), 1000))[60:]
    beyond = Slice(slices[-1].content[:2] + (66000 % 65536).to_bytes(2, "big") + slices[-1].content[4:], False)
    endless = [each._replace(is_last=False) for each in slices]
    assert [len(frame) for frame in rebuilt([*endless, beyond, beyond], 1000, malformed=2)] == [50 + 5000]


def test_a_frame_is_of_at_most_64_slices() -> None:
    train = lay_out_slices(slices_of(Superpacket(Flow(), bytes(7000), 100)), 100)
    assert [len(frame) - 1 for frame in Rebuilder().rebuild(train)] == [64, 6]


def test_a_run_ends_with_a_last_slice_even_if_offsets_go_on() -> None:
    slices = slices_of(SMALL)
    slices[3] = slices[3]._replace(is_last=True)
    assert [frame[43] for frame in rebuilt(slices)] == [ACK | CWR | PSH, ACK | PSH]


def test_a_train_that_ends_within_a_message_header_is_whole_but_for_that() -> None:
    train = lay_out_slices(slices_of(SMALL)[:3], 100)
    train.buffer, train.last = train.buffer[: 2 * train.size + 1], 1
    rebuilder = Rebuilder()
    assert [len(frame) for frame in rebuilder.rebuild(train)] == [3]
    assert rebuilder.malformed == 1


def test_the_sum_of_a_pseudo_header_is_never_zero() -> None:
    """Which it is as good as here, with the length and without."""
    superpacket = Superpacket(Flow(), bytes(60386), 1368)
    assert superpacket.frame()[46:48] == b"\xff\xff"
    assert rebuilt(slices_of(superpacket), 1368) == [superpacket.frame()]
    frame = bytearray(SMALL.frame())
    frame[46:48] = (len(frame) - 30).to_bytes(2, "big")
    trains = Slicer().slice(memoryview(frame), arena())
    assert isinstance(trains, list)
    assert bytes(trains[0].train.buffer[16 + 36 : 16 + 38]) == b"\xff\xff"


def test_tables_are_of_headers_of_one_size() -> None:
    one, other = Superpacket(Flow(), bytes(300), 100), Superpacket(Flow(options=TIMESTAMPS), bytes(264), 88)
    train, following = lay_out_slices(slices_of(one), 100), lay_out_slices(slices_of(other), 88)
    rebuilder = Rebuilder()
    assert b"".join(*rebuilder.rebuild(train)) == one.frame()
    train.buffer[:] = following.buffer
    assert b"".join(*rebuilder.rebuild(train)) == other.frame()


def test_tables_are_of_the_memory_and_know_nothing_of_how_long_the_last_slice_is() -> None:
    long, short = Superpacket(Flow(), bytes(range(250)) * 2, 100), Superpacket(Flow(), bytes(range(205)) * 2, 100)
    train, other = lay_out_slices(slices_of(long), 100), lay_out_slices(slices_of(short), 100)
    rebuilder = Rebuilder()
    assert b"".join(*rebuilder.rebuild(train)) == long.frame()
    train.buffer[: len(other.buffer)] = other.buffer
    other.buffer = train.buffer[: len(other.buffer)]
    assert b"".join(*rebuilder.rebuild(other)) == short.frame()
    assert b"".join(*rebuilder.rebuild(lay_out_slices(slices_of(long), 100))) == long.frame()


def test_a_virtio_header_has_what_a_kernel_asks_for() -> None:
    (frame,) = rebuilt(slices_of(SMALL))
    assert struct.unpack_from("<BBHHHH", frame) == (1, 0x81, 52, 100, 20, 16)
    (frame,) = rebuilt(slices_of(SMALL)[3:4])
    assert struct.unpack_from("<BBHHHH", frame) == (1, 0, 0, 0, 20, 16)

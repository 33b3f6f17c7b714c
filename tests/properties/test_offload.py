"""Vectorised segmentation and coalescing against packets built and joined one by one."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from tests.budget import examples
from tests.properties.superpackets import ACK, CWR, FIN, PSH, Flow, Superpacket, superpackets, word_sum
from tests.properties.trains import bursts, lay_out, trains_of
from tunnel.offload.coalesce import Coalescer
from tunnel.offload.segment import Segmenter
from tunnel.wire import ip
from tunnel.wire.messages import Buffer
from tunnel.wire.train import Outbound

ARENA = memoryview(bytearray(1 << 19))
"""Never cleared: what was there before must not matter."""

MTUS = st.sampled_from([1280, 1419, 1420, 9000])


def packets_of(trains: list[Outbound]) -> list[bytes]:
    """The packets in the order they would be sealed in."""
    return [
        bytes(slot[16 : 16 + length]) for outbound in trains for slot, length in zip(*outbound.slots(), strict=True)
    ]


def segments_of(frame: Sequence[Buffer]) -> list[bytes]:
    """The packets that the kernel would make of a frame."""
    whole = memoryview(bytearray(b"".join(frame)))
    if not any(whole[:10]):
        return [bytes(whole[10:])]
    trains = Segmenter().segment(whole, memoryview(bytearray(1 << 18)), 1420)
    assert isinstance(trains, list), trains
    return packets_of(trains)


def comparable(packet: bytes) -> bytes:
    """Without the identification of IPv4 with DF, which means nothing (RFC 6864), if the header's checksum is right."""
    if len(packet) >= 20 and packet[0] >> 4 == 4 and packet[6] == 0x40 and word_sum(packet[:20]) == 0xFFFF:
        return packet[:4] + bytes(2) + packet[6:10] + bytes(2) + packet[12:]
    return packet


@given(superpacket=superpackets(), mtu=MTUS)
@example(superpacket=Superpacket(Flow(flags=ACK | PSH | FIN | CWR), bytes(60000), 1368), mtu=1420)
def test_segments_are_what_the_reference_makes(superpacket: Superpacket, mtu: int) -> None:
    segmenter = Segmenter()
    frame = memoryview(bytearray(superpacket.frame()))
    for _ in range(2):  # with a new plan, then with the kept one
        trains = segmenter.segment(frame, ARENA, mtu)
        assert isinstance(trains, list)
        assert packets_of(trains) == superpacket.packets()


@given(superpacket=superpackets(), mtu=MTUS)
def test_trains_lie_one_behind_the_other_and_fit_a_send_each(superpacket: Superpacket, mtu: int) -> None:
    trains = Segmenter().segment(memoryview(bytearray(superpacket.frame())), ARENA, mtu)
    assert isinstance(trains, list)
    laid_out = b"".join(outbound.train.buffer for outbound in trains)
    assert laid_out == ARENA[: len(laid_out)]
    for outbound in trains:
        train = outbound.train
        assert train.count <= 64
        assert len(train.buffer) == (train.count - 1) * train.size + train.last <= 65507
        for row, length in zip(*outbound.slots(), strict=True):
            assert len(row) - 32 == max(length, min(-(-length // 16) * 16, mtu))
            assert not any(row[16 + length : len(row) - 16])


@given(superpacket=superpackets(max_count=64))
@example(superpacket=Superpacket(Flow(flags=ACK | PSH | CWR, version=6), bytes(60000), 1368))
def test_what_was_cut_is_joined_to_what_it_was(superpacket: Superpacket) -> None:
    flow = superpacket.flow
    assume(flow.header == flow.transport_size + (20 if flow.version == 4 else 40))
    packets = superpacket.packets()
    coalescer = Coalescer()
    for trains in (trains_of(packets), [lay_out([packet], 9999) for packet in packets], trains_of(packets, 3)):
        frames = [b"".join(frame) for frame in coalescer.coalesce(trains)]
        assert frames == [superpacket.frame() if len(packets) > 1 else bytes(10) + packets[0]]


@given(packets=bursts(), most=st.sampled_from([64, 64, 7, 1]))
@settings(max_examples=examples(500))
def test_frames_are_the_packets_that_came_in_the_same_order(packets: list[bytes], most: int) -> None:
    frames = Coalescer().coalesce(trains_of(packets, most))
    segments = [segment for frame in frames for segment in segments_of(frame)]
    arrived = [packet[: ip.total_length(packet)] for packet in packets]
    assert len(segments) == len(arrived)
    for segment, packet in zip(segments, arrived, strict=True):
        assert comparable(segment[: len(packet)]) == comparable(packet)
        assert len(segment) == len(packet) or ip.total_length(packet) is None


@given(packets=bursts(), most=st.sampled_from([64, 64, 7, 1]))
def test_no_two_neighbouring_frames_could_have_been_one(packets: list[bytes], most: int) -> None:
    assume(all(ip.total_length(packet) == len(packet) for packet in packets))
    frames = Coalescer().coalesce(trains_of(packets, most))
    for one, other in pairwise(frames):
        assert not is_one_superpacket(segments_of(one) + segments_of(other))


def is_one_superpacket(packets: list[bytes]) -> bool:
    """Whether cutting what the first packet begins gives all of them: the definition, tried out."""
    first = packets[0]
    transport = 20 if first[0] == 0x45 else 40
    protocol = first[9] if transport == 20 else first[6]
    if first[0] not in (0x45, 0x60) or protocol not in (6, 17):
        return False
    header = transport + ((first[transport + 12] >> 4) * 4 if protocol == 6 else 8)
    if protocol == 6 and (
        len(first) < transport + 20 or first[transport + 13] & 0x27 or not first[transport + 13] & ACK
    ):
        return False
    if protocol == 17 and first[transport + 6 : transport + 8] == bytes(2):
        return False
    if any(packet[0] != first[0] or len(packet) <= header for packet in packets):
        return False
    segment = len(first) - header
    payload = b"".join(packet[header:] for packet in packets)
    if len(packets) > 64 or segment < 1 or header + len(payload) > 65535:
        return False
    flow = flow_of(first, packets[-1], transport, protocol, header)
    built = Superpacket(flow, payload, segment).packets()
    return list(map(comparable, built)) == list(map(comparable, packets))


def flow_of(first: bytes, last: bytes, transport: int, protocol: int, header: int) -> Flow:
    tcp = first[transport:].ljust(20, b"\0")
    is_tcp = protocol == 6
    return Flow(
        version=first[0] >> 4,
        protocol=protocol,
        flags=tcp[13] | (last[transport + 13] & (FIN | PSH) if is_tcp else 0),
        sequence=int.from_bytes(tcp[4:8], "big"),
        identification=int.from_bytes(first[4:6], "big"),
        options=first[transport + 20 : header] if is_tcp else b"",
        traffic_class=first[1] if first[0] >> 4 == 4 else int.from_bytes(first[:2], "big") >> 4 & 0xFF,
        ttl=first[8],
        fragment_field=int.from_bytes(first[6:8], "big"),
        ports=(int.from_bytes(tcp[:2], "big"), int.from_bytes(tcp[2:4], "big")),
        acknowledgement=int.from_bytes(tcp[8:12], "big"),
        window=int.from_bytes(tcp[14:16], "big"),
    )


@given(superpacket=superpackets(max_count=64), mtu=MTUS)
def test_segments_where_they_were_laid_out_are_joined_again(superpacket: Superpacket, mtu: int) -> None:
    flow = superpacket.flow
    assume(flow.header == flow.transport_size + (20 if flow.version == 4 else 40))
    assume(len(superpacket.payload) > superpacket.segment)
    trains = Segmenter().segment(memoryview(bytearray(superpacket.frame())), ARENA, mtu)
    assert isinstance(trains, list)
    frames = Coalescer().coalesce([outbound.train for outbound in trains])
    assert [segment for frame in frames for segment in segments_of(frame)] == superpacket.packets()
    if len(trains) == 1:
        assert [b"".join(frame) for frame in frames] == [superpacket.frame()]

"""What becomes of packets that do not fit the path, once that is known: they are cut, or refused to their sender."""

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Interface, IPv6Interface

import pytest

from tests.properties.superpackets import TCP, UDP, Flow
from tests.unit.daemon.pipelines import Backward, Side, packet, session, settle, superpacket
from tunnel.protocol.events import PathMtuChanged
from tunnel.testing.clock import FakeClock
from tunnel.wire.virtio import PLAIN

pytestmark = pytest.mark.usefixtures("offered")

LONGEST = 1248
"""Of the datagrams that get through: over IPv4 the path MTU is 1276, and packets as long as fit need no padding."""
LIMIT = LONGEST - 32

FLOWS = [Flow(), Flow(version=6)]


@asynccontextmanager
async def narrow_session() -> AsyncIterator[tuple[Side, Side]]:
    """Of two ends of whom the left one has found out that the path is narrow; nothing is on its way."""
    clock = FakeClock()
    async with session(clock) as (left, right):
        for number, side in enumerate((left, right), 1):
            side.udp.longest = LONGEST
            side.device.addresses = (IPv4Interface(f"10.0.0.{number}/24"), IPv6Interface(f"fd00::{number}/64"))
        clock.advance(1)
        left.tun.queue(superpacket(20_000))
        for _ in range(100):
            if any(isinstance(event, PathMtuChanged) for event in left.events):
                break
            await settle()
            _answer_pings(right)
            await settle()
            clock.advance(0.3)
            left.pipeline.turn()
        assert _known(left) == (LONGEST + 28, LIMIT)
        left.forget()
        right.forget()
        left.udp.probes.clear()
        yield left, right


def _known(side: Side) -> tuple[int | None, int | None]:
    (peer,) = side.device.snapshot(0).peers
    return peer.path_mtu, peer.max_packet


def _is_ping(packet: bytes) -> bool:
    return packet[0] == 0x45 and packet[9] == 1 and packet[20] == 8


def _answer_pings(side: Side) -> None:
    """As the kernel behind its TUN does."""
    requests = [frame[10:] for frame in side.tun.written if _is_ping(frame[10:])]
    side.tun.written.clear()
    for request in requests:
        reply = bytearray(request)
        reply[12:20] = request[16:20] + request[12:16]
        reply[20] = 0
        (checksum,) = struct.unpack_from(">H", reply, 22)
        struct.pack_into(">H", reply, 22, (checksum + 0x0800) % 0xFFFF)
        side.tun.queue_packets(bytes(reply))


def written(side: Side) -> list[bytes]:
    """The packets that were written into the TUN; superpackets are whole. A plain peer is asked by pings."""
    return [frame[10:] for frame in side.tun.written if not _is_ping(frame[10:])]


def sent_sizes(side: Side) -> list[int]:
    return [len(datagram) for train in side.udp.sent for datagram in train.datagrams()]


def payload_of(side: Side, flow: Flow) -> bytes:
    """All that was written into the TUN of one flow, in the order it was written."""
    return b"".join(frame[10 + flow.header :] for frame in side.tun.written)


async def test_the_path_is_asked_by_probes_and_data_is_none() -> None:
    clock = FakeClock()
    async with session(clock) as (left, right):
        left.device.addresses = (IPv4Interface("10.0.0.1/24"),)
        clock.advance(1)
        left.tun.queue(superpacket(20_000))
        await settle()
        assert 1420 + 32 in map(len, left.udp.probes)
        assert 1420 + 32 not in sent_sizes(left)
        _answer_pings(right)
        await settle()
        assert _known(left) == (1480, None)


@pytest.mark.parametrize("flow", FLOWS)
async def test_a_superpacket_is_cut_into_what_fits(flow: Flow) -> None:
    async with narrow_session() as (left, right):
        frame = superpacket(50_000, 1368, flow)
        left.tun.queue(frame)
        await settle()
        assert max(sent_sizes(left)) == LONGEST
        assert payload_of(right, flow) == frame[10 + flow.header :]
        assert left.drops() == right.drops() == {}


@pytest.mark.parametrize("flow", FLOWS)
async def test_single_packets_are_cut_as_if_they_were_superpackets(flow: Flow) -> None:
    async with narrow_session() as (left, right):
        payloads = [bytes([number]) * (1420 - flow.header) for number in range(10)]
        starts = range(0, 20_000, len(payloads[0]))
        packets = [replace(flow, sequence=start).packet(data) for start, data in zip(starts, payloads, strict=False)]
        left.tun.queue_packets(*packets)
        await settle()
        assert max(sent_sizes(left)) <= LONGEST
        assert payload_of(right, flow) == b"".join(payloads)
        assert left.drops() == right.drops() == {}


async def test_a_single_packet_whose_checksum_the_kernel_left_is_cut_too() -> None:
    async with narrow_session() as (left, right):
        payload = bytes(range(200)) * 6
        left.tun.queue(bytes.fromhex("01000000000014001000") + Flow().packet(payload + bytes(60), is_partial=True))
        await settle()
        assert max(sent_sizes(left)) <= LONGEST
        assert payload_of(right, Flow()) == payload + bytes(60)


@pytest.mark.parametrize(("version", "kind"), [(4, (3, 4)), (6, (2, 0))])
async def test_what_cannot_be_cut_is_refused_to_its_sender(version: int, kind: tuple[int, int]) -> None:
    flow = Flow(version=version, protocol=UDP)
    async with narrow_session() as (left, right):
        refused = flow.packet(bytes(1370))
        left.tun.queue_packets(packet(1), refused, packet(2))
        await settle()
        assert written(right) == [packet(1), packet(2)]
        (told,) = left.packets
        start = 20 if version == 4 else 40
        assert (told[start], told[start + 1]) == kind
        assert int.from_bytes(told[start + 4 : start + 8], "big") == max(LIMIT, 1280 if version == 6 else 0)
        assert refused.startswith(told[start + 8 : start + 8 + 100])
        assert left.drops() == {"path_too_narrow": 1}


async def test_what_is_refused_is_quoted_with_the_checksum_that_the_kernel_left_to_us() -> None:
    flow = Flow(protocol=UDP)
    async with narrow_session() as (left, _):
        left.tun.queue(bytes.fromhex("01000000000014000600") + flow.packet(bytes(1370), is_partial=True))
        await settle()
        (told,) = left.packets
        assert told[28 : 28 + flow.header] == flow.packet(bytes(1370))[: flow.header]


async def test_of_a_superpacket_that_may_not_be_cut_smaller_what_fits_arrives() -> None:
    flow = Flow(protocol=UDP)
    async with narrow_session() as (left, right):
        left.tun.queue(PLAIN + packet(1), superpacket(3 * 1300 + 500, 1300, flow), PLAIN + packet(2))
        await settle()
        assert [len(each) for each in written(right)] == [len(packet(1)), flow.header + 500, len(packet(2))]
        assert left.drops() == {"path_too_narrow": 3}
        assert {told[20] for told in left.packets} == {3}


async def test_what_is_sealed_and_waits_for_the_send_buffer_is_not_sealed_over() -> None:
    async with narrow_session() as (left, right):
        left.udp.room = 0
        left.tun.queue(*(PLAIN + packet(number) for number in range(5)))
        left.tun.queue(superpacket(2 * 1300 + 500, 1300, Flow(protocol=UDP)))
        await settle()
        assert left.device._host.burst._end > 0, "where the next would be sealed"
        left.udp.room = None
        await settle()
        assert [len(each) for each in written(right)] == [len(packet(0))] * 5 + [Flow(protocol=UDP).header + 500]
        assert left.drops() == {"path_too_narrow": 2}


async def test_a_superpacket_with_hardly_more_than_headers_in_each_packet_is_one_lost_packet() -> None:
    flow = Flow(version=6, extensions=(60,))
    frame = bytearray(superpacket(60_000 - 1200, 160, flow))
    extensions = 40 + 8 * len(flow.extensions)
    frame[10 + extensions : 10 + extensions] = bytes(1200)  # longer than what the path takes
    frame[10 + extensions - 7] = 1200 // 8
    struct.pack_into(">H", frame, 10 + 4, len(frame) - 10 - 40)
    struct.pack_into("<HHH", frame, 2, flow.header + 1200, 160, extensions + 1200)
    async with narrow_session() as (left, right):
        left.tun.queue(PLAIN + packet(1), bytes(frame), PLAIN + packet(2))
        await settle()
        assert written(right) == [packet(1), packet(2)]
        assert left.drops() == {"too_big": 1}


@pytest.mark.parametrize("room", [1, 2, 3])
async def test_while_the_send_buffer_is_full_packets_that_do_not_fit_wait_where_they_are(room: int) -> None:
    async with narrow_session() as (left, right):
        payloads = [bytes([number]) * 1380 for number in range(30)]
        singles = [PLAIN + Flow(ports=(number, 1)).packet(data) for number, data in enumerate(payloads)]
        frames = [*singles[:10], superpacket(30_000), *singles[10:20], superpacket(30_000), *singles[20:]]
        left.tun.queue(*frames)
        for _ in range(300):
            left.udp.room = room
            await settle()
            if not left.tun.waiting and left.udp.room:
                break
        assert left.drops() == right.drops() == {}
        written = {frame[30:32]: frame[50:] for frame in right.tun.written}
        assert [written[number.to_bytes(2, "big")] for number in range(30)] == payloads
        assert max(sent_sizes(left)) <= LONGEST


async def test_packets_that_wait_for_a_socket_that_goes_are_lost_and_counted() -> None:
    async with narrow_session() as (left, right):
        left.udp.room = 1
        left.tun.queue_packets(*(Flow(ports=(number, 1)).packet(bytes(1380)) for number in range(5)))
        await settle()
        left.pipeline.use_socket(None)
        assert left.drops() == {"unreachable": 2 + 3}  # one was sent, the next is two datagrams by now
        left.udp.room = None
        left.pipeline.use_socket(left.udp)
        left.tun.queue_packets(packet(7, flow=Flow(protocol=TCP)))
        await settle()
        assert written(right)[-1] == packet(7, flow=Flow(protocol=TCP))


async def test_the_way_back_is_not_concerned() -> None:
    async with narrow_session() as (left, right):
        right.udp.longest = 65535
        flow = Backward()
        frame = superpacket(50_000, 1368, flow)
        right.tun.queue(frame)
        await settle()
        assert written(left) == [frame[10:]]

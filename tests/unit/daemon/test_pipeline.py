"""The way of a packet on a real event loop, between TUNs and sockets that are in memory."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
import uvloop

from tests.properties.superpackets import TCP, UDP, Flow
from tests.unit.daemon.pipelines import HELLO, Backward, packet, pair, session, settle, superpacket, until
from tunnel.daemon.pipeline import superpacket_size
from tunnel.protocol.events import HandshakeCompleted, PeerRoamed
from tunnel.wire.messages import TRANSPORT_OVERHEAD, MessageType, message_type
from tunnel.wire.train import MAX_TRAIN_BYTES, MAX_TRAIN_COUNT
from tunnel.wire.virtio import PLAIN

pytestmark = pytest.mark.usefixtures("offered")

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


# ---- there and back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("flow", [Flow(), Flow(version=6), Flow(protocol=UDP), Flow(version=6, protocol=UDP)])
def test_what_goes_in_comes_out(new_loop: Callable[[], asyncio.AbstractEventLoop], flow: Flow) -> None:
    async def there_and_back() -> None:
        back = Backward(flow.version, flow.protocol)
        async with pair() as (left, right):
            frames = [PLAIN + flow.packet(b"a packet"), superpacket(flow=replace(flow, ports=(1, 2)))]
            left.tun.queue(*frames)
            await until(lambda: right.tun.written == frames)
            frames = [PLAIN + back.packet(b"another"), superpacket(flow=replace(back, ports=(1, 2)))]
            right.tun.queue(*frames)
            await until(lambda: left.tun.written == frames)
            assert left.drops() == right.drops() == {}

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(there_and_back())


async def test_a_superpacket_leaves_as_one_train() -> None:
    async with session() as (left, right):
        left.tun.queue(superpacket(50_000, 1250))
        await until(lambda: bool(right.tun.written))
        assert [train.count for train in left.udp.sent] == [40]


async def test_a_superpacket_of_tiny_segments_arrives_too() -> None:
    async with session() as (left, right):
        frame = superpacket(200 * 20, 20)
        left.tun.queue(frame)
        await settle()
        assert [train.count for train in left.udp.sent] == [64, 64, 64, 8]
        assert sum(len(written) - 50 for written in right.tun.written) == 200 * 20


async def test_small_packets_leave_together_and_in_order() -> None:
    async with session() as (left, right):
        packets = [packet(number) for number in range(50)]
        left.tun.queue_packets(*packets)
        await until(lambda: len(right.tun.written) == 50)
        assert [train.count for train in left.udp.sent] == [50]
        assert right.packets == packets


async def test_packets_of_many_sizes_keep_their_order() -> None:
    async with session() as (left, right):
        packets = [packet(number, 4 * (number * number % 300)) for number in range(300)]
        left.tun.queue_packets(*packets)
        await until(lambda: len(right.tun.written) == 300)
        assert right.packets == packets


async def test_superpackets_between_single_ones_keep_their_place() -> None:
    async with session() as (left, right):
        singles = [PLAIN + packet(number) for number in range(30)]
        frames = [*singles[:9], superpacket(), *singles[9:10], superpacket(9000), superpacket(500, 100), *singles[10:]]
        left.tun.queue(*frames)
        await until(lambda: len(right.tun.written) == len(frames))
        assert right.tun.written == frames


async def test_packets_wait_for_the_handshake() -> None:
    async with pair() as (left, right):
        frames = [PLAIN + packet(1), superpacket(), PLAIN + packet(2)]
        left.tun.queue(*frames)
        await until(lambda: len(right.tun.written) == 3)
        assert right.tun.written == frames


# ---- work that the kernel left to us ----------------------------------------------------------------------------


@pytest.mark.parametrize("offered", [None], indirect=True)
async def test_a_checksum_that_the_kernel_left_is_completed() -> None:
    async with session() as (left, right):
        flow = Flow(protocol=UDP)
        left.tun.queue(bytes.fromhex("01000000000014000600") + flow.packet(b"partial", is_partial=True))
        await until(lambda: bool(right.tun.written))
        assert right.packets == [flow.packet(b"partial")]


@pytest.mark.parametrize("place", ["0000", "1300", "ff00"])
async def test_a_checksum_within_the_header_or_outside_the_packet_is_counted(place: str) -> None:
    async with session() as (left, right):
        broken = bytes.fromhex(f"010000000000{place}0600") + HELLO
        left.tun.queue(PLAIN + packet(1), broken, PLAIN + packet(2))
        await until(lambda: len(right.tun.written) == 2)
        assert right.packets == [packet(1), packet(2)]
        assert left.drops() == {"malformed_packet": 1}


@pytest.mark.parametrize(
    ("at", "value"),
    [(0, 0), (1, 3), (1, 5), (4, 0), (6, 19), (8, 6), (10 + 9, 50)],
    ids=["no checksum", "UFO", "UDP", "no size", "place", "offset", "protocol"],
)
async def test_a_superpacket_that_contradicts_itself_is_counted(at: int, value: int) -> None:
    async with session() as (left, right):
        broken = bytearray(superpacket(1024, 256))
        broken[at : at + 2 if at == 4 else at + 1] = bytes([value]) * (2 if at == 4 else 1)
        left.tun.queue(PLAIN + packet(1), bytes(broken), PLAIN + packet(2))
        await until(lambda: len(right.tun.written) == 2)
        assert right.packets == [packet(1), packet(2)]
        assert left.drops() == {"malformed_packet": 1}


@pytest.mark.parametrize("frame", [PLAIN, PLAIN + b"\x45", PLAIN + b"\x99" * 40])
async def test_a_frame_without_a_packet_is_counted(frame: bytes) -> None:
    async with session() as (left, right):
        left.tun.queue(frame, PLAIN + HELLO)
        await until(lambda: right.tun.written == [PLAIN + HELLO])
        assert left.drops() == {"malformed_packet": 1}


async def test_a_superpacket_to_nobody_is_counted() -> None:
    async with session() as (left, _):
        left.tun.queue(superpacket(flow=Backward()).replace(bytes([10, 0, 0, 1]), bytes([10, 0, 0, 7])))
        await until(lambda: left.drops() == {"no_route": 1})


# ---- what the interface takes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offloads", "tcp", "udp"),
    [
        ({"csum", "tso4", "tso6", "uso4", "uso6"}, 1, 1),
        ({"csum", "tso4", "tso6"}, 1, 8),
        ({"csum", "uso4", "uso6"}, 8, 1),
        ({"csum", "tso4", "uso4"}, 8, 8),
        ({"tso4", "tso6", "uso4", "uso6"}, 8, 8),
        (set(), 8, 8),
    ],
)
async def test_only_what_the_interface_takes_is_joined(offloads: set[str], tcp: int, udp: int) -> None:
    async with session(offloads=frozenset(offloads)) as (left, right):
        for protocol, frames in ((TCP, tcp), (UDP, udp)):
            right.forget()
            left.tun.queue(superpacket(8000, 1000, Flow(protocol=protocol)))
            await settle()
            assert len(right.tun.written) == frames


async def test_what_the_interface_refuses_is_counted() -> None:
    async with session() as (left, right):
        right.tun.refuses = True
        left.tun.queue_packets(*(packet(number) for number in range(5)))
        await until(lambda: right.drops() == {"tun_refused": 5})


# ---- the socket -------------------------------------------------------------------------------------------------


async def test_what_the_network_refuses_is_counted() -> None:
    async with session() as (left, right):
        right.pipeline.stop()
        right.udp.close()
        left.tun.queue_packets(*(packet(number) for number in range(5)))
        await until(lambda: left.drops() == {"unreachable": 5})


async def test_without_a_socket_everything_is_counted() -> None:
    async with session() as (left, _):
        left.pipeline.use_socket(None)
        left.tun.queue(*(PLAIN + packet(number) for number in range(5)), superpacket(5000, 1000))
        await until(lambda: left.drops() == {"unreachable": 10})


async def test_another_socket_takes_over() -> None:
    async with session() as (left, right):
        before, left.udp = left.udp, left.udp.on_port(51999)
        left.pipeline.use_socket(left.udp)
        left.tun.queue_packets(packet(1))
        await until(lambda: right.packets == [packet(1)])
        right.tun.queue_packets(packet(2, flow=Backward(protocol=UDP)))
        await until(lambda: left.packets == [packet(2, flow=Backward(protocol=UDP))])
        assert not before.sent
        assert not asyncio.get_running_loop().remove_reader(before.filenos()[0])
        assert [event.after.port for event in right.events if isinstance(event, PeerRoamed)][-1] == 51999
        before.close()


async def test_events_are_delivered() -> None:
    async with session() as (left, right):
        completed = [
            [e.as_initiator for e in side.events if isinstance(e, HandshakeCompleted)] for side in (left, right)
        ]
        assert completed == [[True], [False]]


async def test_a_change_of_the_device_is_carried_off_at_once() -> None:
    async with session() as (left, right):
        left.device.down(0)
        left.device.up(0)
        left.add_peer(right)
        left.device._peers[right.private_key.public_key].handshakes.initiate(2000.0)
        assert not left.udp.sent
        left.pipeline.turn()
        assert [message_type(train.buffer) for train in left.udp.sent][-1] == MessageType.HANDSHAKE_INITIATION


# ---- the end ----------------------------------------------------------------------------------------------------


async def test_an_interface_that_is_deleted_is_told_once() -> None:
    async with session() as (left, _):
        left.tun.delete()
        await until(lambda: bool(left.ends))
        await settle()
        left.pipeline.turn()
        assert [str(end) for end in left.ends] == ["interface 'wg0' was deleted"]
        assert not left.is_watched()


async def test_an_interface_deleted_while_we_write_is_told_once() -> None:
    """It is not read, since the send buffer is full; so it is the write that finds out."""
    async with session() as (left, right):
        left.udp.room = 0
        left.tun.queue_packets(packet(1))
        await settle()
        left.tun.delete()
        right.tun.queue_packets(packet(2, flow=Backward(protocol=UDP)), packet(3, flow=Backward(protocol=UDP)))
        await until(lambda: bool(left.ends))
        await settle()
        assert len(left.ends) == 1
        assert not left.is_watched()


async def test_stopping_leaves_nothing_behind() -> None:
    async with session() as (left, _):
        for _ in range(2):
            left.pipeline.stop()
        assert not left.is_watched()
        assert not left.ends


async def test_stopping_while_the_send_buffer_is_full_leaves_nothing_behind() -> None:
    async with session() as (left, _):
        left.udp.room = 0
        left.tun.queue_packets(packet(1))
        await settle()
        left.pipeline.stop()
        assert not left.is_watched()


async def test_stopping_what_never_started_is_harmless() -> None:
    async with pair() as (left, _):
        left.pipeline.stop()
        left.pipeline.stop()
        assert not left.is_watched()


# ---- the size of superpackets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mtu", [576, 1000, 1280, 1420, 1500, 8920, 9000, 32768, 65475])
def test_the_packets_of_a_superpacket_fit_one_send(mtu: int) -> None:
    segment = mtu - 72
    count = -(-(superpacket_size(mtu) - 72) // segment)
    assert 1 <= count <= MAX_TRAIN_COUNT
    assert count == 1 or count * (mtu + TRANSPORT_OVERHEAD) <= MAX_TRAIN_BYTES
    assert count == MAX_TRAIN_COUNT or (count + 1) * (mtu + TRANSPORT_OVERHEAD) > MAX_TRAIN_BYTES

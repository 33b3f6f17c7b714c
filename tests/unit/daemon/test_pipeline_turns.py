"""Who waits for whom: a full send buffer, endless traffic, and the one alarm."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.properties.superpackets import UDP, Flow
from tests.unit.daemon.pipelines import (
    Backward,
    FakeTimeLoop,
    Side,
    packet,
    pair,
    session,
    settle,
    superpacket,
    until,
)
from tunnel.daemon.pipeline import BURST, MAX_UNSENT, TURN_BYTES
from tunnel.endpoint import Endpoint
from tunnel.keys import PublicKey
from tunnel.protocol.cookie import CookieGenerator
from tunnel.testing.memory import MemoryUdp
from tunnel.wire.messages import COOKIE_REPLY_SIZE, Initiation, MessageType, message_type, pack_initiation
from tunnel.wire.train import MAX_TRAIN_COUNT, Train
from tunnel.wire.virtio import PLAIN

pytestmark = pytest.mark.usefixtures("offered")

BACK = Backward(protocol=UDP)
MIXED = [
    PLAIN + packet(1),
    superpacket(),
    superpacket(flow=Flow(ports=(1, 2))),
    *(PLAIN + packet(number) for number in range(2, 90)),
    superpacket(30_000),
    superpacket(30_000, flow=Flow(ports=(1, 2))),
]
"""Superpackets in a row would overwrite each other if the first had to wait."""


# ---- a full send buffer -----------------------------------------------------------------------------------------


async def test_while_the_send_buffer_is_full_the_interface_is_not_read() -> None:
    async with session() as (left, _):
        left.udp.room = 0
        left.tun.queue_packets(*(packet(number) for number in range(500)))
        await settle()
        assert left.tun.waiting == 500 - BURST
        assert not left.udp.sent
        assert not asyncio.get_running_loop().remove_reader(left.tun.fileno())


async def test_the_superpacket_that_fills_the_send_buffer_is_the_last_one_read() -> None:
    async with session() as (left, _):
        left.udp.room = 0
        left.tun.queue(*MIXED[1:])
        await settle()
        assert left.tun.waiting == len(MIXED) - 2


async def test_what_waited_for_the_send_buffer_arrives_in_order() -> None:
    async with session() as (left, right):
        left.udp.room = 0
        packets = [packet(number) for number in range(500)]
        left.tun.queue_packets(*packets)
        await settle()
        left.udp.room = None
        await until(lambda: len(right.tun.written) == 500)
        assert right.packets == packets
        assert left.drops() == right.drops() == {}


@pytest.mark.parametrize("room", range(1, 6))
async def test_trains_of_every_kind_go_on_where_they_stopped(room: int) -> None:
    """Whatever was sealed when the buffer became full lies where it was until there is room again."""
    async with session() as (left, right):
        left.tun.queue(*MIXED)
        while len(right.tun.written) < len(MIXED):
            left.udp.room = room
            await until(lambda: left.udp.room == 0 or len(right.tun.written) == len(MIXED))
            await settle()
        assert right.tun.written == MIXED
        assert left.drops() == right.drops() == {}


async def test_other_packets_meanwhile_leave_what_waits_as_it_is() -> None:
    """Packets staged for another session are gathered in the same memory as those that wait."""
    async with session() as (left, right):
        left.udp.room = 0
        packets = [packet(number) for number in range(20)]
        left.tun.queue_packets(*packets)
        await settle()
        peer = left.device._peers[right.private_key.public_key]
        staged = [memoryview(bytearray(16) + packet(number) + bytes(48)) for number in range(100, 110)]
        peer._staged.add(staged, [len(packet(1))] * 10)
        peer.send_staged(1000.0)
        left.udp.room = None  # and they do not overtake, though they could be sent at once
        left.pipeline.turn()
        await until(lambda: len(right.tun.written) == 30)
        assert right.packets == [*packets, *(packet(number) for number in range(100, 110))]


async def test_what_arrives_is_handed_on_while_the_send_buffer_is_full() -> None:
    async with session() as (left, right):
        left.udp.room = 0
        left.tun.queue_packets(packet(1))
        await settle()
        right.tun.queue_packets(packet(2, flow=BACK))
        await until(lambda: left.packets == [packet(2, flow=BACK)])


async def test_what_waited_for_a_socket_that_is_replaced_is_counted() -> None:
    async with session() as (left, right):
        left.udp.room = 0
        left.tun.queue_packets(*(packet(number) for number in range(10)))
        await settle()
        before, left.udp = left.udp, left.udp.on_port(51999)
        left.pipeline.use_socket(left.udp)
        assert left.drops() == {"unreachable": 10}
        left.tun.queue_packets(packet(77))
        await until(lambda: right.packets == [packet(77)])
        assert not asyncio.get_running_loop().remove_writer(before.filenos()[0])
        before.close()


def flood(udp: MemoryUdp, target: Endpoint, key: PublicKey, count: int) -> None:
    """Send initiations that are meant for `key` and say nothing, in trains."""
    message = CookieGenerator(key).add_macs(pack_initiation(Initiation(1, bytes(32), bytes(48), bytes(28))), 0.0)
    for start in range(0, count, MAX_TRAIN_COUNT):
        copies = min(MAX_TRAIN_COUNT, count - start)
        train = Train(memoryview(bytearray(message * copies)), copies, len(message), len(message))
        assert udp.send([(train, target)]) == 1


async def test_few_handshake_messages_wait_for_the_send_buffer() -> None:
    async with session() as (left, _):
        stranger = left.udp.on_port(999)
        left.udp.room = 0
        for _ in range(3):
            flood(stranger, left.udp.endpoint, left.private_key.public_key, 40 * MAX_TRAIN_COUNT)
            await settle()
        left.udp.room = None
        await until(lambda: len(left.udp.sent) >= MAX_UNSENT)
        await settle()
        assert len(left.udp.sent) == MAX_UNSENT
        assert {len(train.buffer) for train in left.udp.sent} == {COOKIE_REPLY_SIZE}
        drops = left.drops()
        assert drops["wrong_mac2"] == MAX_UNSENT + drops["unreachable"]
        stranger.close()


async def test_packets_that_wait_are_not_pushed_out_by_handshake_messages() -> None:
    async with session() as (left, right):
        stranger = left.udp.on_port(999)
        left.udp.room = 0
        packets = [packet(number) for number in range(100)]
        left.tun.queue_packets(*packets)
        await settle()
        flood(stranger, left.udp.endpoint, left.private_key.public_key, 40 * MAX_TRAIN_COUNT)
        await settle()
        left.udp.room = None
        await until(lambda: len(right.tun.written) == 100)
        assert right.packets == packets
        stranger.close()


# ---- endless traffic --------------------------------------------------------------------------------------------

BROKEN = bytes.fromhex("01000000000000000600") + packet(1)
FRAMES = {
    "packets": PLAIN + packet(1),
    "packets to nobody": PLAIN + packet(1, flow=BACK).replace(bytes([10, 0, 0, 1]), bytes([10, 0, 0, 7])),
    "frames that are refused": BROKEN,
    "small superpackets": superpacket(40, 20),
    "superpackets that are refused": b"\1\3" + superpacket(40, 20)[2:],
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
async def test_an_endless_interface_leaves_turns_to_others(frame: bytes) -> None:
    async with session() as (left, _):
        left.tun.queue(*[frame] * 2000)
        turns = 0
        while left.tun.waiting:
            before = left.tun.waiting
            await asyncio.sleep(0)
            assert before - left.tun.waiting <= BURST
            turns += 1
        assert turns >= 2000 // BURST


async def test_few_large_superpackets_are_read_in_one_turn() -> None:
    async with session() as (left, _):
        left.tun.queue(*[superpacket()] * 50)
        while left.tun.waiting:
            before = left.tun.waiting
            await asyncio.sleep(0)
            assert before - left.tun.waiting <= TURN_BYTES // 60_000 + 1


async def test_an_endless_interface_does_not_keep_datagrams_or_timers_waiting() -> None:
    async with session() as (left, right):
        left.tun.queue(*[PLAIN + packet(1)] * 5000)
        right.tun.queue_packets(packet(2, flow=BACK))
        rang: list[int] = []
        asyncio.get_running_loop().call_later(0, lambda: rang.append(left.tun.waiting))
        await until(lambda: bool(left.tun.written and rang))
        assert left.tun.waiting > 4000
        assert rang[0] > 4000


async def test_endless_datagrams_do_not_keep_the_interface_waiting() -> None:
    async with session() as (left, right):
        stranger = left.udp.on_port(999)
        for _ in range(5000):
            stranger.send([(Train.single(memoryview(b"garbage")), left.udp.endpoint)])
        left.tun.queue_packets(packet(1))
        await until(lambda: bool(right.tun.written))
        assert left.drops()["malformed_datagram"] < 1000
        stranger.close()


# ---- the alarm --------------------------------------------------------------------------------------------------


def with_fake_time(scenario: Callable[[FakeTimeLoop], Awaitable[None]]) -> None:
    loop = FakeTimeLoop()

    async def run() -> None:
        await scenario(loop)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(run())


def kinds(side: Side) -> list[int]:
    return [message_type(train.buffer) for train in side.udp.sent]


def test_what_is_due_happens_without_any_packet() -> None:
    async def unanswered(loop: FakeTimeLoop) -> None:
        async with pair(loop.clock) as (left, right):
            right.pipeline.use_socket(None)
            left.tun.queue_packets(packet(1))
            await settle()
            for attempts in range(1, 4):
                assert kinds(left) == [MessageType.HANDSHAKE_INITIATION] * attempts
                loop.clock.advance(5.4)
                await settle()

    with_fake_time(unanswered)


def test_nothing_is_due_before_its_time() -> None:
    async def answered(loop: FakeTimeLoop) -> None:
        async with session(loop.clock) as (left, right):
            left.tun.queue_packets(packet(1))
            await settle()
            loop.clock.advance(9.9)
            await settle()
            assert not right.udp.sent
            loop.clock.advance(0.2)
            await settle()
            assert [len(train.buffer) for train in right.udp.sent] == [32]

    with_fake_time(answered)


def test_an_alarm_that_comes_too_early_is_set_again() -> None:
    """The first packet wants a keepalive ten seconds later; an answer makes that void, the next one wants another."""

    async def early(loop: FakeTimeLoop) -> None:
        async with session(loop.clock) as (left, right):
            left.tun.queue_packets(packet(1))
            await settle()
            loop.clock.advance(4)
            right.tun.queue_packets(packet(2, flow=BACK))
            await settle()
            left.tun.queue_packets(packet(3))
            await settle()
            right.forget()
            loop.clock.advance(6.1)  # the alarm of the first
            await settle()
            assert not right.udp.sent
            loop.clock.advance(4)
            await settle()
            assert [len(train.buffer) for train in right.udp.sent] == [32]

    with_fake_time(early)


def test_packets_do_not_move_the_alarm() -> None:
    async def busy(loop: FakeTimeLoop) -> None:
        async with session(loop.clock) as (left, right):
            left.tun.queue_packets(packet(0))
            right.tun.queue_packets(packet(0, flow=BACK))
            await settle()
            timers = loop.timers
            for number in range(50):
                loop.clock.advance(0.01)
                left.tun.queue_packets(packet(number))
                right.tun.queue_packets(packet(number, flow=BACK))
                await settle()
            assert len(right.tun.written) == 51
            assert loop.timers == timers

    with_fake_time(busy)


def test_an_earlier_deadline_moves_the_alarm() -> None:
    async def sooner(loop: FakeTimeLoop) -> None:
        async with session(loop.clock) as (left, _):
            await settle()
            peer = next(iter(left.device._peers.values()))
            peer.set_persistent_keepalive(1, loop.clock.now())
            left.device._peers.reschedule(peer)
            left.pipeline.turn()
            left.forget()
            loop.clock.advance(1.1)
            await settle()
            assert [len(train.buffer) for train in left.udp.sent] == [32]

    with_fake_time(sooner)


def test_a_stopped_pipeline_sets_no_alarm() -> None:
    async def stopped(loop: FakeTimeLoop) -> None:
        async with session(loop.clock) as (left, right):
            right.pipeline.stop()
            left.pipeline.stop()
            timers = loop.timers
            left.device._peers[right.private_key.public_key].handshakes.initiate(loop.clock.now() + 10)
            left.pipeline.turn()
            loop.clock.advance(3600)
            await settle()
            assert loop.timers == timers
            assert not left.udp.sent

    with_fake_time(stopped)


def test_an_alarm_does_not_outlive_the_pipeline() -> None:
    """Neither the last one, nor the one before that was moved."""

    async def stopped(loop: FakeTimeLoop) -> None:
        async with session(loop.clock) as (left, right):
            peer = left.device._peers[right.private_key.public_key]
            peer.set_persistent_keepalive(1, loop.clock.now())
            left.device._peers.reschedule(peer)
            left.pipeline.turn()
            for side in (left, right):
                side.pipeline.stop()
                side.events.clear()
            loop.clock.advance(3600)
            await settle()
            assert not left.events
            assert left.drops() == {}

    with_fake_time(stopped)


async def test_an_interface_that_is_deleted_after_the_stop_is_not_told() -> None:
    async with session() as (left, right):
        left.pipeline.stop()
        left.tun.delete()
        left.pipeline.use_socket(left.udp)
        right.tun.queue_packets(packet(1, flow=BACK))
        await settle()
        assert not left.ends


async def test_a_pipeline_that_was_stopped_does_not_read_again() -> None:
    async with session() as (left, _):
        left.pipeline.stop()
        left.udp.room = 0
        left.pipeline.use_socket(left.udp)
        left.device.send([memoryview(bytearray(16) + packet(1) + bytes(48))], [len(packet(1))], 1000.0)
        left.pipeline.turn()
        left.udp.room = None
        left.tun.queue_packets(packet(2))
        await settle()
        assert left.tun.waiting == 1

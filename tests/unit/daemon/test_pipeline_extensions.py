"""What differs between peers that are like us: how superpackets and checksums cross, in trains, over the network."""

from dataclasses import replace

import pytest

from tests.properties.superpackets import TCP, UDP, Flow
from tests.unit.daemon.pipelines import Side, packet, session, superpacket, until
from tunnel.protocol.transport import SLOT_OVERHEAD
from tunnel.wire.control import SLICES, Capability
from tunnel.wire.messages import ExtendedFlag, MessageType
from tunnel.wire.train import Train
from tunnel.wire.virtio import PLAIN

ALL = Capability(sum(Capability))
PARTIAL_HEADER = {TCP: "01000000000014001000", UDP: "01000000000014000600"}
"""The virtio header of an IPv4 packet whose checksum is left to us."""


@pytest.fixture(autouse=True)
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Side, "offered", ALL)


def kinds_of(side: Side) -> list[tuple[int, int]]:
    """Type and flags, but for the cipher's and the end's, of each train that was sent."""
    ignored = ExtendedFlag.AES_256_GCM | ExtendedFlag.LAST
    return [(train.buffer[0], train.buffer[1] & ~ignored) for train in side.udp.sent]


@pytest.mark.parametrize("flow", [Flow(), Flow(version=6), Flow(protocol=UDP), Flow(version=6, protocol=UDP)])
async def test_a_superpacket_crosses_in_one_train_of_slices_and_comes_out_as_it_went_in(flow: Flow) -> None:
    async with session() as (left, right):
        frame = superpacket(50_000, 1250, flow)
        left.tun.queue(frame)
        await until(lambda: bool(right.tun.written))
        assert kinds_of(left) == [(MessageType.EXTENDED_DATA, ExtendedFlag.SLICE)]
        assert right.tun.written == [frame]


@pytest.mark.parametrize("protocol", [TCP, UDP])
async def test_a_checksum_that_the_kernel_left_is_left_to_the_other_kernel(protocol: int) -> None:
    async with session() as (left, right):
        flow = Flow(protocol=protocol)
        frame = bytes.fromhex(PARTIAL_HEADER[protocol]) + flow.packet(b"partial", is_partial=True)
        left.tun.queue(frame)
        await until(lambda: bool(right.tun.written))
        assert kinds_of(left) == [(MessageType.EXTENDED_DATA, ExtendedFlag.PARTIAL)]
        (written,) = right.tun.written
        assert written[0] == 1
        assert written[10:] == frame[10:]


async def test_equal_packets_with_partial_checksums_leave_as_one_train() -> None:
    async with session() as (left, right):
        flows = [Flow(protocol=UDP, ports=(number, 9)) for number in range(20)]
        header = bytes.fromhex(PARTIAL_HEADER[UDP])
        frames = [header + flow.packet(b"partial", is_partial=True) for flow in flows]
        left.tun.queue(*frames)
        await until(lambda: len(right.tun.written) == 20)
        assert [train.count for train in left.udp.sent] == [20]
        assert [written[10:] for written in right.tun.written] == [frame[10:] for frame in frames]


async def test_what_is_no_superpacket_like_most_crosses_as_packets() -> None:
    urgent = 32
    async with session() as (left, right):
        frame = superpacket(4_000, 1000, Flow(flags=Flow.flags | urgent))
        left.tun.queue(frame)
        await until(lambda: len(right.tun.written) == 4)
        assert kinds_of(left) == [(MessageType.EXTENDED_DATA, 0)]


@pytest.mark.parametrize("taken", [Capability(0), SLICES, Capability.PARTIAL, Capability.AES_256_GCM])
async def test_a_peer_gets_only_what_it_takes(monkeypatch: pytest.MonkeyPatch, taken: Capability) -> None:
    monkeypatch.setattr(Side, "offered", taken)
    async with session() as (left, right):
        partial = bytes.fromhex(PARTIAL_HEADER[UDP]) + Flow(protocol=UDP).packet(b"partial", is_partial=True)
        left.tun.queue(partial, superpacket(), superpacket(flow=replace(Flow(), protocol=UDP)))
        await until(lambda: len(right.tun.written) == 3)
        flags = [flags for _, flags in kinds_of(left)]
        assert flags[0] == (ExtendedFlag.PARTIAL if taken & Capability.PARTIAL else 0)
        assert flags[1:] == [ExtendedFlag.SLICE if taken & SLICES else 0] * 2
        has_aes = bool(taken & Capability.AES_256_GCM)
        assert [bool(train.buffer[1] & ExtendedFlag.AES_256_GCM) for train in left.udp.sent] == [has_aes] * 3
        assert left.drops() == right.drops() == {}


async def test_slices_that_are_malformed_are_counted_and_nothing_else_is_lost() -> None:
    async with session() as (left, right):
        (peer,) = left.device._peers.values()
        frame = bytearray(superpacket(4_000, 1000))
        outbounds = left.pipeline._cut(memoryview(frame), ALL, peer.limit)
        assert isinstance(outbounds, list)
        outbounds[0].train.datagrams()[1][16 + 2] ^= 0xFF  # the offset of the second slice
        for outbound in outbounds:
            left.device.send_train(peer, outbound, 0.0)
        left.pipeline.turn()
        left.tun.queue_packets(packet(1))
        await until(lambda: len(right.tun.written) == 3)
        assert right.drops() == {"malformed_packet": 1}


async def test_an_acknowledgement_that_the_kernel_appended_to_slices_costs_no_more_than_itself() -> None:
    """UDP_GRO ends a train with whatever is shorter and comes from the same place."""
    async with session() as (left, right):
        (peer,) = left.device._peers.values()
        frame = superpacket(40 * 1250, 1250)
        outbounds = left.pipeline._cut(memoryview(bytearray(frame)), ALL, peer.limit)
        assert isinstance(outbounds, list)
        left.device.send_train(peer, outbounds[0], 0.0)
        acknowledgement = packet(1)
        slot = memoryview(bytearray(16 + len(acknowledgement) + SLOT_OVERHEAD))
        slot[16 : 16 + len(acknowledgement)] = acknowledgement
        left.device.send([slot], [len(acknowledgement)], 0.0)
        (slices, _), (single, _) = left.device.take_datagrams()
        memory = memoryview(bytearray(bytes(slices.buffer) + bytes(single.buffer)))
        train = Train(memory, slices.count + 1, slices.size, len(single.buffer))
        right.device.receive([train], [left.udp.endpoint], 0.0)
        right.pipeline.turn()
        assert right.tun.written == [frame, PLAIN + acknowledgement]

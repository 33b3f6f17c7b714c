"""The conversation of docs/protocol-examples.md, held by two devices whose keys and indices are given.

It is always the same moment, but when a device is asked what it does next (its keepalive).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import NamedTuple

from tunnel.config.patch import AllowedIPChange, DevicePatch, PeerPatch
from tunnel.endpoint import Endpoint
from tunnel.keys import PrivateKey
from tunnel.offload.coalesce import Coalescer
from tunnel.offload.slices import Slicer
from tunnel.protocol.device import Device
from tunnel.protocol.transport import SLOT_OVERHEAD
from tunnel.wire.control import Capability
from tunnel.wire.messages import TRANSPORT_HEADER_SIZE
from tunnel.wire.train import Train
from tunnel.wire.virtio import VIRTIO_HEADER_SIZE

NOW = 0.0


@dataclass(frozen=True, slots=True)
class Given:
    """What one side starts with. `network` is what it has inside, `mtu` that of its inner interface."""

    private_key: PrivateKey
    ephemeral: bytes
    index: bytes
    endpoint: Endpoint
    network: str
    mtu: int
    offered: Capability | None


class Side:
    """One device, whose random numbers are those of the example; `frames` is what its kernel got."""

    def __init__(self, ours: Given, theirs: Given, stamp: bytes = b"") -> None:
        random = {32: ours.ephemeral, 4: ours.index, 2: bytes(2)}
        self.endpoint = ours.endpoint
        self.device = Device(random.__getitem__, lambda: stamp)
        self.device.mtu = ours.mtu
        self.device.offered = ours.offered
        allowed = (AllowedIPChange(ip_network(theirs.network)),)
        peer = PeerPatch(theirs.private_key.public_key, endpoint=theirs.endpoint, allowed_ips=allowed)
        self.device.apply(DevicePatch(private_key=ours.private_key, peers=(peer,)), NOW)
        self.device.up(NOW)
        self.frames: list[bytes] = []

    def send(self, packet: bytes, flags: int = 0) -> bytes:
        """The datagram that it makes of a packet."""
        slot = memoryview(bytearray(len(packet) + SLOT_OVERHEAD))
        slot[TRANSPORT_HEADER_SIZE : TRANSPORT_HEADER_SIZE + len(packet)] = packet
        self.device.send([slot], [len(packet)], NOW, [flags] if flags else ())
        return self.said()

    def send_superpacket(self, frame: bytes) -> list[bytes]:
        """The datagrams that it makes of a superpacket."""
        peer = self.device.route(memoryview(frame)[VIRTIO_HEADER_SIZE:])
        cut = Slicer().slice(memoryview(frame), memoryview(bytearray(1 << 16)))
        assert peer is not None
        assert isinstance(cut, list)
        for outbound in cut:
            self.device.send_train(peer, outbound, NOW)
        return self._take()

    def probe(self) -> list[bytes]:
        """The datagrams with which it begins to find out about the path, as it does beside large data."""
        peer = next(iter(self.device._peers.values()))
        assert peer.keypairs.current is not None
        peer.probes.data_sent(self.device.mtu, peer, peer.keypairs.current, NOW)
        return [bytes(probe) for probe, _ in self.device.take_probes()]

    def receive(self, source: "Side", *datagrams: bytes) -> None:
        """Datagrams from `source` arrive, all at once."""
        buffer = memoryview(bytearray(b"".join(datagrams)))
        train = Train(buffer, len(datagrams), len(datagrams[0]), len(datagrams[-1]))
        self.device.receive([train], [source.endpoint], NOW)
        self.device.expire(NOW)
        self.frames += map(b"".join, Coalescer().coalesce(self.device.take_packets()))

    def said(self) -> bytes:
        """The one datagram that it has made since."""
        (datagram,) = self._take()
        return datagram

    def _take(self) -> list[bytes]:
        trains = [train for train, _ in self.device.take_datagrams()]
        return [bytes(datagram) for train in trains for datagram in train.datagrams()]


class Beginning(NamedTuple):
    """Two sides after a handshake, and what they have said so far; `answer` is a hello or a keepalive."""

    initiator: Side
    responder: Side
    initiation: bytes
    response: bytes
    data: bytes
    answer: bytes


def begin(initiator: Given, responder: Given, stamp: bytes, packet: bytes) -> Beginning:
    """The initiator has a packet, the responder answers it: with a hello if it speaks the extensions."""
    left, right = Side(initiator, responder, stamp), Side(responder, initiator)
    initiation = left.send(packet)
    right.receive(left, initiation)
    response = right.said()
    left.receive(right, response)
    data = left.said()
    right.receive(left, data)
    if responder.offered is None:
        right.device.expire(right.device.deadline)
    return Beginning(left, right, initiation, response, data, right.said())


def greet(beginning: Beginning) -> bytes:
    """The initiator's answer to the hello."""
    left, right, *_, hello = beginning
    left.receive(right, hello)
    answer = left.said()
    right.receive(left, answer)
    return answer


def frames_of(initiator: Side, responder: Side, datagrams: Sequence[bytes]) -> list[bytes]:
    """What the responder's kernel gets when these arrive."""
    responder.frames.clear()
    responder.receive(initiator, *datagrams)
    return responder.frames

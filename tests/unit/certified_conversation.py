"""Messages 16 to 19 of docs/protocol-examples.md, between two devices whose keys, nonces and indices are given.

Their gatekeepers believe everything. It is always the same moment.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tunnel.config.patch import DevicePatch, PeerPatch
from tunnel.endpoint import Endpoint
from tunnel.keys import PrivateKey, PublicKey
from tunnel.protocol.credentials import Chain, Credentials
from tunnel.protocol.device import Device
from tunnel.wire.control import Capability
from tunnel.wire.train import Train

NOW = 0.0


@dataclass(frozen=True, slots=True)
class Given:
    """What one side starts with. `random` is what it draws, in order."""

    private_key: PrivateKey
    endpoint: Endpoint
    certificate: bytes
    authority: bytes
    random: tuple[bytes, ...]


class Side:
    """One device; `other` is whom its gatekeeper takes everybody for."""

    def __init__(self, ours: Given, other: PublicKey, stamp: bytes = b"") -> None:
        self.endpoint = ours.endpoint
        self._other = other
        self._random = iter(ours.random)
        self.device = Device(self._draw, lambda: stamp)
        self.device.offered = Capability(0)
        self.device.apply(DevicePatch(private_key=ours.private_key), NOW)
        self.device.gatekeeper = self
        self.device.credentials = Credentials((ours.certificate,), ours.authority, (ours.authority,))
        self.device.up(NOW)

    def answered(self, endpoint: Endpoint, chain: Chain, now: float) -> DevicePatch:
        return DevicePatch(peers=(PeerPatch(self._other),))

    def presented(self, public_key: PublicKey, chain: Chain, endpoint: Endpoint, now: float) -> DevicePatch:
        return DevicePatch(peers=(PeerPatch(self._other),))

    def receive(self, source: "Side", datagram: bytes) -> Iterator[bytes]:
        """What it says to a datagram from `source`."""
        self.device.receive([Train.single(memoryview(bytearray(datagram)))], [source.endpoint], NOW)
        self.device.expire(NOW)
        return self.said()

    def said(self) -> Iterator[bytes]:
        """What it has to say."""
        return iter([bytes(train.buffer) for train, _ in self.device.take_datagrams()])

    def _draw(self, size: int) -> bytes:
        if size == 2:
            return bytes(2)  # for a timer
        drawn = next(self._random)
        assert len(drawn) == size
        return drawn


class Conversation(NamedTuple):
    """The four messages."""

    request: bytes
    answer: bytes
    initiation: bytes
    response: bytes


def converse(initiator: Given, responder: Given, stamp: bytes) -> Conversation:
    """The initiator dials the responder, and gets a session."""
    left = Side(initiator, responder.private_key.public_key, stamp)
    right = Side(responder, initiator.private_key.public_key)
    left.device.ask(right.endpoint, NOW)
    (request,) = left.said()
    (answer,) = right.receive(left, request)
    (initiation,) = left.receive(right, answer)
    (response,) = right.receive(left, initiation)
    (_,) = left.receive(right, response)
    return Conversation(request, answer, initiation, response)

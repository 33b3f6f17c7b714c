"""Strangers who know our public key and send what they like: a peer still gets in, and nobody is amplified."""

from math import inf

import pytest

from tests.unit.protocol.pairs import initiation
from tunnel.endpoint import Endpoint
from tunnel.keys import PrivateKey
from tunnel.protocol.constants import UNDER_LOAD_QUEUED_HANDSHAKES
from tunnel.protocol.events import UnderLoad
from tunnel.testing.network import Network, SimulatedHost
from tunnel.wire.messages import MessageType

STRANGER_KEY = PrivateKey(b"s" * 32)
BURST = 60


class Flood:
    """A thousand initiations a second with a right MAC1, from ever other addresses."""

    def __init__(self, network: Network, target: SimulatedHost) -> None:
        self.network = network
        self.target = target
        self.message = initiation(STRANGER_KEY, target.public_key)
        self.count = 0

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 1000 / BURST)):
            for _ in range(BURST):
                source = Endpoint(f"198.18.{self.count >> 8 & 255}.{self.count & 255}", 1024 + self.count)
                self.network.inject(source, self.target.endpoint, self.message)
                self.count += 1
            self.network.run(BURST / 1000)


def create_pair() -> tuple[Network, SimulatedHost, SimulatedHost, Flood]:
    network = Network()
    left, right = network.host(), network.host()
    left.connect(right)
    return network, left, right, Flood(network, right)


def test_a_peer_gets_in_with_its_second_initiation() -> None:
    _, left, right, flood = create_pair()
    flood.run(1)
    left.send_to(right, b"let me in")
    flood.run(5.5)
    assert right.received == [b"let me in"]
    assert len(left.sent_of(MessageType.HANDSHAKE_INITIATION)) == 2


def test_a_session_is_renewed_during_a_flood_and_loses_nothing() -> None:
    network, left, right, flood = create_pair()
    left.send_to(right, b"before")
    network.run(120)
    flood.run(1)
    right.received.clear()
    for number in range(12):
        left.send_to(right, b"%d" % number)
        flood.run(0.5)
    assert right.received == [b"%d" % number for number in range(12)]
    assert len(right.sent_of(MessageType.HANDSHAKE_RESPONSE)) == 2


def test_strangers_get_less_than_they_send_and_the_queue_stays_short() -> None:
    network, _, right, flood = create_pair()
    flood.run(2)
    answered = sum(len(datagram) for _, _, datagram in right.sent)
    assert answered < flood.count * 148 / 2
    assert {len(datagram) for _, _, datagram in right.sent} == {64}
    assert len(right.device._intake) <= UNDER_LOAD_QUEUED_HANDSHAKES
    network.run(5)
    assert right.events == [UnderLoad(True), UnderLoad(False)]
    assert right.device.deadline == inf


def test_a_peer_that_floods_us_is_limited_as_well() -> None:
    """Its own sessions are its own business: at most fifty initiations a second are answered."""
    network, left, right, _ = create_pair()
    for number in range(1, 400):
        network.inject(left.endpoint, right.endpoint, initiation(left.private_key, right.public_key, number=number))
        network.run(0.005)
    assert len(right.sent_of(MessageType.HANDSHAKE_RESPONSE)) <= 2 * 50 + 1
    assert right.drops()["handshake_flood"] > 200


@pytest.mark.parametrize("size", [0, 31, 32, 148, 1500])
def test_garbage_changes_nothing(size: int) -> None:
    network, left, right, _ = create_pair()
    left.send_to(right, b"before")
    network.run(1)
    sent = len(right.sent)
    for _ in range(1000):
        network.inject(Endpoint("198.18.0.1", 1), right.endpoint, network.random.randbytes(size))
    network.run(1)
    assert len(right.sent) == sent
    assert sum(right.drops().values()) == 1000
    left.send_to(right, b"after")
    network.run(1)
    assert right.received == [b"before", b"after"]

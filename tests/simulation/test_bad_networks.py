"""Loss, re-ordering and duplication: what arrives is right, nothing arrives twice, and the session lives on."""

from itertools import pairwise

import pytest

from tests.fuzz.consistency import assert_consistent
from tunnel.protocol.events import HandshakeGaveUp
from tunnel.testing.network import Network, SimulatedHost
from tunnel.wire.messages import MessageType

SECONDS = 400


def create_pair(network: Network) -> tuple[SimulatedHost, SimulatedHost]:
    left, right = network.host(), network.host()
    left.connect(right)
    return left, right


def talk(network: Network, left: SimulatedHost, right: SimulatedHost) -> list[bytes]:
    """Two packets a second each way, over three renewals."""
    payloads = [b"%d" % number for number in range(2 * SECONDS)]
    for payload in payloads:
        left.send_to(right, payload)
        right.send_to(left, payload)
        network.run(0.5)
    network.run(5)
    return payloads


@pytest.mark.parametrize("seed", range(3))
def test_a_third_of_all_datagrams_may_be_lost(seed: int) -> None:
    network = Network(seed, loss=0.3)
    left, right = create_pair(network)
    payloads = talk(network, left, right)
    for host in (left, right):
        assert len(set(host.received)) == len(host.received) > 0.6 * len(payloads)
        assert set(host.received) <= set(payloads)
        assert longest_gap(host.received) < 30, "no renewal may interrupt the flow for long"
        assert host.events_of(HandshakeGaveUp) == []


@pytest.mark.parametrize("seed", range(2))
def test_datagrams_may_overtake_each_other_and_come_twice(seed: int) -> None:
    network = Network(seed, duplication=0.3, delay=(0.01, 2.0))
    left, right = create_pair(network)
    payloads = talk(network, left, right)
    for host in (left, right):
        assert sorted(host.received, key=int) == payloads, "all of them, and each once"
        assert host.received != payloads
        assert host.drops()["replayed"] > 0
        assert set(host.drops()) <= {"replayed", "replayed_handshake", "unexpected_response", "no_such_index"}


@pytest.mark.parametrize("seed", range(2))
def test_all_of_it_at_once(seed: int) -> None:
    network = Network(seed, loss=0.3, duplication=0.3, delay=(0.01, 1.0))
    left, right = create_pair(network)
    payloads = talk(network, left, right)
    for host in (left, right):
        assert len(set(host.received)) == len(host.received) > 0.5 * len(payloads)
        assert_consistent(host.device)


def test_a_network_that_is_gone_for_minutes_and_comes_back() -> None:
    network = Network()
    left, right = create_pair(network)
    left.send_to(right, b"before")
    network.run(1)
    network.loss = 1.0
    for _ in range(300):
        left.send_to(right, b"into the void")
        network.run(1)
    network.loss = 0.0
    left.send_to(right, b"after")
    network.run(6)
    assert right.received[-1] == b"after"


def test_one_direction_that_is_gone_is_noticed_and_costs_no_more_than_it_must() -> None:
    """Only the one who hears nothing begins handshakes; it goes on until the other is heard again."""
    network = Network()
    left, right = create_pair(network)
    left.send_to(right, b"before")
    network.run(1)
    network.filter = lambda source, destination, datagram: source == left.endpoint
    for _ in range(60):
        left.send_to(right, b"hello?")
        network.run(1)
    network.filter = lambda source, destination, datagram: True
    network.run(6)
    right.send_to(left, b"here I am")
    network.run(1)
    assert left.received == [b"here I am"]
    assert len(left.sent_of(MessageType.HANDSHAKE_INITIATION)) <= 1 + 60 // 5


def longest_gap(received: list[bytes]) -> int:
    numbers = sorted(int(payload) for payload in received)
    return max(after - before for before, after in pairwise(numbers))

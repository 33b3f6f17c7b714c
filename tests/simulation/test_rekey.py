"""Sessions over hours: exactly as many handshakes as needed, and no packet lost to any of them."""

import pytest

from tunnel.protocol.events import HandshakeCompleted, HandshakeUnanswered
from tunnel.testing.network import Network, SimulatedHost
from tunnel.wire.messages import MessageType

HOUR = 3600


def create_pair(seed: int = 0) -> tuple[Network, SimulatedHost, SimulatedHost]:
    network = Network(seed)
    left, right = network.host(), network.host()
    left.connect(right)
    return network, left, right


def initiations(*hosts: SimulatedHost) -> int:
    return sum(len(host.sent_of(MessageType.HANDSHAKE_INITIATION)) for host in hosts)


def test_two_hours_of_a_packet_a_second_take_sixty_handshakes() -> None:
    """The first packet after 120 s asks for the next session: one every 121 seconds."""
    network, left, right = create_pair()
    for number in range(2 * HOUR):
        left.send_to(right, b"%d" % number)
        network.run(1)
    assert right.received == [b"%d" % number for number in range(2 * HOUR)]
    assert (initiations(left), initiations(right)) == (60, 0)
    assert len(left.events_of(HandshakeCompleted)) == len(right.events_of(HandshakeCompleted)) == 60
    assert (left.drops(), right.drops()) == ({}, {})


def test_a_flow_towards_the_initiator_is_renewed_by_its_keepalives() -> None:
    network, left, right = create_pair()
    left.send_to(right, b"let us talk")
    network.run(1)
    for number in range(HOUR):
        right.send_to(left, b"%d" % number)
        network.run(1)
    assert left.received == [b"%d" % number for number in range(HOUR)]
    assert HOUR // 131 <= initiations(left) <= HOUR // 120
    assert initiations(right) == 0
    assert (left.drops(), right.drops()) == ({}, {})


@pytest.mark.parametrize("sender_is_initiator", [True, False])
def test_a_dense_flow_loses_nothing_while_the_session_is_renewed(sender_is_initiator: bool) -> None:
    network, left, right = create_pair()
    left.send_to(right, b"let us talk")
    network.run(119.9)
    sender, receiver = (left, right) if sender_is_initiator else (right, left)
    receiver.received.clear()
    for number in range(500):
        sender.send_to(receiver, b"%d" % number)
        network.run(0.001)
        if number % 50 == 0:
            receiver.send_to(sender, b"answer")
    network.run(1)
    assert receiver.received == [b"%d" % number for number in range(500)]
    assert initiations(left, right) == 2
    assert (left.drops(), right.drops()) == ({}, {})


@pytest.mark.parametrize("seed", range(4))
def test_a_flow_both_ways_at_random_moments_loses_nothing_for_hours(seed: int) -> None:
    """Whoever begins, whenever, also both at once: on a network that loses nothing, neither do we."""
    network, left, right = create_pair(seed)
    sent_left, sent_right = [], []
    left.send_to(right, b"at")
    right.send_to(left, b"once")
    network.run(1)
    for number in range(1500):
        payload = b"%d" % number
        if network.random.random() < 0.5:
            left.send_to(right, payload)
            sent_left.append(payload)
        else:
            right.send_to(left, payload)
            sent_right.append(payload)
        network.run(network.random.choice([0.0, 0.005, 0.01, 1.0, 8.0, 20.0]))
    network.run(1)
    assert (right.received[1:], left.received[1:]) == (sent_left, sent_right)
    assert (left.drops(), right.drops()) == ({}, {})
    assert left.events_of(HandshakeUnanswered) == right.events_of(HandshakeUnanswered) == []


def test_an_idle_pair_is_silent_for_days_and_then_talks_at_once() -> None:
    network, left, right = create_pair()
    left.send_to(right, b"good night")
    network.run(20)
    left.sent.clear()
    right.sent.clear()
    network.run(48 * HOUR)
    assert left.sent == right.sent == []
    left.send_to(right, b"good morning")
    network.run(0.1)
    assert right.received == [b"good night", b"good morning"]

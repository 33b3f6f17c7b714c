"""Peers that move, and boxes on the way that translate."""

from tunnel.endpoint import Endpoint
from tunnel.protocol.events import PeerRoamed
from tunnel.testing.network import Network, SimulatedHost
from tunnel.wire.messages import MessageType


def create_pair(*, keepalive: int = 0) -> tuple[Network, SimulatedHost, SimulatedHost]:
    """The left one is somebody's laptop: the right one learns where it is when it calls."""
    network = Network()
    left, right = network.host(), network.host()
    left.connect(right, keepalive=keepalive, other_knows_endpoint=False)
    return network, left, right


def elsewhere(number: int) -> Endpoint:
    return Endpoint(f"203.0.113.{number}", 1000 + number)


def test_a_flow_goes_on_while_its_sender_moves_every_second() -> None:
    network, left, right = create_pair()
    for number in range(100):
        left.endpoint = elsewhere(number)
        left.send_to(right, b"%d" % number)
        network.run(0.5)
        right.send_to(left, b"answer %d" % number)
        network.run(0.5)
    assert right.received == [b"%d" % number for number in range(100)]
    assert left.received == [b"answer %d" % number for number in range(100)]
    assert len(left.sent_of(MessageType.HANDSHAKE_INITIATION)) == 1
    assert len(right.events_of(PeerRoamed)) == 100


def test_both_may_move_as_long_as_one_is_heard() -> None:
    network, left, right = create_pair()
    left.send_to(right, b"hello")
    network.run(1)
    left.endpoint = elsewhere(1)
    left.send_to(right, b"I moved")
    network.run(1)
    right.endpoint = elsewhere(2)
    right.send_to(left, b"so did I")
    network.run(1)
    left.send_to(right, b"found you")
    network.run(1)
    assert right.received == [b"hello", b"I moved", b"found you"]


def test_a_peer_that_moved_silently_is_lost_until_it_speaks() -> None:
    network, left, right = create_pair(keepalive=25)
    left.send_to(right, b"hello")
    network.run(1)
    left.endpoint = elsewhere(1)
    right.send_to(left, b"lost")
    network.run(25)
    right.send_to(left, b"not lost")
    network.run(1)
    assert left.received == [b"not lost"]


def test_a_datagram_that_a_move_overtook_misleads_only_until_the_next() -> None:
    """It is authentic and new, so it moves the endpoint back, as in the kernel; the flow puts that right."""
    network, left, right = create_pair()
    left.send_to(right, b"hello")
    network.run(1)
    network.delay = (5.0, 5.0)
    left.send_to(right, b"slow")
    network.delay = (0.01, 0.01)
    before, left.endpoint = left.endpoint, elsewhere(1)
    left.send_to(right, b"from there")
    network.run(10)
    assert right.events_of(PeerRoamed)[-1].after == before
    left.send_to(right, b"still there")
    network.run(1)
    right.send_to(left, b"I see")
    network.run(1)
    assert left.received == [b"I see"]


# ── NAT ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_nat_that_forgets_is_followed_with_the_next_datagram() -> None:
    network, left, right = create_pair()
    nat = left.nat = network.nat()
    for number in range(50):
        left.send_to(right, b"%d" % number)
        network.run(0.5)
        right.send_to(left, b"%d" % number)
        network.run(0.5)
        if number % 7 == 0:
            nat.forget()
    assert right.received == left.received == [b"%d" % number for number in range(50)]
    assert len(left.sent_of(MessageType.HANDSHAKE_INITIATION)) == 1


def test_a_persistent_keepalive_holds_a_nat_open_for_hours() -> None:
    network, left, right = create_pair(keepalive=25)
    left.nat = network.nat(idle=30)
    left.send_to(right, b"hello")
    network.run(60)
    right.events.clear()
    network.run(3 * 3600)
    right.send_to(left, b"are you there?")
    network.run(1)
    assert left.received == [b"are you there?"]
    assert right.events_of(PeerRoamed) == [], "the mapping was never lost"


def test_without_it_the_nat_closes() -> None:
    network, left, right = create_pair()
    left.nat = network.nat(idle=30)
    left.send_to(right, b"hello")
    network.run(60)
    right.send_to(left, b"are you there?")
    network.run(300)
    assert left.received == []


def test_a_nat_that_forgets_costs_at_most_one_keepalive() -> None:
    network, left, right = create_pair(keepalive=25)
    nat = left.nat = network.nat(idle=30)
    left.send_to(right, b"hello")
    network.run(100)
    nat.forget()
    lost = 0
    while not left.received:
        right.send_to(left, b"are you there?")
        network.run(1)
        lost += 1
    assert lost <= 26

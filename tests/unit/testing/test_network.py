"""The simulated network and its NAT: that they do what the simulations rely on."""

from tests.unit.protocol.pairs import create_pair, create_session
from tunnel.endpoint import Endpoint
from tunnel.protocol.events import HandshakeCompleted
from tunnel.testing.nat import Nat
from tunnel.testing.network import Network
from tunnel.wire.messages import MessageType

INSIDE = Endpoint("192.0.2.1", 51820)
REMOTE = Endpoint("192.0.2.2", 51820)
STRANGER = Endpoint("192.0.2.3", 51820)


def test_packets_travel_in_time() -> None:
    network, left, right = create_session()
    left.send_to(right, b"hello")
    network.run(0.009)
    assert right.received == []
    network.run(0.002)
    assert right.received == [b"hello"]


def test_run_lets_exactly_that_much_time_pass() -> None:
    network, left, right = create_pair()
    began = network.clock.now()
    left.send_to(right, b"hello")
    network.run(3.5)
    assert network.clock.now() == began + 3.5


def test_the_same_seed_is_the_same_run() -> None:
    def datagrams(seed: int) -> list[tuple[float, Endpoint, bytes]]:
        network = Network(seed, loss=0.3, duplication=0.2, delay=(0.01, 0.5))
        left, right = network.host(), network.host()
        left.connect(right)
        for number in range(20):
            left.send_to(right, b"%d" % number)
            network.run(1)
        return left.sent + right.sent

    assert datagrams(1) == datagrams(1)
    assert datagrams(1) != datagrams(2)


def test_all_may_be_lost() -> None:
    network, left, right = create_session()
    network.loss = 1.0
    left.send_to(right, b"hello")
    network.run(1)
    assert right.received == []
    assert len(left.sent) == 1


def test_what_is_doubled_arrives_twice() -> None:
    network, left, right = create_session()
    network.duplication = 1.0
    left.send_to(right, b"hello")
    network.run(1)
    assert (right.received, right.drops()) == ([b"hello"], {"replayed": 1})


def test_a_wide_range_of_delays_changes_the_order() -> None:
    network, left, right = create_session()
    network.delay = (0.01, 1.0)
    left.send_to(right, *(bytes([number]) for number in range(50)))
    network.run(2)
    assert sorted(right.received) == [bytes([number]) for number in range(50)]
    assert right.received != sorted(right.received)


def test_a_filter_sees_and_drops() -> None:
    network, left, right = create_session()
    seen: list[tuple[Endpoint, Endpoint]] = []

    def refuse(source: Endpoint, destination: Endpoint, _: bytes) -> bool:
        seen.append((source, destination))
        return False

    network.filter = refuse
    left.send_to(right, b"hello")
    network.run(1)
    assert right.received == []
    assert seen == [(left.endpoint, right.endpoint)]


def test_anybody_can_inject_anything() -> None:
    network, _, right = create_pair()
    network.inject(STRANGER, right.endpoint, b"garbage")
    network.run(1)
    assert right.drops() == {"malformed_datagram": 1}


def test_a_restarted_host_knows_nobody_but_itself() -> None:
    _, left, _ = create_session()
    left.restart()
    snapshot = left.device.snapshot(0)
    assert (snapshot.private_key, snapshot.peers) == (left.private_key, ())


def test_what_was_sent_can_be_asked_for_by_its_type() -> None:
    network, left, right = create_pair()
    began = network.clock.now()
    left.send_to(right, b"hello")
    network.run(1)
    assert left.times_of(MessageType.HANDSHAKE_INITIATION) == [began]
    assert len(right.sent_of(MessageType.HANDSHAKE_RESPONSE)) == 1
    assert [event.peer for event in left.events_of(HandshakeCompleted)] == [right.public_key]


# ── NAT ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_nat_lets_answers_in() -> None:
    nat = Nat("198.51.100.1")
    outside = nat.outbound(INSIDE, REMOTE, 0.0)
    assert outside.host == "198.51.100.1"
    assert nat.inbound(outside.port, REMOTE, 1.0) == INSIDE


def test_a_nat_lets_nobody_else_in() -> None:
    nat = Nat("198.51.100.1")
    outside = nat.outbound(INSIDE, REMOTE, 0.0)
    assert nat.inbound(outside.port, STRANGER, 1.0) is None
    assert nat.inbound(outside.port + 1, REMOTE, 1.0) is None


def test_a_mapping_lives_as_long_as_it_is_used_from_inside() -> None:
    nat = Nat("198.51.100.1", idle=30)
    outside = nat.outbound(INSIDE, REMOTE, 0.0)
    assert nat.outbound(INSIDE, REMOTE, 29.0) == outside
    assert nat.inbound(outside.port, REMOTE, 58.0) == INSIDE
    assert nat.inbound(outside.port, REMOTE, 59.0) is None


def test_a_mapping_that_died_is_followed_by_another_port() -> None:
    nat = Nat("198.51.100.1", idle=30)
    first = nat.outbound(INSIDE, REMOTE, 0.0)
    second = nat.outbound(INSIDE, REMOTE, 30.0)
    assert first.port != second.port
    assert nat.inbound(first.port, REMOTE, 30.0) is None


def test_each_remote_sees_another_port() -> None:
    nat = Nat("198.51.100.1")
    assert nat.outbound(INSIDE, REMOTE, 0.0).port != nat.outbound(INSIDE, STRANGER, 0.0).port


def test_a_restarted_nat_has_forgotten() -> None:
    nat = Nat("198.51.100.1")
    outside = nat.outbound(INSIDE, REMOTE, 0.0)
    nat.forget()
    assert nat.inbound(outside.port, REMOTE, 1.0) is None
    assert nat.outbound(INSIDE, REMOTE, 1.0) != outside


def test_a_host_behind_a_nat_is_seen_at_its_outside_address() -> None:
    network, left, right = create_pair(right_knows_endpoint=False)
    left.nat = network.nat()
    left.send_to(right, b"hello")
    network.run(1)
    right.send_to(left, b"you too")
    network.run(1)
    endpoint = right.device.snapshot(0).peers[0].endpoint
    assert endpoint is not None
    assert endpoint.host == left.nat.address
    assert (left.received, right.received) == ([b"you too"], [b"hello"])


def test_a_host_behind_a_nat_cannot_be_reached_directly() -> None:
    network, left, right = create_pair()
    left.nat = network.nat()
    right.send_to(left, b"hello")
    network.run(1)
    assert (left.received, left.drops()) == ([], {})

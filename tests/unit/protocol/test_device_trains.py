"""Trains that come in: handled as one where that is right, and else datagram by datagram."""

from collections.abc import Sequence

import pytest

from tests.unit.protocol.pairs import create_pair, create_session, hold, initiation, let_pass
from tunnel.endpoint import Endpoint
from tunnel.testing.network import Network, SimulatedHost, ipv4_packet
from tunnel.wire.messages import INITIATION_SIZE, TRANSPORT_OVERHEAD, MessageType
from tunnel.wire.train import Train

STRANGER = Endpoint("203.0.113.9", 999)
PAYLOADS = [b"one", b"two", b"three", b"four", b"five"]


def sealed(network: Network, sender: SimulatedHost, receiver: SimulatedHost, payloads: Sequence[bytes]) -> list[bytes]:
    """The datagrams that would have brought these, taken off the network."""
    held = hold(network, MessageType.TRANSPORT_DATA)
    sender.send_to(receiver, *payloads)
    let_pass(network)
    return [datagram for _, _, datagram in held]


def receive(network: Network, host: SimulatedHost, datagrams: Sequence[bytes], source: Endpoint) -> None:
    """As one train."""
    buffer = memoryview(bytearray(b"".join(datagrams)))
    train = Train(buffer, len(datagrams), len(datagrams[0]), len(datagrams[-1]))
    host.device.receive([train], [source], network.clock.now())
    host.device.expire(network.clock.now())
    network.flush(host)


def test_a_train_of_equal_packets_is_handed_on_as_one() -> None:
    network, left, right = create_session()
    datagrams = sealed(network, left, right, [b"equal"] * 5)
    train = Train(memoryview(bytearray(b"".join(datagrams))), 5, len(datagrams[0]), len(datagrams[0]))
    right.device.receive([train], [left.endpoint], network.clock.now())
    (packets,) = right.device.take_packets()
    assert packets is train


def test_a_train_of_packets_that_differ_is_handed_on_one_by_one() -> None:
    network, left, right = create_session()
    receive(network, right, sealed(network, left, right, PAYLOADS), left.endpoint)
    assert right.received == PAYLOADS
    assert right.drops() == {}


def test_a_train_for_two_sessions_goes_to_both() -> None:
    network = Network()
    hub, one, other = network.host(), network.host(), network.host()
    for spoke in (one, other):
        spoke.connect(hub)
        spoke.send_to(hub, b"first")
    network.run(1)
    hub.received.clear()
    ones, others = sealed(network, one, hub, PAYLOADS), sealed(network, other, hub, PAYLOADS)
    mixed = [datagram for pair in zip(ones, others, strict=True) for datagram in pair]
    receive(network, hub, mixed, STRANGER)
    assert sorted(hub.received) == sorted(PAYLOADS * 2)
    assert hub.drops() == {}


def test_a_handshake_within_a_train_of_data_is_consumed() -> None:
    network, left, right = create_session()
    left.device.mtu = INITIATION_SIZE - TRANSPORT_OVERHEAD
    datagrams = sealed(network, left, right, [b"x" * 96] * 4)
    assert {len(datagram) for datagram in datagrams} == {INITIATION_SIZE}
    network.clock.advance(1)
    message = initiation(left.private_key, right.public_key, number=2**95)
    receive(network, right, [*datagrams[:2], message, *datagrams[2:]], left.endpoint)
    assert right.received == [b"x" * 96] * 4
    assert len(right.sent_of(MessageType.HANDSHAKE_RESPONSE)) == 1
    assert right.drops() == {}


def test_an_initiation_that_the_network_doubled_is_answered() -> None:
    """Equal datagrams in a row are a train, and two copies agree in all that tells receivers apart."""
    network, left, right = create_pair()
    message = initiation(left.private_key, right.public_key)
    receive(network, right, [message, message], left.endpoint)
    assert len(right.sent_of(MessageType.HANDSHAKE_RESPONSE)) == 1
    assert right.drops() == {"replayed_handshake": 1}


def test_a_response_that_the_network_doubled_makes_a_session() -> None:
    network, left, right = create_pair()
    held = hold(network, MessageType.HANDSHAKE_RESPONSE)
    left.send_to(right, b"hello")
    network.run(1)
    let_pass(network)
    receive(network, left, [held[0][2]] * 2, right.endpoint)
    network.run(1)
    assert right.received == [b"hello"]


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 6])
def test_each_datagram_of_a_train_of_garbage_is_counted(kind: int) -> None:
    network, _, right = create_session()
    receive(network, right, [bytes([kind]) + bytes(99)] * 7, STRANGER)
    assert right.drops() == {"malformed_datagram": 7}


def test_each_datagram_for_an_unknown_session_is_counted() -> None:
    network, _, right = create_session()
    receive(network, right, [bytes([4]) + bytes(99)] * 7, STRANGER)
    assert right.drops() == {"no_such_index": 7}


@pytest.mark.parametrize("size", [1, 15, TRANSPORT_OVERHEAD - 1])
def test_a_last_datagram_too_short_for_data_does_not_harm_the_others(size: int) -> None:
    network, left, right = create_session()
    datagrams = sealed(network, left, right, PAYLOADS)
    receive(network, right, [*datagrams, datagrams[0][:size]], left.endpoint)
    assert right.received == PAYLOADS
    assert right.drops() == {"malformed_datagram": 1}


@pytest.mark.parametrize("wrong", [{0}, {2}, {4}, {0, 1, 4}, {0, 1, 2, 3, 4}])
def test_wrong_tags_are_counted_and_the_others_handed_on(wrong: set[int]) -> None:
    network, left, right = create_session()
    datagrams = [bytearray(datagram) for datagram in sealed(network, left, right, PAYLOADS)]
    for position in wrong:
        datagrams[position][-1] ^= 1
    receive(network, right, list(map(bytes, datagrams)), left.endpoint)
    assert right.received == [payload for position, payload in enumerate(PAYLOADS) if position not in wrong]
    assert right.drops() == {"tag_failed": len(wrong)}


def test_a_train_of_forgeries_moves_no_peer() -> None:
    network, left, right = create_session()
    datagrams = [datagram[:-1] + bytes([datagram[-1] ^ 1]) for datagram in sealed(network, left, right, PAYLOADS)]
    receive(network, right, datagrams, STRANGER)
    assert right.device.snapshot(0).peers[0].endpoint == left.endpoint


def test_a_train_that_comes_twice_is_handed_on_once() -> None:
    network, left, right = create_session()
    datagrams = sealed(network, left, right, PAYLOADS)
    for _ in range(2):
        receive(network, right, datagrams, left.endpoint)
    assert right.received == PAYLOADS
    assert right.drops() == {"replayed": 5}


def test_datagrams_in_another_order_are_all_handed_on() -> None:
    network, left, right = create_session()
    datagrams = sealed(network, left, right, PAYLOADS)
    receive(network, right, datagrams[::-1], left.endpoint)
    assert right.received == PAYLOADS[::-1]
    assert right.drops() == {}


def test_an_old_datagram_behind_new_ones_is_judged_alone() -> None:
    network, left, right = create_session()
    datagrams = sealed(network, left, right, PAYLOADS)
    receive(network, right, [*datagrams[1:], datagrams[0], datagrams[2]], left.endpoint)
    assert right.received == [*PAYLOADS[1:], PAYLOADS[0]]
    assert right.drops() == {"replayed": 1}


def test_every_packet_of_a_train_from_a_source_not_allowed_is_counted() -> None:
    network, left, right = create_session()
    held = hold(network)
    left.send_packets(*[ipv4_packet(right.address, right.address, b"spoofed")] * 5)
    let_pass(network)
    receive(network, right, [datagram for _, _, datagram in held], left.endpoint)
    assert right.received == []
    assert right.drops() == {"source_not_allowed": 5}


def test_one_source_not_allowed_in_a_train_is_left_out() -> None:
    network, left, right = create_session()
    packets = [ipv4_packet(left.address, right.address, payload) for payload in (b"one", b"two", b"six", b"ten")]
    packets[2] = ipv4_packet(left.address + 7, right.address, b"six")
    held = hold(network)
    left.send_packets(*packets)
    let_pass(network)
    receive(network, right, [datagram for _, _, datagram in held], left.endpoint)
    assert right.received == [b"one", b"two", b"ten"]
    assert right.drops() == {"source_not_allowed": 1}


def test_keepalives_in_a_train_are_no_packets() -> None:
    network, left, right = create_session()
    held = hold(network)
    slots = [memoryview(bytearray(64)) for _ in range(4)]
    next(iter(left.device._peers.values())).send(slots, [0] * 4, network.clock.now())
    network.flush(left)
    let_pass(network)
    receive(network, right, [datagram for _, _, datagram in held], left.endpoint)
    assert len(held) == 4
    assert right.received == []
    assert right.drops() == {}

"""One side loses everything but its key and its last stamp: how fast do the two find each other again?"""

import pytest

from tunnel.testing.network import Network, SimulatedHost
from tunnel.wire.messages import MessageType

INITIATION = MessageType.HANDSHAKE_INITIATION


def create_session() -> tuple[Network, SimulatedHost, SimulatedHost]:
    network = Network()
    left, right = network.host(), network.host()
    left.connect(right)
    left.send_to(right, b"before")
    network.run(30)
    right.received.clear()
    return network, left, right


def seconds_until(network: Network, host: SimulatedHost, payload: bytes) -> float:
    began = network.clock.now()
    network.run_until(lambda: payload in host.received)
    return network.clock.now() - began


@pytest.mark.parametrize("restarted_is_initiator", [True, False])
def test_who_restarted_and_speaks_is_understood_at_once(restarted_is_initiator: bool) -> None:
    network, left, right = create_session()
    restarted, other = (left, right) if restarted_is_initiator else (right, left)
    restarted.restart()
    restarted.add_peer(other)
    restarted.send_to(other, b"I am back")
    assert seconds_until(network, other, b"I am back") < 0.1


def test_who_speaks_to_one_that_restarted_is_understood_after_fifteen_seconds() -> None:
    """Nothing comes back, so it asks for a new session; the packets until then were for keys that are gone."""
    network, left, right = create_session()
    right.restart()
    right.add_peer(left)
    began = network.clock.now()
    number = 0
    while not right.received:
        left.send_to(right, b"%d" % number)
        number += 1
        network.run(0.1)
    assert 15 <= network.clock.now() - began <= 15.6
    assert set(right.drops()) == {"no_such_index"}


def test_a_restarted_side_that_does_not_know_where_the_other_is_waits_to_be_called() -> None:
    network, left, right = create_session()
    right.restart()
    right.add_peer(left, knows_endpoint=False)
    right.send_to(left, b"lost")
    left.send_to(right, b"lost too")
    network.run(16)
    left.send_to(right, b"found")
    right.send_to(left, b"me too")
    network.run(1)
    assert (right.received, left.received) == ([b"found"], [b"me too"])


def test_a_side_that_restarts_every_ten_seconds_is_always_back_at_once() -> None:
    network, left, right = create_session()
    for number in range(50):
        left.restart()
        left.add_peer(right)
        left.send_to(right, b"%d" % number)
        network.run(10)
    assert right.received == [b"%d" % number for number in range(50)]


def test_both_restart_and_both_speak() -> None:
    network, left, right = create_session()
    for host, other in ((left, right), (right, left)):
        host.restart()
        host.add_peer(other)
    left.send_to(right, b"from left")
    right.send_to(left, b"from right")
    network.run(0.1)
    assert (right.received, left.received) == ([b"from left"], [b"from right"])


def test_the_stamp_on_disk_holds_when_the_wall_clock_was_lost() -> None:
    """No battery behind the clock: it is 1970 again, but the stamps go on from the last one sent."""
    network, left, right = create_session()
    left.restart()
    network.clock.step_wall_clock(-1_500_000_000)
    left.add_peer(right)
    left.send_to(right, b"what year is it?")
    assert seconds_until(network, right, b"what year is it?") < 0.1
    assert right.drops() == {}


def test_without_clock_and_stamp_we_are_refused_until_the_other_calls() -> None:
    network, left, right = create_session()
    left.last_stamp = bytes(12)
    network.clock.step_wall_clock(-1_500_000_000)
    left.restart()
    left.add_peer(right)
    left.send_to(right, b"refused")
    network.run(10)
    assert right.received == []
    assert right.drops()["replayed_handshake"] >= 2
    right.send_to(left, b"hello?")
    network.run(20)
    assert b"refused" in right.received


def test_old_datagrams_of_the_time_before_mean_nothing_after_it() -> None:
    network, left, right = create_session()
    recorded = [datagram for _, _, datagram in left.sent]
    right.restart()
    right.add_peer(left)
    left.send_to(right, b"new")
    network.run(20)
    right.received.clear()
    for datagram in recorded:
        network.inject(left.endpoint, right.endpoint, datagram)
    network.run(1)
    assert right.received == []

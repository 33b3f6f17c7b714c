"""Wall clocks that are set, and machines that sleep."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tunnel.endpoint import Endpoint
from tunnel.testing.network import Network, SimulatedHost
from tunnel.wire.messages import MessageType

HOUR = 3600


def create_session(*, keepalive: int = 0) -> tuple[Network, SimulatedHost, SimulatedHost]:
    network = Network()
    left, right = network.host(), network.host()
    left.connect(right, keepalive=keepalive)
    left.send_to(right, b"before")
    network.run(1)
    right.received.clear()
    return network, left, right


@pytest.mark.parametrize("step", [-24 * HOUR, -1, 24 * HOUR])
def test_a_wall_clock_that_was_set_does_not_make_the_peer_refuse_us(step: float) -> None:
    network, left, right = create_session()
    network.clock.step_wall_clock(step)
    for _ in range(3):
        network.run(121)
        left.send_to(right, b"hello")
        network.run(1)
    assert right.received == [b"hello"] * 3
    assert len(left.sent_of(MessageType.HANDSHAKE_INITIATION)) == 4
    assert right.drops() == {}


def test_a_wall_clock_that_was_set_forth_and_back_does_not_either() -> None:
    """The stamp that was sent in the wrong year must not be waited for."""
    network, left, right = create_session()
    network.clock.step_wall_clock(10 * 365 * 24 * HOUR)
    network.run(121)
    left.send_to(right, b"from the future")
    network.run(1)
    network.clock.step_wall_clock(-10 * 365 * 24 * HOUR)
    network.run(121)
    left.send_to(right, b"and back")
    network.run(1)
    assert right.received == [b"from the future", b"and back"]
    assert right.drops() == {}


def test_a_wall_clock_that_stands_still_is_enough() -> None:
    network, left, right = create_session()
    for _ in range(5):
        network.run(121)
        network.clock.step_wall_clock(-121)
        left.send_to(right, b"hello")
        network.run(1)
    assert right.received == [b"hello"] * 5


@pytest.mark.parametrize("hours", [0.04, 0.1, 1, 24])
@pytest.mark.parametrize("left_speaks", [True, False])
def test_after_a_suspend_the_first_packet_arrives_at_once(hours: float, left_speaks: bool) -> None:
    """The machine slept through every deadline: rekeying, rejecting, zeroing."""
    network, left, right = create_session()
    network.clock.advance(hours * HOUR)
    speaker, listener = (left, right) if left_speaks else (right, left)
    speaker.send_to(listener, b"good morning")
    network.run(0.1)
    assert listener.received[-1] == b"good morning"
    assert (left.drops(), right.drops()) == ({}, {})


@pytest.mark.parametrize("hours", [0.04, 1, 24])
def test_after_a_suspend_timers_that_run_first_change_nothing(hours: float) -> None:
    network, left, right = create_session()
    network.clock.advance(hours * HOUR)
    network.run(0.001)
    left.send_to(right, b"good morning")
    network.run(0.1)
    assert right.received[-1] == b"good morning"


def test_after_a_suspend_persistent_keepalives_go_on_by_themselves() -> None:
    network, left, right = create_session(keepalive=25)
    network.clock.advance(5 * HOUR)
    network.run(0.1)
    right.send_to(left, b"you are back")
    network.run(0.1)
    assert left.received == [b"you are back"]


def test_a_suspend_in_the_middle_of_a_handshake_begins_a_new_one() -> None:
    network = Network()
    left, right = network.host(), network.host()
    left.connect(right)
    network.loss = 1.0
    left.send_to(right, b"patience")
    network.run(7)
    network.clock.advance(HOUR)
    network.loss = 0.0
    network.run(6)
    assert right.received == [b"patience"]


def test_a_suspend_with_packets_in_both_directions_waiting() -> None:
    network, left, right = create_session()
    left.send_to(right, b"just before")
    network.clock.advance(HOUR)
    network.run(0.1)
    assert right.drops() == {"expired_keypair": 1}, "an hour in the air is too long"
    right.send_to(left, b"from right")
    left.send_to(right, b"from left")
    network.run(0.1)
    assert (left.received, right.received) == ([b"from right"], [b"from left"])


@contextmanager
def stopped(network: Network, host: SimulatedHost) -> Iterator[None]:
    """Within, the host's process is not run (SIGSTOP); what comes meanwhile lies in its socket, and is read at once."""
    queue: list[tuple[Endpoint, Endpoint, bytes]] = []

    def hold(source: Endpoint, destination: Endpoint, datagram: bytes) -> bool:
        if destination.host == host.endpoint.host:
            queue.append((source, destination, datagram))
        return destination.host != host.endpoint.host

    before, network.filter = network.filter, hold
    network.hosts.remove(host)
    yield
    network.hosts.append(host)
    network.filter = before
    for source, destination, datagram in queue:
        network.inject(source, destination, datagram)


@pytest.mark.parametrize("seconds", [15, 200])
@pytest.mark.parametrize(("speaks", "within"), [("left", 0.1), ("both", 0.1), ("right", 5.5)])
def test_after_a_process_was_stopped_packets_arrive_again(seconds: int, speaks: str, within: float) -> None:
    """The handshakes that the peer gave up meanwhile come all at once, and only the first of them is answered.

    That is too late for it, so if nobody speaks on this side the next one has to come: five seconds and a bit.
    """
    network, left, right = create_session()
    with stopped(network, left):
        for _ in range(seconds):
            right.send_to(left, b"are you there")
            network.run(1)
    initiations = len(left.sent_of(MessageType.HANDSHAKE_INITIATION))
    left.received.clear()
    right.received.clear()
    for _ in range(round(within / 0.1)):
        for speaker, listener in ((left, right), (right, left)):
            if speaks in ("left" if speaker is left else "right", "both"):
                speaker.send_to(listener, b"here I am")
        network.run(0.1)
    assert speaks == "right" or right.received[-1] == b"here I am"
    assert speaks == "left" or left.received[-1] == b"here I am"
    assert len(left.sent_of(MessageType.HANDSHAKE_INITIATION)) <= initiations + 1, "timers that are over go off once"

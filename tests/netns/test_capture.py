"""The demo's look at the cable, on a real one."""

import socket
from collections.abc import Iterator

import pytest

from tests.netns.eventually import eventually
from tunnel.demo.capture import Capture
from tunnel.testing.namespaces import Namespace, Port, connect

pytestmark = pytest.mark.root

UDP_SEGMENT = 103
WIREGUARD_PORT = 51820


@pytest.fixture
def cable() -> Iterator[tuple[Namespace, Namespace]]:
    with Namespace("capture-left") as left, Namespace("capture-right") as right:
        connect(Port(left, "eth0", ("192.0.2.1/24",)), Port(right, "eth0", ("192.0.2.2/24",)))
        yield left, right


def test_a_ping_in_the_clear_is_foreign(cable: tuple[Namespace, Namespace]) -> None:
    left, _ = cable
    with Capture(left, "eth0", frozenset({WIREGUARD_PORT})) as capture:
        left.run("ping", "-c1", "-W2", "192.0.2.2")
    assert capture.traffic.foreign == 2
    assert capture.traffic.neighbour_discovery > 0


def test_a_superpacket_is_seen_as_its_datagrams_with_the_time(cable: tuple[Namespace, Namespace]) -> None:
    left, right = cable
    with right.enter():
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("192.0.2.2", WIREGUARD_PORT))
    with left.enter():
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind(("192.0.2.1", WIREGUARD_PORT))
    with receiver, sender, Capture(left, "eth0", frozenset({WIREGUARD_PORT})) as capture:
        sender.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 96)
        sender.sendto(b"\4\0\0\0".ljust(96, b"\0") * 10, ("192.0.2.2", WIREGUARD_PORT))
        eventually(lambda: capture.traffic.datagrams.total() == 10, "ten datagrams are seen")
    assert capture.traffic.violations(1420) == []
    assert capture.traffic.datagrams == {(4, 96): 10}
    assert capture.traffic.first_seen[4] > 1e9

"""A path that is narrower than both hosts believe: found out by probes, then nothing is cut outside of the tunnel.

Nobody configured anything: the tunnel has the MTU 1420 that its own link suggests. Until the path is known, over IPv4
the routers cut what we send (we do not set "don't fragment"); over IPv6 only a sender may, once a router told it (RFC
8200, section 5).
"""

import errno
import re
import socket
from collections.abc import Iterator
from functools import partial

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import datagram_socket, ping, send_tcp
from tests.netns.hosts import Host, Meeting
from tests.netns.narrow import NarrowPath, narrow_path
from tunnel.testing.namespaces import Namespace

pytestmark = pytest.mark.root

PATH_MTU = 1280
SIZE = 2_000_000
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_DO = 10, 23, 2


@pytest.fixture(
    scope="module",
    params=[pytest.param(False, id="over-ipv4"), pytest.param(True, id="over-ipv6", marks=pytest.mark.slow)],
)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NarrowPath]:
    """Narrow from the start, and known to be by both ends."""
    directory = tmp_path_factory.mktemp("narrow")
    with narrow_path(directory, Meeting(over_ipv6=request.param), PATH_MTU) as path:
        for here, there in ((path.left, path.right), (path.right, path.left)):
            assert here.status()["mtu"] == 1420
            eventually(partial(_learns, here, there), "the path MTU is found", 20)
        yield path


def _learns(here: Host, there: Host) -> bool:
    """Whether it knows by now, after some more large packets."""
    send_tcp(here.namespace, there.namespace, there.inner_ipv4, SIZE)
    return bool(here.status()["peers"][0]["path_mtu"] == PATH_MTU)


def limit(path: NarrowPath) -> int:
    """The longest inner packet that goes whole."""
    over_ipv6 = path.left.peers[0].endpoint.startswith("[")  # type: ignore[union-attr]
    return PATH_MTU - (48 if over_ipv6 else 28) - 32


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_tcp_flows_in_both_directions_arrive_whole_and_without_a_fragment(path: NarrowPath, family: int) -> None:
    before = path.fragments()
    for here, there in ((path.left, path.right), (path.right, path.left)):
        send_tcp(here.namespace, there.namespace, there.inner[family], SIZE)
    assert path.fragments() == before


def test_what_is_known_is_told(path: NarrowPath) -> None:
    for host in (path.left, path.right):
        (peer,) = host.status()["peers"]
        assert (peer["path_mtu"], peer["max_packet"]) == (PATH_MTU, limit(path))
        text = host.tunnel("status", host.interface).stdout
        assert f"path mtu:        1280, packets over {limit(path)} bytes are cut or refused" in text
        assert f"path_mtu=1280 max_packet={limit(path)}" in host.log_file.read_text()


def test_what_fits_the_path_goes_whole(path: NarrowPath) -> None:
    before = path.fragments()
    for here, there in ((path.left, path.right), (path.right, path.left)):
        ping(here.namespace, there.inner_ipv4, size=limit(path) - 28)
    assert path.fragments() == before


def test_ping_says_how_long_packets_may_be(path: NarrowPath) -> None:
    for here, there in ((path.left, path.right), (path.right, path.left)):
        answer = _ping_whole(here.namespace, there.inner_ipv4, limit(path) + 1 - 28)
        assert re.search(rf"message too long, mtu[ =]{limit(path)}\b|Frag needed.*mtu = {limit(path)}\)", answer), (
            answer
        )


def _ping_whole(namespace: Namespace, address: str, size: int) -> str:
    done = namespace.run("ping", "-n", "-c3", "-i0.2", "-W1", "-M", "do", "-s", str(size), address, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_a_datagram_that_must_not_be_cut_is_refused_to_its_sender(path: NarrowPath, family: int) -> None:
    """IPv6 that fits 1280 bytes has to get through anywhere, so it goes on, in fragments outside."""
    left, right = path.left, path.right
    with datagram_socket(left.namespace, left.inner[family]) as sender:
        option = (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER) if family else (socket.IPPROTO_IP, _IP_MTU_DISCOVER)
        sender.setsockopt(*option, _PMTUDISC_DO)

        def is_refused() -> bool:
            try:
                sender.sendto(bytes(1350), (right.inner[family], 9))
            except OSError as error:
                return error.errno == errno.EMSGSIZE
            return False

        eventually(is_refused, "the sender is told")
    # What the kernel has learnt is for this destination; another host's packets are not ours to judge.
    route = left.namespace.ip("route", "get", right.inner[family])
    assert f"mtu {max(limit(path), 1280) if family else limit(path)}" in route


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_a_datagram_that_may_be_cut_arrives(path: NarrowPath, family: int) -> None:
    left, right = path.left, path.right
    with (
        datagram_socket(left.namespace, left.inner[family]) as near,
        datagram_socket(right.namespace, right.inner[family]) as far,
    ):
        if not family:
            near.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, 0)

        def arrives() -> bool:
            near.sendto(bytes(range(250)) * 6, far.getsockname())
            far.settimeout(1)
            try:
                return far.recv(2000) == bytes(range(250)) * 6
            except TimeoutError:
                return False

        eventually(arrives, "a datagram of 1500 bytes arrives")


def test_trains_stay_on_for_the_paths_that_are_wider(path: NarrowPath) -> None:
    send_tcp(path.left.namespace, path.right.namespace, path.right.inner_ipv4, SIZE)
    for host in (path.left, path.right):
        assert "gso" in host.status()["send_offloads"]
        assert set(host.status()["drops"]) <= {"path_too_narrow"}

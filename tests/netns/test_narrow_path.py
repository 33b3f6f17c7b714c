"""A path that is narrower than both hosts believe: what does not fit goes in fragments, whole trains do not fit at all.

    left ── 1500 ── near router ── 1280 ── far router ── 1500 ── right

Nobody configured anything: the tunnel has the MTU 1420 that its own link suggests. Over IPv4 the routers cut what we
send (we do not set "don't fragment"); over IPv6 only a sender may, once a router told it (RFC 8200, section 5).
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.netns.flows import ping, send_tcp
from tests.netns.hosts import Host, Meeting, Program, introduce
from tunnel.testing.namespaces import Namespace, Port, connect

pytestmark = pytest.mark.root

PATH_MTU = 1280
SIZE = 2_000_000

Way = tuple[Host, Namespace, Namespace, Host]
"""Left, near, far, right."""


def no_delay(address: str) -> tuple[str, ...]:
    """Without duplicate address detection an IPv6 address is of use at once instead of a second later."""
    return ("nodad",) if ":" in address else ()


def attach(host: Host, router: Namespace) -> None:
    """A cable of 1500 bytes between the two, and the host's way to everywhere."""
    connect(Port(host.namespace, "eth0"), Port(router, "host"))
    for address, gateway in ((host.outer_ipv4, "192.0.2.254"), (host.outer_ipv6, "2001:db8::254")):
        host.namespace.ip("address", "add", address, "dev", "eth0", *no_delay(address))
        host.namespace.ip("route", "add", gateway, "dev", "eth0")
        host.namespace.ip("route", "add", "default", "via", gateway)
        router.ip("address", "add", gateway, "dev", "host", *no_delay(gateway))
        router.ip("route", "add", address, "dev", "host")
    router.ip("address", "add", "fe80::254/64", "dev", "host", "nodad")  # what a router asks for neighbours with


def join(near: Namespace, far: Namespace, left: Host, right: Host) -> None:
    """The narrow cable between two routers, and what lies behind it."""
    connect(Port(near, "narrow"), Port(far, "narrow"), mtu=PATH_MTU)
    for router, own, other, behind in ((near, 1, 2, right), (far, 2, 1, left)):
        for prefix, length, address in (
            ("198.51.100.", 24, behind.outer_ipv4),
            ("2001:db8:1::", 64, behind.outer_ipv6),
        ):
            router.ip("address", "add", f"{prefix}{own}/{length}", "dev", "narrow", *no_delay(prefix))
            router.ip("route", "add", address, "via", f"{prefix}{other}")
        router.ip("address", "add", f"fe80::{own}/64", "dev", "narrow", "nodad")
        for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            router.run("sh", "-c", f"echo 1 > /proc/sys/net/{switch}")


@contextmanager
def narrow_path(directory: Path, meeting: Meeting) -> Iterator[Way]:
    """Two hosts with such a path between them, both up, who have not sent anything large yet."""
    with ExitStack() as stack:
        near, far, *ends = (stack.enter_context(Namespace(label)) for label in ("near", "far", "left", "right"))
        left, right = (
            Host(namespace, label, number, Program.TUNNEL, directory)
            for number, (label, namespace) in enumerate(zip(("left", "right"), ends, strict=True), 1)
        )
        attach(left, near)
        attach(right, far)
        join(near, far, left, right)
        introduce(left, right, meeting)
        right.up()
        left.up()
        ping(left.namespace, right.inner_ipv4, count=1)
        yield left, near, far, right


@pytest.fixture(scope="module", params=[False, True], ids=["over-ipv4", "over-ipv6"])
def way(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    with narrow_path(tmp_path_factory.mktemp("narrow"), Meeting(over_ipv6=request.param)) as way:
        yield way


def fragments(*namespaces: Namespace) -> int:
    """How many were made in all of them, of both IP versions."""
    lines = [line for each in namespaces for line in each.run("nstat", "-asz").stdout.splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith(("IpFragCreates", "Ip6FragCreates")))


@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_tcp_flows_in_both_directions_arrive_whole(way: Way, family: int) -> None:
    left, _, _, right = way
    for here, there in ((left, right), (right, left)):
        assert here.status()["mtu"] == 1420
        send_tcp(here.namespace, there.namespace, there.inner[family], SIZE)


def test_what_is_too_long_goes_in_fragments_in_both_directions(way: Way) -> None:
    left, near, far, right = way
    send_tcp(left.namespace, right.namespace, right.inner_ipv4, SIZE)  # what is lost while a sender learns comes again
    for size in (1300, 1420):
        for here, router, there in ((left, near, right), (right, far, left)):
            before = fragments(here.namespace, router)
            ping(here.namespace, there.inner_ipv4, size=size - 28)
            assert fragments(here.namespace, router) > before


def test_what_fits_the_path_goes_whole(way: Way) -> None:
    left, near, far, right = way
    everybody = (left.namespace, near, far, right.namespace)
    before = fragments(*everybody)
    ping(left.namespace, right.inner_ipv4, size=1180 - 28)
    assert fragments(*everybody) == before


def test_trains_stay_on_for_the_paths_that_are_wider(way: Way) -> None:
    left, _, _, right = way
    send_tcp(left.namespace, right.namespace, right.inner_ipv4, SIZE)
    for host in (left, right):
        assert "gso" in host.status()["send_offloads"]
        assert not host.status()["drops"]

"""A hub with three spokes: everybody reaches everybody through it, as who they are and nobody else."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import permutations

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import is_reachable, ping, send_tcp
from tests.netns.hosts import Host, PeerSection, Program
from tunnel.testing.namespaces import Namespace, Switch

pytestmark = pytest.mark.root

EVERYONE = ("10.50.0.0/24", "fd50::/64")


def meet_at(hub: Host, spoke: Host) -> None:
    hub.peers.append(PeerSection(spoke.public_key, (f"{spoke.inner_ipv4}/32", f"{spoke.inner_ipv6}/128")))
    spoke.peers.append(PeerSection(hub.public_key, EVERYONE, hub.endpoint()))


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, list[Host]]]:
    directory = tmp_path_factory.mktemp("star")
    with ExitStack() as stack:
        lan = stack.enter_context(Switch("lan"))
        hub, *spokes = (
            Host(stack.enter_context(Namespace(label)), label, number, Program.TUNNEL, directory)
            for number, label in enumerate(("hub", "one", "two", "three"), 1)
        )
        for spoke in spokes:
            meet_at(hub, spoke)
        for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            hub.namespace.run("sh", "-c", f"echo 1 > /proc/sys/net/{switch}")
        for host in (hub, *spokes):
            lan.attach(host.port)
            host.up()
        for spoke in spokes:
            ping(spoke.namespace, hub.inner_ipv4, count=1)  # so that the hub knows where everybody is
        yield hub, spokes


def test_every_spoke_reaches_every_other(star: tuple[Host, list[Host]]) -> None:
    _, spokes = star
    for here, there in permutations(spokes, 2):
        for address in there.inner:
            ping(here.namespace, address, count=2)


def test_a_tcp_flow_crosses_the_hub(star: tuple[Host, list[Host]]) -> None:
    _, (one, two, _) = star
    for address in two.inner:
        send_tcp(one.namespace, two.namespace, address, 1_000_000)


def test_nobody_passes_for_another(star: tuple[Host, list[Host]]) -> None:
    hub, (one, two, _) = star
    before = hub.status()["drops"].get("source_not_allowed", 0)
    one.namespace.ip("address", "add", f"{two.inner_ipv4}/32", "dev", "lo")
    try:
        one.namespace.run("ping", "-n", "-c1", "-W0.3", "-I", two.inner_ipv4, hub.inner_ipv4, check=False)
    finally:
        one.namespace.ip("address", "delete", f"{two.inner_ipv4}/32", "dev", "lo")

    def is_counted() -> bool:
        return bool(hub.status()["drops"].get("source_not_allowed", 0) > before)

    eventually(is_counted, "the packet with another's address is counted")
    assert is_reachable(two.namespace, hub.inner_ipv4)

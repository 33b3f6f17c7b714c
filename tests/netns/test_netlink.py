"""Netlink against real interfaces in a namespace, under both event loops."""

import asyncio
import errno
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from functools import partial
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest
import uvloop

from tests.netns.eventually import eventually
from tunnel.config.model import IPInterface, RouteTable
from tunnel.config.patch import IPNetwork
from tunnel.daemon.peer_routes import PeerRoutes
from tunnel.endpoint import Endpoint
from tunnel.errors import NetlinkError
from tunnel.keys import PrivateKey
from tunnel.netlink.link import LinkEvent, Netlink
from tunnel.netlink.routing_watch import RoutingChange, watch_routing
from tunnel.netlink.watch import watch_link
from tunnel.testing.clock import FakeClock
from tunnel.testing.namespaces import Namespace, Port, connect
from tunnel.tun.device import TunDevice

pytestmark = pytest.mark.root

Deed = Callable[[Netlink, int], Awaitable[Any]]


class Host:
    """A namespace with a TUN device, wg0, which is down, and an Ethernet, eth0, which is 192.0.2.1/24."""

    def __init__(self, namespace: Namespace, other: Namespace, runner: Callable[..., Any]) -> None:
        self.namespace, self.other, self._runner = namespace, other, runner
        self.ip = namespace.ip
        connect(Port(namespace, "eth0", ("192.0.2.1/24", "2001:db8::1/64")), Port(other, "eth0", ("192.0.2.2/24",)))
        with namespace.enter():
            self.tun = TunDevice.create("wg0")

    def do(self, deed: Deed) -> Any:
        """Run `deed(netlink, index of wg0)` in the namespace."""

        async def main() -> Any:
            async with Netlink() as netlink:
                index = await netlink.link_index("wg0")
                assert index is not None
                return await deed(netlink, index)

        with self.namespace.enter():
            return self._runner(main())

    def refuses(self, deed: Deed, match: str) -> NetlinkError:
        with pytest.raises(NetlinkError, match=match) as refused:
            self.do(deed)
        assert "\n" not in str(refused.value)
        return refused.value

    def sysctl(self, setting: str) -> None:
        self.namespace.run("sysctl", "-qw", setting)

    def routes(self, table: str = "main") -> list[str]:
        """The routes of both families that lead into wg0, the kernel's own multicast ones left out."""
        where = ("route", "show", "table", table, "dev", "wg0")  # fails where nobody has made the table
        shown = "".join(self.namespace.run("ip", family, *where, check=False).stdout for family in ("-4", "-6"))
        return [line.split()[0] for line in shown.splitlines() if not line.startswith(("fe80", "multicast"))]


@pytest.fixture(params=[pytest.param(asyncio.run, marks=pytest.mark.slow), uvloop.run], ids=["asyncio", "uvloop"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    with Namespace("here") as namespace, Namespace("there") as other:
        host = Host(namespace, other, request.param)
        yield host
        host.tun.close()


async def bring_up(netlink: Netlink, index: int) -> None:
    await netlink.leave_link_local_off(index)
    await netlink.set_link(index, is_up=True)


# --- links


@pytest.mark.parametrize("name", ["wg1", "a" * 15, "a" * 40, "", "%"])
def test_an_interface_that_is_not_there_has_no_index(host: Host, name: str) -> None:
    assert host.do(lambda netlink, _: netlink.link_index(name)) is None


def test_mtu_queue_and_state_are_set_together(host: Host) -> None:
    host.do(lambda netlink, index: netlink.set_link(index, mtu=1380, txqueuelen=1234, is_up=True))
    shown = host.ip("link", "show", "wg0")
    assert "mtu 1380" in shown
    assert "qlen 1234" in shown
    assert ",UP" in shown


def test_what_is_not_given_stays(host: Host) -> None:
    host.do(lambda netlink, index: netlink.set_link(index, mtu=1380, is_up=True))
    host.do(lambda netlink, index: netlink.set_link(index, txqueuelen=7))
    shown = host.ip("link", "show", "wg0")
    assert "mtu 1380" in shown
    assert ",UP" in shown
    host.do(lambda netlink, index: netlink.set_link(index, is_up=False))
    assert ",UP" not in host.ip("link", "show", "wg0")


def test_an_mtu_that_the_device_cannot_have_is_refused_by_name(host: Host) -> None:
    refused = host.refuses(
        lambda netlink, index: netlink.set_link(index, mtu=70000),
        "cannot set mtu 70000 on wg0: mtu greater than device maximum",
    )
    assert refused.errno == errno.EINVAL


def test_an_interface_that_went_away_is_an_error_with_its_number(host: Host) -> None:
    refused = host.refuses(lambda netlink, _: netlink.set_link(999, is_up=True), "interface 999: No such device")
    assert refused.errno == errno.ENODEV


def test_the_largest_superpacket_is_set_along_with_the_others(host: Host) -> None:
    assert host.do(lambda netlink, index: netlink.set_link(index, mtu=1380, gso_max_size=61000)) is True
    shown = host.ip("-d", "link", "show", "wg0")
    assert "mtu 1380" in shown
    assert "gso_max_size 61000" in shown


def test_a_superpacket_larger_than_the_device_can_have_is_no_error_and_changes_nothing_else(host: Host) -> None:
    assert host.do(lambda netlink, index: netlink.set_link(index, mtu=1380, gso_max_size=1 << 20)) is False
    shown = host.ip("-d", "link", "show", "wg0")
    assert "mtu 1380" in shown
    assert "gso_max_size 65536" in shown


def test_a_superpacket_size_for_an_interface_that_went_away_is_an_error(host: Host) -> None:
    refused = host.refuses(
        lambda netlink, _: netlink.set_link(999, gso_max_size=61000),
        "cannot set gso_max_size 61000 on interface 999: No such device",
    )
    assert refused.errno == errno.ENODEV


def test_the_link_local_address_can_be_left_off(host: Host) -> None:
    host.do(bring_up)
    assert "fe80" not in host.ip("address", "show", "wg0")
    assert host.tun.read([memoryview(bytearray(1500))]) == []


# --- addresses


@pytest.mark.parametrize("address", ["10.7.0.1/24", "10.7.0.1/32", "fd07::1/64", "fd07::1/128"])
def test_an_address_is_added_and_adding_it_again_is_fine(host: Host, address: str) -> None:
    for _ in range(2):
        host.do(lambda netlink, index: netlink.add_address(index, ip_interface(address)))
    assert host.ip("address", "show", "wg0").count(address) == 1


def test_an_ipv6_address_is_of_use_at_once(host: Host) -> None:
    """The kernel's queue of work takes a moment; to detect a duplicate address would take a second at least."""
    host.do(lambda netlink, index: netlink.add_address(index, ip_interface("fd07::1/64")))
    eventually(lambda: "tentative" not in host.ip("address", "show", "wg0"), "the address is of use", 0.5)


def holder_of(address: str) -> Deed:
    return lambda netlink, _: netlink.address_holder(ip_interface(address))


def test_the_holder_of_an_address_is_named_whatever_its_prefix(host: Host) -> None:
    for address in ("192.0.2.1/32", "2001:db8::1/128"):
        assert host.do(holder_of(address)) == "eth0"


def test_an_address_that_nobody_has_has_no_holder(host: Host) -> None:
    for address in ("192.0.2.77/24", "2001:db8::77/64"):
        assert host.do(holder_of(address)) is None


def test_where_ipv6_is_disabled_the_error_says_so(host: Host) -> None:
    host.sysctl("net.ipv6.conf.wg0.disable_ipv6=1")
    refused = host.refuses(
        lambda netlink, index: netlink.add_address(index, ip_interface("fd07::1/64")),
        "cannot add address fd07::1/64 to wg0: IPv6 is disabled there",
    )
    assert refused.errno == errno.EACCES
    host.refuses(add_route(ip_network("fd08::/64"), None), "IPv6 is disabled there")


def test_an_mtu_too_small_for_ipv6_is_the_reason_given(host: Host) -> None:
    host.do(lambda netlink, index: netlink.set_link(index, mtu=1279, is_up=True))
    why = "IPv6 needs an MTU of 1280 or more, not 1279"
    host.refuses(lambda netlink, index: netlink.add_address(index, ip_interface("fd07::1/64")), why)
    host.refuses(add_route(ip_network("fd08::/64"), None), why)
    host.do(lambda netlink, index: netlink.delete_address(index, ip_interface("fd07::1/64")))  # which is gone


def test_the_addresses_of_the_interface_are_told_and_no_others(host: Host) -> None:
    addresses = [ip_interface(text) for text in ("10.7.0.1/24", "10.7.0.2/24", "fd07::1/64")]

    async def deed(netlink: Netlink, index: int) -> list[IPInterface]:
        for address in addresses:
            await netlink.add_address(index, address)
        return await netlink.addresses_of(index)

    assert host.do(deed) == addresses


# --- routes


def add_route(network: IPNetwork, table: int | None) -> Deed:
    return lambda netlink, index: netlink.add_routes(index, [network], table)


def holder_of_route(network: IPNetwork, table: int | None) -> Deed:
    async def deed(netlink: Netlink, _: int) -> str | None:
        return (await netlink.route_holders([network], table)).get(network)

    return deed


@pytest.mark.parametrize("network", ["10.8.0.0/16", "10.9.9.9/32", "fd08::/48", "fd08::9/128"])
def test_a_route_is_added_and_adding_it_again_is_fine(host: Host, network: str) -> None:
    host.do(bring_up)
    for _ in range(2):
        host.do(add_route(ip_network(network), None))
    assert host.routes() == [str(network).removesuffix("/32").removesuffix("/128")]


@pytest.mark.parametrize(("address", "network"), [("10.7.0.1/24", "10.7.0.0/24"), ("fd07::1/64", "fd07::/64")])
def test_the_connected_route_of_our_own_address_is_left_as_it_is(host: Host, address: str, network: str) -> None:
    async def deed(netlink: Netlink, index: int) -> None:
        await netlink.add_address(index, ip_interface(address))
        await bring_up(netlink, index)
        await netlink.add_routes(index, [ip_network(network)], None)

    host.do(deed)
    assert host.routes() == [network]


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_another_table_takes_even_a_default_route(host: Host, network: str) -> None:
    host.do(bring_up)
    assert host.do(holder_of_route(ip_network(network), 51820)) is None
    for _ in range(2):
        host.do(add_route(ip_network(network), 51820))
    assert host.routes("51820") == ["default"]
    assert host.routes() == []
    assert host.do(holder_of_route(ip_network(network), 51820)) == "wg0"
    assert host.do(holder_of_route(ip_network(network), None)) is None


@pytest.mark.parametrize("network", ["192.0.2.0/24", "2001:db8::/64"])
def test_a_network_that_another_interface_has_is_refused_by_its_name(host: Host, network: str) -> None:
    host.do(bring_up)
    before = host.ip("route"), host.ip("-6", "route")
    assert host.do(holder_of_route(ip_network(network), None)) == "eth0"
    refused = host.refuses(
        add_route(ip_network(network), None),
        f"route {network} is taken: it goes through eth0",
    )
    assert refused.errno == errno.EEXIST
    assert (host.ip("route"), host.ip("-6", "route")) == before


def test_a_route_of_another_metric_is_taken_all_the_same(host: Host) -> None:
    host.do(bring_up)
    host.ip("route", "add", "10.8.0.0/24", "dev", "eth0", "metric", "500")
    host.refuses(add_route(ip_network("10.8.0.0/24"), None), "goes through eth0")


def test_a_route_over_several_hops_is_held_by_the_first(host: Host) -> None:
    host.ip("route", "add", "10.8.0.0/24", "nexthop", "via", "192.0.2.2", "nexthop", "via", "192.0.2.3")
    assert host.do(holder_of_route(ip_network("10.8.0.0/24"), None)) == "eth0"


def test_a_blackhole_is_a_holder_too(host: Host) -> None:
    host.do(bring_up)
    host.ip("route", "add", "blackhole", "10.8.0.0/24")
    host.refuses(add_route(ip_network("10.8.0.0/24"), None), "of type blackhole")


def test_a_longer_or_shorter_prefix_is_not_taken(host: Host) -> None:
    host.do(bring_up)
    host.do(add_route(ip_network("192.0.2.0/25"), None))
    host.do(add_route(ip_network("192.0.0.0/16"), None))
    assert sorted(host.routes()) == ["192.0.0.0/16", "192.0.2.0/25"]


def test_a_route_into_a_link_that_is_down_is_refused(host: Host) -> None:
    refused = host.refuses(
        add_route(ip_network("10.8.0.0/24"), None),
        "cannot add route 10.8.0.0/24 to wg0: Device for nexthop is not up",
    )
    assert refused.errno == errno.ENETDOWN


def test_routes_of_both_families_are_added_together_and_what_is_there_is_left(host: Host) -> None:
    host.do(bring_up)
    networks = [ip_network(network) for network in ("fd08::/48", "10.8.0.0/16", "10.9.0.0/16")]
    host.do(add_route(networks[1], None))
    host.do(lambda netlink, index: netlink.add_routes(index, networks, None))
    assert sorted(host.routes()) == ["10.8.0.0/16", "10.9.0.0/16", "fd08::/48"]
    assert host.do(lambda netlink, _: netlink.route_holders(networks, None)) == dict.fromkeys(networks, "wg0")


def test_where_one_route_is_taken_none_is_added(host: Host) -> None:
    host.do(bring_up)
    networks = [ip_network("10.8.0.0/16"), ip_network("192.0.2.0/24")]
    host.refuses(lambda netlink, index: netlink.add_routes(index, networks, None), "goes through eth0")
    assert host.routes() == []


def test_many_routes_do_not_make_each_one_slow(host: Host) -> None:
    host.do(bring_up)
    lines = (f"route add 10.{number >> 8}.{number & 255}.0/24 dev eth0" for number in range(256, 2256))
    host.namespace.run("ip", "-b", "-", stdin="\n".join(lines))

    async def deed(netlink: Netlink, index: int) -> float:
        began = time.perf_counter()
        for number in range(10):
            await netlink.add_routes(index, [ip_network(f"10.200.{number}.0/24")], None)
        return time.perf_counter() - began

    assert host.do(deed) < 1.0
    host.refuses(add_route(ip_network("10.8.77.0/24"), None), "goes through eth0")


def test_requests_at_the_same_time_get_their_own_answers(host: Host) -> None:
    async def deed(netlink: Netlink, index: int) -> list[str | None]:
        networks = ("192.0.2.0/24", "10.8.0.0/24", "2001:db8::/64")
        return await asyncio.gather(*(holder_of_route(ip_network(one), None)(netlink, index) for one in networks))

    assert host.do(deed) == ["eth0", None, "eth0"]


def test_a_route_is_missing_that_leads_elsewhere_or_nowhere(host: Host) -> None:
    host.do(bring_up)
    networks = [ip_network(text) for text in ("10.8.0.0/16", "fd08::/48", "10.9.0.0/16", "192.0.2.0/24")]
    host.do(lambda netlink, index: netlink.add_routes(index, networks[:2], None))
    host.ip("route", "add", "10.8.0.0/16", "dev", "eth0", "metric", "7")
    assert host.do(lambda netlink, index: netlink.missing_routes(index, networks, None)) == networks[2:]
    assert host.do(lambda netlink, index: netlink.missing_routes(index, networks, 77)) == networks


@pytest.mark.parametrize("address", ["10.7.0.1/24", "fd07::1/64"])
def test_the_route_of_an_address_is_put_back_as_it_was(host: Host, address: str) -> None:
    """Not only does it look the same: it goes with the address."""
    family = "-6" if ":" in address else "-4"
    network = str(ip_interface(address).network)
    host.do(bring_up)
    host.do(lambda netlink, index: netlink.add_address(index, ip_interface(address)))
    before = host.ip(family, "route")
    host.ip(family, "route", "delete", network, "dev", "wg0")
    for _ in range(2):
        host.do(lambda netlink, index: netlink.add_connected_route(index, ip_interface(address)))
        assert host.ip(family, "route") == before
    host.do(lambda netlink, index: netlink.delete_address(index, ip_interface(address)))
    assert network not in host.ip(family, "route")


# --- routes that go away again


def delete_routes(*networks: str, table: int | None = None) -> Deed:
    return lambda netlink, index: netlink.delete_routes(index, [ip_network(network) for network in networks], table)


def test_routes_are_deleted_and_deleting_them_again_is_fine(host: Host) -> None:
    host.do(bring_up)
    networks = [ip_network(network) for network in ("10.8.0.0/16", "10.9.9.9/32", "fd08::/48", "fd08::9/128")]
    host.do(lambda netlink, index: netlink.add_routes(index, networks, None))
    for _ in range(2):
        host.do(delete_routes("10.9.9.9/32", "fd08::/48"))
        assert sorted(host.routes()) == ["10.8.0.0/16", "fd08::9"]


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_a_route_is_deleted_from_the_table_that_it_is_in(host: Host, network: str) -> None:
    host.do(bring_up)
    host.do(add_route(ip_network(network), 51820))
    host.do(delete_routes(network))
    assert host.routes("51820") == ["default"]
    host.do(delete_routes(network, table=51820))
    assert host.routes("51820") == []


@pytest.mark.parametrize("network", ["10.8.0.0/16", "fd08::/48"])
def test_deleting_from_a_table_that_nobody_has_made_is_fine(host: Host, network: str) -> None:
    host.do(delete_routes(network, table=4711))


@pytest.mark.parametrize(("family", "network"), [("-4", "10.8.0.0/16"), ("-6", "fd08::/48")])
def test_the_route_of_another_interface_is_not_deleted(host: Host, family: str, network: str) -> None:
    host.do(bring_up)
    host.ip(family, "route", "add", network, "dev", "eth0", "proto", "static", "scope", "link")
    host.do(delete_routes(network))
    assert host.do(holder_of_route(ip_network(network), None)) == "eth0"


@pytest.mark.parametrize(("address", "network"), [("10.7.0.1/24", "10.7.0.0/24"), ("fd07::1/64", "fd07::/64")])
def test_the_connected_route_of_our_own_address_is_not_deleted(host: Host, address: str, network: str) -> None:
    host.do(lambda netlink, index: netlink.add_address(index, ip_interface(address)))
    host.do(bring_up)
    host.do(delete_routes(network))
    assert host.routes() == [network]


@pytest.mark.parametrize("network", ["10.8.0.0/16", "fd08::/48"])
def test_a_route_that_somebody_added_by_hand_is_not_deleted(host: Host, network: str) -> None:
    host.do(bring_up)
    host.ip("route", "add", network, "dev", "wg0")
    host.do(delete_routes(network))
    assert host.routes() == [network]


def test_a_single_route_that_is_there_already_is_fine_and_one_of_another_interface_is_not(host: Host) -> None:
    host.do(bring_up)
    for _ in range(2):
        host.do(lambda netlink, index: netlink.add_route(index, ip_network("10.8.0.0/16"), None))
    assert host.routes() == ["10.8.0.0/16"]
    host.ip("route", "add", "10.9.0.0/16", "dev", "eth0")
    host.refuses(lambda netlink, index: netlink.add_route(index, ip_network("10.9.0.0/16"), None), "goes through eth0")


# --- routes that follow a wanted set


def test_the_routes_of_peers_follow_them_and_come_back_with_the_link(host: Host) -> None:
    """With the real netlink under it; see tests/unit/daemon/test_peer_routes.py for the rules."""
    peer = PrivateKey(bytes([1]) * 32).public_key
    taken, first, second = (ip_network(text) for text in ("192.0.2.0/24", "10.8.0.0/16", "fd08::/48"))

    async def until(netlink: Netlink, expected: set[IPNetwork]) -> None:
        async with asyncio.timeout(10):
            while True:
                holders = await netlink.route_holders([taken, first, second], None)
                if {network for network, holder in holders.items() if holder == "wg0"} == expected:
                    return
                await asyncio.sleep(0.01)

    async def deed(netlink: Netlink, index: int) -> None:
        await bring_up(netlink, index)
        routes = PeerRoutes(netlink, FakeClock(), "wg0", index, RouteTable.AUTO, {})
        routes.link_changed(True)
        task = asyncio.create_task(routes.run())
        routes.want(dict.fromkeys([taken, first, second], peer), {})
        await until(netlink, {first, second})
        for is_up in (False, True):
            await netlink.set_link(index, is_up=is_up)
            routes.link_changed(is_up)
            await until(netlink, {first, second} if is_up else set())
        routes.want({first: peer}, {})
        await until(netlink, {first})
        task.cancel()

    host.do(deed)


# --- the MTU on the way to a peer


def mtu(endpoint: Endpoint, fwmark: int = 0) -> Deed:
    async def deed(netlink: Netlink, _: int) -> int | None:
        return next(iter(await netlink.route_mtus([endpoint], fwmark)), None)

    return deed


def test_of_many_endpoints_each_has_the_mtu_of_its_own_way(host: Host) -> None:
    host.ip("route", "add", "203.0.113.0/24", "via", "192.0.2.2", "mtu", "1300")
    hosts = ["192.0.2.2", "203.0.113.9", "198.51.100.1", "192.0.2.3", "2001:db8::2"]
    found = host.do(lambda netlink, _: netlink.route_mtus([Endpoint(one, 9) for one in hosts], 0))
    assert found == [1500, 1300, 1500, 1500]


def test_the_mtu_is_the_interface_s(host: Host) -> None:
    host.ip("link", "set", "eth0", "mtu", "1492")
    for address in ("192.0.2.2", "2001:db8::2"):
        assert host.do(mtu(Endpoint(address, 9))) == 1492


def test_the_mtu_of_the_route_has_precedence(host: Host) -> None:
    host.ip("route", "add", "203.0.113.0/24", "via", "192.0.2.2", "mtu", "1300")
    host.ip("route", "add", "2001:db8:9::/64", "via", "2001:db8::2", "mtu", "1301")
    assert host.do(mtu(Endpoint("203.0.113.9", 9))) == 1300
    assert host.do(mtu(Endpoint("2001:db8:9::1", 9))) == 1301


def test_the_mark_takes_part_in_finding_the_route(host: Host) -> None:
    host.ip("route", "add", "203.0.113.0/24", "via", "192.0.2.2", "table", "77", "mtu", "1333")
    host.ip("rule", "add", "fwmark", "0xfffffff0", "lookup", "77")
    assert host.do(mtu(Endpoint("203.0.113.9", 9))) is None
    assert host.do(mtu(Endpoint("203.0.113.9", 9), 0xFFFFFFF0)) == 1333


@pytest.mark.parametrize("kind", ["unreachable", "blackhole", "prohibit"])
@pytest.mark.parametrize(
    ("network", "address"), [("203.0.113.0/24", "203.0.113.9"), ("2001:db8:9::/64", "2001:db8:9::1")]
)
def test_a_route_that_leads_nowhere_has_no_mtu(host: Host, kind: str, network: str, address: str) -> None:
    host.ip("route", "add", kind, network)
    assert host.do(mtu(Endpoint(address, 9))) is None


def test_without_any_route_there_is_no_mtu(host: Host) -> None:
    assert host.do(mtu(Endpoint("203.0.113.9", 9))) is None
    assert host.do(mtu(Endpoint("2001:db8:9::1", 9))) is None


# --- watching


def watched(act: Callable[[int], None], until: Callable[[list[LinkEvent]], bool], **options: int) -> Deed:
    """Watch wg0; before each next event `act` is called with the number of those seen. End when `until` says so."""

    async def deed(netlink: Netlink, index: int) -> list[LinkEvent]:
        seen: list[LinkEvent] = []
        async with asyncio.timeout(10), aclosing(watch_link(index, **options)) as events:
            async for event in events:
                seen.append(event)
                if until(seen):
                    break
                act(len(seen))
        return seen

    return deed


def test_watching_begins_with_the_present_state(host: Host) -> None:
    host.ip("link", "set", "wg0", "addrgenmode", "none")
    host.ip("link", "set", "wg0", "mtu", "1400", "up")
    for address in ("10.7.0.1/24", "fd07::1/64"):
        host.ip("address", "add", address, "dev", "wg0")
    seen = host.do(watched(lambda _: None, lambda seen: True))
    addresses = (ip_interface("10.7.0.1/24"), ip_interface("fd07::1/64"))
    assert seen == [LinkEvent("wg0", is_up=True, mtu=1400, addresses=addresses)]


def test_addresses_that_come_and_go_are_told(host: Host) -> None:
    """An IPv6 address goes with the link; the kernel tells that the link is down first."""

    host.ip("link", "set", "wg0", "addrgenmode", "none")

    def act(count: int) -> None:
        if count == 1:
            host.ip("link", "set", "wg0", "up")
            host.ip("address", "add", "192.0.2.77/24", "dev", "eth0")  # nothing of ours
            host.ip("address", "add", "10.7.0.1", "peer", "10.7.0.2", "dev", "wg0")
            host.ip("address", "add", "fd07::1/64", "dev", "wg0")
            host.ip("link", "set", "wg0", "down")
            host.ip("address", "delete", "10.7.0.1", "peer", "10.7.0.2", "dev", "wg0")
            host.tun.close()

    seen = host.do(watched(act, lambda seen: seen[-1].is_gone))
    assert [(event.is_up, ", ".join(map(str, event.addresses))) for event in seen] == [
        (False, ""),
        (True, ""),
        (True, "10.7.0.1/32"),
        (True, "10.7.0.1/32, fd07::1/64"),
        (False, "10.7.0.1/32, fd07::1/64"),
        (False, "10.7.0.1/32"),
        (False, ""),
        (False, ""),
    ]


def test_every_change_is_told_in_order_and_once(host: Host) -> None:
    host.ip("link", "set", "wg0", "addrgenmode", "none")

    def act(count: int) -> None:
        if count == 1:
            host.ip("link", "set", "wg0", "mtu", "1400")
            host.ip("link", "set", "wg0", "up")
            host.ip("link", "set", "wg0", "txqueuelen", "99")  # nothing that we tell of
            host.ip("link", "set", "eth0", "mtu", "1400")  # nothing of ours
            host.ip("link", "set", "wg0", "down")
            host.ip("link", "set", "wg0", "name", "wg9")
            host.ip("link", "delete", "wg9")

    assert host.do(watched(act, lambda seen: seen[-1].is_gone)) == [
        LinkEvent("wg0", is_up=False, mtu=1500),
        LinkEvent("wg0", is_up=False, mtu=1400),
        LinkEvent("wg0", is_up=True, mtu=1400),
        LinkEvent("wg0", is_up=False, mtu=1400),
        LinkEvent("wg9", is_up=False, mtu=1400),
        LinkEvent("wg9", is_up=False, mtu=1400, is_gone=True),
    ]


def test_after_the_interface_is_gone_the_events_end(host: Host) -> None:
    seen = host.do(watched(lambda _: host.tun.close(), lambda seen: False))
    assert [event.is_gone for event in seen] == [False, True]


def test_moving_to_another_namespace_is_gone(host: Host) -> None:
    seen = host.do(
        watched(lambda _: void(host.ip("link", "set", "wg0", "netns", host.other.name)), lambda seen: seen[-1].is_gone)
    )
    assert seen[-1] == LinkEvent("wg0", is_up=False, mtu=1500, is_gone=True)


def test_an_index_that_is_not_there_is_gone_from_the_start(host: Host) -> None:
    async def deed(netlink: Netlink, index: int) -> list[LinkEvent]:
        return [event async for event in netlink.watch_link(999)]

    assert host.do(deed) == [LinkEvent("", is_up=False, mtu=0, is_gone=True)]


def test_after_an_overflow_the_state_is_right_again(host: Host) -> None:
    def act(count: int) -> None:
        if count == 1:
            lines = [f"link set {name} mtu {1300 + number % 100}" for number in range(200) for name in ("wg0", "eth0")]
            last = ("address add 10.7.0.1/24 dev wg0", "link set wg0 mtu 1234")
            host.namespace.run("ip", "-b", "-", stdin="\n".join([*lines, *last]))

    seen = host.do(watched(act, lambda seen: seen[-1].mtu == 1234, receive_buffer=1))
    assert seen[0].mtu == 1500
    assert seen[-1].addresses == (ip_interface("10.7.0.1/24"),)
    assert len(seen) < 200, "nothing overflowed, so nothing was tested"


# --- watching the routing


Act = Callable[[], object]


def routing_watched(acts: Sequence[Act], **options: int) -> Deed:
    """Watch: for each of `acts` the first change that follows."""

    async def deed(netlink: Netlink, index: int) -> list[RoutingChange]:
        seen: list[RoutingChange] = []
        async with asyncio.timeout(20), aclosing(watch_routing(index, **options)) as changes:
            for act in acts:
                change = asyncio.ensure_future(anext(changes))
                await asyncio.sleep(0)  # it has subscribed
                act()
                seen.append(await change)
        return seen

    return deed


def gone(network: str, table: int = 254) -> RoutingChange:
    return RoutingChange(frozenset([(table, ip_network(network))]), is_elsewhere=False)


def test_a_route_of_ours_that_goes_is_told(host: Host) -> None:
    host.do(bring_up)
    routes = [("10.8.0.0/16", 254), ("fd08::/48", 254), ("10.8.0.0/16", 4711), ("0.0.0.0/0", 4711), ("::/0", 4711)]
    for network, table in routes:
        host.do(add_route(ip_network(network), table))

    def act(network: str, table: int) -> None:
        family = "-6" if ":" in network else "-4"
        host.ip(family, "route", "delete", network, "dev", "wg0", "table", str(table))

    seen = host.do(routing_watched([partial(act, *route) for route in routes]))
    assert seen == [gone(*route) for route in routes]


def test_routes_that_are_no_business_of_ours_never_reach_us(host: Host) -> None:
    """Told of each they would overflow the queue, which has room for two or three."""
    host.do(bring_up)
    host.do(add_route(ip_network("10.8.0.0/16"), None))
    routes = [f"10.9.{number}.0/24 dev {name}" for number in range(100) for name in ("eth0", "wg0 metric 9")]
    lines = [
        *(f"route add {route}" for route in routes),
        *(f"route del {route}" for route in routes if "eth0" in route),
    ]
    of_daemons = [f"10.10.{number}.0/24 dev wg0 proto bird" for number in range(100)]
    lines += [f"route {deed} {route}" for deed in ("add", "del") for route in of_daemons]
    lines += ["link set eth0 mtu 1400", "link set eth0 txqueuelen 9", "route del 10.8.0.0/16"]

    def act() -> None:
        host.namespace.run("ip", "-b", "-", stdin="\n".join(lines))

    assert host.do(routing_watched([act], receive_buffer=1)) == [gone("10.8.0.0/16")]


def test_however_many_routes_go_packets_do_not_wait_for_all_of_them(host: Host) -> None:
    routes = [f"10.9.{number}.0/24" for number in range(100)]

    def act(deed: str) -> None:
        host.namespace.run("ip", "-b", "-", stdin="\n".join(f"route {deed} {route} dev wg0" for route in routes))

    host.do(bring_up)
    act("add")
    seen = host.do(routing_watched([partial(act, "del"), *[lambda: None] * 6]))
    assert [len(change.removed) for change in seen] == [16] * 6 + [4]


def test_whatever_may_lead_what_we_send_another_way_is_told(host: Host) -> None:
    changes = [
        "route add default via 192.0.2.2",
        "route add default via 192.0.2.2 table 77",
        "-6 route add default via 2001:db8::2",
        "route delete default",
        "address add 198.51.100.1/32 dev eth0",
        "rule add fwmark 7 lookup 77",
        "-6 rule add fwmark 7 lookup 77",
        "link set eth0 down",
        "link delete eth0",
    ]
    seen = host.do(routing_watched([partial(host.ip, *change.split()) for change in changes]))
    assert [change.is_elsewhere for change in seen] == [True] * len(changes)
    assert not any(change.removed or change.is_incomplete for change in seen)


def test_when_changes_were_lost_that_is_told(host: Host) -> None:
    def act() -> None:
        lines = [f"address add 198.51.100.{number}/32 dev eth0" for number in range(1, 100)]
        host.namespace.run("ip", "-b", "-", stdin="\n".join(lines))

    (change,) = host.do(routing_watched([act], receive_buffer=1))
    assert change.is_incomplete
    assert change.is_elsewhere


def test_a_watch_that_is_cancelled_leaves_nothing_open(host: Host) -> None:
    async def deed(netlink: Netlink, index: int) -> None:
        began = asyncio.Event()
        before = len(os.listdir("/proc/self/fd"))

        async def watch() -> None:
            async for _ in netlink.watch_link(index):
                began.set()

        task = asyncio.create_task(watch())
        await began.wait()
        assert len(os.listdir("/proc/self/fd")) == before + 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(os.listdir("/proc/self/fd")) == before

    host.do(deed)


def void(_: object) -> None:
    """For what is done for its effect."""

"""Taking from an interface what it is not to have, and nothing from others."""

import asyncio
import socket
from collections.abc import Iterator
from ipaddress import ip_interface, ip_network

import pytest
import uvloop

from tunnel.netlink.leftovers import clear_interface, delete_interface
from tunnel.testing.namespaces import Namespace

pytestmark = pytest.mark.root

ADDRESSES = ("10.9.0.1/24", "10.9.0.2/24", "10.8.0.1/32", "fd00::1/64", "fd01::1/64")
ROUTES = ("10.60.0.0/16", "10.61.0.0/16", "10.62.0.0/16 table 77", "default metric 9", "10.63.0.0/16 via 10.9.0.7")
ROUTES_IPV6 = ("fd60::/64", "fd61::/64", "default", "default table 77", "fd62::/64 metric 5")


@pytest.fixture
def host() -> Iterator[Namespace]:
    """wg0 and wg1, up, with an address each and the same routes in tables of their own."""
    with Namespace("leftovers") as host:
        for name in ("wg0", "wg1"):
            host.ip("tuntap", "add", name, "mode", "tun")
            host.ip("link", "set", name, "addrgenmode", "none")
            host.ip("link", "set", name, "up")
        host.ip("address", "add", "10.7.0.1/24", "dev", "wg1")
        host.ip("route", "add", "10.64.0.0/16", "dev", "wg1")
        yield host


def everything(host: Namespace) -> str:
    shown = [host.ip(*family, "route", "show", "table", "all") for family in ((), ("-6",))]
    return "".join((*shown, host.ip("address"), host.run("tc", "qdisc").stdout))


def clear(host: Namespace, table: int | None = None) -> None:
    addresses = [ip_interface("10.9.0.1/24"), ip_interface("fd00::1/64")]
    routes = [ip_network("10.60.0.0/16"), ip_network("fd60::/64")]
    with host.enter(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(clear_interface(socket.if_nametoindex("wg0"), addresses, routes, table))


def test_what_is_wanted_stays_and_the_rest_goes(host: Namespace) -> None:
    for address in ("10.9.0.1/24", "fd00::1/64"):
        host.ip("address", "add", address, "dev", "wg0")
    host.ip("route", "add", "10.60.0.0/16", "dev", "wg0")
    host.ip("route", "add", "fd60::/64", "dev", "wg0")
    wanted = everything(host)
    for address in set(ADDRESSES) - {"10.9.0.1/24", "fd00::1/64"}:
        host.ip("address", "add", address, "dev", "wg0")
    for route in set(ROUTES) - {"10.60.0.0/16"}:
        host.ip("route", "add", *route.split(), "dev", "wg0")
    for route in set(ROUTES_IPV6) - {"fd60::/64"}:
        host.ip("-6", "route", "add", *route.split(), "dev", "wg0")
    host.run("tc", "qdisc", "add", "dev", "wg0", "clsact")
    host.run("tc", "qdisc", "add", "dev", "wg0", "root", "pfifo", "limit", "7")
    assert everything(host) != wanted
    clear(host)
    assert everything(host) == wanted
    clear(host)
    assert everything(host) == wanted


def test_routes_of_another_table_than_is_wanted_go(host: Namespace) -> None:
    host.ip("route", "add", "10.60.0.0/16", "dev", "wg0")
    host.ip("route", "add", "10.60.0.0/16", "dev", "wg0", "table", "77")
    clear(host, 77)
    assert host.ip("route", "show", "10.60.0.0/16") == ""
    assert "10.60.0.0/16" in host.ip("route", "show", "table", "77")


def test_an_interface_is_deleted_and_one_that_is_gone_is_fine(host: Namespace) -> None:
    for _ in range(2):
        with host.enter(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(delete_interface("wg0"))
        assert host.links() == ["wg1"]

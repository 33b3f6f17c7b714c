"""Which of the routes in a dump have the very prefix."""

import errno
import struct
from collections.abc import Callable
from ipaddress import ip_network

import pytest

from tunnel.netlink.messages import RTMSG, Kind, Rta, pack_attribute, parse_attributes
from tunnel.netlink.routes import Route, find_routes
from tunnel.netlink.rtnetlink import Rtnetlink

MAIN, OTHER = 254, 51820
UNICAST, BLACKHOLE, PROHIBIT, THROW = 1, 6, 8, 9


class Tables(Rtnetlink):
    """Answers every question with the same routes, as a kernel does that knows no filters."""

    def __init__(self, *routes: bytes, refusal: OSError | None = None) -> None:
        self.routes = routes
        self.refusal = refusal
        self.question = b""

    def dump(self, kind: Kind, body: bytes, is_wanted: Callable[[bytes], bool] | None = None) -> list[bytes]:
        assert kind == Kind.GETROUTE
        self.question = body
        if self.refusal:
            raise self.refusal
        return list(filter(is_wanted, self.routes))


def route(destination: str, *more: bytes, interface: int = 3, table: int = MAIN, kind: int = UNICAST) -> bytes:
    network = ip_network(destination)
    family = 2 if network.version == 4 else 10
    body = RTMSG.pack(family, network.prefixlen, 0, 0, table if table < 256 else 252, 4, 0, kind, 0)
    body += pack_attribute(Rta.TABLE, table)
    if network.prefixlen:
        body += pack_attribute(Rta.DST, network.network_address.packed)
    return body + (pack_attribute(Rta.OIF, interface) if interface else b"") + b"".join(more)


def find(tables: Tables, network: str, table: int = MAIN) -> list[Route]:
    return find_routes(tables, ip_network(network), table)


@pytest.mark.parametrize("network", ["10.8.0.0/24", "0.0.0.0/0", "10.8.0.1/32", "fd00::/64", "::/0"])
def test_the_route_to_the_same_prefix_is_found(network: str) -> None:
    assert find(Tables(route("192.0.2.0/25"), route(network)), network) == [Route(3, "unicast")]


@pytest.mark.parametrize("other", ["10.8.1.0/24", "10.8.0.0/25", "10.8.0.0/23", "0.0.0.0/0"])
def test_a_route_to_another_prefix_is_not(other: str) -> None:
    assert find(Tables(route(other)), "10.8.0.0/24") == []


def test_all_metrics_are_found() -> None:
    assert len(find(Tables(route("10.8.0.0/24"), route("10.8.0.0/24", interface=4)), "10.8.0.0/24")) == 2


def test_the_address_in_another_place_is_not_the_destination() -> None:
    gateway = pack_attribute(5, ip_network("10.8.0.0/24").network_address.packed)
    assert find(Tables(route("10.9.0.0/24", gateway)), "10.8.0.0/24") == []


@pytest.mark.parametrize(("table", "other"), [(MAIN, OTHER), (OTHER, MAIN)])
def test_a_route_in_another_table_is_not_found(table: int, other: int) -> None:
    assert find(Tables(route("10.8.0.0/24", table=other)), "10.8.0.0/24", table) == []


@pytest.mark.parametrize(("network", "family"), [("10.8.0.0/24", 2), ("fd00::/64", 10)])
def test_the_kernel_is_asked_for_one_table_of_one_family_only(network: str, family: int) -> None:
    tables = Tables()
    find(tables, network, OTHER)
    assert tables.question[: RTMSG.size] == RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)
    assert parse_attributes(tables.question[RTMSG.size :]) == {Rta.TABLE: struct.pack("=I", OTHER)}


def test_a_table_that_does_not_exist_has_no_routes() -> None:
    assert find(Tables(refusal=OSError(errno.ENOENT, "FIB table does not exist")), "10.8.0.0/24") == []


def test_any_other_refusal_is_passed_on() -> None:
    with pytest.raises(PermissionError):
        find(Tables(refusal=OSError(errno.EPERM, "no")), "10.8.0.0/24")


@pytest.mark.parametrize(("kind", "name"), [(BLACKHOLE, "blackhole"), (PROHIBIT, "prohibit"), (THROW, "9")])
def test_a_route_that_leads_nowhere_has_a_kind_and_no_interface(kind: int, name: str) -> None:
    assert find(Tables(route("10.8.0.0/24", interface=0, kind=kind)), "10.8.0.0/24") == [Route(0, name)]


def test_of_several_next_hops_the_first_counts() -> None:
    hops = struct.pack("=HBBi", 8, 0, 0, 5) + struct.pack("=HBBi", 8, 0, 0, 6)
    several = route("10.8.0.0/24", pack_attribute(Rta.MULTIPATH, hops), interface=0)
    assert find(Tables(several), "10.8.0.0/24") == [Route(5, "unicast")]

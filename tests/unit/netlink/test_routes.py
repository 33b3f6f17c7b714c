"""The sieve before the decoder of route messages."""

import struct
from ipaddress import ip_network

import pytest

from tunnel.netlink.routes import _Sieve

NEWROUTE, DONE = 24, 3


class Decoder:
    """Stands for pyroute2's marshal."""

    def parse_one_message(self, kind: int, flags: int, sequence: int, data: bytes, offset: int, length: int) -> object:
        return ("decoded", kind, sequence)


def route(destination: str) -> bytes:
    """An RTM_NEWROUTE message with RTA_DST and RTA_OIF."""
    network = ip_network(destination)
    packed = network.network_address.packed if network.prefixlen else b""
    body = struct.pack("=BBBBBBBBI", 2 if network.version == 4 else 10, network.prefixlen, 0, 0, 254, 4, 0, 1, 0)
    if packed:
        body += struct.pack("=HH", 4 + len(packed), 1) + packed
    body += struct.pack("=HHI", 8, 4, 3)
    return struct.pack("=IHHII", 16 + len(body), NEWROUTE, 2, 5, 0) + body


def passes(wanted: str, data: bytes, offset: int = 0) -> bool:
    sieve = _Sieve(Decoder(), [ip_network(wanted)])
    return isinstance(sieve(data, offset, int.from_bytes(data[offset : offset + 4], "little")), tuple)


@pytest.mark.parametrize("network", ["10.8.0.0/24", "0.0.0.0/0", "10.8.0.1/32", "fd00::/64", "::/0"])
def test_the_wanted_route_is_decoded(network: str) -> None:
    assert passes(network, route(network))


@pytest.mark.parametrize("other", ["10.8.1.0/24", "10.8.0.0/25", "0.0.0.0/0"])
def test_another_route_is_not_decoded(other: str) -> None:
    assert not passes("10.8.0.0/24", route(other))


def test_the_neighbour_in_the_same_datagram_is_not_mistaken_for_it() -> None:
    first, second = route("10.9.0.0/24"), route("10.8.0.0/24")
    assert not passes("10.8.0.0/24", first + second)
    assert passes("10.8.0.0/24", first + second, offset=len(first))


def test_each_of_several_wanted_routes_is_decoded() -> None:
    wanted = ["10.8.0.0/24", "10.9.0.0/16"]
    sieve = _Sieve(Decoder(), [ip_network(network) for network in wanted])
    messages = [route(network) for network in [*wanted, "10.10.0.0/24"]]
    assert [isinstance(sieve(data, 0, len(data)), tuple) for data in messages] == [True, True, False]


def test_the_end_of_the_dump_is_always_decoded() -> None:
    assert passes("10.8.0.0/24", struct.pack("=IHHII", 20, DONE, 2, 5, 0) + bytes(4))

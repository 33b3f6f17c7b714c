"""Control messages there and back."""

import socket
import struct

import pytest

from tunnel.endpoint import Source
from tunnel.udp.pktinfo import IP_PKTINFO, pack_source, parse_source


def test_an_ipv4_source_is_the_address_to_answer_from_not_the_one_in_the_header() -> None:
    broadcast = struct.pack("=I4s4s", 3, socket.inet_aton("192.0.2.7"), socket.inet_aton("192.0.2.255"))
    assert parse_source(False, broadcast) == Source("192.0.2.7", 3)


def test_an_ipv6_source_has_its_address_in_canonical_form() -> None:
    pktinfo = struct.pack("=16sI", socket.inet_pton(socket.AF_INET6, "2001:db8:0:0:0:0:0:1"), 5)
    assert parse_source(True, pktinfo) == Source("2001:db8::1", 5)


@pytest.mark.parametrize("is_ipv6", [False, True])
@pytest.mark.parametrize("size", [0, 11, 13, 19, 21])
def test_a_message_of_another_size_is_no_source(is_ipv6: bool, size: int) -> None:
    assert parse_source(is_ipv6, bytes(size)) is None


def test_the_routing_table_chooses_the_interface_for_an_ipv4_source() -> None:
    ((level, kind, data),) = pack_source(Source("192.0.2.7", 3))
    assert (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO)
    assert struct.unpack("=I4s4s", data) == (0, socket.inet_aton("192.0.2.7"), bytes(4))


def test_the_routing_table_chooses_the_interface_for_an_ipv6_source() -> None:
    ((level, kind, data),) = pack_source(Source("2001:db8::1", 3))
    assert (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO)
    assert struct.unpack("=16sI", data) == (socket.inet_pton(socket.AF_INET6, "2001:db8::1"), 0)


def test_a_link_local_source_names_its_interface() -> None:
    ((_, _, data),) = pack_source(Source("fe80::1", 3))
    assert data[16:] == struct.pack("=I", 3)

"""Packet information: which of our addresses a datagram came to, and from which one an answer is to leave.

A host with several addresses must answer from the one it was asked at, or NATs and firewalls on the way will not know
the answer. So every datagram is received with an IP_PKTINFO or IPV6_PKTINFO control message, its content becomes a
`Source`, and the same kind of message goes out with whatever is sent back. (ip(7); RFC 3542 section 6.)

    struct in_pktinfo   interface index 4 | local address to answer from 4 | destination in the header 4
    struct in6_pktinfo  address 16 | interface index 4
"""

import ipaddress
import socket
import struct

from tunnel.endpoint import Source

IP_PKTINFO = 8  # the socket module of Python 3.11 lacks it

_IN_PKTINFO = struct.Struct("=I4s4s")
_IN6_PKTINFO = struct.Struct("=16sI")

PKTINFO_ANCILLARY_SIZE = socket.CMSG_SPACE(_IN6_PKTINFO.size)
"""Room for the message in either family."""

Ancillary = list[tuple[int, int, bytes]]
"""What `socket.sendmsg` takes: (level, type, data) of each control message."""


def parse_source(is_ipv6: bool, pktinfo: bytes) -> Source | None:
    """The content of a control message; None when there is none, or it is of another size."""
    if is_ipv6:
        if len(pktinfo) != _IN6_PKTINFO.size:
            return None
        address, interface = _IN6_PKTINFO.unpack(pktinfo)
        return Source(str(ipaddress.IPv6Address(address)), interface)
    if len(pktinfo) != _IN_PKTINFO.size:
        return None
    interface, address, _ = _IN_PKTINFO.unpack(pktinfo)
    return Source(str(ipaddress.IPv4Address(address)), interface)


def pack_source(source: Source) -> Ancillary:
    """The control message that makes a datagram leave from `source`'s address.

    The interface is named for link-local addresses only, which mean nothing without one. To name it always would be
    wrong: told an interface that has no route to the destination, IPv4 takes the destination for a neighbour on that
    very link and the datagram is never seen again. The address alone leaves the choice to the routing tables.
    """
    address = ipaddress.ip_address(source.address)
    if isinstance(address, ipaddress.IPv6Address):
        interface = source.interface if address.is_link_local else 0
        return [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, _IN6_PKTINFO.pack(address.packed, interface))]
    return [(socket.IPPROTO_IP, IP_PKTINFO, _IN_PKTINFO.pack(0, address.packed, bytes(4)))]

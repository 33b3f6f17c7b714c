"""Finding a route by its exact prefix, in a table of any size.

The kernel can be asked which route a packet would take, but not whether a prefix is in a table: for that the table has
to be read. A hub with a thousand peers asks once for each, so a look at the bytes sorts out nearly all of its routes
before anything is decoded.
"""

import errno
from ipaddress import IPv6Network
from socket import AF_INET, AF_INET6
from typing import NamedTuple

from tunnel.config.patch import IPNetwork
from tunnel.netlink.messages import RTMSG, RTNEXTHOP, Kind, Rta, pack_attribute, parse_attributes, parse_number
from tunnel.netlink.rtnetlink import Rtnetlink

_TYPES = ("unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit")


class Route(NamedTuple):
    """A route as far as it matters to whoever wants the same prefix; `interface` 0: it leads nowhere, see `kind`."""

    interface: int
    kind: str
    """``unicast``, ``blackhole``, ``unreachable`` …, or the number of a rare one (rtnetlink(7))."""


def find_routes(rtnetlink: Rtnetlink, network: IPNetwork, table: int) -> list[Route]:
    """The routes in `table` to exactly this network, of any metric; raise `OSError`."""
    family = AF_INET6 if isinstance(network, IPv6Network) else AF_INET
    question = RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0) + pack_attribute(Rta.TABLE, table)
    packed = network.network_address.packed if network.prefixlen else b""

    def may_match(body: bytes) -> bool:
        return body[1] == network.prefixlen and packed in body

    try:
        found = rtnetlink.dump(Kind.GETROUTE, question, may_match)
    except OSError as error:
        if error.errno != errno.ENOENT:  # a table that nobody has put a route into
            raise
        return []
    return [_parse_route(body) for body in found if _is_to(body, packed, table)]


def _is_to(body: bytes, packed: bytes, table: int) -> bool:
    """What was let through may merely contain the same bytes, or be of another table where the kernel is old."""
    attributes = parse_attributes(body[RTMSG.size :])
    return parse_number(attributes.get(Rta.TABLE)) == table and attributes.get(Rta.DST, b"") == packed


def _parse_route(body: bytes) -> Route:
    kind = RTMSG.unpack_from(body)[7]
    attributes = parse_attributes(body[RTMSG.size :])
    hops = attributes.get(Rta.MULTIPATH)
    interface = RTNEXTHOP.unpack_from(hops)[3] if hops else parse_number(attributes.get(Rta.OIF))
    return Route(interface, _TYPES[kind] if kind < len(_TYPES) else str(kind))

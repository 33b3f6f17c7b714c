"""Finding routes by their exact prefixes, in a table of any size.

The kernel can be asked which route a packet would take, but not whether a prefix is in a table: for that the table has
to be read. A hub with a thousand peers wants as many routes, so the table is read once for all of them. And pyroute2
spends some 50 µs on each route, so what has none of the prefixes is passed over before anything is decoded.
"""

import errno
import struct
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from socket import AF_INET, AF_INET6
from typing import Any, NamedTuple

from pyroute2.netlink import NLM_F_DUMP, NLM_F_MULTI, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError as KernelError
from pyroute2.netlink.nlsocket import NetlinkRequest
from pyroute2.netlink.rtnl import RTM_GETROUTE, RTM_NEWROUTE, rt_type
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from tunnel.config.patch import IPNetwork
from tunnel.netlink.loopsocket import LoopIPRoute

MAIN_TABLE = 254

_NLMSG = struct.Struct("=IHHI")  # length, type, flags, sequence
_RTATTR = struct.Struct("=HH")  # length with this header, type
_RTA_DST = 1
_DST_LEN = 17  # offsets in a route message: 16 bytes of header, then family, dst_len …
_ATTRIBUTES = 28


class Route(NamedTuple):
    """A route as far as it matters to whoever wants the same prefix; `interface` 0: it leads nowhere, see `kind`."""

    interface: int
    kind: str
    """``unicast``, ``blackhole``, ``unreachable`` … (rtnetlink(7))."""


async def find_routes(
    rtnetlink: LoopIPRoute, networks: Iterable[IPNetwork], table: int
) -> dict[IPNetwork, list[Route]]:
    """The routes in `table` to exactly these networks, of any metric; those without one are left out.

    Raise pyroute2's `NetlinkError`.
    """
    found: dict[IPNetwork, list[Route]] = {}
    by_version: dict[int, set[IPNetwork]] = {4: set(), 6: set()}
    for network in networks:
        by_version[network.version].add(network)
    for version, wanted in by_version.items():
        for message in await _read_table(rtnetlink, version, wanted, table) if wanted else ():
            network = _destination(version, message)
            if network in wanted and message.get("table") == table:  # the sieve lets through what looks alike
                found.setdefault(network, []).append(_parse_route(message))
    return found


async def _read_table(rtnetlink: LoopIPRoute, version: int, wanted: Iterable[IPNetwork], table: int) -> list[Any]:
    """What may be a route to one of the wanted networks, all of one version, decoded."""
    question = rtmsg()
    question["family"] = AF_INET if version == 4 else AF_INET6
    question["attrs"] = [("RTA_TABLE", table)]
    request = NetlinkRequest(
        rtnetlink,
        question,
        parser=_Sieve(rtnetlink.marshal, wanted),
        msg_type=RTM_GETROUTE,
        msg_flags=NLM_F_REQUEST | NLM_F_DUMP,
    )
    await request.send()
    try:
        return [message async for message in request.response() if "family" in message]
    except KernelError as error:
        if error.code != errno.ENOENT:  # a table that nobody has put a route into
            raise
        return []


class _Sieve:
    """Decodes only messages that may be about the networks; others become empty ones, which pyroute2 must not miss."""

    def __init__(self, marshal: Any, networks: Iterable[IPNetwork]) -> None:
        self._marshal = marshal
        self._prefixes = {(network.prefixlen, _packed(network)) for network in networks}

    def __call__(self, data: bytes, offset: int, length: int) -> Any:
        _, kind, flags, sequence = _NLMSG.unpack_from(data, offset)
        if kind == RTM_NEWROUTE and (data[offset + _DST_LEN], _rta_dst(data, offset, length)) not in self._prefixes:
            return {"header": {"type": kind, "flags": NLM_F_MULTI}}
        return self._marshal.parse_one_message(kind, flags, sequence, data, offset, length)


def _packed(network: IPNetwork) -> bytes:
    """As the kernel tells it: a default route has no destination."""
    return network.network_address.packed if network.prefixlen else b""


def _rta_dst(data: bytes, offset: int, length: int) -> bytes:
    """The destination in the route message that begins at `offset`; empty if it has none."""
    place, end = offset + _ATTRIBUTES, offset + length
    while place + _RTATTR.size <= end:
        size, kind = _RTATTR.unpack_from(data, place)
        if kind == _RTA_DST:
            return data[place + _RTATTR.size : place + size]
        place += max(_RTATTR.size, (size + 3) & ~3)
    return b""


def _destination(version: int, message: Any) -> IPNetwork:
    family = IPv4Network if version == 4 else IPv6Network
    return family((message.get("dst") or 0, message["dst_len"]))


def _parse_route(message: Any) -> Route:
    hops = message.get("multipath")
    interface = hops[0]["oif"] if hops else message.get("oif")
    return Route(interface or 0, rt_type.get(message["type"], str(message["type"])))

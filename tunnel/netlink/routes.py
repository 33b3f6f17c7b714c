"""Finding a route by its exact prefix, in a table of any size.

The kernel can be asked which route a packet would take, but not whether a prefix is in a table: for that the table has
to be read. pyroute2 spends some 50 µs on each route, so a hub with a thousand peers, which asks once for each, would
take minutes. A look at the bytes before anything is decoded makes that a microsecond.
"""

import errno
import struct
from ipaddress import IPv6Network, ip_address
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
_DST_LEN = 17  # offsets in a route message: 16 bytes of header, then family, dst_len …
_ATTRIBUTES = 28


class Route(NamedTuple):
    """A route as far as it matters to whoever wants the same prefix; `interface` 0: it leads nowhere, see `kind`."""

    interface: int
    kind: str
    """``unicast``, ``blackhole``, ``unreachable`` … (rtnetlink(7))."""


async def find_routes(rtnetlink: LoopIPRoute, network: IPNetwork, table: int) -> list[Route]:
    """The routes in `table` to exactly this network, of any metric; raise pyroute2's `NetlinkError`."""
    question = rtmsg()
    question["family"] = AF_INET6 if isinstance(network, IPv6Network) else AF_INET
    question["attrs"] = [("RTA_TABLE", table)]
    request = NetlinkRequest(
        rtnetlink,
        question,
        parser=_Sieve(rtnetlink.marshal, network),
        msg_type=RTM_GETROUTE,
        msg_flags=NLM_F_REQUEST | NLM_F_DUMP,
    )
    await request.send()
    try:
        found = [message async for message in request.response() if "family" in message]
    except KernelError as error:
        if error.code != errno.ENOENT:  # a table that nobody has put a route into
            raise
        return []
    return [_parse_route(message) for message in found if _is_to(message, network, table)]


class _Sieve:
    """Decodes only messages that may be about `network`; the rest become empty ones, which pyroute2 must not miss."""

    def __init__(self, marshal: Any, network: IPNetwork) -> None:
        self._marshal = marshal
        self._length = network.prefixlen
        self._packed = network.network_address.packed if network.prefixlen else b""

    def __call__(self, data: bytes, offset: int, length: int) -> Any:
        _, kind, flags, sequence = _NLMSG.unpack_from(data, offset)
        if kind == RTM_NEWROUTE and (
            data[offset + _DST_LEN] != self._length
            or data.find(self._packed, offset + _ATTRIBUTES, offset + length) < 0
        ):
            return {"header": {"type": kind, "flags": NLM_F_MULTI}}
        return self._marshal.parse_one_message(kind, flags, sequence, data, offset, length)


def _is_to(message: Any, network: IPNetwork, table: int) -> bool:
    """The sieve lets through what merely contains the same bytes."""
    if message.get("table") != table or message["dst_len"] != network.prefixlen:
        return False
    return network.prefixlen == 0 or ip_address(message.get("dst")) == network.network_address


def _parse_route(message: Any) -> Route:
    hops = message.get("multipath")
    interface = hops[0]["oif"] if hops else message.get("oif")
    return Route(interface or 0, rt_type.get(message["type"], str(message["type"])))

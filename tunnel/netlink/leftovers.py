"""An interface of the process before us, made as if it were new, but for what it is to have anyway.

    addresses, routes (of all tables), queueing disciplines ── not wanted ──▶ gone          wanted ──▶ left as they are

A configuration may have changed meanwhile, members may be gone, and hooks add what they have added before: a route that
PostUp finds in its way would be the end of the start. What is not visited here does not outlive a restart that is done
by hand either, or is set anew by whoever sets it: MTU, queue length, state.
"""

import errno
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from ipaddress import ip_interface, ip_network
from socket import AF_INET, AF_INET6
from typing import Any

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError as KernelError
from pyroute2.netlink.nlsocket import NetlinkRequest
from pyroute2.netlink.rtnl import RTM_GETROUTE
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from tunnel.config.model import IPInterface
from tunnel.config.patch import IPNetwork
from tunnel.errors import NetlinkError
from tunnel.netlink.loopsocket import LoopIPRoute
from tunnel.netlink.routes import MAIN_TABLE

_LOCAL_TABLE = 255
_KERNEL = 2
"""Of the protocols of rtnetlink(7): routes that come and go with addresses."""

_TC_ROOT, _TC_INGRESS = 0xFFFFFFFF, 0xFFFFFFF1
_GONE = {errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENOENT, errno.ENODEV}
_DEFAULT_QDISC = {errno.ENOENT, errno.EINVAL, errno.EOPNOTSUPP}
_DEFAULT_ROUTES: dict[int, str] = {AF_INET: "0.0.0.0/0", AF_INET6: "::/0"}


async def clear_interface(
    index: int, addresses: Collection[IPInterface], routes: Collection[IPNetwork], table: int | None
) -> None:
    """Leave these addresses and these routes, of `table` (None: the main one), on the interface, and no others.

    Raise `NetlinkError`; then some are gone and some are not.
    """
    async with _conversation("clear") as rtnetlink:
        for family in (AF_INET, AF_INET6):
            await _clear_routes(rtnetlink, index, family, routes, table or MAIN_TABLE)
            await _clear_addresses(rtnetlink, index, family, addresses)
        for parent in (_TC_ROOT, _TC_INGRESS):
            await _delete(rtnetlink.tc, _DEFAULT_QDISC, index=index, parent=parent)


async def delete_interface(name: str) -> None:
    """One that is gone already is fine. Raise `NetlinkError`."""
    async with _conversation("delete") as rtnetlink:
        try:
            (link,) = await rtnetlink.link("get", ifname=name)
            await rtnetlink.link("del", index=link["index"])
        except KernelError as error:
            if error.code not in _GONE:
                raise


@asynccontextmanager
async def _conversation(deed: str) -> AsyncIterator[LoopIPRoute]:
    try:
        rtnetlink = LoopIPRoute()
        try:
            await rtnetlink.setup_endpoint()
            yield rtnetlink
        finally:
            rtnetlink.close()
    except KernelError as error:
        raise NetlinkError(f"cannot {deed} the interface of before: {error.args[1]}", error.code) from None
    except OSError as error:
        raise NetlinkError(f"cannot open an rtnetlink socket: {error.strerror}", error.errno or 0) from None


async def _clear_addresses(rtnetlink: LoopIPRoute, index: int, family: int, wanted: Collection[IPInterface]) -> None:
    for message in [message async for message in await rtnetlink.addr("dump", family=family, index=index)]:
        if message["index"] != index:
            continue
        address = ip_interface((message.get("local") or message.get("address"), message["prefixlen"]))
        if address not in wanted:
            await _delete(rtnetlink.addr, _GONE, index=index, address=str(address.ip), prefixlen=message["prefixlen"])


async def _clear_routes(
    rtnetlink: LoopIPRoute, index: int, family: int, wanted: Collection[IPNetwork], table: int
) -> None:
    for message in await _routes_through(rtnetlink, index, family):
        held = message.get("table"), message["proto"]
        if held[0] == _LOCAL_TABLE or held[1] == _KERNEL:
            continue
        destination = message.get("dst")
        network = ip_network((destination, message["dst_len"]) if destination else _DEFAULT_ROUTES[family])
        if held[0] != table or network not in wanted:
            metric = {"priority": message.get("priority")} if message.get("priority") else {}
            which = {"dst": str(network), "oif": index, "table": held[0], "proto": held[1], "scope": message["scope"]}
            await _delete(rtnetlink.route, _GONE, family=family, tos=message["tos"], **which, **metric)


async def _routes_through(rtnetlink: LoopIPRoute, index: int, family: int) -> list[Any]:
    """In all tables. The kernel does the choosing, so that those of others, a million perhaps, are not decoded."""
    question = rtmsg()
    question["family"] = family
    question["attrs"] = [("RTA_OIF", index)]
    request = NetlinkRequest(rtnetlink, question, msg_type=RTM_GETROUTE, msg_flags=NLM_F_REQUEST | NLM_F_DUMP)
    await request.send()
    return [message async for message in request.response() if message.get("oif") == index]


async def _delete(request: Any, harmless: Collection[int], **what: Any) -> None:
    try:
        await request("del", **what)
    except KernelError as error:
        if error.code not in harmless:
            raise

"""Watching what leads into one interface, and by which ways the host sends: routes, addresses, links, rules.

    kernel ─ every change of the host's routing ─▶ filter ─▶ route into the interface is gone ──┐
                                                       │                                        ├─▶ RoutingChange
                                                       └─▶ default route, address, link, rule ──┘

A router tells of thousands of routes a second that are no business of ours. So the kernel asks a little program before
it puts a message into our queue, and a route that neither is a default route nor led into the interface costs us
nothing; nor does one that a routing daemon has led there, as none of ours is. (rtnetlink(7); classic BPF with
SKF_AD_NLATTR: Documentation/networking/filter.rst in the kernel.)

Some routes go without a word: those of IPv4 that go with an interface's last address, or with its link, and one that
``ip route replace`` leads elsewhere. The first two are told of as an address or a link.
"""

import asyncio
import ctypes
import errno
import socket
import struct
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from pyroute2.netlink.rtnl import (
    RTM_DELROUTE,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV4_RULE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
)
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from tunnel.config.patch import IPNetwork

_RTMGRP_IPV6_RULE = 1 << 18  # RTNLGRP_IPV6_RULE is 19; pyroute2 has another number
_GROUPS = (
    *(RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_ROUTE, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR),
    *(RTMGRP_IPV4_RULE, _RTMGRP_IPV6_RULE, RTMGRP_LINK),
)

_SO_ATTACH_FILTER = 26  # the socket module lacks it
_RECEIVE_SIZE = 1 << 16
_READ_AT_ONCE = 16
"""Messages, some 0.1 ms each, for which packets wait."""

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
_PROGRAM = struct.Struct("HP")  # struct sock_fprog
_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE, _LOAD_WORD_AT_X = 0x20, 0x28, 0x30, 0x40
_SET, _SET_X, _COPY_TO_X = 0x00, 0x01, 0x07
_JUMP_IF_EQUAL, _JUMP_IF_GREATER, _JUMP_IF_SET = 0x15, 0x25, 0x45
_RETURN = 0x06
_FIND_ATTRIBUTE = 0x100000000 - 0x1000 + 12  # SKF_AD_OFF + SKF_AD_NLATTR

_TYPE, _DST_LEN, _PROTOCOL, _ATTRIBUTES, _FLAGS_CHANGED = 4, 17, 21, 28, 28  # offsets in a message
_RTA_OIF = 4
_RTPROT_STATIC = 4  # ours; lower are those of the kernel and of ip(8), higher those of daemons
_IFF_UP = 1


@dataclass(frozen=True, slots=True)
class RoutingChange:
    """What has changed since the one before.

    `removed` are routes that led into the interface, each with its table. `is_elsewhere`: what the host sends may leave
    by another way now. After `is_incomplete` anything may have changed, and been removed.
    """

    removed: frozenset[tuple[int, IPNetwork]]
    is_elsewhere: bool
    is_incomplete: bool = False


async def watch_routing(index: int, receive_buffer: int | None = None) -> AsyncGenerator[RoutingChange, None]:
    """Yield every change from now on; some that come together are one.

    `receive_buffer` is the size of the socket's queue in bytes. Raise `OSError` where netlink is forbidden.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        with suppress(OSError):  # a sandbox that knows no filters: then there is more to look at, and no less to see
            _attach(sock, _filter(index))
        sock.bind((0, sum(_GROUPS)))
        while True:
            messages: list[Any] = []
            is_incomplete = False
            try:
                messages += MarshalRtnl().parse(await loop.sock_recv(sock, _RECEIVE_SIZE))
                for _ in range(_READ_AT_ONCE - 1):
                    messages += MarshalRtnl().parse(sock.recv(_RECEIVE_SIZE))
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                is_incomplete = True
            removed = [message for message in messages if _led_into(message, index)]
            yield RoutingChange(
                removed=frozenset(map(_destination, removed)),
                is_elsewhere=is_incomplete or len(removed) < len(messages),
                is_incomplete=is_incomplete,
            )


def _led_into(message: Any, index: int) -> bool:
    return bool(message["header"]["type"] == RTM_DELROUTE and message.get("oif") == index)


def _destination(message: Any) -> tuple[int, IPNetwork]:
    family = IPv4Network if message["family"] == socket.AF_INET else IPv6Network
    return message.get("table"), family((message.get("dst") or 0, message["dst_len"]))


def _filter(index: int) -> Sequence[tuple[int, int, int, int]]:
    """Instructions (code, target if true, target otherwise, value); target 0 is the next one.

    What is loaded is taken for big-endian, and netlink's numbers are the machine's.
    """
    link, default, accept, refuse = 13, 15, 17, 18
    return (
        (_LOAD_HALF, 0, 0, _TYPE),
        (_JUMP_IF_EQUAL, default, 0, _seen(RTM_NEWROUTE, 2)),
        (_JUMP_IF_EQUAL, link, 0, _seen(RTM_NEWLINK, 2)),
        (_JUMP_IF_EQUAL, 0, accept, _seen(RTM_DELROUTE, 2)),
        (_LOAD_BYTE, 0, 0, _PROTOCOL),
        (_JUMP_IF_GREATER, default, 0, _RTPROT_STATIC),
        (_SET_X, 0, 0, _RTA_OIF),
        (_SET, 0, 0, _ATTRIBUTES),
        (_LOAD_WORD, 0, 0, _FIND_ATTRIBUTE),
        (_JUMP_IF_EQUAL, default, 0, 0),
        (_COPY_TO_X, 0, 0, 0),
        (_LOAD_WORD_AT_X, 0, 0, 4),
        (_JUMP_IF_EQUAL, accept, default, _seen(index, 4)),
        (_LOAD_WORD, 0, 0, _FLAGS_CHANGED),
        (_JUMP_IF_SET, accept, refuse, _seen(_IFF_UP, 4)),
        (_LOAD_BYTE, 0, 0, _DST_LEN),
        (_JUMP_IF_EQUAL, accept, refuse, 0),
        (_RETURN, 0, 0, 0xFFFFFFFF),
        (_RETURN, 0, 0, 0),
    )


def _seen(number: int, size: int) -> int:
    """A number of the machine, as a load of so many bytes has it."""
    return int.from_bytes(struct.pack({2: "=H", 4: "=I"}[size], number), "big")


def _attach(sock: socket.socket, program: Sequence[tuple[int, int, int, int]]) -> None:
    code = b"".join(
        _INSTRUCTION.pack(code, then and then - at - 1, otherwise and otherwise - at - 1, value)
        for at, (code, then, otherwise, value) in enumerate(program)
    )
    buffer = ctypes.create_string_buffer(code, len(code))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _PROGRAM.pack(len(program), ctypes.addressof(buffer)))

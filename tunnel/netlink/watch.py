"""Watching one interface: every change of its name, MTU and state, from the present state on.

    subscribe ──▶ ask for the present state ──▶ answer ──▶ notification ──▶ notification …

Question and subscription share one socket, whose queue keeps their order: what arrives before the answer is older than
it and dropped, what arrives after it is newer. So nothing is missed and nothing is told twice, without a lock. When the
queue overflows (ENOBUFS) the kernel has thrown notifications away, and asking again is all there is to do: what lies
between is lost, the state is not. (rtnetlink(7), netlink(7))
"""

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink import NLM_F_REQUEST, NLMSG_ERROR
from pyroute2.netlink.rtnl import RTM_DELLINK, RTM_GETLINK, RTM_NEWLINK, RTMGRP_LINK
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

IFF_UP = 1

_RECEIVE_SIZE = 1 << 16
_QUESTION = 0x74756E  # any sequence number but 0, which notifications have


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """An interface as it is now. `is_up` is what ``ip link set up`` sets; after `is_gone` no more events follow."""

    name: str
    is_up: bool
    mtu: int
    is_gone: bool = False


async def watch_link(index: int, receive_buffer: int | None = None) -> AsyncGenerator[LinkEvent, None]:
    """Yield the present state, then every change, and last that the interface is gone.

    Gone is also what was moved to another namespace, or was not there in the first place (its name is then empty).
    `receive_buffer` is the size of the socket's queue in bytes. Raise `OSError` where netlink is forbidden.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.setblocking(False)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.bind((0, RTMGRP_LINK))
        sock.send(_pack_question(index))
        state = LinkEvent("", is_up=False, mtu=0)
        is_answered = False
        while not state.is_gone:
            try:
                data = await loop.sock_recv(sock, _RECEIVE_SIZE)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                _drain(sock)  # an answer that finds no room is dropped without a word
                sock.send(_pack_question(index))
                continue
            for is_answer, event in _parse_events(data, index, state.name):
                is_first = is_answer and not is_answered
                is_answered = is_answered or is_answer
                if is_first or (is_answered and event != state):
                    state = event
                    yield event
                    if event.is_gone:
                        break


def _drain(sock: socket.socket) -> None:
    """Throw away what is queued."""
    while True:
        try:
            sock.recv(_RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def _pack_question(index: int) -> bytes:
    """RTM_GETLINK."""
    message = ifinfmsg()
    message["index"] = index
    message["header"]["type"] = RTM_GETLINK
    message["header"]["flags"] = NLM_F_REQUEST
    message["header"]["sequence_number"] = _QUESTION
    message.encode()
    return bytes(message.data)


def _parse_events(data: bytes, index: int, name: str) -> Iterator[tuple[bool, LinkEvent]]:
    """What the messages say about the interface, and whether that is the answer to our question."""
    for message in MarshalRtnl().parse(data):
        header = message["header"]
        is_answer = header["sequence_number"] == _QUESTION
        if header["type"] == NLMSG_ERROR:
            if is_answer:  # ENODEV: no such index
                yield True, LinkEvent(name, is_up=False, mtu=0, is_gone=True)
        elif header["type"] in (RTM_NEWLINK, RTM_DELLINK) and _is_about(message, index):
            yield is_answer, _parse_link(message, is_gone=header["type"] == RTM_DELLINK)


def _is_about(message: Any, index: int) -> bool:
    """A bridge tells of its ports in the same words, with a family of its own: leaving a bridge is no deletion."""
    return bool(message["index"] == index and message["family"] == socket.AF_UNSPEC)


def _parse_link(message: Any, is_gone: bool) -> LinkEvent:
    is_up = bool(message["flags"] & IFF_UP) and not is_gone
    return LinkEvent(message.get("ifname"), is_up, message.get("mtu"), is_gone)

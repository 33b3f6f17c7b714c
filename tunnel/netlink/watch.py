"""Watching one interface: every change of its name, MTU, state and addresses, from the present state on.

    subscribe ─▶ ask for the link ─▶ answer ─▶ ask for its addresses ─▶ answers ─▶ notification ─▶ notification …

Questions and subscription share one socket, whose queue keeps their order: what arrives before an answer is older than
it, what arrives after it is newer. Heard in this order, the last word on the link, and on each address, is the right
one, and nothing is told before all of it is known. So nothing is missed and nothing is told twice, without a lock. When
the queue overflows (ENOBUFS) the kernel has thrown notifications away, and asking again is all there is to do: what
lies between is lost, the state is not. (rtnetlink(7), netlink(7))
"""

import asyncio
import errno
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv6Interface
from typing import Any

from pyroute2.netlink import NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR
from pyroute2.netlink.rtnl import (
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_LINK,
)
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.marshal import MarshalRtnl

from tunnel.config.model import IPInterface

IFF_UP = 1

_RECEIVE_SIZE = 1 << 16
_FIRST_QUESTION = 0x74756E  # any sequence number but 0, which notifications have
_FAMILIES: dict[int, Callable[[tuple[str, int]], IPInterface]] = {
    socket.AF_INET: IPv4Interface,
    socket.AF_INET6: IPv6Interface,
}


@dataclass(frozen=True, slots=True)
class LinkEvent:
    """An interface as it is now. `is_up` is what ``ip link set up`` sets; after `is_gone` no more events follow.

    `addresses` are those of both families, the order is the kernel's.
    """

    name: str
    is_up: bool
    mtu: int
    is_gone: bool = False
    addresses: tuple[IPInterface, ...] = ()


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
        sock.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR))
        observer = Observer(index)
        sock.send(observer.begin())
        told: LinkEvent | None = None
        while told is None or not told.is_gone:
            try:
                data = await loop.sock_recv(sock, _RECEIVE_SIZE)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                _drain(sock)  # an answer that finds no room is dropped without a word
                sock.send(observer.begin())
                continue
            for event in observer.observe(data):
                if event != told:
                    told = event
                    yield event
            if question := observer.take_question():
                sock.send(question)


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


class Observer:
    """Makes of rtnetlink messages, in their order, what they say about the interface `index`."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._link = LinkEvent("", is_up=False, mtu=0)
        self._addresses: dict[IPInterface, None] = {}
        self._number = _FIRST_QUESTION
        self._question = b""
        self._knows_link = False
        self._knows_addresses = False

    def begin(self) -> bytes:
        """Forget what was heard; the question to be asked."""
        self._knows_link = self._knows_addresses = False
        self._ask(RTM_GETLINK, ifinfmsg(), NLM_F_REQUEST)
        return self.take_question()

    def take_question(self) -> bytes:
        """What is to be asked next; empty if nothing."""
        question, self._question = self._question, b""
        return question

    def observe(self, data: bytes) -> Iterator[LinkEvent]:
        """The interface after each of these messages that is about it, once all is known; nothing more when gone."""
        for message in MarshalRtnl().parse(data):
            if self._observe(message) and (self._knows_addresses or self._link.is_gone):
                yield replace(self._link, addresses=() if self._link.is_gone else tuple(self._addresses))
            if self._link.is_gone:
                return

    def _observe(self, message: Any) -> bool:
        """Whether it says anything about the interface."""
        kind, is_answer = message["header"]["type"], message["header"]["sequence_number"] == self._number
        if is_answer and kind in (NLMSG_DONE, NLMSG_ERROR):
            return self._answered(message)
        if kind in (RTM_NEWLINK, RTM_DELLINK) and _is_about(message, self._index):
            return self._observe_link(message, is_answer=is_answer)
        if kind in (RTM_NEWADDR, RTM_DELADDR) and message["index"] == self._index:
            return self._observe_address(message)
        return False

    def _answered(self, message: Any) -> bool:
        """The end of an answer, or a refusal."""
        if not self._knows_link:  # ENODEV: no such index
            self._link = replace(self._link, is_up=False, mtu=0, is_gone=True)
        elif message["header"]["flags"] & NLM_F_DUMP_INTR:  # others changed addresses while they were listed
            self._ask_addresses()
        else:  # or there is no such index any more, as the next message says
            self._knows_addresses = True
        return True

    def _observe_link(self, message: Any, *, is_answer: bool) -> bool:
        is_gone = message["header"]["type"] == RTM_DELLINK
        if is_answer:
            self._knows_link = True
            self._ask_addresses()
        is_up = bool(message["flags"] & IFF_UP) and not is_gone
        self._link = LinkEvent(message.get("ifname"), is_up, message.get("mtu"), is_gone)
        return True

    def _observe_address(self, message: Any) -> bool:
        address = parse_address(message)
        if address is None:
            return False
        if message["header"]["type"] == RTM_NEWADDR:
            self._addresses[address] = None
        else:
            self._addresses.pop(address, None)
        return True

    def _ask_addresses(self) -> None:
        """Of all interfaces: only since Linux 4.20 one can be asked about alone."""
        self._addresses.clear()
        self._knows_addresses = False
        self._ask(RTM_GETADDR, ifaddrmsg(), NLM_F_REQUEST | NLM_F_DUMP)

    def _ask(self, kind: int, question: Any, flags: int) -> None:
        self._number += 1  # so that no answer to an older question is taken for one to this
        question["index"] = self._index
        question["header"]["type"] = kind
        question["header"]["flags"] = flags
        question["header"]["sequence_number"] = self._number
        question.encode()
        self._question = bytes(question.data)


def parse_address(message: Any) -> IPInterface | None:
    """What a message about an address names; None if it is of no IP."""
    family = _FAMILIES.get(message["family"])
    # IFA_ADDRESS is the other end's where the two differ.
    return family((message.get("local") or message.get("address"), message["prefixlen"])) if family else None


def _is_about(message: Any, index: int) -> bool:
    """A bridge tells of its ports in the same words, with a family of its own: leaving a bridge is no deletion."""
    return bool(message["index"] == index and message["family"] == socket.AF_UNSPEC)

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

from tunnel.netlink.messages import (
    IFF_UP,
    IFINFOMSG,
    Flag,
    Ifla,
    Kind,
    pack_message,
    parse_attributes,
    parse_messages,
    parse_number,
    parse_text,
)
from tunnel.netlink.rtnetlink import RECEIVE_SIZE

_RTMGRP_LINK = 1
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
        sock.bind((0, _RTMGRP_LINK))
        sock.send(_pack_question(index))
        state = LinkEvent("", is_up=False, mtu=0)
        is_answered = False
        while not state.is_gone:
            try:
                data = await loop.sock_recv(sock, RECEIVE_SIZE)
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
            sock.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def _pack_question(index: int) -> bytes:
    return pack_message(Kind.GETLINK, Flag.REQUEST, _QUESTION, IFINFOMSG.pack(socket.AF_UNSPEC, 0, index, 0, 0))


def _parse_events(datagram: bytes, index: int, name: str) -> Iterator[tuple[bool, LinkEvent]]:
    """What the messages say about the interface, and whether that is the answer to our question."""
    for kind, _, sequence, body in parse_messages(datagram):
        is_answer = sequence == _QUESTION
        if kind == Kind.ERROR:
            if is_answer:  # ENODEV: no such index
                yield True, LinkEvent(name, is_up=False, mtu=0, is_gone=True)
        elif kind in (Kind.NEWLINK, Kind.DELLINK) and _is_about(body, index):
            yield is_answer, _parse_link(body, is_gone=kind == Kind.DELLINK)


def _is_about(body: bytes, index: int) -> bool:
    """A bridge tells of its ports in the same words, with a family of its own: leaving a bridge is no deletion."""
    family, _, its_index, _, _ = IFINFOMSG.unpack_from(body)
    return bool(its_index == index and family == socket.AF_UNSPEC)


def _parse_link(body: bytes, is_gone: bool) -> LinkEvent:
    flags = IFINFOMSG.unpack_from(body)[3]
    attributes = parse_attributes(body[IFINFOMSG.size :])
    is_up = bool(flags & IFF_UP) and not is_gone
    return LinkEvent(parse_text(attributes.get(Ifla.IFNAME)), is_up, parse_number(attributes.get(Ifla.MTU)), is_gone)

"""A socket on which the kernel answers questions about interfaces, addresses and routes: rtnetlink(7).

The kernel does its work inside our `send` and has the answer ready when that returns, or the first part of it, and the
next as soon as one is read. So nothing here ever waits, and no event loop is needed.
"""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, Self

from tunnel.netlink.messages import Flag, Kind, pack_message, parse_messages, parse_refusal

RECEIVE_SIZE = 1 << 16
"""Bytes; the kernel fills at most 32 KB of a dump at once."""

_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12

_DUMP_ATTEMPTS = 5


class Socket(Protocol):
    """What we need of a socket; nothing on it waits."""

    def send(self, data: bytes, /) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class Rtnetlink:
    """A conversation with the kernel about the network namespace that it was opened in.

    What the kernel refuses is an `OSError` with its errno and its own words. The socket joins no multicast group: the
    kernel numbers the notification of a change like the request that made it, so it would be taken for the answer.
    """

    def __init__(self, netlink_socket: Socket) -> None:
        self._socket = netlink_socket
        self._sequence = 0

    @classmethod
    def open(cls) -> Self:
        """Raise `OSError` where netlink is forbidden."""
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        opened.setblocking(False)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            with suppress(OSError):  # an old kernel: it says less when it refuses, and more in a dump
                opened.setsockopt(_SOL_NETLINK, option, 1)
        return cls(opened)

    def close(self) -> None:
        self._socket.close()

    def tell(self, kind: Kind, body: bytes, flags: int = 0) -> None:
        """Have something changed."""
        self._converse(kind, body, flags)

    def ask(self, kind: Kind, body: bytes) -> bytes:
        """The body of the one answer."""
        (answer,), _ = self._converse(kind, body)
        return answer

    def dump(self, kind: Kind, body: bytes, is_wanted: Callable[[bytes], bool] | None = None) -> list[bytes]:
        """The bodies of all answers, or of those that are wanted."""
        for _ in range(_DUMP_ATTEMPTS):
            answers, is_consistent = self._converse(kind, body, Flag.DUMP, is_wanted)
            if is_consistent:
                break
        return answers  # where something changes all the time this is as good as any

    def _converse(
        self, kind: Kind, body: bytes, flags: int = 0, is_wanted: Callable[[bytes], bool] | None = None
    ) -> tuple[list[bytes], bool]:
        """The answers, and whether nothing has changed from the first to the last."""
        self._sequence += 1
        self._socket.send(pack_message(kind, Flag.REQUEST | Flag.ACK | flags, self._sequence, body))
        answers: list[bytes] = []
        is_consistent = True
        while True:
            for message in parse_messages(self._socket.recv(RECEIVE_SIZE)):
                if message.sequence != self._sequence:  # left over from a conversation that was broken off
                    continue
                if message.flags & Flag.DUMP_INTR:
                    is_consistent = False
                if message.kind in (Kind.ERROR, Kind.DONE):
                    if refusal := parse_refusal(message):
                        raise refusal
                    return answers, is_consistent
                if is_wanted is None or is_wanted(message.body):
                    answers.append(message.body)

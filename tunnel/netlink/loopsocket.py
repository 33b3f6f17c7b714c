"""pyroute2's asynchronous rtnetlink socket, made to work under any event loop.

`AsyncIPRoute` hands its socket to ``loop.create_datagram_endpoint``, which uvloop refuses for anything but UDP
(``cannot open a UDP handle, invalid family 16``). All it wants of the transport is that received data is queued, so we
do that with a plain reader. The socket joins no multicast group: the kernel numbers the notification of a change after
the request that made it, and pyroute2 would take it for the answer. Watching is done elsewhere (`watch`).
"""

import asyncio
import socket
from collections.abc import Callable

from pyroute2 import AsyncIPRoute

_RECEIVE_SIZE = 1 << 16
"""Bytes; the kernel fills at most 32 KB of a dump at once."""


class LoopIPRoute(AsyncIPRoute):  # type: ignore[misc]  # pyroute2 has no types
    """An `AsyncIPRoute` with the kernel's own error texts and filters (NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK)."""

    def __init__(self) -> None:
        super().__init__(groups=0, ext_ack=True, strict_check=True)

    async def setup_endpoint(self) -> None:
        """Begin to read; called by pyroute2 before each request."""
        if getattr(self.local, "transport", None) is None:
            self.local.transport = _Reader(self.event_loop, self.socket, self.enqueue)
            self.local.protocol = None


class _Reader:
    """What pyroute2 uses of an asyncio transport."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, enqueue: Callable[[bytes, None], None]
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._enqueue = enqueue
        loop.add_reader(sock.fileno(), self._read)

    def _read(self) -> None:
        try:
            while True:
                self._enqueue(self._sock.recv(_RECEIVE_SIZE), None)
        except BlockingIOError:
            pass

    def abort(self) -> None:
        self._loop.remove_reader(self._sock.fileno())

    def close(self) -> None:
        """pyroute2 calls both, and closes the socket itself."""

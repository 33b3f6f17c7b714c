"""Accepting connections, one in each turn of the loop, and what to do when there is no descriptor left for one.

    queue of the listening socket ──accept──▶ on_connection(connection)
          │ EMFILE, ENFILE, ENOBUFS, ENOMEM
          └──▶ nobody looks at the queue for a moment ──▶ again ──still none──▶ on_shortage ──▶ …

accept(2) that lacks a descriptor leaves the caller in the queue and the socket readable, so whoever goes on looking
turns in circles; and libuv's own server, which is what asyncio would give us, hangs up on all who wait, without a word
in the log. Here they wait, and are served as soon as there are descriptors again.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable

PAUSE = 0.05
"""Seconds until the next attempt, after one that failed for want of resources."""

REMIND = 60.0
"""Seconds between two log lines about that."""

_GONE_ALREADY = {errno.EAGAIN, errno.EINTR, errno.ECONNABORTED}

_log = logging.getLogger(__name__)


class Acceptor:
    """Calls `on_connection` with every connection that `listener` gets, from now on and until `close`.

    Both sockets are non-blocking; the listener is ours, the connections are whose they are given to. `on_shortage` is
    called when there still is no descriptor for one more after a pause, to let go of what can be spared. `who` is named
    in the log.
    """

    def __init__(
        self,
        listener: socket.socket,
        who: str,
        on_connection: Callable[[socket.socket], None],
        on_shortage: Callable[[], object],
        pause: float = PAUSE,
    ) -> None:
        self._listener = listener
        self._who = who
        self._on_connection = on_connection
        self._on_shortage = on_shortage
        self._pause = pause
        self._loop = asyncio.get_running_loop()
        self._alarm: asyncio.TimerHandle | None = None
        self._warned_at = -REMIND
        self._has_failed = False
        self._listen()

    def close(self) -> None:
        """Harmless when repeated."""
        if self._listener.fileno() < 0:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        else:
            self._loop.remove_reader(self._listener)
        self._listener.close()

    def _listen(self) -> None:
        self._alarm = None
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError as error:
            if error.errno not in _GONE_ALREADY:
                self._rest(error)
            return
        self._has_failed = False
        connection.setblocking(False)
        self._on_connection(connection)

    def _rest(self, error: OSError) -> None:
        """Look at the queue no more, for a while."""
        self._loop.remove_reader(self._listener)
        self._alarm = self._loop.call_later(self._pause, self._listen)
        if self._loop.time() - self._warned_at >= REMIND:
            self._warned_at = self._loop.time()
            _log.warning("%s: callers have to wait: %s", self._who, error.strerror or error)
        if self._has_failed:  # not at once: whoever was accepted just now has not been heard yet
            self._on_shortage()
        self._has_failed = True

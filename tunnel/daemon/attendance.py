"""What goes on between an interface and whoever supervises it: signals come in, and how we are goes out.

    SIGTERM, SIGINT ─▶ stop          READY=1, STATUS=, WATCHDOG=1, RELOADING=1, STOPPING=1 ─▶ systemd
    SIGHUP ─▶ reload, or stop        (`tunnel.daemon.systemd`, which also says when SIGHUP means which)

The watchdog is fed by a turn of the loop that moves packets, so that a service that only looks alive is restarted.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from tunnel.daemon.systemd import Notifier, StatusLine, Watchdog, is_reloaded_by_hangup
from tunnel.errors import TunnelError

_log = logging.getLogger(__name__)


class Attendance:
    """On the running loop, from `start` to `close`.

    `take_turn` moves packets and says whether they are still being moved; `describe` is one line for people. `stop`
    ends us, `reload` reads our files again and raises `TunnelError`.
    """

    def __init__(
        self,
        notifier: Notifier,
        *,
        take_turn: Callable[[], bool],
        describe: Callable[[], str],
        stop: Callable[[], None],
        reload: Callable[[], Awaitable[object]],
    ) -> None:
        self._notifier = notifier
        self._take_turn = take_turn
        self._stop = stop
        self._reload = reload
        self._loop = asyncio.get_running_loop()
        self._status_line = StatusLine(notifier, self._loop.call_later, describe)
        self._is_ready = False
        self._hangup: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Listen to signals."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._stop)
        if is_reloaded_by_hangup(self._notifier):
            self._loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # it is with nohup
            self._loop.add_signal_handler(signal.SIGHUP, self._stop)

    def close(self) -> None:
        self._status_line.stop()

    def changed(self) -> None:
        """There is something new to describe."""
        self._status_line.changed()

    def stopping(self) -> None:
        """We are about to end."""
        self._notifier.stopping()

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Within, we are up, and have to show that we are alive."""
        watchdog = Watchdog(self._notifier, self._loop.call_later, self._take_turn)
        self._status_line.tell()
        self._notifier.ready()
        watchdog.start()
        self._is_ready = True
        try:
            yield
        finally:
            self._is_ready = False
            watchdog.stop()
            self._status_line.stop()

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Within, files are read and applied."""
        if self._is_ready:
            self._notifier.reloading()
        try:
            yield
        finally:
            if self._is_ready:
                self._notifier.ready()

    def _hung_up(self) -> None:
        if self._hangup is None or self._hangup.done():
            self._hangup = asyncio.create_task(self._reload_and_log())

    async def _reload_and_log(self) -> None:
        try:
            await self._reload()
        except TunnelError as error:
            _log.warning("SIGHUP: %s; going on as before", error)
        else:
            _log.info("SIGHUP: configuration and certificates were read again")

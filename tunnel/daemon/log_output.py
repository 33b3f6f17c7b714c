"""Where log lines go, without waiting: stderr and syslog.

    line ──▶ is there room? ──yes──▶ written
                  └──no: a full disk, a reader that has stopped, a pipe or socket that is gone──▶ lost, and counted

The loop that writes the log moves the packets too. A terminal that was stopped with Ctrl-S, a ``| less`` that nobody
pages on or a syslog daemon that hangs must not stop the tunnel, so a line that cannot be written now never is. The next
one that can says how many were lost.
"""

import logging
import os
import select
import socket
from pathlib import Path
from typing import Final

_PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7
_FACILITY: Final = 3  # system daemons


def priority(level: int) -> int:
    """What syslog(3) calls a level of `logging`: 2 is critical, 7 is debug."""
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG)


class _LossyHandler(logging.Handler):
    """Never waits, and never raises."""

    def __init__(self) -> None:
        super().__init__()
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._lost:
                self._write(self._loss())
                self._lost = 0
            self._write(record)
        except OSError:
            self._lost += 1
        except Exception:
            self.handleError(record)

    def _loss(self) -> logging.LogRecord:
        lines = "1 line" if self._lost == 1 else f"{self._lost} lines"
        return logging.LogRecord(__name__, logging.WARNING, "", 0, "%s could not be logged", (lines,), None)

    def _write(self, record: logging.LogRecord) -> None:
        """Raise `OSError` rather than wait."""
        raise NotImplementedError


class DescriptorHandler(_LossyHandler):
    """Writes lines to a descriptor, which may be anything: others have it too, so it stays blocking."""

    def __init__(self, descriptor: int = 2) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._is_cut = False

    def _write(self, record: logging.LogRecord) -> None:
        line = (self.format(record) + "\n").encode(errors="backslashreplace")
        rest = b"\n" + line if self._is_cut else line
        write = _write_to_terminal if os.isatty(self._descriptor) else os.write
        while rest:
            if not self._poll.poll(0):
                raise BlockingIOError
            written = write(self._descriptor, rest[: select.PIPE_BUF])  # a pipe has room for as much as this
            rest = rest[written:]
            self._is_cut = bool(rest)


def _write_to_terminal(descriptor: int, data: bytes) -> int:
    """As `os.write`, but never waiting: a terminal that is ready has room for a byte, and then waits for the last one.

    Only for this moment, since the shell has the same descriptor, and no plans for `BlockingIOError`.
    """
    was_blocking = os.get_blocking(descriptor)
    os.set_blocking(descriptor, False)
    try:
        return os.write(descriptor, data)
    finally:
        os.set_blocking(descriptor, was_blocking)


class SyslogHandler(_LossyHandler):
    """Sends lines to the syslog daemon behind the socket at `path`, by its path each time: it may be restarted."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _write(self, record: logging.LogRecord) -> None:
        number = _FACILITY << 3 | priority(record.levelno)
        self._socket.sendto(f"<{number}>{self.format(record)}\0".encode(errors="backslashreplace"), self._path)

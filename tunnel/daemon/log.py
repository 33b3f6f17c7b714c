"""Logging: one line per event that matters, with fixed field names, and never a key.

    12:03:01 wg0 info: handshake completed peer=xTIBA5rb… endpoint=192.0.2.1:51820 role=initiator

The fields are `peer` (the first characters of its public key), `endpoint`, `before`, `name`, `role`, `attempts`,
`dropped`, `path_mtu`, `max_packet`, `why`. In the foreground lines go to stderr, or to the journal if that is where
stderr leads (`tunnel.daemon.journal`), in the background to syslog where there is one; none of them is waited for.
Whatever somebody on the network can cause goes through `RateLimited`.
"""

import logging
import math
import os
from collections.abc import Mapping
from pathlib import Path

from tunnel.daemon.clock import Clock
from tunnel.daemon.journal import JOURNAL_SOCKET, JournalHandler, is_stderr_the_journal
from tunnel.daemon.log_output import DescriptorHandler, SyslogHandler
from tunnel.errors import ConfigError
from tunnel.protocol.events import (
    Event,
    HandshakeCompleted,
    HandshakeGaveUp,
    HandshakeUnanswered,
    PathMtuChanged,
    PeerClosed,
    PeerRoamed,
    SessionExpired,
    UnderLoad,
)

SYSLOG_SOCKET = Path("/dev/log")

SILENT = logging.CRITICAL + 10
"""A level at which nothing is printed."""

LEVELS: Mapping[str, int] = {
    "silent": SILENT,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "verbose": logging.DEBUG,
}
"""What LOG_LEVEL may say; wireguard-go's three words are among them."""


def level_from(verbosity: int, environment: Mapping[str, str]) -> int:
    """The level for so many ``-v``, else for LOG_LEVEL, else info. Raise `ConfigError` for an unknown word."""
    if verbosity > 0:
        return logging.DEBUG
    word = environment.get("LOG_LEVEL", "").lower() or "info"
    if word not in LEVELS:
        raise ConfigError(f"'{word}' is none of {', '.join(LEVELS)}", key="LOG_LEVEL")
    return LEVELS[word]


def set_up_logging(
    interface: str,
    level: int,
    *,
    to_syslog: bool,
    syslog_socket: Path = SYSLOG_SOCKET,
    journal_socket: Path = JOURNAL_SOCKET,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Send everything from `level` up to syslog if wanted and there, else to stderr; replaces what was set up.

    To the journal instead of stderr, with fields, if `environment` says that they are the same.
    """
    handler = _syslog_handler(interface, syslog_socket) if to_syslog else None
    root = logging.getLogger()
    for previous in root.handlers[:]:
        root.removeHandler(previous)
        previous.close()
    root.addHandler(handler or _stderr_handler(interface, journal_socket, environment))
    root.setLevel(level)
    for library in ("asyncio", "pyroute2"):
        logging.getLogger(library).setLevel(max(level, logging.WARNING))


def rename_interface(name: str) -> None:
    """What is logged from now on is of the interface `name`."""
    for handler in logging.getLogger().handlers:
        formatters = [handler.formatter]
        if isinstance(handler, JournalHandler):
            handler.interface = name
            formatters.append(handler.fallback.formatter)
        for formatter in formatters:
            if isinstance(formatter, _Formatter):
                formatter.interface = name


def describe(event: Event) -> tuple[int, str]:
    """The level and the line of a core event."""
    match event:
        case HandshakeCompleted(peer, endpoint, as_initiator):
            role = "initiator" if as_initiator else "responder"
            return logging.INFO, f"handshake completed peer={peer.short} endpoint={endpoint} role={role}"
        case HandshakeUnanswered(peer, attempts):
            return logging.INFO, f"handshake unanswered peer={peer.short} attempts={attempts}"
        case HandshakeGaveUp(peer, staged):
            return logging.WARNING, f"handshake given up peer={peer.short} dropped={staged}"
        case PeerRoamed(peer, before, after):
            return logging.INFO, f"peer roamed peer={peer.short} before={before or 'none'} endpoint={after}"
        case SessionExpired(peer):
            return logging.INFO, f"session expired peer={peer.short}"
        case PeerClosed(peer):
            return logging.INFO, f"session closed peer={peer.short} by=peer"
        case PathMtuChanged(peer, path_mtu, max_packet):
            return logging.INFO, f"path mtu changed peer={peer.short} path_mtu={path_mtu} max_packet={max_packet}"
        case UnderLoad(is_under_load):
            return logging.WARNING, f"handshake load {'high: asking for cookies' if is_under_load else 'normal again'}"


class RateLimited:
    """Prints each kind of line at most once in `interval` seconds; the next one says how many were left out."""

    MAX_KINDS = 1024
    """Kinds that are remembered; more than that at once share one."""

    def __init__(self, logger: logging.Logger, clock: Clock, interval: float = 5.0) -> None:
        self._logger = logger
        self._clock = clock
        self._interval = interval
        self._printed_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def log(self, level: int, kind: str, line: str, interval: float | None = None) -> None:
        """Print `line`, unless one of its `kind` was printed just now; `interval` is for this kind alone."""
        if not self._logger.isEnabledFor(level):
            return
        now = self._clock.now()
        if kind not in self._printed_at:
            kind = self._admit(kind, now)
        if now - self._printed_at.get(kind, -math.inf) < (self._interval if interval is None else interval):
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return
        self._printed_at[kind] = now
        left_out = self._left_out.pop(kind, 0)
        self._logger.log(level, "%s%s", line, f" (and {left_out} more like it before)" if left_out else "")

    def event(self, event: Event) -> None:
        """Print a core event; each kind of event of each peer has its own limit."""
        level, line = describe(event)
        peer = "" if isinstance(event, UnderLoad) else event.peer.short
        self.log(level, f"{type(event).__name__} {peer}", line)

    def _admit(self, kind: str, now: float) -> str:
        """Make room for a new kind by forgetting those that are free to print again; without room, a shared kind."""
        if len(self._printed_at) < self.MAX_KINDS:
            return kind
        for old in [old for old, printed in self._printed_at.items() if now - printed >= self._interval]:
            del self._printed_at[old]
            self._left_out.pop(old, None)
        return kind if len(self._printed_at) < self.MAX_KINDS else "other"


class _Formatter(logging.Formatter):
    """Levels in lower case, and ``%(interface)s``."""

    def __init__(self, line: str, interface: str) -> None:
        super().__init__(line, datefmt="%H:%M:%S")
        self.interface = interface

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        record.interface = self.interface
        record.levelname = record.levelname.lower()
        return super().formatMessage(record)


def _stderr_handler(interface: str, journal_socket: Path, environment: Mapping[str, str]) -> logging.Handler:
    handler = DescriptorHandler()
    handler.setFormatter(_Formatter("%(asctime)s %(interface)s %(levelname)s: %(message)s", interface))
    return JournalHandler(interface, handler, journal_socket) if is_stderr_the_journal(environment) else handler


def _syslog_handler(interface: str, socket: Path) -> logging.Handler | None:
    """None if there is no syslog."""
    if not socket.is_socket():
        return None
    handler = SyslogHandler(socket)
    handler.setFormatter(_Formatter("tunnel[%(interface)s]: %(message)s", interface))
    return handler

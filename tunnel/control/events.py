"""What happens to an interface, told to whoever listens at that moment.

    the core, membership, names ──tell──▶ EventFeed ─┬─▶ Listener ──heard──▶ a client of the control socket
                                                     └─▶ Listener ──heard──▶ another one

An event is one line of JSON, version 1; docs/status.md has every kind with its members. As with the status, kinds and
members may come, but none is renamed or removed within a version.

Nothing is kept for those who come later, and while nobody listens telling is one comparison. Whoever reads too slowly
is cut off rather than waited for: a listener holds `CAPACITY` lines, and the next one ends it.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from typing import Final

EVENTS_VERSION = 1

CAPACITY = 1000
"""Lines, of some 300 bytes each, that wait for one listener."""

_SESSION = ("peer", "name", "endpoint", "role")
_CERTIFICATE = ("peer", "name", "certificate_expires", "admitted")

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "listening": (),
    "interface_renamed": ("before",),
    "peer_up": _SESSION,
    "rekeyed": _SESSION,
    "peer_down": ("peer", "name", "reason"),
    "roamed": ("peer", "name", "endpoint", "before"),
    "handshake_unanswered": ("peer", "name", "attempts"),
    "handshake_given_up": ("peer", "name", "dropped"),
    "name_resolved": ("peer", "name", "endpoint", "endpoint_name"),
    "admitted": _CERTIFICATE,
    "renewed": _CERTIFICATE,
    "identity_renewed": ("name", "certificate_expires"),
    "removed": ("peer", "name", "reason", "why"),
    "refused": ("peer", "dialled_as", "endpoint", "reason", "why"),
    "path_mtu_changed": ("peer", "name", "path_mtu", "max_packet"),
    "under_load": ("is_under_load",),
}
"""Event -> its members, behind `version`, `time`, `interface` and `event`, which all of them have."""


class Listener:
    """The lines that one client has not heard yet."""

    def __init__(self) -> None:
        self._waiting: deque[str] = deque()
        self._news = asyncio.Event()
        self._has_ended = False

    def tell(self, line: str) -> None:
        """One more; too many of them end it."""
        if len(self._waiting) >= CAPACITY:
            self.end()
        if not self._has_ended:
            self._waiting.append(line)
            self._news.set()

    def end(self) -> None:
        """Nothing more is heard, not even what waits."""
        self._has_ended = True
        self._waiting.clear()
        self._news.set()

    async def heard(self) -> str:
        """All lines since the last call, one at least, each with its line feed; empty if it has ended."""
        await self._news.wait()
        lines = "".join(self._waiting)
        self._waiting.clear()
        if not self._has_ended:
            self._news.clear()
        return lines


class EventFeed:
    """Of one `interface`, which may be renamed. `on_first` is called when somebody begins to listen and nobody did."""

    def __init__(self, interface: str = "", unix_time: Callable[[], float] = time.time) -> None:
        self.on_first: Callable[[], None] = lambda: None
        self.interface = interface
        self._unix_time = unix_time
        self._listeners: set[Listener] = set()

    @property
    def is_heard(self) -> bool:
        """Whether anybody listens: else do not even think of what to tell."""
        return bool(self._listeners)

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        """Somebody who hears what is told from now on; the first line says that he listens."""
        listener = Listener()
        if not self._listeners:
            self.on_first()
        self._listeners.add(listener)
        listener.tell(self._line("listening", {}))
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    def tell(self, event: str, **members: object) -> None:
        """An event of `KINDS` with exactly its members.

        They may be whatever ``str()`` makes text of (a key, an endpoint), and of an `Enum` its value is told.
        """
        if self._listeners:
            line = self._line(event, members)
            for listener in self._listeners:
                listener.tell(line)

    def _line(self, event: str, members: Mapping[str, object]) -> str:
        assert set(members) == set(KINDS[event]), f"{event}: {sorted(members)}"
        told = {
            "version": EVENTS_VERSION,
            "time": _rfc3339(self._unix_time()),
            "interface": self.interface,
            "event": event,
            **{name: members[name] for name in KINDS[event]},
        }
        return json.dumps(told, separators=(",", ":"), default=_text) + "\n"


def _rfc3339(unix_time: float) -> str:
    """``2026-01-31T23:59:59.250Z``."""
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(value: object) -> str:
    return str(value.value if isinstance(value, Enum) else value)

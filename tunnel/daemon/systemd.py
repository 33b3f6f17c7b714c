"""Being run by systemd: it is told when we are ready, how we are, and that we still move packets (sd_notify(3)).

    interface is up ─────▶ READY=1
    handshake, expiry ───▶ STATUS=2 of 3 peers connected, last handshake …     at most every few seconds
    half of WatchdogSec ─▶ a turn of the pipeline ─▶ WATCHDOG=1                 no turn, no word: systemd restarts us
    reload ──────────────▶ RELOADING=1 ─▶ files are read ─▶ READY=1
    SIGTERM, down ───────▶ STOPPING=1
    SIGTERM ─────────────▶ FDSTORE=1           what the next process may go on with (`tunnel.daemon.handover`)

A message is one datagram of ``NAME=value`` lines to the socket that ``$NOTIFY_SOCKET`` names: a path, or with ``@`` in
front a name in the abstract namespace (unix(7)). Without the variable nobody wants to know, and nothing is done. The
variables are taken out of the environment, so that a hook cannot speak in our name.

**SIGHUP** means one thing from a terminal (it was closed: end) and another from a supervisor (read your files again).
It is a reload if systemd runs us, or if there is no terminal that could be closed: in the background. What was started
with it ignored (``nohup``) goes on ignoring it.
"""

import array
import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from tunnel.config.snapshot import PeerSnapshot

STATUS_INTERVAL = 5.0
"""Seconds that changes are gathered for, so that a busy hub does not talk all the time."""

TERMINAL = "/dev/tty"

_log = logging.getLogger(__name__)


class Alarm(Protocol):
    """What `asyncio.TimerHandle` is."""

    def cancel(self) -> None: ...


CallLater = Callable[[float, Callable[[], None]], Alarm]
"""`asyncio.AbstractEventLoop.call_later`."""


@dataclass(frozen=True, slots=True)
class Notifier:
    """Sends messages to the service manager; with an empty `address` there is none, and all of it does nothing.

    `address` is ready for sendto(2). `watchdog` is in how many seconds at most it has to hear of us; 0: it need not.
    """

    address: bytes = b""
    watchdog: float = 0.0
    monotonic_ns: Callable[[], int] = time.monotonic_ns
    """systemd compares the time of a reload to its own CLOCK_MONOTONIC, hence not one of ours."""
    _sender: socket.socket | None = field(init=False, repr=False, compare=False, default=None)
    """Open from the start: the watchdog has to be fed when there are no more descriptors, too."""

    def __post_init__(self) -> None:
        if self.address:
            sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
            object.__setattr__(self, "_sender", sender)

    @classmethod
    def take_from(cls, environment: MutableMapping[str, str], pid: int) -> "Notifier":
        """Whom $NOTIFY_SOCKET names, taken out of `environment`; what is not for process `pid` is passed over."""
        address = environment.pop("NOTIFY_SOCKET", "")
        interval = environment.pop("WATCHDOG_USEC", "")
        watched = environment.pop("WATCHDOG_PID", str(pid))
        if not address.startswith(("/", "@")):  # vsock is for whole virtual machines
            return cls()
        is_watched = watched == str(pid) and interval.isascii() and interval.isdigit()
        name = os.fsencode(address)
        return cls(b"\0" + name[1:] if name.startswith(b"@") else name, int(interval) / 1e6 if is_watched else 0.0)

    def ready(self) -> None:
        """The interface is up; or what was to be read again has been read."""
        self._send("READY=1")

    def reloading(self) -> None:
        """`ready` has to follow."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={self.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def status(self, text: str) -> None:
        """One line for people."""
        self._send(f"STATUS={text}")

    def store(self, name: str, descriptors: Sequence[int]) -> None:
        """Keep these for the next process of the unit, if there is one right away; `name` is what it knows them by.

        They are not looked after (FDPOLL=0): an ICMP error would be enough to lose a socket.
        """
        if descriptors:
            self._send(f"FDSTORE=1\nFDNAME={name}\nFDPOLL=0", descriptors)

    def forget(self, name: str) -> None:
        """What was stored under `name` is no longer kept."""
        self._send(f"FDSTOREREMOVE=1\nFDNAME={name}")

    def _send(self, message: str, descriptors: Sequence[int] = ()) -> None:
        """Never waits and never raises: a manager that does not listen is no reason to stop moving packets."""
        if self._sender is None:
            return
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            self._sender.sendmsg([message.encode()], rights, 0, self.address)
        except OSError as error:
            _log.debug("cannot tell the service manager why=%s", error.strerror or error)


class Watchdog:
    """Says that we live, twice in the time that we have for it, as long as `take_turn` works and returns True.

    It runs on the loop that moves the packets: when that hangs, or the pipeline has stopped, there is silence.
    """

    def __init__(self, notifier: Notifier, call_later: CallLater, take_turn: Callable[[], bool]) -> None:
        self._notifier = notifier
        self._call_later = call_later
        self._take_turn = take_turn
        self._alarm: Alarm | None = None

    def start(self) -> None:
        if self._notifier.watchdog > 0:
            self._alarm = self._call_later(self._notifier.watchdog / 2, self._rang)

    def stop(self) -> None:
        """Harmless when repeated."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _rang(self) -> None:
        self.start()  # first, so that a turn that fails may do better next time
        if self._take_turn():
            self._notifier.alive()


class StatusLine:
    """Tells what `describe` returns, when it is something new; asks it at most every `STATUS_INTERVAL` seconds."""

    def __init__(self, notifier: Notifier, call_later: CallLater, describe: Callable[[], str]) -> None:
        self._notifier = notifier
        self._call_later = call_later
        self._describe = describe
        self._alarm: Alarm | None = None
        self._told = ""

    def tell(self) -> None:
        """Now."""
        text = self._describe() if self._notifier.address else ""
        if text != self._told:
            self._told = text
            self._notifier.status(text)

    def changed(self) -> None:
        """Something may be different; it is told soon."""
        if self._alarm is None and self._notifier.address:
            self._alarm = self._call_later(STATUS_INTERVAL, self._rang)

    def stop(self) -> None:
        """Harmless when repeated."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _rang(self) -> None:
        self._alarm = None
        self.tell()


def describe_peers(peers: Sequence[PeerSnapshot], connected: int) -> str:
    """``2 of 3 peers connected, last handshake 2026-05-04 12:30:59 UTC``."""
    text = f"{connected} of {len(peers)} {'peer' if len(peers) == 1 else 'peers'} connected"
    latest = max((peer.last_handshake for peer in peers), default=0.0)
    if latest <= 0:
        return text
    return f"{text}, last handshake {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(latest))} UTC"


def is_reloaded_by_hangup(notifier: Notifier, terminal: str = TERMINAL) -> bool:
    """Whether SIGHUP asks us to read our files again, and not to end: see above."""
    return bool(notifier.address) or not _has_terminal(terminal)


def _has_terminal(terminal: str) -> bool:
    with suppress(OSError):  # ENXIO: we have none
        os.close(os.open(terminal, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        return True
    return False

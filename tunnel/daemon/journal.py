"""The log as systemd's journal likes it: lines with fields that can be searched for.

    journalctl TUNNEL_INTERFACE=wg0 TUNNEL_EVENT=peer_refused

systemd.exec(5): a service whose stderr is the journal has its device and inode in JOURNAL_STREAM; if they match, nobody
has pointed stderr elsewhere since. Then a line goes to the journal's socket, one datagram of fields each, in its native
protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/), and to stderr as before if that refuses.

    MESSAGE, PRIORITY, SYSLOG_IDENTIFIER    as every program has them
    TUNNEL_INTERFACE                        its name
    TUNNEL_EVENT                            the words that a line begins with: peer_refused, handshake_completed …
    TUNNEL_PEER, TUNNEL_ENDPOINT …          the fields behind them, as in the line

Fields are taken from the line, which `tunnel.daemon.log` has fixed the form of, and only as far as its values cannot
have a space in them: a name in a certificate may be anything, and whatever is behind it could be made up.
"""

import logging
import os
import re
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tunnel.daemon.log_output import priority

JOURNAL_SOCKET = Path("/run/systemd/journal/socket")

IDENTIFIER = "tunnel"

SAFE_FIELDS: Final = frozenset({"peer", "endpoint", "before", "role", "attempts", "dropped", "path_mtu", "max_packet"})
"""Those whose values are ours: keys, addresses, numbers and words, without a space."""

_WORDS_AND_FIELDS = re.compile(r"(?P<words>[a-z]+(?: [a-z]+)*) (?P<fields>[a-z]+=.*)", re.DOTALL)


def is_stderr_the_journal(environment: Mapping[str, str], descriptor: int = 2) -> bool:
    """Whether what is written to stderr goes to the journal."""
    stream = environment.get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(descriptor)
    except OSError:  # it is closed
        return False
    return stream == f"{status.st_dev}:{status.st_ino}"


class JournalHandler(logging.Handler):
    """Sends lines to the journal; what it refuses is `fallback`'s. Never raises, never waits."""

    def __init__(self, interface: str, fallback: logging.Handler, path: Path = JOURNAL_SOCKET) -> None:
        super().__init__()
        self.interface = interface
        self.fallback = fallback
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            datagram = b"".join(_pack(name, value) for name, value in self._fields(record))
            self._socket.sendto(datagram, self._path)  # by its path each time: it may be restarted
        except OSError:
            self.fallback.handle(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        self.fallback.close()
        super().close()

    def _fields(self, record: logging.LogRecord) -> Iterator[tuple[str, str]]:
        yield "MESSAGE", self.format(record)
        yield "PRIORITY", str(priority(record.levelno))
        yield "SYSLOG_IDENTIFIER", IDENTIFIER
        yield "TUNNEL_INTERFACE", self.interface
        yield from line_fields(record.getMessage())


def line_fields(line: str) -> Iterator[tuple[str, str]]:
    """``peer refused peer=xTIBA5rb… endpoint=192.0.2.1:51820 why=…`` has TUNNEL_EVENT, TUNNEL_PEER, TUNNEL_ENDPOINT."""
    found = _WORDS_AND_FIELDS.match(line)
    if found is None:
        return
    yield "TUNNEL_EVENT", found["words"].replace(" ", "_")
    for field in found["fields"].split(" "):
        name, _, value = field.partition("=")
        if name not in SAFE_FIELDS:
            return
        yield f"TUNNEL_{name.upper()}", value


def _pack(name: str, value: str) -> bytes:
    """``NAME=value`` and a line feed, or with the length in front if the value has line feeds itself."""
    data = value.encode(errors="backslashreplace")
    if b"\n" not in data:
        return f"{name}=".encode() + data + b"\n"
    return f"{name}\n".encode() + struct.pack("<Q", len(data)) + data + b"\n"

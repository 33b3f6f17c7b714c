"""The caller's side of a control socket: blocking and small, for commands that ask one thing and end.

It talks to every WireGuard implementation that has a UAPI socket (ours, wireguard-go, boringtun), and imports next to
nothing, because `tunnel status` should be there at once.

    connect ──▶ who is it? (SO_PEERCRED) ──▶ request ──▶ answer ... errno=0

`list_interfaces`, `daemon_pid` and `request` each make a connection of their own. Take a `ControlClient` when two
answers have to come from the same process.
"""

import contextlib
import errno
import os
import socket
import stat
import struct
from pathlib import Path
from typing import Self

from tunnel.errors import ControlError

SOCKET_DIRECTORY = Path("/var/run/wireguard")
"""Where wg(8) and every userspace implementation look."""

SOCKET_SUFFIX = ".sock"

TIMEOUT = 5.0
"""Seconds without a byte of answer after which a process is taken to be stuck."""

ERROR = "error="
"""Begins the line in which one of our own says what was wrong, in front of the errno."""

CHANGE = "change="
"""Begins each line in which one of our own says what a reload changes."""

SocketIdentity = tuple[int, int]
"""Of a file, whatever it is called: its inode, which the next file may get, and when it was made, in nanoseconds."""

_READ_SIZE = 1 << 16


def socket_path(name: str, directory: Path) -> Path:
    return directory / f"{name}{SOCKET_SUFFIX}"


class ControlClient:
    """A connection to the process that runs an interface. `pid` is who listens; 0 if it is in another PID namespace."""

    def __init__(self, name: str, connection: socket.socket) -> None:
        self.name = name
        self.pid = _listener_pid(connection)
        self._connection = connection

    @classmethod
    def connect(cls, name: str, directory: Path = SOCKET_DIRECTORY, timeout: float = TIMEOUT) -> Self:
        """Raise `ControlError`: ENOENT or ECONNREFUSED if nobody runs `name`, EACCES if we may not ask."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect(str(socket_path(name, directory)))
        except OSError as error:
            connection.close()
            raise _unreachable(name, error) from None
        return cls(name, connection)

    def request(self, text: str) -> str:
        """Ask (``get=1\\n\\n``) and return the answer's lines without its ``errno=0``.

        Raise `ControlError` with the answer's errno and, if it says why, its words; with EPROTO if it is no answer,
        with ETIMEDOUT if there is none.
        """
        return self._request(text, _READ_SIZE)

    def subscribe(self, text: str) -> socket.socket:
        """Ask for what has no end (``keylog=1\n\n``): the connection, on which it comes from now on. Raise likewise."""
        self._request(text, 1)  # not a byte more than the answer
        return self._connection

    def _request(self, text: str, read_size: int) -> str:
        try:
            self._connection.sendall(text.encode())
            answer = self._receive(read_size)
        except OSError as error:
            raise _unreachable(self.name, error) from None
        body, found, number = answer.rpartition("errno=")
        if not found or not number.strip().lstrip("-").isdigit():
            raise ControlError(f"the process that runs {self.name} does not understand the request", errno.EPROTO)
        if code := abs(int(number)):
            raise ControlError(_reason(body) or f"{self.name}: {os.strerror(code)}", code)
        return body

    def _receive(self, read_size: int) -> str:
        answer = bytearray()
        while not answer.endswith(b"\n\n"):
            received = self._connection.recv(read_size)
            if not received:
                break
            answer += received
        return answer.decode(errors="replace")

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def list_interfaces(directory: Path = SOCKET_DIRECTORY) -> list[str]:
    """Names, sorted, of the interfaces that somebody runs; sockets that a killed process left are passed over.

    Raise `ControlError` if we may not look.
    """
    return [name for name in find_sockets(directory) if is_answered(socket_path(name, directory))]


def find_sockets(directory: Path = SOCKET_DIRECTORY) -> dict[str, SocketIdentity]:
    """The control sockets by the names of their interfaces, sorted; whether anybody answers is not asked.

    Raise `ControlError` if we may not look.
    """
    try:
        found = {path.name: _identity(path) for path in sorted(directory.iterdir())}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unreachable(str(directory), error) from None
    return {name.removesuffix(SOCKET_SUFFIX): identity for name, identity in found.items() if identity is not None}


def request(name: str, text: str, timeout: float = TIMEOUT, directory: Path = SOCKET_DIRECTORY) -> str:
    """One request on a connection of its own; see `ControlClient.request`."""
    with ControlClient.connect(name, directory, timeout) as client:
        return client.request(text)


def daemon_pid(name: str, directory: Path = SOCKET_DIRECTORY) -> int:
    """The process that runs `name`, 0 if it is in another PID namespace; raise `ControlError` if there is none."""
    with ControlClient.connect(name, directory) as client:
        return client.pid


def is_answered(path: Path) -> bool:
    """Whether a process listens on this socket, even one that is too busy to answer. Never blocks.

    Raise `ControlError` if we may not ask.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:  # its backlog is full
            return True
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError as error:
            raise _unreachable(path.name.removesuffix(SOCKET_SUFFIX), error) from None
    return True


def _reason(body: str) -> str:
    """What an answer says was wrong; it comes from another process, and goes to a terminal."""
    text = body.removeprefix(ERROR).strip() if body.startswith(ERROR) else ""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _identity(path: Path) -> SocketIdentity | None:
    """None for what is no control socket."""
    with contextlib.suppress(FileNotFoundError):
        if path.name.endswith(SOCKET_SUFFIX) and stat.S_ISSOCK((found := path.lstat()).st_mode):
            return found.st_ino, found.st_mtime_ns
    return None


def _listener_pid(connection: socket.socket) -> int:
    """Who called listen(2), as the kernel noted it then: nobody can claim to be another."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def _unreachable(name: str, error: OSError) -> ControlError:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return ControlError(f"nothing runs as {name}", error.errno or 0)
    if isinstance(error, PermissionError):
        return ControlError(f"{name}: only root may ask", error.errno or 0)
    if isinstance(error, TimeoutError | BlockingIOError):
        return ControlError(f"the process that runs {name} does not answer", errno.ETIMEDOUT)
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return ControlError(f"the process that runs {name} has hung up on us", error.errno or 0)
    return ControlError(f"{name}: {error.strerror or error}", error.errno or 0)

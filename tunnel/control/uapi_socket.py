"""The control socket: WireGuard's cross-platform userspace API on ``/var/run/wireguard/NAME.sock``.

    wg ──"get=1"────▶ ControlSocket ──▶ ControlHandler.snapshot ──▶ key=value lines, errno=0
    wg ──"set=1 …"──▶      │        ──▶ ControlHandler.apply    ──▶ errno=0, or what refused it
    tunnel status ──▶      │        ──▶ ControlHandler.status   ──▶ one line of JSON, errno=0
    tunnel reload ──▶      │        ──▶ ControlHandler.reload   ──▶ errno=0, or error=why it was refused, errno=22
    tunnel events ──▶      │        ◀── EventFeed               ──▶ a line of JSON whenever something happens
    tunnel capture ─▶      └        ◀── Feed of keys            ──▶ what opens a handshake, whenever there is one

A request is lines that end with an empty one; a connection may carry several, answered in order. Some operations are
our own and wg never uses them: ``status=1`` and an empty line is answered by one line of JSON (`tunnel.control.status`
documents its members), ``errno=0`` and an empty line; ``reload=1``, what `tunnel.control.reload_request` says, and an
empty line by a ``change=`` line for each change, ``errno=0`` and an empty line; ``confirm=1`` and ``save=1`` likewise,
and if it is refused by ``error=`` and one line for people in front of another errno; ``events=1`` and an empty line by
``errno=0``, an empty line, and lines of JSON (`tunnel.control.events`) until either side hangs up; ``keylog=1``
likewise by lines of a key log (`tunnel.wire.key_log`), each handshake's with an empty line behind them. An
implementation that does not know them hangs up.

Only root can connect, because the file is made under umask 077, so what is guarded against is the broken caller. Any
content gets an errno, and changes nothing unless it is right from beginning to end. Whoever sends too much or too
slowly, or does not read what it asked for, is cut off. Of too many callers, or when there are no descriptors for more,
the one that has been silent for longest has to go, so that the next one is served; who listens goes last.

A file that nobody answers is left over from a killed process and replaced. Should two processes replace the same file
at once, the later wins, and the other one notices by `ControlSocket.wait_unlinked` that its file is gone.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from asyncinotify import Inotify, Mask

from tunnel.config.patch import DevicePatch
from tunnel.config.snapshot import DeviceSnapshot
from tunnel.config.uapi import Operation, UapiError, format_errno, format_get, parse_set
from tunnel.control.acceptor import Acceptor
from tunnel.control.events import EventFeed, Listener
from tunnel.control.reload_request import ReloadRequest
from tunnel.control.status import InterfaceStatus
from tunnel.control.uapi_client import (
    CHANGE,
    ERROR,
    SOCKET_DIRECTORY,
    daemon_pid,
    is_answered,
    list_interfaces,
    request,
    socket_path,
)
from tunnel.errors import ControlError, EdgeError, TunnelError

__all__ = [
    "SOCKET_DIRECTORY",
    "ControlHandler",
    "ControlSocket",
    "Limits",
    "daemon_pid",
    "list_interfaces",
    "request",
]

log = logging.getLogger(__name__)

SHORT_REQUEST = 1 << 14
"""Bytes that any number of clients may send at a time; what is longer waits until it is one of a few."""

LARGE_REQUEST = 1 << 16
"""Bytes; longer ones are parsed in a thread, so that the packets of a busy interface do not wait for it."""

LARGE_SNAPSHOT = 200
"""Peers; with more of them an answer is written in a thread, likewise."""

GET, SET, STATUS, RELOAD, EVENTS, KEYLOG = OPERATIONS = (
    "get=1",
    "set=1",
    "status=1",
    "reload=1",
    "events=1",
    "keylog=1",
)
CHANGES = CONFIRM, SAVE = ("confirm=1", "save=1")

_FILES_CHANGED = Mask.DELETE | Mask.MOVED_FROM | Mask.MOVED_TO | Mask.DELETE_SELF | Mask.MOVE_SELF

_T = TypeVar("_T")
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much callers may ask of us.

    `request_size` is in bytes: enough for some 10000 peers of 350 bytes each; `long_requests` of more than
    `SHORT_REQUEST` are read at the same time. A client has `request_seconds` to finish a request, counted from its
    connection or from the answer before, and `answer_seconds` to read an answer.
    """

    request_size: int = 4 << 20
    long_requests: int = 4
    clients: int = 256
    request_seconds: float = 30.0
    answer_seconds: float = 10.0


class ControlHandler(Protocol):
    """What the socket needs of the daemon."""

    def snapshot(self) -> DeviceSnapshot:
        """The device as it is."""
        ...

    async def apply(self, patch: DevicePatch) -> None:
        """Change the device; raise `EdgeError`, whose errno the caller gets (EADDRINUSE), with nothing changed."""
        ...

    def status(self) -> InterfaceStatus:
        """The interface as it is, with what only the daemon knows."""
        ...

    async def reload(self, request: ReloadRequest) -> Sequence[str]:
        """Read again what may have changed in files; returns a line for each change.

        Raise `TunnelError`, which the caller gets, with all as before; so do the next two.
        """
        ...

    async def confirm(self) -> None:
        """What the last reload has changed stays."""
        ...

    async def save(self) -> None:
        """Write what runs into the file that it came from."""
        ...


class Feed(Protocol):
    """What has no end, and is told to whoever listens."""

    def listening(self) -> contextlib.AbstractContextManager[Listener]: ...


class ControlSocket:
    """The server side of one interface's control socket; `open`, then `close`, once each."""

    def __init__(
        self,
        name: str,
        handler: ControlHandler,
        directory: Path = SOCKET_DIRECTORY,
        limits: Limits | None = None,
        events: EventFeed | None = None,
        keys: Feed | None = None,
    ) -> None:
        self.name = name
        self.path = socket_path(name, directory)
        self._handler = handler
        self._limits = limits or Limits()
        self._feeds: dict[str, Feed] = {EVENTS: events or EventFeed(name)} | ({KEYLOG: keys} if keys else {})
        self._applying = asyncio.Lock()  # two callers' patches never mix
        self._clients: set[asyncio.Task[None]] = set()
        self._silent: dict[asyncio.Task[None], None] = {}  # those whose request we wait for, the longest first
        self._listening: dict[asyncio.Task[None], None] = {}  # those who are told what has no end, likewise
        self._long_requests = asyncio.Semaphore(self._limits.long_requests)
        self._acceptor: Acceptor | None = None
        self._identity: tuple[int, int] | None = None  # device and inode of our file

    async def open(self) -> None:
        """Serve from now on. Raise `ControlError` if somebody runs that interface, or the file cannot be made."""
        try:
            listener = self._listen()
        except OSError as error:
            raise ControlError(f"{self.path}: {error.strerror or error}", error.errno or 0) from None
        self._identity = _identity(self.path)
        self._acceptor = Acceptor(listener, f"control socket of {self.name}", self._welcome, self._let_one_go)

    def _listen(self) -> socket.socket:
        """Bind under umask 077, so that there is no moment at which others could connect."""
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except FileExistsError:
            raise ControlError(f"{self.path.parent} is in the way: it is not a directory", errno.ENOTDIR) from None
        self._remove_stale()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        umask = os.umask(0o077)
        try:
            listener.bind(str(self.path))
            listener.listen(self._limits.clients)
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(umask)
        listener.setblocking(False)
        return listener

    def rename(self, name: str) -> None:
        """The interface is called `name` from now on, and so is its file.

        Raise `ControlError`, with the file where it was, if another one is in the way.
        """
        if name == self.name:  # it is back: while it had another one, that was in the way
            return
        before, self.name, self.path = (self.name, self.path), name, socket_path(name, self.path.parent)
        try:
            self._remove_stale()
            before[1].rename(self.path)
        except (OSError, ControlError) as error:
            why = error if isinstance(error, ControlError) else f"{self.path}: {error.strerror}"
            self.name, self.path = before
            raise ControlError(f"{why}; its control socket stays {self.path}", error.errno or 0) from None

    def _remove_stale(self) -> None:
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ControlError(f"{self.path} is in the way: it is not a socket", errno.EEXIST)
        if is_answered(self.path):
            raise ControlError(f"interface {self.name} is already run by {self._who()}", errno.EADDRINUSE)
        self.path.unlink(missing_ok=True)

    def _who(self) -> str:
        with contextlib.suppress(ControlError):
            pid = daemon_pid(self.name, self.path.parent)
            if pid and Path(f"/proc/{pid}").exists():  # wireguard-go listens in a process that ends at once
                return f"process {pid}"
        return "another process"

    async def wait_unlinked(self) -> None:
        """Return once the file is gone or is no longer ours: whoever deletes it wants the interface to end."""
        try:
            with Inotify() as inotify:
                # The directory, because a socket that is still bound never sees the end of its own file.
                inotify.add_watch(self.path.parent, _FILES_CHANGED)
                while self._is_ours():
                    await inotify.get()
        except OSError as error:  # the user's inotify instances are used up
            log.warning("%s: looking for the control socket every second: %s", self.name, error)
            while self._is_ours():
                await asyncio.sleep(1)

    def _is_ours(self) -> bool:
        return self._identity is not None and _identity(self.path) == self._identity

    async def close(self) -> None:
        """Remove the file if it is ours, hang up on everybody. Harmless when repeated."""
        if self._is_ours():
            self.path.unlink(missing_ok=True)
        self._identity = None
        if self._acceptor is not None:
            self._acceptor.close()
        clients = tuple(self._clients)
        for client in clients:
            client.cancel()
        await asyncio.gather(*clients, return_exceptions=True)

    def _welcome(self, connection: socket.socket) -> None:
        """Serve one more client, or hang up on it if there is no room."""
        if not self._make_room():
            connection.close()
            return
        task = asyncio.create_task(self._serve(connection))
        task.add_done_callback(partial(self._forget, connection))  # one that is cancelled at once never begins
        self._clients.add(task)
        self._silent[task] = None

    def _forget(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        connection.close()
        self._clients.discard(task)
        self._silent.pop(task, None)

    def _make_room(self) -> bool:
        """Whether there is room for one more client, after hanging up on one if need be."""
        if len(self._clients) >= self._limits.clients:
            self._let_one_go()
        return len(self._clients) < self._limits.clients

    def _let_one_go(self) -> None:
        """Hang up on one that says nothing, else on one that listens, and of those on whoever came first."""
        idle = self._silent or self._listening
        if idle:
            longest = next(iter(idle))
            del idle[longest]
            self._clients.discard(longest)
            longest.cancel()

    async def _serve(self, connection: socket.socket) -> None:
        """One connection, to its end."""
        task = asyncio.current_task()
        assert task is not None
        limit = min(SHORT_REQUEST, self._limits.request_size)
        with contextlib.suppress(
            OSError,  # the client is gone, or took too long: a TimeoutError is one too
            asyncio.CancelledError,  # had to go for another client, or we close: no failure of this task
        ):
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=limit)
            try:
                writer.transport.set_write_buffer_limits(high=0)  # drain() returns when everything was taken
                while await self._serve_request(task, reader, writer):
                    pass
            except BaseException:
                writer.transport.abort()
                raise
            writer.close()

    async def _serve_request(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; return whether there may be another."""
        is_last = False
        try:
            with _among(self._silent, task):
                received = await self._read_request(reader)
            if received is None:
                return False
            if received[0] in self._feeds and not received[1]:
                await self._stream(self._feeds[received[0]], task, reader, writer)
                return False
            answer = await self._answer(*received)
        except UapiError as error:
            answer, is_last = format_errno(Operation.SET, error.errno), True
        writer.write(answer.encode())
        async with asyncio.timeout(self._limits.answer_seconds):
            await writer.drain()
        return not is_last

    async def _stream(
        self, feed: Feed, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Tell what happens, until the client hangs up or says anything more, or does not read."""
        writer.write(format_errno(Operation.GET).encode())
        with feed.listening() as listener, _among(self._listening, task):
            hung_up = asyncio.create_task(reader.read(1))
            hung_up.add_done_callback(lambda _: listener.end())
            try:
                while lines := await listener.heard():
                    writer.write(lines.encode())
                    async with asyncio.timeout(self._limits.answer_seconds):
                        await writer.drain()
            finally:
                hung_up.cancel()
                await asyncio.gather(hung_up, return_exceptions=True)

    async def _read_request(self, reader: asyncio.StreamReader) -> tuple[str, str] | None:
        """(operation, the lines after it without the empty one), or None at the end of the connection.

        Raise `UapiError` for what is no request, after which there is no telling where the next one starts, and
        `TimeoutError`. What is not ASCII is replaced by what no parser accepts.
        """
        async with asyncio.timeout(self._limits.request_seconds):
            try:
                operation = await _read_operation(reader)
                return None if operation is None else (operation, await self._read_body(reader))
            except asyncio.LimitOverrunError:
                raise UapiError(errno.EMSGSIZE, "the request is too long") from None
            except asyncio.IncompleteReadError:
                raise UapiError(errno.EPROTO, "the request ends too early") from None

    async def _read_body(self, reader: asyncio.StreamReader) -> str:
        body = await reader.readexactly(1)
        if body != b"\n":
            try:
                body += await reader.readuntil(b"\n\n")
            except asyncio.LimitOverrunError:
                async with self._long_requests:
                    body = await _read_long(reader, body, self._limits.request_size)
        return body.removesuffix(b"\n").decode("ascii", "replace").removesuffix("\n")

    async def _answer(self, operation: str, body: str) -> str:
        """Never raises: what goes wrong is an errno, and what must not go wrong is EIO and one traceback in the log."""
        sign = Operation.SET if operation == SET else Operation.GET
        try:
            return await self._perform(operation, body) + format_errno(sign)
        except UapiError as error:
            log.debug("%s refused why=%s", operation, error)
            return format_errno(sign, error.errno)
        except TunnelError as error:
            why = _one_line(error)
            log.warning("%s refused why=%s", operation, why)
            number = error.errno if isinstance(error, EdgeError) else errno.EINVAL
            told = f"{ERROR}{why}\n" if operation in (RELOAD, *CHANGES) else ""
            return told + format_errno(sign, number or errno.EIO)
        except Exception:
            log.exception("%s failed, which is a bug", operation)
            return format_errno(sign, errno.EIO)

    async def _perform(self, operation: str, body: str) -> str:
        """The answer to a request of a known operation, without its errno."""
        if operation == SET:
            patch = await _aside(_parse_set, body, is_large=len(body) > LARGE_REQUEST)
            async with self._applying:
                await self._handler.apply(patch)
            return ""
        if operation == RELOAD:
            request = _parse_reload(body)
            async with self._applying:
                return "".join(f"{CHANGE}{line}\n" for line in await self._handler.reload(request))
        if body:
            raise UapiError(errno.EINVAL, "this operation takes nothing more")
        if operation in CHANGES:
            async with self._applying:
                await (self._handler.confirm() if operation == CONFIRM else self._handler.save())
            return ""
        if operation == KEYLOG:
            raise UapiError(errno.EOPNOTSUPP, "nobody tells keys here")
        if operation == GET:
            snapshot = self._handler.snapshot()
            return await _aside(format_get, snapshot, is_large=len(snapshot.peers) > LARGE_SNAPSHOT)
        status = self._handler.status()
        return await _aside(InterfaceStatus.to_json, status, is_large=len(status.peers) > LARGE_SNAPSHOT) + "\n"


async def _read_operation(reader: asyncio.StreamReader) -> str | None:
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    operation = line[:-1].decode("ascii", "replace")
    if operation not in OPERATIONS + CHANGES:
        raise UapiError(errno.EPROTO, "no such operation")
    return operation


async def _read_long(reader: asyncio.StreamReader, begun: bytes, size: int) -> bytes:
    """A body to its empty line, in pieces that the reader has room for; raise `LimitOverrunError` beyond `size`."""
    body = bytearray(begun)
    while True:
        try:
            return bytes(body + await reader.readuntil(b"\n\n"))
        except asyncio.LimitOverrunError as overrun:
            if len(body) + overrun.consumed > size:
                raise
            body += await reader.readexactly(overrun.consumed)


@contextlib.contextmanager
def _among(idle: dict[asyncio.Task[None], None], task: asyncio.Task[None]) -> Iterator[None]:
    idle[task] = None
    try:
        yield
    finally:
        idle.pop(task, None)


def _one_line(error: TunnelError) -> str:
    """Whatever is in the text, it is one line, and can be sent."""
    return " ".join(str(error).split()).encode(errors="backslashreplace").decode()


def _parse_reload(body: str) -> ReloadRequest:
    try:
        return ReloadRequest.parse(body)
    except ValueError as error:
        raise UapiError(errno.EINVAL, f"reload: {error}") from None


def _parse_set(body: str) -> DevicePatch:
    return parse_set(body, socket.if_nametoindex)


async def _aside(function: Callable[[_T], _R], argument: _T, *, is_large: bool) -> _R:
    return await asyncio.to_thread(function, argument) if is_large else function(argument)


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode. No other file gets the same while our socket is bound to it, even when it is unlinked."""
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino

"""A daemon's side of the control socket, without a daemon."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from threading import Thread

from tunnel.config.patch import DevicePatch
from tunnel.config.snapshot import DeviceSnapshot, PeerSnapshot
from tunnel.control.reload_request import ReloadRequest
from tunnel.control.status import InterfaceStatus
from tunnel.control.uapi_socket import ControlSocket, Limits
from tunnel.keys import PrivateKey, PublicKey

PRIVATE_KEY = PrivateKey(bytes(range(32)))
PEER = PublicKey(bytes([7] * 32))


class RecordingHandler:
    """Notes every patch, and refuses with `refusal` if there is one."""

    def __init__(self, peers: int = 1) -> None:
        self.patches: list[DevicePatch] = []
        self.reloads: list[ReloadRequest] = []
        self.changes: list[str] = []
        self.calls: list[str] = []
        self.refusal: Exception | None = None
        self.hold: asyncio.Event | None = None
        self.applying = asyncio.Event()
        self.peers = tuple(PeerSnapshot(PublicKey(number.to_bytes(32, "big"))) for number in range(1, peers + 1))

    def snapshot(self) -> DeviceSnapshot:
        return DeviceSnapshot(PRIVATE_KEY, 51820, 0, self.peers, {"replayed": 3})

    async def apply(self, patch: DevicePatch) -> None:
        self.applying.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.refusal is not None:
            raise self.refusal
        self.patches.append(patch)

    async def reload(self, request: ReloadRequest) -> list[str]:
        if self.refusal is not None:
            raise self.refusal
        self.reloads.append(request)
        return self.changes

    async def confirm(self) -> None:
        self._call("confirm")

    async def save(self) -> None:
        self._call("save")

    def _call(self, what: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.calls.append(what)

    def status(self) -> InterfaceStatus:
        return InterfaceStatus.from_snapshot(self.snapshot(), name="wg0", mtu=1420, pid=1)


@asynccontextmanager
async def serving(
    handler: RecordingHandler, directory: Path, limits: Limits | None = None
) -> AsyncIterator[ControlSocket]:
    control = ControlSocket("wg0", handler, directory, limits)
    await control.open()
    try:
        yield control
    finally:
        await control.close()


@contextmanager
def answering(directory: Path, answer: bytes) -> Iterator[None]:
    """Somebody who answers one request with `answer`, whatever it is, and hangs up."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(answer)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "wg0.sock"))
        listener.listen()
        thread = Thread(target=serve)
        thread.start()
        yield
        thread.join()


async def ask(directory: Path, *requests: bytes, half_close: bool = False) -> bytes:
    """Everything that is answered to these requests on one connection, which stays open for the first answer only."""
    reader, writer = await asyncio.open_unix_connection(directory / "wg0.sock", limit=16 << 20)
    async with asyncio.timeout(10):
        try:
            answers = b""
            for request in requests:
                writer.write(request)
                if half_close:
                    writer.write_eof()
                answers += await _answer(reader)
            return answers
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n\n")
    except asyncio.IncompleteReadError as error:
        return error.partial

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.unit.control.handler import RecordingHandler, ask, serving
from tunnel.control.events import Listener
from tunnel.control.uapi_client import ControlClient
from tunnel.control.uapi_socket import ControlSocket
from tunnel.errors import ControlError

LINES = "REMOTE_STATIC_PUBLIC_KEY=x\nLOCAL_EPHEMERAL_PRIVATE_KEY=y\n\n"


class FakeKeys:
    """Tells the same lines to whoever begins to listen; `gone` is set when they stop."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    @contextmanager
    def listening(self) -> Iterator[Listener]:
        listener = Listener()
        listener.tell(LINES)
        try:
            yield listener
        finally:
            self.gone.set()


@asynccontextmanager
async def telling(directory: Path) -> AsyncIterator[FakeKeys]:
    keys = FakeKeys()
    control = ControlSocket("wg0", RecordingHandler(), directory, keys=keys)
    await control.open()
    try:
        yield keys
    finally:
        await control.close()


def listen(directory: Path) -> bytes:
    """As ``tunnel capture --keys`` does, in another process."""
    with ControlClient.connect("wg0", directory) as client:
        return client.subscribe("keylog=1\n\n").recv(1000)


async def test_who_asks_for_keys_is_told_from_then_on(tmp_path: Path) -> None:
    async with telling(tmp_path):
        assert await asyncio.to_thread(listen, tmp_path) == LINES.encode()


async def test_who_hangs_up_listens_no_more(tmp_path: Path) -> None:
    async with telling(tmp_path) as keys:
        await asyncio.to_thread(listen, tmp_path)
        async with asyncio.timeout(5):
            await keys.gone.wait()


async def test_who_listens_is_cut_off_when_the_interface_ends(tmp_path: Path) -> None:
    async with telling(tmp_path) as keys:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "wg0.sock")
        writer.write(b"keylog=1\n\n")
        assert await reader.readexactly(len(LINES) + 9) == b"errno=0\n\n" + LINES.encode()
    assert keys.gone.is_set()
    writer.close()


async def test_where_nobody_tells_keys_the_request_is_refused(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path):
        with pytest.raises(ControlError) as refused:
            await asyncio.to_thread(listen, tmp_path)
    assert refused.value.errno == errno.EOPNOTSUPP


async def test_a_request_for_keys_takes_nothing_more(tmp_path: Path) -> None:
    async with telling(tmp_path):
        assert await ask(tmp_path, b"keylog=1\nmore=1\n\n") == b"errno=22\n\n"

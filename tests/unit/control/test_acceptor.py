"""Accepting when there is no descriptor left: nobody turns in circles, and nobody is hung up on."""

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunnel.control.acceptor import Acceptor


class Scarce(socket.socket):
    """A listener whose accept(2) fails while `shortage` is an errno."""

    shortage = 0
    failures = 0

    def accept(self) -> tuple[socket.socket, object]:
        if self.shortage:
            self.failures += 1
            raise OSError(self.shortage, os.strerror(self.shortage))
        return super().accept()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Scarce]:
    with Scarce(socket.AF_UNIX) as listener:
        listener.setblocking(False)
        listener.bind(str(tmp_path / "socket"))
        listener.listen(8)
        yield listener


async def call(listener: socket.socket) -> socket.socket:
    caller = socket.socket(socket.AF_UNIX)
    caller.setblocking(False)
    await asyncio.get_running_loop().sock_connect(caller, listener.getsockname())
    return caller


@pytest.mark.parametrize("shortage", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
async def test_callers_wait_without_being_looked_for_until_there_is_a_descriptor(
    listener: Scarce, shortage: int, caplog: pytest.LogCaptureFixture
) -> None:
    served: asyncio.Queue[socket.socket] = asyncio.Queue()
    shortages: list[int] = []
    listener.shortage = shortage
    acceptor = Acceptor(listener, "wg0", served.put_nowait, lambda: shortages.append(1), pause=0.05)
    async with asyncio.timeout(10):
        with await call(listener):
            await asyncio.sleep(0.12)
            assert 1 <= listener.failures <= 3
            assert len(shortages) == listener.failures - 1
            listener.shortage = 0
            with await served.get() as connection:
                assert not connection.getblocking()
    acceptor.close()
    assert caplog.messages == [f"wg0: callers have to wait: {os.strerror(shortage)}"]


async def test_a_caller_that_is_gone_again_is_no_shortage(listener: Scarce, caplog: pytest.LogCaptureFixture) -> None:
    served: asyncio.Queue[socket.socket] = asyncio.Queue()
    listener.shortage = errno.ECONNABORTED
    acceptor = Acceptor(listener, "wg0", served.put_nowait, lambda: pytest.fail("it was"), pause=60.0)
    async with asyncio.timeout(10):
        with await call(listener):
            while not listener.failures:
                await asyncio.sleep(0)
            listener.shortage = 0
            (await served.get()).close()
    acceptor.close()
    assert caplog.messages == []


async def test_closing_during_a_pause_ends_it(listener: Scarce, caplog: pytest.LogCaptureFixture) -> None:
    listener.shortage = errno.EMFILE
    acceptor = Acceptor(listener, "wg0", lambda _: None, lambda: None, pause=0.01)
    async with asyncio.timeout(10):
        with await call(listener):
            while not listener.failures:
                await asyncio.sleep(0)
            acceptor.close()
            acceptor.close()
            failures = listener.failures
            await asyncio.sleep(0.03)
    assert (listener.failures, listener.fileno()) == (failures, -1)
    assert [record.name for record in caplog.records] == ["tunnel.control.acceptor"], "the loop has nothing to say"

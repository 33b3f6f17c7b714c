"""Asking the system's resolver, which cannot be hurried, from a process that must be able to end.

    look_up ──▶ thread: getaddrinfo(3) ──▶ endpoints          no answer in time: an error; the thread is left to itself

getaddrinfo(3) waits 5 s for each silent name server, twice, for each search domain, and nothing interrupts it. The
threads that an event loop or an executor would ask in are joined at exit, so that Ctrl-C and `tunnel down` would take
as long as that, and longest where DNS is broken, which may be why the tunnel is taken down. Ours are daemon threads.
"""

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread
from typing import Any

from tunnel.endpoint import Endpoint, EndpointName

LOOKUP_TIMEOUT = 20.0
"""Seconds, waiting for a turn included."""

AT_ONCE = 16
"""Questions, abandoned ones included, so that silent name servers cost threads and sockets for no more than these."""

_Outcome = list[tuple[Any, ...]] | OSError


class SystemDns:
    """Satisfies `tunnel.daemon.resolver.Lookup`. `ask` is like `socket.getaddrinfo`, and may block for any time."""

    def __init__(self, ask: Callable[..., list[tuple[Any, ...]]] = socket.getaddrinfo) -> None:
        self._ask = ask
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, name: EndpointName) -> Sequence[Endpoint]:
        """All addresses of the name (A and AAAA) in getaddrinfo's order, RFC 6724. Raise `OSError` if there is none."""
        try:
            async with asyncio.timeout(LOOKUP_TIMEOUT):
                return tuple(_endpoint(address) for *_, address in await self._answer(name))
        except TimeoutError:
            raise OSError(errno.ETIMEDOUT, "no answer in time") from None

    async def _answer(self, name: EndpointName) -> list[tuple[Any, ...]]:
        await self._turns.acquire()
        answer: asyncio.Future[list[tuple[Any, ...]]] = asyncio.get_running_loop().create_future()
        thread = Thread(target=self._run, args=(name, answer), name=f"look up {name.host}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._turns.release()
            raise OSError(str(error)) from None
        return await answer

    def _run(self, name: EndpointName, answer: asyncio.Future[list[tuple[Any, ...]]]) -> None:
        """In the thread."""
        outcome: _Outcome
        try:
            outcome = self._ask(name.host, name.port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
        except OSError as error:
            outcome = error
        except UnicodeError:
            outcome = OSError("not a valid DNS name")
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know
            answer.get_loop().call_soon_threadsafe(self._finish, answer, outcome)

    def _finish(self, answer: asyncio.Future[list[tuple[Any, ...]]], outcome: _Outcome) -> None:
        self._turns.release()
        if answer.done():  # cancelled, as it took too long
            return
        if isinstance(outcome, OSError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)


def _endpoint(address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]) -> Endpoint:
    """From a socket address as getaddrinfo returns it."""
    host, port, *rest = address
    scope_id = rest[1] if len(rest) == 2 else 0
    return Endpoint.create(str(host).partition("%")[0], int(port), scope_id)

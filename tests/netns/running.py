"""Traffic that runs while things break, and that knows afterwards what arrived, and when what was lost was sent.

    client ─ numbered datagrams, one every few ms ──▶ server      lost ones, with the time at which each was sent
    client ─ a TCP stream that both sides hash ─────▶ server      whole, or not

Sockets are made inside the namespaces and used from threads of this process. They outlive the interface: while its
addresses are gone a datagram cannot be sent, and counts as lost.
"""

import hashlib
import socket
import struct
import threading
import time
from array import array
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.netns.flows import connect_to, datagram_socket, listen
from tunnel.testing.namespaces import Namespace

_NUMBER = struct.Struct("!Q")
_PATIENCE = 120.0
"""Seconds that a stream may stand still before the test gives it up."""


class NumberedDatagrams:
    """UDP from inside `client` to `address` in `server`, one every `interval` seconds until the block is left."""

    def __init__(
        self,
        client: Namespace,
        source: str,
        server: Namespace,
        address: str,
        *,
        interval: float = 0.005,
        size: int = 200,
    ) -> None:
        self._near = datagram_socket(client, source)
        self._far = datagram_socket(server, address)
        self._interval = interval
        self._filling = bytes(size - _NUMBER.size)
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        self.sent_at = array("d")
        """By number: `time.monotonic`."""
        self._arrived_at = array("d")
        self.arrived = 0
        self.twice = 0
        self._newest = -1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        self._near.close()
        self._far.close()

    @property
    def sent(self) -> int:
        return len(self.sent_at)

    @property
    def lost(self) -> int:
        """Not arrived; while it runs, some of them are on their way."""
        return self.sent - self.arrived

    def losses(self) -> list[float]:
        """When those were sent that never arrived."""
        return [when for when, then in zip(self.sent_at, self._arrived_at, strict=False) if not then]

    def flows_since(self, moment: float) -> bool:
        """Whether one has arrived that was sent after that."""
        return self._newest >= 0 and self.sent_at[self._newest] > moment

    def _send(self) -> None:
        goal = self._far.getsockname()
        while not self._is_over.wait(self._interval):
            number = len(self.sent_at)
            self._arrived_at.append(0.0)
            self.sent_at.append(time.monotonic())
            with suppress(OSError):  # no address or no route just now: lost
                self._near.sendto(_NUMBER.pack(number) + self._filling, goal)

    def _receive(self) -> None:
        self._far.settimeout(0.5)  # what is on its way at the end
        while True:
            try:
                datagram = self._far.recv(2048)
            except TimeoutError:
                if self._is_over.is_set():
                    return
                continue
            (number,) = _NUMBER.unpack_from(datagram)
            if self._arrived_at[number]:
                self.twice += 1
                continue
            self._arrived_at[number] = time.monotonic()
            self.arrived += 1
            self._newest = max(self._newest, number)


class HashedStream:
    """TCP from inside `client` to `address` in `server` until the block is left, `chunk` bytes every `pause` seconds.

    Leaving the block waits until all has arrived; then `is_whole` says whether it is what was sent.
    """

    def __init__(
        self, client: Namespace, server: Namespace, address: str, *, chunk: int = 1 << 14, pause: float = 0.02
    ) -> None:
        with listen(server, address) as listener:
            self._near, self._far = connect_to(client, listener)
        for end in (self._near, self._far):
            end.settimeout(_PATIENCE)
        self._pause = pause
        self._chunk = chunk
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        self._went, self._came = hashlib.sha256(), hashlib.sha256()
        self.sent = self.received = 0
        self.failure: str | None = None

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        self._near.close()
        self._far.close()

    @property
    def is_whole(self) -> bool:
        return self.failure is None and self.received == self.sent and self._went.digest() == self._came.digest()

    def _send(self) -> None:
        number = 0
        try:
            while not self._is_over.wait(self._pause):
                piece = hashlib.shake_128(_NUMBER.pack(number)).digest(self._chunk)
                self._went.update(piece)
                self.sent += len(piece)
                self._near.sendall(piece)
                number += 1
            self._near.shutdown(socket.SHUT_WR)
        except OSError as error:
            self.failure = f"sending: {error}"

    def _receive(self) -> None:
        try:
            while piece := self._far.recv(1 << 16):
                self._came.update(piece)
                self.received += len(piece)
        except OSError as error:
            self.failure = f"receiving: {error}"

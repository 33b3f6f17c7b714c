"""A capture from beginning to end: packets of both sides in the order of time, and keys before what they open.

    inner packets ────┐
    outer datagrams ──┼─▶ held back for a moment, sorted ─▶ Output
    keys ─────────────┴────────────────────────────────────▶

Sockets are read one after the other, and the daemon tells a key at about the time when it sends the handshake. So
packets wait for a quarter of a second, and keys do not: then what is written is sorted, and a program that reads the
file once (tshark) has each key before it needs it.
"""

import heapq
import select
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf
from typing import Protocol

from tunnel.capture.datagrams import split_datagrams
from tunnel.capture.output import Output, Side
from tunnel.capture.packet_socket import ARPHRD_LOOPBACK, CapturedFrame

HOLD = 0.25
"""Seconds that a packet waits for those that were captured before it, and for keys."""

_BURST = 500
"""Frames that are read from one socket before it is another's turn."""

_KEYS_SIZE = 1 << 16


class Source(Protocol):
    """What is readable when `receive` gives something: a `PacketSocket`."""

    def fileno(self) -> int: ...

    def receive(self) -> CapturedFrame | None: ...

    def count_lost(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop by ourselves: after so many packets, or seconds; None: never."""

    packets: int | None = None
    seconds: float | None = None


class Recording:
    """`keys` is a stream of key log lines, each group ended by an empty line; `is_there` says whether to go on.

    `hold`: seconds, see `HOLD`.
    """

    def __init__(
        self,
        sockets: Mapping[Side, Source],
        output: Output,
        limits: Limits,
        is_there: Callable[[], bool],
        keys: socket.socket | None = None,
        hold: float = HOLD,
    ) -> None:
        self.count = 0
        self.has_lost_keys = False
        self._sockets = sockets
        self._output = output
        self._limits = limits
        self._is_there = is_there
        self._keys = keys
        self._hold = hold
        self._partial = b""
        self._held: list[tuple[int, int, float, Side, CapturedFrame, bytes]] = []
        self._is_stopped = False
        self._poll = select.poll()
        for one in sockets.values():
            self._poll.register(one, select.POLLIN)
        if keys is not None:
            keys.setblocking(False)
            self._poll.register(keys, select.POLLIN)

    def stop(self) -> None:
        """End `run` soon; for a signal handler."""
        self._is_stopped = True

    def run(self) -> None:
        """Until a limit is reached, `stop` was called or the interface is gone. Raise `OSError` of the output."""
        end = None if self._limits.seconds is None else time.monotonic() + self._limits.seconds
        while not self._is_over(end):
            wait = self._hold if end is None else max(0.0, min(self._hold, end - time.monotonic()))
            self._poll.poll(wait * 1000)
            horizon = min(self._read_packets(side, one) for side, one in self._sockets.items())
            self._read_keys()
            self._release(time.monotonic() - self._hold, horizon)
        if self._keys is not None:
            select.select([], [], [], self._hold)
            self._read_keys()
        self._release(time.monotonic(), inf)

    def count_lost(self) -> int:
        return sum(one.count_lost() for one in self._sockets.values())

    def _is_over(self, end: float | None) -> bool:
        if self._is_stopped or self._is_full() or not self._is_there():
            return True
        return end is not None and time.monotonic() >= end

    def _is_full(self) -> bool:
        return self._limits.packets is not None and self.count >= self._limits.packets

    def _read_packets(self, side: Side, one: Source) -> float:
        """Returns the time (nanoseconds) from which on there are more to read: that of the last one, or infinity."""
        for _ in range(_BURST):
            frame = None if self._is_full() else one.receive()
            if frame is None:
                return inf
            if frame.hardware == ARPHRD_LOOPBACK and frame.is_outgoing:
                continue  # it is seen again when it arrives
            packet = frame.packet
            parts = split_datagrams(packet, frame.segment_size) if side is Side.OUTER else [packet]
            frame = replace(frame, frame=b"")  # what waits is kept once
            for part in parts:
                if not self._is_full():
                    self.count += 1
                    held = frame.nanoseconds, self.count, time.monotonic(), side, frame, part
                    heapq.heappush(self._held, held)
        return frame.nanoseconds if frame else inf

    def _read_keys(self) -> None:
        """Write the groups of lines that are complete."""
        while self._keys is not None:
            try:
                received = self._keys.recv(_KEYS_SIZE)
            except BlockingIOError:
                return
            except OSError:
                received = b""
            if not received:
                self._poll.unregister(self._keys)
                self._keys = None
                self.has_lost_keys = True
                return
            complete, _, self._partial = (self._partial + received).rpartition(b"\n\n")
            if complete:
                self._output.write_keys(complete.replace(b"\n\n", b"\n") + b"\n")

    def _release(self, until: float, horizon: float) -> None:
        """Write what has waited since `until` (monotonic) or before, and was captured before `horizon`."""
        while self._held and self._held[0][2] <= until and self._held[0][0] <= horizon:
            *_, side, frame, packet = heapq.heappop(self._held)
            self._output.write(side, frame, packet)
        self._output.flush()

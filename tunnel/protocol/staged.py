"""Packets that wait for a keypair: a bounded queue of copies, the oldest first (WireGuard paper, section 6.1).

Keepalives are not kept: a new session is confirmed by whatever comes first, and that does their work.
"""

from collections import deque
from collections.abc import Sequence

from tunnel.protocol.constants import MAX_STAGED_PACKETS
from tunnel.protocol.transport import SLOT_OVERHEAD
from tunnel.wire.messages import TRANSPORT_HEADER_SIZE


class StagedPackets:
    """At most `MAX_STAGED_PACKETS` of one peer, each in a slot of its own (see `tunnel.protocol.transport`)."""

    __slots__ = ("_packets",)

    def __init__(self) -> None:
        self._packets: deque[tuple[memoryview, int]] = deque()

    def __len__(self) -> int:
        return len(self._packets)

    def add(self, slots: Sequence[memoryview], lengths: Sequence[int]) -> int:
        """Copy the packets, since the slots are used again; return how many old ones made room for them."""
        for slot, length in zip(slots, lengths, strict=False):
            if length:
                copy = memoryview(bytearray(length + SLOT_OVERHEAD))
                end = TRANSPORT_HEADER_SIZE + length
                copy[TRANSPORT_HEADER_SIZE:end] = slot[TRANSPORT_HEADER_SIZE:end]
                self._packets.append((copy, length))
        pushed_out = max(0, len(self._packets) - MAX_STAGED_PACKETS)
        for _ in range(pushed_out):
            self._packets.popleft()
        return pushed_out

    def take(self) -> tuple[list[memoryview], list[int]]:
        """All of them, in order, as slots and lengths; none is left."""
        packets, self._packets = self._packets, deque()
        return [slot for slot, _ in packets], [length for _, length in packets]

    def clear(self) -> int:
        """Drop all of them; return how many there were."""
        count = len(self._packets)
        self._packets.clear()
        return count

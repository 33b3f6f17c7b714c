"""Datagrams in a row: how a burst lies in memory, and how the kernel takes and gives it (UDP_SEGMENT, UDP_GRO).

| datagram 0: size bytes | datagram 1: size bytes | ... | last datagram: up to size bytes |
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Self

MAX_TRAIN_COUNT = 64
"""Datagrams in one send: the kernel's UDP_MAX_SEGMENTS before Linux 6.9."""

MAX_TRAIN_BYTES = 65535 - 14 - 40 - 8
"""Bytes in one send: with Ethernet, IPv6 and UDP header one less than Linux's default gso_max_size, 65536.

UDP_SEGMENT takes 65507, but from 65474 on the train is cut before it reaches the network card, or the veth, and so
crosses it, and is received, datagram by datagram.
"""


@dataclass(slots=True)
class Train:
    """Datagrams of equal size, one behind the other in one writable buffer; only the last may be shorter.

    `buffer` is exactly their bytes, ``(count - 1) * size + last``. A train may be used again for what lies in the same
    place later: whoever works on it keeps what depends only on its shape in `plan`.
    """

    buffer: memoryview
    count: int
    size: int
    last: int
    plan: object = field(default=None, repr=False, compare=False)

    @classmethod
    def single(cls, datagram: memoryview) -> Self:
        """One datagram."""
        length = len(datagram)
        return cls(datagram, 1, length, length)

    def datagrams(self) -> list[memoryview]:
        """Each as a view of its own, in order."""
        if self.count == 1:
            return [self.buffer]
        return [self.buffer[start : start + self.size] for start in range(0, len(self.buffer), self.size)]


class Outbound(NamedTuple):
    """A train before it is sealed: packets, or slices of a superpacket, with room for header, padding and tag.

    Packet i is ``train.buffer[i * size + 16:][:packet_length]``, what follows it up to the tag is zero; the last has
    `last_packet_length` bytes. Slices have no padding.
    """

    train: Train
    packet_length: int
    last_packet_length: int
    segment: int = 0
    """Of slices: how many bytes of payload each has but the last of all. 0: these are packets."""
    is_end: bool = False
    """Whether the last slice here is the last of its superpacket."""

    def slots(self) -> tuple[list[memoryview], list[int]]:
        """The packets one by one, each in the slot that it lies in, with their lengths."""
        lengths = [self.packet_length] * (self.train.count - 1)
        return self.train.datagrams(), [*lengths, self.last_packet_length]

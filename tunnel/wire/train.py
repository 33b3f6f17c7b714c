"""Datagrams in a row: how a burst lies in memory, and how the kernel takes and gives it (UDP_SEGMENT, UDP_GRO).

| datagram 0: size bytes | datagram 1: size bytes | ... | last datagram: up to size bytes |
"""

from dataclasses import dataclass, field
from typing import NamedTuple, Self

MAX_TRAIN_COUNT = 64
"""Datagrams in one send: the kernel's UDP_MAX_SEGMENTS before Linux 6.9."""

MAX_PLACES = 64
"""In one arena. With all its views a place takes up to 35 KB."""

MAX_TRAIN_BYTES = 65535 - 14 - 40 - 8
"""Bytes in one send: with Ethernet, IPv6 and UDP header one less than Linux's default gso_max_size, 65536.

UDP_SEGMENT takes 65507, but from 65474 on the train is cut before it reaches the network card, or the veth, and so
crosses it, and is received, datagram by datagram.
"""


@dataclass(slots=True, eq=False)
class Place:
    """Where trains begin, and of what size their datagrams are: those of one place differ in their ends only.

    Whoever works on them keeps in `plan` what depends on nothing else.
    """

    plan: object = field(default=None, repr=False)


class Places:
    """The places in some memory: one for each start and size, kept as long as they are not too many."""

    __slots__ = ("_places",)

    def __init__(self) -> None:
        self._places: dict[tuple[int, int], Place] = {}

    def find(self, start: int, size: int) -> Place:
        place = self._places.get((start, size))
        if place is None:
            if len(self._places) >= MAX_PLACES:
                self._places.clear()
            place = self._places[start, size] = Place()
        return place


@dataclass(slots=True)
class Train:
    """Datagrams of equal size, one behind the other in one writable buffer; only the last may be shorter.

    `buffer` is exactly their bytes, ``(count - 1) * size + last``. A train may be used again for what lies in the same
    place later: whoever works on it keeps what depends only on its shape in `plan`. Trains may share a `place`.
    """

    buffer: memoryview
    count: int
    size: int
    last: int
    place: Place | None = field(default=None, repr=False, compare=False)
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

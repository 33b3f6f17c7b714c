"""Plans: the views into an arena that laying out one shape of superpacket takes, made once and kept.

    arena   | 16 | headers | payload 0 | padding | 16 | 16 | headers | payload 1 | padding | 16 | ...
            row 0: stride bytes                       row 1

All rows are equally long, so a column of the arena is a strided numpy view. The views depend only on the arena and on
the sizes, as do the trains that the rows make.
"""

from typing import Generic, NamedTuple, TypeVar

import numpy as np

from tunnel.offload.flow import Layout
from tunnel.wire.messages import TRANSPORT_HEADER_SIZE, TRANSPORT_OVERHEAD
from tunnel.wire.train import MAX_TRAIN_BYTES, MAX_TRAIN_COUNT, Outbound, Places, Train

MAX_PACKET = MAX_TRAIN_BYTES - TRANSPORT_OVERHEAD
"""The longest packet, or slice with its headers, that one send takes."""

MAX_TAILS = 4
"""Lengths of the last packet for which a plan keeps its trains."""

MAX_PLANS = 128
"""One per number of segments, for a few flows, fits. A plan holds some 2 KB of views and 100 bytes per row."""

MAX_KEPT_ROWS = 128
"""Plans with more are made each time: so small segments are rare."""

Key = TypeVar("Key")
Value = TypeVar("Value")


def keep(kept: dict[Key, Value], key: Key, value: Value, most: int) -> Value:
    """Put one more in, and before that the oldest out if it would be more than `most`."""
    if len(kept) >= most:
        del kept[next(iter(kept))]
    kept[key] = value
    return value


class Shape(NamedTuple):
    """All that a plan depends on, sizes in bytes. `arena` is the identity of the memoryview."""

    arena: int
    layout: Layout
    segment: int
    rows: int
    stride: int


class Plan:
    """The rows of one shape. `last` is where the packet in the last row begins."""

    __slots__ = ("_places", "_trains", "arena", "last", "payload_type", "payloads", "shape")

    def __init__(self, arena: memoryview, places: Places, shape: Shape) -> None:
        """`places` are those of the arena."""
        self.arena = arena
        self._places = places
        self.shape = shape
        self.last = (shape.rows - 1) * shape.stride + TRANSPORT_HEADER_SIZE
        self.payload_type = np.dtype((np.void, shape.segment))
        self.payloads = np.ndarray(
            (shape.rows - 1,), self.payload_type, arena, TRANSPORT_HEADER_SIZE + shape.layout.payload, (shape.stride,)
        )
        self._trains: dict[tuple[int, int, int], list[Outbound]] = {}

    def write_payload(self, packet: memoryview) -> int:
        """Cut the payload of `packet` over the rows: every `segment` bytes, and what is left. Returns its size."""
        start, full = self.shape.layout.payload, self.shape.rows - 1
        if full:
            self.payloads[:] = np.frombuffer(packet, self.payload_type, full, start)
        tail = len(packet) - start - full * self.shape.segment
        self.arena[self.last + start : self.last + start + tail] = packet[len(packet) - tail :]
        return tail

    def trains(self, last_packet_length: int, last: int, gso_size: int = 0) -> list[Outbound]:
        """The rows as trains that fit a send each; the last datagram has `last` bytes. With a `gso_size`: of slices.

        The same objects for the same arguments, with what is kept in them.
        """
        key = last_packet_length, last, gso_size
        trains = self._trains.get(key)
        if trains is None:
            if len(self._trains) >= MAX_TAILS:
                self._trains.clear()
            trains = self._trains[key] = _trains(self.arena, self._places, self.shape, *key)
        return trains


P = TypeVar("P", bound=Plan)


class Plans(Generic[P]):
    """Makes plans of one kind and keeps them, and with them references to the last arenas; the oldest go first."""

    def __init__(self, kind: type[P]) -> None:
        self._kind = kind
        self._plans: dict[Shape, P] = {}
        self._arena: memoryview | None = None
        self._places = Places()

    def find(self, arena: memoryview, shape: Shape) -> P:
        """The plan keeps its arena alive, so that no other can have the same identity."""
        plan = self._plans.get(shape)
        if plan is None:
            if arena is not self._arena:
                self._arena, self._places = arena, Places()
            plan = self._kind(arena, self._places, shape)
            if shape.rows <= MAX_KEPT_ROWS:
                keep(self._plans, shape, plan, MAX_PLANS)
        return plan


def _trains(
    arena: memoryview, places: Places, shape: Shape, last_packet_length: int, last: int, gso_size: int
) -> list[Outbound]:
    count, stride = shape.rows, shape.stride
    length = shape.layout.payload + shape.segment
    trains = []
    start = 0
    while count > MAX_TRAIN_COUNT or (count - 1) * stride + last > MAX_TRAIN_BYTES:
        capacity = min(MAX_TRAIN_COUNT, MAX_TRAIN_BYTES // stride)
        end = start + capacity * stride
        train = Train(arena[start:end], capacity, stride, stride, places.find(start, stride))
        trains.append(Outbound(train, length, length, gso_size))
        count -= capacity
        start = end
    buffer = arena[start : start + (count - 1) * stride + last]
    place = places.find(start, stride) if count > 1 else None
    train = Train(buffer, count, stride if count > 1 else last, last, place)
    length = length if count > 1 else last_packet_length
    trains.append(Outbound(train, length, last_packet_length, gso_size, is_end=gso_size > 0))
    return trains

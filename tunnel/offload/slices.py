"""Superpackets cut into slices, and rebuilt from them: offload from one kernel to the other (docs/protocol.md).

    frame    | virtio 10 | headers | payload 0 | payload 1 | ... | tail |
    slices   | 16 | headers, offset 0 | payload 0 | 16 | 16 | headers, offset 1 × segment | payload 1 | 16 | ...
    frame    [virtio header and headers, payload 0, payload 1, ...]                              for one writev

A slice has the superpacket's own headers, the same in all slices but for the IP length field, which holds where in the
payload the slice begins. The checksum field has the sum of the pseudo-header with a length of zero: so the receiver can
put in the length of what it rebuilds, and needs to know no address for it, which a routing header may hide.

No checksum is computed on either side, and a lost slice costs one slice: the runs on both sides of it are superpackets
of their own, with sequence, identification, and flags as the packets would have had them.
"""

import struct
from collections.abc import Collection
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from tunnel.offload.flow import CWR, FIN, PSH, TCP, UDP, Layout, Refusal, parse_headers
from tunnel.offload.plans import MAX_PACKET, Plan, Plans, Shape, keep
from tunnel.offload.rows import address_of
from tunnel.offload.superpacket import (
    MAX_SUPERPACKET,
    ONE_PACKET_FLAGS,
    Frame,
    fit,
    parse_superpacket,
    partial_header,
    superpacket_header,
    write_lengths,
)
from tunnel.wire.checksum import MODULUS
from tunnel.wire.messages import TAG_SIZE, TRANSPORT_HEADER_SIZE, TRANSPORT_OVERHEAD, ExtendedFlag
from tunnel.wire.train import MAX_TRAIN_COUNT, Outbound, Places, Train
from tunnel.wire.virtio import VIRTIO_HEADER_SIZE

MAX_TABLES = 128
"""Tables of columns that are kept. One is some 10 KB, most of it the views of the payloads."""

_LAST = ExtendedFlag.LAST.value
_LASTS = bytes(flags & _LAST for flags in range(256))
_U16 = struct.Struct(">H")
_U32 = struct.Struct(">I")


class _Plan(Plan):
    """The headers and the offsets in them of the rows of one shape, one element per slice, and what the offsets are."""

    __slots__ = ("header_type", "headers", "offset_values", "offsets")

    def __init__(self, arena: memoryview, places: Places, shape: Shape) -> None:
        super().__init__(arena, places, shape)
        layout, rows, strides = shape.layout, shape.rows, (shape.stride,)
        self.header_type = np.dtype((np.void, layout.payload))
        self.headers = np.ndarray((rows,), self.header_type, arena, TRANSPORT_HEADER_SIZE, strides)
        place = TRANSPORT_HEADER_SIZE + layout.length_field
        self.offsets = np.ndarray((rows,), ">u2", arena, place, strides)
        self.offset_values = (np.arange(rows) * shape.segment).astype(">u2")


class Slicer:
    """Cuts superpackets; keeps plans, and with them references to the last arenas it was given."""

    def __init__(self) -> None:
        self._plans = Plans(_Plan)

    def slice(self, frame: memoryview, arena: memoryview, longest: int = MAX_SUPERPACKET) -> list[Outbound] | Refusal:
        """Lay the slices of the superpacket in `frame` out in `arena`, in trains one behind the other.

        None is longer than `longest`, headers included: of TCP they have less payload than the virtio header says if
        need be, so that the superpacket that is rebuilt of them has smaller segments; UDP is refused.

        `arena` is writable and best the same object each time; it is changed only where the trains lie, and with a
        refusal not at all. Message headers and tags are left as they are.
        """
        parsed = parse_superpacket(frame)
        if isinstance(parsed, Refusal):
            return parsed
        layout, gso_size = parsed
        packet = frame[VIRTIO_HEADER_SIZE:]
        payload = len(packet) - layout.payload
        if not payload:
            return Refusal.NO_PAYLOAD
        if len(packet) > MAX_SUPERPACKET:
            return Refusal.TOO_LONG
        if layout.protocol == TCP and packet[layout.transport + 13] & ONE_PACKET_FLAGS:
            return Refusal.ONE_PACKET_FLAGS
        if layout.payload + gso_size > longest:
            fitting = fit(layout, gso_size, payload, longest)
            if isinstance(fitting, Refusal):
                return fitting
            gso_size = fitting
        count = -(-payload // gso_size)
        segment = min(gso_size, payload)
        if layout.payload + segment > MAX_PACKET:
            return Refusal.SEGMENT_TOO_BIG
        stride = TRANSPORT_OVERHEAD + layout.payload + segment
        last_length = len(packet) - (count - 1) * segment
        if (count - 1) * stride + TRANSPORT_OVERHEAD + last_length > len(arena):
            return Refusal.NO_ROOM
        plan = self._plans.find(arena, Shape(id(arena), layout, segment, count, stride))
        _write(plan, packet)
        return plan.trains(last_length, TRANSPORT_OVERHEAD + last_length, gso_size)


def _write(plan: _Plan, packet: memoryview) -> None:
    layout = plan.shape.layout
    plan.write_payload(packet)
    headers = bytearray(packet[: layout.payload])
    (partial,) = _U16.unpack_from(headers, layout.checksum_field)
    length = len(packet) - layout.transport
    _U16.pack_into(headers, layout.checksum_field, (partial - length - 1) % MODULUS + 1)
    plan.headers[:] = np.frombuffer(headers, plan.header_type)
    plan.offsets[:] = plan.offset_values


class _Columns(NamedTuple):
    """Of all slices of a train but the last: the headers, shape (slices,), and views of the payloads."""

    headers: np.ndarray[tuple[int], np.dtype[np.void]]
    payloads: list[memoryview]


class _Slice(NamedTuple):
    """One that may begin a run, and what is read of it. `packet` has headers and payload."""

    packet: memoryview
    layout: Layout
    offset: int
    segment: int


class Rebuilder:
    """Makes superpackets of what is of `protocols`, packets of the rest; counts the slices that it refuses.

    Keeps tables of views, and with them references to the last buffers it was given.
    """

    def __init__(self, protocols: Collection[int] = (TCP, UDP)) -> None:
        self.malformed = 0
        self._protocols = frozenset(protocols)
        self._tables: dict[tuple[int, int, int, int], _Columns] = {}

    def rebuild(self, train: Train) -> list[Frame]:
        """Frames to write, one writev each, of the opened slices of `train`, in order.

        The counters are consecutive, and the message headers alike but for LAST. Slices of several superpackets may
        follow each other, and some be missing. Frames are views of the train's buffer, and headers of their own.
        """
        lasts = bytes(train.buffer[1 :: train.size]).translate(_LASTS).ljust(train.count, b"\0")
        segment = int.from_bytes(train.buffer[2:4], "little")
        frames: list[Frame] = []
        start = 0
        while start < train.count:
            first = _parse_slice(_slice(train, start), segment, lasts[start])
            if first is None:
                self.malformed += 1
                start += 1
                continue
            if lasts[start] or start == train.count - 1 or first.layout.protocol not in self._protocols:
                payloads = [first.packet[first.layout.payload :]]
            else:
                payloads = self._run(train, lasts, start, first)
            start += len(payloads)
            frames.append([_head(first, payloads, lasts[start - 1]), *payloads])
        return frames

    def _run(self, train: Train, lasts: bytes, start: int, first: _Slice) -> list[memoryview]:
        """The payloads of the run that begins with `first`, which is slice `start` and neither LAST nor short."""
        header, segment = first.layout.payload, first.segment
        room = MAX_SUPERPACKET - header - first.offset
        end = min(lasts.find(_LAST, start) + 1 or train.count, start + MAX_TRAIN_COUNT, start - -room // segment)
        columns = self._columns(train, header)
        headers = columns.headers[start:end].tobytes()
        payloads = columns.payloads[start:end]
        if end == train.count:
            final = _slice(train, end - 1)
            headers += final[:header]
            payloads.append(final[header:])
        count = _following(headers, first, end - start)
        tail = len(payloads[count - 1])
        is_right = tail == segment or (tail > 0 and lasts[start + count - 1])
        if not is_right or (count - 1) * segment + tail > room:
            count -= 1
        return payloads[:count]

    def _columns(self, train: Train, header: int) -> _Columns:
        rows, stride = train.count - 1, train.size
        key = (address_of(train), rows, stride, header)
        columns = self._tables.get(key)
        if columns is None:
            start = TRANSPORT_HEADER_SIZE + header
            end = stride - TAG_SIZE
            payloads = [train.buffer[row + start : row + end] for row in range(0, rows * stride, stride)]
            header_type = np.dtype((np.void, header))
            headers = np.ndarray((rows,), header_type, train.buffer, TRANSPORT_HEADER_SIZE, (stride,))
            columns = keep(self._tables, key, _Columns(headers, payloads), MAX_TABLES)
        return columns


def _slice(train: Train, row: int) -> memoryview:
    """Headers and payload; empty if there is nothing between message header and tag."""
    start = row * train.size
    end = start + train.size if row < train.count - 1 else len(train.buffer)
    return train.buffer[start + TRANSPORT_HEADER_SIZE : end - TAG_SIZE]


def _parse_slice(packet: memoryview, segment: int, last: int) -> _Slice | None:
    """None if it cannot be of a superpacket. `last` is not 0 if it is the last one, which may be short."""
    layout = parse_headers(packet)
    if isinstance(layout, Refusal):
        return None
    payload = len(packet) - layout.payload
    if not 1 <= payload <= segment or (payload < segment and not last):
        return None
    (offset,) = _U16.unpack_from(packet, layout.length_field)
    if offset % segment or offset + len(packet) > MAX_SUPERPACKET:
        return None
    if layout.protocol == TCP and packet[layout.transport + 13] & ONE_PACKET_FLAGS:
        return None
    return _Slice(packet, layout, offset, segment)


def _following(headers: bytes, first: _Slice, count: int) -> int:
    """How many of `count` slices, the first included, have headers that follow those of `first`."""
    size, place = first.layout.payload, first.layout.length_field
    expected = bytearray(bytes(first.packet[:size]) * count)
    expected[place::size], expected[place + 1 :: size] = _offsets(first.offset, first.segment, count)
    if headers == expected:
        return count
    starts = range(0, count * size, size)
    return next(n for n, at in enumerate(starts) if headers[at : at + size] != expected[at : at + size])


@lru_cache(1024)
def _offsets(first: int, segment: int, count: int) -> tuple[bytes, bytes]:
    """The offsets of consecutive slices, high bytes and low bytes."""
    offsets = range(first, first + count * segment, segment)
    return bytes(offset >> 8 for offset in offsets), bytes(offset & 0xFF for offset in offsets)


def _head(first: _Slice, payloads: list[memoryview], last: int) -> bytearray:
    """Virtio header, and the headers of the superpacket that a run is. `last` is not 0 if a LAST slice ends it."""
    packet, layout, offset, segment = first
    version, protocol, transport, start = layout
    headers = bytearray(packet[:start])
    has_cwr = False
    if version == 4:
        (identification,) = _U16.unpack_from(headers, 4)
        _U16.pack_into(headers, 4, (identification + offset // segment) & 0xFFFF)
    if protocol == TCP:
        (sequence,) = _U32.unpack_from(headers, transport + 4)
        _U32.pack_into(headers, transport + 4, (sequence + offset) & 0xFFFFFFFF)
        headers[transport + 13] &= ~(CWR if offset else 0) & ~(0 if last else FIN | PSH)
        has_cwr = headers[transport + 13] & CWR != 0
    count = len(payloads)
    virtio = superpacket_header(layout, segment, has_cwr) if count > 1 else partial_header(layout)
    head = bytearray(virtio) + headers
    (pseudo_header,) = _U16.unpack_from(headers, layout.checksum_field)
    write_lengths(head, layout, (count - 1) * segment + len(payloads[-1]), pseudo_header)
    return head

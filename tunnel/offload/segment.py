"""Cutting a superpacket into packets, each where it is to be sealed: what a network card does for TSO and USO.

    frame   | virtio 10 | headers | payload 0 | payload 1 | ... | tail |
                              │ broadcast, then sequence, id, lengths, checksums by columns
    arena   | 16 | headers | payload 0 | padding | 16 tag | 16 | headers | payload 1 | padding | 16 tag | ...

All rows are equally long, so a column of the arena is a strided numpy view, and each field is written for all packets
at once. The TCP or UDP checksum is the sum over what lies in the rows when everything else is written: the field holds
the pseudo-header by then, and what follows a packet in its row is zero. The views of a *plan* depend only on the arena
and on the sizes, and are kept: per superpacket there are about ten numpy calls, whatever it carries.
"""

import struct
import sys
from array import array
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tunnel.offload.flow import (
    CWR,
    FIN,
    IPV6_SIZE,
    PSH,
    TCP,
    TCP_CHECKSUM,
    UDP,
    UDP_CHECKSUM,
    Layout,
    Refusal,
    parse_layout,
)
from tunnel.offload.ipv4 import checksums, identifications
from tunnel.wire.checksum import MODULUS, checksum_of, ones_complement_sum
from tunnel.wire.messages import TRANSPORT_HEADER_SIZE, TRANSPORT_OVERHEAD, padded_length
from tunnel.wire.train import MAX_TRAIN_BYTES, MAX_TRAIN_COUNT, Outbound, Train
from tunnel.wire.virtio import (
    GSO_ECN,
    VIRTIO_HEADER_SIZE,
    GsoType,
    VirtioFlag,
    VirtioHeader,
    parse_virtio_header,
)

MAX_TAILS = 4
"""Lengths of the last packet for which a plan keeps its trains."""

MAX_PLANS = 128
"""One per number of segments, for a few flows, fits. A plan holds some 2 KB of views and 100 bytes per row."""

MAX_KEPT_ROWS = 128
"""Plans with more are made each time: so small segments are rare."""

_EXPECTED: dict[tuple[int, int], tuple[tuple[int, ...], int]] = {
    (4, TCP): ((int(GsoType.TCPV4), GsoType.TCPV4 | GSO_ECN), TCP_CHECKSUM),
    (6, TCP): ((int(GsoType.TCPV6), GsoType.TCPV6 | GSO_ECN), TCP_CHECKSUM),
    (4, UDP): ((int(GsoType.UDP_L4),), UDP_CHECKSUM),
    (6, UDP): ((int(GsoType.UDP_L4),), UDP_CHECKSUM),
}
"""(version, protocol) -> which GSO types it may have, and where its header has the checksum."""

_NEEDS_CSUM = VirtioFlag.NEEDS_CSUM.value
_MAX_PACKET = MAX_TRAIN_BYTES - TRANSPORT_OVERHEAD
_U16 = struct.Struct(">H")
_IDENTIFICATION_AND_CHECKSUM = struct.Struct(">4xH4xH")
_MODULUS = np.array(MODULUS, np.uint64)
_UINT64 = np.dtype(np.uint64)
_ZEROS = memoryview(bytes(1 << 16))


class _Shape(NamedTuple):
    """All that a plan depends on, sizes in bytes. `arena` is the identity of the memoryview."""

    arena: int
    layout: Layout
    segment: int
    rows: int
    stride: int


class _Plan:
    """The columns of the rows of one shape; each view has one element or row per packet."""

    __slots__ = (
        "_shape",
        "_trains",
        "arena",
        "checksums",
        "headers",
        "increments",
        "padding",
        "payload_type",
        "payloads",
        "words",
    )

    def __init__(self, arena: memoryview, shape: _Shape) -> None:
        self._shape = shape
        self._trains: dict[tuple[int, int], list[Outbound]] = {}
        layout, segment, rows, stride = shape.layout, shape.segment, shape.rows, shape.stride
        length = layout.payload + segment
        transport = TRANSPORT_HEADER_SIZE + layout.transport
        word_count = -(-(length - layout.transport) // 4)
        padding_start = TRANSPORT_HEADER_SIZE + length
        padding_end = max(stride - TRANSPORT_OVERHEAD + TRANSPORT_HEADER_SIZE, transport + 4 * word_count)

        self.arena = arena
        self.payload_type = np.dtype((np.void, segment))
        self.payloads = np.ndarray(
            (rows - 1,), self.payload_type, arena, TRANSPORT_HEADER_SIZE + layout.payload, (stride,)
        )
        self.padding = np.ndarray((rows, padding_end - padding_start), np.uint8, arena, padding_start, (stride, 1))
        self.headers = np.ndarray((rows, layout.payload // 4), ">u4", arena, TRANSPORT_HEADER_SIZE, (stride, 4))
        self.increments = _increments(shape)
        self.words = np.ndarray((rows, word_count), np.uint32, arena, transport, (stride, 4))
        checksum = transport + (TCP_CHECKSUM if layout.protocol == TCP else UDP_CHECKSUM)
        self.checksums = np.ndarray((rows,), np.uint16, arena, checksum, (stride,))

    def trains(self, last_packet_length: int, mtu: int) -> list[Outbound]:
        """The rows as trains that fit a send each; the same objects for the same tail, with what is kept in them."""
        key = last_packet_length, mtu
        trains = self._trains.get(key)
        if trains is None:
            if len(self._trains) >= MAX_TAILS:
                self._trains.clear()
            trains = self._trains[key] = _trains(self.arena, self._shape, last_packet_length, mtu)
        return trains


def _increments(shape: _Shape) -> npt.NDArray[np.uint32]:
    """What to add to the header words of the first packet, by row: to sequence, identification, IPv4 checksum."""
    layout, numbers = shape.layout, np.arange(shape.rows, dtype=np.uint32)
    increments = np.zeros((shape.rows, layout.payload // 4), np.uint32)
    if layout.version == 4:
        increments[:, 1] = numbers << 16
        increments[:, 2] = -numbers
    if layout.protocol == TCP:
        increments[:, layout.transport // 4 + 1] = numbers * shape.segment
    return increments.reshape(-1)


class Segmenter:
    """Cuts superpackets; keeps plans, and with them references to the last arenas it was given."""

    def __init__(self) -> None:
        self._plans: dict[_Shape, _Plan] = {}

    def segment(self, frame: memoryview, arena: memoryview, mtu: int) -> list[Outbound] | Refusal:
        """Lay the packets of the superpacket in `frame` out in `arena`, in trains one behind the other.

        `arena` is writable and best the same object each time; it is changed only where the trains lie, and in the row
        of a short tail. With a refusal it is not changed at all. `mtu` is the inner one: it caps the padding.
        """
        header = parse_virtio_header(frame)
        if header is None:
            return Refusal.TOO_SHORT
        packet = frame[VIRTIO_HEADER_SIZE:]
        layout = parse_layout(packet)
        if isinstance(layout, Refusal):
            return layout
        refusal = _check(header, layout)
        if refusal is not None:
            return refusal
        payload = len(packet) - layout.payload
        count = -(-payload // header.gso_size) or 1
        segment = header.gso_size if count > 1 else payload
        if layout.payload + segment > _MAX_PACKET:
            return Refusal.SEGMENT_TOO_BIG
        stride = TRANSPORT_OVERHEAD + padded_length(layout.payload + segment, min(mtu, _MAX_PACKET))
        if count * stride > len(arena):
            return Refusal.NO_ROOM
        shape = _Shape(id(arena), layout, segment, count, stride)
        plan = self._plan(arena, shape)
        _write(plan, shape, packet)
        return plan.trains(len(packet) - (count - 1) * segment, mtu)

    def _plan(self, arena: memoryview, shape: _Shape) -> _Plan:
        """The plan keeps its arena alive, so that no other can have the same identity."""
        plan = self._plans.get(shape)
        if plan is None:
            if len(self._plans) >= MAX_PLANS:
                del self._plans[next(iter(self._plans))]
            plan = _Plan(arena, shape)
            if shape.rows <= MAX_KEPT_ROWS:
                self._plans[shape] = plan
        return plan


def complete_checksum(frame: memoryview) -> bool:
    """Write the checksum that the kernel left to us into a frame that is one packet.

    True if the packet is complete now. False, and nothing changed, if it is a superpacket, or if its virtio header has
    the checksum within the IP header or outside the packet.
    """
    header = parse_virtio_header(frame)
    if header is None or header.gso_type != GsoType.NONE or len(frame) == VIRTIO_HEADER_SIZE:
        return False
    if not header.flags & VirtioFlag.NEEDS_CSUM:
        return True
    packet = frame[VIRTIO_HEADER_SIZE:]
    ip_header = IPV6_SIZE if packet[0] >> 4 == 6 else (packet[0] & 15) * 4
    place = header.checksum_start + header.checksum_offset
    if header.checksum_start < ip_header or place + 2 > len(packet):
        return False
    _U16.pack_into(packet, place, checksum_of(ones_complement_sum(packet[header.checksum_start :])))
    return True


def _check(header: VirtioHeader, layout: Layout) -> Refusal | None:
    """Whether the virtio header speaks of this packet."""
    gso_types, checksum_offset = _EXPECTED[layout.version, layout.protocol]
    if header.gso_type not in gso_types:
        return Refusal.WRONG_GSO_TYPE
    if not header.flags & _NEEDS_CSUM:
        return Refusal.NO_PARTIAL_CHECKSUM
    if (header.checksum_start, header.checksum_offset) != (layout.transport, checksum_offset):
        return Refusal.WRONG_CHECKSUM_PLACE
    return None if header.gso_size else Refusal.NO_SEGMENT_SIZE


def _write(plan: _Plan, shape: _Shape, packet: memoryview) -> None:
    """Everything of all rows: what is alike or goes up by row, then what differs at the ends, then the checksums."""
    layout, segment, count, stride = shape.layout, shape.segment, shape.rows, shape.stride
    transport = layout.transport
    arena = plan.arena
    tail = len(packet) - layout.payload - (count - 1) * segment
    last = (count - 1) * stride + TRANSPORT_HEADER_SIZE
    _write_payload(plan, layout.payload, packet, last, tail)
    template = bytearray(packet[: layout.payload])
    _lengthen(template, 0, layout, layout.payload + segment - len(packet))
    flags = 0
    if layout.protocol == TCP:
        flags = template[transport + 13]
        template[transport + 13] = flags & ~(FIN | PSH | CWR)
    _write_headers(plan, layout, template)
    if flags & (FIN | PSH | CWR):
        arena[TRANSPORT_HEADER_SIZE + transport + 13] |= flags & CWR
        arena[last + transport + 13] |= flags & (FIN | PSH)
    if tail != segment:
        _lengthen(arena, last, layout, tail - segment)
        if layout.version == 4:
            (checksum,) = _U16.unpack_from(arena, last + 10)
            _U16.pack_into(arena, last + 10, (checksum + segment - tail) % MODULUS)
    sums = np.add.reduce(plan.words, 1, _UINT64)
    np.remainder(sums, _MODULUS, sums)
    plan.checksums[:] = np.subtract(_MODULUS, sums, sums)


def _write_payload(plan: _Plan, start: int, packet: memoryview, last: int, tail: int) -> None:
    """Payload begins at `start` of a packet; the last row's at `last`. Zeros behind each, so that sums may run on."""
    if len(plan.payloads):
        plan.payloads[:] = np.frombuffer(packet, plan.payload_type, len(plan.payloads), start)
    if plan.padding.shape[1]:
        plan.padding[:] = 0
    end = last + start + tail
    plan.arena[last + start : end] = packet[len(packet) - tail :]
    missing = plan.payload_type.itemsize - tail
    if missing:
        plan.arena[end : end + missing] = _ZEROS[:missing]


def _write_headers(plan: _Plan, layout: Layout, template: bytearray) -> None:
    """The headers of all rows from those of a full segment that is the first."""
    rows = len(plan.headers)
    identification, checksum = _IDENTIFICATION_AND_CHECKSUM.unpack_from(template)
    wraps = False
    if layout.version == 4:
        total = (ones_complement_sum(template[: layout.transport]) - checksum) % MODULUS
        checksum = -total % MODULUS
        wraps = checksum < rows or identification + rows > 0x10000
        # Where the checksum would go below zero it would take from the protocol, which is in the same word.
        _U16.pack_into(template, 10, MODULUS if wraps else checksum)
    words = array("I", template)  # to repeat and swap here is cheaper than to broadcast and cast there
    if sys.byteorder == "little":
        words.byteswap()
    plan.headers[:] = np.add(np.frombuffer(words * rows, np.uint32), plan.increments).reshape(plan.headers.shape)
    if wraps:
        plan.headers.view(">u2")[:, 2] = identifications(identification, rows)
        plan.headers.view(">u2")[:, 5] = checksums((total - identification) % MODULUS, identification, rows)


def _lengthen(buffer: bytearray | memoryview, start: int, layout: Layout, change: int) -> None:
    """Let the headers at `start` be of a packet that is `change` bytes longer, but for the IPv4 checksum.

    The pseudo-header's sum is not made anew: a routing header puts another address into it than the IPv6 header has.
    """
    length_place = start + (2 if layout.version == 4 else 4)
    _U16.pack_into(buffer, length_place, _U16.unpack_from(buffer, length_place)[0] + change)
    partial_place = start + layout.transport + TCP_CHECKSUM
    if layout.protocol == UDP:
        udp_length_place = start + layout.transport + 4
        _U16.pack_into(buffer, udp_length_place, _U16.unpack_from(buffer, udp_length_place)[0] + change)
        partial_place = start + layout.transport + UDP_CHECKSUM
    _U16.pack_into(buffer, partial_place, (_U16.unpack_from(buffer, partial_place)[0] + change) % MODULUS)


def _trains(arena: memoryview, shape: _Shape, last_packet_length: int, mtu: int) -> list[Outbound]:
    count, stride = shape.rows, shape.stride
    packet_length = shape.layout.payload + shape.segment
    last = TRANSPORT_OVERHEAD + padded_length(last_packet_length, min(mtu, _MAX_PACKET))
    trains = []
    start = 0
    while count > MAX_TRAIN_COUNT or (count - 1) * stride + last > MAX_TRAIN_BYTES:
        capacity = min(MAX_TRAIN_COUNT, MAX_TRAIN_BYTES // stride)
        end = start + capacity * stride
        trains.append(Outbound(Train(arena[start:end], capacity, stride, stride), packet_length, packet_length))
        count -= capacity
        start = end
    buffer = arena[start : start + (count - 1) * stride + last]
    train = Train(buffer, count, stride if count > 1 else last, last)
    trains.append(Outbound(train, packet_length if count > 1 else last_packet_length, last_packet_length))
    return trains

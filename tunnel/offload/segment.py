"""Cutting a superpacket into packets, each where it is to be sealed: what a network card does for TSO and USO.

    frame   | virtio 10 | headers | payload 0 | payload 1 | ... | tail |
                              │ broadcast, then sequence, id, lengths, checksums by columns
    arena   | 16 | headers | payload 0 | padding | 16 tag | 16 | headers | payload 1 | padding | 16 tag | ...

All rows are equally long, so a column of the arena is a strided numpy view, and each field is written for all packets
at once. The TCP or UDP checksum is the sum over what lies in the rows when everything else is written: the field holds
the pseudo-header by then, and what follows a packet in its row is zero. With the views of a *plan* it takes about ten
numpy calls per superpacket, whatever it carries (tunnel.offload.plans).
"""

import struct
import sys
from array import array

import numpy as np
import numpy.typing as npt

from tunnel.offload.flow import CWR, FIN, IPV6_SIZE, PSH, TCP, UDP, Layout, Refusal
from tunnel.offload.ipv4 import checksums, identifications
from tunnel.offload.plans import MAX_PACKET, Plan, Plans, Shape
from tunnel.offload.superpacket import MAX_SUPERPACKET, fit, parse_superpacket
from tunnel.wire.checksum import MODULUS, checksum_of, ones_complement_sum
from tunnel.wire.messages import TRANSPORT_HEADER_SIZE, TRANSPORT_OVERHEAD, padded_length
from tunnel.wire.train import Outbound, Places
from tunnel.wire.virtio import VIRTIO_HEADER_SIZE, GsoType, VirtioFlag, parse_virtio_header

_U16 = struct.Struct(">H")
_IDENTIFICATION_AND_CHECKSUM = struct.Struct(">4xH4xH")
_MODULUS = np.array(MODULUS, np.uint64)
_UINT64 = np.dtype(np.uint64)
_ZEROS = memoryview(bytes(1 << 16))


class _Plan(Plan):
    """The columns of the rows of one shape; each view has one element or row per packet."""

    __slots__ = ("checksums", "headers", "increments", "padding", "words")

    def __init__(self, arena: memoryview, places: Places, shape: Shape) -> None:
        super().__init__(arena, places, shape)
        layout, segment, rows, stride = shape.layout, shape.segment, shape.rows, shape.stride
        length = layout.payload + segment
        transport = TRANSPORT_HEADER_SIZE + layout.transport
        word_count = -(-(length - layout.transport) // 4)
        padding_start = TRANSPORT_HEADER_SIZE + length
        padding_end = max(stride - TRANSPORT_OVERHEAD + TRANSPORT_HEADER_SIZE, transport + 4 * word_count)

        self.padding = np.ndarray((rows, padding_end - padding_start), np.uint8, arena, padding_start, (stride, 1))
        self.headers = np.ndarray((rows, layout.payload // 4), ">u4", arena, TRANSPORT_HEADER_SIZE, (stride, 4))
        self.increments = _increments(shape)
        self.words = np.ndarray((rows, word_count), np.uint32, arena, transport, (stride, 4))
        checksum = TRANSPORT_HEADER_SIZE + layout.checksum_field
        self.checksums = np.ndarray((rows,), np.uint16, arena, checksum, (stride,))


def _increments(shape: Shape) -> npt.NDArray[np.uint32]:
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
        self._plans = Plans(_Plan)

    def segment(
        self, frame: memoryview, arena: memoryview, mtu: int, longest: int = MAX_SUPERPACKET
    ) -> list[Outbound] | Refusal:
        """Lay the packets of the superpacket in `frame` out in `arena`, in trains one behind the other.

        `arena` is writable and best the same object each time; it is changed only where the trains lie, and in the row
        of a short tail. With a refusal it is not changed at all. `mtu` is the inner one: it caps the padding. No packet
        is longer than `longest`: of TCP they have less payload than the virtio header says if need be, UDP is refused.
        """
        parsed = parse_superpacket(frame)
        if isinstance(parsed, Refusal):
            return parsed
        layout, segment = parsed
        packet = frame[VIRTIO_HEADER_SIZE:]
        payload = len(packet) - layout.payload
        if layout.payload + segment > longest:
            fitting = fit(layout, segment, payload, longest)
            if isinstance(fitting, Refusal):
                return fitting
            segment = fitting
        count = -(-payload // segment) or 1
        if count == 1:
            segment = payload
        if layout.payload + segment > MAX_PACKET:
            return Refusal.SEGMENT_TOO_BIG
        limit = min(mtu, longest, MAX_PACKET)
        stride = TRANSPORT_OVERHEAD + padded_length(layout.payload + segment, limit)
        if count * stride > len(arena):
            return Refusal.NO_ROOM
        plan = self._plans.find(arena, Shape(id(arena), layout, segment, count, stride))
        _write(plan, packet)
        last_packet_length = len(packet) - (count - 1) * segment
        return plan.trains(last_packet_length, TRANSPORT_OVERHEAD + padded_length(last_packet_length, limit))


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


def _write(plan: _Plan, packet: memoryview) -> None:
    """Everything of all rows: what is alike or goes up by row, then what differs at the ends, then the checksums."""
    arena, layout, segment, last = plan.arena, plan.shape.layout, plan.shape.segment, plan.last
    transport = layout.transport
    tail = plan.write_payload(packet)
    _clear(plan, tail)
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


def _clear(plan: _Plan, tail: int) -> None:
    """Zeros behind each payload, so that sums may run on; the last row's has `tail` bytes."""
    if plan.padding.shape[1]:
        plan.padding[:] = 0
    missing = plan.shape.segment - tail
    if missing:
        end = plan.last + plan.shape.layout.payload + tail
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
    length_place = start + layout.length_field
    _U16.pack_into(buffer, length_place, _U16.unpack_from(buffer, length_place)[0] + change)
    if layout.protocol == UDP:
        udp_length_place = start + layout.transport + 4
        _U16.pack_into(buffer, udp_length_place, _U16.unpack_from(buffer, udp_length_place)[0] + change)
    partial_place = start + layout.checksum_field
    _U16.pack_into(buffer, partial_place, (_U16.unpack_from(buffer, partial_place)[0] + change) % MODULUS)

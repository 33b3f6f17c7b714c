"""A run: consecutive packets of one flow that one superpacket can stand for.

Two runs join if cutting the superpacket again gives back the same packets: the same headers but for lengths, checksums,
sequence, and identification; payload that goes on where it ended; equal sizes, but the last may be shorter; FIN and PSH
only on the last, CWR only on the first. The kernel takes the checksums of a superpacket for right, so they are verified
before two packets become one: what arrived wrong must stay wrong.

    run    | headers, payload 0 | + | headers, payload 1 | + ...
    frame  [virtio header and headers, payload 0, payload 1, ...]           for one writev
"""

import struct
from functools import lru_cache

import numpy as np

from tunnel.offload.flow import (
    ACK,
    CWR,
    ECE,
    FIN,
    IPV4_SIZE,
    IPV6_SIZE,
    PSH,
    TCP,
    Layout,
)
from tunnel.offload.superpacket import (
    MAX_SUPERPACKET,
    Frame,
    partial_header,
    superpacket_header,
    write_lengths,
)
from tunnel.wire.checksum import MODULUS, ones_complement_sum
from tunnel.wire.train import MAX_TRAIN_COUNT
from tunnel.wire.virtio import PLAIN, VIRTIO_HEADER_SIZE

ADDRESSES = {4: 12, 6: 8}
"""Where the addresses begin, by version. The TCP or UDP header follows them, if there are no options or extensions."""

CLOSING = FIN | PSH
_JOINABLE = ACK | ECE | CLOSING | CWR
_DONT_FRAGMENT = 0x40
_LONG = 128
_U32 = struct.Struct(">I")


class Run:
    """`packet` is the first one; `slices` are the payloads of all.

    `must_count`: identifications go up by one. There are none in IPv6, and with DF they mean nothing (RFC 6864).
    `is_partial`: the TCP or UDP checksums are only the sums of the pseudo-headers.
    `is_intact`: the checksums of all are known to be right; only a run of one packet can be without that.
    """

    __slots__ = (
        "_key",
        "closing",
        "count",
        "identification",
        "is_intact",
        "is_partial",
        "layout",
        "must_count",
        "packet",
        "payload",
        "segment",
        "sequence",
        "slices",
        "starts_anew",
    )

    def __init__(self, packet: memoryview, layout: Layout, is_partial: bool) -> None:
        transport, start = layout.transport, layout.payload
        self.packet = packet
        self.layout = layout
        self.segment = self.payload = len(packet) - start
        self.count = 1
        self.slices = [packet[start:]]
        self._key = 0
        self.is_partial = is_partial
        self.is_intact = False
        self.identification = packet[4] << 8 | packet[5]
        self.must_count = layout.version == 4 and not packet[6] & _DONT_FRAGMENT
        self.closing = self.sequence = 0
        self.starts_anew = False
        if layout.protocol == TCP:
            flags = packet[transport + 13]
            self.closing = flags & CLOSING
            self.starts_anew = flags & CWR != 0
            (self.sequence,) = _U32.unpack_from(packet, transport + 4)

    def grow(self, slices: list[memoryview], closing: int) -> None:
        """Be the run of all these packets, the first included, as whoever compared them knows."""
        self.slices = slices
        self.count = len(slices)
        self.payload = self.count * self.segment
        self.closing = closing
        self.is_intact = True

    def join(self, other: "Run") -> bool:
        """Take `other` in at the end if that is right; else leave both as they are."""
        if not self._continues_with(other) or self._flow() != other._flow():
            return False
        if not (self._verify() and other._verify()):
            return False
        self.slices = self.slices + other.slices  # a new list: the old one may be a table's
        self.count += other.count
        self.payload += other.payload
        self.closing = other.closing
        return True

    def frame(self) -> Frame:
        """What to write with one writev: a superpacket, or the packet untouched if it is the only one."""
        if self.count == 1:
            return [partial_header(self.layout) if self.is_partial else PLAIN, self.packet]
        layout = self.layout
        head = bytearray(superpacket_header(layout, self.segment, self.starts_anew))
        head += self.packet[: layout.payload]
        if self.closing:
            head[VIRTIO_HEADER_SIZE + layout.transport + 13] |= self.closing
        write_lengths(head, layout, self.payload, _pseudo_header(self.packet, layout))
        return [head, *self.slices]

    def _continues_with(self, other: "Run") -> bool:
        if self.closing or other.starts_anew or self.payload != self.count * self.segment:
            return False
        if other.segment > self.segment or (other.segment < self.segment and other.count > 1):
            return False
        if self.count + other.count > MAX_TRAIN_COUNT:
            return False
        if self.layout.payload + self.payload + other.payload > MAX_SUPERPACKET:
            return False
        if self.must_count and other.identification != (self.identification + self.count) & 0xFFFF:
            return False
        return self.layout.protocol != TCP or other.sequence == (self.sequence + self.payload) & 0xFFFFFFFF

    def _flow(self) -> int:
        """Everything in the headers that all packets of a run have in common."""
        if not self._key:
            self._key = int.from_bytes(self.packet[: self.layout.payload], "big") & _alike(self.layout)
        return self._key

    def _verify(self) -> bool:
        """Whether all checksums are right."""
        if not self.is_intact:
            packet, layout = self.packet, self.layout
            if layout.version == 4 and ones_complement_sum(packet[:IPV4_SIZE]):
                return False
            total = len(packet) - layout.transport
            if self.is_partial:
                place = layout.checksum_field
                total += _pseudo_header(packet, layout) - (packet[place] << 8 | packet[place + 1])
            else:
                total += layout.protocol + _long_sum(packet[ADDRESSES[layout.version] :])
            self.is_intact = total % MODULUS == 0
        return self.is_intact


def begin_run(packet: memoryview, layout: Layout, is_partial: bool = False) -> Run | None:
    """The run that a packet, without padding, is by itself; None if it can have no part in a superpacket."""
    if len(packet) == layout.payload:
        return None  # nothing to append: an acknowledgement counts by being there
    if layout.transport != (IPV4_SIZE if layout.version == 4 else IPV6_SIZE):
        return None  # options may differ in meaning by packet, and a routing header changes the pseudo-header
    if layout.protocol == TCP:
        flags = packet[layout.transport + 13]
        if flags & ~_JOINABLE or not flags & ACK:
            return None  # SYN, RST and URG are about one packet
    elif not (packet[layout.transport + 6] or packet[layout.transport + 7]):
        return None  # without a checksum, and a superpacket has one
    return Run(packet, layout, is_partial)


def _pseudo_header(packet: memoryview, layout: Layout) -> int:
    """The sum of the pseudo-header, but for the length, of a packet without options or extension headers."""
    return ones_complement_sum(packet[ADDRESSES[layout.version] : layout.transport]) + layout.protocol


def _long_sum(data: memoryview) -> int:
    """`ones_complement_sum`, of long data in fewer steps."""
    words = len(data) // 4
    if words < _LONG:
        return ones_complement_sum(data)
    total = int(np.add.reduce(np.frombuffer(data, ">u4", words), None, np.uint64))
    return total + ones_complement_sum(data[words * 4 :])


@lru_cache(256)
def _alike(layout: Layout) -> int:
    """A mask over the headers, as one big-endian number, of what all packets of a run have in common."""
    mask = bytearray(b"\xff" * layout.payload)
    if layout.version == 4:
        mask[2:6] = bytes(4)  # length, identification
        mask[10:12] = bytes(2)  # checksum
    else:
        mask[4:6] = bytes(2)  # length
    transport = layout.transport
    if layout.protocol == TCP:
        mask[transport + 4 : transport + 8] = bytes(4)  # sequence
        mask[transport + 13] = 0xFF & ~(CLOSING | CWR)
        mask[transport + 16 : transport + 18] = bytes(2)  # checksum
    else:
        mask[transport + 4 : transport + 8] = bytes(4)  # length, checksum
    return int.from_bytes(mask, "big")

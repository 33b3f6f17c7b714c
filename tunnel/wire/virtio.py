"""The header before every frame of a TUN with IFF_VNET_HDR: struct virtio_net_hdr (VIRTIO 1.2, section 5.1.6).

It says what the kernel left for the network card to do, which is us: to complete a checksum, and to cut a superpacket
into segments. Ten bytes, little endian; offsets count from the first byte of the IP packet.

    flags 1 | gso type 1 | header length 2 | gso size 2 | checksum start 2 | checksum offset 2 | IP packet

NEEDS_CSUM: the two bytes at start + offset hold the sum of the pseudo-header, not complemented; the checksum is that of
everything from start on, those two bytes included. A superpacket always has it. `header_length` is a hint that is wrong
for forwarded packets: nothing here or above believes it.
"""

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

from tunnel.wire.checksum import checksum_place
from tunnel.wire.messages import Buffer

_HEADER = struct.Struct("<BBHHHH")

VIRTIO_HEADER_SIZE = _HEADER.size

PLAIN = bytes(VIRTIO_HEADER_SIZE)
"""The header of a packet that is complete as it is."""


class VirtioFlag(IntFlag):
    """The first byte."""

    NEEDS_CSUM = 1
    DATA_VALID = 2


class GsoType(IntEnum):
    """The second byte, without `GSO_ECN`. Other values (3: UDP fragmentation) are not for us."""

    NONE = 0
    TCPV4 = 1
    TCPV6 = 4
    UDP_L4 = 5


GSO_ECN = 0x80
"""Added to the type of a TCP superpacket with CWR set: only its first segment has it."""


class VirtioHeader(NamedTuple):
    """The fields in the order of the wire; all in bytes but the first two, which are plain numbers for speed."""

    flags: int
    gso_type: int
    header_length: int
    gso_size: int
    checksum_start: int
    checksum_offset: int


def parse_virtio_header(frame: Buffer) -> VirtioHeader | None:
    """The first ten bytes of a frame; None if there are fewer."""
    return VirtioHeader(*_HEADER.unpack_from(frame)) if len(frame) >= VIRTIO_HEADER_SIZE else None


def pack_virtio_header(header: VirtioHeader) -> bytes:
    return _HEADER.pack(*header)


def is_superpacket(frame: Buffer) -> bool:
    """Whether the frame, of at least ten bytes, is to be cut into segments."""
    return frame[1] != GsoType.NONE


def needs_checksum(frame: Buffer) -> bool:
    """Whether a checksum in the frame, of at least ten bytes, is left to be completed."""
    return bool(frame[0] & 1)


def has_checksum_in_place(frame: memoryview) -> bool:
    """Whether the checksum that is left to be completed is the one that `checksum.checksum_place` finds."""
    *_, start, offset = _HEADER.unpack_from(frame)
    return checksum_place(frame[VIRTIO_HEADER_SIZE:]) == (start, offset)

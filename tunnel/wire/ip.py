"""What we need to know of an inner packet, RFC 791 (IPv4) and RFC 8200 (IPv6), first header only; and fragments.

`total_length` decides whether a packet is whole; `source` and `destination` are for packets that it accepted, and are
empty for what is too short to have one. Scalar code, because it runs once per packet.

    IPv4    version 4 bits, IHL 4 bits | ... | total length at 2 | ... | source at 12 | destination at 16 | options
    IPv6    version 4 bits             | ... | payload length at 4     | source at 8  | destination at 24
"""

import struct

from tunnel.wire.checksum import checksum_of, ones_complement_sum
from tunnel.wire.messages import Buffer

IPV4_HEADER_SIZE = 20
IPV6_HEADER_SIZE = 40

_DONT_FRAGMENT, _MORE_FRAGMENTS = 0x4000, 0x2000
_OFFSET_MASK = 0x1FFF
_IPV6_FRAGMENT = 44
_END_OF_OPTIONS, _NO_OPERATION = 0, 1
_COPIED = 0x80
_U16 = struct.Struct(">H")


def version(packet: Buffer) -> int:
    """The high nibble of the first byte: 4, 6, or whatever it is; 0 for an empty packet."""
    return packet[0] >> 4 if packet else 0


def total_length(packet: Buffer) -> int | None:
    """How many bytes of `packet`, which may be padded, the IP packet has, header included.

    None if it is not whole: neither version, a buffer shorter than the header, an IHL below 5, a total length that ends
    within the header or beyond the buffer.
    """
    available = len(packet)
    if available < IPV4_HEADER_SIZE:
        return None
    first = packet[0]
    if first >> 4 == 4:
        length = packet[2] << 8 | packet[3]
        header = (first & 15) * 4
        return length if IPV4_HEADER_SIZE <= header <= length <= available else None
    if first >> 4 == 6 and available >= IPV6_HEADER_SIZE:
        length = IPV6_HEADER_SIZE + (packet[4] << 8 | packet[5])
        return length if length <= available else None
    return None


def source(packet: Buffer) -> bytes:
    """The source address: 4 or 16 bytes; empty if the packet is neither IPv4 nor IPv6 or too short for its header."""
    size = len(packet)
    if size >= IPV6_HEADER_SIZE and packet[0] >> 4 == 6:
        return bytes(packet[8:24])
    return bytes(packet[12:16]) if size >= IPV4_HEADER_SIZE and packet[0] >> 4 == 4 else b""


def destination(packet: Buffer) -> bytes:
    """The destination address: 4 or 16 bytes; empty if the packet is neither IPv4 nor IPv6 or too short."""
    size = len(packet)
    if size >= IPV6_HEADER_SIZE and packet[0] >> 4 == 6:
        return bytes(packet[24:40])
    return bytes(packet[16:20]) if size >= IPV4_HEADER_SIZE and packet[0] >> 4 == 4 else b""


def is_multicast(address: bytes) -> bool:
    """Whether an address of 4 or 16 bytes is in 224.0.0.0/4 (RFC 1112) or ff00::/8 (RFC 4291)."""
    return address[0] >> 4 == 0xE if len(address) == 4 else address[0] == 0xFF


# ── fragments ────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_fragment(packet: Buffer) -> bool:
    """Whether a whole packet is a part of another one (IPv6: by its first header)."""
    if packet[0] >> 4 == 4:
        return bool(_U16.unpack_from(packet, 6)[0] & (_MORE_FRAGMENTS | _OFFSET_MASK))
    return packet[6] == _IPV6_FRAGMENT


def is_later_fragment(packet: Buffer) -> bool:
    """Whether a whole packet is a fragment that begins in the middle."""
    if packet[0] >> 4 == 4:
        return bool(_U16.unpack_from(packet, 6)[0] & _OFFSET_MASK)
    if packet[6] != _IPV6_FRAGMENT or len(packet) < IPV6_HEADER_SIZE + 8:
        return False
    return bool(_U16.unpack_from(packet, IPV6_HEADER_SIZE + 2)[0] & ~7)


def may_be_fragmented(packet: Buffer) -> bool:
    """Whether a whole packet is IPv4 without "don't fragment"."""
    return packet[0] >> 4 == 4 and not packet[6] & _DONT_FRAGMENT >> 8


def fragment(packet: Buffer, limit: int) -> list[bytes]:
    """A whole IPv4 packet as fragments of at most `limit` bytes, 68 or more (RFC 791, section 3.2).

    Of the options the later ones have those that say that they are to be copied.
    """
    start, length = (packet[0] & 15) * 4, _U16.unpack_from(packet, 2)[0]
    (place,) = _U16.unpack_from(packet, 6)
    first = bytes(packet[:start])
    later = first[:IPV4_HEADER_SIZE] + _copied_options(first[IPV4_HEADER_SIZE:])
    fragments = []
    at, header = start, first
    while at < length:
        room = limit - len(header)
        end = length if length - at <= room else at + room // 8 * 8
        more = place & _MORE_FRAGMENTS if end == length else _MORE_FRAGMENTS
        offset = (place & _OFFSET_MASK) + (at - start) // 8
        fragments.append(_with_header(header, more | offset & _OFFSET_MASK, bytes(packet[at:end])))
        at, header = end, later
    return fragments


def _with_header(header: bytes, place: int, payload: bytes) -> bytes:
    """The fragment that has `payload`; `place` is its flags and offset."""
    head = bytearray(header)
    head[0] = 0x40 | len(head) // 4
    _U16.pack_into(head, 2, len(head) + len(payload))
    _U16.pack_into(head, 6, place)
    _U16.pack_into(head, 10, 0)
    _U16.pack_into(head, 10, checksum_of(ones_complement_sum(head)))
    return bytes(head) + payload


def _copied_options(options: bytes) -> bytes:
    """Those that every fragment must have, filled up to whole words; what is broken ends the list."""
    copied = bytearray()
    at = 0
    while at < len(options) and options[at] != _END_OF_OPTIONS:
        if options[at] == _NO_OPERATION:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        if size < 2 or at + size > len(options):
            break
        if options[at] & _COPIED:
            copied += options[at : at + size]
        at += size
    return bytes(copied) + bytes(-len(copied) % 4)

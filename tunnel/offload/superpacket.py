"""Superpackets as the kernel hands them over and takes them: a virtio header, then an IP packet as long as it gets.

    frame    | virtio header 10 | IP and TCP or UDP header | payload, cut every `gso_size` bytes |
                                                  └ checksum field: sum of the pseudo-header only

What comes from the kernel is believed only if the virtio header speaks of the packet that follows; what goes to it is
made from headers that were parsed here, so that no virtio header points outside its packet.
"""

import struct
from functools import lru_cache

from tunnel.offload.flow import CWR, IPV6_SIZE, RST, SYN, TCP, TCP_SIZE, UDP, URG, Layout, Refusal, parse_layout
from tunnel.wire.checksum import MODULUS, ones_complement_sum
from tunnel.wire.messages import Buffer
from tunnel.wire.virtio import (
    GSO_ECN,
    VIRTIO_HEADER_SIZE,
    GsoType,
    VirtioFlag,
    VirtioHeader,
    pack_virtio_header,
    parse_virtio_header,
)

MAX_SUPERPACKET = 65535
"""Bytes, headers included: what an IPv4 length field holds."""

ONE_PACKET_FLAGS = SYN | RST | URG
"""They are about one packet, and kernels make no superpacket of such."""

Frame = list[Buffer]
"""What to write with one writev: a virtio header, alone or with headers, and the rest of the packet in pieces."""

_GSO_TYPES = {
    (4, TCP): GsoType.TCPV4.value,
    (6, TCP): GsoType.TCPV6.value,
    (4, UDP): GsoType.UDP_L4.value,
    (6, UDP): GsoType.UDP_L4.value,
}
"""By version and protocol; those of TCP also with `GSO_ECN`."""

_END_OF_OPTIONS, _NO_OPERATION, _MD5_SIGNATURE, _AUTHENTICATION = 0, 1, 19, 29
_NEEDS_CSUM = VirtioFlag.NEEDS_CSUM.value
_U16 = struct.Struct(">H")
_LENGTH_AND_UDP_CHECKSUM = struct.Struct(">HH")


def parse_superpacket(frame: memoryview) -> tuple[Layout, int] | Refusal:
    """The layout of the packet in a frame, and the size of its segments."""
    header = parse_virtio_header(frame)
    if header is None:
        return Refusal.TOO_SHORT
    layout = parse_layout(frame[VIRTIO_HEADER_SIZE:])
    if isinstance(layout, Refusal):
        return layout
    gso_type = header.gso_type & ~GSO_ECN if layout.protocol == TCP else header.gso_type
    if gso_type != _GSO_TYPES[layout.version, layout.protocol]:
        return Refusal.WRONG_GSO_TYPE
    if not header.flags & _NEEDS_CSUM:
        return Refusal.NO_PARTIAL_CHECKSUM
    checksum_offset = layout.checksum_field - layout.transport
    if (header.checksum_start, header.checksum_offset) != (layout.transport, checksum_offset):
        return Refusal.WRONG_CHECKSUM_PLACE
    return (layout, header.gso_size) if header.gso_size else Refusal.NO_SEGMENT_SIZE


def fit(layout: Layout, segment: int, payload: int, longest: int) -> int | Refusal:
    """The size of segments, `segment` or less, with which no packet is longer than `longest`.

    TCP may be cut anywhere (RFC 9293, section 3.8): to the application it is a stream. A UDP datagram is one.
    """
    if layout.payload + min(segment, payload) <= longest:
        return segment
    return longest - layout.payload if layout.protocol == TCP and longest > layout.payload else Refusal.TOO_BIG_FOR_PATH


def make_superpacket(frame: memoryview, longest: int, *, is_partial: bool) -> bool:
    """Make of a single TCP packet, in place, a superpacket whose packets are at most `longest` bytes long.

    What is in the place of the virtio header does not matter. `is_partial`: the checksum field has the sum of the
    pseudo-header. False, and nothing changed, if it cannot be cut.
    """
    packet = frame[VIRTIO_HEADER_SIZE:]
    layout = parse_layout(packet)
    if isinstance(layout, Refusal) or layout.protocol != TCP or not layout.payload < min(len(packet), longest):
        return False
    flags = packet[layout.transport + 13]
    if flags & ONE_PACKET_FLAGS or _is_signed(packet[layout.transport + TCP_SIZE : layout.payload]):
        return False
    if not is_partial:
        # Everything adds up to zero if the checksum is right. If it is wrong, those that are made of it will be, too.
        partial = -ones_complement_sum(packet[layout.transport :]) % MODULUS
        _U16.pack_into(packet, layout.checksum_field, partial or MODULUS)
    frame[:VIRTIO_HEADER_SIZE] = superpacket_header(layout, longest - layout.payload, flags & CWR != 0)
    return True


def _is_signed(options: memoryview) -> bool:
    """Whether TCP options say that the packet is signed as a whole (RFC 2385, RFC 5925), or make no sense."""
    at = 0
    while at < len(options) and options[at] != _END_OF_OPTIONS:
        if options[at] == _NO_OPERATION:
            at += 1
            continue
        if options[at] in (_MD5_SIGNATURE, _AUTHENTICATION) or at + 1 == len(options) or options[at + 1] < 2:
            return True
        at += options[at + 1]
    return False


@lru_cache(1024)
def superpacket_header(layout: Layout, segment: int, has_cwr: bool) -> bytes:
    """The virtio header of a superpacket that is cut every `segment` bytes of payload."""
    gso_type = _GSO_TYPES[layout.version, layout.protocol] | (GSO_ECN if has_cwr else 0)
    return _virtio_header(layout, gso_type, layout.payload, segment)


@lru_cache(256)
def partial_header(layout: Layout) -> bytes:
    """The virtio header of a single packet whose checksum is not computed yet."""
    return _virtio_header(layout, GsoType.NONE.value, 0, 0)


def _virtio_header(layout: Layout, gso_type: int, header_length: int, gso_size: int) -> bytes:
    checksum_offset = layout.checksum_field - layout.transport
    fields = VirtioHeader(_NEEDS_CSUM, gso_type, header_length, gso_size, layout.transport, checksum_offset)
    return pack_virtio_header(fields)


def write_lengths(head: bytearray, layout: Layout, payload: int, pseudo_header: int) -> None:
    """Let the headers in `head`, which follow a virtio header, be of a packet with `payload` bytes of payload.

    That is the lengths, the IPv4 header checksum, and the partial checksum, for which `pseudo_header` is the sum of the
    pseudo-header with a length of zero.
    """
    length = layout.payload + payload
    transport = VIRTIO_HEADER_SIZE + layout.transport
    if layout.version == 4:
        _U16.pack_into(head, VIRTIO_HEADER_SIZE + 2, length)
        _U16.pack_into(head, VIRTIO_HEADER_SIZE + 10, 0)
        checksum = -ones_complement_sum(head[VIRTIO_HEADER_SIZE:transport]) % MODULUS
        _U16.pack_into(head, VIRTIO_HEADER_SIZE + 10, checksum)
    else:
        _U16.pack_into(head, VIRTIO_HEADER_SIZE + 4, length - IPV6_SIZE)
    length -= layout.transport
    partial = (pseudo_header + length - 1) % MODULUS + 1  # never 0, as it is the sum of something
    if layout.protocol == TCP:
        _U16.pack_into(head, VIRTIO_HEADER_SIZE + layout.checksum_field, partial)
    else:
        _LENGTH_AND_UDP_CHECKSUM.pack_into(head, transport + 4, length, partial)

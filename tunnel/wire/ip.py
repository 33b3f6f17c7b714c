"""What we need to know of an inner packet: RFC 791 (IPv4) and RFC 8200 (IPv6), first header only.

`total_length` decides whether a packet is whole; `source` and `destination` are for packets that it accepted, and are
empty for what is too short to have one. Scalar code, because it runs once per packet.

    IPv4    version 4 bits, IHL 4 bits | ... | total length at 2 | ... | source at 12 | destination at 16 | options
    IPv6    version 4 bits             | ... | payload length at 4     | source at 8  | destination at 24
"""

from tunnel.wire.messages import Buffer

IPV4_HEADER_SIZE = 20
IPV6_HEADER_SIZE = 40


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

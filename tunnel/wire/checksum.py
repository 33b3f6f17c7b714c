"""The Internet checksum (RFC 1071) of one packet, and the pseudo-headers that TCP and UDP put before it.

Sums are kept modulo 65535, which is what adding 16-bit words with end-around carry comes to; so a whole packet is one
big number and one remainder. As the order of bytes within words does not matter to such a sum but for a final swap,
the vector code in `tunnel.offload` adds native words of any size instead.

The checksum made here is never 0 but 65535, which is the same number in ones' complement, and which UDP, where 0 means
"none", requires.
"""

from tunnel.wire.messages import Buffer

MODULUS = 0xFFFF

_IPV4_SIZE, _IPV6_SIZE = 20, 40
_TCP, _UDP = 6, 17
_CHECKSUM_OFFSETS = {_TCP: 16, _UDP: 6}


def ones_complement_sum(data: Buffer) -> int:
    """The sum of the big-endian 16-bit words, modulo 65535; an odd last byte is the high half of a word."""
    total = int.from_bytes(data, "big")
    return (total << 8 if len(data) & 1 else total) % MODULUS


def checksum_of(total: int) -> int:
    """What goes into the checksum field if everything else adds up to `total`: 1 to 65535."""
    return MODULUS - total % MODULUS


def checksum_place(packet: Buffer) -> tuple[int, int] | None:
    """Where the TCP or UDP header begins, and where in it the checksum lies; None if that is not plain to see.

    It is if one of the two follows an IP header without options or extensions.
    """
    if len(packet) < _IPV4_SIZE:
        return None
    if packet[0] == 0x45:
        start, protocol = _IPV4_SIZE, packet[9]
    elif packet[0] >> 4 == 6:
        start, protocol = _IPV6_SIZE, packet[6]
    else:
        return None
    offset = _CHECKSUM_OFFSETS.get(protocol)
    return None if offset is None or start + offset + 2 > len(packet) else (start, offset)


def complete_checksum(packet: bytearray | memoryview) -> None:
    """Put the checksum where the sum of the pseudo-header stands; the packet has a `checksum_place`."""
    place = checksum_place(packet)
    assert place is not None
    start, offset = place
    checksum = checksum_of(ones_complement_sum(packet[start:]))
    packet[start + offset : start + offset + 2] = checksum.to_bytes(2, "big")

"""The Internet checksum (RFC 1071) of one packet, and the pseudo-headers that TCP and UDP put before it.

Sums are kept modulo 65535, which is what adding 16-bit words with end-around carry comes to; so a whole packet is one
big number and one remainder. As the order of bytes within words does not matter to such a sum but for a final swap,
the vector code in `tunnel.offload` adds native words of any size instead.

The checksum made here is never 0 but 65535, which is the same number in ones' complement, and which UDP, where 0 means
"none", requires.
"""

from tunnel.wire.messages import Buffer

MODULUS = 0xFFFF


def ones_complement_sum(data: Buffer) -> int:
    """The sum of the big-endian 16-bit words, modulo 65535; an odd last byte is the high half of a word."""
    total = int.from_bytes(data, "big")
    return (total << 8 if len(data) & 1 else total) % MODULUS


def checksum_of(total: int) -> int:
    """What goes into the checksum field if everything else adds up to `total`: 1 to 65535."""
    return MODULUS - total % MODULUS

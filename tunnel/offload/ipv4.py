"""Identification and header checksum of IPv4 packets that follow each other: RFC 791, RFC 1071.

Where nothing but the identification differs from packet to packet, and that by one, the sums of the headers go up by
one as well; so both columns are slices of tables.
"""

import numpy as np
import numpy.typing as npt

from tunnel.wire.checksum import MODULUS

Column = npt.NDArray[np.uint16]
"""Big endian, as it lies in packets: shape (packets,)."""

_COUNT = np.arange(1 << 17, dtype=np.uint32)
_IDENTIFICATIONS: Column = _COUNT.astype(">u2")
_CHECKSUMS: Column = (MODULUS - 1 - (_COUNT + (MODULUS - 1)) % MODULUS).astype(">u2")
del _COUNT
_IDENTIFICATIONS.flags.writeable = _CHECKSUMS.flags.writeable = False


def identifications(first: int, count: int) -> Column:
    """`first` and those after it, from 65535 on to 0; at most 65536 of them."""
    return _IDENTIFICATIONS[first : first + count]


def checksums(total: int, first: int, count: int) -> Column:
    """The checksum for each of these identifications, if the rest of the header adds up to `total` modulo 65535."""
    until_wrap = 0x10000 - first
    if count <= until_wrap:
        return _CHECKSUMS[total + first : total + first + count]
    before, after = _CHECKSUMS[total + first : total + 0x10000], _CHECKSUMS[total : total + count - until_wrap]
    return np.concatenate((before, after), dtype=">u2")

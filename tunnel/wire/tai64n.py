"""TAI64N stamps (WireGuard paper, section 5.1): 12 bytes that order handshake initiations.

    label 8, big endian: 2^62 + 10 + Unix seconds | nanoseconds 4, big endian

Big endian makes later stamps greater as bytes, so they are compared as bytes. The low 24 bits of the nanoseconds are
fixed, so that a stamp tells nobody our clock to better than 17 ms; two initiations can fall into one such step, hence
`next_stamp`. They are zero, as with everybody, or a tag that says that we speak the extensions of `docs/protocol.md`:
the stamp is sealed in the initiation, and to who does not know the tag it is a stamp like any other.
"""

import struct

STAMP_SIZE = 12
NO_STAMP = bytes(STAMP_SIZE)
"""Earlier than any."""

EXTENSION_TAG = b"tun"
"""In the low 24 bits; small enough that no stamp has 10^9 nanoseconds or more."""

_STAMP = struct.Struct(">QI")
_BASE = 2**62 + 10
_NS_PER_SECOND = 10**9
_STEP = 1 << 24


def pack_stamp(unix_ns: int) -> bytes:
    """The stamp of a moment, in nanoseconds since 1970 (less than 146 billion years from it)."""
    seconds, nanoseconds = divmod(unix_ns, _NS_PER_SECOND)
    return _STAMP.pack(_BASE + seconds, nanoseconds & -_STEP)


def next_stamp(previous: bytes, unix_ns: int) -> bytes:
    """The stamp of a moment if it is greater than `previous`, else the least greater one with the low bits zero."""
    stamp = pack_stamp(unix_ns)
    if stamp > previous:
        return stamp
    label, nanoseconds = _STAMP.unpack(previous)
    nanoseconds = (nanoseconds & -_STEP) + _STEP
    if nanoseconds >= _NS_PER_SECOND:
        return _STAMP.pack(label + 1, 0)
    return _STAMP.pack(label, nanoseconds)


def tag_stamp(stamp: bytes) -> bytes:
    """The same stamp with the tag: still later than every one before it."""
    return stamp[: -len(EXTENSION_TAG)] + EXTENSION_TAG


def is_tagged(stamp: bytes) -> bool:
    return stamp.endswith(EXTENSION_TAG)

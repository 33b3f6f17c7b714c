"""The maximum segment size in a SYN: how large the packets may be that its receiver sends (RFC 9293, section 3.7.1).

    TCP   ports 4 | sequence 4 | acknowledgement 4 | data offset, flags 2 | window 2 | checksum 2 | urgent 2 | options
    MSS option   kind 1 = 2 | length 1 = 4 | segment size 2

Packets pass by in great numbers, and hardly one is a SYN: `has_syn` says of a whole train, with a few C calls, that
there is none. It knows SYNs without data behind an IP header without options or extensions. Others (TCP Fast Open)
keep their MSS, and their segments are cut where they do not fit, as those of any connection are.
"""

import struct

import numpy as np

from tunnel.wire.checksum import MODULUS, ones_complement_sum
from tunnel.wire.ip import IPV4_HEADER_SIZE, IPV6_HEADER_SIZE

MIN_SYN, MAX_SYN = 44, 100
"""Bytes of a packet that is a SYN with an MSS and no data: IPv4 to IPv6 with all options."""

TCP = 6
SYN = 2
_TCP_HEADER_SIZE = 20
_DATA_OFFSET, _FLAGS, _CHECKSUM = 12, 13, 16
_END_OF_OPTIONS, _NO_OPERATION, _MSS = 0, 1, 2
_MSS_SIZE = 4
_NO_SYN = bytes(flags for flags in range(256) if not flags & SYN)
_U16 = struct.Struct(">H")

PROTOCOL_PLACES = 9, 6
_PROTOCOLS = min(PROTOCOL_PLACES)
FLAGS_PLACES = IPV4_HEADER_SIZE + _FLAGS, IPV6_HEADER_SIZE + _FLAGS
"""Where in a packet, IPv4 and IPv6, the two bytes are that tell a SYN."""


def is_syn(packet: memoryview) -> bool:
    """Whether a packet of `MIN_SYN` bytes or more begins a connection, from either side."""
    first = packet[0]
    if first == 0x45:
        is_whole_tcp = packet[9] == TCP and not (packet[6] & 0x1F or packet[7])  # no later fragment
        return is_whole_tcp and packet[IPV4_HEADER_SIZE + _FLAGS] & SYN != 0
    if first >> 4 == 6 and packet[6] == TCP:
        return len(packet) >= IPV6_HEADER_SIZE + _TCP_HEADER_SIZE and packet[IPV6_HEADER_SIZE + _FLAGS] & SYN != 0
    return False


def has_syn(buffer: memoryview, start: int, stride: int, count: int) -> bool:
    """Whether one may be a SYN of the `count` packets in `buffer`, from `start` on and every `stride` bytes.

    All have 10 bytes at least, and what is shorter than `MIN_SYN` may be mistaken for one.
    """
    # one column for both: four bytes, the first where IPv6 says it, the last where IPv4 does
    column = np.ndarray((count,), "<u4", buffer, start + _PROTOCOLS, (stride,)).tobytes()
    if TCP not in column:
        return False
    for protocol, flags in zip(PROTOCOL_PLACES, FLAGS_PLACES, strict=True):
        is_tcp = TCP in column[protocol - _PROTOCOLS :: 4]
        if is_tcp and buffer[start + flags :: stride].tobytes().translate(None, _NO_SYN):
            return True
    return False


def clamp_mss(packet: memoryview, longest: int, *, is_partial: bool) -> bool:
    """Let the other end answer a SYN with packets of at most `longest` bytes; return whether that changes it.

    `packet` is as `is_syn` found it. `is_partial`: the checksum is still the sum of the pseudo-header.
    """
    header = IPV4_HEADER_SIZE if packet[0] >> 4 == 4 else IPV6_HEADER_SIZE
    segment = packet[header:]
    place = _find_mss(segment)
    most = longest - header - _TCP_HEADER_SIZE
    if place is None or _U16.unpack_from(segment, place)[0] <= most:
        return False
    start, end = place & ~1, place + 3 & ~1
    before = ones_complement_sum(segment[start:end])
    _U16.pack_into(segment, place, max(most, 1))
    if not is_partial:  # RFC 1624, equation 3
        checksum = ~_U16.unpack_from(segment, _CHECKSUM)[0] & 0xFFFF
        change = ones_complement_sum(segment[start:end]) - before
        _U16.pack_into(segment, _CHECKSUM, MODULUS - (checksum + change) % MODULUS)
    return True


def _find_mss(segment: memoryview) -> int | None:
    """Where in the TCP header the value of the option is."""
    end = (segment[_DATA_OFFSET] >> 4) * 4
    if end > len(segment):
        return None
    at = _TCP_HEADER_SIZE
    while at < end - 1 and segment[at] != _END_OF_OPTIONS:
        if segment[at] == _NO_OPERATION:
            at += 1
            continue
        size = segment[at + 1]
        if segment[at] == _MSS:
            return at + 2 if size == _MSS_SIZE and at + _MSS_SIZE <= end else None
        if size < 2:
            return None
        at += size
    return None

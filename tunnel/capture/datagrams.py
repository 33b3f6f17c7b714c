"""One UDP datagram per packet, also where many were captured in one piece (segmentation offload).

IP header | UDP header | datagram | datagram | …   ──▶   IP header | UDP header | datagram,  …
"""

import struct

from tunnel.wire.checksum import checksum_of, ones_complement_sum

_IPV4_SIZE, _IPV6_SIZE, _UDP_SIZE = 20, 40, 8


def split_datagrams(packet: bytes, segment_size: int) -> list[bytes]:
    """A packet of IPv4 without options, or IPv6, with UDP in it, as the network card would have cut it.

    `segment_size` is that of a datagram's payload; 0: there is nothing to cut. Lengths and the IPv4 checksum are made
    anew; the UDP checksum stays what it was, which is what the card would complete.
    """
    size = _IPV4_SIZE if packet[0] >> 4 == 4 else _IPV6_SIZE
    begin = size + _UDP_SIZE
    if not segment_size or len(packet) - begin <= segment_size:
        return [packet]
    return [
        _with_headers(packet[:begin], packet[at : at + segment_size], number)
        for number, at in enumerate(range(begin, len(packet), segment_size))
    ]


def _with_headers(headers: bytes, payload: bytes, number: int) -> bytes:
    made = bytearray(headers + payload)
    udp = len(headers) - _UDP_SIZE
    struct.pack_into("!H", made, udp + 4, _UDP_SIZE + len(payload))
    if udp == _IPV6_SIZE:
        struct.pack_into("!H", made, 4, len(made) - _IPV6_SIZE)
        return bytes(made)
    identification = (int.from_bytes(headers[4:6]) + number) & 0xFFFF
    struct.pack_into("!HH", made, 2, len(made), identification)
    struct.pack_into("!H", made, 10, 0)
    struct.pack_into("!H", made, 10, checksum_of(ones_complement_sum(made[:_IPV4_SIZE])))
    return bytes(made)

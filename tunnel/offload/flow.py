"""Where the parts of a TCP or UDP packet lie: RFC 791, RFC 8200, RFC 9293, RFC 768.

    | IPv4 header 20 to 60, or IPv6 header 40 and extension headers | TCP 20 to 60, or UDP 8 | payload
    0                                                               transport                payload

Superpackets are cut, and packets joined, by what is read here and never by what a virtio header claims. Whatever is not
clearly one whole TCP or UDP packet gets a `Refusal` that says why.
"""

from enum import Enum
from typing import NamedTuple

TCP = 6
UDP = 17

IPV4_SIZE = 20
IPV6_SIZE = 40
TCP_SIZE = 20
UDP_SIZE = 8

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = (1 << bit for bit in range(8))

TCP_CHECKSUM = 16
"""Where the checksum lies in a TCP header."""
UDP_CHECKSUM = 6
"""Where the checksum lies in a UDP header."""

_SKIPPED_EXTENSIONS = (0, 43, 60)
"""Hop-by-hop options, routing, destination options: length in units of 8 bytes, the first not counted."""
_MAX_EXTENSIONS = 8


class Refusal(Enum):
    """Why a superpacket is not cut; the text is for people."""

    TOO_SHORT = "ends before its headers do"
    MALFORMED = "IP or TCP header that makes no sense"
    WRONG_LENGTH = "IP or UDP length that is not the length of the packet"
    FRAGMENT = "fragment of a packet"
    NOT_TCP_OR_UDP = "neither TCP nor UDP"
    WRONG_GSO_TYPE = "virtio header for another kind of packet"
    NO_PARTIAL_CHECKSUM = "virtio header without a checksum to complete"
    WRONG_CHECKSUM_PLACE = "virtio header that has the checksum elsewhere than the packet"
    NO_SEGMENT_SIZE = "virtio header with a segment size of zero"
    SEGMENT_TOO_BIG = "segments too big for one datagram"
    TOO_BIG_FOR_PATH = "packets too big for the path that are not TCP, and so cannot be cut smaller"
    NO_ROOM = "more segments than there is room for"
    TOO_LONG = "longer than an IPv4 packet can be"
    NO_PAYLOAD = "superpacket without payload"
    ONE_PACKET_FLAGS = "SYN, RST or URG, which no superpacket has"


class Layout(NamedTuple):
    """Offsets from the first byte of the IP packet."""

    version: int
    protocol: int
    transport: int
    payload: int

    @property
    def length_field(self) -> int:
        """Where the IP header has the length: of everything in IPv4, of what follows the first 40 bytes in IPv6."""
        return 2 if self.version == 4 else 4

    @property
    def checksum_field(self) -> int:
        """Where the TCP or UDP header has the checksum."""
        return self.transport + (TCP_CHECKSUM if self.protocol == TCP else UDP_CHECKSUM)


def parse_layout(packet: memoryview) -> Layout | Refusal:
    """The layout of a packet that is exactly `packet`, without padding. IPv4 options are allowed."""
    layout = parse_headers(packet)
    if isinstance(layout, Refusal):
        return layout
    version, protocol, transport, _ = layout
    size = len(packet)
    length = packet[2] << 8 | packet[3] if version == 4 else IPV6_SIZE + (packet[4] << 8 | packet[5])
    if length != size:
        return Refusal.WRONG_LENGTH
    if protocol == UDP and packet[transport + 4] << 8 | packet[transport + 5] != size - transport:
        return Refusal.WRONG_LENGTH
    return layout


def parse_headers(packet: memoryview) -> Layout | Refusal:
    """The same, whatever the IP and UDP headers have for length: the headers lie within `packet`."""
    size = len(packet)
    if size < IPV4_SIZE:
        return Refusal.TOO_SHORT
    first = packet[0]
    if first >> 4 == 4:
        transport = (first & 15) * 4
        if transport < IPV4_SIZE:
            return Refusal.MALFORMED
        if packet[6] & 0x3F or packet[7]:
            return Refusal.FRAGMENT
        return _parse_transport(packet, 4, packet[9], transport)
    if first >> 4 != 6:
        return Refusal.MALFORMED
    if size < IPV6_SIZE:
        return Refusal.TOO_SHORT
    protocol = packet[6]
    if protocol in (TCP, UDP):
        return _parse_transport(packet, 6, protocol, IPV6_SIZE)
    return _parse_extensions(packet, protocol)


def _parse_extensions(packet: memoryview, protocol: int) -> Layout | Refusal:
    transport = IPV6_SIZE
    for _ in range(_MAX_EXTENSIONS):
        if protocol not in _SKIPPED_EXTENSIONS:
            return _parse_transport(packet, 6, protocol, transport)
        if transport + 8 > len(packet):
            return Refusal.TOO_SHORT
        protocol, units = packet[transport], packet[transport + 1]
        transport += (units + 1) * 8
    return Refusal.MALFORMED


def _parse_transport(packet: memoryview, version: int, protocol: int, transport: int) -> Layout | Refusal:
    size = len(packet)
    if protocol == TCP:
        if transport + TCP_SIZE > size:
            return Refusal.TOO_SHORT
        header = (packet[transport + 12] >> 4) * 4
        if header < TCP_SIZE:
            return Refusal.MALFORMED
        if transport + header > size:
            return Refusal.TOO_SHORT
        return Layout(version, TCP, transport, transport + header)
    if protocol != UDP:
        return Refusal.FRAGMENT if version == 6 and protocol == 44 else Refusal.NOT_TCP_OR_UDP
    if transport + UDP_SIZE > size:
        return Refusal.TOO_SHORT
    return Layout(version, UDP, transport, transport + UDP_SIZE)

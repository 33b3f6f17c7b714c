"""The few ICMP messages that path MTU discovery needs: RFC 792, 1191 and 1812 for IPv4, RFC 4443 for IPv6.

    echo      type 1 | code 1 | checksum 2 | identifier 2 | number 2                request 8 or 128, reply 0 or 129
    too big   type 1 | code 1 | checksum 2 | zero 2 | MTU 2 | packet ...            IPv4: 3, 4, "fragmentation needed"
    too big   type 1 | code 1 | checksum 2 | MTU 4          | packet ...            IPv6: 2, 0, "packet too big"

Whole IP packets go in and come out. Addresses have 4 or 16 bytes, and say which of the two it is.
"""

import struct
from typing import NamedTuple

from tunnel.wire import ip
from tunnel.wire.checksum import checksum_of, ones_complement_sum
from tunnel.wire.messages import Buffer

IPV6_MIN_MTU = 1280
"""What every link carries of IPv6 (RFC 8200, section 5)."""

ICMP_HEADER_SIZE = 8
MAX_ECHO_SIZE = ip.IPV6_HEADER_SIZE + ICMP_HEADER_SIZE
"""Bytes of an echo request or reply without data, at the most."""

_ICMPV4, _ICMPV6 = 1, 58
_ECHO_REQUESTS = {4: 8, 6: 128}
_ECHO_REPLIES = {4: 0, 6: 129}
_TOO_BIG = {4: (3, 4), 6: (2, 0)}
_IPV4_ERRORS = frozenset({3, 4, 5, 11, 12})
_MAX_ICMPV4 = 576
"""Bytes of an ICMP error over IPv4 (RFC 1812, section 4.3.2.3)."""

_TTL = 64
_INTERNETWORK_CONTROL = 0xC0
"""The precedence of ICMP errors (RFC 1812, section 4.3.2.5)."""

_IPV4 = struct.Struct(">BBHHHBBH")
_IPV6 = struct.Struct(">IHBB")
_ECHO = struct.Struct(">BBHHH")
_ERROR = struct.Struct(">BBHI")


class Echo(NamedTuple):
    """An echo request or reply. `identifier` and `number` have 16 bits."""

    source: bytes
    destination: bytes
    identifier: int
    number: int

    @property
    def answer(self) -> "Echo":
        """The reply to this request."""
        return Echo(self.destination, self.source, self.identifier, self.number)


def pack_echo_request(echo: Echo) -> bytes:
    """Without data: 28 bytes over IPv4, 48 over IPv6."""
    return _pack_echo(echo, _ECHO_REQUESTS)


def pack_echo_reply(echo: Echo) -> bytes:
    return _pack_echo(echo, _ECHO_REPLIES)


def parse_echo_request(packet: Buffer) -> Echo | None:
    """None if it is none, is not whole, or its checksum is wrong; what it carries as data is not looked at."""
    return _parse_echo(packet, _ECHO_REQUESTS)


def parse_echo_reply(packet: Buffer) -> Echo | None:
    return _parse_echo(packet, _ECHO_REPLIES)


class TooBig(NamedTuple):
    """An ICMP "too big": who says to whom that `mtu` bytes is what fits, and the beginning of what did not."""

    source: bytes
    destination: bytes
    mtu: int
    quoted: bytes


def pack_too_big(packet: Buffer, mtu: int) -> bytes | None:
    """Tell the sender of `packet`, which is whole, that `mtu` is what fits; it comes from the packet's own destination.

    None if nobody may be told (RFC 1812, section 4.3.2.7; RFC 4443, section 2.4): about an ICMP error, a fragment other
    than the first, and a packet from or to what is not a single host.
    """
    source, destination = ip.source(packet), ip.destination(packet)
    version = ip.version(packet)
    if not _is_host(source) or not _is_host(destination) or _is_error(packet) or ip.is_later_fragment(packet):
        return None
    kind, code = _TOO_BIG[version]
    most = _MAX_ICMPV4 if version == 4 else IPV6_MIN_MTU
    quoted = bytes(packet[: most - _header_size(version) - ICMP_HEADER_SIZE])
    return _pack(destination, source, _ERROR.pack(kind, code, 0, mtu) + quoted, _INTERNETWORK_CONTROL)


def parse_too_big(packet: Buffer) -> TooBig | None:
    """None if it is none, is not whole, or its checksum is wrong."""
    body = _parse(packet)
    if body is None:
        return None
    kind, code, _, mtu = _ERROR.unpack_from(body)
    if (kind, code) != _TOO_BIG[ip.version(packet)]:
        return None
    mtu &= 0xFFFF if ip.version(packet) == 4 else 0xFFFFFFFF
    return TooBig(ip.source(packet), ip.destination(packet), mtu, body[ICMP_HEADER_SIZE:])


def _pack_echo(echo: Echo, kinds: dict[int, int]) -> bytes:
    version = 4 if len(echo.source) == 4 else 6
    return _pack(echo.source, echo.destination, _ECHO.pack(kinds[version], 0, 0, echo.identifier, echo.number))


def _parse_echo(packet: Buffer, kinds: dict[int, int]) -> Echo | None:
    body = _parse(packet)
    if body is None:
        return None
    kind, code, _, identifier, number = _ECHO.unpack_from(body)
    if (kind, code) != (kinds[ip.version(packet)], 0):
        return None
    return Echo(ip.source(packet), ip.destination(packet), identifier, number)


def _pack(source: bytes, destination: bytes, body: bytes, traffic_class: int = 0) -> bytes:
    """An IP packet with the ICMP message `body`, whose checksum is zero so far."""
    if len(source) == 4:
        checksum = checksum_of(ones_complement_sum(body))
        length = ip.IPV4_HEADER_SIZE + len(body)
        header = bytearray(_IPV4.pack(0x45, traffic_class, length, 0, 0, _TTL, _ICMPV4, 0) + source + destination)
        header[10:12] = checksum_of(ones_complement_sum(header)).to_bytes(2, "big")
    else:
        checksum = checksum_of(ones_complement_sum(_pseudo_header(source, destination, len(body)) + body))
        header = bytearray(_IPV6.pack(6 << 28 | traffic_class << 20, len(body), _ICMPV6, _TTL) + source + destination)
    return bytes(header) + body[:2] + checksum.to_bytes(2, "big") + body[4:]


def _parse(packet: Buffer) -> bytes | None:
    """The ICMP message, with eight bytes at least and a right checksum, in a whole packet that is no fragment."""
    length = ip.total_length(packet)
    if length is None or ip.is_fragment(packet):
        return None
    if packet[0] >> 4 == 4:
        start, protocol, before = (packet[0] & 15) * 4, packet[9], b""
        expected = _ICMPV4
    else:
        start, protocol, expected = ip.IPV6_HEADER_SIZE, packet[6], _ICMPV6
        before = _pseudo_header(ip.source(packet), ip.destination(packet), length - start)
    body = bytes(packet[start:length])
    if protocol != expected or len(body) < ICMP_HEADER_SIZE or ones_complement_sum(before + body):
        return None
    return body


def _pseudo_header(source: bytes, destination: bytes, length: int) -> bytes:
    """RFC 8200, section 8.1."""
    return source + destination + length.to_bytes(4, "big") + _ICMPV6.to_bytes(4, "big")


def _header_size(version: int) -> int:
    return ip.IPV4_HEADER_SIZE if version == 4 else ip.IPV6_HEADER_SIZE


def _is_host(address: bytes) -> bool:
    """Whether it can be the address of one host: not unspecified, loopback, multicast, broadcast or reserved."""
    if len(address) == 4:
        return address[0] not in (0, 127) and address[0] < 0xE0
    return address[:15] != bytes(15) and not ip.is_multicast(address)


def _is_error(packet: Buffer) -> bool:
    """Whether it is an ICMP error, of which no other must be made."""
    if packet[0] >> 4 == 4:
        start = (packet[0] & 15) * 4
        return packet[9] == _ICMPV4 and len(packet) > start and packet[start] in _IPV4_ERRORS
    return packet[6] == _ICMPV6 and len(packet) > ip.IPV6_HEADER_SIZE and packet[ip.IPV6_HEADER_SIZE] < 128

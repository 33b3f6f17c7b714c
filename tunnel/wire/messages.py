"""The four WireGuard messages, and one of ours, every field and size on one screen (WireGuard paper, section 5.4).

All integers are little endian. `parse_*` returns None for anything that is not of the message's exact size and type;
`pack_*` returns bytes. Nothing here knows a key.

    1 initiation      type 4 | sender 4 | ephemeral 32 | static 32+16 | timestamp 12+16 | mac1 16 | mac2 16   = 148
    2 response        type 4 | sender 4 | receiver 4 | ephemeral 32 | nothing 0+16 | mac1 16 | mac2 16        =  92
    3 cookie reply    type 4 | receiver 4 | nonce 24 | cookie 16+16                                           =  64
    4 transport data  type 4 | receiver 4 | counter 8 | packet n+16                                           = 32+n
    5 extended data   type 1 | flags 1 | segment size 2 | receiver 4 | counter 8 | packet or slice n+16       = 32+n

Message 5 goes only to a peer that has asked for it: docs/protocol.md, "Extensions". Messages 16 to 19 are in
`tunnel.wire.certified`.
"""

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

MAC_SIZE = 16
TAG_SIZE = 16
COOKIE_NONCE_SIZE = 24
COOKIE_SIZE = 16


class MessageType(IntEnum):
    """The first byte; the three after it are reserved and zero, but in message 5."""

    HANDSHAKE_INITIATION = 1
    HANDSHAKE_RESPONSE = 2
    COOKIE_REPLY = 3
    TRANSPORT_DATA = 4
    EXTENDED_DATA = 5
    CERTIFICATE_REQUEST = 16
    CERTIFICATE = 17
    CERTIFIED_INITIATION = 18
    CERTIFIED_RESPONSE = 19


class ExtendedFlag(IntFlag):
    """The byte after the type in message 5."""

    SLICE = 1
    """A piece of a superpacket, with the superpacket's own headers; the header has its segment size."""
    LAST = 2
    """The slice with which its superpacket ends."""
    PARTIAL = 4
    """A packet whose TCP or UDP checksum is still the sum of the pseudo-header."""
    AES_256_GCM = 8
    """Sealed with AES-256-GCM, else with ChaCha20-Poly1305."""


_INITIATION = struct.Struct("<II32s48s28s16s16s")
_RESPONSE = struct.Struct("<III32s16s16s16s")
_COOKIE_REPLY = struct.Struct("<II24s32s")
TRANSPORT_HEADER = struct.Struct("<IIQ")
"""type, receiver, counter: what precedes the sealed packet."""

INITIATION_SIZE = _INITIATION.size
RESPONSE_SIZE = _RESPONSE.size
COOKIE_REPLY_SIZE = _COOKIE_REPLY.size
TRANSPORT_HEADER_SIZE = TRANSPORT_HEADER.size
TRANSPORT_OVERHEAD = TRANSPORT_HEADER_SIZE + TAG_SIZE
"""What message 4 adds to a packet, without its padding; also the size of a keepalive."""
PADDING = 16
"""Packets are padded with zeros to a multiple of this."""


class Initiation(NamedTuple):
    """Message 1. `static` and `timestamp` are sealed."""

    sender: int
    ephemeral: bytes
    static: bytes
    timestamp: bytes
    mac1: bytes = bytes(MAC_SIZE)
    mac2: bytes = bytes(MAC_SIZE)


class Response(NamedTuple):
    """Message 2. `nothing` is the tag of an empty plaintext."""

    sender: int
    receiver: int
    ephemeral: bytes
    nothing: bytes
    mac1: bytes = bytes(MAC_SIZE)
    mac2: bytes = bytes(MAC_SIZE)


class CookieReply(NamedTuple):
    """Message 3. `cookie` is sealed."""

    receiver: int
    nonce: bytes
    cookie: bytes


Buffer = bytes | bytearray | memoryview


def message_type(datagram: Buffer) -> int:
    """The type word, reserved bytes included, so that non-zero ones match no type; 0 for what is shorter than 4."""
    return int.from_bytes(datagram[:4], "little") if len(datagram) >= 4 else 0


def sender_index(handshake: Buffer) -> int:
    """The sender index of an initiation, a response or a request, which all have it in the same place."""
    return int.from_bytes(handshake[4:8], "little")


def padded_length(length: int, limit: int) -> int:
    """`length` rounded up to 16, but not past `limit` (the inner MTU), so that padding makes no datagram too long."""
    return max(length, min(-(-length // PADDING) * PADDING, limit))


def parse_initiation(datagram: Buffer) -> Initiation | None:
    if len(datagram) != INITIATION_SIZE or message_type(datagram) != MessageType.HANDSHAKE_INITIATION:
        return None
    return Initiation(*_INITIATION.unpack(datagram)[1:])


def pack_initiation(message: Initiation) -> bytes:
    return _INITIATION.pack(MessageType.HANDSHAKE_INITIATION, *message)


def parse_response(datagram: Buffer) -> Response | None:
    if len(datagram) != RESPONSE_SIZE or message_type(datagram) != MessageType.HANDSHAKE_RESPONSE:
        return None
    return Response(*_RESPONSE.unpack(datagram)[1:])


def pack_response(message: Response) -> bytes:
    return _RESPONSE.pack(MessageType.HANDSHAKE_RESPONSE, *message)


def parse_cookie_reply(datagram: Buffer) -> CookieReply | None:
    if len(datagram) != COOKIE_REPLY_SIZE or message_type(datagram) != MessageType.COOKIE_REPLY:
        return None
    return CookieReply(*_COOKIE_REPLY.unpack(datagram)[1:])


def pack_cookie_reply(message: CookieReply) -> bytes:
    return _COOKIE_REPLY.pack(MessageType.COOKIE_REPLY, *message)

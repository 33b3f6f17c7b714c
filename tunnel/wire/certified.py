"""Messages 16 to 19, ours: who is there, and a handshake that carries certificates (docs/protocol.md, "Certificates").

All integers are little endian. Each message is exactly 1200 bytes: no path splits it, no answer is larger than what it
answers, and its length tells nobody whose certificate is in it. `parse_*` returns None for anything that is not of the
message's exact size and type; `pack_*` returns bytes.

    16 certificate request    type 4 | sender 4 | nonce 32 | zeros 1128 | mac1 16 | mac2 16
    17 certificate            type 4 | receiver 4 | nonce 24 | cookie 16, chain 1136, + 16
    18 certified initiation   type 4 | sender 4 | ephemeral 32 | static 32+16 | timestamp 12, cookie 16, chain 1036, + 16 | mac1 16 | mac2 16
    19 certified response     type 4 | sender 4 | receiver 4 | ephemeral 32 | chain 1108+16 | mac1 16 | mac2 16

A chain is one to two certificates in DER, the peer's first, each behind its length (2 bytes); zeros follow up to the
size of the field.
"""  # noqa: E501 - one message, one line

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tunnel.wire.messages import COOKIE_NONCE_SIZE, COOKIE_SIZE, MAC_SIZE, TAG_SIZE, Buffer, MessageType, message_type
from tunnel.wire.tai64n import STAMP_SIZE

CERTIFIED_SIZE = 1200
"""Bytes of each of the four messages."""

REQUEST_NONCE_SIZE = 32
MAX_CHAIN_CERTIFICATES = 2

_REQUEST = struct.Struct("<II32s1128s16s16s")
_CERTIFICATE = struct.Struct("<II24s1168s")
_INITIATION = struct.Struct("<II32s48s1080s16s16s")
_RESPONSE = struct.Struct("<III32s1124s16s16s")
_LENGTH = struct.Struct("<H")

ANSWER_CHAIN_SIZE = 1168 - TAG_SIZE - COOKIE_SIZE
INITIATION_CHAIN_SIZE = 1080 - TAG_SIZE - STAMP_SIZE - COOKIE_SIZE
RESPONSE_CHAIN_SIZE = 1124 - TAG_SIZE
"""Bytes for the chain in messages 17, 18 and 19."""


class CertificateRequest(NamedTuple):
    """Message 16. `nonce` makes its MAC1, which the answer is bound to, unlike that of any other."""

    sender: int
    nonce: bytes
    padding: bytes = bytes(1128)
    mac1: bytes = bytes(MAC_SIZE)
    mac2: bytes = bytes(MAC_SIZE)


class CertificateAnswer(NamedTuple):
    """Message 17. `answer` is sealed: a cookie and a chain."""

    receiver: int
    nonce: bytes
    answer: bytes


class CertifiedInitiation(NamedTuple):
    """Message 18. `static` and `payload` (a timestamp, a cookie and a chain) are sealed."""

    sender: int
    ephemeral: bytes
    static: bytes
    payload: bytes
    mac1: bytes = bytes(MAC_SIZE)
    mac2: bytes = bytes(MAC_SIZE)


class CertifiedResponse(NamedTuple):
    """Message 19. `payload` (a chain) is sealed."""

    sender: int
    receiver: int
    ephemeral: bytes
    payload: bytes
    mac1: bytes = bytes(MAC_SIZE)
    mac2: bytes = bytes(MAC_SIZE)


def parse_certificate_request(datagram: Buffer) -> CertificateRequest | None:
    """None also if what should be zero is not."""
    if not _is(datagram, MessageType.CERTIFICATE_REQUEST):
        return None
    message = CertificateRequest(*_REQUEST.unpack(datagram)[1:])
    return None if any(message.padding) else message


def pack_certificate_request(message: CertificateRequest) -> bytes:
    return _REQUEST.pack(MessageType.CERTIFICATE_REQUEST, *message)


def parse_certificate_answer(datagram: Buffer) -> CertificateAnswer | None:
    if not _is(datagram, MessageType.CERTIFICATE):
        return None
    return CertificateAnswer(*_CERTIFICATE.unpack(datagram)[1:])


def pack_certificate_answer(message: CertificateAnswer) -> bytes:
    assert len(message.nonce) == COOKIE_NONCE_SIZE
    return _CERTIFICATE.pack(MessageType.CERTIFICATE, *message)


def parse_certified_initiation(datagram: Buffer) -> CertifiedInitiation | None:
    if not _is(datagram, MessageType.CERTIFIED_INITIATION):
        return None
    return CertifiedInitiation(*_INITIATION.unpack(datagram)[1:])


def pack_certified_initiation(message: CertifiedInitiation) -> bytes:
    return _INITIATION.pack(MessageType.CERTIFIED_INITIATION, *message)


def parse_certified_response(datagram: Buffer) -> CertifiedResponse | None:
    if not _is(datagram, MessageType.CERTIFIED_RESPONSE):
        return None
    return CertifiedResponse(*_RESPONSE.unpack(datagram)[1:])


def pack_certified_response(message: CertifiedResponse) -> bytes:
    return _RESPONSE.pack(MessageType.CERTIFIED_RESPONSE, *message)


# ---- chains -----------------------------------------------------------------------------------------------------


def pack_chain(chain: Sequence[bytes], size: int) -> bytes:
    """`size` bytes; the chain must have room in them, neither be empty nor too long, and have nothing empty in it."""
    assert 1 <= len(chain) <= MAX_CHAIN_CERTIFICATES
    assert all(chain)
    packed = b"".join(_LENGTH.pack(len(certificate)) + certificate for certificate in chain)
    assert len(packed) <= size
    return packed.ljust(size, b"\0")


def parse_chain(field: bytes) -> tuple[bytes, ...] | None:
    """The certificates in a field, none of them empty; None if it is not a chain and zeros. Nothing is verified."""
    try:
        chain = tuple(_certificates(field))
    except ValueError:
        return None
    return chain if 1 <= len(chain) <= MAX_CHAIN_CERTIFICATES else None


def _certificates(field: bytes) -> Iterator[bytes]:
    place = 0
    while place + _LENGTH.size <= len(field):
        (length,) = _LENGTH.unpack_from(field, place)
        if not length:
            break
        place += _LENGTH.size
        if place + length > len(field):
            raise ValueError("cut off")
        yield field[place : place + length]
        place += length
    if any(field[place:]):
        raise ValueError("not zeros")


def _is(datagram: Buffer, kind: MessageType) -> bool:
    return len(datagram) == CERTIFIED_SIZE and message_type(datagram) == kind

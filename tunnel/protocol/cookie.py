"""MAC1, MAC2 and cookies: refusing work before it costs anything (WireGuard paper, sections 5.3, 5.4.4 and 5.4.7).

Both stand at the end of a handshake message. MAC1 shows that the sender knows our public key; without it we are
silent. MAC2 shows that the sender receives what is sent to its address; a responder under load asks for it by
answering with a cookie, which is a MAC of the source under a secret that lives two minutes, so that nothing is kept
per source.

    initiator                                        responder, under load
    ── message, MAC1 ──────────────────────────────▶ check_mac1
    consume_reply ◀──── cookie, sealed ───────────── create_reply
    ── message, MAC1, MAC2 = Mac(cookie, ...) ─────▶ check_mac2, and on to the handshake

The reply is sealed with a key that everyone who knows the responder's public key can compute, and bound to the MAC1 it
answers: who cannot see our messages cannot forge one.
"""

from hmac import compare_digest
from typing import Protocol

from tunnel.endpoint import Endpoint
from tunnel.keys import KEY_SIZE, Rng
from tunnel.noise.primitives import hash_, mac, xopen, xseal
from tunnel.wire.messages import COOKIE_NONCE_SIZE, COOKIE_SIZE, MAC_SIZE, Buffer, CookieReply

COOKIE_LIFETIME = 120.0
"""Seconds for which a responder keeps its secret, and an initiator a cookie."""

_LABEL_MAC1 = b"mac1----"
_LABEL_COOKIE = b"cookie--"
_MACS_SIZE = 2 * MAC_SIZE


class Addressee(Protocol):
    """Whom a message is for: a `PublicKey`, or an authority whose members are meant (`AuthorityId`)."""

    @property
    def raw(self) -> bytes:
        """32 bytes that whoever sends has to know."""
        ...


def pack_source(endpoint: Endpoint) -> bytes:
    """What a cookie is bound to: the address (4 or 16 bytes) and the port (2, big endian)."""
    return endpoint.packed + endpoint.port.to_bytes(2, "big")


def mac1_key(addressee: Addressee) -> bytes:
    """The key of MAC1 in messages to `addressee`: 32 bytes, not secret."""
    return hash_(_LABEL_MAC1 + addressee.raw)


def cookie_key(addressee: Addressee) -> bytes:
    """The key that seals cookie replies by `addressee`: 32 bytes, not secret."""
    return hash_(_LABEL_COOKIE + addressee.raw)


def mac1_of(handshake: Buffer) -> bytes:
    """The MAC1 of a packed handshake message: what an answer to it is bound to."""
    return bytes(handshake[-_MACS_SIZE:-MAC_SIZE])


class CookieChecker:
    """The responder's side, for messages to `addressee`. A datagram is a whole handshake message."""

    __slots__ = ("_cookie_key", "_mac1_key", "_rng", "_secret", "_secret_expires")

    def __init__(self, addressee: Addressee, rng: Rng) -> None:
        self._mac1_key = mac1_key(addressee)
        self._cookie_key = cookie_key(addressee)
        self._rng = rng
        self._secret = b""
        self._secret_expires = 0.0

    def check_mac1(self, datagram: Buffer) -> bool:
        """Whether the sender knows our public key."""
        signed, mac1 = datagram[:-_MACS_SIZE], datagram[-_MACS_SIZE:-MAC_SIZE]
        return compare_digest(mac(self._mac1_key, signed), mac1)

    def check_mac2(self, datagram: Buffer, source: bytes, now: float) -> bool:
        """Whether the sender has received a cookie at `source` (see `pack_source`) that is still good."""
        signed, mac2 = datagram[:-MAC_SIZE], datagram[-MAC_SIZE:]
        return compare_digest(mac(self.cookie(source, now), signed), mac2)

    def create_reply(self, datagram: Buffer, receiver: int, source: bytes, now: float) -> CookieReply:
        """The answer to `datagram`, whose sender index is `receiver` and whose MAC1 is right."""
        nonce = self._rng(COOKIE_NONCE_SIZE)
        sealed = xseal(self._cookie_key, nonce, self.cookie(source, now), mac1_of(datagram))
        return CookieReply(receiver, nonce, sealed)

    def cookie(self, source: bytes, now: float) -> bytes:
        """What MAC2 of a message from `source` is keyed with just now: 16 bytes, for `source` alone to know."""
        if not self._secret or now >= self._secret_expires:
            self._secret = self._rng(KEY_SIZE)
            self._secret_expires = now + COOKIE_LIFETIME
        return mac(self._secret, source)


class CookieGenerator:
    """The initiator's side, for handshake messages of any kind to one addressee."""

    __slots__ = ("_cookie", "_cookie_expires", "_cookie_key", "_mac1_key", "_sent_mac1")

    def __init__(self, addressee: Addressee) -> None:
        self._mac1_key = mac1_key(addressee)
        self._cookie_key = cookie_key(addressee)
        self._cookie = b""
        self._cookie_expires = 0.0
        self._sent_mac1 = b""

    def add_macs(self, message: bytes, now: float) -> bytes:
        """The packed message with its last 32 bytes filled in: MAC1, and MAC2 while we hold a cookie."""
        signed = message[:-_MACS_SIZE]
        mac1 = mac(self._mac1_key, signed)
        self._sent_mac1 = mac1
        signed += mac1
        if self._cookie and now >= self._cookie_expires:
            self._cookie = b""
        mac2 = mac(self._cookie, signed) if self._cookie else bytes(MAC_SIZE)
        return signed + mac2

    def consume_reply(self, reply: CookieReply, now: float) -> bool:
        """Keep the cookie; False, and nothing changes, unless it answers the last message and is the first to do so."""
        if not self._sent_mac1:
            return False
        cookie = xopen(self._cookie_key, reply.nonce, reply.cookie, self._sent_mac1)
        if cookie is None or len(cookie) != COOKIE_SIZE:
            return False
        self.keep(cookie, now)
        self._sent_mac1 = b""
        return True

    def keep(self, cookie: bytes, now: float) -> None:
        """Use a cookie that came to us by another way."""
        self._cookie = cookie
        self._cookie_expires = now + COOKIE_LIFETIME

    def cookie(self, now: float) -> bytes:
        """What the next message will carry MAC2 with; 16 zeros if there is none."""
        return self._cookie if self.has_cookie(now) else bytes(COOKIE_SIZE)

    def has_cookie(self, now: float) -> bool:
        """Whether the next message will carry MAC2."""
        return bool(self._cookie) and now < self._cookie_expires

"""What two of us do better than the paper, agreed on anew for every keypair (docs/protocol.md, "Extensions").

    initiator ── 1, a tag in the sealed stamp ──▶ responder       only who can open it sees the tag
    initiator ◀── 2 ───────────────────────────── responder
    initiator ── 4, the first data ─────────────▶ responder       the session is confirmed
    initiator ◀── 4, hello ─────────────────────── responder      again with later data, until it is answered
    initiator ── 4, hello ──────────────────────▶ responder

Who has heard a hello may send message 5 under that keypair, as far as the hello goes. Message 5 has keys of its own,
two in each direction, derived from the transport keys; which one a message is under, its header says.
"""

from collections.abc import Iterator
from functools import lru_cache
from math import inf

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from tunnel.noise.handshake import TransportKeys
from tunnel.noise.primitives import kdf2
from tunnel.protocol.constants import HELLO_ATTEMPTS, HELLO_INTERVAL
from tunnel.wire.control import SLICES, Capability, Hello
from tunnel.wire.messages import ExtendedFlag

LABEL = b"tunnel extension 1, message 5"

Aead = ChaCha20Poly1305 | AESGCM

_SLICE = int(ExtendedFlag.SLICE)
_LAST = int(ExtendedFlag.LAST)
_PARTIAL = int(ExtendedFlag.PARTIAL)
_AES = int(ExtendedFlag.AES_256_GCM)


class Extension:
    """The extensions of one keypair: `offered` is what we take.

    `takes`, bits of `Capability`, is what the other takes of what we can do; None while we have heard nothing, and send
    nothing but message 4. `flags` is what the header of every message 5 of ours has, besides what the single message
    is; `remote_mtu` is that of the other's inner interface, in bytes, 0 until we know it.
    """

    __slots__ = (
        "_accepted",
        "_hello_due",
        "_hellos_left",
        "_openers",
        "_receive_keys",
        "_send_keys",
        "flags",
        "offered",
        "remote_mtu",
        "sealer",
        "takes",
    )

    def __init__(self, keys: TransportKeys, offered: Capability, *, is_initiator: bool) -> None:
        self.offered = offered
        self.takes: int | None = None
        self.remote_mtu = 0
        self.flags = 0
        self.sealer: Aead | None = None
        self._send_keys = kdf2(keys.send, LABEL)
        self._receive_keys = kdf2(keys.receive, LABEL)
        self._openers: dict[int, Aead] = {}
        self._accepted = _accepted_flags(int(offered))
        self._hello_due = inf if is_initiator else -inf
        self._hellos_left = HELLO_ATTEMPTS

    def accepts(self, flags: int) -> bool:
        """Whether a message 5 with these flags is something that we said that we take, and makes sense."""
        return flags in self._accepted

    def opener(self, flags: int) -> Aead:
        """What opens messages with these flags, which we accept."""
        is_aes = flags & _AES
        opener = self._openers.get(is_aes)
        if opener is None:
            opener = self._openers[is_aes] = _cipher(self._receive_keys, bool(is_aes))
        return opener

    def is_hello_due(self, now: float) -> bool:
        """Whether to say hello now that something came: the responder does, until it is answered."""
        return self.takes is None and now >= self._hello_due and self._hellos_left > 0

    def hello_sent(self, now: float) -> None:
        self._hello_due = now + HELLO_INTERVAL
        self._hellos_left -= 1

    def consume_hello(self, hello: Hello) -> None:
        """From now on message 5 may be sent, sealed with AES if both want that."""
        self.takes = int(hello.capabilities & (self.offered | ~Capability.AES_256_GCM))
        self.remote_mtu = hello.mtu
        is_aes = bool(hello.capabilities & self.offered & Capability.AES_256_GCM)
        self.flags = _AES if is_aes else 0
        self.sealer = _cipher(self._send_keys, is_aes)

    def names(self) -> Iterator[str]:
        """What is in use towards the other, in the words of the status; nothing while that is plain WireGuard."""
        takes = self.takes
        if takes is None:
            return
        yield "aes-256-gcm" if self.flags & _AES else "chacha20-poly1305"
        yield from (name for capability, name in _NAMES.items() if takes & capability)


_NAMES = {
    Capability.TCP_SLICES: "tcp-slices",
    Capability.UDP_SLICES: "udp-slices",
    Capability.PARTIAL: "partial-checksums",
}


def _cipher(keys: tuple[bytes, bytes], is_aes: bool) -> Aead:
    return AESGCM(keys[1]) if is_aes else ChaCha20Poly1305(keys[0])


@lru_cache
def _accepted_flags(offered: int) -> frozenset[int]:
    """Every combination that makes sense, of what is offered."""
    kinds = {0} | ({_SLICE, _SLICE | _LAST} if offered & SLICES else set())
    kinds |= {_PARTIAL} if offered & Capability.PARTIAL else set()
    return frozenset(kinds | ({kind | _AES for kind in kinds} if offered & Capability.AES_256_GCM else set()))

"""The symmetric state of a handshake (Noise paper, section 5.2): a chaining key `ck`, a hash `h` and a cipher key `k`.

Every key agreement is mixed into `ck`, everything sent into `h`; what is encrypted is bound to all of `h` so far.

There is no nonce counter: in IK and IKpsk2 a MixKey lies between any two encryptions, so that `n` is 0 in each.
"""

from typing import Self

from tunnel.noise.primitives import HASH_SIZE, hash_, kdf1, kdf2, kdf3, open_, seal


class SymmetricState:
    """Methods are named as in the paper. Only a `decrypt_and_hash` can fail, and then changes nothing."""

    __slots__ = ("ck", "h", "k")

    def __init__(self, ck: bytes, h: bytes, k: bytes = b"") -> None:
        self.ck = ck
        self.h = h
        self.k = k

    @classmethod
    def initialize(cls, protocol_name: bytes, prologue: bytes) -> Self:
        """InitializeSymmetric, and MixHash of the prologue."""
        h = protocol_name.ljust(HASH_SIZE, b"\0") if len(protocol_name) <= HASH_SIZE else hash_(protocol_name)
        return cls(ck=h, h=hash_(h + prologue))

    def copy(self) -> Self:
        """An independent state, to try a message on."""
        return type(self)(self.ck, self.h, self.k)

    def mix_hash(self, data: bytes) -> None:
        self.h = hash_(self.h + data)

    def mix_key(self, material: bytes) -> None:
        self.ck, self.k = kdf2(self.ck, material)

    def mix_chaining_key(self, material: bytes) -> None:
        """MixKey where another follows before anything is encrypted: `k` is not derived."""
        self.ck = kdf1(self.ck, material)

    def mix_key_and_hash(self, material: bytes) -> None:
        self.ck, hashed, self.k = kdf3(self.ck, material)
        self.mix_hash(hashed)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        sealed = seal(self.k, plaintext, self.h)
        self.mix_hash(sealed)
        return sealed

    def decrypt_and_hash(self, sealed: bytes) -> bytes | None:
        """The plaintext; None if it does not authenticate."""
        plaintext = open_(self.k, sealed, self.h)
        if plaintext is not None:
            self.mix_hash(sealed)
        return plaintext

    def split(self) -> tuple[bytes, bytes]:
        """The keys for transport data: the initiator's to send, the responder's to send."""
        return kdf2(self.ck, b"")

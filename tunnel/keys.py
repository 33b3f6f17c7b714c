"""Keys as values: Curve25519 private and public keys, and preshared keys.

All three are 32 bytes, travel as base64 (wg-quick files, the command line) or as hex (UAPI), compare in constant time
and hash by value. The secret ones never show themselves: ``repr`` and ``str`` are redacted by type, so that no log
line and no traceback can leak one.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Callable
from functools import cached_property
from typing import ClassVar, Self

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

KEY_SIZE = 32

Rng = Callable[[int], bytes]
"""``rng(n)`` returns n unpredictable bytes, as `os.urandom` does."""


_KEY_TEXT = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=")
"""Base64 of 32 bytes: the last digit has only four bits of them."""


def hide_keys(text: str) -> str:
    """A text of other people, fit to be shown: what looks like a key in base64 is masked, since it may be a secret."""
    return _KEY_TEXT.sub("(key)", text)


class _Key:
    """32 bytes with a type."""

    kind: ClassVar[str]

    def __init__(self, raw: bytes) -> None:
        if len(raw) != KEY_SIZE:
            raise ValueError(f"a {self.kind} has {KEY_SIZE} bytes, not {len(raw)}")
        self.raw = bytes(raw)

    @classmethod
    def from_base64(cls, text: str) -> Self:
        """Raise `ValueError`, without quoting the text, unless it is canonical base64 of 32 bytes."""
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError(f"not a {cls.kind}: not base64") from None
        if len(raw) != KEY_SIZE:
            raise ValueError(f"not a {cls.kind}: {len(raw)} bytes of base64 instead of {KEY_SIZE}")
        if base64.b64encode(raw).decode() != text:
            raise ValueError(f"not a {cls.kind}: not canonical base64")
        return cls(raw)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """Raise `ValueError`, without quoting the text, unless it is 64 hexadecimal digits."""
        try:
            raw = binascii.unhexlify(text)
        except (binascii.Error, ValueError):
            raise ValueError(f"not a {cls.kind}: not hexadecimal") from None
        return cls(raw)

    def to_base64(self) -> str:
        return base64.b64encode(self.raw).decode()

    def to_hex(self) -> str:
        return self.raw.hex()

    @property
    def is_zero(self) -> bool:
        """UAPI and wg(8) say "no key" with 32 zero bytes."""
        return hmac.compare_digest(self.raw, bytes(KEY_SIZE))

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return hmac.compare_digest(self.raw, other.raw)

    def __hash__(self) -> int:
        return hash(self.raw)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(redacted)"


class PublicKey(_Key):
    """A peer's X25519 static key, which is also its name."""

    kind = "public key"

    def __repr__(self) -> str:
        return f"PublicKey({self.to_base64()})"

    def __str__(self) -> str:
        return self.to_base64()

    @cached_property
    def short(self) -> str:
        """The first characters, enough for a log line: ``xTIBA5rb…``."""
        return self.to_base64()[:8] + "…"


class PrivateKey(_Key):
    """An X25519 static key, clamped (RFC 7748 section 5) as the kernel does."""

    kind = "private key"

    def __init__(self, raw: bytes) -> None:
        super().__init__(raw)
        if any(raw):
            self.raw = bytes([raw[0] & 248]) + self.raw[1:31] + bytes([(raw[31] & 127) | 64])

    @classmethod
    def generate(cls, rng: Rng) -> Self:
        return cls(rng(KEY_SIZE))

    @cached_property
    def x25519(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.raw)

    @cached_property
    def public_key(self) -> PublicKey:
        return PublicKey(self.x25519.public_key().public_bytes_raw())

    def exchange(self, public: bytes) -> bytes:
        """X25519(self, public): 32 bytes. Raise `ValueError` on a low-order point, whose result is zero."""
        return self.x25519.exchange(X25519PublicKey.from_public_bytes(public))


class PresharedKey(_Key):
    """The optional symmetric secret of the psk2 modifier; zero means none."""

    kind = "preshared key"

    @classmethod
    def generate(cls, rng: Rng) -> Self:
        return cls(rng(KEY_SIZE))


NO_PRIVATE_KEY = PrivateKey(bytes(KEY_SIZE))
NO_PRESHARED_KEY = PresharedKey(bytes(KEY_SIZE))

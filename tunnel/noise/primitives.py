"""Hash, KDF and AEADs, named as in the WireGuard paper, section 5.4.

    Hash(x)            hash_(x)              BLAKE2s, 32 bytes
    Mac(key, x)        mac(key, x)           keyed BLAKE2s, 16 bytes
    Kdf_n(key, x)      kdf1, kdf2, kdf3      HKDF (RFC 5869) with HMAC-BLAKE2s and an empty info
    Aead(...)          seal, open_           ChaCha20-Poly1305 (RFC 8439)
    Xaead(...)         xseal, xopen          XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), for cookies

HMAC is written out (RFC 2104) because `hmac.digest` looks BLAKE2s up in OpenSSL on every call and so takes twice as
long; a responder computes 22 of them per handshake.
"""

import struct
from hashlib import blake2s

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from tunnel.wire.messages import MAC_SIZE, Buffer

HASH_SIZE = 32

_BLOCK_SIZE = 64
_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))
_ZERO_NONCE = bytes(12)


def hash_(data: bytes) -> bytes:
    """BLAKE2s: 32 bytes."""
    return blake2s(data).digest()


def mac(key: bytes, data: Buffer) -> bytes:
    """Keyed BLAKE2s with a key of at most 32 bytes: 16 bytes."""
    return blake2s(data, key=key, digest_size=MAC_SIZE).digest()


def hmac_hash(key: bytes, data: bytes) -> bytes:
    """HMAC-BLAKE2s with a key of at most 64 bytes: 32 bytes."""
    block = key.ljust(_BLOCK_SIZE, b"\0")
    inner = blake2s(block.translate(_INNER_PAD) + data).digest()
    return blake2s(block.translate(_OUTER_PAD) + inner).digest()


def kdf1(key: bytes, data: bytes) -> bytes:
    """The first of the outputs that `kdf2` and `kdf3` begin with."""
    return hmac_hash(hmac_hash(key, data), b"\1")


def kdf2(key: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Two keys of 32 bytes."""
    secret = hmac_hash(key, data)
    first = hmac_hash(secret, b"\1")
    return first, hmac_hash(secret, first + b"\2")


def kdf3(key: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
    """Three keys of 32 bytes."""
    secret = hmac_hash(key, data)
    first = hmac_hash(secret, b"\1")
    second = hmac_hash(secret, first + b"\2")
    return first, second, hmac_hash(secret, second + b"\3")


def seal(key: bytes, plaintext: bytes, additional: bytes) -> bytes:
    """ChaCha20-Poly1305 with nonce 0: for a key that seals once. The result is 16 bytes longer than `plaintext`."""
    return ChaCha20Poly1305(key).encrypt(_ZERO_NONCE, plaintext, additional)


def open_(key: bytes, sealed: bytes, additional: bytes) -> bytes | None:
    """What `seal` was given; None if it does not authenticate."""
    try:
        return ChaCha20Poly1305(key).decrypt(_ZERO_NONCE, sealed, additional)
    except InvalidTag:
        return None


def hchacha20(key: bytes, nonce: bytes) -> bytes:
    """A subkey of 32 bytes from a key of 32 and a nonce of 16 (draft section 2.2).

    HChaCha20 returns the first and last rows of the permuted state; the ChaCha20 block is that state plus the initial
    one, word by word. So the initial rows, constants and nonce, are subtracted from a block of key stream.
    """
    block = Cipher(ChaCha20(key, nonce), mode=None).encryptor().update(bytes(_BLOCK_SIZE))
    initial = struct.unpack("<8I", b"expand 32-byte k" + nonce)
    summed = struct.unpack("<8I", block[:16] + block[48:])
    return struct.pack("<8I", *((a - b) & 0xFFFFFFFF for a, b in zip(summed, initial, strict=True)))


def xseal(key: bytes, nonce: bytes, plaintext: bytes, additional: bytes) -> bytes:
    """XChaCha20-Poly1305: a nonce of 24 bytes, long enough to be drawn at random."""
    subkey = hchacha20(key, nonce[:16])
    return ChaCha20Poly1305(subkey).encrypt(bytes(4) + nonce[16:], plaintext, additional)


def xopen(key: bytes, nonce: bytes, sealed: bytes, additional: bytes) -> bytes | None:
    """What `xseal` was given; None if it does not authenticate."""
    subkey = hchacha20(key, nonce[:16])
    try:
        return ChaCha20Poly1305(subkey).decrypt(bytes(4) + nonce[16:], sealed, additional)
    except InvalidTag:
        return None

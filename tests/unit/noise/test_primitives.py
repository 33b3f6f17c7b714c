import hmac
from hashlib import blake2s

import pytest

from tests.vectors import load
from tunnel.noise.primitives import hash_, hchacha20, hmac_hash, kdf1, kdf2, kdf3, mac, open_, seal, xopen, xseal

KEY = bytes(range(0x80, 0xA0))
XNONCE = bytes(range(0x40, 0x58))
ADDITIONAL = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
SUNSCREEN = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
)
SEALED_SUNSCREEN = bytes.fromhex(
    "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39"
    "ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
    "21f9664c97637da9768812f615c68b13b52e"
    "c0875924c1c7987947deafd8780acf49"
)


def test_hash_is_blake2s() -> None:
    """RFC 7693, appendix B."""
    assert hash_(b"abc").hex() == "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982"


def test_mac_is_keyed_blake2s_and_not_hmac() -> None:
    key = bytes(range(32))
    assert mac(key, b"abc") == blake2s(b"abc", key=key, digest_size=16).digest()
    assert mac(key, b"abc") != hmac.digest(key, b"abc", "blake2s")[:16]


def test_mac_depends_on_the_key() -> None:
    assert mac(bytes(32), b"abc") != mac(b"\1" + bytes(31), b"abc")


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 63, 64])
def test_hmac_is_that_of_the_standard_library(size: int) -> None:
    key, data = bytes(range(1, size + 1)), b"what do ya want for nothing?"
    assert hmac_hash(key, data) == hmac.digest(key, data, "blake2s")


@pytest.mark.parametrize("case", load("tables")["kdf"]["cases"])
def test_kdf_gives_the_known_answers(case: dict[str, str]) -> None:
    key, data = bytes.fromhex(case["key"]), bytes.fromhex(case["input"])
    outputs = tuple(bytes.fromhex(case[name]) for name in ("t0", "t1", "t2"))
    assert kdf3(key, data) == outputs
    assert kdf2(key, data) == outputs[:2]
    assert kdf1(key, data) == outputs[0]


def test_what_was_sealed_opens() -> None:
    assert open_(KEY, seal(KEY, b"hello", b"ad"), b"ad") == b"hello"


@pytest.mark.parametrize("position", range(5 + 16))
def test_any_flipped_byte_does_not_open(position: int) -> None:
    sealed = bytearray(seal(KEY, b"hello", b"ad"))
    sealed[position] ^= 1
    assert open_(KEY, bytes(sealed), b"ad") is None


def test_what_was_sealed_does_not_open_with_other_additional_data() -> None:
    assert open_(KEY, seal(KEY, b"hello", b"ad"), b"da") is None


@pytest.mark.parametrize("size", range(16))
def test_what_is_shorter_than_a_tag_does_not_open(size: int) -> None:
    assert open_(KEY, bytes(size), b"") is None
    assert xopen(KEY, XNONCE, bytes(size), b"") is None


def test_hchacha20_gives_the_known_answer() -> None:
    """draft-irtf-cfrg-xchacha-03, section 2.2.1."""
    subkey = hchacha20(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927"))
    assert subkey.hex() == "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"


def test_xchacha20_poly1305_seals_to_the_known_answer() -> None:
    """draft-irtf-cfrg-xchacha-03, appendix A.3.1."""
    assert xseal(KEY, XNONCE, SUNSCREEN, ADDITIONAL) == SEALED_SUNSCREEN


def test_xchacha20_poly1305_opens_the_known_answer() -> None:
    assert xopen(KEY, XNONCE, SEALED_SUNSCREEN, ADDITIONAL) == SUNSCREEN


@pytest.mark.parametrize("position", range(24))
def test_every_byte_of_the_long_nonce_counts(position: int) -> None:
    nonce = bytearray(XNONCE)
    nonce[position] ^= 1
    assert xopen(KEY, bytes(nonce), SEALED_SUNSCREEN, ADDITIONAL) is None


def test_xchacha20_poly1305_refuses_other_additional_data() -> None:
    assert xopen(KEY, XNONCE, SEALED_SUNSCREEN, ADDITIONAL[1:]) is None

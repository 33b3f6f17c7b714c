import base64

import pytest

from tests.vectors import load
from tunnel.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey, hide_keys

# RFC 7748, section 6.1.
ALICE_PUBLIC = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB = PrivateKey.from_hex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
BOB_PUBLIC = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f"
SHARED = "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"

SECRET = b"\x10\x20\x30\x40secret" + b"\x40" * 22
KINDS: list[type[PublicKey] | type[PrivateKey] | type[PresharedKey]] = [PublicKey, PrivateKey, PresharedKey]


def test_a_public_key_is_that_of_the_rfc() -> None:
    assert BOB.public_key.to_hex() == BOB_PUBLIC


def test_an_exchange_gives_the_secret_of_the_rfc() -> None:
    assert BOB.exchange(ALICE_PUBLIC).hex() == SHARED


@pytest.mark.parametrize("text", load("tables")["low_order_points_base64"])
def test_an_exchange_with_a_low_order_point_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="shared key"):
        BOB.exchange(PublicKey.from_base64(text).raw)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_key_has_32_bytes(kind: type[PublicKey], size: int) -> None:
    with pytest.raises(ValueError, match=f"a {kind.kind} has 32 bytes, not {size}"):
        kind(bytes(size))


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_survives_base64_and_hex(kind: type[PublicKey]) -> None:
    key = kind(SECRET)
    assert kind.from_base64(key.to_base64()) == key
    assert kind.from_hex(key.to_hex()) == key


def test_hex_may_be_in_capitals() -> None:
    assert PublicKey.from_hex("AB" * 32) == PublicKey.from_hex("ab" * 32)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not base64 at all, but it has 44 characters!",
        base64.b64encode(bytes(31)).decode(),
        base64.b64encode(bytes(33)).decode(),
        base64.b64encode(bytes(32)).decode()[:-1],
        base64.b64encode(bytes(32)).decode() + "\n",
        " " + base64.b64encode(bytes(32)).decode(),
        base64.b64encode(bytes(32)).decode()[:-2] + "B=",
        "é" * 44,
    ],
    ids=["nothing", "prose", "short", "long", "unpadded", "newline", "space", "stray bits", "not ascii"],
)
def test_what_is_not_base64_of_a_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a private key"):
        PrivateKey.from_base64(text)


@pytest.mark.parametrize(
    "text", ["", "ab" * 31, "ab" * 33, "a" * 63, "zz" * 32, " " + "a" * 63, "0x" + "a" * 62, "é" * 64]
)
def test_what_is_not_hex_of_a_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="private key"):
        PrivateKey.from_hex(text)


@pytest.mark.parametrize("parse", [PrivateKey.from_base64, PrivateKey.from_hex])
def test_a_refusal_does_not_quote_the_secret(parse: type[PrivateKey]) -> None:
    almost = "gI6EdUSYvn8ugXOt8QQD6Yc+JyiZxIhp3GInSWRfW"
    with pytest.raises(ValueError, match="private key") as caught:
        parse(almost)  # type: ignore[arg-type]
    assert almost not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_private_key_is_clamped() -> None:
    key = PrivateKey(b"\xff" * 32)
    assert key.raw == b"\xf8" + b"\xff" * 30 + b"\x7f"


def test_clamping_sets_the_second_highest_bit() -> None:
    assert PrivateKey(b"\1" + bytes(31)).raw == bytes(31) + b"\x40"


def test_a_private_key_of_zeros_stays_none() -> None:
    assert PrivateKey(bytes(32)).is_zero


def test_clamping_does_not_change_the_public_key() -> None:
    clamped = PrivateKey(BOB.raw)
    assert clamped.raw == BOB.raw
    assert clamped.public_key == BOB.public_key


def test_generated_keys_are_made_of_what_the_rng_drew() -> None:
    assert PrivateKey.generate(lambda size: b"\x40" * size).raw == b"\x40" * 32
    assert PresharedKey.generate(lambda size: b"\xff" * size).raw == b"\xff" * 32


def test_a_zero_preshared_key_is_none() -> None:
    assert NO_PRESHARED_KEY.is_zero
    assert not PresharedKey(b"\1" + bytes(31)).is_zero


def test_equal_keys_are_one_key_in_a_dict() -> None:
    assert {PublicKey(b"k" * 32): 1}[PublicKey(b"k" * 32)] == 1


def test_keys_of_different_kinds_are_different() -> None:
    assert PublicKey(SECRET) != PresharedKey(SECRET)
    assert PublicKey(SECRET) != SECRET


@pytest.mark.parametrize("kind", [PrivateKey, PresharedKey])
def test_a_secret_key_does_not_show_itself(kind: type[PrivateKey] | type[PresharedKey]) -> None:
    key = kind(SECRET)
    for shown in (repr(key), str(key), f"{key}", f"{key!r}", "%s" % key, repr([key]), repr({key: key})):  # noqa: UP031
        assert "redacted" in shown
        assert "secret" not in shown
        assert key.to_base64()[:8] not in shown
        assert key.to_hex()[:8] not in shown


def test_a_public_key_shows_itself_as_base64() -> None:
    key = PublicKey(bytes(32))
    assert str(key) == "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    assert repr(key) == f"PublicKey({key})"
    assert key.short == "AAAAAAAA…"


@pytest.mark.parametrize("first_byte", [0, 77, 255])
def test_keys_in_a_text_are_hidden(first_byte: int) -> None:
    key = PrivateKey(bytes([first_byte]) + SECRET[1:-1] + bytes([first_byte]))
    assert hide_keys(f"wg set wg0 private-key <(echo {key.to_base64()}) ") == "wg set wg0 private-key <(echo (key)) "


def test_what_is_no_key_is_not_hidden() -> None:
    text = "curl https://example.com/" + "a" * 60 + " && echo a=" + "b" * 41 + "A="
    assert hide_keys(text) == text

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.unit.pki.authorities import LAPTOP, NOW, der, intermediate, issued, key_of, new_authority, p256_authority
from tunnel.errors import ConfigError
from tunnel.keys import PublicKey
from tunnel.pki.authority import Authority, build_crl
from tunnel.pki.store import (
    MAX_PEM_FILE,
    format_certificates,
    format_identity,
    format_private_key,
    has_private_key,
    is_encrypted,
    parse_authority,
    parse_certificates,
    parse_crl_file,
    parse_identity_file,
    parse_public_key,
    renewed_identity,
)

CA = new_authority()
KEY = key_of("laptop")
CERTIFICATE = issued(CA)
IDENTITY = format_identity(KEY, [CERTIFICATE], [CA.certificate])


def error_of(raw: bytes, passphrase: bytes | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_identity_file(raw, passphrase, "me.pem")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_identity_that_is_written_is_read_back() -> None:
    identity = parse_identity_file(IDENTITY, None, "me.pem")
    assert identity.private_key == KEY
    assert identity.chain == (der(CERTIFICATE),)
    assert identity.authorities == (CA.certificate,)


def test_an_intermediate_belongs_to_the_chain_and_several_authorities_may_be_trusted() -> None:
    middle, other = intermediate(CA), new_authority("Next CA")
    leaf = issued(middle)
    raw = format_identity(KEY, [leaf, middle.certificate], [CA.certificate, other.certificate])
    identity = parse_identity_file(raw, None, "me.pem")
    assert identity.chain == (der(leaf), der(middle.certificate))
    assert identity.authorities == (CA.certificate, other.certificate)


def test_text_around_the_blocks_is_for_people() -> None:
    raw = format_identity(KEY, [CERTIFICATE], [CA.certificate], remark="laptop, of the sales department")
    assert raw.startswith(b"laptop, of the sales department\n-----BEGIN PRIVATE KEY-----\n")
    assert parse_identity_file(raw + b"\nthe end", None, "me.pem").private_key == KEY


def test_an_identity_with_line_ends_of_windows_is_read() -> None:
    assert parse_identity_file(IDENTITY.replace(b"\n", b"\r\n"), None, "me.pem").private_key == KEY


def test_a_passphrase_protects_the_private_key() -> None:
    raw = format_identity(KEY, [CERTIFICATE], [CA.certificate], b"correct horse")
    assert is_encrypted(raw)
    assert format_private_key(KEY.x25519) not in raw
    assert parse_identity_file(raw, b"correct horse", "me.pem").private_key == KEY


@pytest.mark.parametrize(
    ("passphrase", "why"),
    [
        (b"wrong", "wrong passphrase, or a broken private key"),
        (None, "its private key is encrypted, and there is no passphrase"),
        (b"", "its private key is encrypted, and there is no passphrase"),
    ],
)
def test_without_the_right_passphrase_the_file_is_refused(passphrase: bytes | None, why: str) -> None:
    raw = format_identity(KEY, [CERTIFICATE], [CA.certificate], b"correct horse")
    assert error_of(raw, passphrase) == f"me.pem: {why}"


def test_a_passphrase_that_is_not_needed_does_no_harm() -> None:
    assert parse_identity_file(IDENTITY, b"whatever", "me.pem").private_key == KEY


def test_a_file_without_private_key_is_for_its_owner_to_complete() -> None:
    raw = format_identity(None, [CERTIFICATE], [CA.certificate])
    assert not has_private_key(raw)
    assert error_of(raw) == "me.pem: no private key in it"
    assert parse_identity_file(format_private_key(KEY.x25519) + raw, None, "me.pem").chain == (der(CERTIFICATE),)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "no private key in it"),
        (b"hello", "no private key in it"),
        (IDENTITY + format_private_key(key_of("other").x25519), "more than one private key in it"),
        (format_private_key(KEY.x25519), "no certificate in it"),
        (format_identity(KEY, [], [CA.certificate]), "no certificate of the host in it, only of its CA"),
        (format_identity(KEY, [CERTIFICATE], []), "no CA certificate in it: nobody could be trusted"),
        (
            format_identity(key_of("other"), [CERTIFICATE], [CA.certificate]),
            "its private key is not that of its certificate",
        ),
        (
            format_private_key(Ed25519PrivateKey.from_private_bytes(bytes(32)))
            + format_certificates([CERTIFICATE, CA.certificate]),
            "key of the wrong type: a host's key is X25519",
        ),
        (IDENTITY[:-40], "a PEM block in it is cut off"),
        (IDENTITY[:200], "a PEM block in it is cut off"),
        (IDENTITY.replace(b"CERTIFICATE-----\nMII", b"CERTIFICATE-----\nMIX"), "not a certificate of our profile: "),
        (IDENTITY.replace(b"CERTIFICATE-----\nMII", b"CERTIFICATE-----\n%II"), "not a certificate of our profile: "),
        (IDENTITY.replace(b"PRIVATE KEY-----\nMC4", b"PRIVATE KEY-----\nMC5"), "broken private key"),
        (IDENTITY + bytes(MAX_PEM_FILE), "longer than 64 KiB: not an identity"),
    ],
)
def test_a_file_that_is_not_whole_is_refused_with_the_reason(raw: bytes, why: str) -> None:
    assert error_of(raw).startswith(f"me.pem: {why}")


def test_a_renewed_identity_keeps_its_private_key_to_the_byte() -> None:
    raw = format_identity(KEY, [CERTIFICATE], [CA.certificate], b"secret", remark="old")
    later = issued(CA, LAPTOP, days=200)
    renewed = renewed_identity(raw, [later], [CA.certificate], remark="new")
    assert renewed == raw.replace(format_certificates([CERTIFICATE]), format_certificates([later])).replace(
        b"old\n", b"new\n"
    )


@pytest.mark.parametrize("authority", [CA, p256_authority()], ids=["Ed25519", "P-256"])
@pytest.mark.parametrize("passphrase", [None, b"secret"])
def test_an_authority_that_is_written_is_read_back(authority: Authority, passphrase: bytes | None) -> None:
    certificate, key = format_certificates([authority.certificate]), format_private_key(authority.key, passphrase)
    read = parse_authority(certificate, key, passphrase, ("ca.pem", "ca.key"))
    assert read.certificate == authority.certificate
    assert read.key.public_key() == authority.certificate.public_key()


@pytest.mark.parametrize(
    ("certificate", "key", "error"),
    [
        (format_certificates([CERTIFICATE]), CA.key, "ca.pem: expected the certificate of one CA"),
        (format_certificates([CA.certificate] * 2), CA.key, "ca.pem: expected the certificate of one CA"),
        (format_certificates([CA.certificate]), new_authority("B").key, "ca.key: not the private key of ca.pem"),
        (
            format_certificates([CA.certificate]),
            KEY.x25519,
            "ca.key: key of the wrong type: a CA's is Ed25519 or P-256",
        ),
    ],
)
def test_what_is_no_authority_is_refused(certificate: bytes, key: Ed25519PrivateKey, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_authority(certificate, format_private_key(key), None, ("ca.pem", "ca.key"))
    assert str(caught.value) == error


def test_a_public_key_is_read_in_base64_and_in_pem() -> None:
    pem = KEY.x25519.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert parse_public_key(pem) == parse_public_key(f"{KEY.public_key}\n") == KEY.public_key


@pytest.mark.parametrize(
    "text", ["", "AAAA", KEY.public_key.to_hex(), format_private_key(KEY.x25519).decode(), IDENTITY.decode()]
)
def test_what_is_no_public_key_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(ValueError, match=r"^not a public key") as caught:
        parse_public_key(text)
    assert not text or text not in str(caught.value)


def test_a_public_key_of_another_kind_is_refused() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(ValueError, match="not an X25519 key"):
        parse_public_key(pem)


def test_what_is_no_revocation_list_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^crl\.pem: not a certificate revocation list$"):
        parse_crl_file(IDENTITY, "crl.pem")


def test_a_revocation_list_of_a_version_that_there_is_not_is_refused() -> None:
    encoded = build_crl(CA, {}, 1, NOW).public_bytes(Encoding.DER)
    version = encoded.index(b"\x02\x01\x01")
    broken = base64.encodebytes(encoded[: version + 2] + b"\x07" + encoded[version + 3 :])
    with pytest.raises(ConfigError, match=r"^crl\.pem: not a certificate revocation list$"):
        parse_crl_file(b"-----BEGIN X509 CRL-----\n" + broken + b"-----END X509 CRL-----\n", "crl.pem")


def test_certificates_of_a_file_are_told_apart() -> None:
    certificates = parse_certificates(IDENTITY, "me.pem")
    assert certificates.chain == (CERTIFICATE,)
    assert certificates.authorities == (CA.certificate,)
    assert PublicKey(certificates.chain[0].public_key().public_bytes_raw()) == KEY.public_key  # type: ignore[union-attr]

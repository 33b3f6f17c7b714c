"""Identity files: all that a host needs to prove who it is and to judge others, in one PEM file.

    -----BEGIN PRIVATE KEY-----      the host's X25519 key, PKCS#8 (RFC 8410); or BEGIN ENCRYPTED PRIVATE KEY
    -----BEGIN CERTIFICATE-----      its own certificate; then the intermediate that signed it, if there is one
    -----BEGIN CERTIFICATE-----      the CA certificates that it trusts: those that are their own issuers

What `openssl` writes can be put together with `cat`. Text between the blocks is for people and ignored (RFC 7468), so
`format_identity` says in front who it is. A file without a private key is what `issue --public-key` gives out: the host
puts it behind the key that never left it.

Here are texts and values only. Files are read by `tunnel.daemon.identity`, and written by `tunnel.cli.secret_files`.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from tunnel.errors import ConfigError
from tunnel.keys import PrivateKey, PublicKey
from tunnel.pki.authority import Authority
from tunnel.pki.problem import CertificateError, Problem
from tunnel.pki.profile import UNREADABLE, parse_certificate
from tunnel.pki.revocation import parse_crl

MAX_PEM_FILE = 64 * 1024
"""Bytes of a PEM file that anybody needs: a key and four certificates are about 4 KB."""

MAX_PASSPHRASE = 1023
"""Bytes that OpenSSL takes."""

_CERTIFICATE = b"CERTIFICATE"
_ENCRYPTED_KEY = b"ENCRYPTED PRIVATE KEY"
_KEYS = (b"PRIVATE KEY", _ENCRYPTED_KEY)
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n.*?-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are: the key, its certificate chain (DER, leaf first, without the CA), and the CAs that we trust."""

    private_key: PrivateKey
    chain: tuple[bytes, ...]
    authorities: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class Certificates:
    """The certificates of a file; `chain` is empty in one that holds only CAs."""

    chain: tuple[x509.Certificate, ...]
    authorities: tuple[x509.Certificate, ...]


# ---- writing ----------------------------------------------------------------------------------------------------


def format_identity(
    private_key: PrivateKey | None,
    chain: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    passphrase: bytes | None = None,
    *,
    remark: str = "",
) -> bytes:
    """The file; `remark` is one line for people. Without a private key, what its owner adds to the key."""
    key = b"" if private_key is None else format_private_key(private_key.x25519, passphrase)
    return _remark(remark) + key + format_certificates([*chain, *authorities])


def renewed_identity(
    raw: bytes, chain: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate], *, remark: str = ""
) -> bytes:
    """The file `raw` with other certificates; its private key, encrypted or not, stays byte for byte."""
    keys = [block.group() + b"\n" for block in _BLOCK.finditer(raw) if block.group(1) in _KEYS]
    return _remark(remark) + b"".join(keys) + format_certificates([*chain, *authorities])


def format_certificates(certificates: Sequence[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def format_private_key(key: PrivateKeyTypes, passphrase: bytes | None = None) -> bytes:
    """PKCS#8 in PEM; with a passphrase (1 to `MAX_PASSPHRASE` bytes) under AES-256-CBC and PBKDF2."""
    encryption: KeySerializationEncryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def _remark(text: str) -> bytes:
    return f"{text}\n".encode() if text else b""


# ---- reading ----------------------------------------------------------------------------------------------------


@contextmanager
def blaming(source: str) -> Iterator[None]:
    """Within, a `CertificateError` becomes a `ConfigError` that says first which of one's own files is to blame."""
    try:
        yield
    except CertificateError as error:
        raise ConfigError(str(error), source=source) from None


def parse_identity_file(raw: bytes, passphrase: bytes | None, source: str, *, needs_authority: bool = True) -> Identity:
    """Raise `ConfigError` for a file that is not whole, or whose key is not that of its certificate.

    Without `needs_authority` there may be no CA in it, because it comes from elsewhere. Nothing is verified here: no
    signature, no time.
    """
    key = parse_private_key(raw, passphrase, source)
    if not isinstance(key, X25519PrivateKey):
        raise ConfigError(f"{Problem.WRONG_KEY_TYPE.words}: a host's key is X25519", source=source)
    certificates = parse_certificates(raw, source)
    if not certificates.chain:
        raise ConfigError("no certificate of the host in it, only of its CA", source=source)
    if needs_authority and not certificates.authorities:
        raise ConfigError("no CA certificate in it: nobody could be trusted", source=source)
    leaf = certificates.chain[0].public_key()
    if not isinstance(leaf, X25519PublicKey) or leaf.public_bytes_raw() != key.public_key().public_bytes_raw():
        raise ConfigError("its private key is not that of its certificate", source=source)
    chain = tuple(certificate.public_bytes(Encoding.DER) for certificate in certificates.chain)
    return Identity(PrivateKey(key.private_bytes_raw()), chain, certificates.authorities)


def parse_certificates(raw: bytes, source: str) -> Certificates:
    """Raise `ConfigError` if there is none, or a broken one."""
    with blaming(source):
        found = [_parse_block(block) for block in _blocks(raw, source) if block.group(1) == _CERTIFICATE]
    if not found:
        raise ConfigError("no certificate in it", source=source)
    authorities = tuple(certificate for certificate in found if certificate.issuer == certificate.subject)
    return Certificates(tuple(one for one in found if one not in authorities), authorities)


def parse_crl_file(raw: bytes, source: str) -> x509.CertificateRevocationList:
    """Raise `ConfigError` unless it is a list in PEM."""
    try:
        return parse_crl(x509.load_pem_x509_crl(raw).public_bytes(Encoding.DER))
    except (*UNREADABLE, CertificateError):
        raise ConfigError("not a certificate revocation list", source=source) from None


def parse_authority(certificate: bytes, key: bytes, passphrase: bytes | None, sources: tuple[str, str]) -> Authority:
    """A CA from its two files, called as in `sources`; raise `ConfigError`."""
    certificate_source, key_source = sources
    certificates = parse_certificates(certificate, certificate_source)
    if len(certificates.authorities) != 1 or certificates.chain:
        raise ConfigError("expected the certificate of one CA", source=certificate_source)
    authority = certificates.authorities[0]
    private_key = parse_private_key(key, passphrase, key_source)
    if not isinstance(private_key, Ed25519PrivateKey | EllipticCurvePrivateKey):
        raise ConfigError(f"{Problem.WRONG_KEY_TYPE.words}: a CA's is Ed25519 or P-256", source=key_source)
    if private_key.public_key() != authority.public_key():
        raise ConfigError(f"not the private key of {certificate_source}", source=key_source)
    return Authority(authority, private_key)


def is_encrypted(raw: bytes) -> bool:
    """Whether the private key in the file asks for a passphrase."""
    return any(block.group(1) == _ENCRYPTED_KEY for block in _BLOCK.finditer(raw))


def has_private_key(raw: bytes) -> bool:
    return any(block.group(1) in _KEYS for block in _BLOCK.finditer(raw))


def parse_private_key(raw: bytes, passphrase: bytes | None, source: str) -> PrivateKeyTypes:
    """The one private key of a file; raise `ConfigError`, which never quotes it."""
    keys = [block for block in _blocks(raw, source) if block.group(1) in _KEYS]
    if len(keys) != 1:
        raise ConfigError("more than one private key in it" if keys else "no private key in it", source=source)
    is_protected = keys[0].group(1) == _ENCRYPTED_KEY
    if is_protected and not passphrase:
        raise ConfigError("its private key is encrypted, and there is no passphrase", source=source)
    try:
        return load_pem_private_key(keys[0].group() + b"\n", passphrase if is_protected else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        why = "wrong passphrase, or a broken private key" if is_protected else "broken private key"
        raise ConfigError(why, source=source) from None


def parse_public_key(text: str) -> PublicKey:
    """A key made elsewhere, in base64 as `tunnel pubkey` prints it or in PEM; raise `ValueError` with the reason."""
    if "-----BEGIN" not in text:
        return PublicKey.from_base64(text.strip())
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("not a public key in PEM") from None
    if not isinstance(key, X25519PublicKey):
        raise ValueError("not an X25519 key")
    return PublicKey(key.public_bytes_raw())


def _blocks(raw: bytes, source: str) -> Iterator[re.Match[bytes]]:
    if len(raw) > MAX_PEM_FILE:
        raise ConfigError(f"longer than {MAX_PEM_FILE >> 10} KiB: not an identity", source=source)
    if raw.count(b"-----BEGIN ") != sum(1 for _ in _BLOCK.finditer(raw)):
        raise ConfigError("a PEM block in it is cut off", source=source)
    return _BLOCK.finditer(raw)


def _parse_block(block: re.Match[bytes]) -> x509.Certificate:
    try:
        der = x509.load_pem_x509_certificate(block.group()).public_bytes(Encoding.DER)
    except ValueError:
        raise CertificateError(Problem.MALFORMED, "broken PEM") from None
    return parse_certificate(der)

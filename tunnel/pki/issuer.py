"""Who may sign certificates and revocation lists, and whether it did (RFC 5280, sections 4.2.1 and 6.1).

    subject public key           Ed25519, or ECDSA on P-256 with SHA-256
    basic constraints            an authority, and how many intermediates may come below it
    key usage                    keyCertSign; cRLSign for revocation lists
    subject key identifier       which key of this name it is: an authority may change its key and keep its name
    IP address blocks            inside which networks it may give out addresses and routes

The same holds for an authority that is trusted and for an intermediate.
"""

from dataclasses import dataclass
from hashlib import blake2s

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, SignatureAlgorithmOID

from tunnel.config.patch import IPNetwork
from tunnel.pki.problem import CertificateError, Problem
from tunnel.pki.profile import read_extensions, read_ip_blocks, require

Signed = x509.Certificate | x509.CertificateRevocationList
IssuerKey = Ed25519PublicKey | EllipticCurvePublicKey

MAX_TITLE = 64
"""Characters of a common name (ub-common-name of RFC 5280)."""

_HASH_LABEL = b"tunnel authority"

_ALGORITHMS = (SignatureAlgorithmOID.ED25519, SignatureAlgorithmOID.ECDSA_WITH_SHA256)


@dataclass(frozen=True, slots=True)
class Issuer:
    """What the certificate of one who signs says. Times are Unix seconds; both are still valid."""

    certificate: x509.Certificate
    key: IssuerKey
    key_identifier: bytes
    networks: tuple[IPNetwork, ...]
    max_intermediates: int | None
    """How many may come below it in a chain; None is any number."""
    may_revoke: bool
    not_before: float
    not_after: float

    def has_key_named_in(self, extensions: x509.Extensions) -> bool:
        """Whether its key is the one that a certificate or a list says it is signed with, if that says so at all."""
        try:
            named = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        except x509.ExtensionNotFound:
            return True
        return named in (None, self.key_identifier)

    def has_signed(self, signed: Signed) -> bool:
        """Whether the signature is right, and of a kind that the profile has."""
        if signed.signature_algorithm_oid not in _ALGORITHMS:
            return False
        if isinstance(signed, x509.CertificateRevocationList):
            return signed.is_signature_valid(self.key)
        try:
            signed.verify_directly_issued_by(self.certificate)
        except (InvalidSignature, ValueError):  # not its algorithm, or not the one that the signature covers
            return False
        return True


def read_issuer(certificate: x509.Certificate) -> Issuer:
    """What it may sign, if it keeps to the profile; raise `CertificateError`. Neither signature nor time is checked."""
    extensions = read_extensions(certificate)
    constraints = require(extensions, x509.BasicConstraints)
    usage = require(extensions, x509.KeyUsage)
    if not (constraints.ca and usage.key_cert_sign):
        raise CertificateError(Problem.WRONG_USAGE, f"{title(certificate.subject)} is no authority")
    _check_purposes(certificate, extensions)
    return Issuer(
        certificate=certificate,
        key=_read_key(certificate),
        key_identifier=require(extensions, x509.SubjectKeyIdentifier).digest,
        networks=read_ip_blocks(extensions),
        max_intermediates=constraints.path_length,
        may_revoke=usage.crl_sign,
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
    )


def authority_hash(certificate: x509.Certificate) -> bytes:
    """32 bytes that stand for the key of an authority, the same when it is issued anew under its old key.

    They key MAC1 of certificate requests (message 16, docs/protocol.md): whoever does not know which authority a host
    belongs to hears nothing from it. BLAKE2s-256 of a label and the DER SubjectPublicKeyInfo; `certificate` is one that
    `read_issuer` takes.
    """
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return blake2s(_HASH_LABEL + key).digest()


def _check_purposes(certificate: x509.Certificate, extensions: x509.Extensions) -> None:
    """An issuer is rarely held to purposes. One that is must have both of a peer's: nothing finer is kept."""
    try:
        purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH} <= set(purposes):
        raise CertificateError(Problem.WRONG_USAGE, f"{title(certificate.subject)} may not issue for peers")


def _read_key(certificate: x509.Certificate) -> IssuerKey:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(Problem.WRONG_KEY_TYPE, "not a key that we can read") from None
    if isinstance(key, Ed25519PublicKey) or (
        isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1)
    ):
        return key
    raise CertificateError(Problem.WRONG_KEY_TYPE, "an authority's key is Ed25519 or ECDSA P-256")


def title(name: x509.Name) -> str:
    """A name as it may stand in a line of a log, whoever wrote it: the common name in quotes, or words for none."""
    names = [attribute.value for attribute in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(names) == 1 and isinstance(names[0], str) and names[0].isprintable() and len(names[0]) <= MAX_TITLE:
        return f"'{names[0]}'"
    return "one without a readable name"

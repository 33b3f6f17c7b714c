"""An authority: it issues certificates to peers, and lists those that it has revoked.

    rng ─▶ create_authority ─▶ Authority ── issue(Request) ─▶ certificate
                                        └── build_crl ──────▶ certificate revocation list

The name of an authority is its subject; its certificate has, in RFC 3779 blocks, the networks that it may give out.
All times are Unix seconds; a certificate counts in whole ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tunnel.config.patch import IPNetwork
from tunnel.errors import ConfigError
from tunnel.keys import PublicKey, Rng
from tunnel.pki.ipblocks import (
    IP_BLOCKS_OID,
    MAX_NETWORKS,
    IPAddress,
    decode_ip_blocks,
    encode_host_blocks,
    encode_ip_blocks,
    is_covered,
    is_single,
)
from tunnel.pki.problem import CertificateError, Problem
from tunnel.pki.profile import is_plain, parse_certificate, read_claims, read_extensions, read_ip_blocks

EVERYTHING: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))

AUTHORITY_DAYS: Final = 3650
CERTIFICATE_DAYS: Final = 90
CRL_DAYS: Final = 30
MAX_DAYS: Final = 36525
"""A century: beyond, somebody has mistyped."""

BACKDATING: Final = 300
"""Seconds: a certificate is used at once, by hosts whose clocks differ."""

DAY: Final = 86400

MAX_NAME: Final = 64
"""Characters of a common name (X.520)."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that may issue others, and its private key: Ed25519, or ECDSA on P-256."""

    certificate: x509.Certificate
    key: Ed25519PrivateKey | EllipticCurvePrivateKey

    @property
    def networks(self) -> tuple[IPNetwork, ...]:
        """What it may give out; raise `CertificateError` if its certificate does not say."""
        return read_ip_blocks(read_extensions(self.certificate))


@dataclass(frozen=True, slots=True)
class Request:
    """What a peer's certificate is to say; the fields are those of `tunnel.pki.profile.Claims`."""

    name: str
    public_key: PublicKey
    addresses: tuple[IPAddress, ...] = ()
    routes: tuple[IPNetwork, ...] = ()
    dns_names: tuple[str, ...] = ()
    ip_names: tuple[IPAddress, ...] = ()
    is_server: bool = False


def create_authority(
    name: str, rng: Rng, now: float, *, days: int = AUTHORITY_DAYS, networks: Sequence[IPNetwork] = ()
) -> Authority:
    """A new authority with an Ed25519 key, which may issue any address in `networks`, and without them any at all.

    Raise `ConfigError`, and `CertificateError` (TOO_LARGE) for too many networks.
    """
    if not name or not name.isprintable() or name != name.strip() or len(name) > MAX_NAME:
        raise ConfigError(f"an authority's name has 1 to {MAX_NAME} printable characters")
    key = Ed25519PrivateKey.from_private_bytes(rng(32))
    subject = _name(name)
    blocks = encode_ip_blocks(networks or EVERYTHING, networks or EVERYTHING)
    builder = (
        _builder(subject, rng, now, _end(now, days))
        .subject_name(subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.UnrecognizedExtension(IP_BLOCKS_OID, blocks), critical=True)
    )
    certificate = builder.sign(key, None)
    parse_certificate(certificate.public_bytes(Encoding.DER))
    return Authority(certificate, key)


def issue(
    authority: Authority,
    request: Request,
    rng: Rng,
    now: float,
    *,
    days: int = CERTIFICATE_DAYS,
    allow_default_route: bool = False,
) -> x509.Certificate:
    """A certificate that says what was requested, and ends with the authority's own at the latest.

    `rng` draws the serial number. Raise `ConfigError` for a request that makes no sense, and `CertificateError` for one
    that the authority must not grant (PREFIX_NOT_ISSUERS, DEFAULT_ROUTE, EXPIRED) or that is TOO_LARGE.
    """
    _check(request)
    blocks = _encode_blocks(request)
    _check_addresses(decode_ip_blocks(blocks), authority.networks, allow_default_route)
    end = min(_end(now, days), authority.certificate.not_valid_after_utc.timestamp())
    if end <= now:
        raise CertificateError(Problem.EXPIRED, "the authority's own")
    public_key = X25519PublicKey.from_public_bytes(request.public_key.raw)
    builder = (
        _builder(authority.certificate.subject, rng, now, end)
        .subject_name(_name(request.name))
        .public_key(public_key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(key_agreement=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(_usages(request)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(_authority_key_identifier(authority), critical=False)
        .add_extension(x509.UnrecognizedExtension(IP_BLOCKS_OID, blocks), critical=True)
    )
    if names := _alternative_names(request):
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(authority.key, _hash(authority))
    read_claims(parse_certificate(certificate.public_bytes(Encoding.DER)))  # what we issue, we accept
    return certificate


def build_crl(
    authority: Authority, revoked: Mapping[int, float], number: int, now: float, *, days: int = CRL_DAYS
) -> x509.CertificateRevocationList:
    """The list of all that is revoked, serial -> when. `number` grows from list to list. Raise `ConfigError`."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(_moment(now))
        .next_update(_moment(_end(now, days)))
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(_authority_key_identifier(authority), critical=False)
    )
    for serial, when in sorted(revoked.items()):
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(_moment(when)).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(authority.key, _hash(authority))


def _check(request: Request) -> None:
    if not is_plain(request.name) or len(request.name) > MAX_NAME:
        raise ConfigError(f"a peer's name has 1 to {MAX_NAME} printable characters, without spaces")
    if not request.addresses:
        raise ConfigError(f"{request.name}: no address")
    if len(request.addresses) + len(request.routes) > MAX_NETWORKS:
        raise CertificateError(Problem.TOO_LARGE, f"more than {MAX_NETWORKS} addresses and routes")
    for route in request.routes:
        if is_single(route):
            raise ConfigError(f"{request.name}: a route to one address, {route}, would be an address of its own")
    for name in request.dns_names:
        if not is_plain(name) or not name.isascii():
            raise ConfigError(f"{request.name}: {name!r} is not a DNS name (internationalised ones are written xn--…)")


def _encode_blocks(request: Request) -> bytes:
    try:
        return encode_host_blocks(request.addresses, request.routes)
    except ValueError as error:
        raise ConfigError(f"{request.name}: {error}") from None


def _check_addresses(wanted: Iterable[IPNetwork], networks: Sequence[IPNetwork], allow_default_route: bool) -> None:
    for network in wanted:
        if network.prefixlen == 0 and not allow_default_route:
            raise CertificateError(Problem.DEFAULT_ROUTE, str(network))
        if not is_covered(network, networks):
            raise CertificateError(Problem.PREFIX_NOT_ISSUERS, str(network))


def _builder(issuer: x509.Name, rng: Rng, now: float, end: float) -> x509.CertificateBuilder:
    """With what every certificate has: issuer, serial number and validity."""
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .serial_number(int.from_bytes(rng(16), "big") >> 1 or 1)  # positive, and no byte more than it needs
        .not_valid_before(_moment(now - BACKDATING))
        .not_valid_after(_moment(end))
    )


def _end(now: float, days: int) -> float:
    if not 1 <= days <= MAX_DAYS:
        raise ConfigError(f"{days} days: expected 1 to {MAX_DAYS}")
    return now + days * DAY


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(*, key_agreement: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=key_agreement,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _usages(request: Request) -> list[x509.ObjectIdentifier]:
    server = [ExtendedKeyUsageOID.SERVER_AUTH] if request.is_server else []
    return [*server, ExtendedKeyUsageOID.CLIENT_AUTH]


def _alternative_names(request: Request) -> list[x509.GeneralName]:
    return [*map(x509.DNSName, request.dns_names), *map(x509.IPAddress, request.ip_names)]


def _authority_key_identifier(authority: Authority) -> x509.AuthorityKeyIdentifier:
    """The authority's own subject key identifier, whichever way it was made."""
    try:
        own = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        own = x509.SubjectKeyIdentifier.from_public_key(authority.key.public_key())
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _hash(authority: Authority) -> SHA256 | None:
    """What is hashed before it is signed: Ed25519 does that by itself."""
    return None if isinstance(authority.key, Ed25519PrivateKey) else SHA256()

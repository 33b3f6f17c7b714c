"""The certificate profile: what a peer's X.509 certificate says, and what makes it unfit.

    subject common name          the peer's name
    subject public key           its X25519 static key (RFC 8410)
    subject alternative name     where it is dialled, on the outside: DNS names and IP addresses
    IP address blocks (RFC 3779) what it may be on the inside: a single address is its own, a longer block is routed
    extended key usage           clientAuth always; serverAuth if it may be dialled
    key usage, basic constraints key agreement; not an authority

Signatures, times and chains are `tunnel.pki.verify`'s.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tunnel.config.patch import IPNetwork
from tunnel.keys import PublicKey
from tunnel.pki.ipblocks import IP_BLOCKS_OID, IPAddress, decode_ip_blocks, is_single
from tunnel.pki.problem import CertificateError, Problem

UNREADABLE: Final = (
    ValueError,
    TypeError,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for DER that is no certificate or list; `TypeError` for a name that is a BIT STRING."""

MAX_CERTIFICATE_SIZE: Final = 1024
"""Bytes of DER. A chain has to fit a datagram that no path fragments; a usual certificate has about 450."""

_PRIME: Final = 2**255 - 19
_LOW_ORDER: Final = frozenset(
    {
        0,
        1,
        _PRIME - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    }
)
"""The u-coordinates of all points whose order divides 8, on the curve and on its twist."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a peer's certificate says. Times are Unix seconds; both `not_before` and `not_after` are still valid."""

    name: str
    public_key: PublicKey
    addresses: tuple[IPAddress, ...]
    """The peer's own, inside."""
    routes: tuple[IPNetwork, ...]
    """The networks that it routes, inside."""
    dns_names: tuple[str, ...]
    ip_names: tuple[IPAddress, ...]
    """Where it is dialled, outside."""
    is_server: bool
    """It may be dialled."""
    not_before: float
    not_after: float
    serial: int

    @property
    def networks(self) -> tuple[IPNetwork, ...]:
        """All that it may be inside: its own addresses, each as a network, then the routes."""
        return (*map(ip_network, self.addresses), *self.routes)


def parse_certificate(der: bytes) -> x509.Certificate:
    """One certificate and nothing after it; raise `CertificateError` (MALFORMED, TOO_LARGE)."""
    if len(der) > MAX_CERTIFICATE_SIZE:
        raise CertificateError(Problem.TOO_LARGE, f"{len(der)} bytes, more than {MAX_CERTIFICATE_SIZE}")
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.subject, certificate.issuer  # read when asked for, so they are asked for here
        return certificate
    except UNREADABLE:
        raise CertificateError(Problem.MALFORMED, "broken or trailing DER") from None


def read_claims(certificate: x509.Certificate) -> Claims:
    """What a peer's certificate says, if it keeps to the profile; raise `CertificateError`.

    `certificate` comes from `parse_certificate`. Neither its signature nor the time is checked.
    """
    key = read_public_key(certificate)
    extensions = read_extensions(certificate)
    if require(extensions, x509.BasicConstraints).ca:
        raise CertificateError(Problem.WRONG_USAGE, "an authority's, not a peer's")
    if not require(extensions, x509.KeyUsage).key_agreement:
        raise CertificateError(Problem.WRONG_USAGE, "key usage without key agreement")
    usages = require(extensions, x509.ExtendedKeyUsage)
    if ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise CertificateError(Problem.WRONG_USAGE, "extended key usage without clientAuth")
    networks = read_ip_blocks(extensions)
    dns_names, ip_names = _read_alternative_names(extensions)
    return Claims(
        name=_read_name(certificate),
        public_key=key,
        addresses=tuple(network.network_address for network in networks if is_single(network)),
        routes=tuple(network for network in networks if not is_single(network)),
        dns_names=dns_names,
        ip_names=ip_names,
        is_server=ExtendedKeyUsageOID.SERVER_AUTH in usages,
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
        serial=certificate.serial_number,
    )


def read_public_key(certificate: x509.Certificate) -> PublicKey:
    """The subject's X25519 key; raise `CertificateError` (WRONG_KEY_TYPE)."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise CertificateError(Problem.WRONG_KEY_TYPE, "not a key that we can read") from None
    if not isinstance(key, X25519PublicKey):
        raise CertificateError(Problem.WRONG_KEY_TYPE, "a peer's key is X25519")
    raw = key.public_bytes_raw()
    if is_low_order(raw):
        raise CertificateError(Problem.WRONG_KEY_TYPE, "an X25519 key of low order, which anybody has")
    return PublicKey(raw)


def is_low_order(raw: bytes) -> bool:
    """Whether an exchange with this public key comes to zero, whoever takes part (RFC 7748, section 7)."""
    return int.from_bytes(raw, "little") % (1 << 255) % _PRIME in _LOW_ORDER


_KNOWN = frozenset(
    {
        x509.BasicConstraints.oid,
        x509.KeyUsage.oid,
        x509.ExtendedKeyUsage.oid,
        x509.SubjectAlternativeName.oid,
        IP_BLOCKS_OID,
    }
)
"""The extensions that we look at, and which may therefore be critical."""


def read_extensions(certificate: x509.Certificate) -> x509.Extensions:
    """Raise `CertificateError` if they cannot be read, or a critical one is not among those that we look at."""
    try:
        extensions = certificate.extensions
    except UNREADABLE:
        raise CertificateError(Problem.MALFORMED, "broken or repeated extension") from None
    for extension in extensions:
        if extension.critical and extension.oid not in _KNOWN:
            raise CertificateError(Problem.UNKNOWN_CRITICAL_EXTENSION, extension.oid.dotted_string)
    return extensions


Extension = TypeVar("Extension", bound=x509.ExtensionType)


def require(extensions: x509.Extensions, kind: type[Extension]) -> Extension:
    """The extension of this kind; raise `CertificateError` (MISSING_EXTENSION)."""
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        raise CertificateError(Problem.MISSING_EXTENSION, kind.oid._name) from None


def read_ip_blocks(extensions: x509.Extensions) -> tuple[IPNetwork, ...]:
    """The inside addresses of a peer, or those that an authority may issue; raise `CertificateError`."""
    try:
        blocks = extensions.get_extension_for_oid(IP_BLOCKS_OID).value
    except x509.ExtensionNotFound:
        raise CertificateError(Problem.MISSING_EXTENSION, "IP address blocks") from None
    assert isinstance(blocks, x509.UnrecognizedExtension)
    return decode_ip_blocks(blocks.value)


def _read_name(certificate: x509.Certificate) -> str:
    names = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(names) != 1 or not isinstance(names[0], str) or not is_plain(names[0]):
        raise CertificateError(Problem.MALFORMED, "not one readable common name")
    return names[0]


def _read_alternative_names(extensions: x509.Extensions) -> tuple[tuple[str, ...], tuple[IPAddress, ...]]:
    """(DNS names, IP addresses), both empty without the extension. Names of other kinds are nothing to us."""
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), ()
    dns_names = tuple(names.get_values_for_type(x509.DNSName))
    ip_names = tuple(names.get_values_for_type(x509.IPAddress))
    if not all(name.isascii() and is_plain(name) for name in dns_names):
        raise CertificateError(Problem.MALFORMED, "unreadable DNS name")
    return dns_names, tuple(name for name in ip_names if isinstance(name, IPv4Address | IPv6Address))


def is_plain(name: str) -> bool:
    """A name that fits one word of a log line: nothing in it is white space or a control character."""
    return bool(name) and name.isprintable() and " " not in name

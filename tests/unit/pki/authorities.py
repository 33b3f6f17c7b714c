"""Authorities, certificates and misfits for tests, the same in every run.

`altered` makes what `issue` would refuse: a copy of a good certificate with something else in one place, signed again.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_address, ip_network

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tunnel.config.patch import IPNetwork
from tunnel.keys import PrivateKey, Rng
from tunnel.pki.authority import DAY, EVERYTHING, Authority, Request, create_authority, issue
from tunnel.pki.ipblocks import IP_BLOCKS_OID, IPAddress, encode_ip_blocks

NOW = 1_800_000_000.0


def rng(seed: str) -> Rng:
    return random.Random(seed).randbytes


def key_of(name: str) -> PrivateKey:
    """The static key of the peer of this name."""
    return PrivateKey(sha256(name.encode()).digest())


def addresses(*texts: str) -> tuple[IPAddress, ...]:
    return tuple(map(ip_address, texts))


def networks(*texts: str) -> tuple[IPNetwork, ...]:
    return tuple(map(ip_network, texts))


def new_authority(name: str = "Example CA", *, within: Sequence[IPNetwork] = (), days: int = 3650) -> Authority:
    """Its key is made of its name."""
    return create_authority(name, rng(name), NOW, days=days, networks=within)


def p256_authority(name: str = "P-256 CA") -> Authority:
    key = ec.derive_private_key(int.from_bytes(sha256(name.encode()).digest()) >> 1, ec.SECP256R1())
    model = new_authority(name)
    public_key = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public_key)
    signer = Authority(model.certificate, key)
    certificate = altered(model.certificate, signer, public_key=public_key, replacing=[identifier])
    return Authority(certificate, key)


def intermediate(
    authority: Authority, name: str = "Intermediate", *, within: Sequence[IPNetwork] = (), path_length: int | None = 0
) -> Authority:
    """An authority below another one, which may issue to peers only."""
    key = new_authority(name).key
    certificate = altered(
        new_authority(name, within=within or EVERYTHING).certificate,
        authority,
        replacing=[
            x509.BasicConstraints(ca=True, path_length=path_length),
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()),
        ],
    )
    return Authority(certificate, key)


LAPTOP = Request("laptop", key_of("laptop").public_key, addresses=addresses("10.9.0.2", "fd09::2"))

GATEWAY = Request(
    "gateway",
    key_of("gateway").public_key,
    addresses=addresses("10.9.0.1"),
    routes=networks("10.9.0.0/24", "192.168.7.0/24"),
    dns_names=("gw.example.com", "*.vpn.example.com"),
    ip_names=addresses("192.0.2.1", "2001:db8::1"),
    is_server=True,
)


def issued(authority: Authority, request: Request = LAPTOP, *, now: float = NOW, days: int = 90) -> x509.Certificate:
    return issue(authority, request, rng(request.name), now, days=days, allow_default_route=True)


def issued_to(authority: Authority, name: str, *texts: str) -> x509.Certificate:
    """A peer's certificate with these addresses (``10.9.0.7``) and routes (``10.8.0.0/16``)."""
    routes = networks(*(text for text in texts if "/" in text))
    own = addresses(*(text for text in texts if "/" not in text))
    request = replace(LAPTOP, name=name, public_key=key_of(name).public_key, addresses=own, routes=routes)
    return issued(authority, request)


def altered(
    certificate: x509.Certificate,
    signer: Authority,
    *,
    subject: x509.Name | None = None,
    public_key: CertificatePublicKeyTypes | None = None,
    not_before: float | None = None,
    not_after: float | None = None,
    without: Sequence[x509.ObjectIdentifier] = (),
    replacing: Sequence[x509.ExtensionType] = (),
    critical: bool = False,
) -> x509.Certificate:
    """A copy, signed by `signer`, without some extensions, and with others instead of those of the same kind.

    Those replaced stay as critical as they were; of what is new, `critical` says.
    """
    builder = x509.CertificateBuilder(
        issuer_name=signer.certificate.subject,
        subject_name=certificate.subject if subject is None else subject,
        public_key=public_key or certificate.public_key(),
        serial_number=certificate.serial_number,
        not_valid_before=_moment(not_before) or certificate.not_valid_before_utc,
        not_valid_after=_moment(not_after) or certificate.not_valid_after_utc,
    )
    was_critical = {extension.oid: extension.critical for extension in certificate.extensions}
    dropped = {*without, *(value.oid for value in replacing)}
    for extension in certificate.extensions:
        if extension.oid not in dropped:
            builder = builder.add_extension(extension.value, extension.critical)
    for value in replacing:
        builder = builder.add_extension(value, was_critical.get(value.oid, critical))
    return builder.sign(signer.key, None if isinstance(signer.key, Ed25519PrivateKey) else SHA256())


def named(*common_names: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in common_names])


def ip_blocks(*texts: str) -> x509.UnrecognizedExtension:
    """The extension, to be used in `altered`."""
    return x509.UnrecognizedExtension(IP_BLOCKS_OID, encode_ip_blocks(networks(*texts)))


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def days(count: float) -> float:
    """In seconds."""
    return count * DAY


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

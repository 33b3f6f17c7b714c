"""Invariant: any bytes are a certificate, its claims and its IP blocks, or a `CertificateError` of one line.

Garbage is often almost a certificate: a good one with bytes or whole fields changed, in an extension
for instance, and signed again.
"""

import warnings
from collections.abc import Callable
from typing import TypeVar

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.pki.authorities import GATEWAY, LAPTOP, altered, der, issued, new_authority, p256_authority
from tunnel.pki.ipblocks import IP_BLOCKS_OID, decode_ip_blocks, encode_ip_blocks
from tunnel.pki.problem import CertificateError, Problem
from tunnel.pki.profile import Claims, parse_certificate, read_claims

CA = new_authority()
GOOD = issued(CA, GATEWAY)
SEEDS = [der(GOOD), der(issued(CA, LAPTOP)), der(issued(p256_authority(), GATEWAY)), der(CA.certificate)]
BLOCKS = GOOD.extensions.get_extension_for_oid(IP_BLOCKS_OID).value.public_bytes()
EXTENSIONS = [extension.oid for extension in GOOD.extensions] + [
    x509.NameConstraints.oid,
    x509.CRLDistributionPoints.oid,
    x509.CertificatePolicies.oid,
]

Value = TypeVar("Value")


def value_or_error(act: Callable[[], Value]) -> Value | CertificateError:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # negative serial numbers, for one
            return act()
    except CertificateError as error:
        return error


def claims_of(raw: bytes) -> Claims:
    claims = read_claims(parse_certificate(raw))
    assert "\n" not in claims.name + "".join(claims.dns_names)
    assert all(network.prefixlen < network.max_prefixlen for network in claims.routes)
    return claims


@st.composite
def damaged(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with a few bytes changed in place, and sometimes some cut out or put in."""
    raw = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    if draw(st.booleans()):
        start = draw(st.integers(0, len(raw)))
        raw[start : start + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(raw)


def is_claims_or_refused(raw: bytes) -> bool:
    found = value_or_error(lambda: claims_of(raw))
    return isinstance(found, Claims) or "\n" not in str(found)


@given(st.binary(max_size=1200) | damaged(SEEDS))
def test_any_bytes_are_claims_or_an_error(raw: bytes) -> None:
    assert is_claims_or_refused(raw)


@given(st.sampled_from(EXTENSIONS), st.binary(max_size=60) | damaged([BLOCKS]), st.booleans())
def test_any_extension_is_claims_or_an_error(oid: x509.ObjectIdentifier, raw: bytes, is_critical: bool) -> None:
    extension = x509.UnrecognizedExtension(oid, raw)
    assert is_claims_or_refused(der(altered(GOOD, CA, replacing=[extension], critical=is_critical)))


@given(st.binary(max_size=60) | damaged([BLOCKS]))
def test_any_bytes_are_ip_blocks_or_an_error(raw: bytes) -> None:
    blocks = value_or_error(lambda: decode_ip_blocks(raw))
    if isinstance(blocks, CertificateError):
        assert blocks.problem is Problem.MALFORMED
    else:
        assert decode_ip_blocks(encode_ip_blocks(blocks))

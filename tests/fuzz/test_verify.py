"""Invariant: whatever is presented, and whatever an authority of ours has signed, comes to `CertificateError` or to
claims that hold now, at least as long as they are believed, inside the networks of every issuer above; and what was
changed after it was signed says nothing new.
"""

from ipaddress import ip_network

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given
from hypothesis import strategies as st

from tests.unit.pki.authorities import GATEWAY, LAPTOP, NOW, der, intermediate, issued, networks, new_authority
from tests.unit.pki.encoding import ED25519, sequence
from tunnel.pki.authority import Authority, build_crl
from tunnel.pki.ipblocks import is_covered
from tunnel.pki.problem import CertificateError
from tunnel.pki.profile import Claims, parse_certificate, read_claims
from tunnel.pki.revocation import parse_crl
from tunnel.pki.verify import Trust, is_named, verify

WITHIN = networks("10.9.0.0/16", "192.168.0.0/16", "fd09::/32")
AUTHORITY = new_authority(within=WITHIN)
BELOW = intermediate(AUTHORITY, within=WITHIN)
TRUST = Trust((AUTHORITY.certificate,))
GATEWAY_CERTIFICATE = issued(AUTHORITY, GATEWAY)
CHAIN = [der(issued(BELOW, LAPTOP)), der(BELOW.certificate)]
CRL = build_crl(AUTHORITY, {GATEWAY_CERTIFICATE.serial_number: NOW}, 1, NOW)

Change = tuple[float, int, bytes]
"""Where, as a share of the whole; how many bytes go; what comes instead."""

changes = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True), st.integers(0, 4), st.binary(max_size=4) | st.sampled_from([b"\0", b"\xff"])
    ),
    min_size=1,
    max_size=3,
)


def change(data: bytes, edits: list[Change]) -> bytes:
    for share, gone, instead in edits:
        place = int(share * len(data))
        data = data[:place] + instead + data[place + gone :]
    return data


def sign(body: bytes, signer: Authority) -> bytes:
    """A certificate or a list with this body, rightly signed."""
    assert isinstance(signer.key, Ed25519PrivateKey)
    return sequence(body, ED25519, b"\x03\x41\0", signer.key.sign(body))


def claims_of(chain: list[bytes], trust: Trust = TRUST) -> Claims | None:
    try:
        verified = verify(chain, trust, NOW)
    except CertificateError as error:
        assert_readable(error)
        return None
    assert NOW <= verified.until <= verified.claims.not_after
    assert verified.authority in trust.authorities
    return verified.claims


def assert_readable(error: CertificateError) -> None:
    assert str(error).isprintable()


def assert_sound(claims: Claims | None) -> None:
    if claims is not None:
        assert claims.not_before <= NOW <= claims.not_after
        assert all(is_covered(network, WITHIN) for network in (*map(ip_network, claims.addresses), *claims.routes))


@given(st.lists(st.binary(max_size=64) | st.sampled_from(CHAIN), max_size=4))
def test_any_bytes_are_refused(chain: list[bytes]) -> None:
    assert claims_of(chain) in (None, *([claims_of(CHAIN)] if chain == CHAIN else []))


@given(changes, st.integers(0, 1))
def test_what_was_changed_after_it_was_signed_says_nothing_new(edits: list[Change], which: int) -> None:
    chain = list(CHAIN)
    chain[which] = change(chain[which], edits)
    assert claims_of(chain) in (None, claims_of(CHAIN))


@given(changes)
def test_whatever_an_authority_signs_is_judged(edits: list[Change]) -> None:
    assert_sound(claims_of([sign(change(GATEWAY_CERTIFICATE.tbs_certificate_bytes, edits), AUTHORITY)]))


@given(changes)
def test_whatever_an_intermediate_says_is_judged(edits: list[Change]) -> None:
    odd = sign(change(BELOW.certificate.tbs_certificate_bytes, edits), AUTHORITY)
    assert_sound(claims_of([CHAIN[0], odd]))


@given(changes)
def test_an_authority_that_says_anything_is_judged(edits: list[Change]) -> None:
    try:
        odd = parse_certificate(sign(change(AUTHORITY.certificate.tbs_certificate_bytes, edits), AUTHORITY))
    except CertificateError:
        return
    claims_of(CHAIN, Trust((odd,)))


@given(changes, st.booleans())
def test_a_list_that_says_anything_is_judged(edits: list[Change], resigned: bool) -> None:
    raw = CRL.public_bytes(Encoding.DER)
    try:
        crl = parse_crl(sign(change(CRL.tbs_certlist_bytes, edits), AUTHORITY) if resigned else change(raw, edits))
    except CertificateError:
        return
    assert_sound(claims_of([der(GATEWAY_CERTIFICATE)], Trust((AUTHORITY.certificate,), (crl,))))


@given(st.text(max_size=40) | st.from_regex(r"[*a-z0-9.:%\[\]-]*", fullmatch=True), st.text("*.aé", max_size=9))
@example("fe80::1%eth0", "*")
@example("2001:db8::1%5", "*")
def test_any_name_is_that_of_the_certificate_or_not(name: str, pattern: str) -> None:
    claims = read_claims(GATEWAY_CERTIFICATE)
    assert is_named(claims, name) in (True, False)
    assert is_named(claims, pattern) in (True, False)

"""A good chain comes to its claims, anything else to its own `Problem`."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtensionOID

from tests.unit.pki.authorities import (
    NOW,
    altered,
    days,
    der,
    intermediate,
    ip_blocks,
    issued,
    issued_to,
    networks,
    new_authority,
    p256_authority,
)
from tests.unit.pki.chains import chain, narrowed, refused, trust
from tunnel.pki.authority import Authority
from tunnel.pki.ipblocks import IP_BLOCKS_OID, encode_ip_blocks
from tunnel.pki.problem import Problem
from tunnel.pki.profile import read_claims
from tunnel.pki.validity import CLOCK_SLACK
from tunnel.pki.verify import MAX_CHAIN_SIZE, verify

AUTHORITY = new_authority()
TRUST = trust(AUTHORITY)
INTERMEDIATE = intermediate(AUTHORITY)
CERTIFICATE = issued(AUTHORITY)
STRANGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\5\0")


# ── what is believed ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_certificate_of_a_trusted_authority_is_believed_as_it_stands() -> None:
    assert verify(chain(CERTIFICATE), TRUST, NOW).claims == read_claims(CERTIFICATE)


def test_one_intermediate_may_stand_between() -> None:
    leaf = issued(INTERMEDIATE)
    assert verify(chain(leaf, INTERMEDIATE), TRUST, NOW).claims == read_claims(leaf)


def test_authorities_may_have_p256_keys() -> None:
    authority = p256_authority()
    below = intermediate(authority)
    assert verify(chain(issued(authority)), trust(authority), NOW).claims.name == "laptop"
    assert verify(chain(issued(below), below), trust(authority), NOW).claims.name == "laptop"


def test_claims_last_as_long_as_the_whole_chain() -> None:
    short = altered(INTERMEDIATE.certificate, AUTHORITY, not_before=NOW - 7, not_after=NOW + 9)
    claims = verify(chain(issued(INTERMEDIATE), short), TRUST, NOW).claims
    assert (claims.not_before, claims.not_after) == (NOW - 7, NOW + 9)


def test_a_chain_leads_to_one_of_the_authorities_that_we_trust() -> None:
    other = new_authority("Other CA")
    both = trust(other, AUTHORITY)
    assert verify(chain(CERTIFICATE), both, NOW).authority == AUTHORITY.certificate
    assert verify(chain(issued(INTERMEDIATE), INTERMEDIATE), both, NOW).authority == AUTHORITY.certificate
    assert verify(chain(issued(other)), both, NOW).authority == other.certificate


def test_a_chain_is_believed_until_the_first_certificate_in_it_ends() -> None:
    short = altered(INTERMEDIATE.certificate, AUTHORITY, not_after=NOW + 9)
    assert verify(chain(issued(INTERMEDIATE), short), TRUST, NOW).until == NOW + 9
    assert verify(chain(CERTIFICATE), TRUST, NOW).until == NOW + days(90)


def test_a_certificate_is_as_old_as_it_says_itself() -> None:
    """Of two below an authority that was issued anew, one is still the older."""
    anew = altered(AUTHORITY.certificate, AUTHORITY, not_before=NOW - 1)
    verified = verify(chain(CERTIFICATE), trust(anew), NOW)
    assert verified.made == CERTIFICATE.not_valid_before_utc.timestamp()
    assert verified.claims.not_before == NOW - 1


def test_an_authority_is_read_once() -> None:
    """It takes as long as the check of a signature."""
    patient = trust(AUTHORITY, new_authority("Other CA"))
    (first,) = patient.issuers_named(AUTHORITY.certificate.subject)
    (again,) = patient.issuers_named(AUTHORITY.certificate.subject)
    assert first is again


def test_an_authority_outside_the_profile_spoils_nobody_elses_certificates() -> None:
    odd = altered(new_authority("Odd CA").certificate, AUTHORITY, without=[IP_BLOCKS_OID])
    assert verify(chain(CERTIFICATE), trust(odd, AUTHORITY), NOW).claims.name == "laptop"


# ── its bytes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_chain_of_none_is_malformed() -> None:
    with refused(Problem.MALFORMED):
        verify([], TRUST, NOW)


@pytest.mark.parametrize("broken", [b"", b"0", der(CERTIFICATE)[:-1], der(CERTIFICATE) + b"\0"])
def test_broken_and_trailing_der_is_malformed(broken: bytes) -> None:
    with refused(Problem.MALFORMED):
        verify([broken], TRUST, NOW)
    with refused(Problem.MALFORMED):
        verify([der(CERTIFICATE), broken], TRUST, NOW)


def test_a_name_that_is_no_text_is_malformed() -> None:
    for text in (b"laptop", b"Example CA"):
        with refused(Problem.MALFORMED):
            verify([der(CERTIFICATE).replace(text, b"\xff" * len(text))], TRUST, NOW)


def test_two_intermediates_are_too_many() -> None:
    above = intermediate(AUTHORITY, "Above", path_length=1)
    below = intermediate(above, "Below")
    with refused(Problem.CHAIN_TOO_LONG):
        verify(chain(issued(below), below, above), TRUST, NOW)


def test_an_authority_may_forbid_intermediates() -> None:
    strict = Authority(
        altered(AUTHORITY.certificate, AUTHORITY, replacing=[x509.BasicConstraints(ca=True, path_length=0)]),
        AUTHORITY.key,
    )
    assert verify(chain(CERTIFICATE), trust(strict), NOW).claims == read_claims(CERTIFICATE)
    with refused(Problem.CHAIN_TOO_LONG):
        verify(chain(issued(INTERMEDIATE), INTERMEDIATE), trust(strict), NOW)


def test_an_authority_may_leave_the_length_open() -> None:
    lax = altered(AUTHORITY.certificate, AUTHORITY, replacing=[x509.BasicConstraints(ca=True, path_length=None)])
    assert verify(chain(issued(INTERMEDIATE), INTERMEDIATE), trust(lax), NOW).claims.name == "laptop"


def test_a_certificate_that_no_datagram_holds_is_too_large() -> None:
    with refused(Problem.TOO_LARGE):
        verify([bytes(MAX_CHAIN_SIZE + 1)], TRUST, NOW)


def test_all_certificates_together_have_to_fit_the_datagram() -> None:
    routes = [f"10.{number}.0.0/24" for number in range(40)]
    raw = chain(issued_to(INTERMEDIATE, "router", "10.9.0.1", *routes), INTERMEDIATE)
    assert all(len(one) < MAX_CHAIN_SIZE for one in raw)
    with refused(Problem.TOO_LARGE):
        verify(raw, TRUST, NOW)


# ── its profile ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_peers_key_is_x25519() -> None:
    odd = altered(CERTIFICATE, AUTHORITY, public_key=Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key())
    with refused(Problem.WRONG_KEY_TYPE):
        verify(chain(odd), TRUST, NOW)


@pytest.mark.parametrize(
    "missing",
    [
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        IP_BLOCKS_OID,
    ],
)
def test_a_certificate_without_an_extension_of_the_profile_is_refused(missing: x509.ObjectIdentifier) -> None:
    with refused(Problem.MISSING_EXTENSION):
        verify(chain(altered(CERTIFICATE, AUTHORITY, without=[missing])), TRUST, NOW)


def test_a_critical_extension_that_we_do_not_know_is_refused() -> None:
    with refused(Problem.UNKNOWN_CRITICAL_EXTENSION, "1.3.6.1.4.1.99999.1"):
        verify(chain(altered(CERTIFICATE, AUTHORITY, replacing=[STRANGE], critical=True)), TRUST, NOW)


def test_an_extension_that_we_do_not_know_is_ignored_if_it_may_be() -> None:
    extended = altered(CERTIFICATE, AUTHORITY, replacing=[STRANGE])
    assert verify(chain(extended), TRUST, NOW).claims == read_claims(CERTIFICATE)


def test_an_authority_is_not_a_peer() -> None:
    authority_key = new_authority("other").key.public_key()
    for key, problem in ((authority_key, Problem.WRONG_KEY_TYPE), (CERTIFICATE.public_key(), Problem.WRONG_USAGE)):
        with refused(problem):
            verify(chain(altered(INTERMEDIATE.certificate, AUTHORITY, public_key=key)), TRUST, NOW)


# ── the moment ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_certificate_holds_to_its_last_second() -> None:
    end = CERTIFICATE.not_valid_after_utc.timestamp()
    assert verify(chain(CERTIFICATE), TRUST, end).claims.not_after == end
    with refused(Problem.EXPIRED, "laptop held until 2027-04-15 08:00 UTC"):
        verify(chain(CERTIFICATE), TRUST, end + 0.5)


def test_a_certificate_holds_from_its_first_second_on() -> None:
    begin = NOW + 100
    coming = altered(CERTIFICATE, AUTHORITY, not_before=begin)
    assert verify(chain(coming), TRUST, begin).claims.not_before == begin
    with refused(Problem.NOT_YET_VALID, "laptop holds from"):
        verify(chain(coming), TRUST, begin - 0.5)


def test_an_expired_intermediate_ends_what_it_issued() -> None:
    expired = altered(INTERMEDIATE.certificate, AUTHORITY, not_after=NOW - 1)
    with refused(Problem.EXPIRED, "'Intermediate'"):
        verify(chain(issued(INTERMEDIATE), expired), TRUST, NOW)


def test_an_intermediate_that_is_to_come_has_issued_nothing_yet() -> None:
    coming = altered(INTERMEDIATE.certificate, AUTHORITY, not_before=NOW + days(400), not_after=NOW + days(500))
    with refused(Problem.NOT_YET_VALID, "'Intermediate'"):
        verify(chain(issued(INTERMEDIATE), coming), TRUST, NOW)


def test_an_expired_authority_ends_what_it_issued() -> None:
    expired = altered(AUTHORITY.certificate, AUTHORITY, not_after=NOW - 1)
    with refused(Problem.EXPIRED, "authority 'Example CA'"):
        verify(chain(CERTIFICATE), trust(expired), NOW)


def test_a_trusted_authority_may_be_a_little_ahead_of_us() -> None:
    begin = AUTHORITY.certificate.not_valid_before_utc.timestamp()
    with refused(Problem.NOT_YET_VALID, "authority 'Example CA'"):
        verify(chain(CERTIFICATE), TRUST, begin - CLOCK_SLACK)


@pytest.mark.parametrize("now", [0.0, AUTHORITY.certificate.not_valid_before_utc.timestamp() - CLOCK_SLACK - 1])
def test_a_clock_that_is_obviously_wrong_is_named_as_the_problem(now: float) -> None:
    """An authority that we have, and that is not made yet: a host that has started without a battery for its clock."""
    with refused(Problem.WRONG_CLOCK, "authority 'Example CA'"):
        verify(chain(CERTIFICATE), TRUST, now)


# ── its addresses ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("outside", ["10.10.0.1", "10.8.0.0/15", "10.10.0.0/24", "fd09::1"])
def test_addresses_outside_the_issuers_are_refused(outside: str) -> None:
    narrow = narrowed(AUTHORITY, "10.9.0.0/16")
    own = ("10.9.0.1",) if outside.startswith("10.") else ()
    with refused(Problem.PREFIX_NOT_ISSUERS, outside):
        verify(chain(issued_to(AUTHORITY, "greedy", *own, outside)), trust(narrow), NOW)


def test_addresses_up_to_the_edge_of_the_issuers_are_not() -> None:
    narrow = trust(narrowed(AUTHORITY, "10.9.0.0/16"))
    for texts in (("10.9.0.1", "10.9.0.0/16"), ("10.9.255.255",), ("10.9.0.0", "10.9.128.0/17")):
        assert verify(chain(issued_to(AUTHORITY, "modest", *texts)), narrow, NOW).claims.name == "modest"


def test_addresses_may_span_several_networks_of_the_issuer() -> None:
    narrow = narrowed(AUTHORITY, "10.8.0.0/16", "10.9.0.0/16", "10.10.0.0/16")
    leaf = issued_to(AUTHORITY, "wide", "10.10.0.1", "10.8.0.0/15")
    assert verify(chain(leaf), trust(narrow), NOW).claims.routes == networks("10.8.0.0/15")


def test_an_intermediate_has_no_more_than_its_authority() -> None:
    """Even if the peer's own addresses are inside both."""
    narrow = narrowed(AUTHORITY, "10.9.0.0/16")
    wide = intermediate(AUTHORITY, within=networks("10.0.0.0/8"))
    with refused(Problem.PREFIX_NOT_ISSUERS, "10.0.0.0/8"):
        verify(chain(issued_to(wide, "laptop", "10.9.0.2"), wide), trust(narrow), NOW)


def test_a_peer_has_no_more_than_its_intermediate() -> None:
    narrow = intermediate(AUTHORITY, within=networks("10.9.0.0/16"))
    greedy = altered(issued(INTERMEDIATE), narrow, replacing=[ip_blocks("10.10.0.1/32")])
    with refused(Problem.PREFIX_NOT_ISSUERS, "10.10.0.1"):
        verify(chain(greedy, narrow), TRUST, NOW)


@pytest.mark.parametrize("route", ["0.0.0.0/0", "::/0"])
def test_a_default_route_needs_permission(route: str) -> None:
    leaf = issued_to(AUTHORITY, "exit", "10.9.0.1" if ":" in route else "fd09::1", route)
    with refused(Problem.DEFAULT_ROUTE, f"exit to {route}"):
        verify(chain(leaf), TRUST, NOW)
    assert verify(chain(leaf), TRUST, NOW, allow_default_route=True).claims.routes == networks(route)


def test_a_default_route_in_two_halves_needs_it_too() -> None:
    leaf = issued_to(AUTHORITY, "exit", "fd09::1", "0.0.0.0/1", "128.0.0.0/1")
    with refused(Problem.DEFAULT_ROUTE):
        verify(chain(leaf), TRUST, NOW)


def test_halves_that_stand_in_two_families_do_as_well() -> None:
    halves = encode_ip_blocks(networks("0.0.0.0/1"), networks("128.0.0.0/1"))
    leaf = altered(CERTIFICATE, AUTHORITY, replacing=[x509.UnrecognizedExtension(IP_BLOCKS_OID, halves)])
    with refused(Problem.DEFAULT_ROUTE):
        verify(chain(leaf), TRUST, NOW)


def test_half_of_everything_is_no_default_route() -> None:
    leaf = issued_to(AUTHORITY, "half", "fd09::1", "0.0.0.0/1")
    assert verify(chain(leaf), TRUST, NOW).claims.routes == networks("0.0.0.0/1")

"""A good chain comes to its claims, anything else to its own `Problem`."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

from tests.unit.pki.authorities import (
    GATEWAY,
    LAPTOP,
    NOW,
    altered,
    days,
    der,
    intermediate,
    ip_blocks,
    issued,
    issued_to,
    key_of,
    named,
    networks,
    new_authority,
    p256_authority,
)
from tests.unit.pki.refusals import refused
from tunnel.pki.authority import Authority
from tunnel.pki.ipblocks import IP_BLOCKS_OID, encode_ip_blocks
from tunnel.pki.problem import Problem
from tunnel.pki.profile import Claims, parse_certificate, read_claims
from tunnel.pki.validity import CLOCK_SLACK
from tunnel.pki.verify import MAX_CHAIN_SIZE, Trust, is_named, verify


def trust(*authorities: Authority | x509.Certificate) -> Trust:
    return Trust(tuple(one.certificate if isinstance(one, Authority) else one for one in authorities))


def chain(*certificates: Authority | x509.Certificate) -> list[bytes]:
    """As it travels: the peer's first."""
    return [der(one.certificate if isinstance(one, Authority) else one) for one in certificates]


AUTHORITY = new_authority()
TRUST = trust(AUTHORITY)
INTERMEDIATE = intermediate(AUTHORITY)
CERTIFICATE = issued(AUTHORITY)
GATEWAY_CHAIN = chain(issued(AUTHORITY, GATEWAY))
STRANGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\5\0")
NO_CERT_SIGN = x509.KeyUsage(False, False, False, False, False, False, True, False, False)
RSA_KEY = rsa.generate_private_key(65537, 2048)
P384_KEY = ec.derive_private_key(1384, ec.SECP384R1())


# ── what is believed ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_certificate_of_a_trusted_authority_is_believed_as_it_stands() -> None:
    assert verify(chain(CERTIFICATE), TRUST, NOW) == read_claims(CERTIFICATE)


def test_one_intermediate_may_stand_between() -> None:
    leaf = issued(INTERMEDIATE)
    assert verify(chain(leaf, INTERMEDIATE), TRUST, NOW) == read_claims(leaf)


def test_authorities_may_have_p256_keys() -> None:
    authority = p256_authority()
    below = intermediate(authority)
    assert verify(chain(issued(authority)), trust(authority), NOW).name == "laptop"
    assert verify(chain(issued(below), below), trust(authority), NOW).name == "laptop"


def test_two_authorities_are_trusted_at_once() -> None:
    other = new_authority("Other CA")
    both = trust(AUTHORITY, other)
    assert verify(chain(CERTIFICATE), both, NOW) == read_claims(CERTIFICATE)
    assert verify(chain(issued(other)), both, NOW) == read_claims(issued(other))


def test_an_authority_with_a_new_key_may_keep_its_name() -> None:
    old, new = AUTHORITY, renamed(new_authority("Successor"), "Example CA")
    assert old.certificate.subject == new.certificate.subject
    for both in (trust(old, new), trust(new, old)):
        assert verify(chain(issued(old)), both, NOW).name == "laptop"
        assert verify(chain(issued(new)), both, NOW).name == "laptop"


def test_of_an_authority_issued_anew_the_certificate_that_is_in_force_counts() -> None:
    old = altered(AUTHORITY.certificate, AUTHORITY, not_after=NOW - 1)
    coming = altered(AUTHORITY.certificate, AUTHORITY, not_before=NOW + 100)
    for all_three in (trust(old, AUTHORITY, coming), trust(coming, AUTHORITY, old)):
        assert verify(chain(CERTIFICATE), all_three, NOW) == read_claims(CERTIFICATE)


def test_of_two_in_force_the_newer_counts() -> None:
    """An authority that was issued anew, for fewer networks say, holds its peers to them at once."""
    newer = altered(AUTHORITY.certificate, AUTHORITY, not_before=NOW, replacing=[ip_blocks("10.7.0.0/16")])
    for both in (trust(AUTHORITY, newer), trust(newer, AUTHORITY)):
        with refused(Problem.PREFIX_NOT_ISSUERS):
            verify(chain(CERTIFICATE), both, NOW)


def test_an_authority_that_names_its_key_otherwise_is_not_asked() -> None:
    """Issuers are told apart by the identifiers in their certificates, however those were made."""
    identifier = x509.SubjectKeyIdentifier(b"anything")
    other = Authority(altered(AUTHORITY.certificate, AUTHORITY, replacing=[identifier]), AUTHORITY.key)
    assert verify(chain(issued(other)), trust(AUTHORITY, other), NOW).name == "laptop"
    with refused(Problem.UNKNOWN_AUTHORITY):
        verify(chain(issued(other)), TRUST, NOW)


def test_without_a_key_identifier_the_name_and_the_signature_decide() -> None:
    bare = altered(CERTIFICATE, AUTHORITY, without=[ExtensionOID.AUTHORITY_KEY_IDENTIFIER])
    namesake = renamed(new_authority("Successor"), "Example CA")
    assert verify(chain(bare), trust(namesake, AUTHORITY), NOW).name == "laptop"


def test_an_issuer_may_be_named_by_its_serial_number_instead_of_its_key() -> None:
    """The signature decides then, as it does without any identifier."""
    issuer = [x509.DirectoryName(AUTHORITY.certificate.subject)]
    identifier = x509.AuthorityKeyIdentifier(None, issuer, AUTHORITY.certificate.serial_number)
    assert verify(chain(altered(CERTIFICATE, AUTHORITY, replacing=[identifier])), TRUST, NOW).name == "laptop"


def test_an_authority_that_is_unfit_does_no_harm_to_others() -> None:
    other = new_authority("Other CA")
    unfit = altered(other.certificate, other, without=[ExtensionOID.KEY_USAGE])
    assert verify(chain(CERTIFICATE), trust(unfit, AUTHORITY), NOW) == read_claims(CERTIFICATE)


def test_claims_last_as_long_as_the_whole_chain() -> None:
    short = altered(INTERMEDIATE.certificate, AUTHORITY, not_before=NOW - 7, not_after=NOW + 9)
    claims = verify(chain(issued(INTERMEDIATE), short), TRUST, NOW)
    assert (claims.not_before, claims.not_after) == (NOW - 7, NOW + 9)


# ── who has issued it ────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_authority_that_is_not_trusted_is_unknown() -> None:
    with refused(Problem.UNKNOWN_AUTHORITY, "'Other CA'"):
        verify(chain(issued(new_authority("Other CA"))), TRUST, NOW)
    with refused(Problem.UNKNOWN_AUTHORITY):
        verify(chain(CERTIFICATE), trust(), NOW)


def test_a_stranger_who_takes_an_authoritys_name_is_unknown() -> None:
    with refused(Problem.UNKNOWN_AUTHORITY):
        verify(chain(issued(renamed(new_authority("Stranger"), "Example CA"))), TRUST, NOW)


def test_a_stranger_who_takes_its_key_identifier_too_has_a_bad_signature() -> None:
    for key in (new_authority("Stranger").key, p256_authority("Stranger").key):
        with refused(Problem.BAD_SIGNATURE, "'Example CA'"):
            verify(chain(altered(CERTIFICATE, Authority(AUTHORITY.certificate, key))), TRUST, NOW)


def test_a_certificate_that_was_changed_has_a_bad_signature() -> None:
    with refused(Problem.BAD_SIGNATURE):
        verify([der(CERTIFICATE).replace(b"laptop", b"lapdog")], TRUST, NOW)


def test_a_certificate_that_vouches_for_itself_is_of_an_unknown_authority() -> None:
    with refused(Problem.UNKNOWN_AUTHORITY):
        verify(chain(new_authority("Stranger")), TRUST, NOW)


@pytest.mark.filterwarnings("ignore:Attribute's length")
@pytest.mark.parametrize("name", ["Evil\nCA", "Evil\u202eCA", "x" * 65])
def test_the_name_of_a_stranger_stands_in_the_log_only_if_it_is_readable(name: str) -> None:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name, _validate=False)])
    stranger = Authority(altered(AUTHORITY.certificate, AUTHORITY, subject=subject), AUTHORITY.key)
    with refused(Problem.UNKNOWN_AUTHORITY, "one without a readable name"):
        verify(chain(altered(CERTIFICATE, stranger)), TRUST, NOW)


def test_an_intermediate_that_did_not_sign_the_certificate_is_refused() -> None:
    with refused(Problem.UNKNOWN_AUTHORITY):
        verify(chain(CERTIFICATE, INTERMEDIATE), TRUST, NOW)
    with refused(Problem.BAD_SIGNATURE):
        forged = Authority(INTERMEDIATE.certificate, new_authority("Stranger").key)
        verify(chain(issued(forged), INTERMEDIATE), TRUST, NOW)


def test_an_intermediate_of_a_stranger_is_of_an_unknown_authority() -> None:
    below = intermediate(new_authority("Stranger"))
    with refused(Problem.UNKNOWN_AUTHORITY, "'Stranger'"):
        verify(chain(issued(below), below), TRUST, NOW)


def test_an_intermediate_has_to_be_sent_along() -> None:
    with refused(Problem.UNKNOWN_AUTHORITY, "'Intermediate'"):
        verify(chain(issued(INTERMEDIATE)), TRUST, NOW)


def test_a_peer_is_no_authority_for_others() -> None:
    """Otherwise whoever has a certificate could issue more."""
    member = new_authority("member")
    certificate = altered(CERTIFICATE, AUTHORITY, subject=named("member"), public_key=member.key.public_key())
    posing = Authority(certificate, member.key)
    with refused(Problem.WRONG_USAGE, "'member'"):
        verify(chain(issued(posing), posing), TRUST, NOW)


@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize("unfit", [NO_CERT_SIGN, x509.BasicConstraints(ca=False, path_length=None)])
def test_an_issuer_is_an_authority_that_may_sign_certificates(unfit: x509.ExtensionType, below: bool) -> None:
    with refused(Problem.WRONG_USAGE, "is no authority"):
        verify_with_issuer(below, replacing=unfit)


@pytest.mark.parametrize("below", [True, False])
def test_an_issuer_that_is_held_to_other_purposes_is_refused(below: bool) -> None:
    """One that may issue for those who dial must not make a gateway."""
    with refused(Problem.WRONG_USAGE):
        verify_with_issuer(below, replacing=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]))


def test_an_issuer_that_is_held_to_our_purposes_is_believed() -> None:
    purposes = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    assert verify_with_issuer(True, replacing=x509.ExtendedKeyUsage(purposes)).name == "laptop"


@pytest.mark.parametrize("below", [True, False])
@pytest.mark.parametrize(
    "missing",
    [
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        IP_BLOCKS_OID,
    ],
)
def test_an_issuer_without_an_extension_of_the_profile_is_refused(missing: x509.ObjectIdentifier, below: bool) -> None:
    with refused(Problem.MISSING_EXTENSION):
        verify_with_issuer(below, without=missing)


@pytest.mark.parametrize("below", [True, False])
def test_a_critical_extension_of_an_issuer_that_we_do_not_know_is_refused(below: bool) -> None:
    constraints = x509.NameConstraints([x509.DNSName("example.com")], None)
    with refused(Problem.UNKNOWN_CRITICAL_EXTENSION, constraints.oid.dotted_string):
        verify_with_issuer(below, replacing=constraints, critical=True)


@pytest.mark.parametrize("key", [RSA_KEY.public_key(), P384_KEY.public_key(), CERTIFICATE.public_key()])
def test_an_authoritys_key_is_ed25519_or_p256(key: CertificatePublicKeyTypes) -> None:
    odd = altered(AUTHORITY.certificate, AUTHORITY, public_key=key)
    with refused(Problem.WRONG_KEY_TYPE):
        verify(chain(CERTIFICATE), trust(odd), NOW)


@pytest.mark.parametrize("algorithm", ["2b6571", "2b6579"])
def test_an_authoritys_key_that_cannot_be_read_is_of_the_wrong_type(algorithm: str) -> None:
    """Ed448, for which it is too short, and something that nobody knows."""
    raw = der(AUTHORITY.certificate).replace(bytes.fromhex("2b6570"), bytes.fromhex(algorithm))
    with refused(Problem.WRONG_KEY_TYPE):
        verify(chain(CERTIFICATE), trust(parse_certificate(raw)), NOW)


def test_a_signature_with_another_hash_is_not_of_the_profile() -> None:
    authority = p256_authority()
    model = issued(authority)
    builder = x509.CertificateBuilder(
        authority.certificate.subject,
        model.subject,
        model.public_key(),
        model.serial_number,
        model.not_valid_before_utc,
        model.not_valid_after_utc,
    )
    with refused(Problem.BAD_SIGNATURE):
        verify(chain(builder.sign(authority.key, SHA384())), trust(authority), NOW)


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
    assert verify(chain(CERTIFICATE), trust(strict), NOW) == read_claims(CERTIFICATE)
    with refused(Problem.CHAIN_TOO_LONG):
        verify(chain(issued(INTERMEDIATE), INTERMEDIATE), trust(strict), NOW)


def test_an_authority_may_leave_the_length_open() -> None:
    lax = altered(AUTHORITY.certificate, AUTHORITY, replacing=[x509.BasicConstraints(ca=True, path_length=None)])
    assert verify(chain(issued(INTERMEDIATE), INTERMEDIATE), trust(lax), NOW).name == "laptop"


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
    assert verify(chain(extended), TRUST, NOW) == read_claims(CERTIFICATE)


def test_an_authority_is_not_a_peer() -> None:
    authority_key = new_authority("other").key.public_key()
    for key, problem in ((authority_key, Problem.WRONG_KEY_TYPE), (CERTIFICATE.public_key(), Problem.WRONG_USAGE)):
        with refused(problem):
            verify(chain(altered(INTERMEDIATE.certificate, AUTHORITY, public_key=key)), TRUST, NOW)


# ── the moment ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_certificate_holds_to_its_last_second() -> None:
    end = CERTIFICATE.not_valid_after_utc.timestamp()
    assert verify(chain(CERTIFICATE), TRUST, end).not_after == end
    with refused(Problem.EXPIRED, "laptop held until 2027-04-15 08:00 UTC"):
        verify(chain(CERTIFICATE), TRUST, end + 0.5)


def test_a_certificate_holds_from_its_first_second_on() -> None:
    begin = NOW + 100
    coming = altered(CERTIFICATE, AUTHORITY, not_before=begin)
    assert verify(chain(coming), TRUST, begin).not_before == begin
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
        assert verify(chain(issued_to(AUTHORITY, "modest", *texts)), narrow, NOW).name == "modest"


def test_addresses_may_span_several_networks_of_the_issuer() -> None:
    narrow = narrowed(AUTHORITY, "10.8.0.0/16", "10.9.0.0/16", "10.10.0.0/16")
    leaf = issued_to(AUTHORITY, "wide", "10.10.0.1", "10.8.0.0/15")
    assert verify(chain(leaf), trust(narrow), NOW).routes == networks("10.8.0.0/15")


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
    assert verify(chain(leaf), TRUST, NOW, allow_default_route=True).routes == networks(route)


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
    assert verify(chain(leaf), TRUST, NOW).routes == networks("0.0.0.0/1")


# ── who presents it ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_key_has_to_be_the_one_that_was_proved() -> None:
    assert verify(chain(CERTIFICATE), TRUST, NOW, key=key_of("laptop").public_key).name == "laptop"
    with refused(Problem.KEY_MISMATCH, key_of("thief").public_key.short):
        verify(chain(CERTIFICATE), TRUST, NOW, key=key_of("thief").public_key)


def test_only_who_is_issued_for_it_may_be_dialled() -> None:
    """One member must not pose as the gateway, not even where it has its name."""
    assert verify(GATEWAY_CHAIN, TRUST, NOW, name="gw.example.com", as_server=True).is_server
    member = issued(AUTHORITY, replace(GATEWAY, is_server=False))
    with refused(Problem.WRONG_USAGE):
        verify(chain(member), TRUST, NOW, name="gw.example.com", as_server=True)
    assert not verify(chain(member), TRUST, NOW, name="gw.example.com").is_server


def test_who_is_dialled_has_to_have_the_name() -> None:
    with refused(Problem.NAME_MISMATCH, "gateway is not reached as gw.example.org"):
        verify(GATEWAY_CHAIN, TRUST, NOW, name="gw.example.org", as_server=True)


@pytest.mark.parametrize(
    "name",
    [
        "gw.example.com",
        "GW.Example.COM",
        "gw.example.com.",
        "eu.vpn.example.com",
        "192.0.2.1",
        "::ffff:192.0.2.1",
        "2001:db8::1",
        "2001:DB8:0::1",
    ],
)
def test_a_name_in_the_certificate_matches(name: str) -> None:
    assert is_named(claims_of_gateway(), name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "gateway",  # the common name, which is not where it is reached
        "example.com",
        "www.gw.example.com",
        "vpn.example.com",
        ".vpn.example.com",
        "a.eu.vpn.example.com",
        "gw.example.com.evil.example",
        "gw.e\N{LATIN SMALL LETTER X WITH DIAERESIS}ample.com",
        "gw\N{IDEOGRAPHIC FULL STOP}example.com",
        "192.0.2.2",
        "192.0.2.01",
        "2001:db8::2",
    ],
)
def test_a_name_that_is_not_in_the_certificate_does_not(name: str) -> None:
    assert not is_named(claims_of_gateway(), name)


@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        ("*", "gw"),
        ("*.", "gw"),
        ("g*.example.com", "gw.example.com"),
        ("*w.example.com", "gw.example.com"),
        ("gw.*.com", "gw.example.com"),
        ("*.*.com", "gw.example.com"),
        ("192.0.2.1", "192.0.2.1"),
        ("*.0.2.1", "192.0.2.1"),
        ("k.example.com", "\N{KELVIN SIGN}.example.com"),
    ],
)
def test_a_star_is_a_whole_left_most_label_and_an_address_is_no_dns_name(pattern: str, name: str) -> None:
    assert not is_named(replace(claims_of_gateway(), dns_names=(pattern,), ip_names=()), name)


def test_a_certificate_without_names_is_for_none() -> None:
    assert not is_named(read_claims(CERTIFICATE), "laptop")


# ── builders ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def claims_of_gateway() -> Claims:
    return read_claims(issued(AUTHORITY, GATEWAY))


def renamed(authority: Authority, name: str) -> Authority:
    """The same key under another name."""
    return Authority(altered(authority.certificate, authority, subject=named(name)), authority.key)


def narrowed(authority: Authority, *texts: str) -> Authority:
    """The same key, that may issue these networks only."""
    certificate = altered(authority.certificate, authority, replacing=[ip_blocks(*texts)])
    return Authority(certificate, authority.key)


def verify_with_issuer(
    below: bool,
    *,
    replacing: x509.ExtensionType | None = None,
    without: x509.ObjectIdentifier | None = None,
    critical: bool = False,
) -> Claims:
    """The laptop below an authority, or an intermediate, that is altered."""
    model = INTERMEDIATE if below else AUTHORITY
    odd = altered(
        model.certificate,
        AUTHORITY,
        replacing=[replacing] if replacing else [],
        without=[without] if without else [],
        critical=critical,
    )
    if below:
        return verify(chain(issued(INTERMEDIATE, LAPTOP), odd), TRUST, NOW)
    return verify(chain(CERTIFICATE), trust(odd), NOW)

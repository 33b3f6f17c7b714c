from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.unit.pki.authorities import (
    GATEWAY,
    LAPTOP,
    NOW,
    addresses,
    altered,
    days,
    der,
    ip_blocks,
    issued,
    issued_to,
    key_of,
    named,
    networks,
    new_authority,
)
from tunnel.pki.authority import BACKDATING
from tunnel.pki.ipblocks import IP_BLOCKS_OID
from tunnel.pki.problem import CertificateError, Problem
from tunnel.pki.profile import MAX_CERTIFICATE_SIZE, Claims, parse_certificate, read_claims

CA = new_authority()
GOOD = issued(CA)


def problem_of(act: Callable[[], object]) -> Problem:
    with pytest.raises(CertificateError) as caught:
        act()
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(caught.value.problem.words)
    return caught.value.problem


def misfit(*replacing: x509.ExtensionType, without: x509.ObjectIdentifier | None = None) -> Problem:
    """Why a peer's certificate with (or without) these extensions is refused."""
    certificate = altered(GOOD, CA, replacing=replacing, without=[without] if without else [])
    return problem_of(lambda: read_claims(certificate))


def test_every_problem_has_its_own_name_and_words() -> None:
    assert len({problem.words for problem in Problem}) == len(Problem)
    assert all(problem.value == problem.name.lower() for problem in Problem)


def test_a_certificate_survives_der() -> None:
    assert parse_certificate(der(GOOD)) == GOOD


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\0",
        der(GOOD)[:-1],
        der(GOOD) + b"\0",
        GOOD.public_bytes(Encoding.PEM),
        der(GOOD).replace(b"\x02\x01\x02", b"\x02\x01\x09", 1),
        der(GOOD).replace(b"\x0c\x06laptop", b"\x03\x06\0aptop"),
        der(GOOD).replace(b"\x0c\x06laptop", b"\x0c\x06\xffaptop"),
    ],
    ids=["nothing", "zero", "truncated", "trailing byte", "PEM", "version 10", "bits for a name", "name not UTF-8"],
)
def test_what_is_not_one_certificate_in_der_is_refused(broken: bytes) -> None:
    assert problem_of(lambda: parse_certificate(broken)) is Problem.MALFORMED


def test_what_does_not_fit_a_datagram_is_refused_unread() -> None:
    assert problem_of(lambda: parse_certificate(bytes(MAX_CERTIFICATE_SIZE + 1))) is Problem.TOO_LARGE
    assert problem_of(lambda: parse_certificate(bytes(MAX_CERTIFICATE_SIZE))) is Problem.MALFORMED


def test_a_certificate_claims_all_that_was_requested() -> None:
    assert read_claims(issued(CA, GATEWAY)) == Claims(
        name="gateway",
        public_key=GATEWAY.public_key,
        addresses=addresses("10.9.0.1"),
        routes=networks("10.9.0.0/24", "192.168.7.0/24"),
        dns_names=("gw.example.com", "*.vpn.example.com"),
        ip_names=addresses("192.0.2.1", "2001:db8::1"),
        is_server=True,
        not_before=NOW - BACKDATING,
        not_after=NOW + days(90),
        serial=issued(CA, GATEWAY).serial_number,
    )


def test_a_peer_that_is_not_dialled_needs_no_alternative_name() -> None:
    claims = read_claims(GOOD)
    assert claims.dns_names == claims.ip_names == ()
    assert not claims.is_server


def test_routes_that_touch_are_one() -> None:
    claims = read_claims(issued_to(CA, "office", "10.9.0.3", "10.1.0.0/17", "10.1.128.0/17"))
    assert claims.routes == networks("10.1.0.0/16")


def test_a_key_of_another_kind_is_refused() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    assert problem_of(lambda: read_claims(altered(GOOD, CA, public_key=key))) is Problem.WRONG_KEY_TYPE


@pytest.mark.parametrize("oid", [b"\x2b\x65\x01", b"\x2b\x65\x6f"], ids=["unknown algorithm", "too short for X448"])
def test_a_key_that_cannot_be_read_is_refused(oid: bytes) -> None:
    raw = der(GOOD).replace(b"\x2b\x65\x6e", oid)
    assert problem_of(lambda: read_claims(parse_certificate(raw))) is Problem.WRONG_KEY_TYPE


P = 2**255 - 19
ORDER_EIGHT = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
HIGH_BIT = 1 << 255


@pytest.mark.parametrize("number", [0, 1, P - 1, P, P + 1, *ORDER_EIGHT, HIGH_BIT, HIGH_BIT + 1, HIGH_BIT + P])
def test_a_key_of_low_order_is_refused(number: int) -> None:
    """Whatever we exchange with it is zero, so that everybody could prove to have it."""
    raw = number.to_bytes(32, "little")
    with pytest.raises(ValueError, match="shared key"):
        key_of("laptop").exchange(raw)
    odd = altered(GOOD, CA, public_key=X25519PublicKey.from_public_bytes(raw))
    assert problem_of(lambda: read_claims(odd)) is Problem.WRONG_KEY_TYPE


@pytest.mark.parametrize("number", [2, 9, P - 2, P + 2, HIGH_BIT + 9])
def test_other_keys_are_as_good_as_any(number: int) -> None:
    raw = number.to_bytes(32, "little")
    key_of("laptop").exchange(raw)
    unusual = altered(GOOD, CA, public_key=X25519PublicKey.from_public_bytes(raw))
    assert read_claims(unusual).public_key.raw == raw


@pytest.mark.parametrize(
    "oid",
    [x509.BasicConstraints.oid, x509.KeyUsage.oid, x509.ExtendedKeyUsage.oid, IP_BLOCKS_OID],
    ids=["basic constraints", "key usage", "extended key usage", "IP blocks"],
)
def test_a_certificate_without_one_of_these_extensions_is_refused(oid: x509.ObjectIdentifier) -> None:
    assert misfit(without=oid) is Problem.MISSING_EXTENSION


@pytest.mark.parametrize("oid", [x509.SubjectKeyIdentifier.oid, x509.AuthorityKeyIdentifier.oid])
def test_a_certificate_may_do_without_key_identifiers(oid: x509.ObjectIdentifier) -> None:
    assert read_claims(altered(GOOD, CA, without=[oid])) == read_claims(GOOD)


UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")


def test_an_unknown_extension_is_refused_if_it_is_critical() -> None:
    critical = altered(GOOD, CA, replacing=[UNKNOWN], critical=True)
    assert problem_of(lambda: read_claims(critical)) is Problem.UNKNOWN_CRITICAL_EXTENSION


def test_an_unknown_extension_is_ignored_if_it_is_not_critical() -> None:
    assert read_claims(altered(GOOD, CA, replacing=[UNKNOWN])) == read_claims(GOOD)


def test_an_extension_that_limits_what_we_do_not_check_is_refused() -> None:
    constraints = x509.NameConstraints([x509.DNSName("example.com")], None)
    critical = altered(GOOD, CA, replacing=[constraints], critical=True)
    assert problem_of(lambda: read_claims(critical)) is Problem.UNKNOWN_CRITICAL_EXTENSION


@pytest.mark.parametrize(
    "oid", [x509.KeyUsage.oid, x509.BasicConstraints.oid, x509.ExtendedKeyUsage.oid, x509.SubjectAlternativeName.oid]
)
def test_an_extension_with_broken_der_is_refused(oid: x509.ObjectIdentifier) -> None:
    assert misfit(x509.UnrecognizedExtension(oid, b"\x30\x01")) is Problem.MALFORMED


def test_an_extension_that_is_there_twice_is_refused() -> None:
    twice = der(GOOD).replace(b"\x06\x03\x55\x1d\x0e", b"\x06\x03\x55\x1d\x23")
    assert problem_of(lambda: read_claims(parse_certificate(twice))) is Problem.MALFORMED


def test_an_x400_address_among_the_alternative_names_is_refused() -> None:
    names = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"\x30\x02\xa3\x00")
    assert misfit(names) is Problem.MALFORMED


def test_broken_ip_blocks_are_refused() -> None:
    assert misfit(x509.UnrecognizedExtension(IP_BLOCKS_OID, b"\x30\x01")) is Problem.MALFORMED


def test_a_certificate_of_an_authority_is_not_a_peers() -> None:
    assert misfit(x509.BasicConstraints(ca=True, path_length=None)) is Problem.WRONG_USAGE


def test_a_certificate_that_may_not_agree_on_keys_is_refused() -> None:
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    assert misfit(usage) is Problem.WRONG_USAGE


def test_a_certificate_that_may_be_dialled_but_not_dial_is_refused() -> None:
    assert misfit(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])) is Problem.WRONG_USAGE


@pytest.mark.parametrize("name", ["two words", "line\nbreak", "\x1b[31m", "tab\tbed", " "])
def test_a_name_that_would_spoil_a_log_line_is_refused(name: str) -> None:
    assert problem_of(lambda: read_claims(altered(GOOD, CA, subject=named(name)))) is Problem.MALFORMED


@pytest.mark.parametrize("name", ["laptop", "Jürgens-Laptop", "anna@example.com", "10.9.0.2", "笔记本"])
def test_a_name_may_be_of_any_script(name: str) -> None:
    assert read_claims(altered(GOOD, CA, subject=named(name))).name == name


@pytest.mark.parametrize("common_names", [[], ["laptop", "gateway"]], ids=["none", "two"])
def test_a_peer_has_one_name(common_names: list[str]) -> None:
    certificate = altered(GOOD, CA, subject=named(*common_names))
    assert problem_of(lambda: read_claims(certificate)) is Problem.MALFORMED


@pytest.mark.parametrize("name", ["", "gw example.com", "gw.example.com\n", "gw\0.example.com"])
def test_a_dns_name_that_would_spoil_a_log_line_is_refused(name: str) -> None:
    assert misfit(x509.SubjectAlternativeName([x509.DNSName(name)])) is Problem.MALFORMED


def test_alternative_names_of_other_kinds_are_ignored() -> None:
    names = x509.SubjectAlternativeName([x509.RFC822Name("root@example.com"), x509.DNSName("gw.example.com")])
    claims = read_claims(altered(GOOD, CA, replacing=[names]))
    assert claims.dns_names == ("gw.example.com",)
    assert claims.ip_names == ()


def test_addresses_of_a_certificate_made_elsewhere_are_read_alike() -> None:
    certificate = altered(GOOD, CA, replacing=[ip_blocks("10.9.0.2/32", "172.16.0.0/12", "fd09::2/128")])
    claims = read_claims(certificate)
    assert claims.addresses == LAPTOP.addresses
    assert claims.routes == networks("172.16.0.0/12")


def test_all_that_a_peer_may_be_inside_is_its_addresses_and_its_routes() -> None:
    claims = read_claims(issued(CA, GATEWAY))
    assert claims.networks == networks("10.9.0.1/32", "10.9.0.0/24", "192.168.7.0/24")

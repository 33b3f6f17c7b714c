from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Network, ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from tests.unit.pki.authorities import (
    GATEWAY,
    LAPTOP,
    NOW,
    addresses,
    altered,
    days,
    der,
    issued,
    networks,
    new_authority,
    p256_authority,
    rng,
)
from tunnel.errors import ConfigError
from tunnel.pki.authority import (
    BACKDATING,
    EVERYTHING,
    MAX_DAYS,
    Authority,
    Request,
    build_crl,
    create_authority,
    issue,
)
from tunnel.pki.problem import CertificateError, Problem
from tunnel.pki.profile import MAX_CERTIFICATE_SIZE, read_claims

CA = new_authority()
OFFICE = new_authority("Office", within=networks("10.9.0.0/16", "fd09::/16"))


def refusal(authority: Authority, request: Request, *, now: float = NOW) -> Problem:
    with pytest.raises(CertificateError) as caught:
        issue(authority, request, rng("refused"), now)
    return caught.value.problem


def key_usage(certificate: x509.Certificate) -> x509.KeyUsage:
    return certificate.extensions.get_extension_for_class(x509.KeyUsage).value


def is_critical(certificate: x509.Certificate) -> dict[str, bool]:
    return {extension.oid.dotted_string: extension.critical for extension in certificate.extensions}


def test_an_authority_signs_itself() -> None:
    CA.certificate.verify_directly_issued_by(CA.certificate)
    assert isinstance(CA.certificate.public_key(), Ed25519PublicKey)
    assert CA.certificate.subject.rfc4514_string() == "CN=Example CA"


def test_an_authority_may_sign_certificates_and_lists_and_nothing_else() -> None:
    usage = key_usage(CA.certificate)
    assert usage.key_cert_sign
    assert usage.crl_sign
    assert not usage.digital_signature
    assert not usage.key_agreement


def test_an_authority_may_have_one_intermediate() -> None:
    constraints = CA.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert constraints == x509.BasicConstraints(ca=True, path_length=1)


def test_an_authority_lasts_ten_years() -> None:
    assert CA.certificate.not_valid_before_utc.timestamp() == NOW - BACKDATING
    assert CA.certificate.not_valid_after_utc.timestamp() == NOW + days(3650)


def test_an_authority_may_issue_any_address_unless_told_otherwise() -> None:
    assert CA.networks == EVERYTHING


def test_an_authority_keeps_to_the_networks_that_it_was_given() -> None:
    assert OFFICE.networks == networks("10.9.0.0/16", "fd09::/16")


def test_two_authorities_of_one_name_have_different_keys() -> None:
    one, other = (create_authority("CA", rng(seed), NOW) for seed in ("one", "other"))
    assert one.certificate.public_key() != other.certificate.public_key()
    assert one.certificate.serial_number != other.certificate.serial_number


@pytest.mark.parametrize("name", ["", " CA", "CA\n", "\x1b[31m", "C" * 65])
def test_an_authority_with_an_odd_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        create_authority(name, rng("CA"), NOW)


def test_an_authority_with_more_networks_than_fit_a_datagram_is_refused() -> None:
    many = [IPv4Network((index << 9, 24)) for index in range(100)]
    with pytest.raises(CertificateError) as caught:
        create_authority("CA", rng("CA"), NOW, networks=many)
    assert caught.value.problem is Problem.TOO_LARGE


@pytest.mark.parametrize("count", [0, -1, MAX_DAYS + 1, 10**12])
def test_a_lifetime_out_of_reason_is_refused(count: int) -> None:
    with pytest.raises(ConfigError, match="days"):
        create_authority("CA", rng("CA"), NOW, days=count)
    with pytest.raises(ConfigError, match="days"):
        issue(CA, LAPTOP, rng("laptop"), NOW, days=count)
    with pytest.raises(ConfigError, match="days"):
        build_crl(CA, {}, 1, NOW, days=count)


@pytest.mark.parametrize("authority", [CA, p256_authority()], ids=["Ed25519", "P-256"])
@pytest.mark.parametrize("request_", [LAPTOP, GATEWAY], ids=["laptop", "gateway"])
def test_a_certificate_says_what_was_requested(authority: Authority, request_: Request) -> None:
    certificate = issued(authority, request_)
    certificate.verify_directly_issued_by(authority.certificate)
    claims = read_claims(certificate)
    for field in ("name", "public_key", "addresses", "routes", "dns_names", "ip_names", "is_server"):
        assert getattr(claims, field) == getattr(request_, field)


def test_a_certificate_lasts_ninety_days() -> None:
    claims = read_claims(issue(CA, LAPTOP, rng("laptop"), NOW))
    assert (claims.not_before, claims.not_after) == (NOW - BACKDATING, NOW + days(90))


def test_a_certificate_may_last_a_day() -> None:
    assert read_claims(issue(CA, LAPTOP, rng("laptop"), NOW, days=1)).not_after == NOW + days(1)


def test_a_certificate_ends_with_its_authority() -> None:
    almost = NOW + days(3650 - 30)
    assert read_claims(issue(CA, LAPTOP, rng("laptop"), almost)).not_after == NOW + days(3650)


def test_an_authority_that_has_expired_issues_nothing() -> None:
    assert refusal(CA, LAPTOP, now=NOW + days(3650)) is Problem.EXPIRED


def test_a_serial_number_is_positive_whatever_was_drawn() -> None:
    assert issue(CA, LAPTOP, bytes, NOW).serial_number == 1
    assert issue(CA, LAPTOP, lambda size: b"\xff" * size, NOW).serial_number == 2**127 - 1


def test_what_says_what_a_peer_may_do_is_critical() -> None:
    assert is_critical(issued(CA, GATEWAY)) == {
        "2.5.29.19": True,  # basic constraints
        "2.5.29.15": True,  # key usage
        "2.5.29.37": False,  # extended key usage
        "2.5.29.14": False,  # subject key identifier
        "2.5.29.35": False,  # authority key identifier
        "1.3.6.1.5.5.7.1.7": True,  # IP address blocks
        "2.5.29.17": False,  # subject alternative name
    }


@pytest.mark.parametrize("authority", [CA, altered(CA.certificate, CA, without=[x509.SubjectKeyIdentifier.oid])])
def test_a_certificate_names_the_key_that_signed_it(authority: Authority | x509.Certificate) -> None:
    signer = authority if isinstance(authority, Authority) else Authority(authority, CA.key)
    issuer = issued(signer).extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert issuer.key_identifier == x509.SubjectKeyIdentifier.from_public_key(CA.key.public_key()).digest


@pytest.mark.parametrize(
    "request_",
    [
        replace(LAPTOP, addresses=addresses("10.8.0.2")),
        replace(LAPTOP, addresses=addresses("10.9.0.2", "fd08::2")),
        replace(LAPTOP, routes=networks("10.0.0.0/8")),
        replace(LAPTOP, routes=networks("10.9.0.0/16", "10.10.0.0/16")),
    ],
    ids=["address", "second address", "wider route", "second route"],
)
def test_what_the_authority_does_not_have_is_not_issued(request_: Request) -> None:
    assert refusal(OFFICE, request_) is Problem.PREFIX_NOT_ISSUERS


def test_what_the_authority_has_is_issued() -> None:
    request = replace(LAPTOP, addresses=addresses("10.9.255.255", "fd09::"), routes=networks("10.9.0.0/16"))
    assert read_claims(issued(OFFICE, request)).addresses == request.addresses


@pytest.mark.parametrize("routes", [["0.0.0.0/0"], ["::/0"], ["0.0.0.0/1", "128.0.0.0/1"]])
def test_a_default_route_is_refused_without_permission(routes: list[str]) -> None:
    assert refusal(CA, replace(GATEWAY, routes=networks(*routes))) is Problem.DEFAULT_ROUTE


def test_a_default_route_is_issued_with_permission() -> None:
    request = replace(GATEWAY, routes=networks("0.0.0.0/0", "::/0"))
    claims = read_claims(issue(CA, request, rng("gateway"), NOW, allow_default_route=True))
    assert claims.routes == networks("0.0.0.0/0", "::/0")
    assert claims.addresses == GATEWAY.addresses


def test_permission_for_a_default_route_does_not_reach_beyond_the_authority() -> None:
    request = replace(LAPTOP, routes=networks("0.0.0.0/0"))
    with pytest.raises(CertificateError) as caught:
        issue(OFFICE, request, rng("laptop"), NOW, allow_default_route=True)
    assert caught.value.problem is Problem.PREFIX_NOT_ISSUERS


@pytest.mark.parametrize(
    ("request_", "why"),
    [
        (replace(LAPTOP, name=""), "name"),
        (replace(LAPTOP, name="my laptop"), "name"),
        (replace(LAPTOP, name="l" * 65), "name"),
        (replace(LAPTOP, addresses=()), "laptop: no address"),
        (replace(LAPTOP, routes=networks("10.9.0.7/32")), "laptop: a route to one address, 10.9.0.7/32"),
        (replace(LAPTOP, addresses=addresses("10.9.0.2", "10.9.0.3")), "laptop: 10.9.0.2, 10.9.0.3 make one block"),
        (replace(LAPTOP, dns_names=("",)), "laptop: '' is not a DNS name"),
        (replace(LAPTOP, dns_names=("büro.example.com",)), "xn--"),
        (replace(LAPTOP, dns_names=("a b",)), "is not a DNS name"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused_in_one_line(request_: Request, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        issue(CA, request_, rng("refused"), NOW)
    assert "\n" not in str(caught.value)


def test_a_certificate_that_does_not_fit_a_datagram_is_refused() -> None:
    names = tuple(f"name-{index}.example.com" for index in range(40))
    assert refusal(CA, replace(GATEWAY, dns_names=names)) is Problem.TOO_LARGE
    assert (
        refusal(CA, replace(LAPTOP, addresses=tuple(ip_address(index) for index in range(0, 800, 3))))
        is Problem.TOO_LARGE
    )
    assert len(der(issued(CA, GATEWAY))) < MAX_CERTIFICATE_SIZE // 2


@pytest.mark.parametrize("authority", [CA, p256_authority()], ids=["Ed25519", "P-256"])
def test_a_revocation_list_has_what_was_revoked_and_when(authority: Authority) -> None:
    crl = build_crl(authority, {7: NOW - 60.5, 3: NOW}, 12, NOW)
    assert crl.is_signature_valid(authority.key.public_key())
    assert [(entry.serial_number, entry.revocation_date_utc.timestamp()) for entry in crl] == [(3, NOW), (7, NOW - 61)]
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 12


def test_a_revocation_list_lasts_thirty_days() -> None:
    crl = build_crl(CA, {}, 1, NOW)
    assert crl.last_update_utc == datetime.fromtimestamp(NOW, UTC)
    assert crl.next_update_utc == datetime.fromtimestamp(NOW + days(30), UTC)
    assert len(crl) == 0


def test_a_revocation_list_names_the_key_that_signed_it() -> None:
    issuer = build_crl(CA, {}, 1, NOW).extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert issuer.key_identifier == x509.SubjectKeyIdentifier.from_public_key(CA.key.public_key()).digest


def test_a_p256_authority_signs_with_its_key() -> None:
    assert isinstance(p256_authority().certificate.public_key(), EllipticCurvePublicKey)

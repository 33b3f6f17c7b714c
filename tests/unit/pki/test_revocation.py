"""Lists of what is revoked, as `verify` uses them."""

from dataclasses import fields
from datetime import UTC, datetime
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from tests.unit.pki.authorities import (
    NOW,
    altered,
    days,
    der,
    intermediate,
    issued,
    issued_to,
    new_authority,
    p256_authority,
)
from tests.unit.pki.chains import refused
from tests.unit.pki.encoding import ED25519, sequence
from tunnel.pki.authority import Authority, build_crl
from tunnel.pki.issuer import Issuer, Signed, read_issuer
from tunnel.pki.problem import Problem
from tunnel.pki.profile import Claims
from tunnel.pki.revocation import RevocationList, check_not_revoked, parse_crl
from tunnel.pki.validity import CLOCK_SLACK
from tunnel.pki.verify import Trust, verify

AUTHORITY = new_authority()
CERTIFICATE = issued(AUTHORITY)
INTERMEDIATE = intermediate(AUTHORITY)


def revoking(
    *certificates: x509.Certificate, by: Authority = AUTHORITY, made: float = NOW, number: int = 1
) -> x509.CertificateRevocationList:
    """A list that holds for 30 days."""
    return build_crl(by, {certificate.serial_number: made for certificate in certificates}, number, made)


def believe(
    *crls: x509.CertificateRevocationList,
    certificate: x509.Certificate = CERTIFICATE,
    below: Authority | None = None,
    authority: Authority = AUTHORITY,
    now: float = NOW,
) -> Claims:
    chain = [der(certificate)] if below is None else [der(certificate), der(below.certificate)]
    return verify(chain, Trust((authority.certificate,), crls), now).claims


def until(*crls: x509.CertificateRevocationList) -> float:
    return verify([der(CERTIFICATE)], Trust((AUTHORITY.certificate,), crls), NOW).until


def crl_der(crl: x509.CertificateRevocationList) -> bytes:
    return crl.public_bytes(Encoding.DER)


# ── who is on it ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_is_on_the_list_is_refused() -> None:
    with refused(Problem.REVOKED, "'laptop' on 2027-01-15 08:00 UTC"):
        believe(revoking(CERTIFICATE))


def test_who_is_not_on_the_list_is_believed() -> None:
    assert believe(revoking(issued_to(AUTHORITY, "thief", "10.9.0.9"))).name == "laptop"
    assert believe(revoking()).name == "laptop"


def test_an_authority_with_a_p256_key_revokes_too() -> None:
    authority = p256_authority()
    certificate = issued(authority)
    assert believe(revoking(by=authority), certificate=certificate, authority=authority).name == "laptop"
    with refused(Problem.REVOKED):
        believe(revoking(certificate, by=authority), certificate=certificate, authority=authority)


def test_an_intermediate_that_is_revoked_takes_with_it_what_it_issued() -> None:
    with refused(Problem.REVOKED, "'Intermediate'"):
        believe(revoking(INTERMEDIATE.certificate), certificate=issued(INTERMEDIATE), below=INTERMEDIATE)


def test_an_intermediate_revokes_what_it_issued_itself() -> None:
    certificate = issued(INTERMEDIATE)
    with refused(Problem.REVOKED, "'laptop'"):
        believe(revoking(certificate, by=INTERMEDIATE), certificate=certificate, below=INTERMEDIATE)


def test_a_serial_number_belongs_to_its_issuer() -> None:
    """Two issuers may have used the same one."""
    certificate = issued(INTERMEDIATE)
    assert certificate.serial_number == CERTIFICATE.serial_number
    assert believe(revoking(CERTIFICATE), certificate=certificate, below=INTERMEDIATE).name == "laptop"
    assert believe(revoking(certificate, by=INTERMEDIATE)).name == "laptop"


def test_lists_count_together_so_that_an_old_file_lets_nobody_in_again() -> None:
    older, newer = revoking(made=NOW - 10), revoking(CERTIFICATE, made=NOW, number=2)
    for lists in ((older, newer), (newer, older)):
        with refused(Problem.REVOKED):
            believe(*lists)
    once = revoking(CERTIFICATE, made=NOW - 10)
    with refused(Problem.REVOKED):
        believe(once, revoking(number=2))


# ── whose it is ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_list_of_another_authority_changes_nothing() -> None:
    other = new_authority("Other CA")
    assert believe(revoking(CERTIFICATE, by=other)).name == "laptop"
    assert believe(revoking(by=other, made=NOW - days(40))).name == "laptop"
    assert believe(extended(x509.DeltaCRLIndicator(1), critical=True, by=other)).name == "laptop"


def test_a_list_of_a_namesake_with_another_key_changes_nothing() -> None:
    """While one authority follows another under its name, each has a list of its own."""
    successor = Authority(
        altered(new_authority("Successor").certificate, AUTHORITY, subject=AUTHORITY.certificate.subject),
        new_authority("Successor").key,
    )
    assert believe(revoking(CERTIFICATE, by=successor)).name == "laptop"


def test_a_list_that_its_authority_did_not_sign_is_refused() -> None:
    """It may not just be passed over: somebody has changed a file of ours."""
    forged = Authority(AUTHORITY.certificate, new_authority("Stranger").key)
    with refused(Problem.BAD_SIGNATURE, "revocation list of 'Example CA'"):
        believe(revoking(by=forged))


def test_a_list_whose_entries_were_changed_is_refused() -> None:
    serial = CERTIFICATE.serial_number.to_bytes(16, "big")
    changed = crl_der(revoking(CERTIFICATE)).replace(serial, serial[:-1] + b"\0")
    with refused(Problem.BAD_SIGNATURE):
        believe(parse_crl(changed))


def test_an_issuer_needs_the_key_usage_to_revoke() -> None:
    usage = x509.KeyUsage(False, False, False, False, False, True, False, False, False)
    odd = Authority(altered(AUTHORITY.certificate, AUTHORITY, replacing=[usage]), AUTHORITY.key)
    assert believe(authority=odd).name == "laptop"
    with refused(Problem.WRONG_USAGE, "may not sign a revocation list"):
        believe(revoking(by=odd), authority=odd)


# ── when it holds ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_list_holds_to_its_last_second() -> None:
    end = NOW + days(30)
    assert believe(revoking(), now=end).name == "laptop"
    with refused(Problem.CRL_EXPIRED, "revocation list of 'Example CA' held until 2027-02-14 08:00 UTC"):
        believe(revoking(), now=end + 0.5)


def test_only_the_newest_list_has_to_be_in_force() -> None:
    past = revoking(made=NOW - days(40))
    for lists in ((past, revoking(number=2)), (revoking(number=2), past)):
        assert believe(*lists).name == "laptop"


def test_the_list_of_an_intermediate_expires_too() -> None:
    past = revoking(by=INTERMEDIATE, made=NOW - days(40))
    with refused(Problem.CRL_EXPIRED, "'Intermediate'"):
        believe(past, certificate=issued(INTERMEDIATE), below=INTERMEDIATE)


def test_a_list_of_an_authority_whose_clock_is_ahead_counts_at_once() -> None:
    with refused(Problem.REVOKED):
        believe(revoking(CERTIFICATE, made=NOW + CLOCK_SLACK))


def test_a_list_that_is_long_to_come_shows_that_our_clock_is_wrong() -> None:
    with refused(Problem.WRONG_CLOCK, "revocation list of 'Example CA'"):
        believe(revoking(made=NOW + CLOCK_SLACK + 1))


def test_a_list_has_to_say_until_when_it_holds() -> None:
    with refused(Problem.MALFORMED, "until when"):
        believe(parse_crl(endless_crl()))


def test_a_chain_is_believed_no_longer_than_the_list_that_it_was_looked_up_in() -> None:
    assert until(revoking(made=NOW - days(10))) == NOW + days(20)
    assert until(revoking(made=NOW - days(40)), revoking(made=NOW - days(10), number=2)) == NOW + days(20)
    assert until(revoking(by=new_authority("Other CA"))) == until() == NOW + days(90)


def test_the_list_of_an_intermediate_bounds_it_too() -> None:
    below = [der(issued(INTERMEDIATE)), der(INTERMEDIATE.certificate)]
    lists = (revoking(), revoking(by=INTERMEDIATE, made=NOW - days(10)))
    assert verify(below, Trust((AUTHORITY.certificate,), lists), NOW).until == NOW + days(20)


# ── how often it is looked at ────────────────────────────────────────────────────────────────────────────────────────


class CountingIssuer(Issuer):
    """Counts the signatures that it is asked for."""

    asked: ClassVar[int] = 0

    def has_signed(self, signed: Signed) -> bool:
        CountingIssuer.asked += 1
        return super().has_signed(signed)


def counting(authority: Authority) -> CountingIssuer:
    CountingIssuer.asked = 0
    issuer = read_issuer(authority.certificate)
    return CountingIssuer(*(getattr(issuer, one.name) for one in fields(issuer)))


def test_the_signature_of_a_list_is_checked_once() -> None:
    issuer, lists = counting(AUTHORITY), [RevocationList(revoking())]
    assert check_not_revoked(CERTIFICATE, issuer, lists, NOW) == check_not_revoked(CERTIFICATE, issuer, lists, NOW)
    assert CountingIssuer.asked == 1


def test_a_signature_that_was_wrong_is_wrong_again() -> None:
    forged = RevocationList(revoking(by=Authority(AUTHORITY.certificate, new_authority("Stranger").key)))
    issuer = read_issuer(AUTHORITY.certificate)
    assert [forged.is_signed_by(issuer), forged.is_signed_by(issuer)] == [False, False]


def test_one_issuers_signature_is_not_taken_for_anothers() -> None:
    one = RevocationList(revoking())
    assert one.is_signed_by(read_issuer(AUTHORITY.certificate))
    assert not one.is_signed_by(read_issuer(INTERMEDIATE.certificate))
    assert one.is_signed_by(read_issuer(AUTHORITY.certificate))


# ── its bytes ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_list_is_read_as_it_was_written() -> None:
    assert parse_crl(crl_der(revoking(CERTIFICATE))) == revoking(CERTIFICATE)


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"0",
        crl_der(revoking())[:-1],
        crl_der(revoking()) + b"\0",
        crl_der(revoking()).replace(b"\2\1\1", b"\2\1\7", 1),  # version 8
        crl_der(revoking()).replace(b"Example CA", b"\xff" * 10),
        der(CERTIFICATE),
    ],
)
def test_broken_and_trailing_der_is_malformed(broken: bytes) -> None:
    with refused(Problem.MALFORMED):
        parse_crl(broken)


USERS_ONLY = x509.IssuingDistributionPoint(
    full_name=None,
    relative_name=None,
    only_contains_user_certs=True,
    only_contains_ca_certs=False,
    only_some_reasons=None,
    indirect_crl=False,
    only_contains_attribute_certs=False,
)


@pytest.mark.parametrize("narrowing", [x509.DeltaCRLIndicator(1), USERS_ONLY])
def test_a_list_with_a_critical_extension_is_refused(narrowing: x509.ExtensionType) -> None:
    """A delta, or a list of some kinds only, would let in those whom the rest names."""
    with refused(Problem.UNKNOWN_CRITICAL_EXTENSION, narrowing.oid.dotted_string):
        believe(extended(narrowing, critical=True))


def test_a_list_with_a_broken_extension_is_malformed() -> None:
    with refused(Problem.MALFORMED):
        believe(extended(x509.UnrecognizedExtension(x509.CRLNumber.oid, b"\2"), critical=False))


def test_a_list_without_a_key_identifier_is_its_authoritys_by_name() -> None:
    with refused(Problem.REVOKED):
        believe(extended(x509.CRLNumber(1), critical=False, revoked=CERTIFICATE.serial_number))


# ── builders ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def extended(
    extension: x509.ExtensionType, *, critical: bool, by: Authority = AUTHORITY, revoked: int = 1
) -> x509.CertificateRevocationList:
    """A list with one entry and this extension alone."""
    entry = x509.RevokedCertificateBuilder().serial_number(revoked).revocation_date(moment(NOW)).build()
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(by.certificate.subject)
        .last_update(moment(NOW))
        .next_update(moment(NOW + days(1)))
        .add_revoked_certificate(entry)
        .add_extension(extension, critical)
    )
    assert isinstance(by.key, Ed25519PrivateKey)
    return builder.sign(by.key, None)


def endless_crl() -> bytes:
    """The DER of an empty list without `nextUpdate`, which no library writes, signed by AUTHORITY."""
    time = b"\x17\x0d" + f"{moment(NOW):%y%m%d%H%M%S}Z".encode()
    body = sequence(b"\2\1\1", ED25519, AUTHORITY.certificate.subject.public_bytes(), time)
    assert isinstance(AUTHORITY.key, Ed25519PrivateKey)
    return sequence(body, ED25519, b"\x03\x41\0", AUTHORITY.key.sign(body))


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

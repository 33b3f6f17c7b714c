"""Which certificates are not to be believed though their time is not over (RFC 5280, sections 5 and 6.3).

An authority lists what it has revoked, signs the list and says until when it holds. Lists are installed by whoever runs
the host, as authorities are. An authority without a list has revoked nothing; one with a list is believed only while
the newest of its lists holds, for otherwise whoever keeps the next one from us keeps the thief of a key admitted. All
its lists count together: what was revoked once stays so, whichever file came last.
"""

from collections.abc import Sequence

from cryptography import x509

from tunnel.pki.issuer import Issuer, title
from tunnel.pki.problem import CertificateError, Problem
from tunnel.pki.profile import UNREADABLE
from tunnel.pki.validity import check_clock, format_time


def parse_crl(der: bytes) -> x509.CertificateRevocationList:
    """One list and nothing after it; raise `CertificateError` (MALFORMED)."""
    try:
        crl = x509.load_der_x509_crl(der)
        _ = crl.issuer  # parsed when asked for, so it is asked for here
        return crl
    except UNREADABLE:
        raise CertificateError(Problem.MALFORMED, "broken or trailing DER in a revocation list") from None


def check_not_revoked(
    certificate: x509.Certificate, issuer: Issuer, crls: Sequence[x509.CertificateRevocationList], now: float
) -> None:
    """Raise `CertificateError` if a list of `issuer` has the certificate, or cannot be relied upon."""
    named = (crl for crl in crls if crl.issuer == issuer.certificate.subject)
    own = [crl for crl in named if issuer.has_key_named_in(_read_extensions(crl))]
    if not own:
        return
    for crl in own:
        _check_signature(crl, issuer)
    _check_in_force(max(own, key=lambda crl: crl.last_update_utc), now)
    for crl in own:
        entry = crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if entry is not None:
            when = format_time(entry.revocation_date_utc.timestamp())
            raise CertificateError(Problem.REVOKED, f"{title(certificate.subject)} on {when}")


def _read_extensions(crl: x509.CertificateRevocationList) -> x509.Extensions:
    """Raise `CertificateError` if it is not a whole list of its issuer's (a delta, of some reasons only, of others)."""
    try:
        extensions = crl.extensions
    except UNREADABLE:
        raise CertificateError(Problem.MALFORMED, "broken or repeated extension of a revocation list") from None
    for extension in extensions:
        if extension.critical:  # what narrows a list is critical, and what we look at is not
            what = f"{extension.oid.dotted_string} of a revocation list"
            raise CertificateError(Problem.UNKNOWN_CRITICAL_EXTENSION, what)
    return extensions


def _check_signature(crl: x509.CertificateRevocationList, issuer: Issuer) -> None:
    if not issuer.may_revoke:
        raise CertificateError(Problem.WRONG_USAGE, f"{title(crl.issuer)} may not sign a revocation list")
    if not issuer.has_signed(crl):
        raise CertificateError(Problem.BAD_SIGNATURE, f"revocation list of {title(crl.issuer)}")


def _check_in_force(crl: x509.CertificateRevocationList, now: float) -> None:
    """That it is dated a little ahead is no reason to admit who it names, so its beginning tells of our clock only."""
    whose = f"revocation list of {title(crl.issuer)}"
    if crl.next_update_utc is None:
        raise CertificateError(Problem.MALFORMED, f"{whose} does not say until when it holds")
    check_clock(whose, crl.last_update_utc.timestamp(), now)
    end = crl.next_update_utc.timestamp()
    if now > end:
        raise CertificateError(Problem.CRL_EXPIRED, f"{whose} held until {format_time(end)}")

"""Which certificates are not to be believed though their time is not over (RFC 5280, sections 5 and 6.3).

An authority lists what it has revoked, signs the list and says until when it holds. Lists are installed by whoever runs
the host, as authorities are. An authority without a list has revoked nothing; one with a list is believed only while
the newest of its lists holds, for otherwise whoever keeps the next one from us keeps the thief of a key admitted. All
its lists count together: what was revoked once stays so, whichever file came last.

A list is as long as there are thefts, and is asked at every handshake: its signature is checked once for a key, and its
serial numbers are in a set from then on.
"""

from collections.abc import Sequence
from functools import cached_property
from math import inf

from cryptography import x509

from tunnel.pki.issuer import Issuer, IssuerKey, title
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


class RevocationList:
    """A list, and what was found out about it before."""

    def __init__(self, crl: x509.CertificateRevocationList) -> None:
        self.crl = crl
        self._signer: IssuerKey | None = None

    def is_signed_by(self, issuer: Issuer) -> bool:
        """Whether `issuer` has signed it: half a microsecond a byte when it is asked for the first time."""
        if self._signer != issuer.key:
            if not issuer.has_signed(self.crl):
                return False
            self._signer = issuer.key
        return True

    def revoked_at(self, serial: int) -> float | None:
        """When that certificate was revoked, in Unix seconds; None if it was not."""
        if serial not in self._serials:
            return None
        entry = self.crl.get_revoked_certificate_by_serial_number(serial)
        assert entry is not None
        return entry.revocation_date_utc.timestamp()

    @cached_property
    def _serials(self) -> frozenset[int]:
        return frozenset(entry.serial_number for entry in self.crl)


def check_not_revoked(
    certificate: x509.Certificate, issuer: Issuer, lists: Sequence[RevocationList], now: float
) -> float:
    """Until when a list of `issuer` that does not have the certificate holds; infinite if there is no list of his.

    Raise `CertificateError` if one has it, or cannot be relied upon.
    """
    named = (one for one in lists if one.crl.issuer == issuer.certificate.subject)
    own = [one for one in named if issuer.has_key_named_in(_read_extensions(one.crl))]
    if not own:
        return inf
    for one in own:
        _check_signature(one, issuer)
    end = _check_in_force(max((one.crl for one in own), key=lambda crl: crl.last_update_utc), now)
    for one in own:
        when = one.revoked_at(certificate.serial_number)
        if when is not None:
            raise CertificateError(Problem.REVOKED, f"{title(certificate.subject)} on {format_time(when)}")
    return end


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


def _check_signature(one: RevocationList, issuer: Issuer) -> None:
    if not issuer.may_revoke:
        raise CertificateError(Problem.WRONG_USAGE, f"{title(one.crl.issuer)} may not sign a revocation list")
    if not one.is_signed_by(issuer):
        raise CertificateError(Problem.BAD_SIGNATURE, f"revocation list of {title(one.crl.issuer)}")


def _check_in_force(crl: x509.CertificateRevocationList, now: float) -> float:
    """The end of its time.

    That it is dated a little ahead is no reason to admit who it names, so its beginning tells of our clock only.
    """
    whose = f"revocation list of {title(crl.issuer)}"
    if crl.next_update_utc is None:
        raise CertificateError(Problem.MALFORMED, f"{whose} does not say until when it holds")
    check_clock(whose, crl.last_update_utc.timestamp(), now)
    end = crl.next_update_utc.timestamp()
    if now > end:
        raise CertificateError(Problem.CRL_EXPIRED, f"{whose} held until {format_time(end)}")
    return end

"""The files that say who this host is, whom it believes and what was revoked: read, and judged before they are used.

    identity.pem ──▶ private key, chain, its authority ─┐
    CA = ca.pem  ──▶ more authorities ──────────────────┼──▶ would others believe our chain? ──▶ LoadedIdentity
    CRL = crl.pem ─▶ lists, each of one of those ───────┘

They are read at the start, and again when one of them changes or somebody asks for it. Either all of them are good, or
there is an error that names the file and says what to do, and whatever was in force before stays so. What we would
refuse in others we refuse in ourselves, since so would they. A list that has expired is refused too: with it we would
believe nobody of its authority.

Whoever can replace files could bring back a list from before the theft of a key was known. So while we run, a list
gives way only to one of the same authority that is no older.

A file with a secret must not be open to every user of the host, and one that is believed must not be theirs to change.
"""

import os
import shlex
import stat
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509

from tunnel.config.quick import is_world_accessible
from tunnel.daemon.expiry import Expiring
from tunnel.daemon.service_credentials import stand_in
from tunnel.errors import ClockError, ConfigError
from tunnel.pki.issuer import Issuer, authority_hash, read_issuer, title
from tunnel.pki.problem import CertificateError, Problem
from tunnel.pki.profile import UNREADABLE, Claims, parse_certificate
from tunnel.pki.revocation import RevocationList, check_not_revoked
from tunnel.pki.store import (
    Identity,
    has_private_key,
    is_encrypted,
    parse_certificates,
    parse_crl_file,
    parse_identity_file,
)
from tunnel.pki.verify import Trust, Verified, verify

MAX_FILE = 16 << 20
"""Bytes that are read of anything; the ledger of a CA with fifty thousand entries has these."""

RENEW = "renew it: tunnel cert renew"
REISSUE = "issue a new one: tunnel cert issue"
NEW_AUTHORITY = "make a new CA: tunnel cert ca"
NEW_LIST = "make a new one: tunnel cert crl"
NAME_AUTHORITY = "--ca or CA = names the file of its CA"
SET_CLOCK = "set the clock of this host"

_REMEDIES = {
    Problem.EXPIRED: RENEW,
    Problem.NOT_YET_VALID: SET_CLOCK,
    Problem.WRONG_CLOCK: SET_CLOCK,
    Problem.UNKNOWN_AUTHORITY: NAME_AUTHORITY,
    Problem.BAD_SIGNATURE: NAME_AUTHORITY,
    Problem.CHAIN_TOO_LONG: "at most one intermediate may stand below its CA",
}
"""What helps against a problem with our chain; where nothing is said, a new certificate."""

_LIST_BEGINS = b"-----BEGIN X509 CRL-----"


@dataclass(frozen=True, slots=True)
class LoadedIdentity:
    """What is in the files, all of it good at the time of reading."""

    identity: Identity
    claims: Claims
    """Our own."""
    trust: Trust
    """Every authority, those of the identity file first, and the lists."""
    authority: x509.Certificate
    """The one that our chain leads to."""
    expiring: tuple[Expiring, ...] = ()
    """Whatever of it will be missed when its time is over."""


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """Where they are; `passphrase` opens the private key if it is encrypted."""

    identity: Path
    authorities: tuple[Path, ...] = ()
    crls: tuple[Path, ...] = ()
    passphrase: bytes | None = field(default=None, repr=False)

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.identity, *self.authorities, *self.crls)

    def read(self, now: float, previous: LoadedIdentity | None = None) -> LoadedIdentity:
        """Read all files and check them at `now`, in Unix seconds; `previous` is what is in force so far.

        Raise `ConfigError`.
        """
        self.check_there()
        identity = self._read_identity()
        known = self._read_issuers(identity)
        issuers = _in_force(known, now)
        lists = [_read_list(path) for path in self.crls]
        _check_lists(lists, issuers, now)
        if previous is not None:
            self._check_none_older(lists, issuers, previous)
        authorities = tuple(one.issuer.certificate for one in known if one.is_authority)
        trust = Trust(authorities, tuple(one.crl for one in lists))
        verified = self._verify(identity, trust, now)
        expiring = (
            *_expiring_chain(identity.chain, verified.claims.name, str(self.identity)),
            *_expiring_authorities(known),
            *_expiring_lists(lists, issuers),
        )
        return LoadedIdentity(identity, verified.claims, trust, verified.authority, expiring)

    def check_there(self) -> None:
        """Raise `ConfigError` that says where a missing one comes from."""
        _check_file(self.identity, "tunnel cert issue makes one")
        for path in self.authorities:
            _check_file(path, "the ca.pem of a CA belongs there")
        for path in self.crls:
            _check_file(path, "tunnel cert crl makes one")

    def _read_identity(self) -> Identity:
        source = str(self.identity)
        raw = read_identity(self.identity)
        if not has_private_key(raw):
            raise ConfigError("no private key in it: put this host's in front of its certificate", source=source)
        if is_encrypted(raw) and not self.passphrase:
            why = "its private key is encrypted; --passphrase-file FILE names the passphrase's file"
            raise ConfigError(why, source=source)
        return parse_identity_file(raw, self.passphrase, source, needs_authority=not self.authorities)

    def _read_issuers(self, identity: Identity) -> list["_Known"]:
        """Our authorities, and the intermediates that stand beside them: those may have lists of their own."""
        sources = dict.fromkeys((*identity.authorities, *map(parse_certificate, identity.chain[1:])), self.identity)
        for path in self.authorities:
            certificates = parse_certificates(_read_believed(path), str(path))
            if not certificates.authorities:
                raise ConfigError("no CA in it: none of its certificates is its own issuer", source=str(path))
            for certificate in (*certificates.authorities, *certificates.chain):
                sources.setdefault(certificate, path)
        return [known for one, path in sources.items() if (known := _read_issuer(one, str(path))) is not None]

    def _check_none_older(self, lists: Sequence["_List"], issuers: Sequence[Issuer], previous: LoadedIdentity) -> None:
        before = [_List(crl, "") for crl in previous.trust.crls]
        for issuer in issuers:
            old, new = _newest(before, issuer), _newest(lists, issuer)
            if old is None:
                continue
            whose = f"revocation list of {title(old.crl.issuer)}"
            if new is None:
                files = ", ".join(map(str, self.crls)) or str(self.identity)
                raise ConfigError(f"no {whose} any more, and one is in force: put it back", source=files)
            if new.is_older(old):
                raise ConfigError(f"{whose} is older than the one in force; {NEW_LIST}", source=new.source)

    def _verify(self, identity: Identity, trust: Trust, now: float) -> Verified:
        """That we route everything is a risk for others, and theirs to decide on."""
        try:
            return verify(identity.chain, trust, now, allow_default_route=True)
        except CertificateError as error:
            remedy = _REMEDIES.get(error.problem, REISSUE)
            named = trust.issuers_named(parse_certificate(identity.chain[-1]).issuer)
            if error.problem is Problem.EXPIRED and all(issuer.not_after < now for issuer in named):
                remedy = NEW_AUTHORITY
            raise _refusal(error.problem, f"{error}; {remedy}", str(self.identity)) from None


def _refusal(problem: Problem, why: str, source: str) -> ConfigError:
    is_early = problem in (Problem.NOT_YET_VALID, Problem.WRONG_CLOCK)
    return (ClockError if is_early else ConfigError)(why, source=source)


def ignore_warnings() -> None:
    """Nothing is printed any more of what `cryptography` finds odd in a certificate: a long name, a negative serial.

    Whoever sends us certificates would choose what we print. For a process that talks to strangers, once, at its start.
    """
    warnings.filterwarnings("ignore", category=UserWarning, module=r"tunnel\.")


# ---- who issues, and what was revoked -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Known:
    """One who issues certificates, and the file that says so."""

    issuer: Issuer
    source: str

    @property
    def is_authority(self) -> bool:
        return _is_authority(self.issuer.certificate)


@dataclass(frozen=True, slots=True)
class _List:
    """A revocation list and its file."""

    crl: x509.CertificateRevocationList
    source: str

    @property
    def made(self) -> float:
        return self.crl.last_update_utc.timestamp()

    @property
    def number(self) -> int | None:
        try:
            return self.crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
        except x509.ExtensionNotFound:
            return None

    def is_of(self, issuer: Issuer) -> bool:
        return self.crl.issuer == issuer.certificate.subject and issuer.has_key_named_in(self.crl.extensions)

    def is_older(self, other: "_List") -> bool:
        """By its number, which grows from list to list; by its date if that does not tell."""
        if self.number is None or other.number is None or self.number == other.number:
            return self.made < other.made
        return self.number < other.number

    def check(self, issuer: Issuer, now: float) -> None:
        """Raise `ConfigError` unless it is one of `issuer` that can be relied upon at `now`."""
        try:
            check_not_revoked(issuer.certificate, issuer, (RevocationList(self.crl),), now)
        except CertificateError as error:
            if error.problem is Problem.REVOKED:  # so it can be relied upon; whom it names is another question
                return
            remedy = SET_CLOCK if error.problem is Problem.WRONG_CLOCK else NEW_LIST
            raise _refusal(error.problem, f"{error}; {remedy}", self.source) from None


def _is_authority(certificate: x509.Certificate) -> bool:
    return certificate.issuer == certificate.subject


def _read_issuer(certificate: x509.Certificate, source: str) -> _Known | None:
    """None for what is neither an authority nor an intermediate: a host's certificate beside its CA's."""
    try:
        return _Known(read_issuer(certificate), source)
    except CertificateError as error:
        if _is_authority(certificate):
            raise ConfigError(str(error), source=source) from None
        return None


def _in_force(known: Iterable[_Known], now: float) -> list[Issuer]:
    """Of one who was issued anew under the old key, the certificate that counts: as `tunnel.pki.verify` has it."""
    issuers = sorted(
        (one.issuer for one in known), key=lambda one: (one.not_before <= now <= one.not_after, one.not_before)
    )
    return list({_who(issuer): issuer for issuer in issuers}.values())


def _who(issuer: Issuer) -> tuple[x509.Name, bytes]:
    """The same for all certificates of one who was issued anew."""
    return issuer.certificate.subject, authority_hash(issuer.certificate)


def _check_lists(lists: Sequence[_List], issuers: Sequence[Issuer], now: float) -> None:
    """Each is of somebody whom we know, and the newest of each holds."""
    for one in lists:
        own = [issuer for issuer in issuers if one.is_of(issuer)]
        if not own:
            why = f"revocation list of {title(one.crl.issuer)}, which is none of our authorities; {NAME_AUTHORITY}"
            raise ConfigError(why, source=one.source)
        for issuer in own:
            one.check(issuer, one.made)
    for issuer in issuers:
        newest = _newest(lists, issuer)
        if newest is not None:
            newest.check(issuer, now)


def _newest(lists: Iterable[_List], issuer: Issuer) -> _List | None:
    return max((one for one in lists if one.is_of(issuer)), key=lambda one: one.made, default=None)


# ---- what ends ------------------------------------------------------------------------------------------------------


def _expiring_chain(chain: Sequence[bytes], name: str, source: str) -> Iterator[Expiring]:
    """Each with its own time: what has to be renewed is the one that ends."""
    leaf, *intermediates = map(parse_certificate, chain)
    yield _expiring(f"certificate of {name}", source, leaf, RENEW)
    for one in intermediates:
        yield _expiring(f"intermediate {title(one.subject)}", source, one, "its CA has to issue a new one")


def _expiring_authorities(known: Iterable[_Known]) -> Iterator[Expiring]:
    """One that was issued anew is not missed."""
    for one in {_who(one.issuer): one for one in sorted(known, key=lambda one: one.issuer.not_after)}.values():
        if one.is_authority:
            certificate = one.issuer.certificate
            yield _expiring(f"authority {title(certificate.subject)}", one.source, certificate, NEW_AUTHORITY)


def _expiring(what: str, source: str, certificate: x509.Certificate, remedy: str) -> Expiring:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return Expiring(what, source, begin.timestamp(), end.timestamp(), remedy)


def _expiring_lists(lists: Sequence[_List], issuers: Iterable[Issuer]) -> Iterator[Expiring]:
    """The newest of each issuer, which stands for those before it."""
    for issuer in issuers:
        newest = _newest(lists, issuer)
        if newest is not None:
            end = newest.crl.next_update_utc
            assert end is not None, "check_not_revoked asks for it"
            what = f"revocation list of {title(newest.crl.issuer)}"
            yield Expiring(what, newest.source, newest.made, end.timestamp(), NEW_LIST)


# ---- files ----------------------------------------------------------------------------------------------------------


def read_file(path: Path) -> bytes:
    """A file without secrets; raise `ConfigError` if it cannot be read."""
    return _read(path)[0]


def read_secret(path: Path) -> bytes:
    """Raise `ConfigError` if it cannot be read, or everybody can read or change it."""
    raw, everybody = _read(path)
    if everybody:
        raise _open_to_all(path)
    return raw


def read_identity(path: Path) -> bytes:
    """As `read_secret` if there is a private key in it, as `read_file` if there are only certificates."""
    raw, everybody = _read(path)
    if everybody and has_private_key(raw):
        raise _open_to_all(path)
    return raw


def _read_believed(path: Path) -> bytes:
    """Everybody may know what is in it; raise `ConfigError` if everybody can change it."""
    raw, everybody = _read(path)
    if everybody & stat.S_IWOTH:
        remedy = f"chmod o-w {shlex.quote(str(path))}"
        raise ConfigError(f"we believe what it says, and everybody may change it: {remedy}", source=str(path))
    return raw


def _read_list(path: Path) -> _List:
    raw = _read_believed(path)
    if raw.count(_LIST_BEGINS) > 1:  # the first would be used and the others forgotten
        raise ConfigError("more than one revocation list in it: each needs a file of its own", source=str(path))
    crl = parse_crl_file(raw, str(path))
    try:
        _ = crl.extensions  # read when asked for, so they are asked for here
    except UNREADABLE:
        raise ConfigError("not a certificate revocation list", source=str(path)) from None
    return _List(crl, str(path))


def _read(path: Path) -> tuple[bytes, int]:
    """What is in it, and the bits of its mode that let everybody read or change it; 0 if nobody gets at it."""
    try:
        readable = stand_in(path)
        with readable.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            is_open = stat.S_ISREG(mode) and is_world_accessible(mode, readable.resolve().parent.stat().st_mode)
            return file.read(MAX_FILE), mode & 0o006 if is_open else 0
    except OSError as error:
        raise ConfigError(error.strerror or str(error), source=str(path)) from None


def _open_to_all(path: Path) -> ConfigError:
    remedy = f"chmod 600 {shlex.quote(str(path))}"
    return ConfigError(f"holds a secret, and everybody may read or change it: {remedy}", source=str(path))


def _check_file(path: Path, remedy: str) -> None:
    """Raise `ConfigError` if it is not there, or what reading it might wait for without end."""
    try:
        mode = stand_in(path).stat().st_mode
    except FileNotFoundError:
        raise ConfigError(f"no such file: {remedy}", source=str(path)) from None
    except OSError as error:
        raise ConfigError(error.strerror or str(error), source=str(path)) from None
    if not stat.S_ISREG(mode):
        raise ConfigError("not a file", source=str(path))

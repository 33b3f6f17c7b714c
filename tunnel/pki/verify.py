"""Whether a certificate is to be believed (RFC 5280, section 6; RFC 3779, section 2.3; RFC 6125, section 6.4).

    an authority that we trust ──▶ (an intermediate) ──▶ the peer's certificate ──▶ Claims
              from the top down, each is asked: who signed you, when do you hold, are you revoked,
              do you keep to the profile, and are your addresses among your issuer's?

What a certificate says is judged only once its signature has been found right, but for the names that tell whose it
should be: whoever has no authority behind him learns nothing else, and costs us the check of one signature. Then
whoever presents it is held against it: the key that he has, the name that we dialled, what it was issued for.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network

from cryptography import x509

from tunnel.config.patch import IPNetwork
from tunnel.endpoint import Endpoint
from tunnel.keys import PublicKey
from tunnel.pki.ipblocks import find_uncovered, is_covered
from tunnel.pki.issuer import Issuer, read_issuer, title
from tunnel.pki.problem import CertificateError, Problem
from tunnel.pki.profile import MAX_CERTIFICATE_SIZE, Claims, parse_certificate, read_claims, read_extensions
from tunnel.pki.revocation import RevocationList, check_not_revoked
from tunnel.pki.validity import check_clock, check_validity

MAX_INTERMEDIATES = 1
MAX_CHAIN_SIZE = MAX_CERTIFICATE_SIZE
"""Bytes of DER, of all certificates together: they travel in one datagram."""

_EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom this host believes, and what they have revoked: as `parse_certificate` and `parse_crl` return them.

    Two authorities may share a name while one follows the other. A list of somebody who is not among them is not used.
    What was read of an authority and found out about a list is kept, so one `Trust` is for many chains.
    """

    authorities: tuple[x509.Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    lists: tuple[RevocationList, ...] = field(init=False, repr=False, compare=False)
    _issuers: dict[x509.Certificate, Issuer] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lists", tuple(map(RevocationList, self.crls)))

    def issuers_named(self, name: x509.Name) -> list[Issuer]:
        """The authorities of this name; raise `CertificateError` if one of them does not keep to the profile."""
        named = [certificate for certificate in self.authorities if certificate.subject == name]
        for certificate in named:
            if certificate not in self._issuers:
                self._issuers[certificate] = read_issuer(certificate)
        return [self._issuers[certificate] for certificate in named]


@dataclass(frozen=True, slots=True)
class Verified:
    """A chain that is believed."""

    claims: Claims
    authority: x509.Certificate
    """The one of those we trust that it leads to."""
    made: float
    """Unix seconds: the beginning of the peer's own certificate, which tells the newer of two."""
    until: float
    """Unix seconds: it is believed to the end of the chain and of the revocation lists that it was looked up in."""


def verify(
    chain: Sequence[bytes],
    trust: Trust,
    now: float,
    *,
    name: str | None = None,
    key: PublicKey | None = None,
    as_server: bool = False,
    allow_default_route: bool = False,
) -> Verified:
    """What the peer may claim, by whose word and until when, or `CertificateError` with the first problem.

    `chain` is DER: the peer's certificate, then at most one intermediate. `key` is what the peer has proved to have.
    Whoever we dial must be issued for that (`as_server`) and for the `name` we dialled, a DNS name or an address.
    `not_before` and `not_after` of the claims are those of the whole chain.
    """
    leaf, *intermediates = _parse_chain(chain)
    issuers = [_find_authority(intermediates[-1] if intermediates else leaf, trust, now)]
    ends = []
    for intermediate in intermediates:
        ends.append(check_not_revoked(intermediate, issuers[-1], trust.lists, now))
        issuers.append(_verify_intermediate(intermediate, leaf, issuers[-1], now))
    ends.append(check_not_revoked(leaf, issuers[-1], trust.lists, now))
    claims = _verify_leaf(leaf, issuers[-1], now)
    if not allow_default_route:
        _check_no_default_route(claims)
    _check_holder(claims, name, key, as_server)
    bounded = replace(
        claims,
        not_before=max(claims.not_before, *(issuer.not_before for issuer in issuers)),
        not_after=min(claims.not_after, *(issuer.not_after for issuer in issuers)),
    )
    return Verified(bounded, issuers[0].certificate, claims.not_before, min(bounded.not_after, *ends))


# ── the chain ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _parse_chain(chain: Sequence[bytes]) -> list[x509.Certificate]:
    if not chain:
        raise CertificateError(Problem.MALFORMED, "no certificate at all")
    if len(chain) > 1 + MAX_INTERMEDIATES:
        raise CertificateError(Problem.CHAIN_TOO_LONG, f"{len(chain)} certificates")
    if sum(map(len, chain)) > MAX_CHAIN_SIZE:
        raise CertificateError(Problem.TOO_LARGE, f"{sum(map(len, chain))} bytes, more than {MAX_CHAIN_SIZE}")
    return [parse_certificate(der) for der in chain]


def _find_authority(certificate: x509.Certificate, trust: Trust, now: float) -> Issuer:
    """The one that has signed `certificate`, if it is in force.

    One that was issued anew under its old key is there twice: what counts is the newest that is in force.
    """
    signers = _find_signers(certificate, trust.issuers_named(certificate.issuer))
    authority = max(signers, key=lambda issuer: (issuer.not_before <= now <= issuer.not_after, issuer.not_before))
    whose = f"authority {title(authority.certificate.subject)}"
    check_clock(whose, authority.not_before, now)
    check_validity(whose, authority.not_before, authority.not_after, now)
    return authority


def _verify_intermediate(
    intermediate: x509.Certificate, leaf: x509.Certificate, authority: Issuer, now: float
) -> Issuer:
    """`intermediate` as issuer of `leaf`."""
    if authority.max_intermediates == 0:
        raise CertificateError(Problem.CHAIN_TOO_LONG, "the authority allows no intermediate")
    named = [read_issuer(intermediate)] if intermediate.subject == leaf.issuer else []
    (issuer,) = _find_signers(leaf, named)
    check_validity(f"intermediate {title(intermediate.subject)}", issuer.not_before, issuer.not_after, now)
    _check_networks(issuer.networks, authority)
    return issuer


def _verify_leaf(leaf: x509.Certificate, issuer: Issuer, now: float) -> Claims:
    claims = read_claims(leaf)
    check_validity(claims.name, claims.not_before, claims.not_after, now)
    _check_networks(claims.networks, issuer)
    return claims


def _find_signers(certificate: x509.Certificate, named: Iterable[Issuer]) -> list[Issuer]:
    """Those, of the name that `certificate` has for its issuer, that have signed it: at least one."""
    extensions = read_extensions(certificate)
    named = [issuer for issuer in named if issuer.has_key_named_in(extensions)]
    if not named:
        raise CertificateError(Problem.UNKNOWN_AUTHORITY, title(certificate.issuer))
    signers = [issuer for issuer in named if issuer.has_signed(certificate)]
    if not signers:
        raise CertificateError(Problem.BAD_SIGNATURE, f"not by {title(certificate.issuer)}")
    return signers


def _check_networks(networks: Iterable[IPNetwork], issuer: Issuer) -> None:
    outside = find_uncovered(networks, issuer.networks)
    if outside is not None:
        raise CertificateError(Problem.PREFIX_NOT_ISSUERS, str(outside))


def _check_no_default_route(claims: Claims) -> None:
    """Two halves are one too, as wg-quick(8) users know."""
    for everything in _EVERYTHING:
        if is_covered(everything, claims.routes):
            raise CertificateError(Problem.DEFAULT_ROUTE, f"{claims.name} to {everything}")


# ── who presents it ──────────────────────────────────────────────────────────────────────────────────────────────────


def _check_holder(claims: Claims, name: str | None, key: PublicKey | None, as_server: bool) -> None:
    if key is not None and claims.public_key != key:
        raise CertificateError(Problem.KEY_MISMATCH, f"{claims.name} is {claims.public_key.short}, not {key.short}")
    if as_server and not claims.is_server:
        raise CertificateError(Problem.WRONG_USAGE, f"{claims.name} may not be dialled")
    if name is not None and not is_named(claims, name):
        raise CertificateError(Problem.NAME_MISMATCH, f"{claims.name} is not reached as {name}")


def is_named(claims: Claims, name: str) -> bool:
    """Whether a certificate is for the host that was dialled as `name`: an address exactly, or a DNS name."""
    try:
        address = ip_address(Endpoint.create(name, 0).host)
    except ValueError:
        return any(_matches(pattern, name) for pattern in claims.dns_names)
    return address in claims.ip_names


def _matches(pattern: str, name: str) -> bool:
    """Whether a DNS name is meant by one in a certificate, where ``*`` may stand for the whole left-most label.

    Names compare without case and without the dot of the root. One with other letters than ASCII's has to be given as
    what is looked up, ``xn--…``: it matches nothing otherwise.
    """
    if not name.isascii():
        return False
    labels, wanted = (text.lower().removesuffix(".").split(".") for text in (pattern, name))
    if labels[0] == "*" and len(labels) > 1 and wanted[0]:
        return labels[1:] == wanted[1:]
    return labels == wanted

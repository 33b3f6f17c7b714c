"""Admission: who may be a peer because of a certificate, with which addresses, and until when.

    17: whom we dialled shows a chain ──dial──▶ ┌─ verified? named? allowed? ─┐
    18, 19: who has the key shows one ─admit──▶ │ addresses free? room?       │──▶ DevicePatch: who yields goes,
                                                └──────────┬──────────────────┘    the newcomer comes
          another identity, CA or CRL ─renew──▶  everybody │ anew, and who
                  a certificate has ended ─expire─▶  fails ▼ is Removed

A network belongs to one peer, so whoever claims one that somebody else has is refused, unless the holder yields: who
came by a certificate does, to a certificate of his own name that is not older, and to anybody once he has no session.
Peers that are configured by hand never yield, and stay what they were configured to be whatever they show.

All whom we dial stand for one role (`tunnel.daemon.dialling`): whoever was dialled before yields to the next, since we
only dial while we doubt him.

Message 17 proves no key: any member who sees the request can answer it with somebody else's chain. Yet there has to be
a peer to begin the handshake with. So `dial` takes nothing from anybody who has a session, except from the one who was
dialled before; and the peer that a lie has made has no session, so that it yields in its turn.

What is refused leaves everything as it was: a peer whose new certificate is refused stays until its old one ends. No
I/O and no clock: `now` is the core's, `unix_now` is in Unix seconds.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import islice
from math import inf, nextafter
from typing import Final, Protocol

from tunnel.config.model import DEFAULT_MAX_PEERS
from tunnel.config.patch import DevicePatch, IPNetwork, PeerPatch
from tunnel.endpoint import EndpointName
from tunnel.keys import PublicKey
from tunnel.pki.binding import peer_patch
from tunnel.pki.issuer import title
from tunnel.pki.ledger import bare
from tunnel.pki.problem import CertificateError, Problem
from tunnel.pki.profile import Claims
from tunnel.pki.verify import Trust, is_named, verify

AT_ONCE: Final = 32
"""Peers that are verified anew in one go, at half a millisecond each."""

DIALLED_KEEPALIVE: Final = 25
"""Seconds: whoever dials may be behind a NAT, which has to go on knowing us."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What is asked beyond a good certificate.

    Of those who come to us, one name in the certificate, common or DNS, fits one of the shell patterns in `allow`, if
    there are any. `max_peers` counts those whom we dial too.
    """

    allow: tuple[str, ...] = ()
    max_peers: int = DEFAULT_MAX_PEERS
    allow_default_route: bool = False


class Peers(Protocol):
    """What is asked of the device."""

    def holder(self, network: IPNetwork) -> PublicKey | None:
        """Whose allowed IP exactly this network is."""
        ...

    def has_peer(self, public_key: PublicKey) -> bool:
        """Whether there is such a peer, whoever made it."""
        ...

    def has_session(self, public_key: PublicKey, now: float) -> bool:
        """Whether it could be sent to at once."""
        ...


@dataclass(frozen=True, slots=True)
class Admitted:
    """A peer that is there by its certificate."""

    claims: Claims
    chain: tuple[bytes, ...]
    authority: str
    """The CA that it leads to, as a person would call it."""
    dialled_as: EndpointName | None
    """By which of our names we dialled it; None if it came to us."""
    made: float
    """Unix seconds: when its own certificate begins."""
    until: float
    """Unix seconds, the last moment of it: the end of the chain, or of the revocation list that vouches for it."""

    @property
    def public_key(self) -> PublicKey:
        return self.claims.public_key

    @property
    def networks(self) -> tuple[IPNetwork, ...]:
        """Its own addresses and what it routes."""
        return self.claims.networks


@dataclass(frozen=True, slots=True)
class Removed:
    """One who was admitted and is not any more: to be removed from the device."""

    public_key: PublicKey
    name: str
    why: CertificateError


class Admission:
    """Those who were admitted, in the order in which they came, and the rules for the next.

    Whoever drives it applies the patches at once, and says with `forget` who was removed for other reasons.
    """

    def __init__(self, own: Claims, trust: Trust, policy: Policy, peers: Peers) -> None:
        self._own = own
        self._trust = trust
        self._policy = policy
        self._peers = peers
        self._admitted: dict[PublicKey, Admitted] = {}
        self._holders: dict[IPNetwork, PublicKey] = {}
        self._refusals: Counter[Problem] = Counter()
        self._deadline = inf
        self._unverified: dict[PublicKey, None] = {}

    # ── who is there ─────────────────────────────────────────────────────────────────────────────────────────────

    def __len__(self) -> int:
        return len(self._admitted)

    def __iter__(self) -> Iterator[Admitted]:
        return iter(tuple(self._admitted.values()))

    def find(self, public_key: PublicKey) -> Admitted | None:
        return self._admitted.get(public_key)

    def networks(self) -> Mapping[IPNetwork, PublicKey]:
        """Of all of them, and whose each is."""
        return self._holders

    @property
    def deadline(self) -> float:
        """When to call `expire`, in Unix seconds: the moment after the first end; infinite if nothing ends."""
        return -inf if self._unverified else nextafter(self._deadline, inf)

    @property
    def refusals(self) -> Mapping[str, int]:
        """How many times `dial` and `admit` have refused somebody, by the value of the `Problem`."""
        return {problem.value: count for problem, count in self._refusals.items()}

    # ── who comes ────────────────────────────────────────────────────────────────────────────────────────────────

    def dial(
        self, chain: Sequence[bytes], names: Sequence[EndpointName], now: float, unix_now: float
    ) -> tuple[PublicKey, DevicePatch]:
        """Whoever shows `chain` where we dialled one of `names`: its key, and what makes it a peer (message 17).

        There is a name at least. The endpoint is not in the patch. Raise `CertificateError`.
        """
        assert names
        with self._counting():
            newcomer = self._verify(chain, None, names, unix_now)
            public_key = newcomer.public_key
            if self._is_configured(public_key):
                return public_key, _unchanged(public_key)
            return public_key, self._enter(newcomer, now, is_proved=False)

    def admit(self, public_key: PublicKey, chain: Sequence[bytes], now: float, unix_now: float) -> DevicePatch:
        """What makes a peer of the holder of the key, who shows `chain` (messages 18 and 19); it is the patch's last.

        One that shows what it has shown before is not verified again. Raise `CertificateError`.
        """
        with self._counting():
            if self._is_configured(public_key):
                return _unchanged(public_key)
            known = self._admitted.get(public_key) if self._peers.has_peer(public_key) else None
            if known is not None and known.chain == tuple(chain) and unix_now <= known.until:
                return _unchanged(public_key)
            names = (known.dialled_as,) if known is not None and known.dialled_as is not None else ()
            return self._enter(self._verify(chain, public_key, names, unix_now), now, is_proved=True)

    # ── who goes ─────────────────────────────────────────────────────────────────────────────────────────────────

    def renew(self, own: Claims, trust: Trust, unix_now: float) -> list[Removed]:
        """We have another identity, CA or CRL: everybody is verified anew, and those who fail are removed.

        At once only some are, so that packets need not wait: `deadline` stays in the past until all had their turn.
        """
        self._own, self._trust = own, trust
        self._unverified = dict.fromkeys(self._admitted)
        return self.expire(unix_now)

    def expire(self, unix_now: float) -> list[Removed]:
        """Remove those whose certificate, or the list that vouched for it, has ended, and verify who waits for it."""
        turn = list(islice(self._unverified, AT_ONCE))
        ended = [one.public_key for one in self._admitted.values() if one.until < unix_now]
        for public_key in turn:
            del self._unverified[public_key]
        return self._verify_anew(dict.fromkeys([*turn, *ended]), unix_now)

    def forget(self, public_key: PublicKey) -> None:
        """It is not in the device any more, for whatever reason. Nothing happens if it is not one of ours."""
        self._drop(public_key)
        self._reschedule()

    def overrule(self, configured: Collection[PublicKey]) -> list[Removed]:
        """These peers are configured by hand now, which goes before certificates. One of ours who is among them is
        theirs from now on; who has lost a network to one of them is removed, since it would be refused now."""
        for public_key in configured:
            self._drop(public_key)
        removed = []
        for one in self:
            lost = next(filter(None, (self._configured_holder(network) for network in one.networks)), None)
            if lost is not None:
                self._drop(one.public_key)
                removed.append(Removed(one.public_key, one.claims.name, _overlap(one, *lost)))
        self._reschedule()
        return removed

    def _configured_holder(self, network: IPNetwork) -> tuple[IPNetwork, PublicKey] | None:
        holder = self._peers.holder(network)
        return None if holder is None or holder in self._admitted else (network, holder)

    def _verify_anew(self, some: Iterable[PublicKey], unix_now: float) -> list[Removed]:
        removed = []
        for one in [self._admitted[public_key] for public_key in some if public_key in self._admitted]:
            names = () if one.dialled_as is None else (one.dialled_as,)
            try:
                self._admitted[one.public_key] = self._verify(one.chain, one.public_key, names, unix_now)
            except CertificateError as error:
                self._drop(one.public_key)
                removed.append(Removed(one.public_key, one.claims.name, error))
        self._reschedule()
        return removed

    # ── whether a certificate will do ────────────────────────────────────────────────────────────────────────────

    def _verify(
        self, chain: Sequence[bytes], public_key: PublicKey | None, names: Sequence[EndpointName], unix_now: float
    ) -> Admitted:
        """`names` are what we dialled it by, none if it came to us; `public_key` is what it has proved to have."""
        if not names and not self._own.is_server:
            raise CertificateError(Problem.NOT_ADMITTING, f"the certificate of {self._own.name} is not for that")
        verified = verify(
            chain,
            self._trust,
            unix_now,
            key=public_key,
            as_server=bool(names),
            allow_default_route=self._policy.allow_default_route,
        )
        claims = verified.claims
        dialled_as = _name_dialled(claims, names) if names else None
        if dialled_as is None:
            self._check_allowed(claims)
        self._check_not_us(claims)
        return Admitted(
            claims=claims,
            chain=tuple(chain),
            authority=title(verified.authority.subject),
            dialled_as=dialled_as,
            made=verified.made,
            until=verified.until,
        )

    def _check_allowed(self, claims: Claims) -> None:
        names, patterns = (claims.name, *claims.dns_names), self._policy.allow
        if patterns and not any(fnmatchcase(name, pattern) for name in names for pattern in patterns):
            raise CertificateError(Problem.NOT_ALLOWED, claims.name)

    def _check_not_us(self, claims: Claims) -> None:
        """Networks that we route ourselves may be a sibling's too; an address of our own is nobody else's."""
        if claims.public_key == self._own.public_key:
            raise CertificateError(Problem.KEY_MISMATCH, f"{claims.name} has the key of this host")
        for address in claims.addresses:
            if address in self._own.addresses:
                raise CertificateError(Problem.OVERLAP, f"{claims.name} claims {address}, which is this host's")

    # ── whether there is a place ─────────────────────────────────────────────────────────────────────────────────

    def _enter(self, newcomer: Admitted, now: float, *, is_proved: bool) -> DevicePatch:
        """Let the newcomer in, in place of what it was before; raise `CertificateError` before anything has changed."""
        leaving = self._find_yielding(newcomer, now, is_proved)
        leaving += self._find_evicted(newcomer, leaving, now)
        for public_key in (*leaving, newcomer.public_key):
            self._free_networks(public_key)
        for public_key in leaving:
            del self._admitted[public_key]
        self._admitted[newcomer.public_key] = newcomer
        self._holders.update(dict.fromkeys(newcomer.networks, newcomer.public_key))
        self._reschedule()
        keepalive = None if newcomer.dialled_as is None else DIALLED_KEEPALIVE
        patch = replace(peer_patch(newcomer.claims), persistent_keepalive=keepalive)
        return DevicePatch(peers=(*(PeerPatch(public_key, remove=True) for public_key in leaving), patch))

    def _find_yielding(self, newcomer: Admitted, now: float, is_proved: bool) -> list[PublicKey]:
        """Those who have one of its networks, and yield; raise `CertificateError` (OVERLAP) for one who does not."""
        yielding: list[PublicKey] = []
        for network in newcomer.networks:
            for holder in (self._holders.get(network), self._peers.holder(network)):
                if holder is None or holder == newcomer.public_key or holder in yielding:
                    continue
                admitted = self._admitted.get(holder)
                if admitted is None:
                    raise _overlap(newcomer, network, holder)
                if not self._yields(admitted, newcomer, now, is_proved):
                    why = f"{newcomer.claims.name} claims {bare(network)}, which is {admitted.claims.name}'s already"
                    raise CertificateError(Problem.OVERLAP, why)
                yielding.append(holder)
        return yielding

    def _yields(self, holder: Admitted, newcomer: Admitted, now: float, is_proved: bool) -> bool:
        if holder.dialled_as is not None and newcomer.dialled_as is not None:
            return True
        is_successor = is_proved and holder.claims.name == newcomer.claims.name and holder.made <= newcomer.made
        return is_successor or not self._peers.has_session(holder.public_key, now)

    def _find_evicted(self, newcomer: Admitted, leaving: Sequence[PublicKey], now: float) -> list[PublicKey]:
        """Those who have to go for want of room: who came to us first, of those without a session.

        Raise `CertificateError` (TOO_MANY_PEERS) if they are too few.
        """
        others = [one for key, one in self._admitted.items() if key not in leaving and key != newcomer.public_key]
        excess = len(others) + 1 - self._policy.max_peers
        evicted: list[PublicKey] = []
        for one in others:
            if len(evicted) >= excess:
                break
            if one.dialled_as is None and not self._peers.has_session(one.public_key, now):
                evicted.append(one.public_key)
        if len(evicted) < excess:
            why = f"no place for {newcomer.claims.name} beside {len(others)} others"
            raise CertificateError(Problem.TOO_MANY_PEERS, why)
        return evicted

    # ── the table ────────────────────────────────────────────────────────────────────────────────────────────────

    def _is_configured(self, public_key: PublicKey) -> bool:
        """A peer that we did not make."""
        return public_key not in self._admitted and self._peers.has_peer(public_key)

    def _drop(self, public_key: PublicKey) -> None:
        self._free_networks(public_key)
        self._admitted.pop(public_key, None)

    def _free_networks(self, public_key: PublicKey) -> None:
        admitted = self._admitted.get(public_key)
        for network in admitted.networks if admitted is not None else ():
            del self._holders[network]

    def _reschedule(self) -> None:
        self._deadline = min((one.until for one in self._admitted.values()), default=inf)

    @contextmanager
    def _counting(self) -> Iterator[None]:
        try:
            yield
        except CertificateError as error:
            self._refusals[error.problem] += 1
            raise


def _overlap(claimant: Admitted, network: IPNetwork, holder: PublicKey) -> CertificateError:
    """With a peer that is configured."""
    whose = f"that of {holder.short}, who is configured"
    return CertificateError(Problem.OVERLAP, f"{claimant.claims.name} claims {bare(network)}, which is {whose}")


def _unchanged(public_key: PublicKey) -> DevicePatch:
    """That it is a peer already."""
    return DevicePatch(peers=(PeerPatch(public_key, update_only=True),))


def _name_dialled(claims: Claims, names: Sequence[EndpointName]) -> EndpointName:
    """The first of them that the certificate has."""
    for name in names:
        if is_named(claims, name.host):
            return name
    hosts = ", ".join(name.host for name in names)
    raise CertificateError(Problem.NAME_MISMATCH, f"{claims.name} is not reached as {hosts}")

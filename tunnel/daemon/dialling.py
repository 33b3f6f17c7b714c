"""Dialling: which of several names answers the question for its certificate, and what to do when it falls silent.

The names are alternatives for one role, usually that of the gateway. All their addresses are asked at once, and the
first whose certificate is believed is courted: no other answer counts until its handshake has come to something.

    names ─look up─▶ addresses ─ask all: after 1, 2, 4, every 5 s─▶ answer ─taken─▶ courted ─completed─▶ connected
                                 ▲                                                    │                      │
                                 └───────── a new round, at once ◀──── unanswered ────┴── unanswered, lost ──┘

A peer that falls silent while connected is doubted, but not given up: all are asked, it too, and for the first second
of the round only its own answer counts, so that one lost datagram does not move us to another gateway. In the same way
somebody whose certificate came but whose handshake did not, or whom we have just lost, has to let the others go first.
Without the certificate exchange a name's address would have to be given up by time alone, as `tunnel.daemon.resolver`
does for peers that are configured by hand.

`Dialling` decides from arguments only. Whoever drives it looks up names, sends requests, and tells it what became of
them; all times are seconds of the core's clock.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from tunnel.endpoint import Endpoint, EndpointName
from tunnel.errors import ConfigError
from tunnel.keys import PublicKey

MAX_NAMES = 16
MAX_ADDRESSES = 16
"""Of each name; DNS may say more, which is not used."""

FIRST_PAUSES = (1.0, 2.0, 4.0)
PAUSE = 5.0
"""Seconds until the same address is asked again: at the beginning of a round, and then."""

SLOW_AFTER = 600.0
SLOW_PAUSE = 15.0
"""When nobody was to be taken for that many seconds, this is the pause."""

LOOKUP_INTERVAL = 15.0
"""Seconds at least from one look-up of a name that has addresses to the next, and from the loss of the peer to it."""

FIRST_RETRY = 1.0
LAST_RETRY = 30.0
"""Seconds to the next look-up after one that failed: doubling from the first to the last."""

COURTSHIP = 12.0
"""Seconds for the first handshake, should nobody tell us of its failure: two of 5 s, as one may have to wait."""

GRACE = 1.0
"""Seconds, from the beginning of a round, in which those who are put off are not taken if there are others."""

PENALTY = 30.0
"""Seconds for which an address is put off: its certificate was refused, its handshake unanswered, its peer lost."""

ROUSING_INTERVAL = 5.0
"""Seconds in which only the first reason to ask at once counts: a network that changes has many."""

_Key = tuple[str, int]
"""Host and port: an answer comes with a source and, if it is link-local, a scope, which the name need not have."""


class _State(Enum):
    ASKING = "asking"
    """Nobody, or somebody who has been given up but not replaced yet."""
    COURTING = "courting"
    CONNECTED = "connected"
    DOUBTING = "doubting"
    """Connected, as far as we know, and asking."""


@dataclass(slots=True)
class _Lookup:
    """What is known of one name; `at` is infinite while a look-up is under way, and for numeric names."""

    at: float
    endpoints: tuple[Endpoint, ...] = ()
    failures: int = 0


@dataclass(slots=True)
class _Candidate:
    """One address that is asked. `asks` counts those in this round."""

    endpoint: Endpoint
    ask_at: float
    asks: int = 0
    asked_at: float = -math.inf
    penalised_until: float = -math.inf


class Dialling:
    """Where to ask, when, and whom to take. At `deadline` call `due_lookups` and `expire`, in any order.

    Methods that return a key name the peer that has to be removed, since another one has taken its place: what they
    have behind them is usually the same networks. What is said about any other peer than `peer` has no effect.
    """

    def __init__(self, names: Sequence[EndpointName], now: float) -> None:
        if len(set(names)) > MAX_NAMES:
            raise ConfigError(f"{len(set(names))} names to dial, at most {MAX_NAMES} are possible")
        self.peer: PublicKey | None = None
        """Who is courted or connected, or was last: it stays in its place until another is taken or it is lost."""
        self.asked_since: float | None = now
        """Since when we have been looking for somebody; None while connected without a doubt."""
        self._state = _State.ASKING
        self._candidates: dict[_Key, _Candidate] = {}
        self._lookups: dict[EndpointName, _Lookup] = {}
        for name in names:
            numeric = name.numeric()
            self._lookups[name] = _Lookup(at=now) if numeric is None else _Lookup(math.inf, (numeric,))
        self._place: _Key | None = None
        """Where `peer` was taken; None if it came by itself."""
        self._unanswering: _Key | None = None
        self._courted_until = math.inf
        self._grace_until = now
        self._slow_at = now + SLOW_AFTER
        self._roused_at = -math.inf
        self._collect_candidates(now)

    # ── what is so ───────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_connected(self) -> bool:
        """There is a session with `peer`, as far as we know."""
        return self._state in (_State.CONNECTED, _State.DOUBTING)

    @property
    def is_asking(self) -> bool:
        """Answers may be of use."""
        return self._state in (_State.ASKING, _State.DOUBTING)

    @property
    def deadline(self) -> float:
        """When something is to be looked up, asked or given up; infinity if only news can change anything."""
        deadline = min(map(self._lookup_due, self._lookups.values()), default=math.inf)
        if self.is_asking:
            return min(deadline, min((candidate.ask_at for candidate in self._candidates.values()), default=math.inf))
        return min(deadline, self._courted_until) if self._state is _State.COURTING else deadline

    @property
    def names(self) -> tuple[EndpointName, ...]:
        """Those that are dialled."""
        return tuple(self._lookups)

    @property
    def names_without_address(self) -> tuple[EndpointName, ...]:
        """Those that DNS has not answered yet, or not with an address."""
        return tuple(name for name, lookup in self._lookups.items() if not lookup.endpoints)

    def endpoints(self) -> list[Endpoint]:
        """Where any of them leads to, as far as known."""
        return [candidate.endpoint for candidate in self._candidates.values()]

    def names_at(self, endpoint: Endpoint) -> tuple[EndpointName, ...]:
        """By which of our names that endpoint is dialled; none if it is not."""
        key = _key(endpoint)
        return tuple(name for name, lookup in self._lookups.items() if key in map(_key, lookup.endpoints))

    def unanswering(self, now: float) -> Endpoint | None:
        """Whose certificate came and was believed, lately, but who did not answer the handshake: it may refuse us."""
        candidate = self._candidates.get(self._unanswering) if self._unanswering else None
        return candidate.endpoint if candidate is not None and now < candidate.penalised_until else None

    # ── names ────────────────────────────────────────────────────────────────────────────────────────────────────

    def due_lookups(self, now: float) -> list[EndpointName]:
        """The names to look up now: they count as under way until `found` or `failed`, one of which must follow."""
        due = [name for name, lookup in self._lookups.items() if self._lookup_due(lookup) <= now]
        for name in due:
            self._lookups[name].at = math.inf
        return due

    def found(self, name: EndpointName, endpoints: Sequence[Endpoint], now: float) -> None:
        """The name has these addresses. Those that are new are asked at once, if we are asking."""
        if not endpoints:
            self.failed(name, now)
            return
        lookup = self._lookups[name]
        distinct = {_key(endpoint): endpoint for endpoint in endpoints}
        lookup.endpoints = tuple(distinct.values())[:MAX_ADDRESSES]
        lookup.failures = 0
        lookup.at = now + LOOKUP_INTERVAL
        self._collect_candidates(now)

    def failed(self, name: EndpointName, now: float) -> None:
        """DNS had no answer. Old addresses, if there are any, are asked meanwhile."""
        lookup = self._lookups[name]
        lookup.at = now + min(FIRST_RETRY * 2.0 ** min(lookup.failures, 16), LAST_RETRY)
        lookup.failures += 1

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────

    def expire(self, now: float) -> list[Endpoint]:
        """Where to send a certificate request now."""
        if self._state is _State.COURTING and self._courted_until <= now:
            self._give_up_courting(now)
        if not self.is_asking:
            return []
        due = [candidate for candidate in self._candidates.values() if candidate.ask_at <= now]
        for candidate in due:
            candidate.asked_at = now
            candidate.ask_at = now + self._pause(candidate.asks, now)
            candidate.asks += 1
        return [candidate.endpoint for candidate in due]

    def takes(self, endpoint: Endpoint, now: float) -> bool:
        """Whether an answer from there is of use now; if so, `taken` or `refused` is to follow."""
        candidate = self._candidates.get(_key(endpoint))
        if candidate is None or not self.is_asking:
            return False
        if now >= self._grace_until or not self._is_put_off(candidate, now):
            return True
        return all(self._is_put_off(other, now) for other in self._candidates.values())

    def roused(self, now: float) -> None:
        """The network has changed, or somebody waits: if we are asking, a round and what DNS owes us begin at once."""
        if not self.is_asking or now < self._roused_at + ROUSING_INTERVAL:
            return
        self._roused_at = now
        self._slow_at = now + SLOW_AFTER
        self._begin_round(self._state, now)
        for lookup in self._lookups.values():
            if lookup.failures and lookup.at < math.inf:
                lookup.at = now

    # ── what became of it ────────────────────────────────────────────────────────────────────────────────────────

    def taken(self, public_key: PublicKey, endpoint: Endpoint, now: float) -> PublicKey | None:
        """The certificate that came from there, and that `takes` wanted, was believed: a handshake begins."""
        self._state = _State.COURTING
        self._place = _key(endpoint)
        self._courted_until = now + COURTSHIP
        self._slow_at = now + SLOW_AFTER
        return self._replace(public_key)

    def refused(self, endpoint: Endpoint, now: float) -> None:
        """The certificate that came from there was not believed. It may not even be whose address it is."""
        candidate = self._candidates.get(_key(endpoint))
        if candidate is not None:
            candidate.penalised_until = now + PENALTY

    def completed(self, public_key: PublicKey) -> None:
        """There is a new session with that peer, whoever began it. Silence, if it is ours."""
        if public_key == self.peer:
            self._connect()

    def arrived(self, public_key: PublicKey) -> PublicKey | None:
        """A host that has one of our names made a session with us by itself: it will do, unless we are connected."""
        if self._state is _State.CONNECTED:
            return None
        if public_key != self.peer:
            self._place = None
        self._connect()
        return self._replace(public_key)

    def unanswered(self, public_key: PublicKey, now: float) -> None:
        """A handshake with that peer had no answer. All are asked, unless they are being asked already."""
        if public_key != self.peer:
            return
        if self._state is _State.COURTING:
            self._give_up_courting(now)
        elif self._state is _State.CONNECTED:
            self._begin_round(_State.DOUBTING, now)

    def lost(self, public_key: PublicKey, now: float) -> None:
        """That peer closed or was removed, or its session or its certificate ended. All are asked, it after others."""
        if public_key != self.peer:
            return
        self.peer = None
        self._penalise(now)
        self._begin_round(_State.ASKING, now)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _lookup_due(self, lookup: _Lookup) -> float:
        if not lookup.endpoints:
            return lookup.at  # even while connected: once the tunnel is down, the DNS that we know may be behind it
        return math.inf if self.asked_since is None else max(lookup.at, self.asked_since + LOOKUP_INTERVAL)

    def _collect_candidates(self, now: float) -> None:
        """Those of all names; one that stays keeps its state."""
        before, self._candidates = self._candidates, {}
        for lookup in self._lookups.values():
            for endpoint in lookup.endpoints:
                candidate = before.get(_key(endpoint)) or _Candidate(endpoint, ask_at=now)
                candidate.endpoint = endpoint
                self._candidates[_key(endpoint)] = candidate

    def _begin_round(self, state: _State, now: float) -> None:
        """Ask everybody, though nobody twice within the first pause: peers that come and go at once are no reason."""
        if self.asked_since is None:
            self.asked_since = now
            self._slow_at = now + SLOW_AFTER
        self._state = state
        self._grace_until = now + GRACE
        for candidate in self._candidates.values():
            candidate.ask_at = max(now, candidate.asked_at + FIRST_PAUSES[0])
            candidate.asks = 0

    def _pause(self, asks: int, now: float) -> float:
        if asks < len(FIRST_PAUSES):
            return FIRST_PAUSES[asks]
        return PAUSE if now < self._slow_at else SLOW_PAUSE

    def _is_put_off(self, candidate: _Candidate, now: float) -> bool:
        """Others go first."""
        if self._state is _State.DOUBTING and _key(candidate.endpoint) != self._place:
            return True
        return now < candidate.penalised_until

    def _connect(self) -> None:
        self._state = _State.CONNECTED
        self.asked_since = None
        self._unanswering = None
        if self._place in self._candidates:
            self._candidates[self._place].penalised_until = -math.inf

    def _replace(self, public_key: PublicKey) -> PublicKey | None:
        before, self.peer = self.peer, public_key
        return before if before != public_key else None

    def _give_up_courting(self, now: float) -> None:
        self._unanswering = self._place
        self._penalise(now)
        self._begin_round(_State.ASKING, now)

    def _penalise(self, now: float) -> None:
        if self._place in self._candidates:
            self._candidates[self._place].penalised_until = now + PENALTY


def _key(endpoint: Endpoint) -> _Key:
    return endpoint.host, endpoint.port

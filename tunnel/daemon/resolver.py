"""Endpoints by name: which address of a DNS name a peer is reached at, and when to ask again.

    name ──look up──▶ addresses, in the order of RFC 6724 ──▶ the first ──unanswered──▶ the next … ──▶ look up again
              ▲ no answer: again after 1, 2, 4 … 30 s

A host may start before its DNS works, a name may have a dead AAAA beside a living A, and the address behind a name
changes. So an address is given up when handshakes to it go unanswered, and the name is looked up anew when all were
tried. A peer that roamed knows better than DNS where it is: while its session lives, what an authenticated datagram
taught us stays.

A handshake that went unanswered moves us to the next address at once: the device begins anew there
(`Handshakes.look_elsewhere`). There a second handshake is waited for, since the first may just have been lost.

`EndpointChoice` decides, for one peer, from arguments only; `Resolver` asks DNS and hands out the decisions as patches.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from tunnel.config.model import TunnelConfig
from tunnel.config.patch import DevicePatch, PeerPatch
from tunnel.daemon.clock import Clock
from tunnel.daemon.dns import SystemDns
from tunnel.daemon.log import RateLimited
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.keys import PublicKey
from tunnel.protocol.constants import REJECT_AFTER_TIME
from tunnel.protocol.events import Event, HandshakeCompleted, HandshakeUnanswered, PeerRoamed

FIRST_RETRY = 1.0
LAST_RETRY = 30.0
"""Seconds to the next look-up after one that failed: doubling from the first to the last."""

LEAST_INTERVAL = 15.0
"""Seconds at least between look-ups that succeeded, so that a dead peer does not become load on the DNS."""

PATIENCE = 2
"""Handshakes in a row that may go unanswered while a session lives: one of them may just have been lost."""

REMIND = 600.0
"""Seconds between log lines about a name that does not resolve."""

Lookup = Callable[[EndpointName], Awaitable[Sequence[Endpoint]]]

_log = logging.getLogger(__name__)


class EndpointChoice:
    """Decides where one peer is reached. Methods that return an `Endpoint` mean: send there from now on."""

    def __init__(self, name: EndpointName, now: float) -> None:
        self.name = name
        self.lookup_at = now
        """When the next look-up is due; infinity while one is under way or none is needed."""
        self.failures = 0
        """Look-ups without an answer, since the last that had one."""
        self.chosen: Endpoint | None = None
        """Where the name led to last."""
        self._addresses: tuple[Endpoint, ...] = ()
        self._tried = 0
        self._found_at = -math.inf
        self._is_looking_up = False
        self._is_silent = False
        self._has_one_to_spare = False
        self._current: Endpoint | None = None
        self._session_ends = -math.inf

    @property
    def has_answer(self) -> bool:
        """DNS has answered once, if only that it cannot."""
        return self._found_at > -math.inf or self.failures > 0

    def begin_lookup(self) -> None:
        """The look-up that was due is under way; `found` or `failed` will follow."""
        self.lookup_at = math.inf
        self._is_looking_up = True

    def found(self, addresses: Sequence[Endpoint], now: float) -> Endpoint | None:
        """The name has these addresses, the best first; at least one."""
        self._addresses = tuple(addresses)
        self._tried = 0
        self._found_at = now
        self._is_looking_up = False
        self.failures = 0
        return None if self._is_held(now) else self._next()

    def failed(self, now: float) -> None:
        """DNS had no answer. Old addresses, if there are any, are tried again in turn meanwhile."""
        self._tried = 0
        self._is_looking_up = False
        self.lookup_at = now + min(FIRST_RETRY * 2.0 ** min(self.failures, 16), LAST_RETRY)
        self.failures += 1

    def unanswered(self, attempts: int, now: float) -> Endpoint | None:
        """That many handshakes in a row had no answer."""
        self._is_silent = True
        was_spare, self._has_one_to_spare = self._has_one_to_spare, False
        if was_spare:
            return None
        if self._is_held(now) or (now < self._session_ends and attempts < PATIENCE):
            return None
        if self._tried < len(self._addresses):
            return self._next()
        if self._addresses and not self._is_looking_up:
            self.lookup_at = min(self.lookup_at, max(now, self._found_at + LEAST_INTERVAL))
        return None

    def completed(self, endpoint: Endpoint, now: float) -> None:
        """A handshake with the peer, which is at `endpoint`, gave a session."""
        self._current = replace(endpoint, source=None)
        self._session_ends = now + REJECT_AFTER_TIME
        self._is_silent = False
        self._has_one_to_spare = False

    def roamed(self, endpoint: Endpoint) -> None:
        """An authenticated datagram of the peer came from `endpoint`."""
        self._current = replace(endpoint, source=None)

    def _is_held(self, now: float) -> bool:
        """The peer is, in a living session, where the peer and not we put it."""
        return now < self._session_ends and self._current != self.chosen

    def _next(self) -> Endpoint | None:
        endpoint = self._addresses[self._tried]
        self._tried += 1
        self.chosen = endpoint
        if endpoint == self._current:
            return None
        self._current = endpoint
        self._has_one_to_spare = self._is_silent
        return endpoint


class Resolver:
    """Keeps the names of peers' endpoints and delivers, as patches, what to do about them.

    `deliver` gets a patch for the device whenever a peer is to be reached elsewhere; it must not fail. Everything but
    `run` returns at once. One task runs `run`.
    """

    def __init__(self, clock: Clock, deliver: Callable[[DevicePatch], None], lookup: Lookup | None = None) -> None:
        self._clock = clock
        self._deliver = deliver
        self._lookup = lookup or SystemDns()
        self._choices: dict[PublicKey, EndpointChoice] = {}
        self._changed = asyncio.Event()
        self._answered = asyncio.Event()
        self._failures = RateLimited(_log, clock, REMIND)
        self._decisions = RateLimited(_log, clock)

    def configure(self, config: TunnelConfig) -> None:
        """Take over the names in `config`, dropping all others; one that stays the same keeps its state."""
        before = self._choices
        self._choices = {}
        for peer in config.peers:
            if peer.endpoint is not None and peer.endpoint.numeric() is None:
                choice = before.get(peer.public_key)
                if choice is None or choice.name != peer.endpoint:
                    choice = EndpointChoice(peer.endpoint, self._clock.now())
                self._choices[peer.public_key] = choice
        self._changed.set()
        self._answered.set()

    def forget(self, patch: DevicePatch) -> None:
        """Somebody else (``wg set``) applies this patch: peers that it removes or gives an endpoint lose their name."""
        if patch.replace_peers:
            self._choices.clear()
        for peer in patch.peers:
            if peer.remove or peer.endpoint is not None:
                self._choices.pop(peer.public_key, None)
        self._changed.set()
        self._answered.set()

    def observe(self, event: Event) -> None:
        """Tell us every event of the core."""
        now = self._clock.now()
        match event:
            case HandshakeUnanswered(peer, attempts) if peer in self._choices:
                self._move(peer, self._choices[peer].unanswered(attempts, now))
                self._changed.set()
            case HandshakeCompleted(peer, endpoint, _) if peer in self._choices:
                self._choices[peer].completed(endpoint, now)
            case PeerRoamed(peer, _, after) if peer in self._choices:
                self._choices[peer].roamed(after)

    def resolved(self) -> dict[PublicKey, Endpoint]:
        """Where names led to last, for those peers that have one and for which there was an answer."""
        return {peer: choice.chosen for peer, choice in self._choices.items() if choice.chosen is not None}

    async def run(self) -> None:
        """Look up what is due, until cancelled."""
        async with asyncio.TaskGroup() as lookups:
            while True:
                self._changed.clear()
                now = self._clock.now()
                for peer, choice in self._choices.items():
                    if choice.lookup_at <= now:
                        choice.begin_lookup()
                        lookups.create_task(self._look_up(peer, choice))
                await self._wait_until(min((choice.lookup_at for choice in self._choices.values()), default=math.inf))

    async def first_answers(self, timeout: float) -> None:
        """Wait until DNS has answered once for every name, at most `timeout` seconds; `run` must be running.

        So that what is derived from endpoints, the MTU, sees those whose names resolve at once.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not all(choice.has_answer for choice in self._choices.values()):
                    self._answered.clear()
                    await self._answered.wait()

    async def _wait_until(self, deadline: float) -> None:
        delay = max(0.0, deadline - self._clock.now()) if deadline < math.inf else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._changed.wait()

    async def _look_up(self, peer: PublicKey, choice: EndpointChoice) -> None:
        try:
            addresses = await self._lookup(choice.name)
            why = "no address"
        except OSError as error:
            addresses, why = (), error.strerror or str(error)
        if self._choices.get(peer) is not choice:
            return
        now = self._clock.now()
        if addresses:
            self._move(peer, choice.found(addresses, now))
        else:
            choice.failed(now)
            line = f"endpoint not resolved, trying on peer={peer.short} name={choice.name} why={why}"
            self._failures.log(logging.WARNING, peer.short, line)
        self._changed.set()
        self._answered.set()

    def _move(self, peer: PublicKey, endpoint: Endpoint | None) -> None:
        if endpoint is None:
            return
        line = f"endpoint resolved peer={peer.short} endpoint={endpoint} name={self._choices[peer].name}"
        self._decisions.log(logging.INFO, peer.short, line)
        self._deliver(DevicePatch(peers=(PeerPatch(public_key=peer, update_only=True, endpoint=endpoint),)))

"""Handshakes on their way in: refused while that is cheap, and queued (WireGuard paper, sections 5.1 and 5.3).

    datagram ─ size, MAC1 ─ under load: MAC2, token ─ room? ──▶ queue ─ take ──▶ a few at a time are consumed
                                  └─ no cookie of ours ──▶ message 3, a cookie to come back with

Nothing is kept for a sender who does not know our public key (or an authority that we trust, who asks for our
certificate), and under load nothing for who has not proved its address. Data never waits for what waits here.
"""

from collections import deque
from math import inf
from typing import NamedTuple

from tunnel.endpoint import Endpoint
from tunnel.keys import PrivateKey
from tunnel.protocol.constants import HANDSHAKE_BUDGET, MAX_QUEUED_HANDSHAKES
from tunnel.protocol.cookie import CookieChecker, pack_source
from tunnel.protocol.credentials import AuthorityId
from tunnel.protocol.events import UnderLoad
from tunnel.protocol.host import Host
from tunnel.protocol.load import LoadMeter
from tunnel.protocol.ratelimiter import RateLimiter
from tunnel.protocol.stats import DropReason
from tunnel.wire.certified import CERTIFIED_SIZE
from tunnel.wire.messages import (
    INITIATION_SIZE,
    RESPONSE_SIZE,
    MessageType,
    message_type,
    pack_cookie_reply,
    sender_index,
)
from tunnel.wire.train import Train

_SIZES: dict[int, int] = {
    MessageType.HANDSHAKE_INITIATION: INITIATION_SIZE,
    MessageType.HANDSHAKE_RESPONSE: RESPONSE_SIZE,
}
_CERTIFIED_SIZES: dict[int, int] = {
    MessageType.CERTIFICATE_REQUEST: CERTIFIED_SIZE,
    MessageType.CERTIFIED_INITIATION: CERTIFIED_SIZE,
    MessageType.CERTIFIED_RESPONSE: CERTIFIED_SIZE,
}


class Waiting(NamedTuple):
    """A message with a right MAC1; `authority` is whom it is for, None: for our own key."""

    message: bytes
    endpoint: Endpoint
    authority: AuthorityId | None


class HandshakeIntake:
    """The queue of a device, and who is let into it; `len` of it is how many messages wait."""

    __slots__ = ("_checker", "_checkers", "_host", "_load", "_queue", "_rate_limiter", "_sizes", "_was_under_load")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._queue: deque[Waiting] = deque()
        self._checker: CookieChecker | None = None
        self._checkers: dict[AuthorityId, CookieChecker] = {}
        self._sizes = _SIZES
        self._load = LoadMeter()
        self._was_under_load = False
        self._rate_limiter = RateLimiter()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def deadline(self) -> float:
        """When there is something to do: in the past if messages wait, infinite if there is nothing to come."""
        if self._queue:
            return -inf
        return self._load.until if self._was_under_load else inf

    def add(self, datagram: memoryview, endpoint: Endpoint, now: float) -> None:
        """Queue a copy of what may be a handshake message, or refuse it."""
        kind = message_type(datagram)
        if self._sizes.get(kind) != len(datagram):
            self._host.drops.count(DropReason.MALFORMED_DATAGRAM)
            return
        waiting = self._check_mac1(kind, bytes(datagram), endpoint)
        if waiting is None:
            self._host.drops.count(DropReason.WRONG_MAC1)
            return
        self._load.arrived(len(self._queue), now)
        self.note_load(now)
        if self._was_under_load and not self._is_let_in(waiting, now):
            return
        if len(self._queue) >= MAX_QUEUED_HANDSHAKES:
            self._host.drops.count(DropReason.HANDSHAKE_QUEUE_FULL)
            return
        self._queue.append(waiting)

    def take(self) -> list[Waiting]:
        """The few messages whose turn it is, in order."""
        return [self._queue.popleft() for _ in range(min(HANDSHAKE_BUDGET, len(self._queue)))]

    def clear(self) -> None:
        """Nothing waits any more."""
        self._queue.clear()

    def identity_changed(self, identity: PrivateKey | None) -> None:
        """What waits was for another public key. With None, nothing may be added."""
        self._queue.clear()
        self._checker = CookieChecker(identity.public_key, self._host.rng) if identity else None

    def credentials_changed(self) -> None:
        """We are asked in the name of other authorities, or of none."""
        credentials = self._host.credentials
        self._sizes = _SIZES if credentials is None else _SIZES | _CERTIFIED_SIZES
        authorities = map(AuthorityId, credentials.trusted if credentials and credentials.is_dialled else ())
        self._checkers = {
            authority: self._checkers.get(authority) or CookieChecker(authority, self._host.rng)
            for authority in authorities
        }
        self._queue = deque(one for one in self._queue if one.authority is None or one.authority in self._checkers)

    def cookie(self, endpoint: Endpoint, now: float) -> bytes:
        """What lets whoever is at `endpoint` prove that it is there, in a message for our own key."""
        assert self._checker is not None
        return self._checker.cookie(pack_source(endpoint), now)

    def has_proved_its_address(self, waiting: Waiting, now: float) -> bool:
        """Whether its MAC2 holds a cookie of ours; who has none is sent one."""
        checker = self._checker_of(waiting)
        source = pack_source(waiting.endpoint)
        if checker.check_mac2(waiting.message, source, now):
            return True
        reply = checker.create_reply(waiting.message, sender_index(waiting.message), source, now)
        self._host.datagrams.append((Train.single(memoryview(pack_cookie_reply(reply))), waiting.endpoint))
        return False

    def note_load(self, now: float) -> None:
        """Tell when we come to be under load, and when we cease to be."""
        is_under_load = self._load.is_under_load(now)
        if is_under_load != self._was_under_load:
            self._was_under_load = is_under_load
            self._host.events.append(UnderLoad(is_under_load))

    def _check_mac1(self, kind: int, message: bytes, endpoint: Endpoint) -> Waiting | None:
        """Whom the message is for; None: not for us."""
        if kind != MessageType.CERTIFICATE_REQUEST:
            assert self._checker is not None
            return Waiting(message, endpoint, None) if self._checker.check_mac1(message) else None
        for authority, checker in self._checkers.items():
            if checker.check_mac1(message):
                return Waiting(message, endpoint, authority)
        return None

    def _is_let_in(self, waiting: Waiting, now: float) -> bool:
        """Under load: who has proved its address, and then only as many as its token bucket allows."""
        if not self.has_proved_its_address(waiting, now):
            self._host.drops.count(DropReason.WRONG_MAC2)
            return False
        if not self._rate_limiter.allow(waiting.endpoint.packed, now):
            self._host.drops.count(DropReason.RATE_LIMITED)
            return False
        return True

    def _checker_of(self, waiting: Waiting) -> CookieChecker:
        checker = self._checker if waiting.authority is None else self._checkers[waiting.authority]
        assert checker is not None
        return checker

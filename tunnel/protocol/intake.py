"""Messages 1 and 2 on their way in: refused while that is cheap, and queued (WireGuard paper, sections 5.1 and 5.3).

    datagram ─ size, MAC1 ─ under load: MAC2, token ─ room? ──▶ queue ─ take ──▶ a few at a time are consumed
                                  └─ no cookie of ours ──▶ message 3, a cookie to come back with

Nothing is kept for a sender who does not know our public key, and under load nothing for who has not proved its
address. Data never waits for what waits here.
"""

from collections import deque
from math import inf

from tunnel.endpoint import Endpoint
from tunnel.keys import PrivateKey
from tunnel.protocol.constants import HANDSHAKE_BUDGET, MAX_QUEUED_HANDSHAKES
from tunnel.protocol.cookie import CookieChecker, pack_source
from tunnel.protocol.events import UnderLoad
from tunnel.protocol.host import Host
from tunnel.protocol.load import LoadMeter
from tunnel.protocol.ratelimiter import RateLimiter
from tunnel.protocol.stats import DropReason
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


class HandshakeIntake:
    """The queue of a device, and who is let into it; `len` of it is how many messages wait."""

    __slots__ = ("_cookie_checker", "_host", "_load", "_queue", "_rate_limiter", "_was_under_load")

    def __init__(self, host: Host) -> None:
        self._host = host
        self._queue: deque[tuple[bytes, Endpoint]] = deque()
        self._cookie_checker: CookieChecker | None = None
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
        """Queue a copy of what may be message 1 or 2, or refuse it."""
        if _SIZES.get(message_type(datagram)) != len(datagram):
            self._host.drops.count(DropReason.MALFORMED_DATAGRAM)
            return
        assert self._cookie_checker is not None
        message = bytes(datagram)
        if not self._cookie_checker.check_mac1(message):
            self._host.drops.count(DropReason.WRONG_MAC1)
            return
        self._load.arrived(len(self._queue), now)
        self.note_load(now)
        if self._was_under_load and not self._has_proved_its_address(message, endpoint, now):
            return
        if len(self._queue) >= MAX_QUEUED_HANDSHAKES:
            self._host.drops.count(DropReason.HANDSHAKE_QUEUE_FULL)
            return
        self._queue.append((message, endpoint))

    def take(self) -> list[tuple[bytes, Endpoint]]:
        """The few messages whose turn it is, in order."""
        return [self._queue.popleft() for _ in range(min(HANDSHAKE_BUDGET, len(self._queue)))]

    def clear(self) -> None:
        """Nothing waits any more."""
        self._queue.clear()

    def identity_changed(self, identity: PrivateKey | None) -> None:
        """What waits was for another public key. With None, nothing may be added."""
        self._queue.clear()
        self._cookie_checker = CookieChecker(identity.public_key, self._host.rng) if identity else None

    def note_load(self, now: float) -> None:
        """Tell when we come to be under load, and when we cease to be."""
        is_under_load = self._load.is_under_load(now)
        if is_under_load != self._was_under_load:
            self._was_under_load = is_under_load
            self._host.events.append(UnderLoad(is_under_load))

    def _has_proved_its_address(self, message: bytes, endpoint: Endpoint, now: float) -> bool:
        """Under load: MAC2 must hold a cookie of ours; who has none gets one, and only then a token bucket."""
        assert self._cookie_checker is not None
        source = pack_source(endpoint)
        if not self._cookie_checker.check_mac2(message, source, now):
            self._host.drops.count(DropReason.WRONG_MAC2)
            reply = self._cookie_checker.create_reply(message, sender_index(message), source, now)
            self._host.datagrams.append((Train.single(memoryview(pack_cookie_reply(reply))), endpoint))
            return False
        if not self._rate_limiter.allow(endpoint.packed, now):
            self._host.drops.count(DropReason.RATE_LIMITED)
            return False
        return True

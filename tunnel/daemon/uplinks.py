"""Our own side of the way to the peers: when this host moves to another network, they are told at once.

    routing changes ─ a moment ─▶ whose datagrams leave from elsewhere now? ─▶ an empty packet to each ─▶ it sends here

A peer sends to where it heard us last. When we have moved, all that it sends is lost until it hears us again. Whoever
sends is heard at once; but who downloads sends nothing while nothing arrives, and would be found missing only after 15
seconds, when somebody's timer says so (`NEW_HANDSHAKE`). An empty packet may be lost, too, for instance while the new
router is asked for its address, so it is repeated until the peer is heard on the new way.

Nothing is asked while the routing stays as it is. Peers without a session are not told: none of them sends anything.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from tunnel.daemon.clock import Clock
from tunnel.daemon.log import RateLimited
from tunnel.endpoint import Endpoint
from tunnel.keys import PublicKey

DELAYS = (0.2, 1.0, 2.0, 4.0)
"""Seconds before each look: the first lets a burst of changes end, as an address and its routes never come alone."""

ASKED_AT_ONCE = 64
"""Peers, some 10 µs each, between which the loop is not given back."""

_log = logging.getLogger(__name__)


class Device(Protocol):
    """What we need of `tunnel.protocol.device.Device`."""

    def endpoints(self) -> Mapping[PublicKey, Endpoint]: ...

    def has_session(self, public_key: PublicKey, now: float) -> bool: ...

    def announce(self, public_keys: Sequence[PublicKey], now: float) -> None:
        """Let these peers hear us."""
        ...


class Uplinks:
    """Of `device`. `has_moved` says whether what goes to an endpoint leaves from elsewhere than it came to; `turn`
    carries off what the device made. One task runs `run`."""

    def __init__(
        self,
        device: Device,
        clock: Clock,
        has_moved: Callable[[Endpoint], bool],
        turn: Callable[[], None],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._device = device
        self._clock = clock
        self._has_moved = has_moved
        self._turn = turn
        self._sleep = sleep
        self._woken = asyncio.Event()
        self._lines = RateLimited(_log, clock, 2 * sum(DELAYS))

    def changed(self) -> None:
        """Links, addresses, rules or default routes of this host are not what they were."""
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            for delay in DELAYS:
                await self._sleep(delay)
                moved = await self._moved()
                if moved:
                    self._tell(moved)
                if not moved or self._woken.is_set():
                    break

    def _tell(self, moved: Sequence[PublicKey]) -> None:
        who = moved[0].short if len(moved) == 1 else f"{len(moved)} peers"
        self._lines.log(logging.INFO, "moved", f"this host has another way out: telling {who}")
        self._device.announce(moved, self._clock.now())
        self._turn()

    async def _moved(self) -> list[PublicKey]:
        """Whom it concerns."""
        moved: list[PublicKey] = []
        for number, (peer, endpoint) in enumerate(self._device.endpoints().items(), 1):
            if self._device.has_session(peer, self._clock.now()) and self._has_moved(endpoint):
                moved.append(peer)
            if number % ASKED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return moved

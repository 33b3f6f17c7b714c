"""Under load: when handshakes come faster than we want to answer, sources must prove their address first.

We are under load when many handshake messages wait, or when many came in the last second, and for a second after that
(WireGuard paper, section 5.3: the rule is the implementation's own). The state is two numbers, whoever sends.
"""

from math import inf

from tunnel.protocol.constants import (
    UNDER_LOAD_HANDSHAKES_PER_SECOND,
    UNDER_LOAD_LASTS,
    UNDER_LOAD_QUEUED_HANDSHAKES,
)


class LoadMeter:
    """Count handshake messages as they arrive."""

    __slots__ = ("_arrived", "_second_began", "until")

    def __init__(self) -> None:
        self._arrived = 0
        self._second_began = -inf
        self.until = -inf
        """When we cease to be under load, if nothing more comes."""

    def arrived(self, queued: int, now: float) -> None:
        """One more handshake message came while `queued` were waiting."""
        if now - self._second_began >= 1:
            self._second_began = now
            self._arrived = 0
        self._arrived += 1
        if queued >= UNDER_LOAD_QUEUED_HANDSHAKES or self._arrived > UNDER_LOAD_HANDSHAKES_PER_SECOND:
            self.until = now + UNDER_LOAD_LASTS

    def is_under_load(self, now: float) -> bool:
        return now < self.until

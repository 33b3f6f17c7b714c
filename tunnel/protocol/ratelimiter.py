"""Who may make us compute while we are under load: a token bucket per source (WireGuard paper, section 5.3).

A source is an IPv4 address or an IPv6 /64, which is what one host can choose addresses from. By the time we get here it
has proved with a cookie that the address is its own.

A bucket is kept as one number, the time at which it will be full again, in whole microseconds: a token costs 50 ms of
that time, and a source may be at most five tokens away from full. A bucket that is full again says what no bucket says,
so it can be forgotten at any time, which happens at most once a second.
"""

TOKENS_PER_SECOND = 20
BURST = 5
MAX_SOURCES = 8192
"""When so many are being limited, new ones are refused."""

_SECOND = 1_000_000
_COST = _SECOND // TOKENS_PER_SECOND
_CAPACITY = BURST * _COST
_PREFIX_SIZE = 8
"""The bytes of an IPv6 address that are a /64; an IPv4 address has fewer."""


class RateLimiter:
    """Buckets of the sources that have lately been served."""

    __slots__ = ("_collected", "_full_at", "_max_sources")

    def __init__(self, max_sources: int = MAX_SOURCES) -> None:
        self._max_sources = max_sources
        self._full_at: dict[bytes, int] = {}
        self._collected = 0

    def allow(self, packed: bytes, now: float) -> bool:
        """Take a token of the source with this address (4 or 16 bytes); False if it has none, or the table is full."""
        moment = round(now * _SECOND)
        if moment - self._collected >= _SECOND:
            self._collect(moment)
        source = packed[:_PREFIX_SIZE]
        full_at = self._full_at.get(source)
        if full_at is None:
            if len(self._full_at) >= self._max_sources:
                return False
            full_at = moment
        full_at = max(full_at, moment) + _COST
        if full_at - moment > _CAPACITY:
            return False
        self._full_at[source] = full_at
        return True

    def __len__(self) -> int:
        """How many sources are remembered."""
        return len(self._full_at)

    def _collect(self, moment: int) -> None:
        self._full_at = {source: full_at for source, full_at in self._full_at.items() if full_at > moment}
        self._collected = moment

"""How large a datagram the path to one peer carries: packetization layer path MTU discovery (RFC 8899, RFC 4821).

What is too large vanishes, mostly without a word, so we ask: a probe is a datagram of an exact size that arrives whole
or not at all, and is answered. Here are only sizes and times; what a probe looks like is in `tunnel.protocol.probing`.

    CONFIRM ── answered ──▶ idle, until large data flows half a second later: one probe, no other cost
       │ not answered in time
     BURST ── the size itself is answered ──▶ idle: it was loss
       │ smaller ones are: the largest is the size from now on
    SEARCH ── evenly between what got through and what did not, until there is nothing between ──▶ idle, narrow
     RAISE ── now and then, while narrow: is it wider again, or was it only loss? ──▶ SEARCH

Whoever answers nothing, or small probes only, tells nothing: we go back to asking, ever more rarely. All sizes are
bytes of outer IP packets, times are seconds.
"""

from enum import Enum
from math import inf
from typing import NamedTuple

from tunnel.protocol.transport import MAX_PACKET

LARGE_PACKET = 500
"""Inner packets longer than this are large data: as long as nobody sends any, nobody needs to know. It is less than
what goes in `MIN_PATH_MTU`."""

MIN_PATH_MTU = {4: 576, 6: 1280}
"""By version of the outer IP: what any path carries (RFC 791, RFC 8200), and the least that we look for."""

SMALL_PROBE = 128
"""Is anybody there who answers? Room for an echo request over IPv6 in IPv6."""

CONFIRM_INTERVAL = 0.5
"""How soon a path that has become narrow is noticed, while large data flows."""

MIN_TIMEOUT, MAX_TIMEOUT = 0.1, 1.0
"""For an answer; four round trips in between."""

SETTLE_TIME = 0.1
"""After the first answer of a round: how long the others may take."""

LATE_TIME = 5.0
"""For so long an answer that comes too late still counts."""

RAISE_INTERVAL, RAISE_AT_ONCE, RAISE_LATER = 1.0, 3, 60.0
"""Sizes above are tried after a second three times, since what was found may have been loss, and then every minute.

RFC 8899 waits ten minutes (PMTU_RAISE_TIMER); so long a laptop that came home would stay slow, and a probe that is sent
only beside large data costs little.
"""

MAX_BACK_OFF = 60.0

SEARCH_WIDTH = 4
"""Probes in one round of a search: three rounds find a byte among a hundred."""

LIKELY = (576, 768, 1024, 1280, 1320, 1360, 1380, 1400, 1420, 1440, 1450, 1460, 1472, 1480, 1492, 1500)
LIKELY_LARGE = (1600, 2000, 3000, 4352, 6000, 8000, 9000, 16000, 32000)
"""Path MTUs that occur: of tunnels in tunnels, PPPoE, Ethernet; beyond it, of jumbo frames, a few of their range."""

_NUMBERS = 1 << 16


class Probe(NamedTuple):
    """`number` has 16 bits."""

    number: int
    size: int


class Round(Enum):
    """What is being found out."""

    IDLE = "nothing"
    CONFIRM = "does what we send get through?"
    BURST = "what does?"
    SEARCH = "exactly how much?"
    RAISE = "does more?"


class PathMtu:
    """Of the path to one peer; what it returns is to be sent at once.

    `limit` is the longest inner packet that goes whole, `MAX_PACKET` as long as the path is not known to be narrow.
    `due` is when large data shall `begin` another round, `deadline` when to `expire` the one under way.
    """

    __slots__ = (
        "_awaited",
        "_awaited_until",
        "_began",
        "_failed",
        "_failures",
        "_next",
        "_overhead",
        "_padding",
        "_passed",
        "_raise_at",
        "_raises",
        "_round",
        "_round_trip",
        "_table",
        "_unanswered",
        "deadline",
        "due",
        "full",
        "is_known",
        "limit",
        "size",
    )

    def __init__(self) -> None:
        self._next = 0
        self._round_trip: float | None = None
        self.reset()

    def reset(self) -> None:
        """The path is another one, or other sizes are asked of it: nothing is known."""
        self._awaited: dict[int, tuple[int, float]] = {}
        self._awaited_until = -inf
        self._unanswered: set[int] = set()
        self._table: list[int] = []
        self._began = self._raise_at = 0.0
        self._failures = self._raises = self._passed = self._failed = self._overhead = 0
        self._padding = 1
        self._round = Round.IDLE
        self._round_trip = None
        self.full = self.size = 0
        self.is_known = False
        self.limit = MAX_PACKET
        self.due = -inf
        self.deadline = inf

    @property
    def is_narrow(self) -> bool:
        """Whether it is known to carry less than is asked of it."""
        return self.size < self.full

    @property
    def max_packet(self) -> int:
        """The longest inner packet that goes in one of `size`; if that is narrow, in either direction."""
        longest = self.size - self._overhead
        return longest - longest % self._padding if self.is_narrow else longest

    @property
    def is_settled(self) -> bool:
        """Whether nothing is being found out just now."""
        return self._round is Round.IDLE

    def awaits_answers(self, now: float) -> bool:
        """Whether an answer could come that we have a use for."""
        return now < self._awaited_until and bool(self._awaited)

    # ── rounds ───────────────────────────────────────────────────────────────────────────────────────────────────

    def pad(self, padding: int) -> None:
        """The peer makes its packets a multiple of `padding`: what it answers as long as it was asked must fit, too."""
        if padding != self._padding:
            self._padding = padding
            self._set_limit()

    def begin(self, packet: int, overhead: int, version: int, now: float) -> list[Probe]:
        """Large data flows, and `due` has come: inner packets of up to `packet` bytes, in outer IP of that version.

        `overhead` is what an outer packet has more than the inner one.
        """
        full = packet + overhead
        if full != self.full:
            self.reset()
            self.full = self.size = full
            self._overhead = overhead
            self._table = [size for size in LIKELY + LIKELY_LARGE if MIN_PATH_MTU[version] <= size < full]
        if not self._table:
            self.due = inf
            return []
        if self._round_trip is None or self._failures:
            return self._start(Round.CONFIRM, [SMALL_PROBE, self.size], now)
        if self.is_narrow and now >= self._raise_at:
            return self._start(Round.RAISE, [self.size, *self._above(), self.full], now)
        return self._start(Round.CONFIRM, [self.size], now)

    def put_off(self, age: float, now: float) -> None:
        """There is no way to ask in a session of that age; if there will be one, it is seen a moment after it began."""
        self.due = now + min(max(age, CONFIRM_INTERVAL), MAX_BACK_OFF)

    def answered(self, number: int, now: float) -> list[Probe] | None:
        """A probe arrived; None if there is none of that number that we wait for."""
        awaited = self._awaited.pop(number, None)
        if awaited is None:
            return None
        size, sent = awaited
        if now - sent >= LATE_TIME:
            return None
        self._note_round_trip(now - sent)
        if size > SMALL_PROBE:
            self._failures = 0
        if size > self.size:
            self._raises = 0
            self._set(size)
        if size in self._unanswered:
            self._unanswered.discard(size)
            self._passed = max(self._passed, size)
        if self.is_settled:
            return []
        if size >= self.full or (size >= self.size and self._round in (Round.CONFIRM, Round.BURST)):
            self.is_known = True
            return self._rest(now)
        if not self._unanswered:
            return self._conclude(now)
        self._expect_soon(now)
        return []

    def expire(self, now: float) -> list[Probe]:
        """No more answers are to be expected in this round, if its `deadline` has come."""
        return self._conclude(now) if now >= self.deadline else []

    def _start(self, kind: Round, sizes: list[int], now: float) -> list[Probe]:
        self._awaited = {number: one for number, one in self._awaited.items() if now - one[1] < LATE_TIME}
        self._round = kind
        self._began = now
        self._passed = 0
        self._unanswered = set(sizes)
        if kind is not Round.SEARCH:
            self._failed = self.full
        self.due = inf
        self.deadline = now + self._timeout()
        return [self._probe(size, now) for size in sizes]

    def _probe(self, size: int, now: float) -> Probe:
        number, self._next = self._next, (self._next + 1) % _NUMBERS
        self._awaited[number] = size, now
        self._awaited_until = now + LATE_TIME
        return Probe(number, size)

    # ── conclusions ──────────────────────────────────────────────────────────────────────────────────────────────

    def _conclude(self, now: float) -> list[Probe]:
        """The time of a round is over, or all of it was answered."""
        match self._round:
            case Round.CONFIRM if not self._passed and SMALL_PROBE in self._unanswered:
                return self._back_off(now)
            case Round.RAISE if self._passed:
                return self._search(max(self._passed, self.size), now)
            case Round.CONFIRM | Round.RAISE:
                return self._burst(now)
            case Round.BURST if self._passed not in self._table:
                return self._back_off(now)
            case Round.BURST:
                self._raises = 0
                self._set(self._passed)
                return self._search(self._passed, now)
            case Round.SEARCH:
                return self._search(self.size, now)
        return []

    def _burst(self, now: float) -> list[Probe]:
        """What we send does not arrive: is it too large, or lost, or nobody there? The size itself more than once."""
        smaller = [size for size in self._table if size < self.size]
        middle = len(smaller) // 2
        sizes = [SMALL_PROBE, self.size, *smaller[:middle], self.size, *smaller[middle:], self.size]
        return self._start(Round.BURST, sizes, now)

    def _search(self, passed: int, now: float) -> list[Probe]:
        """What is `passed` gets through; the next larger one that was tried did not. Full size, if it was only loss."""
        self._failed = min([self._failed, *(size for size in self._unanswered if size > passed)])
        gap = self._failed - passed
        if gap <= 1:
            return self._found(now)
        steps = min(gap - 1, SEARCH_WIDTH)
        sizes = [passed + gap * step // (steps + 1) for step in range(1, steps + 1)]
        return self._start(Round.SEARCH, [*sizes, self.full], now)

    def _found(self, now: float) -> list[Probe]:
        self._raise_at = now + (RAISE_INTERVAL if self._raises < RAISE_AT_ONCE else RAISE_LATER)
        self._raises += 1
        return self._rest(now)

    def _rest(self, now: float) -> list[Probe]:
        self._round = Round.IDLE
        self.deadline = inf
        self.due = max(now, self._began + CONFIRM_INTERVAL)
        return []

    def _back_off(self, now: float) -> list[Probe]:
        """Nobody answered, so nothing is known that was not known before."""
        self._rest(now)
        self.due = now + min(2.0**self._failures, MAX_BACK_OFF)
        self._failures = min(self._failures + 1, 6)
        return []

    def _set(self, size: int) -> None:
        self.size = size
        self.is_known = True
        self._set_limit()

    def _set_limit(self) -> None:
        self.limit = self.max_packet if self.is_narrow else MAX_PACKET

    def _above(self) -> list[int]:
        return [size for size in [*self._table, self.full] if size > self.size]

    # ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _timeout(self) -> float:
        return MAX_TIMEOUT if self._round_trip is None else min(max(4 * self._round_trip, MIN_TIMEOUT), MAX_TIMEOUT)

    def _expect_soon(self, now: float) -> None:
        """One of several has been answered: the others must be on their way, behind each other on a slow link."""
        if self._round is Round.CONFIRM:
            self.deadline = min(self.deadline, self._began + self._timeout())
        else:
            settle = max(SETTLE_TIME, (self._round_trip or 0.0) / 2)
            self.deadline = min(self._began + MAX_TIMEOUT, now + settle)

    def _note_round_trip(self, seconds: float) -> None:
        """It rises at once, since a queue that fills up must not look like a path that narrows, and falls slowly."""
        seconds = min(seconds, MAX_TIMEOUT)
        smoothed = self._round_trip
        if smoothed is None or seconds > smoothed:
            self._round_trip = seconds
        else:
            self._round_trip = smoothed + (seconds - smoothed) / 8

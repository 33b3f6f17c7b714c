"""What of our own ends soon, said in time to whoever runs the host.

    30 days before   info       a year's certificate, or the authority itself
     7 days before   warning    what holds for at least three weeks
     1 day before    warning    everything; of what holds for less than three days, in the last third of its time
    after the end    error      from now on nobody believes us, or we believe nobody

Each is said once. Whoever starts within several is told the last of them only. A threshold counts for what holds at
least three times as long: else a revocation list of 30 days, and whatever a machine renews every few days, would be
complained about as soon as it is there. What was renewed is another thing, with a time of its own.

There is no clock here: `ExpiryWarnings.due` says what there is to say, `ExpiryWarnings.deadline` when to ask again.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from tunnel.pki.validity import format_time

DAY = 86400.0
HOUR = 3600.0

THRESHOLDS = ((30 * DAY, logging.INFO), (7 * DAY, logging.WARNING))
"""(seconds before the end, level) of what is said about things that hold at least `PATIENCE` times as long."""

LAST_THRESHOLD = DAY
"""Seconds before the end at which the last warning comes, at least if so much is not more than a third of it all."""

PATIENCE = 3


@dataclass(frozen=True, slots=True)
class Expiring:
    """Something with an end: `what` it is (``certificate of laptop``), in the file `source`. Times are Unix seconds.

    `remedy` is what to do about it: ``renew it: tunnel cert renew``.
    """

    what: str
    source: str
    not_before: float
    not_after: float
    remedy: str

    def stages(self) -> list[tuple[float, int]]:
        """(from when, level) of what is to be said, the earliest first."""
        lifetime = self.not_after - self.not_before
        early = [(self.not_after - before, level) for before, level in THRESHOLDS if before * PATIENCE <= lifetime]
        last = self.not_after - min(LAST_THRESHOLD, lifetime / PATIENCE)
        return [*early, (last, logging.WARNING), (self.not_after + 1, logging.ERROR)]  # its last second still counts

    def describe(self, now: float) -> str:
        end = format_time(self.not_after)
        when = f"expired, at {end}" if now > self.not_after else f"expires {_distance(self.not_after - now)}, at {end}"
        return f"{self.source}: {self.what} {when}; {self.remedy}"


class ExpiryWarnings:
    """Tells what is about to end, each thing once per stage."""

    def __init__(self) -> None:
        self._said: dict[Expiring, int] = {}  # -> how many of its stages are behind us

    def watch(self, things: Iterable[Expiring]) -> None:
        """These it is about from now on. Of those that were there before, nothing is said twice."""
        self._said = {thing: self._said.get(thing, 0) for thing in things}

    @property
    def deadline(self) -> float:
        """When there is something to say next, in Unix seconds; infinite if nothing ever."""
        return min((thing.stages()[said][0] for thing, said in self._pending()), default=inf)

    def due(self, now: float) -> list[tuple[int, str]]:
        """(level, line) of what there is to say by now, in Unix seconds."""
        lines = []
        for thing, said in self._pending():
            reached = [level for moment, level in thing.stages() if moment <= now]
            if len(reached) > said:
                self._said[thing] = len(reached)
                lines.append((reached[-1], thing.describe(now)))
        return lines

    def _pending(self) -> list[tuple[Expiring, int]]:
        return [(thing, said) for thing, said in self._said.items() if said < len(thing.stages())]


def _distance(seconds: float) -> str:
    """``in 7 days``, up to an hour too many: what is said a little late should not sound like a day less."""
    days = int((seconds + HOUR) // DAY)
    if not days:
        return "in less than a day"
    return f"in {days} day{'' if days == 1 else 's'}"

"""Does it leak? Decided from readings alone.

memory       the line through the readings after the warm-up: how much it rises from the first of them to the last
counts       the last reading, taken when all is quiet again, against the first, taken when all had just begun
"""

from collections.abc import Mapping, Sequence
from statistics import linear_regression

from tests.soak.readings import COUNTS, MEBIBYTE, Reading

WARM_UP = 1 / 3
"""The part of the time in which caches fill and the allocator finds its size."""

MEMORY_RISE = 3 * MEBIBYTE
"""Bytes that chance may add to a line through readings of a process with 40 MiB."""

Series = Sequence[tuple[float, Reading]]
"""Seconds since the beginning, and what was read then."""


def memory_rise(series: Series) -> float:
    """Bytes that the line through the readings after the warm-up rises over their whole time; 0 if these are few."""
    until = series[-1][0]
    settled = [(at, reading.memory) for at, reading in series if at >= until * WARM_UP]
    if len(settled) < 3:
        return 0.0
    times, memory = zip(*settled, strict=True)
    rise: float = linear_regression(times, memory).slope * (times[-1] - times[0])
    return rise


def leaks(hosts: Mapping[str, Series]) -> list[str]:
    """One line for each thing that grows at a host, by its name."""
    found = []
    for name, series in hosts.items():
        rise = memory_rise(series)
        if rise > MEMORY_RISE:
            settled = series[-1][0] * (1 - WARM_UP)
            found.append(f"{name}: memory rises by {rise / MEBIBYTE:.1f} MiB in {settled / 60:.1f} minutes")
        first, last = series[0][1], series[-1][1]
        for what in COUNTS:
            before, after = getattr(first, what), getattr(last, what)
            if after > before:
                found.append(f"{name}: {what} grew from {before} to {after}")
    return found

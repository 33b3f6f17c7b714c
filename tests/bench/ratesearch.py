"""The highest rate of datagrams that a path carries with next to no loss.

The first trial floods: if even that gets through, the generator is the limit. Otherwise the answer lies below, and is
found by bisection on a logarithmic scale, in a bounded number of trials.
"""

import math
from collections.abc import Callable

from tests.bench.iperf import Flood

ACCEPTED_LOSS = 0.01
SPAN = 64.0
"""How far below the flood the search begins."""

STEPS = 7
"""SPAN ** (1 / 2**STEPS) is the resolution: 3 %."""

Trial = Callable[[float | None], Flood]
"""Offers so many datagrams a second; None: as many as it can."""


def highest_rate(trial: Trial) -> float:
    """Datagrams a second delivered in the best trial that lost less than `ACCEPTED_LOSS`; 0.0 if none did.

    At most 1 + 2 * STEPS trials: a rate fails when it fails twice, as a hiccup of the machine is no limit of the path.
    """
    flood = trial(None)
    if flood.loss < ACCEPTED_LOSS:
        return flood.delivered_rate
    high = flood.offered_rate
    low = high / SPAN
    best = 0.0
    for _ in range(STEPS):
        rate = math.sqrt(low * high)
        if (passed := _first_passing(trial, rate)) is None:
            high = rate
        else:
            low = rate
            best = max(best, passed.delivered_rate)
    return best


def _first_passing(trial: Trial, rate: float) -> Flood | None:
    for _ in range(2):
        flood = trial(rate)
        if flood.loss < ACCEPTED_LOSS:
            return flood
    return None

"""The rate search on paths whose limit is known."""

import pytest

from tests.bench.iperf import Flood
from tests.bench.ratesearch import SPAN, STEPS, highest_rate


class Path:
    """Carries up to `limit` datagrams a second and drops the rest; `hiccups` are trials that lose all."""

    def __init__(self, limit: float, generator: float = 100_000.0, hiccups: frozenset[int] = frozenset()) -> None:
        self.limit = limit
        self.generator = generator
        self.hiccups = hiccups
        self.trials = 0

    def offer(self, rate: float | None) -> Flood:
        self.trials += 1
        offered = self.generator if rate is None else rate
        carried = 0.0 if self.trials in self.hiccups else min(offered, self.limit)
        return Flood(round(offered), round(carried), 1.0)


@pytest.mark.parametrize("limit", [2_000.0, 12_345.0, 99_000.0])
def test_the_limit_is_found_within_the_resolution(limit: float) -> None:
    assert highest_rate(Path(limit).offer) == pytest.approx(limit, rel=SPAN ** (1 / 2**STEPS) - 1)


def test_a_flood_that_gets_through_ends_the_search() -> None:
    path = Path(limit=1e9)
    assert highest_rate(path.offer) == 100_000.0
    assert path.trials == 1


def test_a_single_hiccup_does_not_lower_the_result() -> None:
    undisturbed, disturbed = Path(50_000.0), Path(50_000.0, hiccups=frozenset({2}))
    assert highest_rate(disturbed.offer) == highest_rate(undisturbed.offer)
    assert disturbed.trials == undisturbed.trials + 1


def test_a_path_that_passes_nothing_has_rate_zero_after_a_bounded_number_of_trials() -> None:
    path = Path(limit=0.0)
    assert highest_rate(path.offer) == 0.0
    assert path.trials == 1 + 2 * STEPS

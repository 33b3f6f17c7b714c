"""What came out: the values of every round, program by program, and what they say together.

A round that fails is a sentence instead of a value; the median is of the rounds that have one.
"""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.bench.machine import Facts
from tests.bench.measures import QUANTITIES, Values
from tests.bench.topology import MTU


@dataclass(slots=True)
class ProgramResult:
    """Filled round by round."""

    key: str
    title: str
    version: str
    is_ours: bool
    rounds: list[Values] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def median(self, quantity: str) -> float | None:
        """Over the rounds in which it was measured; None if there is none."""
        values = [values[quantity] for values in self.rounds if quantity in values]
        return statistics.median(values) if values else None


@dataclass(frozen=True, slots=True)
class Results:
    """All of one run; `skipped` is title -> what is missing."""

    date: str
    machine: Facts
    seconds: int
    programs: Sequence[ProgramResult]
    skipped: dict[str, str]
    baseline: str

    @property
    def baseline_title(self) -> str:
        """As the reader knows it, or its key where it was not measured."""
        return next((one.title for one in self.programs if one.key == self.baseline), self.baseline)

    def ratio(self, program: ProgramResult, quantity: str) -> float | None:
        """The program's median over the baseline's; None where there is nothing to compare, and for the baseline."""
        base = next((one for one in self.programs if one.key == self.baseline), None)
        if base is None or base is program:
            return None
        mine, its = program.median(quantity), base.median(quantity)
        return mine / its if mine is not None and its else None

    def to_json(self) -> str:
        """Everything, with the units; programs in the order of the report."""
        return json.dumps(
            {
                "date": self.date,
                "machine": self.machine,
                "settings": {"seconds": self.seconds, "mtu": MTU, "baseline": self.baseline},
                "quantities": {one.key: {"what": f"{one.table}: {one.title}", "unit": one.unit} for one in QUANTITIES},
                "programs": {program.key: self._describe(program) for program in self.programs},
                "skipped": self.skipped,
            },
            indent=2,
            ensure_ascii=False,
        )

    def _describe(self, program: ProgramResult) -> dict[str, Any]:
        keys = [one.key for one in QUANTITIES if program.median(one.key) is not None]
        ratios = {key: self.ratio(program, key) for key in keys}
        return {
            "title": program.title,
            "version": program.version,
            "median": {key: _rounded(program.median(key)) for key in keys},
            "ratio": {key: _rounded(ratio) for key, ratio in ratios.items() if ratio is not None},
            "rounds": [{key: _rounded(value) for key, value in values.items()} for values in program.rounds],
            "failures": program.failures,
        }


def _rounded(value: float | None) -> float | None:
    """Four significant digits: more than a benchmark knows."""
    return None if value is None else float(f"{value:.4g}")

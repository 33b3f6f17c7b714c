"""Results as a run would leave them, small enough to compute by hand."""

from tests.bench.machine import Facts
from tests.bench.measures import Values
from tests.bench.results import ProgramResult, Results

MACHINE: Facts = {
    "cpu": "Abacus <1>",
    "cores": 2,
    "memory_mb": 1000,
    "kernel": "6.1.0",
    "distribution": "Debian 12",
    "python": "3.11.2",
}


def program(key: str, *rounds: Values, is_ours: bool = False) -> ProgramResult:
    """A program called as its key, in capitals."""
    return ProgramResult(key, key.upper(), f"{key} 1.0", is_ours, list(rounds))


def results_of(*programs: ProgramResult, skipped: dict[str, str] | None = None) -> Results:
    """Compared with the program whose key is ``base``."""
    return Results("2020-01-02", MACHINE, 5, programs, skipped or {}, "base")

"""Throughput, cost, latency and memory of `tunnel` and of what people would otherwise install, in one run.

Programs alternate within every round, so that a machine that slows down slows all of them down. Absolute numbers
belong to the machine; ratios within one run are what to quote.
"""

import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console

from tests.bench.chart import draw
from tests.bench.machine import machine_facts
from tests.bench.measures import MEASURES, Measure, Values
from tests.bench.programs import BASELINE, Program, programs
from tests.bench.report import render
from tests.bench.results import ProgramResult, Results
from tests.bench.tunnels import Tunnel, tunnel_of
from tunnel.errors import TunnelError
from tunnel.testing.namespaces import reap, unwinding

NARROW = 100
"""Columns of a table that goes into a file or a pipe."""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  python -m tests.bench --seconds 2 --rounds 1 --only tunnel --only wireguard-go
  python -m tests.bench --tests tcp --tests ping --json bench.json
""",
)
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1), help="Rounds; medians are reported.")
@click.option("--seconds", default=5, show_default=True, type=click.IntRange(1), help="Length of each measurement.")
@click.option("--only", multiple=True, type=click.Choice([one.key for one in programs()] + ["other-wireguard-go"]))
@click.option("--tests", multiple=True, type=click.Choice([one.key for one in MEASURES]), help="Default: all.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
@click.option("--svg", "svg_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the chart here.")
@click.option("--date", default=lambda: datetime.now(UTC).date().isoformat(), help="As it is to be reported.")
@click.option(
    "--wireguard-go",
    envvar="BENCH_WIREGUARD_GO",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Another wireguard-go to measure as well (BENCH_WIREGUARD_GO).",
)
def bench(
    rounds: int,
    seconds: int,
    only: Sequence[str],
    tests: Sequence[str],
    json_file: Path | None,
    svg_file: Path | None,
    date: str,
    wireguard_go: Path | None,
) -> None:
    """Measure VPN programs side by side, in network namespaces of this machine."""
    if os.geteuid() != 0:
        raise click.ClickException("the benchmark makes network namespaces and interfaces: run it as root")
    os.environ["PATH"] += ":/usr/sbin:/sbin"  # not on everybody's path, but tincd and openvpn live there
    chosen = [one for one in programs(wireguard_go) if not only or one.key in only]
    present = [one for one in chosen if not one.missing()]
    skipped = {one.title: f"not installed: {', '.join(one.missing())}" for one in chosen if one.missing()}
    measures = [one for one in MEASURES if not tests or one.key in tests]
    reap()
    with unwinding():
        measured = measure_all(present, measures, rounds, seconds)
    results = Results(date, machine_facts(), seconds, measured, skipped, BASELINE)
    write(results, json_file, svg_file)


def measure_all(
    chosen: Iterable[Program], measures: Sequence[Measure], rounds: int, seconds: int
) -> list[ProgramResult]:
    """Every program in every round; one that fails says so and does not stop the others."""
    results = [(one, ProgramResult(one.key, one.title, one.version(), one.is_ours)) for one in chosen]
    for number in range(1, rounds + 1):
        for program, result in results:
            say(f"round {number} of {rounds}: {program.title}")
            try:
                with tempfile.TemporaryDirectory(prefix="bench-") as directory, ExitStack() as stack:
                    tunnel = stack.enter_context(tunnel_of(program, Path(directory)))
                    result.rounds.append(measure(tunnel, measures, seconds, result.failures))
            except (TunnelError, OSError) as error:
                result.failures.append(str(error))
                say(f"  failed: {error}")
    return [result for _, result in results]


def measure(tunnel: Tunnel, measures: Iterable[Measure], seconds: int, failures: list[str]) -> Values:
    """All measures in one tunnel; what failed goes to `failures` as a sentence and has no value."""
    values: Values = {}
    for one in measures:
        try:
            found = one.run(tunnel, seconds)
        except (TunnelError, OSError) as error:
            failures.append(f"{one.key}: {error}")
            say(f"  {one.key}: failed: {error}")
        else:
            values |= found
            say(f"  {one.key}: " + ", ".join(f"{key} {value:.4g}" for key, value in found.items()))
    return values


def write(results: Results, json_file: Path | None, svg_file: Path | None) -> None:
    """The tables to standard output, the rest to where it was asked for."""
    console = Console() if sys.stdout.isatty() else Console(width=NARROW)
    console.print(render(results))
    if json_file:
        json_file.write_text(results.to_json() + "\n")
    if svg_file:
        svg_file.write_text(draw(results))


def say(line: str) -> None:
    """Progress, which is not the result: to standard error."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    bench()

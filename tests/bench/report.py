"""The results as tables for a terminal: a row per program, the ratio to the baseline beside each value."""

from itertools import groupby

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tests.bench.measures import QUANTITIES, Quantity
from tests.bench.results import ProgramResult, Results
from tests.bench.targets import rows


def render(results: Results) -> RenderableType:
    """All that was measured, table by table, then what was not and why."""
    parts: list[RenderableType] = []
    for title, group in groupby(QUANTITIES, key=lambda quantity: quantity.table):
        measured = [one for one in group if any(program.median(one.key) is not None for program in results.programs)]
        if measured:
            parts += [_table(results, title, measured), ""]
    targets = list(rows(results))
    if targets:
        parts += [_targets(targets), ""]
    return Group(*parts, *_remarks(results))


def format_value(value: float) -> str:
    """Three significant digits or all before the point, thousands set apart: 0.0512, 7.31, 1 834."""
    if value >= 100:
        return f"{value:,.0f}".replace(",", " ")
    return f"{value:.3g}"


def format_ratio(ratio: float) -> str:
    """``×0.002``, ``×0.21``, ``×3.5``, ``×12``."""
    if ratio < 0.01:
        return f"×{ratio:.1g}"
    digits = 2 if ratio < 1 else 1 if ratio < 10 else 0
    return f"×{ratio:.{digits}f}"


def _table(results: Results, title: str, quantities: list[Quantity]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("", no_wrap=True)
    for quantity in quantities:
        table.add_column(quantity.title, justify="right")
    for program in results.programs:
        cells = [_cell(results, program, quantity) for quantity in quantities]
        table.add_row(program.title, *cells, style="bold" if program.is_ours else None)
    return table


def _cell(results: Results, program: ProgramResult, quantity: Quantity) -> Text:
    value = program.median(quantity.key)
    if value is None:
        return Text("–", style="dim")
    ratio = results.ratio(program, quantity.key)
    beside = "" if ratio is None else format_ratio(ratio)
    return Text.assemble(format_value(value), (f" {beside:>6}", "dim not bold"))


def _targets(targets: list[tuple[str, str, str, float, str, bool]]) -> Table:
    table = Table(title="Targets: ratios, or the value itself", title_justify="left", title_style="bold")
    for title in ("", "", "over"):
        table.add_column(title)
    for title in ("measured", "target"):
        table.add_column(title, justify="right")
    table.add_column("")
    for program, what, against, measured, bound, is_reached in targets:
        verdict = Text("reached", style="green") if is_reached else Text("missed", style="red")
        table.add_row(program, what, against, format_value(measured), bound, verdict)
    return table


def _remarks(results: Results) -> list[RenderableType]:
    rounds = max((len(program.rounds) for program in results.programs), default=0)
    facts = "{cpu}, {cores} cores, Linux {kernel}, {distribution}, Python {python}".format(**results.machine)
    how = f"Medians of rounds: {rounds}, of {results.seconds} s; × is the ratio to {results.baseline_title}."
    lines = [Text(how), Text(facts, style="dim")]
    lines += [Text(f"skipped: {title}: {why}", style="yellow") for title, why in results.skipped.items()]
    for program in results.programs:
        lines += [Text(f"failed: {program.title}: {why}", style="red") for why in program.failures]
    return list(lines)

"""Who tells what happens: a line a step, with a spinner or a bar while it runs, and below it what was typed.

✓ make a CA … — what came out 1.2 s
    ca$ tunnel cert ca
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

from tunnel.errors import TunnelError


class StepFailedError(TunnelError):
    """`step` is what was being done; the text is why it failed."""

    def __init__(self, step: str, why: Exception) -> None:
        super().__init__(str(why) or type(why).__name__)
        self.step = step


class Step:
    """The line of a running step."""

    def __init__(self, bars: Progress, title: str) -> None:
        self._bars = bars
        self._task = bars.add_task(escape(title), total=None)
        self.detail = ""
        """What came out, shown behind the title when it is done."""
        self.lines: list[str] = []
        """What was typed and said meanwhile, shown below it."""

    def progress(self, done: int, total: int) -> None:
        self._bars.update(self._task, completed=done, total=total)


class Narrator:
    """Prints to `console`; on a terminal the running step moves."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show `title` until the block is done, then how it ended; an error comes out as `StepFailedError`."""
        columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=30)
        started = time.monotonic()
        is_still = not self._console.is_terminal
        with Progress(*columns, console=self._console, transient=True, disable=is_still) as bars:
            step = Step(bars, title)
            try:
                yield step
            except Exception as error:
                self._console.print(f"[red]✗[/] {escape(title)}")
                self._print_lines(step)
                raise StepFailedError(title, error) from error
        detail = f" [dim]— {escape(step.detail)}[/]" if step.detail else ""
        self._console.print(
            f"[green]✓[/] {escape(title)}{detail} [dim]{time.monotonic() - started:.1f} s[/]", soft_wrap=True
        )
        self._print_lines(step)

    def _print_lines(self, step: Step) -> None:
        for line in step.lines:
            self._console.print(f"    [cyan]{escape(line)}[/]", soft_wrap=True)

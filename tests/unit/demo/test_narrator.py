from io import StringIO

import pytest
from rich.console import Console

from tunnel.demo.narrator import Narrator, StepFailedError


def test_a_step_is_told_with_what_came_out() -> None:
    told = StringIO()
    with Narrator(Console(file=told)).step("dig [deep]") as step:
        step.progress(1, 2)
        step.detail = "a hole"
    assert told.getvalue().startswith("✓ dig [deep] — a hole ")


def test_a_failure_names_its_step_and_keeps_its_reason() -> None:
    told = StringIO()
    narrator = Narrator(Console(file=told))
    with pytest.raises(StepFailedError, match=r"^too hard$") as failure, narrator.step("dig"):
        raise OSError("too hard")
    assert failure.value.step == "dig"
    assert told.getvalue() == "✗ dig\n"


def test_an_interrupt_passes_as_it_is() -> None:
    narrator = Narrator(Console(file=StringIO()))
    with pytest.raises(KeyboardInterrupt), narrator.step("dig"):
        raise KeyboardInterrupt

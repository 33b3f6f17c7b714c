from io import StringIO

import pytest
from rich.console import Console

from tunnel.demo.narrator import Narrator, Step, StepFailedError


def test_a_step_is_told_with_what_came_out() -> None:
    told = StringIO()
    with Narrator(Console(file=told)).step("dig [deep]") as step:
        step.progress(1, 2)
        step.detail = "a hole"
    assert told.getvalue().startswith("✓ dig [deep] — a hole ")


def dig_in_vain(step: Step) -> None:
    step.lines.append("left$ dig --deeper")
    raise OSError("too hard")


def test_what_was_typed_stands_below_its_step_as_it_is_also_if_that_failed() -> None:
    told = StringIO()
    narrator = Narrator(Console(file=told, width=20))
    with narrator.step("dig") as step:
        step.lines.append("left$ dig --deep [1] 2>>dig.log")
    with pytest.raises(StepFailedError), narrator.step("dig more") as step:
        dig_in_vain(step)
    dug, typed, *rest = told.getvalue().splitlines()
    assert dug.startswith("✓ dig ")
    assert typed == "    left$ dig --deep [1] 2>>dig.log"
    assert rest == ["✗ dig more", "    left$ dig --deeper"]


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

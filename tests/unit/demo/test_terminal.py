from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tunnel.demo.narrator import Narrator, Step
from tunnel.demo.terminal import Terminal
from tunnel.testing.namespaces import CommandError


@pytest.fixture
def step() -> Iterator[Step]:
    with Narrator(Console(file=StringIO())).step("type") as step:
        yield step


def test_what_is_typed_runs_in_the_directory_and_is_told_with_the_host(tmp_path: Path, step: Step) -> None:
    assert Terminal("left", tmp_path).type(step, "echo dug >hole && cat hole") == "dug\n"
    assert (tmp_path / "hole").exists()
    assert step.lines == ["left$ echo dug >hole && cat hole"]


def test_a_command_that_fails_is_named_as_it_was_typed_with_what_it_said_last(tmp_path: Path, step: Step) -> None:
    with pytest.raises(CommandError, match=r"^echo too hard >&2; false: too hard$"):
        Terminal("left", tmp_path).type(step, "echo too hard >&2; false")


def test_tunnel_is_the_one_that_runs_the_demo(tmp_path: Path, step: Step) -> None:
    assert "tunnel cert issue" in Terminal("ca", tmp_path).type(step, "tunnel cert issue --help")

import subprocess
import sys

import pytest

from tests.unit.cli.invoking import invoke
from tunnel import __version__
from tunnel.cli.commands import COMMANDS

HEAVY = ("rich", "asyncio", "uvloop", "pyroute2", "asyncinotify", "logging.handlers", "tunnel.daemon.service")


def test_version_is_told() -> None:
    assert invoke("--version").output == f"tunnel {__version__}\n"


def test_help_names_every_command() -> None:
    output = invoke("--help").output
    assert all(f"  {name} " in output for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert f"tunnel {name}" in result.output.partition("Example")[2]


def test_a_command_that_does_not_exist_is_wrong_usage() -> None:
    result = invoke("frobnicate")
    assert result.exit_code == 2
    assert "No such command 'frobnicate'" in result.output


@pytest.mark.parametrize(
    "arguments", [["status"], ["status", "--json"], ["down", "absent"], ["reload", "absent"], ["genkey"], ["--help"]]
)
def test_quick_commands_import_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from tunnel.cli import ending; from tunnel.cli.commands import tunnel\n"
        f"ending.run(tunnel, 'tunnel', {arguments})\n"
        f"sys.exit(' '.join(name for name in {HEAVY} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr.removeprefix("tunnel: nothing runs as absent\n") == "\n"


def test_python_dash_m_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tunnel", "--version"], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.stdout == f"tunnel {__version__}\n"

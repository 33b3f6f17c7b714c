import subprocess
import sys

import pytest
from click.testing import CliRunner

from tunnel import __version__
from tunnel.cli.tunnel_wg import tunnel_wg


def test_version_is_told() -> None:
    assert CliRunner().invoke(tunnel_wg, ["--version"]).output == f"tunnel-wg {__version__}\n"


def test_help_shows_how_wg_quick_uses_it() -> None:
    assert "WG_QUICK_USERSPACE_IMPLEMENTATION=tunnel-wg wg-quick up wg0" in CliRunner().invoke(tunnel_wg, ["-h"]).output


@pytest.mark.parametrize("flags", [[], ["-f"], ["--foreground"]])
def test_an_impossible_name_is_one_line_and_1(flags: list[str]) -> None:
    command = [sys.executable, "-m", "tunnel.cli.tunnel_wg", *flags, "two words"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("tunnel: 'two words' is no interface name")
    assert done.stderr.count("\n") == 1


def test_an_unknown_log_level_is_one_line_and_1() -> None:
    result = CliRunner(env={"LOG_LEVEL": "loud"}).invoke(tunnel_wg, ["wg0"])
    assert "LOG_LEVEL: 'loud' is none of" in str(result.exception)

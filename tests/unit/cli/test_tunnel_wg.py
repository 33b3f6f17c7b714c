import subprocess
import sys

import pytest
from click.testing import CliRunner

from tunnel import __version__
from tunnel.cli.bare import bare, tunnel_wg
from tunnel.config.model import Offload


def test_version_is_told() -> None:
    assert CliRunner().invoke(tunnel_wg, ["--version"]).output == f"tunnel-wg {__version__}\n"


def test_help_shows_how_wg_quick_uses_it() -> None:
    assert "WG_QUICK_USERSPACE_IMPLEMENTATION=tunnel-wg wg-quick up wg0" in CliRunner().invoke(tunnel_wg, ["-h"]).output


def test_help_says_what_offload_and_extensions_are_for() -> None:
    text = CliRunner().invoke(tunnel_wg, ["--help"]).output
    assert "--offload [auto|off|send|receive]" in text
    assert "--extensions [auto|off]" in text
    assert "\n  --offload and --extensions are for what wg(8) has no setting for." in text


def test_the_options_reach_the_interface() -> None:
    wanted = bare("wg0", "send", "off").keywords
    assert (wanted["offload"], wanted["extensions"]) == (Offload.SEND, False)


@pytest.mark.parametrize("options", [["--offload", "on"], ["--extensions", "on"]])
def test_a_word_that_is_none_of_the_choices_is_a_usage_error(options: list[str]) -> None:
    assert CliRunner().invoke(tunnel_wg, [*options, "wg0"]).exit_code == 2


@pytest.mark.parametrize("flags", [[], ["-f"], ["--foreground"]])
def test_an_impossible_name_is_one_line_and_78(flags: list[str]) -> None:
    command = [sys.executable, "-m", "tunnel.cli.tunnel_wg", *flags, "two words"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 78
    assert done.stderr.startswith("tunnel: 'two words' is no interface name")
    assert done.stderr.count("\n") == 1


def test_an_unknown_log_level_is_one_line_and_1() -> None:
    result = CliRunner(env={"LOG_LEVEL": "loud"}).invoke(tunnel_wg, ["wg0"])
    assert "LOG_LEVEL: 'loud' is none of" in str(result.exception)

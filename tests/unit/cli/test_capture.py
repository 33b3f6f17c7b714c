import socket
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from tests.unit.cli.invoking import invoke, places_in
from tunnel.cli.commands import tunnel


def test_keys_are_not_for_a_terminal() -> None:
    result = invoke("capture", "wg0", "--keys")
    assert result.exit_code == 2
    assert "--keys needs -w" in result.output


@pytest.mark.parametrize("limit", [("-c", "0"), ("--seconds", "0")])
def test_a_capture_of_nothing_is_wrong_usage(limit: tuple[str, str]) -> None:
    assert invoke("capture", "wg0", *limit).exit_code == 2


def test_the_help_warns_of_keys_and_says_what_wireshark_does_not_know() -> None:
    output = invoke("capture", "--help").output
    assert "WARNING: with --keys the file holds the private key" in output
    assert "Ours between two hosts that run" in output


def test_interfaces_that_run_are_offered(tmp_path: Path) -> None:
    shell = ShellComplete(tunnel, {"obj": places_in(tmp_path)}, "tunnel", "_TUNNEL_COMPLETE")
    with socket.socket(socket.AF_UNIX) as alive:
        alive.bind(str(tmp_path / "wg0.sock"))
        alive.listen()
        assert [item.value for item in shell.get_completions(["capture"], "")] == ["wg0"]

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete, CompletionItem

from tests.unit.cli.invoking import places_in
from tests.unit.cli.test_main import HEAVY
from tunnel.cli.commands import tunnel


def offered(directory: Path, *words: str) -> list[CompletionItem]:
    """What Tab shows after the words; the last one is unfinished."""
    shell = BashComplete(tunnel, {"obj": places_in(directory)}, "tunnel", "_TUNNEL_COMPLETE")
    return shell.get_completions(list(words[:-1]), words[-1])


def names(directory: Path, *words: str) -> list[str]:
    return [item.value for item in offered(directory, *words)]


@pytest.fixture
def configured(tmp_path: Path) -> Path:
    for path in ("tunnel/office.conf", "tunnel/gw.conf", "wireguard/gw.conf", "wireguard/wg0.conf", "tunnel/gw.pem"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    return tmp_path


def test_up_offers_interfaces_that_have_a_configuration(configured: Path) -> None:
    assert names(configured, "up", "") == ["gw", "office", "wg0"]
    assert names(configured, "up", "-d", "of") == ["office"]


def test_up_offers_nothing_where_there_are_no_configurations(tmp_path: Path) -> None:
    assert names(tmp_path, "up", "") == []


@pytest.mark.parametrize("command", ["down", "reload", "status", "events", "metrics", "capture"])
def test_commands_for_running_interfaces_offer_those_that_answer(tmp_path: Path, command: str) -> None:
    with socket.socket(socket.AF_UNIX) as alive, socket.socket(socket.AF_UNIX) as killed:
        alive.bind(str(tmp_path / "wg0.sock"))
        alive.listen()
        killed.bind(str(tmp_path / "wg1.sock"))
        killed.close()
        assert names(tmp_path, command, "") == ["wg0"]
        assert names(tmp_path, command, "wg1") == []


def test_who_may_not_look_is_offered_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert names(tmp_path / "file", "down", "") == []
    assert names(tmp_path / "file", "up", "") == []


def test_a_path_and_a_file_are_left_to_the_shell(configured: Path) -> None:
    for words in (["up", "./of"], ["down", "./of"], ["up", "--identity", "./of"], ["cert", "show", "./of"]):
        (item,) = offered(configured, *words)
        assert (item.type, item.value) == ("file", "./of"), words


def test_tab_imports_nothing_heavy() -> None:
    code = (
        "import sys; from tunnel.cli.commands import tunnel\n"
        "from click.shell_completion import BashComplete\n"
        "shell = BashComplete(tunnel, {}, 'tunnel', '_TUNNEL_COMPLETE')\n"
        "for words in (['up'], ['down'], ['status'], ['reload'], []): shell.get_completions(words, '')\n"
        f"sys.exit(' '.join(name for name in {(*HEAVY, 'cryptography', 'numpy')} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr == "\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_program_writes_what_each_shell_has_to_read(shell: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from tunnel.cli.main import main; main()"],
        env={"_TUNNEL_COMPLETE": f"{shell}_source", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert f"_TUNNEL_COMPLETE={shell}_complete" in done.stdout


def test_commands_and_options_of_the_program_are_offered(tmp_path: Path) -> None:
    assert names(tmp_path, "re") == ["reload"]
    assert names(tmp_path, "--v") == ["--version"]
    assert names(tmp_path, "cert", "re") == ["renew", "revoke"]

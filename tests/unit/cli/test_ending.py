import errno
import subprocess
import sys
from collections.abc import Callable

import click
import pytest

from tunnel.cli import ending
from tunnel.errors import ClockError, ConfigError, TunnelError, UdpSocketError


def _command(does: Callable[[], object]) -> click.Command:
    return click.Command("test", callback=does)


def _raise(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


def test_a_command_that_is_done_ends_with_0() -> None:
    assert ending.run(_command(lambda: None), "tunnel", []) == 0


def test_a_command_may_choose_its_status() -> None:
    assert ending.run(_command(lambda: click.get_current_context().exit(3)), "tunnel", []) == 3


def test_a_tunnel_error_is_one_line_and_1(capsys: pytest.CaptureFixture[str]) -> None:
    error = UdpSocketError("cannot listen on UDP port 51820: another program has it", errno.EADDRINUSE)
    assert ending.run(_command(_raise(error)), "tunnel", []) == 1
    assert capsys.readouterr().err == "tunnel: cannot listen on UDP port 51820: another program has it\n"


def test_what_somebody_has_to_mend_is_one_line_and_78(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConfigError("not in 0–65535", source="wg0.conf", line=3, key="ListenPort")
    assert ending.run(_command(_raise(error)), "tunnel", []) == 78
    assert capsys.readouterr().err == "tunnel: wg0.conf:3: ListenPort: not in 0–65535\n"


def test_what_only_the_clock_refuses_may_be_tried_again() -> None:
    assert ending.run(_command(_raise(ClockError("certificate not yet valid"))), "tunnel", []) == 1


def test_an_error_of_several_lines_is_still_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending.run(_command(_raise(TunnelError("one\ntwo"))), "tunnel", []) == 1
    assert capsys.readouterr().err == "tunnel: one two\n"


def test_ctrl_c_is_quiet_and_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending.run(_command(_raise(KeyboardInterrupt())), "tunnel", []) == 130
    assert capsys.readouterr().err.strip() == ""


def test_wrong_usage_is_explained_and_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert ending.run(_command(lambda: None), "tunnel", ["--frobnicate"]) == 2
    assert "No such option" in capsys.readouterr().err


def test_a_bug_shows_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        ending.run(_command(lambda: 1 / 0), "tunnel", [])


@pytest.mark.parametrize("lines", [1, 100000])
def test_nobody_reading_is_quiet(lines: int) -> None:
    code = (
        "import click, sys; from tunnel.cli import ending\n"
        f"say = click.Command('say', callback=lambda: [print('hello') for _ in range({lines})] and None)\n"
        "sys.stdin.read()\n"
        "sys.exit(ending.run(say, 'tunnel', []))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, complaint = process.communicate(b"", timeout=20)
    assert (process.returncode, complaint) == (1, b"")


def run_redirected(does: str, redirection: str) -> "subprocess.CompletedProcess[str]":
    """A command that does `does`, with what it would print for `redirection` of a shell."""
    code = (
        "import click, sys; from tunnel.cli import ending; from tunnel.errors import TunnelError\n"
        f"def do():\n    {does}\n"
        "sys.exit(ending.run(click.Command('do', callback=do), 'tunnel'))"
    )
    command = ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, code]
    return subprocess.run(command, timeout=20, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("does", ["click.echo('hello')", "print('hello')", "print('hello' * 10000)"])
def test_output_that_cannot_be_written_is_one_line_and_1(does: str) -> None:
    done = run_redirected(does, ">/dev/full")
    assert (done.returncode, done.stderr) == (1, "tunnel: cannot write the output: No space left on device\n")


@pytest.mark.parametrize(
    ("does", "arguments", "status"), [("raise TunnelError('no')", "", 1), ("pass", "--frobnicate", 2)]
)
def test_an_error_that_cannot_be_printed_is_in_the_exit_status(does: str, arguments: str, status: int) -> None:
    done = run_redirected(does, f"{arguments} 2>/dev/full")
    assert (done.returncode, done.stdout, done.stderr) == (status, "", "")


def test_a_full_disk_that_nobody_has_thought_of_is_a_bug() -> None:
    done = run_redirected("raise OSError(28, 'No space left on device', '/var/lib/tunnel/x')", "")
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_is_as_good_as_none(redirection: str) -> None:
    code = (
        "import click, os, sys; from tunnel.cli import ending\n"
        "def say():\n"
        "    opened = os.open('/', os.O_RDONLY)\n"
        "    print('hello'); print('hello', file=sys.stderr)\n"
        "    click.get_current_context().exit(0 if opened > 2 else 9)\n"
        "sys.exit(ending.run(click.Command('say', callback=say), 'tunnel', []))"
    )
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, code], timeout=20, check=False
    )
    assert done.returncode == 0

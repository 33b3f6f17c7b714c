import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tunnel.cli import background
from tunnel.errors import TunnelError

READY = "import os, sys; from tunnel.cli.background import announce_ready; announce_ready(int(sys.argv[-1]))\n"


def _python(code: str) -> list[str]:
    return [sys.executable, "-P", "-c", code]


def test_it_returns_0_once_the_process_is_ready() -> None:
    assert background.start(_python(READY)) == 0


def test_it_returns_the_status_of_a_process_that_ended_before() -> None:
    assert background.start(_python("raise SystemExit(3)")) == 3


def test_a_process_that_was_stopped_before_it_was_ready_is_an_error() -> None:
    with pytest.raises(TunnelError, match="stopped before it was ready"):
        background.start(_python(""))


def test_a_process_whose_caller_was_killed_does_not_become_ready() -> None:
    receiving, sending = os.pipe()
    os.close(receiving)
    done = subprocess.run(
        [*_python(READY), str(sending)], pass_fds=(sending,), capture_output=True, timeout=20, check=False
    )
    os.close(sending)
    assert done.returncode != 0


def test_an_error_before_it_was_ready_is_the_callers_to_see(capfd: pytest.CaptureFixture[str]) -> None:
    assert background.start(_python("raise SystemExit('tunnel: no')")) == 1
    assert capfd.readouterr().err == "tunnel: no\n"


def test_a_process_that_was_killed_is_an_error() -> None:
    with pytest.raises(TunnelError, match="ended by SIGKILL"):
        background.start(_python("import os; os.kill(os.getpid(), 9)"))


def test_the_process_stands_alone(tmp_path: Path) -> None:
    code = (
        "import os, sys; from tunnel.cli.background import announce_ready\n"
        f"told = os.getsid(0) == os.getpid(), os.getcwd(), os.readlink('/proc/self/fd/0')\n"
        f"open({str(tmp_path / 'told')!r}, 'w').write(repr(told))\n"
        "announce_ready(int(sys.argv[-1]))"
    )
    background.start(_python(code))
    assert (tmp_path / "told").read_text() == repr((True, "/", "/dev/null"))


def test_after_ready_nothing_reaches_the_caller(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = READY + (
        "print('out', flush=True); print('err', file=sys.stderr, flush=True); os.system('echo hook; echo hook >&2')\n"
        f"open({str(tmp_path / 'done')!r}, 'w').close()"
    )
    os.mkfifo(tmp_path / "done")
    assert background.start(_python(code)) == 0
    (tmp_path / "done").read_bytes()
    assert capfd.readouterr() == ("", "")


def test_a_caller_that_reads_our_output_to_its_end_does_not_wait_for_the_process(tmp_path: Path) -> None:
    waiting = READY + f"import signal; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); signal.pause()"
    code = f"import sys; from tunnel.cli import background; sys.exit(background.start({_python(waiting)!r}))"
    os.mkfifo(tmp_path / "pid")
    done = subprocess.run(_python(code), capture_output=True, timeout=20, check=False)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_waiting_ends_the_process(tmp_path: Path, number: signal.Signals, status: int) -> None:
    os.mkfifo(tmp_path / "pid")
    waiting = f"import os, signal, sys\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\nsignal.pause()"
    code = (
        "import click, sys; from tunnel.cli import background, ending\n"
        f"start = click.Command('x', callback=lambda: background.start({_python(waiting)!r}))\n"
        "sys.exit(ending.run(start, 'tunnel', []))"
    )
    with subprocess.Popen(_python(code), stderr=subprocess.PIPE) as parent:
        child = os.pidfd_open(int((tmp_path / "pid").read_text()))
        parent.send_signal(number)
        _, complaint = parent.communicate(timeout=20)
    with pytest.raises(ProcessLookupError):
        signal.pidfd_send_signal(child, 0)
    os.close(child)
    assert (parent.returncode, complaint.strip()) == (status, b"")


def test_our_own_command_is_not_shadowed_by_the_directory_we_stand_in(tmp_path: Path) -> None:
    (tmp_path / "tunnel").mkdir()
    (tmp_path / "tunnel" / "__main__.py").write_text("print('evil')")
    command = background.own_command("tunnel", "--version")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout.startswith("tunnel ")

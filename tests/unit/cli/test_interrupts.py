"""Ctrl-C while modules are being imported: nothing is said, whichever module it is."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tunnel.cli.interrupts import EndedAtOnce, end_at_once

SLOW = "import time; print('importing', flush=True); time.sleep(60)\n"

CONFIG = "[Interface]\nPrivateKey = YAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n"


def importing(module: str, command: list[str], directory: Path) -> subprocess.Popen[str]:
    """A process that has just begun to import `module`, which takes a while."""
    (directory / f"{module}.py").write_text(SLOW)
    path = os.pathsep.join((str(directory), os.environ.get("PYTHONPATH", "")))
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    return process


@pytest.mark.parametrize(
    ("module", "command", "status"),
    [
        ("click", ["tunnel", "status"], -signal.SIGINT),
        ("click", ["tunnel.cli.tunnel_wg", "-f", "wg0"], -signal.SIGINT),
        ("queue", ["tunnel", "events"], -signal.SIGINT),
        ("uvloop", ["tunnel", "up", "FILE"], -signal.SIGINT),
        ("uvloop", ["tunnel.cli.tunnel_wg", "-f", "wg0"], -signal.SIGINT),
        ("prometheus_client", ["tunnel", "metrics"], 130),  # while the command runs
    ],
)
def test_ctrl_c_during_an_import_says_nothing(module: str, command: list[str], status: int, tmp_path: Path) -> None:
    config = tmp_path / "wg0.conf"
    config.touch(mode=0o600)
    config.write_text(CONFIG)
    with importing(module, [str(config) if word == "FILE" else word for word in command], tmp_path) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert errors.strip() == ""
    assert process.returncode == status


def test_within_python_is_not_asked_and_afterwards_it_is_again() -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with EndedAtOnce():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_ignores_it_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with EndedAtOnce():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert not end_at_once()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)

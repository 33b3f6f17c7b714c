"""Hooks run as wg-quick runs them, and cannot hold or hurt the daemon."""

import asyncio
import os
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from tunnel.daemon.hooks import run_every_hook, run_hooks
from tunnel.errors import HookError


async def test_commands_run_in_order_with_the_interface_for_percent_i(tmp_path: Path) -> None:
    out = tmp_path / "out"
    await run_hooks("PostUp", [f"echo one %i >>{out}", f"echo two %i-%i >>{out}"], "wg7")
    assert out.read_text() == "one wg7\ntwo wg7-wg7\n"


async def test_bash_runs_them(tmp_path: Path) -> None:
    out = tmp_path / "out"
    await run_hooks("PostUp", [f"x=(a b); [[ ${{#x[@]}} == 2 ]] && cat <(echo ${{x[1]}}) >{out}"], "wg0")
    assert out.read_text() == "b\n"


async def test_without_bash_sh_runs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    out = tmp_path / "out"
    await run_hooks("PostUp", [f"echo $0 >{out}"], "wg0")
    assert out.read_text() == "/bin/sh\n"


async def test_a_failure_names_the_hook_the_status_and_the_last_line() -> None:
    with pytest.raises(HookError) as caught:
        await run_hooks("PreUp", ["echo first >&2; echo '%i is no good' >&2; exit 7"], "wg0")
    assert str(caught.value) == (
        "wg0: PreUp 'echo first >&2; echo 'wg0 is no good' >&2; exit 7': exit status 7: wg0 is no good"
    )


async def test_the_rest_does_not_run_after_a_failure(tmp_path: Path) -> None:
    with pytest.raises(HookError):
        await run_hooks("PreUp", ["false", f"touch {tmp_path}/ran"], "wg0")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("command", ["false; true", "false | true"])
async def test_a_failure_in_the_middle_of_a_command_counts(command: str) -> None:
    with pytest.raises(HookError):
        await run_hooks("PreUp", [command], "wg0")


async def test_a_signal_is_named() -> None:
    with pytest.raises(HookError, match="ended by SIGKILL"):
        await run_hooks("PreUp", ["kill -KILL $$"], "wg0")


async def test_hooks_run_where_no_file_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    with pytest.raises(HookError, match="exit status 1: said"):
        await run_hooks("PostDown", ["echo said; false"], "wg0")


async def test_keys_in_commands_and_their_output_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    key = "k" * 42 + "A="
    with pytest.raises(HookError) as caught:
        await run_hooks("PostUp", [f"echo {key}; false"], "wg0")
    assert key not in f"{caught.value} {caplog.text}"
    assert "echo (key); false" in caplog.text


async def test_on_the_way_down_everything_runs_and_failures_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await run_every_hook("PostDown", ["exit 3", f"touch {tmp_path}/ran"], "wg0")
    assert (tmp_path / "ran").exists()
    assert "PostDown 'exit 3': exit status 3" in caplog.text


async def test_commands_and_their_output_are_logged_as_wg_quick_prints_them(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await run_hooks("PostUp", ["echo hello; printf 'red \\033[31m\\n' >&2"], "wg0")
    assert [record.getMessage() for record in caplog.records] == [
        "[#] echo hello; printf 'red \\033[31m\\n' >&2",
        "PostUp: hello",
        "PostUp: red  [31m",
    ]


async def test_a_process_left_in_the_background_does_not_hold_us(tmp_path: Path) -> None:
    await run_hooks("PostUp", [f"sleep 60 & echo $! >{tmp_path}/pid"], "wg0")
    process = int((tmp_path / "pid").read_text())
    os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_hook_inherits_no_descriptor(new_loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(run_hooks("PostUp", [f"ls -1 /proc/self/fd >{tmp_path}/fds"], "wg0"))
    finally:
        os.close(ours)
        os.close(theirs)
    inherited = [int(line) for line in (tmp_path / "fds").read_text().split()]
    assert len(inherited) == 4, "0, 1, 2, and the directory that ls reads"


async def test_a_hook_has_nothing_to_read_and_no_blocked_signal(tmp_path: Path) -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        await run_hooks("PostUp", [f"cat; grep SigBlk /proc/self/status >{tmp_path}/mask"], "wg0")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert int((tmp_path / "mask").read_text().split()[1], 16) & (1 << (signal.SIGTERM - 1)) == 0


async def test_cancelling_ends_the_hook_and_what_it_started(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    hook = asyncio.create_task(run_hooks("PostUp", [f"(echo $BASHPID; exec sleep 60) >{fifo}"], "wg0"))
    with await asyncio.to_thread(fifo.open) as started:
        child = int(started.readline())
        descriptor = os.pidfd_open(child)
    hook.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hook
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(descriptor, ended.set)
    await asyncio.wait_for(ended.wait(), 5)
    asyncio.get_running_loop().remove_reader(descriptor)
    os.close(descriptor)


async def test_a_shell_that_cannot_be_started_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bash = tmp_path / "bash"
    bash.write_bytes(b"not a program")
    bash.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HookError, match="Exec format error"):
        await run_hooks("PreUp", ["true"], "wg0")

"""PreUp, PostUp, PreDown and PostDown: the administrator's shell commands around the interface.

They run as wg-quick runs them: one after the other, verbatim but for ``%i``, by bash where there is one (with ``-e``
and ``pipefail``, as in wg-quick's own subshell), else by sh. There is no timeout, since a hook may well wait for
something slow; whoever cancels us ends the hook and everything it started.

A hook gets no descriptor of ours, an empty standard input, default signal handling, and a session of its own, so that a
second Ctrl-C does not hit the commands that clean up after the first. Its output goes to a file in memory and from
there to the log when it ends: with a pipe we would wait for ever for a hook that leaves a process in the background,
and with a file on disk a full one would keep PostDown from cleaning up.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Sequence
from typing import IO

from tunnel.errors import HookError
from tunnel.keys import hide_keys

OUTPUT_LINES_LOGGED = 50
"""Of each hook, the last so many lines."""

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL when a hook is cancelled."""

_OUTPUT_TAIL = 64 * 1024

_log = logging.getLogger(__name__)


async def run_hooks(phase: str, commands: Sequence[str], interface: str) -> None:
    """Run the commands in order; raise `HookError` at the first that fails, without running the rest.

    `phase` is the setting's name as people write it, ``PostUp``. The error says which command, how it ended, and the
    last line it wrote.
    """
    for command in commands:
        await _run(phase, command.replace("%i", interface), interface)


async def run_every_hook(phase: str, commands: Sequence[str], interface: str) -> None:
    """Run all the commands, whatever becomes of each: on the way down a failure is logged and the rest still runs."""
    for command in commands:
        try:
            await run_hooks(phase, [command], interface)
        except HookError as error:
            _log.error("%s", error)


def shell() -> list[str]:
    """The command line that runs a hook, without the hook."""
    bash = shutil.which("bash")
    return [bash, "-e", "-o", "pipefail", "-O", "extglob", "-c"] if bash else ["/bin/sh", "-e", "-c"]


async def _run(phase: str, command: str, interface: str) -> None:
    shown = hide_keys(command)
    _log.info("[#] %s", shown)
    with open(os.memfd_create("hook"), "w+b") as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *shell(),
                command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_shed,
            )
        except OSError as error:
            raise HookError(f"{interface}: {phase} '{shown}': {error.strerror}") from None
        status = await _finish(process)
        lines = _tail(output)
    for line in lines[-OUTPUT_LINES_LOGGED:]:
        _log.info("%s: %s", phase, line)
    if status != 0:
        last = f": {lines[-1]}" if lines else ""
        raise HookError(f"{interface}: {phase} '{shown}': {_ending(status)}{last}")


async def _finish(process: asyncio.subprocess.Process) -> int:
    """Wait for the end; if we are cancelled first, end the hook and what it started, politely and then not."""
    try:
        return await process.wait()
    except asyncio.CancelledError:
        _signal_session(process, signal.SIGTERM)
        try:
            async with asyncio.timeout(GRACE):
                await process.wait()
        except TimeoutError:
            _signal_session(process, signal.SIGKILL)
            await process.wait()
        raise


def _signal_session(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _shed() -> None:
    """In the child, before exec: let go of what is ours.

    Whatever we block, a hook can be interrupted and terminated. uvloop lets descriptors through that asyncio closes;
    they cannot be closed here, because uvloop still needs some of them until exec.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(descriptor, False)


def _ending(status: int) -> str:
    return f"exit status {status}" if status > 0 else f"ended by {signal.Signals(-status).name}"


def _tail(output: IO[bytes]) -> list[str]:
    """The last lines of what the hook wrote, without empty ones, keys, and anything that could move the cursor."""
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _OUTPUT_TAIL))
    text = hide_keys(output.read(_OUTPUT_TAIL).decode(errors="replace"))
    printable = ("".join(c if c.isprintable() else " " for c in line).rstrip() for line in text.splitlines())
    return [line for line in printable if line]

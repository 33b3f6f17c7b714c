"""Running an interface in the background: the same command again, as a process of its own.

    tunnel up -d wg0            tunnel up --ready-fd 5 wg0
    ────────┬───────            ────────────┬─────────────
            ├── pipe, new session, cwd / ──▶ │ configures the interface; errors go to our stderr
            │ ◀──────── one byte ─────────── │ ready: lets go of stdout and stderr, logs to syslog
         exit 0                              ▼ runs on
      or the other's status, if the pipe closes without that byte

Whoever sees the command fail may rely on it that nothing was changed. So when it is ended while it waits, the other
process ends too; and if it was killed, that process finds nobody to tell that it is ready, and undoes everything.

A new process and not a fork: nothing of an event loop, a thread or a half-read stdin is inherited, and the kernel notes
the right process as the control socket's owner.
"""

import contextlib
import logging
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from tunnel.errors import TunnelError

READY = b"\n"

_log = logging.getLogger(__name__)


def own_command(module: str, *arguments: str) -> list[str]:
    """A command line that runs one of our modules; ``-P``, so that no directory a user stands in can shadow it."""
    return [sys.executable, "-P", "-m", module, *arguments]


def start(command: Sequence[str]) -> int:
    """Run ``command --ready-fd N``; return 0 once it is ready, or the status with which it failed before it was.

    There is no limit of time, since hooks may take any; an interrupt and SIGTERM end the process too. Raise
    `TunnelError` if it was killed, or stopped (``tunnel down``) before it was ready.
    """
    receiving, sending = os.pipe()
    with open(receiving, "rb", buffering=0) as ready, _ended_by_sigterm():
        try:
            process = subprocess.Popen(
                [*command, "--ready-fd", str(sending)],
                stdin=subprocess.DEVNULL,
                pass_fds=(sending,),
                start_new_session=True,
                cwd="/",
            )
        finally:
            os.close(sending)
        try:
            is_ready = ready.read(1) == READY
            status = 0 if is_ready else process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    process.returncode = status  # it outlives us, which is what we want: no warning about that
    if status < 0:
        raise TunnelError(f"the background process was ended by {signal.Signals(-status).name}")
    if status == 0 and not is_ready:
        raise TunnelError("the background process was stopped before it was ready")
    return status


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM raises `SystemExit`, so that what would be left running can be ended first."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def announce_ready(descriptor: int, *, keep_stderr: bool = False) -> None:
    """In the background process: let go of the caller's output, then tell `start` that it may return.

    In this order, because a caller that reads our output to its end would otherwise wait for as long as we live. Raise
    `TunnelError` if the caller is gone.
    """
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, sys.__stdout__.fileno() if sys.__stdout__ else 1)
    if not keep_stderr:
        os.dup2(null, 2)
    os.close(null)
    try:
        os.write(descriptor, READY)
    except BrokenPipeError:
        raise TunnelError("whoever brought the interface up was killed before it was ready") from None
    finally:
        os.close(descriptor)


def is_stderr_a_file() -> bool:
    """Whether who started us wants the log in a file, for as long as we run: ``tunnel up -d wg0 2>>wg0.log``."""
    try:
        return stat.S_ISREG(os.fstat(2).st_mode)
    except OSError:  # it is closed
        return False


class Run(Protocol):
    """`tunnel.daemon.service.run` with everything but the last argument."""

    def __call__(self, *, on_ready: Callable[[], None]) -> None: ...


def run_interface(
    name: str, run: Run, *, level: int, ready_fd: int | None, keep_stderr: bool = False, remark: str = ""
) -> None:
    """Run the interface until it is stopped, in this process; `remark` is logged when it is up. Raise `TunnelError`.

    Without `ready_fd` this is the foreground. With it only what is wrong is printed until the interface is ready, and
    from then on everything from `level` up goes to syslog, or still to stderr with `keep_stderr`.
    """
    from tunnel.daemon.log import set_up_logging

    is_detached = False

    def on_ready() -> None:
        nonlocal is_detached
        if ready_fd is not None:
            is_detached = True
            announce_ready(ready_fd, keep_stderr=keep_stderr)
            set_up_logging(name, level, to_syslog=not keep_stderr)
        if remark:
            _log.info("%s", remark)

    if ready_fd is None:
        set_up_logging(name, level, to_syslog=False)
    else:
        os.set_inheritable(ready_fd, False)  # a hook that leaves a process behind must not keep the pipe open
        set_up_logging(name, max(level, logging.WARNING), to_syslog=False)
    try:
        run(on_ready=on_ready)
    except Exception as error:
        if is_detached:  # nobody sees what we print
            _log.error("ended: %s", error, exc_info=not isinstance(error, TunnelError))
        raise

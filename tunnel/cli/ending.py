"""How a command ends: what it prints last, and the exit status.

    done                    0
    TunnelError             1, one line on stderr: ``tunnel: what failed``
    ConfigError             78, the same: trying again is of no use until somebody has mended it
    wrong usage             2, what would have been right
    nobody reads our output 1, quietly (``tunnel status | head -1``)
    it cannot be written    1, one line (``tunnel status >/mnt/full``)
    Ctrl-C                  130, quietly

Anything else is a bug and shows its traceback. 78 is EX_CONFIG of sysexits.h(3head), which tunnel@.service knows by
RestartPreventExitStatus=. What only the clock refuses may be good a moment later, and ends with 1.
"""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

import click

from tunnel.errors import ClockError, ConfigError, TunnelError

FAILED = 1
CONFIG = 78
INTERRUPTED = 130

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def run(command: click.Command, program: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command on its arguments (None: those of the process) and return the exit status."""
    try:
        _open_standard_streams()
        status = command.main(arguments, prog_name=program, standalone_mode=False)
        sys.stdout.flush()
    except TunnelError as error:
        _print_error(str(error))
        return CONFIG if isinstance(error, ConfigError) and not isinstance(error, ClockError) else FAILED
    except click.ClickException as error:
        _print(error.show)
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _give_up_output()
        return FAILED
    except OSError as error:
        # Of a file of ours the module that writes it says so, as a `TunnelError`: this is our output.
        if error.errno not in _UNWRITABLE or error.filename is not None:
            raise
        _give_up_output()
        _print_error(f"cannot write the output: {error.strerror}")
        return FAILED
    return status if isinstance(status, int) else 0


def _print_error(text: str) -> None:
    _print(lambda: click.echo(f"tunnel: {' '.join(text.splitlines())}", err=True))


def _print(on_stderr: Callable[[], None]) -> None:
    with suppress(OSError):  # then the exit status has to do
        on_stderr()


def _give_up_output() -> None:
    """What could not be written is dropped: the interpreter flushes once more at exit, and would complain then."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _open_standard_streams() -> None:
    """Point to /dev/null what whoever started us has closed (``2>&-``).

    Else the next descriptor that is opened, the TUN device perhaps, would become our standard output.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free, which is this one
            os.set_inheritable(descriptor, True)
    sys.stdin = sys.stdin or os.fdopen(0)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")

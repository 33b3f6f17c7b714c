"""How a command ends: what it prints last, and the exit status.

    done                    0
    TunnelError             1, one line on stderr: ``tunnel: what failed``
    ConfigError             78, the same: trying again is of no use until somebody has mended it
    wrong usage             2, what would have been right
    nobody reads our output 1, quietly (``tunnel status | head -1``)
    Ctrl-C                  130, quietly

Anything else is a bug and shows its traceback. 78 is EX_CONFIG of sysexits.h(3head), which tunnel@.service knows by
RestartPreventExitStatus=. What only the clock refuses may be good a moment later, and ends with 1.
"""

import os
import sys
from collections.abc import Sequence

import click

from tunnel.errors import ClockError, ConfigError, TunnelError

FAILED = 1
CONFIG = 78
INTERRUPTED = 130


def run(command: click.Command, program: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command on its arguments (None: those of the process) and return the exit status."""
    _open_standard_streams()
    try:
        status = command.main(arguments, prog_name=program, standalone_mode=False)
        sys.stdout.flush()
    except TunnelError as error:
        click.echo(f"tunnel: {' '.join(str(error).splitlines())}", err=True)
        return CONFIG if isinstance(error, ConfigError) and not isinstance(error, ClockError) else FAILED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes once more at exit, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status if isinstance(status, int) else 0


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

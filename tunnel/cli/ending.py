"""How a command ends: what it prints last, and the exit status.

    done                    0
    TunnelError             1, one line on stderr: ``tunnel: what failed``
    wrong usage             2, what would have been right
    nobody reads our output 1, quietly (``tunnel status | head -1``)
    Ctrl-C                  130, quietly

Anything else is a bug and shows its traceback.
"""

import os
import sys
from collections.abc import Sequence

import click

from tunnel.errors import TunnelError

FAILED = 1
INTERRUPTED = 130


def run(command: click.Command, program: str, arguments: Sequence[str] | None = None) -> int:
    """Run a command on its arguments (None: those of the process) and return the exit status."""
    try:
        status = command.main(arguments, prog_name=program, standalone_mode=False)
        sys.stdout.flush()
    except TunnelError as error:
        click.echo(f"tunnel: {' '.join(str(error).splitlines())}", err=True)
        return FAILED
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

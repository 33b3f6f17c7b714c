"""The console script `tunnel`. Its imports are few, so that Ctrl-C is quiet from the first moment on."""

import sys

from tunnel.cli.interrupts import EndedAtOnce, end_at_once


def main() -> None:
    with EndedAtOnce():
        from tunnel.cli import ending
        from tunnel.cli.commands import tunnel
    status = ending.run(tunnel, "tunnel")
    end_at_once()
    sys.exit(status)

"""The console script `tunnel-wg`, with as few imports as `tunnel.cli.main`."""

import sys

from tunnel.cli.interrupts import EndedAtOnce, end_at_once


def main() -> None:
    with EndedAtOnce():
        from tunnel.cli import ending
        from tunnel.cli.bare import tunnel_wg
    status = ending.run(tunnel_wg, "tunnel-wg")
    end_at_once()
    sys.exit(status)


if __name__ == "__main__":
    main()

"""``tunnel up``: an interface from a wg-quick file."""

import os
from functools import partial

import click

from tunnel.cli import background
from tunnel.cli.places import Places, pass_places


@click.command(
    epilog="""\b
Examples:
  tunnel up wg0             /etc/tunnel/wg0.conf, else /etc/wireguard/wg0.conf, until Ctrl-C
  tunnel up -d wg0          the same, in the background; returns when the interface is ready
  tunnel up -d wg0 2>>wg0.log   with the log in a file instead of syslog
  tunnel up -v ./office.conf
"""
)
@click.argument("target", metavar="NAME|FILE")
@click.option("-d", "--detach", is_flag=True, help="Return when the interface is ready, and leave it running.")
@click.option("-v", "--verbose", is_flag=True, help="Log every handshake, retry and change.")
@click.option("--ready-fd", type=int, hidden=True)
@click.pass_context
@pass_places
def up(places: Places, context: click.Context, target: str, detach: bool, verbose: bool, ready_fd: int | None) -> None:
    """Bring an interface up as a wg-quick file says.

    It ends, and everything is put back, with Ctrl-C, `tunnel down`, or when the interface is deleted.
    """
    from tunnel.cli.config_file import ConfigFile
    from tunnel.daemon.log import level_from

    file = ConfigFile.find(target, places.configs)
    level = level_from(int(verbose), os.environ)
    if detach:
        flags = ["--verbose"] if verbose else []
        context.exit(background.start(background.own_command("tunnel", "up", *flags, str(file.path))))

    from tunnel.daemon.service import run

    background.run_interface(
        file.name,
        partial(run, file.name, file.read(), path=file.path),
        level=level,
        ready_fd=ready_fd,
        keep_stderr=background.is_stderr_a_file(),
    )

"""``tunnel reload``, ``tunnel confirm`` and ``tunnel save``: another configuration for an interface that runs.

The work is done by the process that runs it, which knows the file that it came from; here is who asks, and who reads
the answer. Certificates are noticed without it when their files change; this is for being sure, and for seeing what is
wrong with them.
"""

import errno

import click

from tunnel.cli.completion import running
from tunnel.cli.places import Places, pass_places
from tunnel.control.reload_request import ReloadRequest, parse_seconds
from tunnel.control.uapi_client import CHANGE, request
from tunnel.errors import ControlError, TunnelError

PATIENCE = 60.0
"""Seconds: thousands of routes take their time."""


@click.command(
    epilog="""\b
Examples:
  tunnel reload wg0                 do what the file says now
  tunnel reload wg0 --dry-run       what would that be?
  tunnel reload wg0 --confirm 60s   and back again, unless `tunnel confirm wg0` follows
  tunnel cert renew /etc/tunnel/identity.pem && tunnel reload tunnel0
"""
)
@click.argument("target", metavar="NAME|FILE", shell_complete=running)
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
@click.option("--confirm", metavar="SECONDS", help="Go back then, unless `tunnel confirm` comes first.")
@pass_places
def reload(places: Places, target: str, dry_run: bool, confirm: str | None) -> None:
    """Read the configuration file again, and do what it says now.

    Peers that stay as they are do not notice. All of it is done, or nothing: if the file is not good, or a change is
    refused, that is said, and everything is as before. Table, Offload, Extensions, hooks and what belongs to Identity
    need a restart. An identity, its CAs and revocation lists are read again, too.
    """
    from tunnel.cli.identity_interface import parse_option

    seconds = None if confirm is None else parse_option("--confirm", parse_seconds, confirm)
    for line in ask(places, target, "reload", ReloadRequest(dry_run, seconds).to_text()).splitlines():
        click.echo(line.removeprefix(CHANGE))


@click.command(
    epilog="""\b
Example:
  tunnel reload wg0 --confirm 60s && tunnel confirm wg0
"""
)
@click.argument("target", metavar="NAME|FILE", shell_complete=running)
@pass_places
def confirm(places: Places, target: str) -> None:
    """Keep what `tunnel reload --confirm` has changed."""
    ask(places, target, "confirm", "confirm=1\n\n")


@click.command(
    epilog="""\b
Examples:
  tunnel save wg0
  tunnel peer remove wg0 xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg= && tunnel save wg0
"""
)
@click.argument("target", metavar="NAME|FILE", shell_complete=running)
@pass_places
def save(places: Places, target: str) -> None:
    """Write what runs now into the file that it came from.

    A section that says the same as before stays as it is written. One that has changed is written anew: comments in
    front of it stay, those inside are lost. Not written down are a port that was found free, and where a peer without
    an Endpoint happens to be.
    """
    ask(places, target, "save", "save=1\n\n")


def ask(places: Places, target: str, command: str, text: str) -> str:
    """The answer of the process that runs the interface. Raise `TunnelError`."""
    from tunnel.cli.config_file import interface_name

    name = interface_name(target)
    try:
        return request(name, text, PATIENCE, places.sockets)
    except ControlError as error:
        if error.errno == errno.EPROTO:  # hung up, or an answer of one of ours from before
            raise TunnelError(f"the process that runs {name} does not know {command}: restart it") from None
        raise

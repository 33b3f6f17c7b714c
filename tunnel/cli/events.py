"""``tunnel events``: what happens, a line of JSON each, when it happens.

    process of wg0 ──events=1──▶ thread ─┐
                                         ├─▶ queue ──▶ standard output, flushed line by line
    process of wg1 ──events=1──▶ thread ─┘

The lines are those of `tunnel.control.events`, as they come. A thread each, because reading is all that it does.
"""

import errno
import socket
from collections.abc import Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import click

from tunnel.cli.completion import running
from tunnel.cli.places import Places, pass_places
from tunnel.control.uapi_client import ControlClient, list_interfaces
from tunnel.errors import ControlError, TunnelError


@click.command(
    epilog="""\b
Examples:
  tunnel events
  tunnel events wg0 | jq -r 'select(.event == "peer_up") | .name // .peer'
  tunnel events | while read -r line; do logger -t vpn -- "$line"; done
"""
)
@click.argument("name", required=False, shell_complete=running)
@pass_places
def events(places: Places, name: str | None) -> None:
    """Print what happens from now on, as lines of JSON: of all interfaces that are up, or of NAME.

    Peers that come, go and roam, handshakes that nobody answers, certificates that are admitted, refused and removed.
    docs/status.md has every event with its members.

    Interfaces of other implementations do not tell. It ends with Ctrl-C, and with status 1 when an interface ends.
    """
    from tunnel.cli.config_file import check_name

    names = [check_name(name)] if name else list_interfaces(places.sockets)
    connections = {one: found for one in names if (found := _ask(one, places.sockets, is_needed=name is not None))}
    if not connections:
        raise TunnelError("no interface is up that tells what happens")
    print_lines(connections)


def _ask(name: str, directory: Path, *, is_needed: bool) -> socket.socket | None:
    """Where it tells; None if it is gone or another implementation. Raise `ControlError` if that is not wanted."""
    try:
        return ControlClient.connect(name, directory).subscribe("events=1\n\n")
    except ControlError as error:
        if is_needed or error.errno in (errno.EACCES, errno.ETIMEDOUT):
            raise
        return None


def print_lines(connections: Mapping[str, socket.socket]) -> None:
    """What they all tell, in the order in which it comes; raise `ControlError` as soon as one tells nothing more."""
    heard: SimpleQueue[str | ControlError] = SimpleQueue()
    for name, connection in connections.items():
        Thread(target=_listen, args=(name, connection, heard), daemon=True).start()
    while not isinstance(line := heard.get(), ControlError):
        click.echo(line)
    raise line


def _listen(name: str, connection: socket.socket, heard: "SimpleQueue[str | ControlError]") -> None:
    why = "its process has ended, or has hung up on us"
    connection.settimeout(None)
    try:
        with connection.makefile(encoding="ascii", errors="replace") as lines:
            for line in lines:
                heard.put(line.rstrip("\n"))
    except OSError as error:
        why = error.strerror or why
    heard.put(ControlError(f"{name}: {why}"))

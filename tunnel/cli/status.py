"""``tunnel status``: what the interfaces of this host are doing."""

import errno
import json
import socket
import sys
import time
from pathlib import Path

import click

from tunnel.cli.places import Places, pass_places
from tunnel.control.status import InterfaceStatus
from tunnel.control.uapi_client import ControlClient, list_interfaces
from tunnel.errors import ControlError

ENDED = (errno.ENOENT, errno.ECONNREFUSED)
"""An interface that is no longer there since it was listed."""

UNREACHABLE = (*ENDED, errno.EACCES, errno.ETIMEDOUT)
"""Anything else means that the process is there, and does not know our ``status``."""


@click.command(
    epilog="""\b
Examples:
  tunnel status
  tunnel status wg0
  tunnel status --json | jq '.[].peers[].last_handshake'
"""
)
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of interfaces (see tunnel.control.status).")
@pass_places
def status(places: Places, name: str | None, as_json: bool) -> None:
    """Show interfaces and their peers: all of them, or NAME.

    Interfaces of other userspace implementations are shown too, with what they tell.
    """
    statuses = [_ask(_checked(name), places.sockets)] if name else _ask_all(places.sockets)
    if as_json:
        click.echo(json.dumps([json.loads(one.to_json()) for one in statuses], indent=2))
    elif not statuses:
        click.echo("no interface is up")
    else:
        _show(statuses)


def _checked(name: str) -> str:
    from tunnel.cli.config_file import check_name

    return check_name(name)


def _ask_all(directory: Path) -> list[InterfaceStatus]:
    statuses = []
    for name in list_interfaces(directory):
        try:
            statuses.append(_ask(name, directory))
        except ControlError as error:
            if error.errno not in ENDED:
                raise
    return statuses


def _ask(name: str, directory: Path) -> InterfaceStatus:
    """What the process tells about itself, or only what UAPI's ``get`` tells if it is not one of ours."""
    try:
        with ControlClient.connect(name, directory) as client:
            return InterfaceStatus.from_json(client.request("status=1\n\n"))
    except (ControlError, ValueError) as error:
        if isinstance(error, ControlError) and error.errno in UNREACHABLE:
            raise
    return _ask_other(name, directory)


def _ask_other(name: str, directory: Path) -> InterfaceStatus:
    from tunnel.config.uapi import parse_get

    with ControlClient.connect(name, directory) as client:
        snapshot = parse_get(client.request("get=1\n\n"), socket.if_nametoindex)
        return InterfaceStatus.from_snapshot(snapshot, name=name)  # its pid may be that of a parent that is gone


def _show(statuses: list[InterfaceStatus]) -> None:
    from tunnel.cli import show

    sections = [section for one in statuses for section in show.describe(one, time.time())]
    if sys.stdout.isatty():
        show.print_colours(sections)
    else:
        click.echo(show.plain_text(sections))

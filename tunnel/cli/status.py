"""``tunnel status``: what the interfaces of this host are doing."""

import errno
import json
import socket
import sys
import time
from pathlib import Path

import click

from tunnel.cli.completion import running
from tunnel.cli.places import Places, pass_places
from tunnel.control.status import InterfaceStatus
from tunnel.control.uapi_client import ControlClient, list_interfaces
from tunnel.errors import ControlError

ENDED = (errno.ENOENT, errno.ECONNREFUSED)
"""An interface that is no longer there since it was listed."""

SHORTEST = 0.1
"""Seconds between two looks: more often than that would be work for the daemon that nobody can see."""

_DAY = 86400

UNREACHABLE = (*ENDED, errno.EACCES, errno.ETIMEDOUT)
"""Anything else means that the process is there, and does not know our ``status``."""


def _interval(context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """Seconds, of which there may be none: then what follows the option is taken for them, so say what to do."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        why = f"'{value}' is no number of seconds; NAME goes in front: tunnel status {value} --watch"
        raise click.BadParameter(why, context, option) from None
    if not SHORTEST <= seconds <= _DAY:
        raise click.BadParameter(f"{value} is not from {SHORTEST:g} s to a day", context, option)
    return seconds


@click.command(
    epilog="""\b
Examples:
  tunnel status
  tunnel status wg0
  tunnel status wg0 --watch         who sends how much now; Ctrl-C ends it
  tunnel status --watch 60 >>wg.log     everything, once a minute
  tunnel status --json | jq '.[].peers[].last_handshake'
"""
)
@click.argument("name", required=False, shell_complete=running)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of interfaces (docs/status.md).")
@click.option(
    "--watch",
    callback=_interval,
    is_flag=False,
    flag_value="2",
    metavar="[SECONDS]",
    help="Look again every 2 (or so many) seconds, with rates.",
)
@pass_places
def status(places: Places, name: str | None, as_json: bool, watch: float | None) -> None:
    """Show interfaces and their peers: all of them, or NAME.

    Interfaces of other userspace implementations are shown too, with what they tell.
    """
    if as_json and watch is not None:
        raise click.UsageError("--json prints once: leave --watch away, or see tunnel events")
    statuses = [ask(_checked(name), places.sockets)] if name else _ask_all(places.sockets)
    if watch is not None:
        _watch(name, places.sockets, watch)
    elif as_json:
        click.echo(json.dumps([json.loads(one.to_json()) for one in statuses], indent=2))
    else:
        _show(statuses)


def _watch(name: str | None, directory: Path, interval: float) -> None:
    """An interface that ends meanwhile is waited for."""
    from tunnel.cli import watch

    def take() -> list[InterfaceStatus]:
        return _ask_each([name], directory) if name else _ask_all(directory)

    seen = watch.looks(take, interval)
    (watch.show_live if sys.stdout.isatty() else watch.print_plain)(seen)


def _checked(name: str) -> str:
    from tunnel.cli.config_file import check_name

    return check_name(name)


def _ask_all(directory: Path) -> list[InterfaceStatus]:
    return _ask_each(list_interfaces(directory), directory)


def _ask_each(names: list[str], directory: Path) -> list[InterfaceStatus]:
    """Of those that are still there."""
    statuses = []
    for name in names:
        try:
            statuses.append(ask(name, directory))
        except ControlError as error:
            if error.errno not in ENDED:
                raise
    return statuses


def ask(name: str, directory: Path) -> InterfaceStatus:
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
    if not statuses:
        click.echo(show.NOTHING)
    elif sys.stdout.isatty():
        show.print_colours(sections)
    else:
        click.echo(show.plain_text(sections))

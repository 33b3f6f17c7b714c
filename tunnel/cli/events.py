"""``tunnel events``: what happens, a line of JSON each, when it happens.

    process of wg0 ──events=1──▶ thread ─┐
                                         ├─▶ queue ──▶ standard output, flushed line by line
    process of wg1 ──events=1──▶ thread ─┘
         ▲
         └─ new sockets in the folder, looked for all the time

The lines are those of `tunnel.control.events`, as they come. A thread each, because asking and reading is all it does.
"""

import errno
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

import click

from tunnel.cli.completion import running
from tunnel.cli.places import Places, pass_places
from tunnel.control.uapi_client import ControlClient, SocketIdentity, find_sockets, is_answered, socket_path
from tunnel.errors import ControlError

INTERVAL = 0.2
"""Seconds between looks at the folder of the sockets: what a new interface tells earlier is not heard."""


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

    Without NAME it takes interfaces that come up later, too, and goes on when one ends; with NAME it ends with status 1
    then. Interfaces of other implementations do not tell.
    """
    from tunnel.cli.config_file import check_name

    if name is not None:
        print_lines_of(check_name(name), places.sockets)
    else:
        _Everybody(places.sockets).print_lines()


@dataclass(frozen=True, slots=True)
class _Silence:
    """An interface tells nothing more, or never told anything; `socket` is None if it was asked for by name."""

    socket: SocketIdentity | None
    has_told: bool
    error: ControlError


_Heard = SimpleQueue[str | _Silence]


def print_lines_of(name: str, directory: Path) -> None:
    """What one interface tells; raise `ControlError` as soon as it tells nothing more."""
    heard = _Heard()
    _listen_beside(name, None, directory, heard)
    while not isinstance(line := heard.get(), _Silence):
        click.echo(line)
    raise line.error


class _Everybody:
    """All interfaces whose sockets are in `directory`, now and later."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._heard = _Heard()
        self._asked = set[SocketIdentity | None]()
        """Sockets, since an interface may be renamed: who tells, and of whom we know that they do not."""
        self._silent: dict[SocketIdentity | None, ControlError] = {}
        """Who has told and tells no more, until the next look: is its interface gone?"""

    def print_lines(self) -> None:
        """What they tell, in the order in which it comes, for ever; raise `ControlError` if we may not ask."""
        self._look()
        if not self._asked:
            click.echo("no interface is up yet", err=True)
        looked_at = time.monotonic()
        while True:
            with suppress(Empty):
                self._take(self._heard.get(timeout=INTERVAL))
            if time.monotonic() - looked_at >= INTERVAL:
                self._look()
                looked_at = time.monotonic()

    def _look(self) -> None:
        """Ask whom we have not asked yet, and forget those who are gone."""
        there = find_sockets(self._directory)
        self._asked.intersection_update(there.values())
        for name, socket in there.items():
            error = self._silent.get(socket)
            if (socket in self._asked and error is None) or not is_answered(socket_path(name, self._directory)):
                continue
            if error is not None:
                raise error  # it runs on, so it was us: too slow, or too many
            self._asked.add(socket)
            _listen_beside(name, socket, self._directory, self._heard)
        self._asked.difference_update(self._silent)  # what a killed process has left may be made anew
        self._silent.clear()

    def _take(self, heard: str | _Silence) -> None:
        if isinstance(heard, str):
            click.echo(heard)
        elif heard.error.errno == errno.EACCES:
            raise heard.error
        elif heard.has_told:
            click.echo(str(heard.error), err=True)
            self._silent[heard.socket] = heard.error


def _listen_beside(name: str, socket: SocketIdentity | None, directory: Path, heard: _Heard) -> None:
    Thread(target=_listen, args=(name, socket, directory, heard), daemon=True).start()


def _listen(name: str, socket: SocketIdentity | None, directory: Path, heard: _Heard) -> None:
    """Put into `heard` what the interface tells, line by line, and in the end why there is no more."""
    has_told = False
    try:
        connection = ControlClient.connect(name, directory).subscribe("events=1\n\n")
        connection.settimeout(None)
        with connection, connection.makefile(encoding="ascii", errors="replace") as lines:
            for line in lines:
                has_told = True
                heard.put(line.rstrip("\n"))
        error = ControlError(f"{name}: its process has ended, or has hung up on us")
    except ControlError as refusal:
        error = refusal
    except OSError as broken:
        error = ControlError(f"{name}: {broken.strerror or broken}", broken.errno or 0)
    heard.put(_Silence(socket, has_told, error))

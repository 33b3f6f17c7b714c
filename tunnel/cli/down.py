"""``tunnel down``: stop the process that runs an interface, and see it gone.

A process is named by a descriptor (pidfd_open(2)) and not by its number, which could be another's by the time of the
signal. The process answers us after the descriptor was opened, so it is the one that has the socket.
"""

import errno
import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tunnel.cli.completion import running
from tunnel.cli.places import Places, pass_places
from tunnel.control.status import InterfaceStatus
from tunnel.control.uapi_client import ControlClient, is_answered, socket_path
from tunnel.errors import ControlError, TunnelError

PATIENCE = 30.0
"""Seconds for the process to end; PreDown and PostDown run in this time."""


@click.command(
    epilog="""\b
Examples:
  tunnel down wg0
  tunnel down ./office.conf
"""
)
@click.argument("target", metavar="NAME|FILE", shell_complete=running)
@click.option("--timeout", default=PATIENCE, show_default=True, metavar="SECONDS", help="How long it may take.")
@pass_places
def down(places: Places, target: str, timeout: float) -> None:
    """Stop an interface; everything is put back.

    Wherever its process runs, it is asked to end as with Ctrl-C, so its PreDown and PostDown run, and SaveConfig is
    honoured.
    """
    from tunnel.cli.config_file import interface_name

    name = interface_name(target)
    with ControlClient.connect(name, places.sockets) as client, _process(client) as process:
        _check_ours(client)
        _ask_to_end(client, process)
        _wait_for_end(process, f"{name}: process {client.pid}", timeout)
    _remove_left_over(socket_path(name, places.sockets))


@contextmanager
def _process(client: ControlClient) -> Iterator[int]:
    """A descriptor of the process at the other end; -1 if there is none by that number.

    Then it either just ended, or is another implementation: wireguard-go starts one process to listen and goes on in
    a second.
    """
    try:
        descriptor = os.pidfd_open(client.pid) if client.pid else -1
    except OSError:
        descriptor = -1
    try:
        yield descriptor
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _check_ours(client: ControlClient) -> None:
    """Only our own processes understand ``status``, and only they promise to clean up after SIGTERM."""
    try:
        InterfaceStatus.from_json(client.request("status=1\n\n"))
    except (ControlError, ValueError) as error:
        if isinstance(error, ControlError) and error.errno == errno.ETIMEDOUT:
            raise TunnelError(f"{error}; to end it: kill {client.pid}") from None
        remedy = f"ip link delete {client.name}"
        raise TunnelError(f"{client.name} is run by another program, not by tunnel; to end it: {remedy}") from None


def _ask_to_end(client: ControlClient, process: int) -> None:
    if process < 0:
        raise TunnelError(f"{client.name} is run by a process that cannot be seen from this container: stop it there")
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
    except ProcessLookupError:  # it ended by itself just now
        pass
    except PermissionError:
        raise TunnelError(f"{client.name}: only root may stop process {client.pid}") from None


def _wait_for_end(process: int, who: str, timeout: float) -> None:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    if not poll.poll(timeout * 1000):
        raise TunnelError(f"{who} was asked to end but still runs after {timeout:g} s; see its log")


def _remove_left_over(path: Path) -> None:
    """The process removes its own socket, unless something else killed it meanwhile. The interface is gone with it."""
    if path.is_socket() and not is_answered(path):
        path.unlink(missing_ok=True)

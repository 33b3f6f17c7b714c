"""Where commands look for files: a value that every command gets, so that tests can point it elsewhere."""

from dataclasses import dataclass
from pathlib import Path

import click

from tunnel.control.uapi_client import SOCKET_DIRECTORY

IDENTITY = Path("/etc/tunnel/identity.pem")


@dataclass(frozen=True, slots=True)
class Places:
    """`sockets` holds one control socket per interface; the first of `configs` that has NAME.conf is taken.

    `identity` is who this host is, unless it is told otherwise.
    """

    sockets: Path = SOCKET_DIRECTORY
    configs: tuple[Path, ...] = (Path("/etc/tunnel"), Path("/etc/wireguard"))
    identity: Path = IDENTITY


pass_places = click.make_pass_decorator(Places, ensure=True)
"""Gives a command the places of its context, the system's own unless it was invoked with others."""

"""``tunnel reload``: have the process that runs an interface read its certificates again.

It notices by itself when one of the files changes; this is for being sure, and for seeing what is wrong with them.
"""

import errno

import click

from tunnel.cli.completion import running
from tunnel.cli.places import Places, pass_places
from tunnel.control.uapi_client import request
from tunnel.errors import ControlError, TunnelError


@click.command(
    epilog="""\b
Examples:
  tunnel reload tunnel0
  tunnel cert renew /etc/tunnel/identity.pem && tunnel reload tunnel0
"""
)
@click.argument("target", metavar="NAME|FILE", shell_complete=running)
@pass_places
def reload(places: Places, target: str) -> None:
    """Read identity, CAs and revocation lists again.

    If one of them is not good, that is said, and what was read before stays in force.
    """
    from tunnel.cli.config_file import interface_name

    name = interface_name(target)
    try:
        request(name, "reload=1\n\n", directory=places.sockets)
    except ControlError as error:
        if error.errno == errno.EPROTO:  # hung up, or an answer of one of ours from before
            raise TunnelError(f"the process that runs {name} does not know reload: restart it") from None
        raise

"""``tunnel up``: an interface from a wg-quick file, or from an identity and options."""

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunnel.cli import background
from tunnel.cli.completion import configured, files
from tunnel.cli.interrupts import EndedAtOnce
from tunnel.cli.places import IDENTITY, Places, pass_places
from tunnel.errors import ConfigError

if TYPE_CHECKING:
    from tunnel.cli.config_file import ConfigFile
    from tunnel.cli.identity_interface import IdentityInterface, IdentityOptions
    from tunnel.config.model import TunnelConfig


@click.command(
    epilog="""\b
Examples:
  tunnel up wg0             /etc/tunnel/wg0.conf, else /etc/wireguard/wg0.conf, until Ctrl-C
  tunnel up -d wg0          the same, in the background; returns when the interface is ready
  tunnel up -d wg0 2>>wg0.log   with the log in a file instead of syslog
  tunnel up -v ./office.conf

\b
With a certificate from `tunnel cert`:
  tunnel up --peer gw.example.com   who we are is in /etc/tunnel/identity.pem
  tunnel up -d --allow 'laptop-*'   a gateway that only these may join
"""
)
@click.argument("target", metavar="[NAME|FILE]", required=False, shell_complete=configured)
@click.option("--peer", multiple=True, metavar="HOST[:PORT]", help="Dial it; of several, whoever answers first.")
@click.option(
    "--identity", metavar="FILE", shell_complete=files, help=f"Our key and certificate.  [default: {IDENTITY}]"
)
@click.option(
    "--ca", multiple=True, metavar="FILE", shell_complete=files, help="Trust this CA besides those in the identity."
)
@click.option("--crl", multiple=True, metavar="FILE", shell_complete=files, help="What a CA has revoked.")
@click.option("--allow", multiple=True, metavar="PATTERN", help="Only who has such a name may join; * and ? are wild.")
@click.option("--max-peers", metavar="N", help="How many may join.  [default: 1000]")
@click.option("--port", metavar="N", help="Listen here.  [default: 51820 if others may dial us, else any]")
@click.option(
    "--passphrase-file", metavar="FILE", shell_complete=files, help="Its first line unlocks the identity's key."
)
@click.option("-d", "--detach", is_flag=True, help="Return when the interface is ready, and leave it running.")
@click.option("-v", "--verbose", is_flag=True, help="Log every handshake, retry and change.")
@click.option("--ready-fd", type=int, hidden=True)
@click.pass_context
@pass_places
def up(
    places: Places,
    context: click.Context,
    /,
    target: str | None,
    passphrase_file: str | None,
    detach: bool,
    verbose: bool,
    ready_fd: int | None,
    **options: Any,
) -> None:
    """Bring an interface up as a wg-quick file says, or with a certificate.

    Without NAME or FILE, or with any option from --peer to --port, no configuration file is read: the certificate says
    the rest, and NAME is only what to call the interface (tunnel0 by default).

    It ends, and everything is put back, with Ctrl-C, `tunnel down`, or when the interface is deleted.
    """
    from tunnel.cli.identity_interface import IdentityOptions, parse_file, parse_option
    from tunnel.daemon.log import level_from

    interface = find_interface(target, IdentityOptions(**options), places)
    secret = None if passphrase_file is None else parse_option("--passphrase-file", parse_file, passphrase_file)
    level = level_from(int(verbose), os.environ)
    if detach:
        flags = [*(["--verbose"] if verbose else []), *([f"--passphrase-file={secret}"] if secret else [])]
        context.exit(background.start(background.own_command("tunnel", "up", *flags, *interface.arguments())))

    config = interface.read()
    passphrase = find_passphrase(config, secret)
    with EndedAtOnce():
        from tunnel.daemon.privileges import shed

        kept = shed(config, interface.path)  # before the next import, which starts threads
        from tunnel.daemon.service import run

    background.run_interface(
        interface.name,
        partial(run, interface.name, config, path=interface.path, passphrase=passphrase),
        level=level,
        ready_fd=ready_fd,
        keep_stderr=background.is_stderr_a_file(),
        remark=kept,
    )


def find_interface(target: str | None, options: "IdentityOptions", places: Places) -> "ConfigFile | IdentityInterface":
    """A configuration file, unless there are options in place of one, or nothing at all. Raise `ConfigError`."""
    from tunnel.cli.config_file import ConfigFile, may_be_there
    from tunnel.cli.identity_interface import IdentityInterface
    from tunnel.daemon.service_credentials import stand_in

    if target is not None and not options.first:
        return ConfigFile.find(target, places.configs)
    for file in [directory / f"{target}.conf" for directory in places.configs]:
        if target is not None and may_be_there(file):
            why = f"{options.first} goes without a configuration file: put it in there, or choose another name"
            raise ConfigError(why, source=str(file))
    return IdentityInterface.find(target, options, stand_in(places.identity))


def find_passphrase(config: "TunnelConfig", file: Path | None) -> bytes | None:
    """What unlocks the identity's key, from `file` or asked for on the terminal; None: there is nothing to unlock.

    Raise `ConfigError`. Only somebody with certificates pays for importing what reads them.
    """
    certificates = config.interface.certificates
    if certificates is None:
        if file is not None:
            raise ConfigError("the configuration has no Identity that it could unlock", key="--passphrase-file")
        return None
    from tunnel.cli.secret_files import known_passphrase
    from tunnel.daemon.identity import IdentityFiles, read_identity
    from tunnel.pki.store import is_encrypted

    IdentityFiles(certificates.identity, certificates.authorities, certificates.crls).check_there()
    if file is None and not is_encrypted(read_identity(certificates.identity)):
        return None
    return known_passphrase(file, str(certificates.identity), "--passphrase-file")

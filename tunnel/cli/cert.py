"""``tunnel cert``: a CA in a folder, which issues (`cert_issue`) and revokes, and what it issued (`cert_show`)."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from string import hexdigits
from typing import NoReturn

import click

from tunnel.cli.ca_folder import CRL, CaFolder, check_vacant, create_folder
from tunnel.cli.cert_issue import issue, read_leaf, renew
from tunnel.cli.cert_options import (
    ask_passphrase_option,
    ca_dir_option,
    ca_passphrase_option,
    days_option,
    file_option,
    parse_network,
    several,
)
from tunnel.cli.cert_show import show, verify
from tunnel.cli.secret_files import new_passphrase
from tunnel.config.patch import IPNetwork
from tunnel.errors import ConfigError
from tunnel.pki.authority import create_authority
from tunnel.pki.ledger import Entry, Ledger, format_serial
from tunnel.pki.store import blaming
from tunnel.pki.validity import format_time


class InOrder(click.Group):
    """Lists its commands in the order in which they were added, which is that of their use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)


@click.group(
    cls=InOrder,
    epilog="""\b
Examples:
  tunnel cert ca
  tunnel cert issue gw --address 10.9.0.1 --transit 10.9.0.0/24 --server --dns gw.example.com
  tunnel cert issue laptop --address 10.9.0.2
  tunnel cert show laptop.pem
  tunnel cert revoke laptop
""",
)
def cert() -> None:
    """Issue certificates, check and revoke them."""


@click.command(
    epilog="""\b
Examples:
  tunnel cert ca
  tunnel cert ca --ca-dir /root/ca --name 'Example VPN' --network 10.9.0.0/16 --passphrase
"""
)
@ca_dir_option
@click.option("--name", default="tunnel CA", show_default=True, help="What it is called.")
@several("--network", parse_network, "Let it issue only what is inside; repeatable.", "NETWORK")
@days_option(3650)
@file_option("--passphrase-file", "--ca-passphrase-file", help_text="Its first line protects the CA's key.")
@ask_passphrase_option
def ca(
    ca_dir: Path,
    name: str,
    network: tuple[IPNetwork, ...],
    days: int,
    passphrase_file: Path | None,
    ask_passphrase: bool,
) -> None:
    """Make a certificate authority in a folder."""
    check_vacant(ca_dir)
    with blaming(name):
        authority = create_authority(name, os.urandom, time.time(), days=days, networks=network)
    create_folder(ca_dir, authority, new_passphrase(passphrase_file, ask=ask_passphrase))
    click.echo(f"{ca_dir}: {name}, until {format_time(authority.certificate.not_valid_after_utc.timestamp())}")


@click.command(
    epilog="""\b
Examples:
  tunnel cert revoke laptop
  tunnel cert revoke laptop.pem
  tunnel cert revoke 3F9A0C…            a serial number, from tunnel cert show
"""
)
@click.argument("who", metavar="NAME|FILE|SERIAL")
@days_option(30)
@ca_dir_option
@ca_passphrase_option
def revoke(who: str, days: int, ca_dir: Path, ca_passphrase_file: Path | None) -> None:
    """Take certificates back.

    All that a host has, or a single one by its serial number; their addresses are free again.

    Writes a new revocation list, valid for --days; hosts believe a revoked certificate until they have it.
    """
    now = time.time()
    with CaFolder.open(ca_dir, ca_passphrase_file) as folder:
        entries = _find_entries(folder.ledger, who, now)
        folder.save(folder.ledger.with_revoked([entry.serial for entry in entries], now))
        folder.renew_crl(now, days)
    for entry in entries:
        click.echo(f"revoked {entry.name}, serial {format_serial(entry.serial)}")
    click.echo(f"{ca_dir / CRL}: give it to every host")


@click.command(
    epilog="""\b
Example:
  tunnel cert crl --days 7              before the last list expires, from cron for instance
"""
)
@days_option(30)
@ca_dir_option
@ca_passphrase_option
def crl(days: int, ca_dir: Path, ca_passphrase_file: Path | None) -> None:
    """Make the revocation list anew.

    It replaces crl.pem in the CA's folder, and holds for another --days.
    """
    now = time.time()
    with CaFolder.open(ca_dir, ca_passphrase_file) as folder:
        folder.renew_crl(now, days)
        count = len(folder.ledger.revoked)
    click.echo(f"{ca_dir / CRL}: {count} revoked, until {format_time(now + days * 86400)}")


def _find_entries(ledger: Ledger, who: str, now: float) -> Sequence[Entry]:
    """The valid ones that a person means by a name, a file (what its host has) or a serial number (that one alone).

    Raise `ConfigError` if there are none.
    """
    name = who
    if not ledger.has(who):
        is_file = os.path.isfile(who)
        serial = read_leaf(Path(who)).serial_number if is_file else _parse_serial(who)
        entry = ledger.find(serial)
        if entry is None:
            raise ConfigError("neither a name, nor a file, nor a serial number that was issued here", source=who)
        if not is_file:
            return [entry] if entry.is_valid(now) else _nothing_valid(who)
        name = entry.name
    return ledger.valid_of(name, now) or _nothing_valid(who)


def _nothing_valid(who: str) -> NoReturn:
    raise ConfigError("nothing to revoke: expired, or revoked already", source=who)


def _parse_serial(text: str) -> int:
    """As `openssl x509 -serial` prints it, or with colons as -text does; -1, which nobody has, for anything else."""
    digits = text.replace(":", "")
    return int(digits, 16) if digits and not set(digits) - set(hexdigits) else -1


for command in (ca, issue, show, verify, renew, revoke, crl):
    cert.add_command(command)

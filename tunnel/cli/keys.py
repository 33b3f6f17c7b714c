"""``genkey``, ``pubkey``, ``genpsk``: what ``wg`` calls by the same names, with the same output."""

import os
import stat
import sys

import click

from tunnel.errors import TunnelError

MAX_INPUT = 4096
"""Bytes of standard input that are looked at; a key has 44."""


@click.command(
    epilog="""\b
Examples:
  umask 077; tunnel genkey > private.key
  tunnel genkey | tee private.key | tunnel pubkey > public.key
"""
)
def genkey() -> None:
    """Print a new private key."""
    from tunnel.keys import PrivateKey

    _warn_if_world_accessible()
    click.echo(PrivateKey.generate(os.urandom).to_base64())


@click.command(
    epilog="""\b
Example:
  tunnel pubkey < private.key
"""
)
def pubkey() -> None:
    """Read a private key from standard input, print its public key."""
    from tunnel.keys import PrivateKey

    text = sys.stdin.buffer.read(MAX_INPUT).decode("ascii", "replace").strip()
    try:
        key = PrivateKey.from_base64(text)
    except ValueError as error:
        raise TunnelError(f"standard input: {error}") from None
    click.echo(str(key.public_key))


@click.command(
    epilog="""\b
Example:
  umask 077; tunnel genpsk > preshared.key
"""
)
def genpsk() -> None:
    """Print a new preshared key."""
    from tunnel.keys import PresharedKey

    _warn_if_world_accessible()
    click.echo(PresharedKey.generate(os.urandom).to_base64())


def _warn_if_world_accessible() -> None:
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except (OSError, ValueError):  # closed, or not a file at all
        return
    if stat.S_ISREG(mode) and mode & stat.S_IRWXO:
        click.echo("tunnel: warning: writing a secret to a world-accessible file; try again after umask 077", err=True)

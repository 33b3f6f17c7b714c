"""Files with secrets in them, and the words that protect those: how they are replaced, and who is asked.

A file is written beside its place and moved there when it is whole, so that nobody ever finds half of one, and an error
leaves what was there before. How they are read is `tunnel.daemon.identity`'s, which has to read them too.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from tunnel.daemon.identity import read_secret
from tunnel.errors import ConfigError
from tunnel.pki.store import MAX_PASSPHRASE

PRIVATE = 0o600
PUBLIC = 0o644


@contextmanager
def prepared_file(path: Path, data: bytes, mode: int, *, overwrite: bool) -> Iterator[Callable[[], None]]:
    """Write `data` beside `path`; what this yields moves it there. Without that call nothing stays behind.

    Raise `ConfigError`: there is something already and `overwrite` is false, or it cannot be written.
    """
    target = Path(os.path.realpath(path))  # a link stays one
    try:
        check_free(path, overwrite=overwrite)
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with open(descriptor, "wb") as file:
                os.fchmod(descriptor, mode)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            yield lambda: os.replace(name, target)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)
    except OSError as error:
        raise ConfigError(error.strerror or str(error), source=str(path)) from None


def write_file(path: Path, data: bytes, mode: int, *, overwrite: bool) -> None:
    """As `prepared_file`, at once."""
    with prepared_file(path, data, mode, overwrite=overwrite) as publish:
        publish()


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise `ConfigError` if there is something that must stay."""
    if os.path.exists(path) and not os.path.isfile(path):  # unlike a Path's, these are false for what cannot be asked
        raise ConfigError("not a file", source=str(path))
    if not overwrite and os.path.lexists(path):
        raise ConfigError("exists already; --force overwrites it", source=str(path))


# ---- passphrases ------------------------------------------------------------------------------------------------


def read_passphrase(path: Path) -> bytes:
    """The first line of a file; raise `ConfigError`."""
    line = read_secret(path).partition(b"\n")[0].removesuffix(b"\r")
    if not line:
        raise ConfigError("no passphrase in its first line", source=str(path))
    if len(line) > MAX_PASSPHRASE:
        raise ConfigError(f"its first line is longer than {MAX_PASSPHRASE} bytes", source=str(path))
    return line


def new_passphrase(path: Path | None, *, ask: bool) -> bytes | None:
    """What is to protect a new key: from a file, asked for twice, or nothing."""
    if path is not None:
        return read_passphrase(path)
    if not ask:
        return None
    if not sys.stdin.isatty():
        raise ConfigError("there is no terminal to ask on; --passphrase-file names a file", key="--passphrase")
    return _checked(click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True))


def known_passphrase(path: Path | None, source: str, option: str) -> bytes:
    """What protects the key in `source`: from a file, or asked for on a terminal."""
    if path is not None:
        return read_passphrase(path)
    if not sys.stdin.isatty():
        raise ConfigError(f"its private key is encrypted; {option} FILE names the passphrase's file", source=source)
    return _checked(click.prompt(f"Passphrase of {source}", hide_input=True, err=True))


def _checked(text: str) -> bytes:
    raw = text.encode()
    if len(raw) > MAX_PASSPHRASE:
        raise ConfigError(f"the passphrase is longer than {MAX_PASSPHRASE} bytes")
    return raw

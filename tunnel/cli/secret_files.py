"""Files with secrets in them, and the words that protect those: who may read them, and how they are replaced.

A file is written beside its place and moved there when it is whole, so that nobody ever finds half of one, and an error
leaves what was there before.
"""

import os
import shlex
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from tunnel.config.quick import is_world_accessible
from tunnel.errors import ConfigError
from tunnel.pki.store import MAX_PASSPHRASE, has_private_key

PRIVATE = 0o600
PUBLIC = 0o644

MAX_FILE = 16 << 20
"""Bytes that are read of anything; the ledger of a CA with fifty thousand entries has these."""


def read_file(path: Path) -> bytes:
    """A file without secrets; raise `ConfigError` if it cannot be read."""
    return _read(path)[0]


def read_secret(path: Path) -> bytes:
    """Raise `ConfigError` if it cannot be read, or everybody can read or change it."""
    raw, is_open = _read(path)
    if is_open:
        raise _open_to_all(path)
    return raw


def read_identity(path: Path) -> bytes:
    """As `read_secret` if there is a private key in it, as `read_file` if there are only certificates."""
    raw, is_open = _read(path)
    if is_open and has_private_key(raw):
        raise _open_to_all(path)
    return raw


def _read(path: Path) -> tuple[bytes, bool]:
    """What is in it, and whether it is a file that everybody can read or change."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            is_open = stat.S_ISREG(mode) and is_world_accessible(mode, path.resolve().parent.stat().st_mode)
            return file.read(MAX_FILE), is_open
    except OSError as error:
        raise ConfigError(error.strerror or str(error), source=str(path)) from None


def _open_to_all(path: Path) -> ConfigError:
    remedy = f"chmod 600 {shlex.quote(str(path))}"
    return ConfigError(f"holds a secret, and everybody may read or change it: {remedy}", source=str(path))


@contextmanager
def prepared_file(path: Path, data: bytes, mode: int, *, overwrite: bool) -> Iterator[Callable[[], None]]:
    """Write `data` beside `path`; what this yields moves it there. Without that call nothing stays behind.

    Raise `ConfigError`: there is something already and `overwrite` is false, or it cannot be written.
    """
    target = path.resolve()  # a link stays one
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
    if path.exists() and not path.is_file():
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

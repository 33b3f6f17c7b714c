"""A configuration file of which we know the path: its text, if nobody but its owner may see or change it."""

import contextlib
import os
import shlex
from pathlib import Path

from tunnel.config.model import TunnelConfig
from tunnel.config.quick import decode_quick, format_quick, is_world_accessible, parse_quick
from tunnel.config.quick_sections import MAX_FILE_SIZE
from tunnel.config.rewrite import rewrite_quick
from tunnel.daemon.service_credentials import stand_in
from tunnel.errors import ConfigError


def read_config(path: Path) -> TunnelConfig:
    """Read the file once. Raise `ConfigError`, also if everybody can read the secrets in it, or write its hooks."""
    return parse_quick(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The same, but not what the text means."""
    source = str(path)
    path = stand_in(path)
    try:
        with path.open("rb") as file:
            modes = os.fstat(file.fileno()).st_mode, path.resolve().parent.stat().st_mode
            raw = file.read(MAX_FILE_SIZE + 1)
    except OSError as error:
        raise ConfigError(error.strerror or str(error), source=source) from None
    if is_world_accessible(*modes):
        remedy = f"chmod 600 {shlex.quote(source)}"
        raise ConfigError(f"may hold a private key, and everybody may read or change it: {remedy}", source=source)
    return decode_quick(raw, source)


def write_config(path: Path, config: TunnelConfig) -> None:
    """Write `config` over the file, at once or not at all; a link to it stays one.

    Sections that say the same as before are left as they are written, with their comments, if the file still is one of
    ours. Owner and group stay, and what they may do; others may nothing. Raise `ConfigError`, with the file as it was.
    """
    target = path.resolve()
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        text = rewrite_quick(read_text(path), config)
    except ConfigError:  # gone, or spoilt meanwhile
        text = format_quick(config)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "w") as file:
            _take_after(descriptor, target)
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):  # on a read-only file system even what is not there cannot be removed
            temporary.unlink()
        raise ConfigError(f"cannot save the configuration: {error.strerror}", source=str(path)) from None


def _take_after(descriptor: int, old: Path) -> None:
    """Give the new file the owner and the mode of the one that it replaces, as far as we may."""
    with contextlib.suppress(FileNotFoundError, PermissionError):
        status = old.stat()
        os.fchmod(descriptor, status.st_mode & 0o770)  # as long as it is ours
        os.fchown(descriptor, status.st_uid, status.st_gid)

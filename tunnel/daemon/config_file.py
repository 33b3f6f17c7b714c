"""A configuration file of which we know the path: its text, if nobody but its owner may see or change it."""

import os
import shlex
from pathlib import Path

from tunnel.config.model import TunnelConfig
from tunnel.config.quick import decode_quick, is_world_accessible, parse_quick
from tunnel.config.quick_sections import MAX_FILE_SIZE
from tunnel.errors import ConfigError


def read_config(path: Path) -> TunnelConfig:
    """Read the file once. Raise `ConfigError`, also if everybody can read the secrets in it, or write its hooks."""
    return parse_quick(read_text(path), str(path))


def read_text(path: Path) -> str:
    """The same, but not what the text means."""
    source = str(path)
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

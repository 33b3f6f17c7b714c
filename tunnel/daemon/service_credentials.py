"""Files that systemd hands to a service which may not read them itself: ``LoadCredential=`` in its unit.

    LoadCredential=wg0.conf:/root/wg0.conf     root reads it ──▶ $CREDENTIALS_DIRECTORY/wg0.conf, in memory

A credential stands in for the file of the same name, and only if we cannot read that one: it is a copy, made when the
service was started, while a file that is changed or renewed is read again where it is. What the file is called in
messages, and what paths in it are relative to, stays as it was. An empty credential counts as none: a unit may have one
as the default for a file that need not be there.
"""

import os
from collections.abc import Mapping
from pathlib import Path


def stand_in(path: Path, environment: Mapping[str, str] = os.environ) -> Path:
    """Where to read what is meant by `path`: there, or what was handed to us in its place."""
    directory = environment.get("CREDENTIALS_DIRECTORY")
    if not directory or os.access(path, os.R_OK):
        return path
    credential = Path(directory, path.name)
    return credential if _has_content(credential) else path


def _has_content(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return bool(file.read(64).strip())
    except OSError:
        return False

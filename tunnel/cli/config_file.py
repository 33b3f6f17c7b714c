"""The configuration file that a command means, and whether we may use it.

A name stands for the first NAME.conf of the configuration directories; what has a slash in it, or is a file NAME.conf
right here, is a path. Either way the interface is called as the file is.
"""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunnel.config.model import TunnelConfig
from tunnel.config.quick import decode_quick, is_world_accessible, parse_quick
from tunnel.config.quick_sections import MAX_FILE_SIZE
from tunnel.errors import ConfigError
from tunnel.tun.attach import NAME

SUFFIX = ".conf"


def check_name(name: str) -> str:
    """The name, if an interface can have it; raise `ConfigError` otherwise."""
    if not NAME.fullmatch(name) or name in (".", ".."):
        raise ConfigError(f"'{name}' is no interface name: 1 to 15 of a-z A-Z 0-9 _ = + . -")
    return name


def interface_name(target: str) -> str:
    """What the interface that a person means by a name or a path is called."""
    return check_name(Path(target).name.removesuffix(SUFFIX) if is_path(target) else target)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A file that is there, by an absolute path, and the interface that it is for."""

    name: str
    path: Path

    @classmethod
    def find(cls, target: str, directories: Sequence[Path]) -> "ConfigFile":
        """Raise `ConfigError` if there is none. One that we may not even look for is for `read` to complain about."""
        name = interface_name(target)
        if is_path(target):
            if not target.endswith(SUFFIX):
                raise ConfigError(f"the name has to end in {SUFFIX}", source=target)
            candidates = [Path(target).absolute()]
        else:
            candidates = [directory / f"{name}{SUFFIX}" for directory in directories]
        for path in candidates:
            if may_be_there(path):
                return cls(name, path)
        raise ConfigError(f"no configuration: {' and '.join(map(str, candidates))} not found", source=name)

    def arguments(self) -> list[str]:
        """What makes `tunnel up` come to the same file, wherever it is run."""
        return [str(self.path)]

    def read(self) -> TunnelConfig:
        """Read the file once. Raise `ConfigError`, also if everybody can read the secrets in it, or write its hooks."""
        source = str(self.path)
        try:
            with self.path.open("rb") as file:
                modes = os.fstat(file.fileno()).st_mode, self.path.resolve().parent.stat().st_mode
                raw = file.read(MAX_FILE_SIZE + 1)
        except OSError as error:
            raise ConfigError(error.strerror or str(error), source=source) from None
        if is_world_accessible(*modes):
            remedy = f"chmod 600 {shlex.quote(source)}"
            raise ConfigError(f"may hold a private key, and everybody may read or change it: {remedy}", source=source)
        return parse_quick(decode_quick(raw, source), source)


def may_be_there(path: Path) -> bool:
    """Whether there is something, or we may not even look."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def is_path(target: str) -> bool:
    """Whether a person means a file by it, and not a name."""
    return "/" in target or (target.endswith(SUFFIX) and os.path.lexists(target))

"""The configuration file that a command means, and whether we may use it.

A name stands for the first NAME.conf of the configuration directories; what has a slash in it, or is a file NAME.conf
right here, is a path. Either way the interface is called as the file is.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunnel.config.model import TunnelConfig
from tunnel.daemon.config_file import read_config
from tunnel.daemon.service_credentials import stand_in
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
        handed_over = [path for path in candidates if stand_in(path) != path]
        for path in [*filter(may_be_there, candidates), *handed_over]:
            return cls(name, path)
        raise ConfigError(f"no configuration: {' and '.join(map(str, candidates))} not found", source=name)

    def arguments(self) -> list[str]:
        """What makes `tunnel up` come to the same file, wherever it is run."""
        return [str(self.path)]

    def read(self) -> TunnelConfig:
        """Read the file once; raise `ConfigError`."""
        return read_config(self.path)


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

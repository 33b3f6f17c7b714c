"""What the demo happens on: two hosts, a directory for their files, and how all of it goes away again.

Everything made carries the process id of the demo that made it, so that the next one removes what a killed one left.
With ``--keep`` the stage outlives its process; a script in the directory takes it down.
"""

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tunnel.demo.host import Host
from tunnel.demo.terminal import Terminal, find_program
from tunnel.testing.namespaces import Namespace, reap, uninterrupted

_SOCKETS = Path("/var/run/wireguard")
_OWNED_DIRECTORY = re.compile(r"tunnel-demo-(\d+)-\w+")


class Stage:
    """The two hosts, not yet there, and a terminal for the CA; `directory` is private to root."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.is_kept = False
        self.ca = Terminal("ca", directory)
        suffix = _free_suffix()
        self.left, self.right = (
            Host(Namespace(f"demo-{side}"), side, f"{side}{suffix}", number, directory)
            for number, side in enumerate(("left", "right"), 1)
        )

    @property
    def hosts(self) -> tuple[Host, Host]:
        return self.left, self.right

    @property
    def log_files(self) -> dict[str, Path]:
        """Interface name → what its daemon said; the web server's under ``web``."""
        return {host.interface: host.log_file for host in self.hosts} | {"web": self.directory / "web.log"}

    def logs(self) -> dict[str, str]:
        """Those that say something."""
        texts = {
            name: path.read_text(errors="replace").strip() for name, path in self.log_files.items() if path.exists()
        }
        return {name: text for name, text in texts.items() if text}

    def remove(self) -> None:
        """Everything, even if Ctrl-C is pressed once more."""
        with uninterrupted():
            for host in self.hosts:
                host.namespace.close()
            shutil.rmtree(self.directory)

    def keep(self) -> None:
        """Leave everything standing when the context ends, with a script that removes it."""
        self.is_kept = True
        program = shlex.quote(find_program())
        names = [host.namespace.name for host in self.hosts]
        lines = [
            "#!/bin/sh",
            "# removes all that `tunnel demo --keep` left",
            *(f"{program} down {host.interface}" for host in self.hosts),
            *(f"ip netns pids {name} | xargs -r kill" for name in names),
            *(f"ip netns delete {name}" for name in names),
            f"rm -r {shlex.quote(str(self.directory))}",
        ]
        self.remover.write_text("\n".join(lines) + "\n")

    @property
    def remover(self) -> Path:
        return self.directory / "remove"


@contextmanager
def open_stage() -> Iterator[Stage]:
    """A stage that is gone when the context ends, however it ends, unless it was to be kept."""
    reap()
    _reap_directories()
    stage = Stage(Path(tempfile.mkdtemp(prefix=f"tunnel-demo-{os.getpid()}-")))
    try:
        yield stage
    finally:
        if not stage.is_kept:
            stage.remove()


def _free_suffix() -> int:
    """Interfaces in different namespaces still share one directory of control sockets, so names must differ."""
    return next(n for n in count() if not any((_SOCKETS / f"{side}{n}.sock").exists() for side in ("left", "right")))


def _reap_directories() -> None:
    """Remove the directories, which hold private keys, of demos that were killed."""
    for path in Path(tempfile.gettempdir()).iterdir():
        owner = _OWNED_DIRECTORY.fullmatch(path.name)
        if owner and not Path("/proc", owner[1]).exists() and path.stat(follow_symlinks=False).st_uid == os.geteuid():
            shutil.rmtree(path, ignore_errors=True)

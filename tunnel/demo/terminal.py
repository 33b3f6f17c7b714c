"""A terminal on one of the demo's hosts: what is typed there is run as it is shown, by a shell, in one directory."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tunnel.demo.narrator import Step
from tunnel.errors import TunnelError
from tunnel.testing.namespaces import CommandError, Namespace, run_command


def find_program() -> str:
    """The `tunnel` command that belongs to the running interpreter."""
    beside = Path(sys.executable).with_name("tunnel")
    found = str(beside) if beside.exists() else shutil.which("tunnel")
    if found is None:
        raise TunnelError("the tunnel command is not installed: pip install tunnel")
    return found


@dataclass(frozen=True, slots=True)
class Terminal:
    """`host` is its prompt. Without a `namespace` it is on this machine itself."""

    host: str
    directory: Path
    namespace: Namespace | None = None

    def type(self, step: Step, line: str) -> str:
        """Run `line` to its end, and return what it printed; raise `CommandError` if it fails."""
        done = self.attempt(step, line)
        if done.returncode != 0:
            raise CommandError((line,), done.stdout + done.stderr)
        return done.stdout

    def attempt(self, step: Step, line: str) -> subprocess.CompletedProcess[str]:
        """As `type`, of what may fail."""
        step.lines.append(f"{self.host}$ {line}")
        path = f"PATH={Path(find_program()).parent}:{os.environ.get('PATH', os.defpath)}"
        state = f"STATE_DIRECTORY={self.directory / 'state'}"
        command = "env", "-C", str(self.directory), path, state, "sh", "-c", line
        return run_command(*(self.namespace.command(*command) if self.namespace else command), check=False)

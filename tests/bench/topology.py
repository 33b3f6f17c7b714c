"""Two hosts and a cable, for one program at a time.

    client 192.0.2.1 ── veth, MTU 1500 ── 192.0.2.2 server          inside the tunnel: 10.0.0.1, 10.0.0.2; MTU 1420

Every program gets a fresh pair, the same addresses and the same inner MTU, so that all carry the same packets.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from tests.netns.eventually import eventually
from tunnel.errors import TunnelError
from tunnel.testing.namespaces import Namespace, Port, connect

MTU = 1420
START_PATIENCE = 15.0


class ProgramError(TunnelError):
    """A program did not start, or its tunnel passes nothing."""


@dataclass(frozen=True, slots=True)
class Host:
    """One end: where it is reached outside, what it is called inside, and a directory for its keys and its log."""

    label: str
    namespace: Namespace
    outer: str
    inner: str
    interface: str
    directory: Path

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def start(self, *command: str) -> Popen[str]:
        """Start a daemon that stays in the foreground; what it says goes to the log."""
        return self.namespace.popen(*command, log=self.log)

    def configure_interface(self, process: Popen[str]) -> None:
        """Give the interface, as soon as `process` has made it, its address and MTU, and bring it up."""
        await_made(lambda: self.interface in self.namespace.links(), f"interface {self.interface}", process)
        self.namespace.ip("address", "add", f"{self.inner}/24", "dev", self.interface)
        self.namespace.ip("link", "set", self.interface, "mtu", str(MTU), "up")

    def last_words(self) -> str:
        """The last line of the log, which is often the reason."""
        lines = self.log.read_text(errors="replace").split("\n") if self.log.exists() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")


def await_made(is_there: Callable[[], bool], what: str, process: Popen[str]) -> None:
    """Wait until `process` has made something; raise `ProgramError` when it takes too long, or ends instead."""

    def is_decided() -> bool:
        return is_there() or process.poll() is not None

    try:
        eventually(is_decided, what, START_PATIENCE)
    except AssertionError as error:
        raise ProgramError(str(error)) from None
    if not is_there():
        raise ProgramError(f"it ended with status {process.returncode} before it had made {what}")


@contextmanager
def two_hosts(directory: Path, suffix: str) -> Iterator[tuple[Host, Host]]:
    """Client and server, joined; `suffix` makes the interface names unique on this machine (control sockets do
    not live in namespaces). What was started in them ends with the block.
    """
    with Namespace("bench-client") as client, Namespace("bench-server") as server:
        hosts = (
            Host("client", client, "192.0.2.1", "10.0.0.1", f"bench{suffix}c", directory / "client"),
            Host("server", server, "192.0.2.2", "10.0.0.2", f"bench{suffix}s", directory / "server"),
        )
        for host in hosts:
            host.directory.mkdir()
        connect(*(Port(host.namespace, "eth0", (f"{host.outer}/24",)) for host in hosts))
        yield hosts

"""One of the demo's two hosts: a namespace with a cable, an identity, and a daemon started as a user would.

        192.0.2.1                        192.0.2.2
left ───────────────── the cable ───────────────── right
10.77.0.1, fd77::1                 10.77.0.2, fd77::2      inside the tunnel, as their certificates say
"""

import re
from dataclasses import dataclass
from pathlib import Path

from tunnel.demo.narrator import Step
from tunnel.demo.terminal import Terminal
from tunnel.errors import TunnelError
from tunnel.testing.namespaces import CommandError, Namespace, Port

CABLE = "eth0"
PORT = 51820
_ROUND_TRIPS = re.compile(r"= ([\d.]+)/([\d.]+)/[\d.]+/[\d.]+ ms")


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """What ping measured, in milliseconds."""

    minimum_ms: float
    average_ms: float


@dataclass(frozen=True, slots=True)
class Host:
    """`number` is 1 or 2 and is in all its addresses; its files are `interface`.pem and .log in `directory`."""

    namespace: Namespace
    side: str
    interface: str
    number: int
    directory: Path

    @property
    def outer_address(self) -> str:
        return f"192.0.2.{self.number}"

    @property
    def inner_ipv4(self) -> str:
        return f"10.77.0.{self.number}"

    @property
    def inner_ipv6(self) -> str:
        return f"fd77::{self.number}"

    @property
    def port(self) -> Port:
        return Port(self.namespace, CABLE, (f"{self.outer_address}/24", f"2001:db8::{self.number}/64"))

    @property
    def log_file(self) -> Path:
        return self.directory / f"{self.interface}.log"

    @property
    def terminal(self) -> Terminal:
        return Terminal(self.side, self.directory, self.namespace)

    def up(self, step: Step, *options: str) -> None:
        """``tunnel up -d`` with `options`: returns when the interface is ready."""
        identity = f"--identity {self.interface}.pem"
        line = f"tunnel up -d {self.interface} {' '.join((identity, *options))} 2>>{self.log_file.name}"
        if self.terminal.attempt(step, line).returncode != 0:
            raise CommandError((line,), self.log_file.read_text() if self.log_file.exists() else "")

    def down(self, step: Step) -> None:
        """``tunnel down NAME``; raise `TunnelError` if anything is left."""
        self.terminal.type(step, f"tunnel down {self.interface}")
        if self.interface in self.namespace.links():
            raise TunnelError(f"{self.interface} is still there after `tunnel down`")

    def mtu(self) -> int:
        """That of the tunnel interface."""
        shown = re.search(r" mtu (\d+)", self.namespace.ip("link", "show", self.interface))
        if shown is None:
            raise TunnelError(f"{self.interface} has no MTU")
        return int(shown[1])

    def ping(self, step: Step, address: str, count: int) -> RoundTrip:
        """Every one of `count` must be answered; raise `CommandError` otherwise."""
        line = f"ping -n -c {count} -i 0.02 -w 10 {address}"
        said = self.terminal.type(step, line)
        measured = _ROUND_TRIPS.search(said)
        if measured is None or f"{count} received" not in said:
            raise CommandError((line,), said)
        return RoundTrip(float(measured[1]), float(measured[2]))

"""One of the demo's two hosts: a namespace with a cable, a configuration file, and a daemon started as a user would.

        192.0.2.1                        192.0.2.2
left ───────────────── the cable ───────────────── right
10.77.1.0/24, fd77:0:0:1::/64     10.77.2.0/24, fd77:0:0:2::/64      behind each, routed through the tunnel
"""

import re
import shutil
import sys
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path

from tunnel.config.model import InterfaceConfig, IPInterface, PeerConfig, TunnelConfig
from tunnel.config.quick import format_quick
from tunnel.endpoint import EndpointName
from tunnel.errors import TunnelError
from tunnel.keys import PresharedKey, PrivateKey
from tunnel.testing.namespaces import CommandError, Namespace, Port

CABLE = "eth0"
PORT = 51820
_ROUND_TRIPS = re.compile(r"= ([\d.]+)/([\d.]+)/[\d.]+/[\d.]+ ms")


def find_program() -> str:
    """The `tunnel` command that belongs to the running interpreter."""
    beside = Path(sys.executable).with_name("tunnel")
    found = str(beside) if beside.exists() else shutil.which("tunnel")
    if found is None:
        raise TunnelError("the tunnel command is not installed: pip install tunnel")
    return found


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """What ping measured, in milliseconds."""

    minimum_ms: float
    average_ms: float


@dataclass(frozen=True, slots=True)
class Host:
    """`number` is 1 or 2 and is in all its addresses; files are `directory`/`interface`.conf and .log."""

    namespace: Namespace
    interface: str
    number: int
    directory: Path
    private_key: PrivateKey

    @property
    def outer_address(self) -> str:
        return f"192.0.2.{self.number}"

    @property
    def inner_ipv4(self) -> str:
        return f"10.77.{self.number}.1"

    @property
    def inner_ipv6(self) -> str:
        return f"fd77:0:0:{self.number}::1"

    @property
    def inner_addresses(self) -> tuple[IPInterface, IPInterface]:
        return ip_interface(f"{self.inner_ipv4}/24"), ip_interface(f"{self.inner_ipv6}/64")

    @property
    def port(self) -> Port:
        return Port(self.namespace, CABLE, (f"{self.outer_address}/24", f"2001:db8::{self.number}/64"))

    @property
    def config_file(self) -> Path:
        return self.directory / f"{self.interface}.conf"

    @property
    def log_file(self) -> Path:
        return self.directory / f"{self.interface}.log"

    def write_config(self, peer: "Host", preshared_key: PresharedKey, *, knows_endpoint: bool) -> None:
        """What `tunnel up` reads, for its owner only; one side is enough to know where the other is."""
        endpoint = EndpointName(peer.outer_address, PORT) if knows_endpoint else None
        subnets = tuple(address.network for address in peer.inner_addresses)
        config = TunnelConfig(
            InterfaceConfig(private_key=self.private_key, listen_port=PORT, addresses=self.inner_addresses),
            (PeerConfig(peer.private_key.public_key, preshared_key, endpoint, allowed_ips=subnets),),
        )
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(format_quick(config))

    def up(self) -> None:
        """``tunnel up FILE -d``: returns when the interface is ready."""
        command = self.namespace.popen(find_program(), "up", str(self.config_file), "-d", log=self.log_file)
        if command.wait() != 0:
            raise CommandError(("tunnel", "up", str(self.config_file), "-d"), self.log_file.read_text())

    def down(self) -> None:
        """``tunnel down NAME``; raise `TunnelError` if anything is left."""
        self.namespace.run(find_program(), "down", self.interface)
        if self.interface in self.namespace.links():
            raise TunnelError(f"{self.interface} is still there after `tunnel down`")

    def mtu(self) -> int:
        """That of the tunnel interface."""
        shown = re.search(r" mtu (\d+)", self.namespace.ip("link", "show", self.interface))
        if shown is None:
            raise TunnelError(f"{self.interface} has no MTU")
        return int(shown[1])

    def ping(self, address: str, count: int = 1) -> RoundTrip:
        """Every one of `count` must be answered; raise `CommandError` otherwise."""
        family = "-6" if ":" in address else "-4"
        done = self.namespace.run("ping", family, "-n", "-c", str(count), "-i", "0.02", "-w", "10", address)
        measured = _ROUND_TRIPS.search(done.stdout)
        if measured is None or f"{count} received" not in done.stdout:
            raise CommandError(("ping", address), done.stdout)
        return RoundTrip(float(measured[1]), float(measured[2]))

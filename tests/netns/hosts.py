"""A host for tests: a namespace with one tunnel interface, run by one of the implementations, as a user would run it.

    host n      outside 192.0.2.n, 2001:db8::n           inside 10.50.0.n, fd50::n       routed behind it 10.50.n.0/24

Interface names carry our process id, since control sockets of all namespaces share one directory.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, ClassVar

from tests.netns.eventually import eventually
from tunnel.keys import PresharedKey, PrivateKey, PublicKey
from tunnel.testing.namespaces import Namespace, Port, connect

CABLE = "eth0"
PORT = 51820
SOCKETS = Path("/var/run/wireguard")
BIN = Path(sys.executable).parent


class Program(Enum):
    """Who runs the interface, and how it is configured."""

    TUNNEL = "tunnel up"  # a wg-quick file
    TUNNEL_WG = "tunnel-wg"  # wg and ip
    WIREGUARD_GO = "wireguard-go"  # wg and ip


def interface_name(label: str) -> str:
    """Unique on this machine as long as labels are unique in this process; at most 15 characters."""
    return f"{label}-{os.getpid()}"


@dataclass(slots=True)
class PeerSection:
    """What a host's file says about a peer."""

    public_key: PublicKey
    allowed_ips: tuple[str, ...]
    endpoint: str | None = None
    preshared_key: PresharedKey | None = None
    persistent_keepalive: int = 0

    def to_text(self) -> str:
        lines = ["[Peer]", f"PublicKey = {self.public_key}", f"AllowedIPs = {', '.join(self.allowed_ips)}"]
        if self.endpoint:
            lines.append(f"Endpoint = {self.endpoint}")
        if self.preshared_key:
            lines.append(f"PresharedKey = {self.preshared_key.to_base64()}")
        if self.persistent_keepalive:
            lines.append(f"PersistentKeepalive = {self.persistent_keepalive}")
        return "\n".join(lines) + "\n"


class Numbered:
    """The addresses of a host, which follow from its number."""

    __slots__ = ()
    INNER: ClassVar[tuple[str, str]] = ("10.50.0", "fd50::")

    namespace: Namespace
    number: int

    @property
    def outer_ipv4(self) -> str:
        return f"192.0.2.{self.number}"

    @property
    def outer_ipv6(self) -> str:
        return f"2001:db8::{self.number}"

    @property
    def inner_ipv4(self) -> str:
        return f"{self.INNER[0]}.{self.number}"

    @property
    def inner_ipv6(self) -> str:
        return f"{self.INNER[1]}{self.number}"

    @property
    def inner(self) -> tuple[str, str]:
        return self.inner_ipv4, self.inner_ipv6

    @property
    def port(self) -> Port:
        return Port(self.namespace, CABLE, (f"{self.outer_ipv4}/24", f"{self.outer_ipv6}/64"))


@dataclass(slots=True)
class Host(Numbered):
    """`number` is in all its addresses; `directory` is where its file goes, `settings` more of its [Interface]."""

    namespace: Namespace
    label: str
    number: int
    program: Program
    directory: Path
    mtu: int | None = None
    settings: tuple[str, ...] = ()
    private_key: PrivateKey = field(default_factory=lambda: PrivateKey.generate(os.urandom))
    peers: list[PeerSection] = field(default_factory=list)

    @property
    def interface(self) -> str:
        return interface_name(self.label)

    @property
    def public_key(self) -> PublicKey:
        return self.private_key.public_key

    def endpoint(self, *, over_ipv6: bool = False) -> str:
        return f"[{self.outer_ipv6}]:{PORT}" if over_ipv6 else f"{self.outer_ipv4}:{PORT}"

    @property
    def config_file(self) -> Path:
        return self.directory / f"{self.interface}.conf"

    @property
    def log_file(self) -> Path:
        return self.directory / f"{self.interface}.log"

    def config(self, *, for_wg: bool = False) -> str:
        """The wg-quick file, or with `for_wg` only what wg(8) understands."""
        lines = ["[Interface]", f"PrivateKey = {self.private_key.to_base64()}", f"ListenPort = {PORT}"]
        if not for_wg:
            lines.append(f"Address = {self.inner_ipv4}/32, {self.inner_ipv6}/128")
            if self.mtu:
                lines.append(f"MTU = {self.mtu}")
            lines += self.settings
        return "\n".join(lines) + "\n\n" + "\n".join(peer.to_text() for peer in self.peers)

    def write_config(self) -> None:
        self.config_file.touch(mode=0o600)
        self.config_file.write_text(self.config())

    def up(self) -> None:
        """Bring the interface up; it is ready when this returns."""
        if self.program is Program.TUNNEL:
            self.write_config()
            self.tunnel_up()
        else:
            self._up_by_hand()

    def tunnel_up(self) -> None:
        """``tunnel up FILE -d``; what it says goes to the log file."""
        command = self.namespace.popen(str(BIN / "tunnel"), "up", str(self.config_file), "-d", log=self.log_file)
        assert command.wait(20) == 0, self.log_file.read_text()

    def _up_by_hand(self) -> None:
        self.start_daemon()
        self.wg("setconf", self.interface, "/dev/stdin", stdin=self.config(for_wg=True))
        for address, size in ((self.inner_ipv4, 32), (self.inner_ipv6, 128)):
            self.namespace.ip("address", "add", f"{address}/{size}", "dev", self.interface)
        self.namespace.ip("link", "set", self.interface, "mtu", str(self.mtu or 1420), "up")
        for allowed in (allowed for peer in self.peers for allowed in peer.allowed_ips):
            self.namespace.ip("route", "add", allowed, "dev", self.interface)

    def start_daemon(self) -> None:
        """The bare interface with its control socket, without any configuration."""
        program = {Program.TUNNEL_WG: str(BIN / "tunnel-wg"), Program.WIREGUARD_GO: "wireguard-go"}[self.program]
        process = self.namespace.popen(program, "-f", self.interface, log=self.log_file)

        def is_ready() -> bool:
            assert process.poll() is None, self.log_file.read_text()
            return (SOCKETS / f"{self.interface}.sock").exists() and self.interface in self.namespace.links()

        eventually(is_ready, f"{program} is ready", 10)

    def tunnel(self, *arguments: str, check: bool = True) -> CompletedProcess[str]:
        """``tunnel …`` inside."""
        return self.namespace.run(str(BIN / "tunnel"), *arguments, check=check)

    def wg(self, *arguments: str, check: bool = True, stdin: str | None = None) -> CompletedProcess[str]:
        """``wg …`` inside."""
        return self.namespace.run("wg", *arguments, check=check, stdin=stdin)

    def status(self) -> dict[str, Any]:
        """``tunnel status NAME --json``."""
        document = json.loads(self.tunnel("status", self.interface, "--json").stdout)
        status: dict[str, Any] = document[0] if isinstance(document, list) else document
        return status

    def dump(self, peer: "Host") -> "PeerDump":
        """The line of ``wg show NAME dump`` about `peer`."""
        lines = self.wg("show", self.interface, "dump").stdout.splitlines()
        return next(found for line in lines[1:] if (found := PeerDump(*line.split("\t"))).key == str(peer.public_key))


@dataclass(frozen=True, slots=True)
class PeerDump:
    """What ``wg show NAME dump`` says about a peer (wg(8)), as text."""

    key: str
    preshared_key: str
    endpoint: str
    allowed_ips: str
    latest_handshake: str
    received: str
    sent: str
    persistent_keepalive: str


@dataclass(frozen=True, slots=True)
class Meeting:
    """How two hosts get to know each other: `initiator` ("left", "right" or "both") is told where the other is."""

    initiator: str = "left"
    over_ipv6: bool = False
    preshared_key: PresharedKey | None = None
    persistent_keepalive: int = 0


def introduce(left: Host, right: Host, meeting: Meeting) -> None:
    """Make two hosts peers, before they are up."""
    for side, host, peer in (("left", left, right), ("right", right, left)):
        begins = meeting.initiator in (side, "both")
        host.peers.append(
            PeerSection(
                peer.public_key,
                (f"{peer.inner_ipv4}/32", f"{peer.inner_ipv6}/128"),
                peer.endpoint(over_ipv6=meeting.over_ipv6) if begins else None,
                meeting.preshared_key,
                meeting.persistent_keepalive if begins else 0,
            )
        )


@contextmanager
def open_host(directory: Path, label: str = "alone", program: Program = Program.TUNNEL) -> Iterator[Host]:
    """A single host, not yet up, whose cable ends in nothing."""
    with Namespace(label) as namespace, Namespace(f"{label}-peer") as nothing:
        host = Host(namespace, label, 1, program, directory)
        connect(host.port, Port(nothing, CABLE))
        yield host


@contextmanager
def open_pair(
    directory: Path,
    left: Program = Program.TUNNEL,
    right: Program = Program.TUNNEL,
    meeting: Meeting | None = None,
    *,
    mtu: int | None = None,
    cable_mtu: int = 1500,
    settings: tuple[str, ...] = (),
) -> Iterator[tuple[Host, Host]]:
    """Two hosts joined by a cable, both up."""
    with ExitStack() as stack:
        hosts = [
            Host(stack.enter_context(Namespace(label)), label, number, program, directory, mtu, settings)
            for number, (label, program) in enumerate((("left", left), ("right", right)), 1)
        ]
        connect(hosts[0].port, hosts[1].port, mtu=cable_mtu)
        introduce(hosts[0], hosts[1], meeting or Meeting())
        # Who only waits comes first, else an initiation is lost and repeated five seconds later.
        for host in sorted(hosts, key=lambda host: host.peers[0].endpoint is not None):
            host.up()
        yield hosts[0], hosts[1]

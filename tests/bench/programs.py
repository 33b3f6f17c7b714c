"""The VPN programs that are measured: how each is started and configured between two namespaces.

client 192.0.2.1 ── veth ── 192.0.2.2 server          inside the tunnel: 10.0.0.1, 10.0.0.2
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.netns.eventually import eventually
from tunnel.keys import PrivateKey
from tunnel.testing.namespaces import Namespace, Port, connect

OUTER = ("192.0.2.1", "192.0.2.2")
INNER = ("10.0.0.1", "10.0.0.2")
PORT = 51820
MTU = 1420

Start = Callable[[Namespace, str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Program:
    """`command` makes a bare WireGuard interface of the name that is appended, and stays in the foreground."""

    name: str
    command: tuple[str, ...]


OURS = Program("tunnel", (sys.executable, "-P", "-m", "tunnel.cli.tunnel_wg", "--foreground"))
WIREGUARD_GO = Program("wireguard-go", ("wireguard-go", "--foreground"))


@dataclass(frozen=True, slots=True)
class Pair:
    """Two namespaces joined by a tunnel, and the processes that make it."""

    client: Namespace
    server: Namespace
    pids: tuple[int, int]

    def cpu_seconds(self) -> float:
        """User and system time that both processes have used so far."""
        return sum(_cpu_seconds(pid) for pid in self.pids)

    def resident_bytes(self) -> int:
        """Of the larger process."""
        return max(_resident_bytes(pid) for pid in self.pids)


@contextmanager
def tunnel_between(client_program: Program, server_program: Program, directory: Path) -> Iterator[Pair]:
    """A tunnel of two programs, configured by ``wg`` and ``ip``, with the handshake done."""
    keys = [PrivateKey.generate(os.urandom) for _ in OUTER]
    programs = (client_program, server_program)
    with Namespace("bench-client") as client, Namespace("bench-server") as server:
        hosts = (client, server)
        ports = [Port(host, "eth0", (f"{outer}/24",)) for host, outer in zip(hosts, OUTER, strict=True)]
        connect(*ports)
        pids = []
        for number, (host, program) in enumerate(zip(hosts, programs, strict=True)):
            interface = f"bench{os.getpid() % 10000}{number}"
            process = host.popen(*program.command, interface, log=directory / f"{program.name}.{number}.log")
            _configure(host, interface, keys[number], keys[1 - number], number)
            pids.append(process.pid)
        client.run("ping", "-c1", "-W5", INNER[1])
        yield Pair(client, server, (pids[0], pids[1]))


def _configure(host: Namespace, interface: str, own: PrivateKey, other: PrivateKey, number: int) -> None:
    eventually(Path(f"/var/run/wireguard/{interface}.sock").exists, "a control socket", timeout=10)
    peer = ("peer", other.public_key.to_base64(), "allowed-ips", f"{INNER[1 - number]}/32")
    endpoint = ("endpoint", f"{OUTER[1 - number]}:{PORT}")
    key_file = ("private-key", "/dev/stdin")
    host.run("wg", "set", interface, *key_file, "listen-port", str(PORT), *peer, *endpoint, stdin=own.to_base64())
    host.ip("address", "add", f"{INNER[number]}/24", "dev", interface)
    host.ip("link", "set", interface, "mtu", str(MTU), "up")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

"""What is measured: a program is a name, the commands that it needs, and a way to start it at both ends.

`programs` lists them in the order of the report. To measure the same daemon in two ways, give it two entries: an
`Implementation` takes options, which is how one without extensions or without offloads becomes a row of its own.
"""

import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from subprocess import Popen

from tests.bench import nebula, openvpn, tinc, wireguard
from tests.bench.topology import Host
from tests.bench.wireguard import Implementation
from tunnel.testing.namespaces import run_command

Start = Callable[[Host, Host], Sequence[Popen[str]]]

BASELINE = "wireguard-go"
"""The key of the program that all others are compared with."""


@dataclass(frozen=True, slots=True)
class Program:
    """`start(client, server)` returns the daemons of both ends, configured; the tunnel may come up a little later."""

    key: str
    title: str
    commands: tuple[str, ...]
    version_command: tuple[str, ...]
    start: Start
    is_ours: bool = False

    def missing(self) -> list[str]:
        """The commands that are not installed."""
        return [command for command in self.commands if shutil.which(command) is None]

    def version(self) -> str:
        """The first line of what it says about itself; empty if there is nothing to ask."""
        if not self.version_command:
            return ""
        done = run_command(*self.version_command, check=False)
        return next(iter((done.stdout + done.stderr).strip().splitlines()), "")


OURS = Implementation((sys.executable, "-P", "-m", "tunnel.cli.tunnel_wg"))
OURS_PLAIN = replace(OURS, options=("--foreground", "--extensions", "off"))
WIREGUARD_GO = Implementation(("wireguard-go",))


def programs(other_wireguard_go: Path | None = None) -> list[Program]:
    """Everything that can be measured; `other_wireguard_go` is one more binary, named by the version it reports."""
    known = [
        _wireguard("tunnel", "tunnel", OURS, OURS, is_ours=True),
        _wireguard("tunnel-plain", "tunnel, plain WireGuard", OURS_PLAIN, OURS_PLAIN, is_ours=True),
        _wireguard("tunnel-wireguard-go", "tunnel ↔ wireguard-go", OURS, WIREGUARD_GO, is_ours=True),
        _wireguard(BASELINE, "wireguard-go, Debian", WIREGUARD_GO, WIREGUARD_GO),
        Program("openvpn", "OpenVPN", ("openvpn",), ("openvpn", "--version"), openvpn.start),
        Program("nebula", "Nebula", ("nebula", "nebula-cert"), ("nebula", "-version"), nebula.start),
        Program("tinc", "tinc", ("tincd",), ("tincd", "--version"), tinc.start),
        Program("none", "no VPN", (), (), _bare),
    ]
    if other_wireguard_go:
        other = Implementation((str(other_wireguard_go.resolve()),))
        program = _wireguard("other-wireguard-go", "", other, other)
        number = re.search(r"\d[\w.-]*", program.version())
        known.insert(4, replace(program, title=f"wireguard-go {number[0] if number else 'other'}"))
    return known


def _wireguard(
    key: str, title: str, client: Implementation, server: Implementation, *, is_ours: bool = False
) -> Program:
    commands = ("wg", client.command[0], server.command[0])
    start = partial(wireguard.start, client, server)
    return Program(key, title, commands, (*client.command, "--version"), start, is_ours)


def _bare(client: Host, server: Host) -> tuple[()]:
    """The inner addresses on the cable itself: what the machine and the tools can do at most."""
    for host in (client, server):
        host.namespace.ip("address", "add", f"{host.inner}/24", "dev", "eth0")
    return ()

"""A program at work: its tunnel between two hosts, up and proven to pass packets of full size."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import usage
from tests.bench.programs import Program
from tests.bench.topology import MTU, START_PATIENCE, Host, ProgramError, two_hosts
from tests.netns.eventually import eventually
from tunnel.errors import TunnelError


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What is measured: two hosts, and the ids of the VPN processes between them (none for the bare cable)."""

    client: Host
    server: Host
    pids: tuple[int, ...]

    def cpu_seconds(self) -> float:
        """User and system time that both ends together have used so far."""
        return sum(map(usage.cpu_seconds, self.pids))

    def resident_bytes(self) -> int:
        """Of the larger end."""
        return max(map(usage.resident_bytes, self.pids), default=0)


@contextmanager
def tunnel_of(program: Program, directory: Path, patience: float = START_PATIENCE) -> Iterator[Tunnel]:
    """Start `program` at both ends; raise `ProgramError` with its last words unless pings pass both ways.

    `directory` must be empty; keys and logs go there. The first ping must pass within `patience` seconds.
    """
    with two_hosts(directory, str(os.getpid() % 100000)) as (client, server):
        try:
            processes = program.start(client, server)
            for source, target in ((client, server), (server, client)):
                _await_answer(source, target, patience)
        except TunnelError as error:
            said = "; ".join(f"{host.label} said: {host.last_words()}" for host in (client, server))
            raise ProgramError(f"{error}; {said}") from error
        yield Tunnel(client, server, tuple(process.pid for process in processes))


def _await_answer(source: Host, target: Host, patience: float) -> None:
    """A small packet at last, then one as large as the MTU, which must not be fragmented."""

    def is_answered() -> bool:
        return source.namespace.run("ping", "-c1", "-W1", target.inner, check=False).returncode == 0

    try:
        eventually(is_answered, f"a ping from {source.label} to {target.label}", patience)
    except AssertionError as error:
        raise ProgramError(str(error)) from None
    payload = str(MTU - 20 - 8)
    source.namespace.run("ping", "-c3", "-i0.2", "-w3", "-M", "do", "-s", payload, target.inner)

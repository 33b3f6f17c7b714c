"""iperf3 between the two ends of a tunnel, and what its JSON says arrived.

Each run has a server of its own, which serves once: a run that fails leaves nothing that disturbs the next.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

from tests.bench.tunnels import Tunnel
from tunnel.errors import TunnelError

CONNECT_TIMEOUT_MS = "3000"
SOCKET_BUFFER = 4 << 20
GRACE = 15.0
"""Seconds that a run may take longer than it was asked to."""


class IperfError(TunnelError):
    """iperf3 said why, or not."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What arrived over TCP, all streams and directions together."""

    size: int
    bits_per_second: float


@dataclass(frozen=True, slots=True)
class Flood:
    """Datagrams offered and delivered in `seconds`."""

    sent: int
    delivered: int
    seconds: float

    @property
    def loss(self) -> float:
        """The share of what was sent that did not arrive; all of it if nothing was sent."""
        return max(0.0, 1 - self.delivered / self.sent) if self.sent else 1.0

    @property
    def offered_rate(self) -> float:
        return self.sent / self.seconds

    @property
    def delivered_rate(self) -> float:
        return self.delivered / self.seconds


def tcp(tunnel: Tunnel, seconds: int, *flags: str) -> Transfer:
    """TCP from the client to the server; ``--reverse``, ``--bidir`` and ``--parallel N`` are flags."""
    with serving(tunnel):
        return parse_transfer(_run(tunnel, seconds, *flags))


def udp(tunnel: Tunnel, seconds: int, size: int, datagrams_per_second: float | None) -> Flood:
    """Datagrams with `size` bytes of payload at a rate; None: as fast as iperf3 can."""
    bits_per_second = 0 if datagrams_per_second is None else round(datagrams_per_second * size * 8)
    flags = ("--udp", "--length", str(size), "--bitrate", str(bits_per_second), "--window", str(_socket_buffer()))
    with serving(tunnel):
        return parse_flood(_run(tunnel, seconds, *flags))


@contextmanager
def serving(tunnel: Tunnel) -> Iterator[None]:
    """An iperf3 server at the server's end that has begun to listen, for one run."""
    process = tunnel.server.namespace.popen("iperf3", "--server", "--one-off", "--interval", "0", "--forceflush")
    try:
        _await_listening(process)
        yield
    finally:
        process.kill()
        process.communicate()


def client_command(tunnel: Tunnel, seconds: int, *flags: str) -> tuple[str, ...]:
    """What to run at the client's end."""
    timing = ("--time", str(seconds), "--interval", "0", "--connect-timeout", CONNECT_TIMEOUT_MS)
    return ("iperf3", "--client", tunnel.server.inner, *timing, "--json", *flags)


def parse_transfer(report: Mapping[str, Any]) -> Transfer:
    """Of a TCP report; with ``--bidir`` the other direction stands beside the first."""
    end = report["end"]
    sums = [end[key] for key in ("sum_received", "sum_received_bidir_reverse") if key in end]
    return Transfer(sum(one["bytes"] for one in sums), sum(one["bits_per_second"] for one in sums))


def parse_flood(report: Mapping[str, Any]) -> Flood:
    """Of a UDP report, counted against the sender: the receiver knows of no loss after the last datagram it got."""
    sent, received = report["end"]["sum_sent"], report["end"]["sum_received"]
    return Flood(sent["packets"], received["packets"] - received["lost_packets"], sent["seconds"])


def _run(tunnel: Tunnel, seconds: int, *flags: str) -> Mapping[str, Any]:
    command = client_command(tunnel, seconds, *flags)
    done = tunnel.client.namespace.run(*command, check=False, timeout=seconds + GRACE)
    return parse_report(done.stdout)


def parse_report(output: str) -> Mapping[str, Any]:
    """The JSON object that iperf3 printed; raise `IperfError` if it reports an error or is none."""
    try:
        report: dict[str, Any] = json.loads(output)
    except ValueError:
        raise IperfError(f"iperf3: no report: {output.strip()[-100:]!r}") from None
    if "error" in report:
        raise IperfError(f"iperf3: {report['error']}")
    return report


def _socket_buffer() -> int:
    """What iperf3 may ask for, in bytes: with the default buffer of the system, the receiver itself loses datagrams
    at rates that every program here carries.
    """
    limits = (Path(f"/proc/sys/net/core/{name}").read_text() for name in ("rmem_max", "wmem_max"))
    return min(SOCKET_BUFFER, *map(int, limits))


def _await_listening(process: Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if "listening" in line:
            return
    raise IperfError("iperf3: the server did not start")

"""What is measured in a tunnel: a measure is one test, and yields one or more quantities.

CPU-seconds per GB are those of the VPN processes at both ends together, user and system, for 10^9 bytes of TCP
payload delivered. They say what a program costs where the throughput says what was left over for it; on a machine
that runs both ends and the load generator, they are the steadier number.
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.bench import iperf, latency
from tests.bench.ratesearch import highest_rate
from tests.bench.tunnels import Tunnel
from tunnel.testing.namespaces import run_command

STATUS_RUNS = 5

TRIAL_SECONDS = 1
"""How long one trial of the UDP rate search lasts."""

Values = dict[str, float]
"""Quantity key -> value in the quantity's unit."""


@dataclass(frozen=True, slots=True)
class Quantity:
    """A column of the report; `table` is the title of the table it stands in."""

    key: str
    table: str
    title: str
    unit: str


@dataclass(frozen=True, slots=True)
class Measure:
    """`run(tunnel, seconds)` takes some seconds and returns the quantities that belong to it."""

    key: str
    run: Callable[[Tunnel, int], Values]


TCP_TABLE = "TCP, Mbit/s"
CPU_TABLE = "TCP, CPU-seconds per GB"
UDP_TABLE = "UDP with less than 1 % loss"
LATENCY_TABLE = "Round trip, ms"
MEMORY_TABLE = "Memory, MB"
STATUS_TABLE = "tunnel status, ms"

TCP_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "tcp": ("1 stream", ()),
    "tcp-4": ("4 streams", ("--parallel", "4")),
    "tcp-reverse": ("reverse", ("--reverse",)),
    "tcp-both": ("both ways", ("--bidir",)),
}

QUANTITIES: tuple[Quantity, ...] = (
    *(Quantity(key, TCP_TABLE, title, "Mbit/s") for key, (title, _) in TCP_KINDS.items()),
    *(Quantity(f"{key}-cpu", CPU_TABLE, title, "s/GB") for key, (title, _) in TCP_KINDS.items()),
    Quantity("udp-1200", UDP_TABLE, "1200 bytes, Mbit/s", "Mbit/s"),
    Quantity("udp-64", UDP_TABLE, "64 bytes, packets/s", "1/s"),
    Quantity("ping", LATENCY_TABLE, "idle, median", "ms"),
    Quantity("ping-p99", LATENCY_TABLE, "idle, p99", "ms"),
    Quantity("ping-loaded", LATENCY_TABLE, "under TCP, median", "ms"),
    Quantity("ping-loaded-p99", LATENCY_TABLE, "under TCP, p99", "ms"),
    Quantity("memory", MEMORY_TABLE, "resident, larger end", "MB"),
    Quantity("status", STATUS_TABLE, "the whole process", "ms"),
)


def measure_tcp(key: str, flags: tuple[str, ...], tunnel: Tunnel, seconds: int) -> Values:
    """Throughput, and what it cost (not for the bare cable, which has no process)."""
    before = tunnel.cpu_seconds()
    transfer = iperf.tcp(tunnel, seconds, *flags)
    used = tunnel.cpu_seconds() - before
    values = {key: transfer.bits_per_second / 1e6}
    if tunnel.pids and transfer.size:
        values[f"{key}-cpu"] = used / (transfer.size / 1e9)
    return values


def measure_udp_1200(tunnel: Tunnel, seconds: int) -> Values:
    """Payload bits a second, in datagrams as QUIC and WebRTC like them."""
    return {"udp-1200": highest_rate(partial(iperf.udp, tunnel, TRIAL_SECONDS, 1200)) * 1200 * 8 / 1e6}


def measure_udp_64(tunnel: Tunnel, seconds: int) -> Values:
    """Datagrams a second, of the size of voice and games."""
    return {"udp-64": highest_rate(partial(iperf.udp, tunnel, TRIAL_SECONDS, 64))}


def measure_ping(tunnel: Tunnel, seconds: int) -> Values:
    """Round trips on an idle tunnel."""
    trips = latency.idle(tunnel, seconds)
    return {"ping": trips.median, "ping-p99": trips.p99}


def measure_ping_loaded(tunnel: Tunnel, seconds: int) -> Values:
    """Round trips beside one TCP stream."""
    trips = latency.loaded(tunnel, seconds)
    return {"ping-loaded": trips.median, "ping-loaded-p99": trips.p99}


def measure_memory(tunnel: Tunnel, seconds: int) -> Values:
    """Resident memory as it is after the other measures, which come before this one."""
    return {"memory": tunnel.resident_bytes() / 1e6} if tunnel.pids else {}


def measure_status(tunnel: Tunnel, seconds: int) -> Values:
    """From the start of the process to its end, of several; what it asks must have a control socket."""
    interface = tunnel.client.interface
    if not Path(f"/var/run/wireguard/{interface}.sock").exists():
        return {}
    took = []
    for _ in range(STATUS_RUNS):
        began = time.perf_counter()
        run_command(sys.executable, "-P", "-m", "tunnel", "status", interface)
        took.append(time.perf_counter() - began)
    return {"status": 1000 * statistics.median(took)}


MEASURES: tuple[Measure, ...] = (
    Measure("ping", measure_ping),
    *(Measure(key, partial(measure_tcp, key, flags)) for key, (_, flags) in TCP_KINDS.items()),
    Measure("udp-1200", measure_udp_1200),
    Measure("udp-64", measure_udp_64),
    Measure("ping-loaded", measure_ping_loaded),
    Measure("memory", measure_memory),
    Measure("status", measure_status),
)

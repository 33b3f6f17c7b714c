"""Throughput, CPU time, latency and memory, ours beside Debian's wireguard-go, in alternating rounds.

    python -m tests.bench [ROUNDS] [SECONDS]

Absolute numbers depend on the machine and on what else it does; ratios within one run are what to quote.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.programs import INNER, OURS, WIREGUARD_GO, Pair, Program, tunnel_between

PAIRS: tuple[tuple[Program, Program], ...] = ((OURS, OURS), (OURS, WIREGUARD_GO), (WIREGUARD_GO, WIREGUARD_GO))

Row = dict[str, float]


def measure(pair: Pair, seconds: int) -> Row:
    """One round: TCP up, TCP down, ping idle."""
    pair.server.popen("iperf3", "--server")
    row: Row = {}
    for direction, flags in (("", ()), (" reverse", ("--reverse",))):
        cpu_before = pair.cpu_seconds()
        sent, bits_per_second = _iperf(pair, seconds, *flags)
        row[f"Mbit/s{direction}"] = bits_per_second / 1e6
        row[f"CPU-s/GB{direction}"] = (pair.cpu_seconds() - cpu_before) / (sent / 1e9)
    row["ping ms"] = _ping(pair)
    row["MB resident"] = pair.resident_bytes() / 1e6
    return row


def _iperf(pair: Pair, seconds: int, *flags: str) -> tuple[float, float]:
    """Bytes and bits a second that arrived, over one TCP stream."""
    command = ("iperf3", "--client", INNER[1], "--time", str(seconds), "--json", "--connect-timeout", "3000", *flags)
    for _ in range(20):
        done = pair.client.run(*command, check=False, timeout=seconds + 20)
        report = json.loads(done.stdout)
        if "error" not in report:
            received = report["end"]["sum_received"]
            return received["bytes"], received["bits_per_second"]
    raise SystemExit(f"iperf3: {report['error']}")


def _ping(pair: Pair) -> float:
    """Median of 50 round trips, in ms."""
    output = pair.client.run("ping", "-i", "0.02", "-c", "50", INNER[1]).stdout
    times = [float(line.rpartition("time=")[2].split()[0]) for line in output.splitlines() if "time=" in line]
    return statistics.median(times)


def main(rounds: int = 3, seconds: int = 5) -> None:
    results: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(rounds):
            for client, server in PAIRS:
                name = client.name if client == server else f"{client.name} → {server.name}"
                with tunnel_between(client, server, Path(directory)) as pair:
                    results.setdefault(name, []).append(measure(pair, seconds))
                print(f"round {number + 1}: {name}: {results[name][-1]}", file=sys.stderr)
    columns = list(next(iter(results.values()))[0])
    table = Table("", *columns, title=f"medians of {rounds} rounds of {seconds} s, one TCP stream, MTU 1420")
    for name, rows in results.items():
        table.add_row(name, *(f"{statistics.median(row[column] for row in rows):.4g}" for column in columns))
    Console().print(table)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

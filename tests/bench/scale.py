"""A hub with many peers: what it costs to start, to hold, to leave alone, to meet and to change.

    hub 192.0.2.2, the daemon under test ── veth ── 192.0.2.1: a crowd in this process, and one real client

Throughput with one configured peer and with all of them is measured in turns, so that a machine that slows down slows
both down. What the table says of CPU is the hub's alone.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.bench import hub, iperf, usage
from tests.bench.crowd import Crowd, deterministic_key
from tests.bench.hub import Shape
from tests.bench.machine import machine_facts
from tests.bench.report import format_value
from tests.bench.topology import Host, two_hosts
from tests.bench.tunnels import Tunnel
from tests.netns.eventually import eventually
from tests.netns.hosts import BIN
from tunnel.control.uapi_client import request
from tunnel.testing.namespaces import reap, unwinding

SEED = "scale"
STARTS = 3
HANDSHAKE_ROUNDS = 5
CHANGES = 50
QUESTIONS = 5
"""How often each is done."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One number; `target` is met from one side: at least with `is_more_better`, else less."""

    key: str
    title: str
    unit: str
    value: float
    target: float | None = None
    is_more_better: bool = False

    @property
    def is_met(self) -> bool | None:
        """None where there is no target."""
        if self.target is None:
            return None
        return self.value >= self.target if self.is_more_better else self.value < self.target


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--peers", default=1000, show_default=True, type=click.IntRange(1, 60000), help="Of the hub.")
@click.option("--idle", default=30, show_default=True, type=click.IntRange(1), help="Seconds of keepalives alone.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(0), help="Of throughput.")
@click.option("--seconds", default=5, show_default=True, type=click.IntRange(1), help="Of one round of throughput.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here.")
def scale(peers: int, idle: int, rounds: int, seconds: int, json_file: Path | None) -> None:
    """Measure a hub with many peers, in network namespaces of this machine."""
    if os.geteuid() != 0:
        raise click.ClickException("the benchmark makes network namespaces and interfaces: run it as root")
    reap()
    suffix = str(os.getpid() % 100000)
    with (
        unwinding(),
        tempfile.TemporaryDirectory(prefix="scale-") as directory,
        two_hosts(Path(directory), suffix) as (client, server),
    ):
        hub.let_reach_crowd(server, client)
        bench = Bench(client, server, peers)
        figures = [*bench.starts(), *bench.life(idle), *bench.throughput(rounds, seconds)]
    Console(width=None if sys.stdout.isatty() else 100).print(render(figures, f"A hub with {peers} peers"))
    if json_file:
        document = {"machine": machine_facts(), "peers": peers, "figures": [asdict(figure) for figure in figures]}
        json_file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


class Bench:
    """All measurements of one hub, each of which starts it and ends it."""

    def __init__(self, client: Host, server: Host, size: int) -> None:
        self._client = client
        self._server = server
        self._size = size

    def starts(self) -> Iterator[Figure]:
        """Until ``tunnel up -d`` returns, for the kinds of files that differ in what they ask for."""
        for key, title, shape in (
            ("start", "start", Shape(self._size)),
            ("start_routes", "start, a route for each", Shape(self._size, is_routed=True)),
            ("start_all", "start, a route and an endpoint for each", Shape(self._size, True, True)),
        ):
            yield Figure(key, title, "s", statistics.median(self._start(shape) for _ in range(STARTS)), 3)

    def life(self, idle: int) -> Iterator[Figure]:
        """Of one hub: memory, handshakes, rest, changes."""
        with self._running(Shape(self._size)) as pid, self._crowd() as crowd:
            yield self._resident("resident_start", "resident after the start", pid)
            crowd.shake_hands()
            yield self._resident("resident_sessions", "resident with all sessions", pid)
            yield from self._handshakes(crowd, pid)
            yield self._resident("resident_rekeyed", "resident after rekeying all", pid)
            yield self._rest(crowd, pid, idle)
            yield from self._changes()
            yield from self._questions()

    def throughput(self, rounds: int, seconds: int) -> Iterator[Figure]:
        """One TCP flow of the real client to the hub, with the client as the only peer and with all the others."""
        flows: dict[int, list[float]] = {0: [], self._size: []}
        for number in range(1, rounds + 1):
            say(f"throughput, round {number} of {rounds}")
            for size in sorted(flows, reverse=number % 2 == 0):  # whoever is second has a slower machine, or a faster
                flows[size].append(self._flow(size, seconds))
        if rounds:
            alone, among = flows[0], flows[self._size]
            ratio = statistics.median(many / one for one, many in zip(alone, among, strict=True))
            yield Figure("flow_alone", "one flow, one peer", "Mbit/s", statistics.median(alone))
            yield Figure("flow_among", "one flow, all peers", "Mbit/s", statistics.median(among))
            yield Figure("flow_ratio", "the one over the other", "", ratio, 0.9, is_more_better=True)

    # ── one by one ───────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, shape: Shape) -> float:
        say(f"start: {shape}")
        seconds = hub.start(self._server, shape.config(SEED, self._server, self._client))
        hub.stop(self._server)
        return seconds

    def _handshakes(self, crowd: Crowd, pid: int) -> Iterator[Figure]:
        say(f"{HANDSHAKE_ROUNDS} rounds of handshakes")
        before = usage.cpu_seconds(pid)
        wall = sum(crowd.shake_hands() for _ in range(HANDSHAKE_ROUNDS))
        crowd.settle()
        cpu = usage.cpu_seconds(pid) - before
        count = HANDSHAKE_ROUNDS * self._size
        yield Figure("handshakes_core", "handshakes a second and core", "1/s", count / cpu, 1500, is_more_better=True)
        yield Figure("handshakes_wall", "handshakes a second", "1/s", count / wall)

    def _rest(self, crowd: Crowd, pid: int, seconds: int) -> Figure:
        say(f"{seconds} s of keepalives")
        crowd.spread()
        before, began = usage.cpu_seconds(pid), time.monotonic()
        crowd.keep_alive(seconds)
        share = (usage.cpu_seconds(pid) - before) / (time.monotonic() - began)
        return Figure("idle", "idle: keepalives and rekeys", "% of a core", 100 * share, 1)

    def _changes(self) -> Iterator[Figure]:
        say("changes of one peer")
        times = [timed(partial(self._change, number)) for number in range(1, min(CHANGES, self._size) + 1)]
        yield Figure("change", "one peer changed, median", "ms", 1000 * statistics.median(times))
        yield Figure("change_worst", "one peer changed, worst", "ms", 1000 * max(times), 50)

    def _change(self, number: int) -> None:
        """What ``wg set`` says for an endpoint and allowed IPs."""
        key = deterministic_key(SEED, number).public_key.to_hex()
        address = hub.inner_address(number)
        change = f"public_key={key}\nendpoint={self._client.outer}:{1024 + number}\nreplace_allowed_ips=true\n"
        request(self._server.interface, f"set=1\n{change}allowed_ip={address}/32\n\n")

    def _questions(self) -> Iterator[Figure]:
        """What a person types, as a whole process each."""
        say("questions")
        name = self._server.interface
        one_peer = ("peer", str(deterministic_key(SEED, 1).public_key), "allowed-ips", f"{hub.inner_address(1)}/32")
        for title, command in (
            ("wg set", ("wg", "set", name, *one_peer)),
            ("wg show", ("wg", "show", name)),
            ("tunnel status", (str(BIN / "tunnel"), "status", name)),
        ):
            run = partial(self._server.namespace.run, *command)
            seconds = statistics.median(timed(run) for _ in range(QUESTIONS))
            yield Figure(title.replace(" ", "_"), f"{title}, the whole process", "ms", 1000 * seconds)

    def _flow(self, size: int, seconds: int) -> float:
        with self._running(Shape(size)) as pid, self._crowd(size) as crowd:
            crowd.shake_hands()
            hub.start(self._client, hub.client_config(SEED, self._server, self._client))
            try:
                eventually(self._is_answered, "a ping through the tunnel", 10)
                tunnel = Tunnel(self._client, self._server, (hub.process(self._client), pid))
                return iperf.tcp(tunnel, seconds).bits_per_second / 1e6
            finally:
                hub.stop(self._client)

    def _is_answered(self) -> bool:
        return self._client.namespace.run("ping", "-c1", "-W1", self._server.inner, check=False).returncode == 0

    def _resident(self, key: str, title: str, pid: int) -> Figure:
        return Figure(key, title, "MB", usage.resident_bytes(pid) / 1e6, 120)

    def _crowd(self, size: int | None = None) -> Crowd:
        wanted = self._size if size is None else size
        return Crowd(self._client.namespace, (self._server.outer, hub.PORT), SEED, wanted)

    @contextmanager
    def _running(self, shape: Shape) -> Iterator[int]:
        """The hub, as its process id."""
        hub.start(self._server, shape.config(SEED, self._server, self._client))
        try:
            yield hub.process(self._server)
        finally:
            hub.stop(self._server)


def timed(action: Callable[[], object]) -> float:
    """The seconds that it takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def render(figures: list[Figure], title: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for title in ("measured", "target"):
        table.add_column(title, justify="right")
    table.add_column("")
    for one in figures:
        target = "" if one.target is None else f"{'≥' if one.is_more_better else '<'} {format_value(one.target)}"
        verdict = {None: "", True: "ok", False: "[bold red]missed"}[one.is_met]
        title = f"{one.title}, {one.unit}" if one.unit else one.title
        table.add_row(title, format_value(one.value), target, verdict)
    return table


def say(line: str) -> None:
    """Progress, which is not the result: to standard error."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    scale()

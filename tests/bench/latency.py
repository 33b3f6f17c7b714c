"""Round-trip times by ping, on an idle tunnel or beside TCP that fills it."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench import iperf
from tests.bench.tunnels import Tunnel
from tunnel.errors import TunnelError

PER_SECOND = 100
LEAD_SECONDS = 2
"""How much longer the load lasts than the pings."""

_TIME = re.compile(r"\btime=([\d.]+) ms")


class LatencyError(TunnelError):
    """No ping was answered, or the load ended before the pings did."""


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """In milliseconds, of the pings that were answered."""

    median: float
    p99: float


def idle(tunnel: Tunnel, seconds: int) -> RoundTrips:
    """With nothing else in the tunnel."""
    return _ping(tunnel, seconds)


def loaded(tunnel: Tunnel, seconds: int) -> RoundTrips:
    """Beside one TCP stream from the client to the server."""
    with iperf.serving(tunnel):
        load = tunnel.client.namespace.popen(*iperf.client_command(tunnel, seconds + LEAD_SECONDS))
        try:
            trips = _ping(tunnel, seconds)
            if load.poll() is not None:
                raise LatencyError("the load ended before the pings did")
            return trips
        finally:
            load.kill()
            load.communicate()


def _ping(tunnel: Tunnel, seconds: int) -> RoundTrips:
    count = seconds * PER_SECOND
    timing = ("-i", str(1 / PER_SECOND), "-c", str(count), "-w", str(seconds + 1))
    return summarise(parse_times(tunnel.client.namespace.run("ping", *timing, tunnel.server.inner, check=False).stdout))


def parse_times(output: str) -> list[float]:
    """The round-trip times in ping's output, in ms, in the order of arrival."""
    return [float(match[1]) for match in _TIME.finditer(output)]


def summarise(times: Sequence[float]) -> RoundTrips:
    """Raise `LatencyError` if there are none."""
    if not times:
        raise LatencyError("no ping was answered")
    return RoundTrips(percentile(times, 50), percentile(times, 99))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` % of them do not exceed (nearest rank)."""
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]

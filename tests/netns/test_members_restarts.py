"""A gateway that is restarted again and again under load: nothing is lost but what was in flight.

    laptop ── numbered UDP, a TCP stream ──▶ gw ── 192.168.7.0/24 ──▶ server
                                             └ stopped and started; every fifth time killed

*In flight* is what was sent while the gateway was down, and a round trip more. By its farewell the laptop knows that it
has gone, and keeps the latest 128 packets until it is back. After a kill nobody tells it, and it takes 15 s without an
answer to notice (sections 6.2 and 6.5 of the WireGuard paper).
"""

import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from tests.netns.eventually import eventually
from tests.netns.hosts import CABLE
from tests.netns.members import Member, Site, open_site
from tests.netns.running import HashedStream, NumberedDatagrams
from tunnel.testing.namespaces import Namespace, Port, connect

pytestmark = pytest.mark.root

BEHIND = "192.168.7.0/24"
SERVER = "192.168.7.9"

INTERVAL = 0.05
"""Seconds between two datagrams: what is kept is six seconds of them."""

ROUND_TRIP = 0.1
"""Seconds, on a machine that is busy with other tests."""

NOTICED = 18.0
"""Seconds in which who sends has noticed that the one whom it sends to knows nothing any more."""


@dataclass(frozen=True, slots=True)
class Restart:
    """One of them, in seconds of `time.monotonic`: told to end, gone, up again, and again passing on packets."""

    number: signal.Signals
    told: float
    gone: float
    up: float
    flows: float

    def covers(self, moment: float) -> bool:
        """Whether what was sent then may be lost: on its way when it ended, or before anybody could know that."""
        until = self.up if self.number is signal.SIGTERM else min(self.flows, self.told + NOTICED)
        return self.told - ROUND_TRIP <= moment <= until + ROUND_TRIP


@dataclass(frozen=True, slots=True)
class Scene:
    gateway: Member
    laptop: Member
    server: Namespace


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with open_site(tmp_path, "agai") as site:
        yield open_scene(site)


def open_scene(site: Site) -> Scene:
    gateway = site.gateway("gw", 1, issue=[f"--transit={BEHIND}"])
    laptop = site.client("laptop", 2)
    server = site.stack.enter_context(Namespace("agai-server"))
    connect(Port(gateway.namespace, "eth1", ("192.168.7.1/24",)), Port(server, CABLE, (f"{SERVER}/24",)))
    server.ip("route", "add", "default", "via", "192.168.7.1")
    for member in (gateway, laptop):
        member.up()
    return Scene(gateway, laptop, server)


def restart(gateway: Member, number: signal.Signals, datagrams: NumberedDatagrams) -> Restart:
    """As a service manager does it: the next comes up when the last has gone."""
    descriptor = os.pidfd_open(gateway.pid)
    told = time.monotonic()
    signal.pidfd_send_signal(descriptor, number)
    ended, _, _ = select.select([descriptor], [], [], 10)
    os.close(descriptor)
    assert ended, gateway.log
    gone = time.monotonic()
    gateway.up()
    up = time.monotonic()
    eventually(lambda: datagrams.flows_since(up), f"packets pass after {number.name}:\n{gateway.log}", 60)
    return Restart(number, told, gone, up, time.monotonic())


def restart_under_load(scene: Scene, numbers: Sequence[signal.Signals]) -> None:
    laptop, server = scene.laptop.namespace, scene.server
    datagrams = NumberedDatagrams(laptop, scene.laptop.inner_ipv4, server, SERVER, interval=INTERVAL)
    stream = HashedStream(laptop, server, SERVER)
    restarts = []
    with datagrams, stream:
        for number in numbers:
            restarts.append(restart(scene.gateway, number, datagrams))
            wait_for(stream)  # it would starve if the gateway were down whenever it tries again
    assert stream.is_whole, stream.failure or f"{stream.received} of {stream.sent} bytes came"
    assert datagrams.twice == 0
    losses = datagrams.losses()
    for number in set(numbers):
        describe([one for one in restarts if one.number is number], losses)
    for lost in losses:
        assert any(one.covers(lost) for one in restarts), f"lost at {lost:.3f}, and nobody was away: {restarts}"


def wait_for(stream: HashedStream) -> None:
    before = stream.received
    eventually(lambda: stream.received > before, "TCP goes on, too", 60)


def describe(restarts: Sequence[Restart], losses: Sequence[float]) -> None:
    """What was measured, for who runs it with -s."""
    down = [one.up - one.told for one in restarts]
    still = [one.flows - one.told for one in restarts]
    lost = [sum(one.covers(when) for when in losses) for one in restarts]
    print(
        f"\n{restarts[0].number.name}, {len(restarts)} times: down {median(down):.2f} s (at most {max(down):.2f}),"
        f" nothing new arrives for {median(still):.2f} s (at most {max(still):.2f}),"
        f" {median(lost):g} of {1 / INTERVAL:g} datagrams a second lost (at most {max(lost)})"
    )


@pytest.mark.slow
def test_a_gateway_is_restarted_twice_and_only_what_was_in_flight_is_lost(scene: Scene) -> None:
    restart_under_load(scene, [signal.SIGTERM] * 2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_gateway_is_restarted_fifty_times_and_only_what_was_in_flight_is_lost(scene: Scene) -> None:
    restart_under_load(scene, [signal.SIGKILL if number % 5 == 0 else signal.SIGTERM for number in range(1, 51)])

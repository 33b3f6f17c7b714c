"""Two gateways to one network: one of them ends, and what was running through it goes on through the other.

                         ┌─ gw1 ─┐
    laptop ── outside ── ┤       ├── inside 192.168.7.0/24 ── server
                         └─ gw2 ─┘

The server's way back is changed by hand as soon as a gateway ends; in real life a routing protocol would do it. The
laptop has a default route outside, and nothing that is for the inside may ever be seen there.
"""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.hosts import CABLE
from tests.netns.members import Member, RunningPing, RunningStream, Site, open_site
from tunnel.testing.namespaces import Namespace, Port, Switch

pytestmark = pytest.mark.root

BEHIND = "192.168.7.0/24"
SERVER = "192.168.7.9"
COUNTERS = f"""
table inet watch {{
    chain out {{
        type filter hook output priority 0
        oifname "{CABLE}" ip daddr {BEHIND} counter
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Which gateway is in use, the other one, and who talks through it."""

    gateways: tuple[Member, Member]
    laptop: Member
    server: Namespace
    route_log: Path

    @property
    def in_use(self) -> Member:
        (name,) = self.laptop.peers
        return next(gateway for gateway in self.gateways if gateway.label == name)

    @property
    def other(self) -> Member:
        return next(gateway for gateway in self.gateways if gateway is not self.in_use)

    def lead_back(self, gateway: Member) -> None:
        """The server's way to the laptop."""
        way = ("via", f"192.168.7.{gateway.number}")
        self.server.ip("route", "replace", self.laptop.inner_ipv4, *way)

    @property
    def lost_routes(self) -> list[str]:
        """Every network whose route the laptop has lost, even for a moment."""
        return [line for line in self.route_log.read_text().splitlines() if "Deleted" in line and BEHIND in line]

    @property
    def leaked(self) -> int:
        """Packets for the inside that left the laptop in clear."""
        listed = self.laptop.namespace.run("nft", "list", "table", "inet", "watch").stdout
        return int(listed.split("packets ")[1].split()[0])


def open_pair_of_gateways(site: Site, tmp_path: Path) -> Pair:
    inside = site.stack.enter_context(Switch(f"{site.tag}-inside"))
    server = site.stack.enter_context(Namespace(f"{site.tag}-server"))
    inside.attach(Port(server, CABLE, (f"{SERVER}/24",)))
    gateways = (gateway_to(site, inside, 1), gateway_to(site, inside, 2))
    names = tuple(f"--peer={gateway.label}.example.com" for gateway in gateways)
    laptop = site.client("laptop", 3, *names)
    laptop.namespace.ip("route", "add", "default", "via", "192.0.2.254")
    laptop.namespace.run("nft", "-f", "-", stdin=COUNTERS)
    for member in (*gateways, laptop):
        member.up()
    route_log = tmp_path / "routes"
    laptop.namespace.popen("ip", "monitor", "route", log=route_log)
    pair = Pair(gateways, laptop, server, route_log)
    pair.lead_back(pair.in_use)
    return pair


def gateway_to(site: Site, inside: Switch, number: int) -> Member:
    gateway = site.gateway(f"gw{number}", number, issue=[f"--transit={BEHIND}"])
    inside.attach(Port(gateway.namespace, "eth1", (f"192.168.7.{number}/24",)))
    return gateway


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with open_site(tmp_path, "two") as site:
        yield open_pair_of_gateways(site, tmp_path)


def end(pair: Pair, number: signal.Signals) -> float:
    """End the gateway that is in use: when, in Unix time."""
    old, new = pair.in_use, pair.other
    pid = old.pid
    began = time.time()
    os.kill(pid, number)
    pair.lead_back(new)
    return began


def test_when_a_gateway_is_stopped_everything_goes_on_through_the_other_one(pair: Pair, tmp_path: Path) -> None:
    stream = RunningStream(pair.laptop.namespace, pair.server, SERVER)
    with RunningPing(pair.laptop.namespace, SERVER, tmp_path / "ping") as flow, stream:
        before = pair.in_use
        began = end(pair, signal.SIGTERM)
        eventually(lambda: pair.laptop.peers - {before.label}, "the other gateway is in use", 10)
        flow.wait_for_more()
    print(f"SIGTERM: ping {flow.silence_after(began):.2f} s, TCP {stream.silence:.2f} s, {flow.lost} lost")
    assert flow.silence < 3
    assert stream.silence < 6
    assert stream.received == stream.sent
    assert pair.lost_routes == []
    assert pair.leaked == 0


@pytest.mark.slow
def test_when_a_gateway_is_killed_everything_goes_on_through_the_other_one(pair: Pair, tmp_path: Path) -> None:
    stream = RunningStream(pair.laptop.namespace, pair.server, SERVER)
    with RunningPing(pair.laptop.namespace, SERVER, tmp_path / "ping") as flow, stream:
        before = pair.in_use
        began = end(pair, signal.SIGKILL)
        eventually(lambda: pair.laptop.peers - {before.label}, "the other gateway is in use", 60)
        flow.wait_for_more()
    print(f"SIGKILL: ping {flow.silence_after(began):.2f} s, TCP {stream.silence:.2f} s, {flow.lost} lost")
    assert flow.silence < 30
    assert stream.received == stream.sent
    assert pair.lost_routes == []
    assert pair.leaked == 0


@pytest.mark.slow
def test_without_any_gateway_nothing_leaves_in_clear(pair: Pair, tmp_path: Path) -> None:
    for gateway in pair.gateways:
        gateway.down()
    pair.laptop.namespace.run("ping", "-n", "-c30", "-i0.1", "-W0.1", SERVER, check=False)
    assert BEHIND in pair.laptop.routes
    assert pair.leaked == 0
    pair.gateways[1].up()
    pair.lead_back(pair.gateways[1])
    with RunningPing(pair.laptop.namespace, SERVER, tmp_path / "ping"):
        pass
    assert pair.lost_routes == []
    assert pair.leaked == 0

"""Certified peers that move: another address, another port behind a NAT, another address behind the name."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.hosts import CABLE
from tests.netns.members import Member, RunningPing, RunningStream, Site, dns_name, forward, open_site
from tunnel.testing.namespaces import Namespace, Port, connect

pytestmark = pytest.mark.root


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path, "roam") as site:
        site.gateway("gw", 1).up()
        yield site


def endpoint_of(peer: str, host: Member) -> str:
    """Where `host` sends what is for that peer."""
    return next(one["endpoint"] or "" for one in host.status()["peers"] if one["name"] == peer)


def move(host: Member, before: str, after: str) -> None:
    host.namespace.ip("address", "delete", f"{before}/24", "dev", CABLE)
    host.namespace.ip("address", "add", f"{after}/24", "dev", CABLE)


@pytest.mark.slow
def test_a_client_with_a_new_address_goes_on_as_if_nothing_had_happened(site: Site, tmp_path: Path) -> None:
    gateway, laptop = site.members["gw"], site.client("laptop", 2)
    laptop.up()
    stream = RunningStream(laptop.namespace, gateway.namespace, gateway.inner_ipv4)
    with RunningPing(laptop.namespace, gateway.inner_ipv4, tmp_path / "ping") as flow, stream:
        move(laptop, laptop.outer_ipv4, "192.0.2.77")
        eventually(lambda: endpoint_of("laptop", gateway).startswith("192.0.2.77:"), "the gateway knows where it is")
        flow.wait_for_more()
    print(f"new address: {flow.silence:.2f} s, {flow.lost} of {flow.sent} lost")
    assert flow.silence < 1
    assert stream.received == stream.sent


@dataclass(frozen=True, slots=True)
class Nat:
    """A router with one address outside, behind which the laptop is."""

    router: Namespace

    def use_ports(self, ports: str) -> None:
        """From now on, for old flows too: it is as if it had been restarted."""
        rule = f'oifname "{CABLE}" meta l4proto udp masquerade to :{ports}'
        chain = f"chain out {{ type nat hook postrouting priority 100; {rule}; }}"
        self.router.run("nft", "-f", "-", stdin=f"flush ruleset\ntable ip nat {{\n{chain}\n}}\n")
        # The kernel forgets masqueraded flows when the interface goes down.
        self.router.ip("link", "set", CABLE, "down")
        self.router.ip("link", "set", CABLE, "up")


def put_behind_nat(site: Site) -> tuple[Member, Nat]:
    router = site.stack.enter_context(Namespace("roam-nat"))
    laptop = site.add("laptop", 2, site.office.issue_client("laptop", 2), f"--peer={dns_name('gw')}")
    connect(Port(laptop.namespace, CABLE, ("172.16.0.2/24",)), Port(router, "inside", ("172.16.0.1/24",)))
    site.lan.attach(Port(router, CABLE, ("192.0.2.9/24",)))
    laptop.namespace.ip("route", "add", "default", "via", "172.16.0.1")
    forward(router)
    return laptop, Nat(router)


def test_a_client_whose_nat_was_restarted_goes_on_from_another_port(site: Site, tmp_path: Path) -> None:
    gateway = site.members["gw"]
    laptop, nat = put_behind_nat(site)
    nat.use_ports("41000-41009")
    laptop.up()
    assert endpoint_of("laptop", gateway).startswith("192.0.2.9:4100")
    stream = RunningStream(laptop.namespace, gateway.namespace, gateway.inner_ipv4)
    with RunningPing(laptop.namespace, gateway.inner_ipv4, tmp_path / "ping") as flow, stream:
        nat.use_ports("42000-42009")
        eventually(lambda: endpoint_of("laptop", gateway).startswith("192.0.2.9:4200"), "the gateway knows the port")
        flow.wait_for_more()
    print(f"NAT restarted: {flow.silence:.2f} s, {flow.lost} of {flow.sent} lost")
    assert flow.silence < 3
    assert stream.received == stream.sent


@pytest.mark.slow
def test_a_gateway_that_moved_is_found_by_its_name(site: Site, tmp_path: Path) -> None:
    gateway, laptop = site.members["gw"], site.client("laptop", 2)
    laptop.up()
    with RunningPing(laptop.namespace, gateway.inner_ipv4, tmp_path / "ping") as flow:
        began = time.time()
        move(gateway, gateway.outer_ipv4, "192.0.2.88")
        laptop.know({dns_name("gw"): "192.0.2.88"})
        flow.wait_for_more(timeout=90)
    print(f"gateway moved: {flow.silence_after(began + 0.5):.2f} s")
    assert endpoint_of("gw", laptop) == "192.0.2.88:51820"
    assert flow.silence < 60


@pytest.mark.slow
def test_another_host_that_takes_over_the_name_is_found_by_it(site: Site, tmp_path: Path) -> None:
    old, laptop = site.members["gw"], site.client("laptop", 2)
    identity = site.office.issue_gateway("spare", 3, f"--dns={dns_name('gw')}")
    spare = site.put("spare", 3, identity)
    spare.up()
    laptop.know({dns_name("gw"): old.outer_ipv4})
    laptop.up()
    began = time.time()
    laptop.know({dns_name("gw"): spare.outer_ipv4})
    old.down()
    eventually(lambda: laptop.peers == {"spare"}, "the spare gateway is in use", 60)
    print(f"name taken over: {time.time() - began:.2f} s")
    assert endpoint_of("spare", laptop) == "192.0.2.3:51820"

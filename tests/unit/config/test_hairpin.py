"""Endpoints inside the tunnel."""

from ipaddress import ip_network

import pytest

from tunnel.config.hairpin import Hairpin, hairpins
from tunnel.config.model import InterfaceConfig, PeerConfig, RouteTable, TunnelConfig
from tunnel.endpoint import Endpoint
from tunnel.keys import PrivateKey, PublicKey

A, B = PublicKey(b"a" * 32), PublicKey(b"b" * 32)


def routing(a: str, b: str = "", fwmark: int = 0, table: RouteTable | int = RouteTable.AUTO) -> TunnelConfig:
    """A and B with the networks of each, separated by spaces."""
    peers = tuple(PeerConfig(key, allowed_ips=tuple(map(ip_network, text.split()))) for key, text in ((A, a), (B, b)))
    return TunnelConfig(InterfaceConfig(PrivateKey(b"k" * 32), fwmark=fwmark, table=table), peers)


def at(**hosts: str) -> dict[PublicKey, Endpoint]:
    return {{"a": A, "b": B}[name]: Endpoint.create(host, 51820) for name, host in hosts.items()}


def test_an_endpoint_in_the_peers_own_network_is_a_hairpin() -> None:
    found = hairpins(routing("10.0.0.0/8 10.1.0.0/16"), at(a="10.1.2.3"))
    assert found == (Hairpin(A, Endpoint("10.1.2.3", 51820), ip_network("10.1.0.0/16")),)


def test_an_ipv6_endpoint_is_looked_up_among_ipv6_networks() -> None:
    assert [found.peer for found in hairpins(routing("fd00::/8 10.0.0.0/8"), at(a="fd00::1"))] == [A]


def test_an_endpoint_outside_is_none() -> None:
    assert hairpins(routing("10.0.0.0/8 fd00::/8"), at(a="192.0.2.1")) == ()


def test_a_peer_reached_through_another_that_is_outside_is_none() -> None:
    assert hairpins(routing("10.1.0.0/16", "10.2.0.0/16"), at(a="10.2.0.1", b="192.0.2.1")) == ()


def test_two_peers_reached_through_each_other_are_both() -> None:
    found = hairpins(routing("10.1.0.0/16", "10.2.0.0/16"), at(a="10.2.0.1", b="10.1.0.1"))
    assert [hairpin.peer for hairpin in found] == [A, B]


def test_a_peer_reached_through_a_hairpin_is_not_itself_one() -> None:
    found = hairpins(routing("10.1.0.0/16", "10.2.0.0/16"), at(a="10.2.0.1", b="10.2.0.2"))
    assert [hairpin.peer for hairpin in found] == [B]


def test_a_more_specific_network_of_another_peer_wins() -> None:
    assert hairpins(routing("10.0.0.0/8", "10.1.0.0/16"), at(a="10.1.0.1", b="192.0.2.1")) == ()


@pytest.mark.parametrize("table", [RouteTable.OFF, 1234])
def test_routes_that_nothing_consults_by_itself_make_none(table: RouteTable | int) -> None:
    assert hairpins(routing("10.0.0.0/8", table=table), at(a="10.0.0.1")) == ()


def test_the_main_table_by_its_number_makes_one() -> None:
    assert len(hairpins(routing("10.0.0.0/8", table=254), at(a="10.0.0.1"))) == 1


def test_a_firewall_mark_leaves_it_to_the_administrator() -> None:
    assert hairpins(routing("10.0.0.0/8", fwmark=1), at(a="10.0.0.1")) == ()

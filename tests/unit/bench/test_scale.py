"""What a hub with many peers is asked for, and how the answer is shown."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.crowd import deterministic_key, outer_address
from tests.bench.hub import Shape, client_config, inner_address
from tests.bench.scale import Figure, render
from tests.bench.topology import Host
from tunnel.config.quick import parse_quick
from tunnel.config.routing import wanted_routes
from tunnel.testing.namespaces import Namespace

CLIENT, HUB = (
    Host(label, Namespace(label), f"192.0.2.{number}", f"10.0.0.{number}", label, Path())
    for number, label in enumerate(("client", "hub"), 1)
)


def test_the_file_has_the_client_and_every_member() -> None:
    config = parse_quick(Shape(3).config("unit", HUB, CLIENT), "hub.conf")
    members = [deterministic_key("unit", number).public_key for number in (1, 2, 3)]
    assert [peer.public_key for peer in config.peers[1:]] == members
    client = parse_quick(client_config("unit", HUB, CLIENT), "client.conf")
    assert config.peers[0].public_key == client.interface.private_key.public_key
    assert client.peers[0].public_key == config.interface.private_key.public_key


def test_a_member_needs_a_route_only_where_it_is_asked_for() -> None:
    assert wanted_routes(parse_quick(Shape(3).config("unit", HUB, CLIENT), "hub.conf")) == []
    routed = parse_quick(Shape(3, is_routed=True).config("unit", HUB, CLIENT), "hub.conf")
    assert [str(network) for network in wanted_routes(routed)] == [f"{inner_address(n)}/32" for n in (1, 2, 3)]


def test_members_have_endpoints_only_where_it_is_asked_for() -> None:
    assert not any(peer.endpoint for peer in parse_quick(Shape(2).config("unit", HUB, CLIENT), "hub.conf").peers)
    told = parse_quick(Shape(2, has_endpoints=True).config("unit", HUB, CLIENT), "hub.conf")
    hosts = [peer.endpoint.host for peer in told.peers if peer.endpoint]
    assert hosts == [str(outer_address(1)), str(outer_address(2))]


@pytest.mark.parametrize(
    ("figure", "is_met"),
    [
        (Figure("a", "a", "s", 2.9, 3), True),
        (Figure("a", "a", "s", 3.0, 3), False),
        (Figure("a", "a", "1/s", 1500, 1500, is_more_better=True), True),
        (Figure("a", "a", "1/s", 1499, 1500, is_more_better=True), False),
        (Figure("a", "a", "s", 9.0), None),
    ],
)
def test_a_target_is_met_from_its_own_side(figure: Figure, is_met: bool | None) -> None:
    assert figure.is_met is is_met


def test_the_table_says_what_was_missed() -> None:
    console = Console(width=100, record=True, file=StringIO())
    console.print(render([Figure("a", "start", "s", 4, 3), Figure("b", "idle", "%", 0.5, 1)], "A hub with 7 peers"))
    lines = console.export_text().splitlines()
    assert any("start, s" in line and "missed" in line for line in lines)
    assert any("idle, %" in line and "ok" in line for line in lines)

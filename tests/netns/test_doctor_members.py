"""Doctor among hosts with certificates: what the gateway refuses it says in its own words."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.flows import ping
from tests.netns.members import Member, Site, open_site

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with open_site(tmp_path, "doc") as opened:
        yield opened


def examine(member: Member) -> dict[str, Any]:
    """The document of ``tunnel doctor NAME --json``."""
    (document,) = json.loads(member.tunnel("doctor", member.interface, "--json", check=False).stdout)
    examined: dict[str, Any] = document
    return examined


def test_members_that_found_each_other_are_healthy(site: Site) -> None:
    gateway, client = site.gateway("gw", 1), site.client("laptop", 2)
    gateway.up()
    client.up()
    ping(client.namespace, gateway.inner_ipv4)
    for member in (gateway, client):
        document = examine(member)
        assert document["healthy"], document


def test_a_name_that_the_gateway_refuses_is_said_there_and_guessed_here(site: Site) -> None:
    gateway, client = site.gateway("gw", 1, "--allow=desktop"), site.client("laptop", 2)
    gateway.up()
    client.start()
    gateway.says("peer refused")
    there, here = examine(gateway), examine(client)
    assert there["verdict"]["what"] == "certificates of others are refused here"
    assert "name that is not allowed here" in there["verdict"]["why"]
    assert not here["healthy"], here


def test_a_gateway_that_is_not_up_is_named_by_who_dials_it(site: Site) -> None:
    site.gateway("gw", 1)
    client = site.client("laptop", 2)
    with client.running():
        client.says("dialling")
        assert examine(client)["verdict"]["what"] == "nobody whom we dial has let us in"

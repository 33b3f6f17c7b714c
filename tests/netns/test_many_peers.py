"""A hub with two hundred peers, all of them in this process: everybody gets a session, and keeps it."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.bench import hub
from tests.bench.crowd import Crowd, deterministic_key
from tests.bench.topology import Host, two_hosts
from tests.netns.eventually import eventually
from tests.netns.hosts import BIN
from tunnel.wire.messages import TRANSPORT_OVERHEAD

pytestmark = pytest.mark.root

SIZE = 200
SEED = "many peers"
KEYS = [str(deterministic_key(SEED, number).public_key) for number in range(1, SIZE + 1)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Crowd]]:
    with two_hosts(tmp_path_factory.mktemp("many"), str(os.getpid() % 100000)) as (client, server):
        hub.let_reach_crowd(server, client)
        hub.start(server, hub.Shape(SIZE).config(SEED, server, client))
        with Crowd(client.namespace, (server.outer, hub.PORT), SEED, SIZE) as crowd:
            yield server, crowd
        hub.stop(server)


def peers(server: Host) -> dict[str, dict[str, Any]]:
    """The members as ``tunnel status --json`` shows them, by public key."""
    (status,) = json.loads(server.namespace.run(str(BIN / "tunnel"), "status", server.interface, "--json").stdout)
    shown = {peer["public_key"]: peer for peer in status["peers"]}
    return {key: shown[key] for key in KEYS}


def test_everybody_comes_to_a_session(server: tuple[Host, Crowd]) -> None:
    host, crowd = server
    crowd.shake_hands()
    eventually(lambda: all(peer["last_handshake"] for peer in peers(host).values()), "everybody has a session")


def test_a_change_of_one_peer_disturbs_nobody(server: tuple[Host, Crowd]) -> None:
    host, crowd = server
    crowd.shake_hands()
    crowd.settle()
    before = peers(host)
    host.namespace.run("wg", "set", host.interface, "peer", KEYS[6], "allowed-ips", "10.99.0.7/32")
    crowd.say_hello()

    def is_everybody_heard() -> bool:
        after = peers(host)
        return all(after[key]["rx_bytes"] == before[key]["rx_bytes"] + TRANSPORT_OVERHEAD for key in KEYS)

    eventually(is_everybody_heard, "everybody's keepalive is counted")
    after = peers(host)
    assert {key for key in KEYS if after[key]["allowed_ips"] != before[key]["allowed_ips"]} == {KEYS[6]}
    for key in KEYS:  # to a microsecond or so, since two clocks are read for it
        assert after[key]["last_handshake"] == pytest.approx(before[key]["last_handshake"], abs=1e-3, rel=0)

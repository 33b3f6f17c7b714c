"""Whoever listens to an interface that runs: events, the live status and metrics, as a user would see them."""

import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import ping
from tests.netns.hosts import BIN, Host, open_pair

pytestmark = pytest.mark.root


class Overheard:
    """The lines of ``tunnel events``; each is waited for."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def next(self, event: str) -> dict[str, Any]:
        """The next event of this kind."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told: dict[str, Any] = json.loads(line)
            if told["event"] == event:
                return told
        raise AssertionError(f"no {event}")


@contextmanager
def listening(host: Host) -> Iterator[Overheard]:
    command = ("timeout", "60", str(BIN / "tunnel"), "events", host.interface)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            overheard = Overheard(process)
            overheard.next("listening")
            yield overheard
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    with open_pair(tmp_path_factory.mktemp("pair")) as hosts:
        yield hosts


def test_a_peer_that_comes_up_is_heard_of(pair: tuple[Host, Host]) -> None:
    left, right = pair
    with listening(right) as events:
        ping(left.namespace, right.inner_ipv4)
        up = events.next("peer_up")
    assert (up["peer"], up["interface"], up["role"]) == (str(left.public_key), right.interface, "responder")


def test_an_exporter_tells_what_the_status_tells(pair: tuple[Host, Host], tmp_path: Path) -> None:
    left, _ = pair
    path = tmp_path / "metrics.sock"
    command = (str(BIN / "tunnel"), "metrics", left.interface, "--listen", f"unix:{path}")
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as exporter:
        try:
            eventually(path.is_socket, "the exporter listens")
            with socket.socket(socket.AF_UNIX) as scraper:
                scraper.settimeout(20)
                scraper.connect(str(path))
                scraper.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                told = scraper.makefile().read()
        finally:
            exporter.kill()
    (peer,) = left.status()["peers"]
    labels = f'interface="{left.interface}",name="",public_key="{peer["public_key"]}"'
    assert f"tunnel_peer_receive_bytes_total{{{labels}}} {float(peer['rx_bytes'])}\n" in told


def test_a_peer_that_is_removed_and_a_link_that_goes_down_are_heard_of_on_both_sides(pair: tuple[Host, Host]) -> None:
    left, right = pair
    key = str(right.public_key)
    with listening(left) as here, listening(right) as there:
        left.wg("set", left.interface, "peer", key, "remove")
        assert here.next("peer_down")["reason"] == "removed"
        assert there.next("peer_down")["reason"] == "closed_by_peer"
        allowed = f"{right.inner_ipv4}/32"
        left.wg("set", left.interface, "peer", key, "endpoint", right.endpoint(), "allowed-ips", allowed)
        ping(left.namespace, right.inner_ipv4)
        assert here.next("peer_up")["role"] == "initiator"
        left.namespace.ip("link", "set", left.interface, "down")
        assert here.next("peer_down")["reason"] == "link_down"
        assert there.next("peer_down")["reason"] == "closed_by_peer"

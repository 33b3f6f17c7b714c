"""Core events in the words of those who listen, told of two simulated hosts."""

import asyncio
import json
from contextlib import ExitStack
from typing import Any

import pytest

from tunnel.config.model import PeerConfig
from tunnel.config.patch import DevicePatch, PeerPatch
from tunnel.control.events import EventFeed, Listener
from tunnel.daemon.event_source import EventSource
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.keys import PublicKey
from tunnel.protocol.events import (
    Event,
    HandshakeCompleted,
    HandshakeGaveUp,
    HandshakeUnanswered,
    PathMtuChanged,
    PeerClosed,
    PeerRoamed,
    SessionExpired,
    UnderLoad,
)
from tunnel.testing.network import Network

HERE = Endpoint("192.0.2.1", 51820)
THERE = Endpoint("2001:db8::1", 4711)


class Site:
    """A host with one peer, and who listens to it."""

    def __init__(self) -> None:
        self.network = Network()
        self.host, self.other = self.network.host(), self.network.host()
        self.peer: PublicKey = self.other.public_key
        self.host.device.apply(DevicePatch(peers=(PeerPatch(self.peer),)), self.network.clock.now())
        self.feed = EventFeed("wg0", lambda: 0.0)
        self.source = EventSource(self.feed, self.host.device, self.network.clock, lambda peer: f"name of {peer.short}")
        self._stack = ExitStack()
        self.listener: Listener

    def listen(self) -> None:
        self.listener = self._stack.enter_context(self.feed.listening())
        asyncio.run(self.listener.heard())

    def told(self, *events: Event) -> list[dict[str, Any]]:
        for event in events:
            self.source.observe(event)
        return self.heard()

    def heard(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in asyncio.run(self.listener.heard()).splitlines()]

    def completed(self) -> Event:
        return HandshakeCompleted(self.peer, HERE, as_initiator=True)


@pytest.fixture
def site() -> Site:
    site = Site()
    site.listen()
    return site


def _kinds(told: list[dict[str, Any]]) -> list[str]:
    return [one["event"] for one in told]


def test_the_first_handshake_brings_a_peer_up_and_the_next_ones_rekey(site: Site) -> None:
    told = site.told(site.completed(), site.completed())
    assert _kinds(told) == ["peer_up", "rekeyed"]
    assert (told[0]["peer"], told[0]["endpoint"], told[0]["role"]) == (str(site.peer), str(HERE), "initiator")
    assert told[0]["name"] == f"name of {site.peer.short}"


@pytest.mark.parametrize(("event", "reason"), [(SessionExpired, "expired"), (PeerClosed, "closed_by_peer")])
def test_a_peer_goes_down_once_and_says_why(site: Site, event: type, reason: str) -> None:
    told = site.told(site.completed(), event(site.peer), event(site.peer), site.completed())
    assert _kinds(told) == ["peer_up", "peer_down", "peer_up"]
    assert told[1]["reason"] == reason


def test_a_peer_that_was_up_before_anybody_listened_is_rekeyed() -> None:
    site = Site()
    site.host.connect(site.other)
    site.host.device.handshake(site.peer, site.network.clock.now())
    site.network.flush(site.host)
    site.network.run(3)
    assert site.host.device.has_session(site.peer, site.network.clock.now())
    site.listen()
    assert _kinds(site.told(site.completed())) == ["rekeyed"]


def test_a_peer_that_is_removed_goes_down(site: Site) -> None:
    site.told(site.completed())
    site.host.device.apply(DevicePatch(peers=(PeerPatch(site.peer, remove=True),)), site.network.clock.now())
    site.source.peers_changed()
    (told,) = site.heard()
    assert (told["event"], told["reason"], told["name"]) == ("peer_down", "removed", f"name of {site.peer.short}")


def test_without_the_link_everybody_is_down(site: Site) -> None:
    site.told(site.completed())
    site.source.link_down()
    (told,) = site.heard()
    assert (told["event"], told["reason"]) == ("peer_down", "link_down")


def test_what_else_happens_is_told_with_its_numbers(site: Site) -> None:
    told = site.told(
        PeerRoamed(site.peer, None, THERE),
        HandshakeUnanswered(site.peer, 3),
        HandshakeGaveUp(site.peer, 12),
        UnderLoad(True),
        PathMtuChanged(site.peer, 1280, 1220),
    )
    kinds = ["roamed", "handshake_unanswered", "handshake_given_up", "under_load", "path_mtu_changed"]
    assert _kinds(told) == kinds
    assert (told[4]["peer"], told[4]["path_mtu"], told[4]["max_packet"]) == (str(site.peer), 1280, 1220)
    assert (told[0]["before"], told[0]["endpoint"]) == (None, "[2001:db8::1]:4711")
    assert (told[1]["attempts"], told[2]["dropped"], told[3]["is_under_load"]) == (3, 12, True)


def test_while_nobody_listens_no_name_is_looked_for() -> None:
    def fail(peer: PublicKey) -> str:
        raise AssertionError("somebody was asked")

    site = Site()
    source = EventSource(site.feed, site.host.device, site.network.clock, fail)
    source.observe(site.completed())
    source.link_down()
    source.peers_changed()


def test_a_name_is_told_with_the_address_that_it_led_to(site: Site) -> None:
    other = PeerConfig(PublicKey(bytes([9]) * 32), endpoint=EndpointName("elsewhere.example", 1))
    known = PeerConfig(site.peer, endpoint=EndpointName("vpn.example.com", 51820))
    site.source.resolved((other, known), {site.peer: HERE})
    (told,) = site.heard()
    assert (told["event"], told["peer"]) == ("name_resolved", str(site.peer))
    assert (told["endpoint_name"], told["endpoint"]) == ("vpn.example.com:51820", "192.0.2.1:51820")
    assert told["name"] == f"name of {site.peer.short}"

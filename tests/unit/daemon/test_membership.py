"""Membership: what it says, what it forgets, what it refuses to become."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from math import inf
from pathlib import Path
from typing import Any

import pytest

from tunnel.config.model import CertificateConfig
from tunnel.config.patch import DevicePatch, PeerPatch
from tunnel.control.events import EventFeed
from tunnel.control.status import MemberStatus
from tunnel.daemon.log import RateLimited
from tunnel.daemon.membership import Membership
from tunnel.endpoint import EndpointName
from tunnel.errors import ConfigError
from tunnel.keys import PrivateKey
from tunnel.pki.authority import Authority
from tunnel.protocol.events import UnderLoad
from tunnel.testing.members import Member, enrol, found_authority, revoke
from tunnel.testing.network import Network

UNTIL = "2027-04-15 08:00 UTC"
"""90 days after the beginning of the simulated clock."""


class Site:
    """A gateway that is dialled as `gw`, and a laptop that dials it."""

    def __init__(self) -> None:
        self.network = Network()
        self.authority = found_authority(self.network)
        self.gateway = enrol(
            self.network.host(),
            self.authority,
            "gateway",
            addresses=["10.9.0.1"],
            routes=["10.9.0.0/24"],
            is_server=True,
            dns_names=["gw"],
        )
        self.network.names["gw"] = [self.gateway.host.endpoint]
        self.laptop = self.member("laptop", "10.9.0.2")

    def member(self, name: str, address: str, authority: Authority | None = None) -> Member:
        host = self.network.host()
        return enrol(host, authority or self.authority, name, addresses=[address], peers=["gw"])

    @property
    def now(self) -> float:
        return self.network.clock.now()

    def connect(self) -> None:
        self.network.run(6)
        assert self.laptop.has_session(self.gateway)
        assert self.gateway.has_session(self.laptop)


@pytest.fixture
def site() -> Site:
    return Site()


def key(member: Member) -> str:
    return member.host.public_key.short


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def told(member: Member) -> Iterator[list[dict[str, Any]]]:
    """What is told to whoever listens to `member` meanwhile."""
    feed, events = EventFeed("wg0", lambda: 0.0), list[dict[str, Any]]()
    member.membership.events = feed
    with feed.listening() as listener:
        yield events
        events += map(json.loads, asyncio.run(listener.heard()).splitlines()[1:])


def test_who_listens_hears_of_whom_we_admit_and_by_whose_word(site: Site) -> None:
    with told(site.gateway) as events, told(site.laptop) as dialling:
        site.connect()
    assert [(one["event"], one["name"], one["admitted"]) for one in events + dialling] == [
        ("admitted", "laptop", "vouched for by 'Example CA'"),
        ("admitted", "gateway", "dialled as gw:51820"),
    ]
    laptop = site.gateway.membership.members()[site.laptop.host.public_key]
    assert events[0]["certificate_expires"] == laptop.certificate_expires


def test_who_listens_hears_of_our_own_new_certificate_and_not_of_the_same_again(site: Site) -> None:
    site.connect()
    with told(site.laptop) as events:
        site.laptop.install(site.laptop.files)
        site.laptop.renew(site.authority, days=100)
    (renewed,) = events
    assert (renewed["event"], renewed["name"]) == ("identity_renewed", "laptop")
    assert renewed["certificate_expires"] == site.laptop.membership.identity.claims.not_after


def test_who_listens_hears_of_new_certificates_and_of_removals(site: Site) -> None:
    site.connect()
    with told(site.gateway) as events:
        site.laptop.renew(site.authority, days=100)
        site.network.run(6)
        site.gateway.trust(site.authority, crls=[revoke(site.network, site.authority, site.laptop)])
    assert [(one["event"], one["name"]) for one in events[:2]] == [("renewed", "laptop"), ("removed", "laptop")]
    assert (events[1]["reason"], events[1]["peer"]) == ("revoked", str(site.laptop.host.public_key))


def test_who_listens_hears_of_every_refusal(site: Site) -> None:
    site.gateway.trust(site.authority, crls=[revoke(site.network, site.authority, site.laptop)])
    with told(site.gateway) as events:
        site.network.run(100)
    assert len(events) == site.gateway.membership.refusals["revoked"] > 1
    assert (events[0]["event"], events[0]["reason"], events[0]["dialled_as"]) == ("refused", "revoked", None)
    assert events[0]["peer"] == str(site.laptop.host.public_key)


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_is_dialled_says_whom_it_has_admitted_and_by_whose_word(site: Site) -> None:
    site.connect()
    assert site.gateway.lines == [
        f"peer admitted peer={key(site.laptop)} name=laptop authority='Example CA' until={UNTIL}"
    ]


def test_who_dials_says_with_whom_it_is_connected_and_by_which_name(site: Site) -> None:
    site.connect()
    assert site.laptop.lines == [f"peer connected peer={key(site.gateway)} name=gateway dialled=gw:51820 until={UNTIL}"]


def test_a_session_that_is_renewed_is_not_worth_a_line(site: Site) -> None:
    site.connect()
    site.network.run(1000)
    assert len(site.gateway.lines) == len(site.laptop.lines) == 1


def test_a_renewed_certificate_is_said_on_both_sides(site: Site) -> None:
    site.connect()
    site.laptop.renew(site.authority, days=100)
    site.network.run(6)
    until = "2027-04-25 08:00 UTC"
    assert site.laptop.lines[1:] == [f"identity renewed name=laptop until={until}"]
    assert site.gateway.lines[1:] == [
        f"peer renewed peer={key(site.laptop)} name=laptop authority='Example CA' until={until}"
    ]


def test_files_that_say_what_they_said_before_are_not_worth_a_line(site: Site) -> None:
    site.connect()
    handshakes = len(site.laptop.host.sent)
    site.laptop.install(site.laptop.files)
    assert len(site.laptop.lines) == 1
    assert len(site.laptop.host.sent) == handshakes


def test_who_is_removed_is_named_with_the_reason(site: Site) -> None:
    site.connect()
    site.gateway.trust(site.authority, crls=[revoke(site.network, site.authority, site.laptop)])
    assert site.gateway.lines[1:] == [
        f"peer removed peer={key(site.laptop)} name=laptop why=certificate revoked: 'laptop' on 2027-01-15 08:00 UTC"
    ]


def test_who_comes_and_is_refused_is_named_by_key_and_place(site: Site) -> None:
    site.gateway.trust(site.authority, crls=[revoke(site.network, site.authority, site.laptop)])
    site.network.run(1)
    assert site.gateway.lines == [
        f"peer refused peer={key(site.laptop)} endpoint={site.laptop.host.endpoint} "
        "why=certificate revoked: 'laptop' on 2027-01-15 08:00 UTC"
    ]


def test_who_was_dialled_and_is_refused_is_named_by_the_name_and_place(site: Site) -> None:
    site.laptop.trust(site.authority, crls=[revoke(site.network, site.authority, site.gateway)])
    site.network.run(1)
    assert site.laptop.lines == [
        f"peer refused name=gw:51820 endpoint={site.gateway.host.endpoint} "
        "why=certificate revoked: 'gateway' on 2027-01-15 08:00 UTC"
    ]


def test_one_place_that_is_refused_again_and_again_gets_few_lines(site: Site) -> None:
    site.gateway.trust(site.authority, crls=[revoke(site.network, site.authority, site.laptop)])
    for _ in range(100):
        site.gateway.membership.presented(
            site.laptop.host.public_key, _chain(site.laptop), site.laptop.host.endpoint, site.now
        )
    assert len(site.gateway.lines) == 1
    assert site.gateway.membership.refusals == {"revoked": 100}


def test_names_that_nobody_answers_for_are_said(site: Site) -> None:
    site.gateway.crash()
    site.network.run(60)
    assert site.laptop.lines[0].startswith("dialling unanswered names=gw:51820 for=")


def test_an_answer_that_no_handshake_follows_is_said_to_be_one(site: Site) -> None:
    site.gateway.trust(site.authority, crls=[revoke(site.network, site.authority, site.laptop)])
    site.network.run(12)
    assert site.laptop.lines[0] == (
        f"dialling unanswered endpoint={site.gateway.host.endpoint} "
        "why=its certificate came, but no handshake: it may refuse us, and its log says why"
    )


def test_what_ends_soon_is_said_once(site: Site) -> None:
    site.connect()
    site.laptop.renew(site.authority, lasts=2 * 86400.0)
    site.network.run(1000)
    assert [line for line in site.laptop.lines if "identity.pem" in line] == [
        "identity.pem: certificate of laptop expires in 2 days, at 2027-01-17 08:00 UTC; renew it"
    ]


def test_no_line_has_a_secret(site: Site) -> None:
    site.connect()
    private = site.laptop.host.private_key
    assert not any(str(private.raw) in line for line in (*site.laptop.lines, *site.gateway.lines))


# ── what others do to the device ─────────────────────────────────────────────────────────────────────────────────────


def apply(member: Member, patch: DevicePatch, now: float) -> None:
    """As ``wg set`` does."""
    member.host.device.apply(patch, now)
    member.membership.forget(patch, now)
    member.host.network.flush(member.host)


def test_who_is_removed_by_hand_is_forgotten_and_may_come_again(site: Site) -> None:
    site.connect()
    apply(site.gateway, DevicePatch(peers=(PeerPatch(site.laptop.host.public_key, remove=True),)), site.now)
    assert site.gateway.membership.members() == {}
    assert site.gateway.membership.networks() == {}
    site.network.run(200)
    site.laptop.host.send_to(site.gateway.host, b"hello")
    site.network.run(30)
    assert site.gateway.peers == ["laptop"]


def test_all_are_forgotten_when_all_peers_are_replaced(site: Site) -> None:
    site.connect()
    apply(site.gateway, DevicePatch(replace_peers=True), site.now)
    assert site.gateway.membership.members() == {}


def test_whom_we_dial_is_asked_for_again_when_it_was_removed_by_hand(site: Site) -> None:
    site.connect()
    apply(site.laptop, DevicePatch(peers=(PeerPatch(site.gateway.host.public_key, remove=True),)), site.now)
    assert not site.laptop.membership.dialling.is_connected
    site.network.run(10)
    assert site.laptop.has_session(site.gateway)


def test_a_patch_about_others_changes_nothing(site: Site) -> None:
    site.connect()
    other = PrivateKey(b"o" * 32).public_key
    apply(site.gateway, DevicePatch(peers=(PeerPatch(other), PeerPatch(other, remove=True))), site.now)
    assert site.gateway.peers == ["laptop"]


# ── what a running host can become ───────────────────────────────────────────────────────────────────────────────────


def test_another_private_key_is_refused_and_nothing_changes(site: Site) -> None:
    site.connect()
    before = site.laptop.host.device.credentials
    twin = site.member("laptop", "10.9.0.2")
    with pytest.raises(ConfigError, match="another private key: restart the interface"):
        site.laptop.membership.renew(twin.membership.identity, site.now)
    assert site.laptop.host.device.credentials is before
    assert site.laptop.membership.identity.claims.public_key == site.laptop.host.public_key


def test_other_addresses_are_ours_and_who_has_one_of_them_is_removed(site: Site) -> None:
    site.connect()
    site.gateway.request = replace(site.gateway.request, addresses=(IPv4Address("10.9.0.2"),))
    with told(site.gateway) as events:
        site.gateway.renew(site.authority)
    assert site.gateway.membership.identity.claims.addresses == (IPv4Address("10.9.0.2"),)
    assert [(one["event"], one.get("reason")) for one in events] == [("removed", "overlap"), ("identity_renewed", None)]


def test_a_renewed_identity_is_shown_from_the_next_handshake_on(site: Site) -> None:
    site.connect()
    site.gateway.renew(site.authority)
    credentials = site.gateway.host.device.credentials
    assert credentials is not None
    assert credentials.chain == _chain(site.gateway)


def test_each_authority_is_trusted_once(site: Site) -> None:
    site.laptop.trust(site.authority, site.authority)
    credentials = site.laptop.host.device.credentials
    assert credentials is not None
    assert credentials.trusted == (credentials.authority,)


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_members_are_shown_with_their_names_their_ends_and_why_they_are_there(site: Site) -> None:
    site.connect()
    until = site.laptop.membership.identity.claims.not_after
    assert site.gateway.membership.members() == {
        site.laptop.host.public_key: MemberStatus("laptop", until, "vouched for by 'Example CA'")
    }
    assert site.laptop.membership.members() == {
        site.gateway.host.public_key: MemberStatus("gateway", until, "dialled as gw:51820")
    }


def test_networks_lead_to_those_who_claim_them(site: Site) -> None:
    site.connect()
    shown = {str(network): public_key for network, public_key in site.laptop.membership.networks().items()}
    assert shown == dict.fromkeys(["10.9.0.1/32", "10.9.0.0/24"], site.gateway.host.public_key)


def test_what_is_left_behind_goes_when_another_is_taken(site: Site) -> None:
    site.connect()
    networks = site.laptop.membership.networks()
    crl = revoke(site.network, site.authority, site.gateway)
    site.laptop.trust(site.authority, crls=[crl])
    assert site.laptop.membership.networks() == networks
    successor = enrol(
        site.network.host(),
        site.authority,
        "successor",
        addresses=["10.9.0.7"],
        is_server=True,
        dns_names=["gw"],
    )
    site.network.names["gw"] = [successor.host.endpoint]
    site.network.run(60)
    assert set(site.laptop.membership.networks().values()) == {successor.host.public_key}
    assert {str(network) for network in site.laptop.membership.networks()} == {"10.9.0.7/32"}


def test_dialling_is_described_while_somebody_is_looked_for(site: Site) -> None:
    site.gateway.crash()
    site.network.run(42)
    assert site.laptop.membership.describe_dialling(site.now) == "gw:51820, no answer for 42 s"


def test_dialling_is_not_described_while_connected(site: Site) -> None:
    site.connect()
    assert site.laptop.membership.describe_dialling(site.now) is None


def test_who_dials_nobody_describes_nothing(site: Site) -> None:
    site.network.run(42)
    assert site.gateway.membership.describe_dialling(site.now) is None


def test_refusals_are_counted_by_problem(site: Site) -> None:
    site.gateway.trust(site.authority, crls=[revoke(site.network, site.authority, site.laptop)])
    site.network.run(3)
    assert site.gateway.membership.refusals == {"revoked": 1}


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def bare(site: Site, wake: Callable[[], None]) -> Membership:
    """Of a device that nobody drives."""
    host, clock = site.network.host(), site.network.clock
    site.network.hosts.remove(host)
    member = enrol(host, site.authority, "bare", addresses=["10.9.0.9"], peers=["gw"])
    config = CertificateConfig(Path("identity.pem"), peers=(EndpointName("192.0.2.1", 51820),))
    return Membership(
        host.device,
        member.membership.identity,
        config,
        clock.now(),
        allow_default_route=False,
        unix_offset=clock.unix_offset,
        wake=wake,
        lines=RateLimited(logging.getLogger("test"), clock),
    )


def test_nobody_is_asked_before_the_link_is_up(site: Site) -> None:
    membership = bare(site, lambda: None)
    membership.expire(site.now)
    assert membership.deadline > site.now + 3600


def test_the_link_that_comes_up_wakes_and_lets_ask(site: Site) -> None:
    woken: list[bool] = []
    membership = bare(site, lambda: woken.append(True))
    membership.link_changed(True, site.now)
    assert woken == [True]
    assert membership.deadline == -inf
    membership.expire(site.now)
    assert membership.deadline == site.now + 1


def test_without_the_link_the_peer_is_lost(site: Site) -> None:
    site.connect()
    site.laptop.membership.link_changed(False, site.now)
    assert not site.laptop.membership.dialling.is_connected


def test_an_event_that_is_about_nobody_does_not_wake(site: Site) -> None:
    woken: list[bool] = []
    bare(site, lambda: woken.append(True)).observe(UnderLoad(True), site.now)
    assert woken == []


def _chain(member: Member) -> tuple[bytes, ...]:
    return member.membership.identity.identity.chain

"""What was recorded and comes again, floods, and members that have turned bad."""

from collections.abc import Iterator
from itertools import islice

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from tests.simulation.member_sites import Site, exchange
from tunnel.endpoint import Endpoint
from tunnel.keys import NO_PRESHARED_KEY, PrivateKey
from tunnel.noise.handshake import CERTIFIED, Initiator, compute_static_shared
from tunnel.pki.authority import Request, issue
from tunnel.pki.issuer import authority_hash
from tunnel.protocol.cookie import CookieGenerator
from tunnel.protocol.credentials import AuthorityId, Chain
from tunnel.protocol.enquiry import Enquiry
from tunnel.protocol.events import HandshakeCompleted
from tunnel.testing.members import Member, found_authority, unix_now
from tunnel.wire.certified import (
    INITIATION_CHAIN_SIZE,
    REQUEST_NONCE_SIZE,
    CertifiedInitiation,
    pack_certified_initiation,
    pack_chain,
)
from tunnel.wire.messages import COOKIE_SIZE
from tunnel.wire.tai64n import NO_STAMP, next_stamp

Datagram = tuple[Endpoint, Endpoint, bytes]

BURST = 50
"""Datagrams at once; twenty bursts a second."""


def record(site: Site) -> list[Datagram]:
    """All that is sent from now on."""
    recorded: list[Datagram] = []

    def carries(source: Endpoint, destination: Endpoint, datagram: bytes) -> bool:
        recorded.append((source, destination, datagram))
        return True

    site.network.filter = carries
    return recorded


def replay(site: Site, recorded: list[Datagram], source: Endpoint | None = None) -> None:
    """Send all of it again, from where it came or from `source`."""
    site.network.filter = lambda *_: True
    for number, (before, destination, datagram) in enumerate(recorded):
        site.network.inject(source or before, destination, datagram)
        if number % BURST == 0:
            site.network.run(0.1)
            site.check()
    site.network.run(1)


def size(member: Member) -> tuple[int, int, int]:
    """Of what it keeps: peers, indices, those admitted."""
    device = member.host.device
    return len(device._peers), len(device._host.indices), len(member.membership._admission)


# ── replay ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("source", [None, Endpoint("203.0.113.66", 666)], ids=["same address", "elsewhere"])
def test_a_whole_recording_played_back_changes_nothing(source: Endpoint | None) -> None:
    site = Site()
    gateway, clients = site.gateway(), [site.client(number) for number in (2, 3, 4)]
    recorded = record(site)
    for _ in range(130):
        site.network.run(1)
        assert all(exchange(site, client, gateway, 0.05) for client in clients)
    before = [size(member) for member in site.members]
    received = [len(member.host.received) for member in site.members]
    replay(site, recorded, source)
    assert [size(member) for member in site.members] == before
    assert [len(member.host.received) for member in site.members] == received
    assert all(exchange(site, client, gateway) for client in clients)


@pytest.mark.parametrize("source", [None, Endpoint("203.0.113.66", 666)], ids=["same address", "elsewhere"])
def test_a_recording_makes_no_peer_of_a_gateway_that_was_restarted(source: Endpoint | None) -> None:
    site = Site()
    gateway, client = site.gateway(), site.client()
    recorded = record(site)
    for _ in range(130):
        site.network.run(1)
        client.host.send_to(gateway.host, b"hello")
    client.crash()
    gateway.restart()
    replay(site, recorded, source)
    assert size(gateway) == (0, 0, 0)
    client.restart()
    site.connect(client, gateway=gateway, seconds=1)


@pytest.mark.parametrize("source", [None, Endpoint("203.0.113.66", 666)], ids=["same address", "elsewhere"])
def test_a_recording_does_not_mislead_a_client_that_was_restarted(source: Endpoint | None) -> None:
    site = Site()
    gateway, client = site.gateway(), site.client()
    recorded = record(site)
    site.network.run(150)
    client.restart()
    replay(site, recorded, source)
    assert exchange(site, client, gateway)
    assert size(client)[0] == 1


def test_a_client_that_left_gets_no_session_by_what_it_once_said() -> None:
    """From its own address, and while its cookie still holds, it may be a peer again; without the key it goes by
    itself, and has to give way to anybody who claims what it has.
    """
    site = Site()
    gateway, client = site.gateway(), site.client()
    recorded = record(site)
    site.network.run(5)
    client.stop()
    site.network.run(5)
    completed = len(gateway.host.events_of(HandshakeCompleted))
    replay(site, recorded)
    assert len(gateway.host.events_of(HandshakeCompleted)) == completed
    site.network.run(600)
    assert size(gateway) == (0, 0, 0)


# ── floods ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class Attacker:
    """Knows the authority and the gateway's key, as any member does, and has addresses without end."""

    def __init__(self, site: Site, gateway: Member) -> None:
        self.site = site
        self.gateway = gateway
        self.rng = site.network.random.randbytes
        self.count = 0

    def run(self, messages: Iterator[tuple[Endpoint, bytes]], count: int) -> None:
        taken = islice(messages, count)
        while burst := list(islice(taken, BURST)):
            for source, message in burst:
                self.site.network.inject(source, self.gateway.host.endpoint, message)
            self.site.network.run(0.05)

    def sources(self) -> Iterator[Endpoint]:
        while True:
            self.count += 1
            yield Endpoint(f"198.18.{self.count >> 8 & 255}.{self.count & 255}", 1024 + (self.count >> 16))

    def requests(self) -> Iterator[tuple[Endpoint, bytes]]:
        """Message 16 with a right MAC1."""
        authority = AuthorityId(authority_hash(self.site.authority.certificate))
        for source in self.sources():
            enquiry = Enquiry(authority, source, self.rng(REQUEST_NONCE_SIZE))
            yield source, enquiry.create_request(self.site.network.clock.now())

    def strangers(self) -> Iterator[tuple[Endpoint, bytes]]:
        """Message 18 with a right MAC1, of keys that nobody knows."""
        for source in self.sources():
            yield source, self.initiation(PrivateKey.generate(self.rng), (b"\x30" * 300,), None)

    def untrusted(self) -> Iterator[tuple[Endpoint, bytes]]:
        """Message 18 with a cookie that is good for its source, and a chain of another authority of the same name."""
        authority = found_authority(self.site.network)
        now = unix_now(self.site.network)
        identity = PrivateKey.generate(self.rng)
        request = Request("client66", identity.public_key, addresses=self.site.addresses("10.9.0.66"))
        chain = (issue(authority, request, self.rng, now).public_bytes(Encoding.DER),)
        for source in self.sources():
            cookie = self.gateway.host.device._intake.cookie(source, self.site.network.clock.now())
            yield source, self.initiation(identity, chain, cookie)

    def initiation(self, identity: PrivateKey, chain: Chain, cookie: bytes | None) -> bytes:
        responder, now = self.gateway.host.public_key, self.site.network.clock.now()
        shared = compute_static_shared(identity, responder)
        assert shared is not None
        ephemeral = PrivateKey.generate(self.rng)
        initiator = Initiator(
            identity, responder, NO_PRESHARED_KEY, ephemeral, static_shared=shared, protocol=CERTIFIED
        )
        stamp = next_stamp(NO_STAMP, self.site.network.clock.unix_ns() + self.count)
        payload = stamp + (cookie or bytes(COOKIE_SIZE)) + pack_chain(chain, INITIATION_CHAIN_SIZE)
        message = pack_certified_initiation(CertifiedInitiation(self.count, *initiator.create_initiation(payload)))
        macs = CookieGenerator(responder)
        if cookie is not None:
            macs.keep(cookie, now)
        return macs.add_macs(message, now)


FLOODS = ["requests", "strangers", "untrusted"]


@pytest.mark.parametrize("count", [2000, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_fills_no_table_and_keeps_nobody_out(kind: str, count: int) -> None:
    site = Site()
    gateway, client = site.gateway(), site.client(2)
    site.network.run(1)
    before = size(gateway)
    attacker = Attacker(site, gateway)
    messages = getattr(attacker, kind)()
    attacker.run(messages, count - 1000)
    assert size(gateway) == before
    laptop = site.client(3)
    since = site.network.clock.now()
    while not (laptop.has_session(gateway) and gateway.has_session(laptop)):
        assert site.network.clock.now() - since < 10
        attacker.run(messages, BURST)
    assert exchange(site, client, gateway)
    assert len(gateway.peers) == 2
    assert bool(gateway.membership.refusals) == (kind == "untrusted")
    site.check()


@pytest.mark.parametrize("kind", FLOODS)
def test_nobody_is_sent_more_than_he_has_sent(kind: str) -> None:
    site = Site()
    gateway = site.gateway()
    attacker = Attacker(site, gateway)
    messages = list(islice(getattr(attacker, kind)(), 1000))
    attacker.run(iter(messages), 1000)
    sent: dict[Endpoint, int] = {}
    for _, destination, datagram in gateway.host.sent:
        sent[destination] = sent.get(destination, 0) + len(datagram)
    assert all(sent.get(source, 0) <= len(message) for source, message in messages)


def test_a_member_that_comes_with_ever_other_certificates_stays_one_peer() -> None:
    site = Site()
    gateway, member = site.gateway(), site.client()
    site.network.run(1)
    before = size(gateway)
    for _ in range(50):
        member.renew(site.authority)
        site.network.run(6)
    assert size(gateway)[::2] == before[::2]
    assert size(gateway)[1] <= before[1] + 2
    site.check()


def test_a_client_whose_requests_are_answered_by_noise_still_gets_in() -> None:
    """Somebody on the path throws at it whatever comes to his mind."""
    site = Site()
    gateway = site.gateway()
    client = site.client()
    for number in range(500):
        for kind in (3, 16, 17, 18, 19):
            noise = bytes((kind, 0, 0, 0)) + site.network.random.randbytes(60 if kind == 3 else 1196)
            site.network.inject(gateway.host.endpoint, client.host.endpoint, noise)
        if number % 10 == 0:
            site.network.run(0.01)
    site.connect(client, gateway=gateway, seconds=10)

"""Invariant: whatever datagrams, packets, patches and moments a device is given, it never raises, counts each datagram
once, delivers nothing that was not sent and nothing twice, answers nobody without a right MAC1, never answers with more
than it was asked with, and keeps its tables consistent and bounded.
"""

from collections import Counter
from ipaddress import IPv4Network, ip_interface, ip_network

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.fuzz.consistency import assert_consistent
from tests.unit.protocol.pairs import create_session, hold
from tunnel.config.patch import AllowedIPChange, DevicePatch, PeerPatch
from tunnel.endpoint import Endpoint
from tunnel.keys import PresharedKey, PrivateKey
from tunnel.protocol.constants import UNDER_LOAD_QUEUED_HANDSHAKES
from tunnel.protocol.cookie import CookieGenerator
from tunnel.protocol.stats import DropReason
from tunnel.testing.network import Network, SimulatedHost
from tunnel.wire.control import Capability
from tunnel.wire.messages import (
    COOKIE_REPLY_SIZE,
    INITIATION_SIZE,
    PADDING,
    RESPONSE_SIZE,
    TRANSPORT_OVERHEAD,
    MessageType,
    message_type,
)
from tunnel.wire.train import Train

STRANGER = Endpoint("203.0.113.9", 999)
SHORT_PAUSES = st.sampled_from([0.0, 0.001, 0.02, 1.0, 5.4, 11.0, 16.0])
LONG_PAUSES = st.sampled_from([110.0, 121.0, 166.0, 181.0, 541.0])
HOSTS = st.integers(0, 2)
ECHO_REQUEST, ECHO_SIZE = b"\x08\x00", 8
KEYS = st.integers(1, 4).map(lambda number: PrivateKey(bytes([number]) * 32))

OFFERS = [None, Capability(0), Capability.AES_256_GCM, Capability(sum(Capability))]

FAST = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
LONG = settings(FAST, max_examples=150, stateful_step_count=100, derandomize=False)


# ── mutations of a datagram ──────────────────────────────────────────────────────────────────────────────────────────

Mutation = tuple[str, int, bytes]
MUTATIONS = st.one_of(
    st.just(("none", 0, b"")),
    st.tuples(st.just("flip"), st.integers(0, 2000), st.just(b"")),
    st.tuples(st.just("truncate"), st.integers(0, 200), st.just(b"")),
    st.tuples(st.just("extend"), st.just(0), st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("reserve"), st.integers(0, 2), st.binary(min_size=1, max_size=1)),
    st.tuples(st.just("splice"), st.integers(1, 60), st.just(b"")),
)


def mutate(datagram: bytes, other: bytes, mutation: Mutation) -> bytes:
    """`datagram` after the mutation; a splice puts the beginning of `other` in place of its own."""
    kind, number, extra = mutation
    changed = bytearray(datagram)
    match kind:
        case "flip":
            changed[number // 8 % len(changed)] ^= 1 << number % 8
        case "truncate":
            del changed[number:]
        case "extend":
            changed += extra
        case "reserve":
            changed[1 + number] = extra[0]
        case "splice":
            changed[:number] = other[:number]
    return bytes(changed)


# ── any datagrams in any order at any time ───────────────────────────────────────────────────────────────────────────


class Conversations(RuleBasedStateMachine):
    """Three hosts, of which the third is a stranger to the second, on a network that a fuzzer delivers for."""

    @initialize(offers=st.lists(st.sampled_from(OFFERS), min_size=3, max_size=3))
    def begin(self, offers: list[Capability | None]) -> None:
        self.network = Network(seed=7)
        self.hosts = []
        for self.network.offered in offers:
            self.hosts.append(self.network.host())
            self.have_address(self.hosts[-1])
        self.sent: Counter[tuple[int, bytes]] = Counter()
        self.passed_on = [0, 0, 0]
        self.hold()
        for number in range(3):
            self.introduce(number)
        self.exchange(0, 1)
        self.exchange(2, 0)

    def have_address(self, host: SimulatedHost) -> None:
        """So that the width of paths to those without extensions is asked for, too."""
        host.answers_pings = True
        host.device.addresses = [ip_interface(f"{host.address}/24")]

    def introduce(self, number: int) -> None:
        for other in {0: (1, 2), 1: (0,), 2: (0, 1)}[number]:
            self.hosts[number].add_peer(self.hosts[other], keepalive=25 if number == 2 else 0)

    def hold(self) -> None:
        self.network.filter = lambda source, destination, datagram: False

    @property
    def now(self) -> float:
        return self.network.clock.now()

    @rule(sender=HOSTS, receiver=HOSTS, count=st.integers(1, 3), size=st.sampled_from([0, 1000]))
    def send(self, sender: int, receiver: int, count: int, size: int = 0) -> None:
        payloads = [(b"%d %d" % (len(self.sent), number)).ljust(size) for number in range(count)]
        self.sent.update((self.place(receiver), payload) for payload in payloads)
        self.hosts[sender].send_to(self.hosts[receiver], *payloads)

    @rule(sender=HOSTS)
    def pass_on(self, sender: int) -> None:
        """The oldest datagram of a host that was not passed on yet arrives as it is."""
        sent, position = self.hosts[sender].sent, self.passed_on[sender]
        if position < len(sent):
            self.passed_on[sender] += 1
            self.arrive(self.hosts[sender].endpoint, sent[position][1], sent[position][2])

    @rule(sender=HOSTS, receiver=HOSTS)
    def exchange(self, sender: int, receiver: int) -> None:
        """A packet while the network works."""
        self.send(sender, receiver, 1)
        self.settle()

    @rule(sender=HOSTS, receiver=HOSTS, kind=st.integers(0, 5), rest=st.binary(max_size=8))
    def say(self, sender: int, receiver: int, kind: int, rest: bytes) -> None:
        """A control frame, whatever is in it, from who holds the keys."""
        peer = self.hosts[sender].device._peers.get(self.hosts[receiver].public_key)
        if peer is not None and peer.keypairs.current is not None:
            peer.control.send(peer.keypairs.current, bytes([kind]) + rest, self.now)
            self.network.flush(self.hosts[sender])

    @rule(host=HOSTS, mtu=st.sampled_from([576, 1300, 1420, 9000]))
    def change_mtu(self, host: int, mtu: int) -> None:
        self.hosts[host].device.mtu = mtu

    @rule(seconds=SHORT_PAUSES | LONG_PAUSES)
    def wait(self, seconds: float) -> None:
        self.network.run(seconds)

    @rule()
    def suspend(self) -> None:
        self.network.clock.advance(7200)

    @rule()
    def settle(self) -> None:
        """For a moment the network works, so that sessions come to be."""
        self.network.filter = lambda source, destination, datagram: True
        for host in self.hosts:
            for _, destination, datagram in host.sent[self.passed_on[self.hosts.index(host)] :]:
                self.network.inject(host.endpoint, destination, datagram)
        self.network.run(0.2)
        self.passed_on = [len(host.sent) for host in self.hosts]
        self.hold()

    @rule(host=HOSTS)
    def load(self, host: int) -> None:
        self.hosts[host].device._intake._load.arrived(UNDER_LOAD_QUEUED_HANDSHAKES, self.now)

    @rule(host=HOSTS)
    def restart(self, host: int) -> None:
        self.hosts[host].restart()
        self.have_address(self.hosts[host])
        self.introduce(host)

    @rule(
        sender=HOSTS,
        back=st.integers(0, 12),
        other=st.integers(0, 12),
        mutation=MUTATIONS,
        has_mac1=st.booleans(),
        is_elsewhere=st.booleans(),
    )
    def deliver(
        self, sender: int, back: int, other: int, mutation: Mutation, has_mac1: bool, is_elsewhere: bool
    ) -> None:
        """One of the last datagrams that a host sent, perhaps changed, arrives: again, late, or from elsewhere."""
        sent = self.hosts[sender].sent
        if not sent:
            return
        _, destination, datagram = sent[-1 - back % len(sent)]
        datagram = mutate(datagram, sent[-1 - other % len(sent)][2], mutation)
        self.arrive(STRANGER if is_elsewhere else self.hosts[sender].endpoint, destination, datagram, has_mac1)

    def arrive(self, source: Endpoint, destination: Endpoint, datagram: bytes, has_mac1: bool = False) -> None:
        """At the host it was sent to; what was sent to nobody arrives at the first. `has_mac1` makes MAC1 right."""
        receiver = next((host for host in self.hosts if host.endpoint == destination), self.hosts[0])
        if has_mac1 and len(datagram) in (INITIATION_SIZE, RESPONSE_SIZE):
            datagram = CookieGenerator(receiver.public_key).add_macs(datagram, self.now)
        self.receive(receiver, datagram, source)

    @rule(host=HOSTS, datagram=st.binary(max_size=200), kind=st.integers(0, 5), has_header=st.booleans())
    def garbage(self, host: int, datagram: bytes, kind: int, has_header: bool) -> None:
        self.receive(self.hosts[host], bytes([kind, 0, 0, 0]) + datagram if has_header else datagram, STRANGER)

    def receive(self, host: SimulatedHost, datagram: bytes, source: Endpoint) -> None:
        """Give it to the device when nothing else is due, and account for what comes of it."""
        device = host.device
        self.network.run(0)
        drops, received, heard = Counter(host.drops()), len(host.received), bytes_heard(host)
        device.receive([Train.single(memoryview(bytearray(datagram)))], [source], self.now)
        while device.deadline <= self.now:
            device.expire(self.now)
        answers = [bytes(answer.buffer) for answer, _ in device._host.datagrams]
        self.network.flush(host)
        dropped = Counter(host.drops()) - drops
        is_authentic = bytes_heard(host) > heard
        assert dropped.total() + len(host.received) - received <= 1
        assert dropped or is_authentic or message_type(datagram) == MessageType.COOKIE_REPLY
        self.check_answers(datagram, answers, dropped, is_authentic)

    def check_answers(self, datagram: bytes, answers: list[bytes], dropped: Counter[str], is_authentic: bool) -> None:
        """Only a session or an initiation of a peer is answered; anyone else gets a cookie, or silence."""
        if dropped == Counter({DropReason.WRONG_MAC2.value: 1}):
            assert [len(answer) for answer in answers] == [COOKIE_REPLY_SIZE]
        elif not is_authentic:
            assert answers == []
        if message_type(datagram) == MessageType.HANDSHAKE_INITIATION or not is_authentic:
            assert sum(map(len, answers)) < len(datagram) or not answers

    @invariant()
    def tables_are_consistent(self) -> None:
        for host in getattr(self, "hosts", []):
            assert_consistent(host.device)

    @invariant()
    def nothing_is_delivered_that_was_not_sent_nor_twice(self) -> None:
        if not hasattr(self, "hosts"):
            return
        delivered = Counter(
            (self.place(number), payload)
            for number, host in enumerate(self.hosts)
            for payload in host.received
            if not (len(payload) == ECHO_SIZE and payload.startswith(ECHO_REQUEST))  # a probe, for want of extensions
        )
        assert not delivered - self.sent

    def place(self, number: int) -> int:
        """Where a packet to that host may come out: only there."""
        return number


def bytes_heard(host: SimulatedHost) -> int:
    """How many bytes of authentic datagrams it has received."""
    return sum(peer.rx_bytes for peer in host.device.snapshot(0).peers)


# ── and any patches in between ───────────────────────────────────────────────────────────────────────────────────────

NETWORKS = st.sampled_from(
    [ip_network(text) for text in ("0.0.0.0/0", "10.0.0.0/30", "10.0.0.1/32", "::/0", "fd00::/8")]
)
ALLOWED_IPS = st.lists(st.builds(AllowedIPChange, NETWORKS, st.booleans()), max_size=3).map(tuple)


class Reconfigurations(Conversations):
    """The same while somebody changes the configuration of the hosts."""

    def place(self, number: int) -> int:
        """Anywhere: allowed IPs may send it to another host."""
        return 0

    @rule(
        host=HOSTS,
        peer=HOSTS,
        remove=st.booleans(),
        update_only=st.booleans(),
        psk=st.none() | st.sampled_from([PresharedKey(bytes(32)), PresharedKey(b"k" * 32)]),
        endpoint=st.none() | st.sampled_from([STRANGER, Endpoint("192.0.2.1", 51820), Endpoint("192.0.2.2", 51820)]),
        keepalive=st.none() | st.sampled_from([0, 1, 25, 65535]),
        replace=st.booleans(),
        allowed_ips=ALLOWED_IPS,
    )
    def change_peer(
        self,
        host: int,
        peer: int,
        remove: bool,
        update_only: bool,
        psk: PresharedKey | None,
        endpoint: Endpoint | None,
        keepalive: int | None,
        replace: bool,
        allowed_ips: tuple[AllowedIPChange, ...],
    ) -> None:
        public_key = self.hosts[peer].public_key
        patch = PeerPatch(public_key, remove, update_only, psk, endpoint, keepalive, replace, allowed_ips)
        self.apply(host, DevicePatch(peers=(patch,)))

    @rule(host=HOSTS, keys=st.lists(KEYS, max_size=4), replace=st.booleans())
    def add_peers(self, host: int, keys: list[PrivateKey], replace: bool) -> None:
        peers = tuple(PeerPatch(key.public_key, endpoint=STRANGER, persistent_keepalive=10) for key in keys)
        self.apply(host, DevicePatch(replace_peers=replace, peers=peers))

    @rule(host=HOSTS)
    def introduce_again(self, host: int) -> None:
        self.introduce(host)

    @rule(host=HOSTS, key=KEYS | st.just(PrivateKey(bytes(32))) | st.none())
    def change_identity(self, host: int, key: PrivateKey | None) -> None:
        self.apply(host, DevicePatch(private_key=key or self.hosts[host].private_key))

    @rule(host=HOSTS)
    def down(self, host: int) -> None:
        self.hosts[host].device.down(self.now)
        self.network.flush(self.hosts[host])

    @rule(host=HOSTS)
    def up(self, host: int) -> None:
        self.hosts[host].device.up(self.now)
        self.network.flush(self.hosts[host])

    def apply(self, host: int, patch: DevicePatch) -> None:
        self.hosts[host].device.apply(patch, self.now)
        self.network.flush(self.hosts[host])


class LongConversations(Conversations):
    pass


class LongReconfigurations(Reconfigurations):
    pass


TestConversations = Conversations.TestCase
TestConversations.settings = FAST
TestReconfigurations = Reconfigurations.TestCase
TestReconfigurations.settings = FAST
TestLongConversations = pytest.mark.slow(LongConversations.TestCase)
TestLongConversations.settings = LONG
TestLongReconfigurations = pytest.mark.slow(LongReconfigurations.TestCase)
TestLongReconfigurations.settings = LONG


# ── any packets ──────────────────────────────────────────────────────────────────────────────────────────────────────

TO_RIGHT = bytes.fromhex("4500001400000000 40fd0000 0a000001 0a000002")
PACKETS = st.lists(st.binary(max_size=80) | st.binary(max_size=80).map(TO_RIGHT.__add__), max_size=10)


@given(packets=PACKETS, has_session=st.booleans())
@settings(FAST, max_examples=150)
def test_any_packet_is_sealed_staged_or_counted(packets: list[bytes], has_session: bool) -> None:
    network, left, right = create_session()
    if not has_session:
        network.run(200)
    hold(network)
    left.sent.clear()
    before = sum(left.drops().values())
    left.send_packets(*packets)
    sealed = [len(datagram) for datagram in left.sent_of(MessageType.TRANSPORT_DATA)]
    staged = len(left.device._peers[right.public_key]._staged)
    assert len(sealed) + staged + sum(left.drops().values()) - before == len(packets)
    assert bool(sealed and staged) is False
    routed = [packet for packet in packets if packet.startswith(TO_RIGHT[:1]) and packet[16:20] == TO_RIGHT[16:20]]
    assert len(routed) >= len(sealed)
    assert sum(sealed) <= sum(map(len, packets)) + len(sealed) * (TRANSPORT_OVERHEAD + PADDING - 1)


@given(datagrams=st.lists(st.binary(max_size=200), max_size=20), seconds=SHORT_PAUSES | LONG_PAUSES)
@settings(FAST, max_examples=150)
def test_any_batch_is_counted_as_often_as_it_is_long(datagrams: list[bytes], seconds: float) -> None:
    network, _, right = create_session()
    network.run(seconds)
    before = sum(right.drops().values())
    batch = [Train.single(memoryview(bytearray(datagram))) for datagram in datagrams]
    right.device.receive(batch, [STRANGER] * len(batch), network.clock.now())
    assert sum(right.drops().values()) - before == len(datagrams)
    assert right.device.take_packets() == []
    assert right.device.take_datagrams() == []


def test_the_network_of_these_tests_is_what_the_packets_say() -> None:
    _, left, right = create_session()
    assert IPv4Network(left.address).network_address.packed == TO_RIGHT[12:16]
    assert IPv4Network(right.address).network_address.packed == TO_RIGHT[16:20]

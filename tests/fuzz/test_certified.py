"""Invariant: whatever becomes of the messages of hosts with certificates, on the way and by other hands, none of them
raises, keeps anything of a sender who has not proved a key that its gatekeeper knows, or answers anybody with more than
it was asked with; and nothing is delivered that was not sent.
"""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from tests.fuzz.test_device import FAST, HOSTS, LONG, STRANGER, Conversations, bytes_heard
from tests.unit.protocol.test_certified import ALL, AUTHORITY, OTHER_AUTHORITY, Members
from tunnel.endpoint import Endpoint
from tunnel.protocol.cookie import CookieGenerator
from tunnel.protocol.credentials import AuthorityId, Chain, Credentials
from tunnel.protocol.enquiry import create_answer
from tunnel.protocol.stats import DropReason
from tunnel.testing.network import SimulatedHost
from tunnel.wire.certified import CERTIFIED_SIZE
from tunnel.wire.messages import COOKIE_REPLY_SIZE, MessageType, message_type
from tunnel.wire.train import Train

REQUEST, CERTIFICATE = MessageType.CERTIFICATE_REQUEST, MessageType.CERTIFICATE
NAMES = ("laptop", "gateway", "stranger")
ANSWERS = (REQUEST, CERTIFICATE, MessageType.COOKIE_REPLY)
"""What is neither dropped nor part of a session, when all is well."""


class CertifiedConversations(Conversations):
    """Three members of one authority, of whom the second does not know the third, and a fuzzer in between."""

    @initialize(trusted=st.sampled_from([(AUTHORITY,), (AUTHORITY, OTHER_AUTHORITY)]))
    def begin_certified(self, trusted: tuple[bytes, ...]) -> None:
        self.members = Members(seed=7)
        self.network = self.members.network
        self.hosts = [self.members.host(name, trusted=trusted) for name in NAMES]
        stranger = self.hosts[2].public_key
        self.members.registers[self.hosts[1]].known = {
            chain: patch for chain, patch in self.members.known.items() if patch.public_key != stranger
        }
        self.shown = [self.credentials(number) for number in range(3)]
        self.sent: Counter[tuple[int, bytes]] = Counter()
        self.passed_on = [0, 0, 0]
        self.hold()
        self.dial(0, 1)
        self.settle()
        self.dial(2, 1)
        self.settle()

    def begin(self) -> None:
        """Not that of hosts that were introduced by hand."""

    def introduce(self, number: int) -> None:
        self.members.equip(self.hosts[number], self.shown[number])

    def credentials(self, number: int) -> Credentials:
        credentials = self.hosts[number].device.credentials
        assert credentials is not None
        return credentials

    @rule(sender=HOSTS, receiver=HOSTS)
    def dial(self, sender: int, receiver: int) -> None:
        self.members.dial(self.hosts[sender], self.hosts[receiver])

    @rule(host=HOSTS, other=HOSTS)
    def shake_hands(self, host: int, other: int) -> None:
        self.hosts[host].device.handshake(self.hosts[other].public_key, self.now)
        self.network.flush(self.hosts[host])

    @rule(host=HOSTS)
    def stop_asking(self, host: int) -> None:
        self.hosts[host].device.stop_asking()

    @rule(host=HOSTS, is_known=st.booleans())
    def renew(self, host: int, is_known: bool) -> None:
        """Another chain, which the others know or not."""
        chain: Chain = (b"%d" % len(self.members.known) * 100,)
        self.shown[host] = replace(self.shown[host], chain=chain)
        if is_known:
            self.members.vouch(self.hosts[host], chain)
        self.introduce(host)

    @rule(host=HOSTS, is_there=st.booleans())
    def show(self, host: int, is_there: bool) -> None:
        """Certificates are switched off, and on again."""
        self.hosts[host].device.credentials = self.shown[host] if is_there else None

    @rule(asked=HOSTS, back=st.integers(0, 3), chain=HOSTS)
    def forge(self, asked: int, back: int, chain: int) -> None:
        """Some member answers a question that somebody asked with the chain of somebody."""
        requests = self.hosts[asked].sent_of(REQUEST)
        if requests:
            request = requests[-1 - back % len(requests)]
            shown = self.shown[chain].chain
            answer = create_answer(request, AuthorityId(AUTHORITY), b"c" * 16, shown, lambda size: b"n" * size)
            self.receive(self.hosts[asked], answer, STRANGER)

    @rule(asked=HOSTS, receiver=HOSTS, is_elsewhere=st.booleans())
    def send_on(self, asked: int, receiver: int, is_elsewhere: bool) -> None:
        """Somebody sends the last message of a host to another one, or back."""
        sent = self.hosts[asked].sent
        if sent:
            source = STRANGER if is_elsewhere else self.hosts[asked].endpoint
            self.receive(self.hosts[receiver], sent[-1][2], source)

    @rule(host=HOSTS, kind=st.sampled_from(ALL), fill=st.binary(min_size=1, max_size=8), has_mac1=st.booleans())
    def certified_garbage(self, host: int, kind: MessageType, fill: bytes, has_mac1: bool) -> None:
        datagram = bytes([kind, 0, 0, 0]) + (fill * CERTIFIED_SIZE)[: CERTIFIED_SIZE - 4]
        self.receive(self.hosts[host], self.with_mac1(self.hosts[host], datagram) if has_mac1 else datagram, STRANGER)

    def with_mac1(self, host: SimulatedHost, datagram: bytes) -> bytes:
        is_request = message_type(datagram) == REQUEST
        addressee = AuthorityId(AUTHORITY) if is_request else host.public_key
        return CookieGenerator(addressee).add_macs(datagram, self.now)

    def receive(self, host: SimulatedHost, datagram: bytes, source: Endpoint) -> None:
        """Give it to the device when nothing else is due, and account for what comes of it."""
        if len(datagram) == CERTIFIED_SIZE and message_type(datagram) in ALL and self.network.random.random() < 0.2:
            datagram = self.with_mac1(host, datagram)
        device = host.device
        self.network.run(0)
        drops, received, heard = Counter(host.drops()), len(host.received), bytes_heard(host)
        before = len(device._peers), len(device._host.indices)
        device.receive([Train.single(memoryview(bytearray(datagram)))], [source], self.now)
        while device.deadline <= self.now:
            device.expire(self.now)
        answers = [bytes(answer.buffer) for answer, _ in device._host.datagrams]
        after = len(device._peers), len(device._host.indices)
        self.network.flush(host)
        dropped = Counter(host.drops()) - drops
        is_authentic = bytes_heard(host) > heard
        assert dropped.total() + len(host.received) - received <= 1
        assert dropped or is_authentic or message_type(datagram) in ANSWERS
        self.check_certified_answers(datagram, answers, dropped, is_authentic)
        if self.is_made_up(datagram):
            assert after[0] <= before[0]
            assert after[1] <= before[1]

    def check_certified_answers(
        self, datagram: bytes, answers: list[bytes], dropped: Counter[str], is_authentic: bool
    ) -> None:
        """What is not from a peer brings him a cookie, our certificate, a handshake that he asked for, or silence."""
        kind = message_type(datagram)
        size = sum(map(len, answers))
        if {DropReason.WRONG_MAC2.value, DropReason.UNPROVED_STRANGER.value} & {*dropped}:
            assert [len(answer) for answer in answers] == [COOKIE_REPLY_SIZE]
        elif dropped and not is_authentic and DropReason.UNEXPECTED_RESPONSE.value not in dropped:
            assert answers == []
        elif not is_authentic and kind != MessageType.COOKIE_REPLY:
            assert size <= len(datagram)

    def is_made_up(self, datagram: bytes) -> bool:
        """Whether it says what no host ever said, but for indices and MACs, which prove nothing."""
        return all(datagram[12:-32] != said[12:-32] for host in self.hosts for _, _, said in host.sent) and (
            message_type(datagram) != CERTIFICATE
        )

    @invariant()
    def nobody_is_a_peer_whom_the_gatekeeper_does_not_know(self) -> None:
        for number, host in enumerate(getattr(self, "hosts", [])):
            known = {patch.public_key for patch in self.members.registers[host].known.values()}
            others = {other.public_key for other in self.hosts if other is not host}
            assert set(host.device._peers) <= known & others, number


class LongCertifiedConversations(CertifiedConversations):
    pass


TestCertifiedConversations = CertifiedConversations.TestCase
TestCertifiedConversations.settings = FAST
TestLongCertifiedConversations = pytest.mark.slow(LongCertifiedConversations.TestCase)
TestLongCertifiedConversations.settings = LONG

"""Messages 16 to 19 between devices whose gatekeepers know chains by heart: no X.509 here."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_network

import pytest

from tunnel.config.patch import AllowedIPChange, DevicePatch, PeerPatch
from tunnel.endpoint import Endpoint
from tunnel.keys import PublicKey
from tunnel.protocol.cookie import CookieChecker
from tunnel.protocol.credentials import Chain, Credentials
from tunnel.protocol.events import HandshakeCompleted, UnderLoad
from tunnel.protocol.stats import DropReason
from tunnel.testing.network import Network, SimulatedHost
from tunnel.wire.certified import CERTIFIED_SIZE
from tunnel.wire.messages import Buffer, MessageType

AUTHORITY = b"A" * 32
OTHER_AUTHORITY = b"B" * 32

REQUEST = MessageType.CERTIFICATE_REQUEST
CERTIFICATE = MessageType.CERTIFICATE
INITIATION = MessageType.CERTIFIED_INITIATION
RESPONSE = MessageType.CERTIFIED_RESPONSE
ALL = (REQUEST, CERTIFICATE, INITIATION, RESPONSE)


@dataclass
class Register:
    """A gatekeeper that believes what stands in `known`, and remembers what it was asked."""

    known: dict[Chain, PeerPatch] = field(default_factory=dict)
    answers: list[Chain] = field(default_factory=list)
    presented_by: list[PublicKey] = field(default_factory=list)

    def answered(self, endpoint: Endpoint, chain: Chain, now: float) -> DevicePatch | None:
        self.answers.append(chain)
        return self._patch(chain)

    def presented(self, public_key: PublicKey, chain: Chain, endpoint: Endpoint, now: float) -> DevicePatch | None:
        self.presented_by.append(public_key)
        patch = self._patch(chain)
        return patch if patch and patch.peers[-1].public_key == public_key else None

    def _patch(self, chain: Chain) -> DevicePatch | None:
        return DevicePatch(peers=(self.known[chain],)) if chain in self.known else None


class Members:
    """Hosts of one authority on a network, who know each other's chains and nothing else."""

    def __init__(self, seed: int = 0) -> None:
        self.network = Network(seed)
        self.known: dict[Chain, PeerPatch] = {}
        self.registers: dict[SimulatedHost, Register] = {}

    def host(
        self, name: str, *, authority: bytes = AUTHORITY, trusted: tuple[bytes, ...] = (AUTHORITY,)
    ) -> SimulatedHost:
        host = self.network.host()
        chain = (name.encode() * 60,)
        self.vouch(host, chain)
        self.registers[host] = Register(self.known)
        self.equip(host, Credentials(chain, authority, trusted))
        return host

    def equip(self, host: SimulatedHost, credentials: Credentials) -> None:
        host.device.gatekeeper = self.registers[host]
        host.device.credentials = credentials

    def vouch(self, host: SimulatedHost, chain: Chain) -> None:
        allowed = (AllowedIPChange(ip_network(host.address)),)
        self.known[chain] = PeerPatch(host.public_key, replace_allowed_ips=True, allowed_ips=allowed)

    def dial(self, host: SimulatedHost, other: SimulatedHost) -> None:
        host.device.ask(other.endpoint, self.network.clock.now())
        self.network.flush(host)

    def renew(self, host: SimulatedHost, name: str) -> None:
        credentials = host.device.credentials
        assert credentials is not None
        chain = (name.encode() * 60,)
        self.vouch(host, chain)
        host.device.credentials = replace(credentials, chain=chain)


def sent(host: SimulatedHost) -> list[int]:
    return [datagram[0] for _, _, datagram in host.sent if datagram[0] != MessageType.TRANSPORT_DATA]


def drops(host: SimulatedHost, reason: DropReason) -> int:
    return host.drops().get(reason.value, 0)


@pytest.fixture
def members() -> Members:
    return Members()


def test_who_dials_a_name_gets_a_session_in_two_round_trips(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    members.network.run(0.041)
    assert sent(laptop) == [REQUEST, INITIATION]
    assert sent(gateway) == [CERTIFICATE, RESPONSE]
    assert len(laptop.events_of(HandshakeCompleted)) == 1


def test_packets_go_both_ways_after_it(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    members.network.run(0.1)
    laptop.send_to(gateway, b"ping")
    members.network.run(0.1)
    gateway.send_to(laptop, b"pong")
    members.network.run(0.1)
    assert (gateway.received, laptop.received) == ([b"ping"], [b"pong"])


def test_each_of_the_four_messages_has_exactly_1200_bytes(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    members.network.run(0.1)
    sizes = {len(data) for host in (laptop, gateway) for _, _, data in host.sent if data[0] in ALL}
    assert sizes == {CERTIFIED_SIZE}


def test_a_session_is_renewed_with_certificates_again(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    for _ in range(130):
        members.network.run(1)
        laptop.send_to(gateway, b"tick")
    assert sent(laptop) == [REQUEST, INITIATION, INITIATION]
    assert len(gateway.received) == 129


def test_a_chain_that_was_shown_before_is_not_judged_again(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    for _ in range(130):
        members.network.run(1)
        laptop.send_to(gateway, b"tick")
    assert members.registers[gateway].presented_by == [laptop.public_key]
    assert members.registers[laptop].presented_by == []


def test_a_renewed_chain_is_shown_by_the_next_handshake_of_either_side(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    members.network.run(1)
    members.renew(laptop, "renewed")
    members.renew(gateway, "also renewed")
    members.network.run(10)
    laptop.device.handshake(gateway.public_key, members.network.clock.now())
    members.network.flush(laptop)
    members.network.run(1)
    assert members.registers[gateway].presented_by == [laptop.public_key] * 2
    assert members.registers[laptop].presented_by == [gateway.public_key]
    assert len(laptop.events_of(HandshakeCompleted)) == 2


def test_a_renewed_chain_that_is_refused_makes_no_session_and_ends_none(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    members.network.run(1)
    members.renew(laptop, "renewed")
    del members.known[(b"renewed" * 60,)]
    members.network.run(10)
    laptop.device.handshake(gateway.public_key, members.network.clock.now())
    members.network.flush(laptop)
    laptop.send_to(gateway, b"still here")
    members.network.run(1)
    assert drops(gateway, DropReason.CERTIFICATE_REFUSED) == 1
    assert gateway.received == [b"still here"]


@pytest.mark.parametrize("loss", [REQUEST, CERTIFICATE])
def test_a_question_that_was_lost_is_asked_again_word_for_word(members: Members, loss: int) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    lost: list[int] = []
    members.network.filter = lose_one(loss, lost)
    members.dial(laptop, gateway)
    members.network.run(1)
    members.dial(laptop, gateway)
    members.network.run(1)
    assert lost
    assert len(laptop.events_of(HandshakeCompleted)) == 1
    requests = laptop.sent_of(REQUEST)
    assert requests[0] == requests[1]


@pytest.mark.parametrize("loss", [INITIATION, RESPONSE])
def test_a_handshake_message_that_was_lost_is_sent_again(members: Members, loss: int) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    lost: list[int] = []
    members.network.filter = lose_one(loss, lost)
    members.dial(laptop, gateway)
    members.network.run(6)
    assert lost
    assert len(laptop.events_of(HandshakeCompleted)) == 1


def test_a_second_answer_to_one_question_is_not_taken(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    members.network.run(0.1)
    members.network.inject(gateway.endpoint, laptop.endpoint, gateway.sent_of(CERTIFICATE)[0])
    members.network.run(0.1)
    assert drops(laptop, DropReason.UNEXPECTED_CERTIFICATE) == 1
    assert len(members.registers[laptop].answers) == 1


def test_an_answer_that_is_no_longer_wanted_is_not_taken(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    laptop.device.stop_asking()
    members.network.run(0.1)
    assert drops(laptop, DropReason.UNEXPECTED_CERTIFICATE) == 1
    assert sent(laptop) == [REQUEST]


def test_an_outsider_sees_silence(members: Members) -> None:
    outsider = members.host("outsider", authority=OTHER_AUTHORITY, trusted=(OTHER_AUTHORITY,))
    gateway = members.host("gateway")
    members.dial(outsider, gateway)
    members.network.run(1)
    assert gateway.sent == []
    assert drops(gateway, DropReason.WRONG_MAC1) == 1


def test_whoever_is_asked_answers_in_the_name_of_any_authority_that_it_trusts(members: Members) -> None:
    laptop = members.host("laptop", authority=OTHER_AUTHORITY, trusted=(AUTHORITY, OTHER_AUTHORITY))
    gateway = members.host("gateway", trusted=(AUTHORITY, OTHER_AUTHORITY))
    members.dial(laptop, gateway)
    members.network.run(0.1)
    assert len(laptop.events_of(HandshakeCompleted)) == 1


def test_a_host_without_credentials_is_plain_wireguard(members: Members) -> None:
    laptop, stock = members.host("laptop"), members.network.host()
    for kind in ALL:
        members.network.inject(laptop.endpoint, stock.endpoint, bytes((kind, 0, 0, 0)).ljust(CERTIFIED_SIZE, b"\0"))
    members.network.run(0.1)
    assert drops(stock, DropReason.MALFORMED_DATAGRAM) == 4
    assert stock.sent == []


def test_a_certified_host_and_a_plain_peer_share_a_port(members: Members) -> None:
    gateway, laptop, stock = members.host("gateway"), members.host("laptop"), members.network.host()
    stock.connect(gateway)
    members.dial(laptop, gateway)
    stock.send_to(gateway, b"plain")
    members.network.run(0.1)
    laptop.send_to(gateway, b"certified")
    members.network.run(0.1)
    gateway.send_to(stock, b"back")
    members.network.run(0.1)
    assert gateway.received == [b"plain", b"certified"]
    assert stock.received == [b"back"]
    assert not {*sent(stock)} & {*ALL}


def test_nothing_is_kept_for_who_only_asks(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.network.filter = lambda source, destination, datagram: datagram[0] != CERTIFICATE
    before = len(gateway.device.snapshot(0).peers), len(gateway.device._host.indices)
    for _ in range(100):
        members.dial(laptop, gateway)
        members.network.run(0.1)
    assert (len(gateway.device.snapshot(0).peers), len(gateway.device._host.indices)) == before
    assert len(gateway.sent_of(CERTIFICATE)) == 100


# ---- strangers have to bring a cookie ---------------------------------------------------------------------------


def test_a_stranger_without_a_cookie_gets_one_and_comes_back_at_once(members: Members) -> None:
    """Whoever was dialled has forgotten us: it was restarted."""
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    members.network.run(150)
    credentials = gateway.device.credentials
    assert credentials is not None
    gateway.restart()
    members.equip(gateway, credentials)
    laptop.device.handshake(gateway.public_key, members.network.clock.now())
    members.network.flush(laptop)
    members.network.run(0.1)
    assert sent(gateway)[-2:] == [MessageType.COOKIE_REPLY, RESPONSE]
    assert len(laptop.events_of(HandshakeCompleted)) == 2
    assert drops(gateway, DropReason.UNPROVED_STRANGER) == 1


def test_a_recorded_initiation_of_a_forgotten_peer_makes_no_peer(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    members.network.run(1)
    recorded = laptop.sent_of(INITIATION)[0]
    credentials = gateway.device.credentials
    assert credentials is not None
    gateway.restart()
    members.equip(gateway, credentials)
    members.network.inject(laptop.endpoint, gateway.endpoint, recorded)
    members.network.run(1)
    assert gateway.device.snapshot(0).peers == ()


def test_a_recorded_initiation_from_elsewhere_makes_no_peer_either(members: Members) -> None:
    laptop, gateway, thief = members.host("laptop"), members.host("gateway"), members.network.host()
    members.network.filter = lambda source, destination, datagram: datagram[0] != INITIATION
    members.dial(laptop, gateway)
    members.network.run(1)
    members.network.inject(thief.endpoint, gateway.endpoint, laptop.sent_of(INITIATION)[0])
    members.network.run(1)
    assert gateway.device.snapshot(0).peers == ()
    assert drops(gateway, DropReason.UNPROVED_STRANGER) == 1


def test_a_recorded_initiation_of_a_peer_is_a_replay(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    members.network.run(1)
    members.network.inject(laptop.endpoint, gateway.endpoint, laptop.sent_of(INITIATION)[0])
    members.network.run(1)
    assert drops(gateway, DropReason.REPLAYED_HANDSHAKE) == 1


def test_a_cookie_that_answers_a_cookie_is_not_answered_for_ever(members: Members) -> None:
    """Who only ever sends cookies gets one initiation more, and then one per retry."""
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    members.network.run(121)
    gateway.device._intake._checker = NeverSatisfied(gateway.public_key, members.network.random.randbytes)
    gateway.device.apply(DevicePatch(peers=(PeerPatch(laptop.public_key, remove=True),)), members.network.clock.now())
    begun = len(laptop.sent_of(INITIATION))
    laptop.device.handshake(gateway.public_key, members.network.clock.now())
    members.network.flush(laptop)
    members.network.run(4)
    assert len(laptop.sent_of(INITIATION)) == begun + 2


# ---- under load -------------------------------------------------------------------------------------------------


def test_under_load_the_cookie_comes_before_the_certificate(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    load(members, gateway)
    members.dial(laptop, gateway)
    members.network.run(0.1)
    assert sent(laptop) == [REQUEST, REQUEST, INITIATION]
    to_laptop = [datagram[0] for _, where, datagram in gateway.sent if where == laptop.endpoint]
    assert to_laptop[:3] == [MessageType.COOKIE_REPLY, CERTIFICATE, RESPONSE]
    assert len(laptop.events_of(HandshakeCompleted)) == 1


def load(members: Members, host: SimulatedHost) -> None:
    """Many requests of somebody who knows the authority."""
    flooder = members.host("flooder")
    members.dial(flooder, host)
    request = flooder.sent_of(REQUEST)[0]
    for _ in range(600):
        members.network.inject(flooder.endpoint, host.endpoint, request)
    members.network.run(0.1)
    assert host.events_of(UnderLoad) == [UnderLoad(True)]


def lose_one(kind: int, lost: list[int]) -> Callable[[Endpoint, Endpoint, bytes], bool]:
    """A filter that loses the first datagram of a kind."""

    def carries(source: Endpoint, destination: Endpoint, datagram: bytes) -> bool:
        if datagram[0] != kind or lost:
            return True
        lost.append(kind)
        return False

    return carries


class NeverSatisfied(CookieChecker):
    """Sends cookies, and sees none."""

    def check_mac2(self, datagram: Buffer, source: bytes, now: float) -> bool:
        return False

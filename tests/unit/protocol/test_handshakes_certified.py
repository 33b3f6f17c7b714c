"""What an adversary tries with messages 16 to 19, and what comes of it: little.

An outsider sees and sends whatever he likes; a member knows the authority too, and has a certificate of his own.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.protocol.pairs import Held, hold, let_pass
from tests.unit.protocol.test_certified import (
    AUTHORITY,
    CERTIFICATE,
    INITIATION,
    OTHER_AUTHORITY,
    REQUEST,
    RESPONSE,
    Members,
    drops,
    sent,
)
from tests.vectors import load
from tunnel.config.patch import DevicePatch, PeerPatch
from tunnel.endpoint import Endpoint
from tunnel.keys import NO_PRESHARED_KEY, PrivateKey, PublicKey
from tunnel.noise.handshake import CERTIFIED, WIREGUARD, Initiator, Protocol
from tunnel.protocol.constants import UNDER_LOAD_HANDSHAKES_PER_SECOND
from tunnel.protocol.cookie import CookieGenerator
from tunnel.protocol.credentials import AuthorityId, Chain
from tunnel.protocol.enquiry import MAX_REFUSED_ANSWERS, create_answer
from tunnel.protocol.events import HandshakeCompleted
from tunnel.protocol.stats import DropReason
from tunnel.testing.network import SimulatedHost
from tunnel.wire.certified import (
    CERTIFIED_SIZE,
    INITIATION_CHAIN_SIZE,
    CertificateRequest,
    CertifiedInitiation,
    CertifiedResponse,
    pack_certificate_request,
    pack_certified_initiation,
    pack_certified_response,
    pack_chain,
    parse_certified_initiation,
)
from tunnel.wire.messages import (
    COOKIE_REPLY_SIZE,
    COOKIE_SIZE,
    Initiation,
    MessageType,
    Response,
    pack_initiation,
    pack_response,
    parse_cookie_reply,
    sender_index,
)

THIEF = Endpoint("203.0.113.9", 999)
COOKIE_REPLY = MessageType.COOKIE_REPLY


@pytest.fixture
def members() -> Members:
    return Members()


def connect(members: Members) -> tuple[SimulatedHost, SimulatedHost]:
    """A laptop that has dialled a gateway."""
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    members.network.run(1)
    assert len(laptop.events_of(HandshakeCompleted)) == 1
    return laptop, gateway


def arrive(members: Members, host: SimulatedHost, datagram: bytes, source: Endpoint = THIEF) -> list[bytes]:
    """What the host says to whatever arrives, at once."""
    before = len(host.sent)
    members.network.inject(source, host.endpoint, datagram)
    members.network.run(0)
    return [datagram for _, _, datagram in host.sent[before:]]


def state(host: SimulatedHost) -> tuple[int, int, int]:
    """How much it keeps."""
    device = host.device
    return len(device.snapshot(0).peers), len(device._host.indices), len(device._intake)


def answer(request: bytes, chain: Chain, authority: bytes = AUTHORITY) -> bytes:
    """Message 17, as any member can make it who sees the request."""
    return create_answer(request, AuthorityId(authority), b"c" * 16, chain, lambda size: b"n" * size)


def initiation(
    private_key: PrivateKey,
    to: PublicKey,
    chain: Chain,
    *,
    number: int = 1,
    protocol: Protocol = CERTIFIED,
    cookie: bytes = bytes(COOKIE_SIZE),
) -> bytes:
    """An authentic message 18 with a right MAC1, `cookie` inside and no MAC2; or one that was made as message 1 is."""
    ephemeral = PrivateKey(number.to_bytes(32, "big"))
    initiator = Initiator(private_key, to, NO_PRESHARED_KEY, ephemeral, protocol=protocol)
    payload = number.to_bytes(12, "big") + cookie + pack_chain(chain, INITIATION_CHAIN_SIZE)
    message = CertifiedInitiation(7, *initiator.create_initiation(payload))
    return CookieGenerator(to).add_macs(pack_certified_initiation(message), 0.0)


def with_cookie(members: Members, host: SimulatedHost, message: bytes, source: Endpoint) -> bytes:
    """The message with the MAC2 that is right at `source`, whose owner has asked for it."""
    generator = CookieGenerator(host.public_key)
    generator.add_macs(message, 0.0)
    (datagram,) = arrive(members, host, message, source)
    reply = parse_cookie_reply(datagram)
    assert reply is not None
    assert generator.consume_reply(reply, 0.0)
    return generator.add_macs(message, 0.0)


# ── the question, and who answers it ─────────────────────────────────────────────────────────────────────────────────


def ask(members: Members) -> tuple[SimulatedHost, SimulatedHost, bytes]:
    """A laptop that has asked a gateway, and has no answer yet; and its request."""
    laptop, gateway = members.host("laptop"), members.host("gateway")
    members.dial(laptop, gateway)
    return laptop, gateway, laptop.sent_of(REQUEST)[0]


def test_our_own_request_sent_back_to_us_does_not_use_up_the_question(members: Members) -> None:
    laptop, _, request = ask(members)
    (ours,) = arrive(members, laptop, request)
    assert arrive(members, laptop, ours) == []
    assert members.registers[laptop].answers == []
    members.network.run(0.1)
    assert len(laptop.events_of(HandshakeCompleted)) == 1


def test_a_request_that_an_outsider_sends_on_to_another_member_does_not_either(members: Members) -> None:
    laptop, _, request = ask(members)
    other = members.host("other")
    members.registers[laptop].known = {
        chain: patch for chain, patch in members.known.items() if patch.public_key != other.public_key
    }
    (theirs,) = arrive(members, other, request)
    arrive(members, laptop, theirs)
    assert drops(laptop, DropReason.CERTIFICATE_REFUSED) == 1
    members.network.run(0.1)
    assert len(laptop.events_of(HandshakeCompleted)) == 1


def test_a_refused_answer_is_judged_once_until_we_ask_again(members: Members) -> None:
    laptop, gateway, request = ask(members)
    forged = answer(request, (b"forged",))
    for _ in range(3):
        arrive(members, laptop, forged)
    assert members.registers[laptop].answers == [(b"forged",)]
    assert drops(laptop, DropReason.UNEXPECTED_CERTIFICATE) == 2
    hold(members.network)
    members.dial(laptop, gateway)
    arrive(members, laptop, forged)
    assert members.registers[laptop].answers == [(b"forged",)] * 2


def test_endless_forged_answers_are_judged_a_few_times_for_each_question(members: Members) -> None:
    laptop, _, request = ask(members)
    for number in range(100):
        arrive(members, laptop, answer(request, (b"%d" % number,)))
    assert len(members.registers[laptop].answers) == MAX_REFUSED_ANSWERS


def test_an_answer_to_an_earlier_question_is_not_one_to_the_next(members: Members) -> None:
    laptop, gateway = connect(members)
    hold(members.network)
    members.dial(laptop, gateway)
    recorded, index = gateway.sent_of(CERTIFICATE)[0], laptop.sent_of(REQUEST)[-1][4:8]
    arrive(members, laptop, recorded[:4] + index + recorded[8:], gateway.endpoint)
    assert len(members.registers[laptop].answers) == 1


@pytest.mark.parametrize("authority", [OTHER_AUTHORITY, bytes(32)])
def test_who_does_not_know_the_authority_can_neither_read_nor_make_an_answer(
    members: Members, authority: bytes
) -> None:
    laptop, _, request = ask(members)
    arrive(members, laptop, answer(request, (b"forged",), authority))
    assert members.registers[laptop].answers == []
    assert drops(laptop, DropReason.UNEXPECTED_CERTIFICATE) == 1


def test_a_member_who_answers_with_the_chain_of_somebody_else_gets_no_session(members: Members) -> None:
    """The handshake is for the holder of the key in the chain, whoever showed it."""
    laptop, gateway, request = ask(members)
    other = members.host("other")
    credentials = other.device.credentials
    assert credentials is not None
    arrive(members, laptop, answer(request, credentials.chain))
    members.network.run(1)
    assert sent(laptop) == [REQUEST, INITIATION]
    assert drops(gateway, DropReason.WRONG_MAC1) == 1
    assert laptop.events_of(HandshakeCompleted) == []


def test_a_forged_cookie_in_an_answer_costs_one_retry(members: Members) -> None:
    laptop, gateway, request = ask(members)
    credentials = gateway.device.credentials
    assert credentials is not None
    arrive(members, laptop, answer(request, credentials.chain))
    members.network.run(6)
    assert sent(laptop) == [REQUEST, INITIATION, INITIATION]
    assert len(laptop.events_of(HandshakeCompleted)) == 1


def test_endless_cookies_for_a_question_make_us_ask_once_more(members: Members) -> None:
    laptop, _, request = ask(members)
    generator = CookieGenerator(AuthorityId(AUTHORITY))
    generator.add_macs(request, 0.0)
    other = members.host("other")
    other.device._intake._load.until = members.network.clock.now() + 60
    for _ in range(20):
        replies = arrive(members, other, request, laptop.endpoint)
        for reply in replies:
            arrive(members, laptop, reply)
    assert sent(laptop) == [REQUEST, REQUEST]


def test_nobody_asks_more_than_so_many_at_once(members: Members) -> None:
    laptop = members.host("laptop")
    for number in range(1000):
        laptop.device.ask(Endpoint(f"198.51.{number // 256}.{number % 256}", 51820), 0.0)
    assert state(laptop)[1] == 256


def test_of_too_many_questions_the_one_asked_longest_ago_is_given_up(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    laptop.device.ask(gateway.endpoint, 0.0)
    for number in range(255):
        laptop.device.ask(Endpoint(f"198.51.100.{number}", 51820), 0.0)
    laptop.device.ask(gateway.endpoint, 0.0)
    laptop.device.ask(Endpoint("198.51.101.1", 51820), 0.0)
    members.network.flush(laptop)
    members.network.run(0.1)
    assert len(laptop.events_of(HandshakeCompleted)) == 1


# ── who is told, and how much ────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_with_anything_in_its_padding_is_not_answered(members: Members) -> None:
    gateway = members.host("gateway")
    message = pack_certificate_request(CertificateRequest(7, b"n" * 32, b"\1".rjust(1128, b"\0")))
    assert arrive(members, gateway, CookieGenerator(AuthorityId(AUTHORITY)).add_macs(message, 0.0)) == []
    assert drops(gateway, DropReason.MALFORMED_DATAGRAM) == 1


def test_a_request_for_our_own_key_is_not_answered(members: Members) -> None:
    """MAC1 is keyed with the authority, and with nothing else that somebody may know."""
    gateway = members.host("gateway")
    message = pack_certificate_request(CertificateRequest(7, b"n" * 32))
    assert arrive(members, gateway, CookieGenerator(gateway.public_key).add_macs(message, 0.0)) == []
    assert drops(gateway, DropReason.WRONG_MAC1) == 1


def test_what_waits_in_the_name_of_an_authority_that_we_cease_to_trust_is_not_answered(members: Members) -> None:
    gateway = members.host("gateway", authority=OTHER_AUTHORITY, trusted=(AUTHORITY, OTHER_AUTHORITY))
    members.network.run(0)
    message = pack_certificate_request(CertificateRequest(7, b"n" * 32))
    request = CookieGenerator(AuthorityId(AUTHORITY)).add_macs(message, 0.0)
    device, credentials = gateway.device, gateway.device.credentials
    assert credentials is not None
    device._intake.add(memoryview(request), THIEF, 0.0)
    device.credentials = replace(credentials, trusted=(OTHER_AUTHORITY,))
    device.expire(0.0)
    assert device.take_datagrams() == []


def test_nobody_is_sent_more_than_he_sent_whatever_address_he_claims(members: Members) -> None:
    _, gateway, request = ask(members)
    stranger = initiation(PrivateKey(b"s" * 32), gateway.public_key, (b"stranger",))
    for datagram in (request, stranger):
        assert all(len(reply) <= CERTIFIED_SIZE for reply in arrive(members, gateway, datagram))
        assert len(arrive(members, gateway, datagram)) == 1


def test_who_sends_many_recorded_requests_in_many_names_gets_cookies_after_the_first_few(members: Members) -> None:
    """Nothing is amplified; and a second has at most so many messages of full size."""
    _, gateway, request = ask(members)
    for number in range(2000):
        source = Endpoint(f"198.51.{number // 256}.{number % 256}", 51820)
        members.network.inject(source, gateway.endpoint, request)
    members.network.run(0)
    assert len(gateway.sent_of(CERTIFICATE)) <= UNDER_LOAD_HANDSHAKES_PER_SECOND
    assert {len(datagram) for _, _, datagram in gateway.sent} == {CERTIFIED_SIZE, COOKIE_REPLY_SIZE}


# ── strangers ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cookie_is_good_only_where_it_was_sent(members: Members) -> None:
    gateway, stranger = members.host("gateway"), PrivateKey(b"s" * 32)
    cookie = gateway.device._intake.cookie(THIEF, members.network.clock.now())
    message = initiation(stranger, gateway.public_key, (b"stranger",), cookie=cookie)
    proved = with_cookie(members, gateway, message, THIEF)
    arrive(members, gateway, proved, replace(THIEF, port=1000))
    assert members.registers[gateway].presented_by == []
    arrive(members, gateway, proved)
    assert members.registers[gateway].presented_by == [stranger.public_key]


def test_a_cookie_for_a_question_is_none_for_a_handshake(members: Members) -> None:
    gateway = members.host("gateway")
    intake = gateway.device._intake
    (checker,) = intake._checkers.values()
    source = THIEF.packed + THIEF.port.to_bytes(2, "big")
    assert checker.cookie(source, 0.0) != intake.cookie(THIEF, 0.0)


def test_a_stranger_who_is_refused_leaves_nothing_behind(members: Members) -> None:
    gateway = members.host("gateway")
    before = state(gateway)
    cookie = gateway.device._intake.cookie(THIEF, members.network.clock.now())
    for number in range(1, 20):
        key = PrivateKey(number.to_bytes(32, "big"))
        message = initiation(key, gateway.public_key, (b"stranger",), number=number, cookie=cookie)
        assert arrive(members, gateway, with_cookie(members, gateway, message, THIEF)) == []
    assert drops(gateway, DropReason.CERTIFICATE_REFUSED) == 19
    assert state(gateway) == before


def test_a_stranger_without_the_private_key_of_his_chain_is_not_even_judged(members: Members) -> None:
    """Anybody can seal somebody else's static key into an initiation; only its holder can seal what follows."""
    laptop, gateway = members.host("laptop"), members.host("gateway")
    ours = parse_certified_initiation(initiation(PrivateKey(b"s" * 32), gateway.public_key, (b"stranger",)))
    assert ours is not None
    forged = replace_static(ours, gateway.public_key, laptop.public_key)
    message = CookieGenerator(gateway.public_key).add_macs(pack_certified_initiation(forged), 0.0)
    arrive(members, gateway, with_cookie(members, gateway, message, THIEF))
    assert drops(gateway, DropReason.HANDSHAKE_NOT_AUTHENTIC) == 1
    assert members.registers[gateway].presented_by == []


def replace_static(message: CertifiedInitiation, to: PublicKey, claimed: PublicKey) -> CertifiedInitiation:
    """The same in the name of `claimed`."""
    ephemeral = PrivateKey((1).to_bytes(32, "big"))
    state = CERTIFIED.begin(to)
    CERTIFIED.mix_ephemeral(state, ephemeral.public_key.raw)
    state.mix_key(ephemeral.exchange(to.raw))
    return message._replace(static=state.encrypt_and_hash(claimed.raw))


LOW_ORDER = [PublicKey.from_base64(text) for text in load("tables")["low_order_points_base64"]]


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_chain_for_a_low_order_key_makes_no_handshake(members: Members, point: PublicKey) -> None:
    laptop, _, request = ask(members)
    members.known[(b"nobody",)] = PeerPatch(point)
    assert arrive(members, laptop, answer(request, (b"nobody",))) == []


@pytest.mark.parametrize("point", LOW_ORDER)
def test_an_initiation_in_the_name_of_a_low_order_key_is_refused(members: Members, point: PublicKey) -> None:
    """Its shared secret is zero for everybody: sealed with that, as someone would who hoped for it."""
    gateway = members.host("gateway")
    ephemeral = PrivateKey((1).to_bytes(32, "big"))
    state = CERTIFIED.begin(gateway.public_key)
    CERTIFIED.mix_ephemeral(state, ephemeral.public_key.raw)
    state.mix_key(ephemeral.exchange(gateway.public_key.raw))
    static = state.encrypt_and_hash(point.raw)
    state.mix_key(bytes(32))
    payload = state.encrypt_and_hash(bytes(28) + pack_chain((b"nobody",), INITIATION_CHAIN_SIZE))
    message = pack_certified_initiation(CertifiedInitiation(7, ephemeral.public_key.raw, static, payload))
    message = CookieGenerator(gateway.public_key).add_macs(message, 0.0)
    assert arrive(members, gateway, with_cookie(members, gateway, message, THIEF)) == []
    assert drops(gateway, DropReason.HANDSHAKE_NOT_AUTHENTIC) == 1


# ── one message for another ──────────────────────────────────────────────────────────────────────────────────────────


def test_message_18_made_like_message_1_is_not_authentic(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    credentials = laptop.device.credentials
    assert credentials is not None
    message = initiation(laptop.private_key, gateway.public_key, credentials.chain, protocol=WIREGUARD)
    assert arrive(members, gateway, message) == []
    assert drops(gateway, DropReason.HANDSHAKE_NOT_AUTHENTIC) == 1


def test_message_1_made_like_message_18_is_not_authentic(members: Members) -> None:
    laptop, gateway = connect(members)
    initiator = Initiator(
        laptop.private_key, gateway.public_key, NO_PRESHARED_KEY, PrivateKey(b"e" * 32), protocol=CERTIFIED
    )
    message = pack_initiation(Initiation(7, *initiator.create_initiation(b"\xff" * 12)))
    assert arrive(members, gateway, CookieGenerator(gateway.public_key).add_macs(message, 0.0)) == []
    assert drops(gateway, DropReason.HANDSHAKE_NOT_AUTHENTIC) == 1


def test_a_stranger_with_message_1_has_no_certificate_to_show(members: Members) -> None:
    gateway, stranger = members.host("gateway"), PrivateKey(b"s" * 32)
    initiator = Initiator(stranger, gateway.public_key, NO_PRESHARED_KEY, PrivateKey(b"e" * 32))
    message = pack_initiation(Initiation(7, *initiator.create_initiation(bytes(12))))
    assert arrive(members, gateway, CookieGenerator(gateway.public_key).add_macs(message, 0.0)) == []
    assert drops(gateway, DropReason.UNKNOWN_PEER) == 1


def response_2(index: int) -> bytes:
    return pack_response(Response(1, index, b"e" * 32, bytes(16)))


def response_19(index: int) -> bytes:
    return pack_certified_response(CertifiedResponse(1, index, b"e" * 32, bytes(1124)))


@pytest.mark.parametrize("response", [response_2, response_19])
def test_a_response_to_a_question_is_none(members: Members, response: Callable[[int], bytes]) -> None:
    laptop, _, request = ask(members)
    message = CookieGenerator(laptop.public_key).add_macs(response(sender_index(request)), 0.0)
    assert arrive(members, laptop, message) == []
    assert drops(laptop, DropReason.UNEXPECTED_RESPONSE) == 1


def test_data_for_a_question_is_for_nobody(members: Members) -> None:
    laptop, _, request = ask(members)
    assert arrive(members, laptop, b"\4\0\0\0" + request[4:8] + bytes(24)) == []
    assert drops(laptop, DropReason.NO_SUCH_INDEX) == 1


def test_a_plain_response_to_a_certified_initiation_is_none(members: Members) -> None:
    laptop, _, held = hold_initiation(members)
    message = CookieGenerator(laptop.public_key).add_macs(response_2(sender_index(held[0][2])), 0.0)
    assert arrive(members, laptop, message) == []
    assert drops(laptop, DropReason.UNEXPECTED_RESPONSE) == 1


def test_a_certified_response_to_a_plain_initiation_is_none(members: Members) -> None:
    laptop, stock = members.host("laptop"), members.network.host()
    laptop.connect(stock)
    held = hold(members.network)
    laptop.send_to(stock, b"plain")
    message = CookieGenerator(laptop.public_key).add_macs(response_19(sender_index(held[0][2])), 0.0)
    assert arrive(members, laptop, message) == []
    assert drops(laptop, DropReason.UNEXPECTED_RESPONSE) == 1


@pytest.mark.parametrize("kind", [INITIATION, RESPONSE])
def test_an_answer_for_a_handshake_or_a_session_is_none(members: Members, kind: MessageType) -> None:
    """The index of the pending handshake is the session's afterwards."""
    laptop, gateway, held = hold_initiation(members)
    index = held[0][2][4:8]
    if kind is RESPONSE:
        let_pass(members.network)
        members.network.inject(*held[0])
        members.network.run(0.1)
        assert len(laptop.events_of(HandshakeCompleted)) == 1
    forged = answer(laptop.sent_of(REQUEST)[0], (b"forged",))
    assert arrive(members, laptop, forged[:4] + index + forged[8:], gateway.endpoint) == []
    assert drops(laptop, DropReason.UNEXPECTED_CERTIFICATE) == 1


def hold_initiation(members: Members) -> tuple[SimulatedHost, SimulatedHost, Held]:
    """A laptop that has dialled a gateway, and whose message 18 is held."""
    laptop, gateway = members.host("laptop"), members.host("gateway")
    held = hold(members.network, INITIATION)
    members.dial(laptop, gateway)
    members.network.run(0.1)
    assert len(held) == 1
    return laptop, gateway, held


# ── who loses messages, or sends them again ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [INITIATION, RESPONSE])
def test_who_loses_our_handshakes_does_not_make_us_show_less(members: Members, kind: MessageType) -> None:
    laptop, gateway = connect(members)
    hold(members.network, kind)
    laptop.sent.clear()
    for _ in range(300):
        laptop.send_to(gateway, b"tick")
        members.network.run(1)
    assert {*sent(laptop)} == {INITIATION}


def test_who_loses_our_questions_gets_nothing_else(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    hold(members.network, REQUEST)
    for _ in range(10):
        members.dial(laptop, gateway)
        members.network.run(5)
    assert sent(laptop) == [REQUEST] * 10


def forget(members: Members, host: SimulatedHost, other: SimulatedHost) -> None:
    """The other is no peer any more."""
    patch = DevicePatch(peers=(PeerPatch(other.public_key, remove=True),))
    host.device.apply(patch, members.network.clock.now())


def test_a_recorded_initiation_with_a_cookie_of_the_thief_does_not_bring_back_a_peer(members: Members) -> None:
    laptop, gateway = connect(members)
    recorded = laptop.sent_of(INITIATION)[0]
    members.network.run(200)
    forget(members, gateway, laptop)
    assert arrive(members, gateway, with_cookie(members, gateway, recorded, THIEF)) == []
    assert drops(gateway, DropReason.REPLAYED_HANDSHAKE) == 1
    assert state(gateway) == (0, 0, 0)


def test_the_peer_itself_comes_back(members: Members) -> None:
    laptop, gateway = connect(members)
    members.network.run(200)
    forget(members, gateway, laptop)
    laptop.device.handshake(gateway.public_key, members.network.clock.now())
    members.network.flush(laptop)
    members.network.run(6)
    assert gateway.device.has_session(laptop.public_key, members.network.clock.now())


def test_after_a_restart_a_recorded_initiation_makes_no_peer_either(members: Members) -> None:
    """Nothing is remembered, but the cookie that was sealed in it is none of the thief's."""
    laptop, gateway = connect(members)
    credentials = gateway.device.credentials
    assert credentials is not None
    gateway.restart()
    members.equip(gateway, credentials)
    arrive(members, gateway, with_cookie(members, gateway, laptop.sent_of(INITIATION)[0], THIEF))
    assert drops(gateway, DropReason.REPLAYED_HANDSHAKE) == 1
    assert state(gateway) == (0, 0, 0)


def test_a_refused_initiation_of_a_peer_is_judged_once_however_often_it_is_sent(members: Members) -> None:
    laptop, gateway = connect(members)
    members.renew(laptop, "renewed")
    del members.known[(b"renewed" * 60,)]
    members.network.run(10)
    laptop.device.handshake(gateway.public_key, members.network.clock.now())
    members.network.flush(laptop)
    members.network.run(0.1)
    for _ in range(5):
        arrive(members, gateway, laptop.sent_of(INITIATION)[-1])
    assert drops(gateway, DropReason.CERTIFICATE_REFUSED) == 1
    assert drops(gateway, DropReason.REPLAYED_HANDSHAKE) == 5


def test_after_a_plain_initiation_of_a_peer_ours_are_plain_too(members: Members) -> None:
    """Somebody who is configured by hand has shown a certificate once, and has none any more."""
    laptop, gateway = connect(members)
    laptop.device.credentials = None
    members.network.run(10)
    laptop.device.handshake(gateway.public_key, members.network.clock.now())
    members.network.flush(laptop)
    members.network.run(10)
    gateway.device.handshake(laptop.public_key, members.network.clock.now())
    members.network.flush(gateway)
    members.network.run(1)
    assert gateway.sent_of(INITIATION) == []
    assert len(gateway.sent_of(MessageType.HANDSHAKE_INITIATION)) == 1


def test_who_is_not_dialled_does_not_say_who_it_is(members: Members) -> None:
    laptop, other = members.host("laptop"), members.host("other")
    credentials = laptop.device.credentials
    assert credentials is not None
    laptop.device.credentials = replace(credentials, is_dialled=False)
    members.dial(other, laptop)
    members.network.run(1)
    assert laptop.sent == []
    assert drops(laptop, DropReason.WRONG_MAC1) == 1


def test_a_recorded_response_is_not_taken_twice(members: Members) -> None:
    laptop, gateway = connect(members)
    assert arrive(members, laptop, gateway.sent_of(RESPONSE)[0], gateway.endpoint) == []
    assert drops(laptop, DropReason.UNEXPECTED_RESPONSE) == 1


def test_a_late_response_that_shows_a_new_chain_still_makes_the_session(members: Members) -> None:
    """To judge the chain applies a patch, which must not begin the next handshake for the packets that wait."""
    laptop, gateway = connect(members)
    members.network.run(200)
    members.renew(gateway, "renewed")
    held = hold(members.network, RESPONSE)
    laptop.send_to(gateway, b"waits")
    members.network.run(0.1)
    members.network.clock.advance(5.0)
    let_pass(members.network)
    members.network.inject(*held[0])
    members.network.run(0.1)
    assert gateway.received == [b"waits"]


def test_a_gatekeeper_that_takes_one_key_for_another_is_a_bug(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    register = members.registers[gateway]
    patch = DevicePatch(peers=(PeerPatch(PublicKey(b"x" * 32)),))
    register.presented = lambda *arguments: patch  # type: ignore[method-assign]
    members.dial(laptop, gateway)
    with pytest.raises(AssertionError):
        members.network.run(0.1)

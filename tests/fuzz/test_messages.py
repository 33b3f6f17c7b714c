"""Invariant: any bytes are exactly one message, which packs to the same bytes, or none; and no field of one, whatever
it holds, makes the handshake, the MACs, the cookies or a question raise, or accept what its owner did not make.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.protocol.pairs import initiation
from tunnel.endpoint import Endpoint
from tunnel.keys import NO_PRESHARED_KEY, PrivateKey
from tunnel.noise.handshake import CERTIFIED, Initiator, Responder, compute_static_shared
from tunnel.protocol.cookie import CookieChecker, CookieGenerator, pack_source
from tunnel.protocol.credentials import AuthorityId
from tunnel.protocol.enquiry import Enquiry, create_answer
from tunnel.wire import ip
from tunnel.wire.certified import (
    CERTIFIED_SIZE,
    INITIATION_CHAIN_SIZE,
    MAX_CHAIN_CERTIFICATES,
    CertificateAnswer,
    pack_certificate_answer,
    pack_certificate_request,
    pack_certified_initiation,
    pack_certified_response,
    pack_chain,
    parse_certificate_answer,
    parse_certificate_request,
    parse_certified_initiation,
    parse_certified_response,
    parse_chain,
)
from tunnel.wire.messages import (
    COOKIE_REPLY_SIZE,
    INITIATION_SIZE,
    RESPONSE_SIZE,
    CookieReply,
    MessageType,
    message_type,
    pack_cookie_reply,
    pack_initiation,
    pack_response,
    parse_cookie_reply,
    parse_initiation,
    parse_response,
)

OURS = PrivateKey(b"o" * 32)
THEIRS = PrivateKey(b"t" * 32)
SOURCE = pack_source(Endpoint("192.0.2.1", 51820))
AUTHENTIC = initiation(THEIRS, OURS.public_key)
LOW_ORDER = [bytes(32), b"\x01" + bytes(31), bytes.fromhex("ecffffff" + "ff" * 27 + "7f")]

AUTHORITY = AuthorityId(b"A" * 32)
ENDPOINT = Endpoint("192.0.2.1", 51820)

Codec = tuple[MessageType, int, Callable[[Any], Any], Callable[[Any], bytes]]
CODECS: list[Codec] = [
    (MessageType.HANDSHAKE_INITIATION, INITIATION_SIZE, parse_initiation, pack_initiation),
    (MessageType.HANDSHAKE_RESPONSE, RESPONSE_SIZE, parse_response, pack_response),
    (MessageType.COOKIE_REPLY, COOKIE_REPLY_SIZE, parse_cookie_reply, pack_cookie_reply),
    (MessageType.CERTIFICATE_REQUEST, CERTIFIED_SIZE, parse_certificate_request, pack_certificate_request),
    (MessageType.CERTIFICATE, CERTIFIED_SIZE, parse_certificate_answer, pack_certificate_answer),
    (MessageType.CERTIFIED_INITIATION, CERTIFIED_SIZE, parse_certified_initiation, pack_certified_initiation),
    (MessageType.CERTIFIED_RESPONSE, CERTIFIED_SIZE, parse_certified_response, pack_certified_response),
]

sizes = st.sampled_from([0, 1, 3, 4, 8, 64, 92, 148, 1200, 63, 65, 91, 93, 147, 149, 1199, 1201])
anything = st.binary(max_size=200) | st.builds(
    lambda kind, size, fill: (bytes([kind, 0, 0, 0]) + fill * size)[:size],
    st.integers(0, 5) | st.integers(15, 20),
    sizes,
    st.just(b"\0") | st.binary(min_size=1, max_size=7),
)
public_keys = st.binary(min_size=32, max_size=32) | st.sampled_from(LOW_ORDER)


def fixed(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


@given(anything)
def test_any_bytes_are_at_most_one_message(datagram: bytes) -> None:
    """Of a request the padding has to be right too."""
    parsed = [(pack, message) for _, _, parse, pack in CODECS if (message := parse(datagram)) is not None]
    is_one = (message_type(datagram), len(datagram)) in {(kind, size) for kind, size, _, _ in CODECS}
    if is_one and message_type(datagram) == MessageType.CERTIFICATE_REQUEST:
        is_one = not any(datagram[40:-32])
    assert [pack(message) for pack, message in parsed] == ([datagram] if is_one else [])


@given(anything)
def test_a_view_parses_as_the_bytes_do(datagram: bytes) -> None:
    view = memoryview(bytearray(datagram))
    assert message_type(view) == message_type(datagram)
    for _, _, parse, _ in CODECS:
        assert parse(view) == parse(datagram)


@given(public_keys, fixed(48))
def test_a_forged_initiation_names_nobody(ephemeral: bytes, static: bytes) -> None:
    assert Responder(OURS).consume_initiation(ephemeral, static) is None


@given(bit=st.integers(64, 116 * 8 - 1))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_an_initiation_with_any_bit_changed_is_nobodys(bit: int) -> None:
    """Up to the MACs and but for the sender index, which is not authenticated (nor is the top bit of a public key)."""
    changed = bytearray(AUTHENTIC)
    changed[bit // 8] ^= 1 << bit % 8
    message = parse_initiation(bytes(changed))
    assert message is not None
    incoming = Responder(OURS).consume_initiation(message.ephemeral, message.static)
    if incoming is None:
        return
    shared = compute_static_shared(OURS, incoming.initiator)
    assert shared is not None
    assert incoming.consume_timestamp(shared, message.timestamp) is None


@given(fixed(28))
def test_a_forged_timestamp_is_not_authentic(timestamp: bytes) -> None:
    message = parse_initiation(AUTHENTIC)
    shared = compute_static_shared(OURS, THEIRS.public_key)
    assert message is not None
    assert shared is not None
    incoming = Responder(OURS).consume_initiation(message.ephemeral, message.static)
    assert incoming is not None
    assert incoming.consume_timestamp(shared, timestamp) is None


@given(public_keys, fixed(16))
def test_a_forged_response_makes_no_session(ephemeral: bytes, nothing: bytes) -> None:
    initiator = Initiator(OURS, THEIRS.public_key, NO_PRESHARED_KEY, PrivateKey(b"e" * 32))
    initiator.create_initiation(bytes(12))
    assert initiator.consume_response(ephemeral, nothing) is None


@given(fixed(INITIATION_SIZE) | fixed(RESPONSE_SIZE))
def test_no_random_message_has_a_right_mac(datagram: bytes) -> None:
    checker = CookieChecker(OURS.public_key, bytes)
    assert not checker.check_mac1(datagram)
    assert not checker.check_mac2(datagram, SOURCE, 0.0)


@given(fixed(24), fixed(32))
def test_a_forged_cookie_reply_is_refused(nonce: bytes, cookie: bytes) -> None:
    generator = CookieGenerator(OURS.public_key)
    before = generator.add_macs(AUTHENTIC, 0.0)
    assert not generator.consume_reply(CookieReply(7, nonce, cookie), 0.0)
    assert generator.add_macs(AUTHENTIC, 0.0) == before


# ── chains, questions and their answers ──────────────────────────────────────────────────────────────────────────────

CHAIN = (b"leaf" * 60, b"issuer" * 60)
FIELD = pack_chain(CHAIN, INITIATION_CHAIN_SIZE)


def question() -> tuple[Enquiry, bytes]:
    """Somebody's question, and message 16."""
    enquiry = Enquiry(AUTHORITY, ENDPOINT, b"n" * 32)
    enquiry.local_index = 7
    return enquiry, enquiry.create_request(0.0)


ENQUIRY, REQUEST = question()
ANSWER = create_answer(REQUEST, AUTHORITY, b"c" * 16, CHAIN, lambda size: b"r" * size)


@given(st.binary(max_size=1200) | st.builds(lambda fill: (fill * 1200)[:1200], st.binary(min_size=1, max_size=9)))
@settings(deadline=None)
def test_any_field_is_one_or_two_certificates_with_nothing_behind_or_none(field: bytes) -> None:
    chain = parse_chain(field)
    if chain is not None:
        assert 1 <= len(chain) <= MAX_CHAIN_CERTIFICATES
        assert all(chain)
        assert pack_chain(chain, len(field)) == field


@given(position=st.integers(0, len(FIELD) - 1), value=st.integers(0, 255))
def test_a_field_with_any_byte_changed_is_another_chain_or_none(position: int, value: int) -> None:
    changed = bytearray(FIELD)
    changed[position] = value
    chain = parse_chain(bytes(changed))
    assert (chain == CHAIN) is (changed == FIELD)


@given(bit=st.integers(64, CERTIFIED_SIZE * 8 - 1))
@settings(max_examples=200, deadline=None)
def test_an_answer_with_any_bit_changed_is_nobodys(bit: int) -> None:
    """But for the receiver, which only says whose it is."""
    changed = bytearray(ANSWER)
    changed[bit // 8] ^= 1 << bit % 8
    message = parse_certificate_answer(bytes(changed))
    assert message is not None
    assert ENQUIRY.open_answer(message) is None


@given(fixed(24), st.binary(min_size=1, max_size=9))
def test_a_forged_answer_is_nobodys(nonce: bytes, fill: bytes) -> None:
    assert ENQUIRY.open_answer(CertificateAnswer(7, nonce, (fill * 1168)[:1168])) is None


@given(bit=st.integers(0, CERTIFIED_SIZE * 8 - 129))
@settings(max_examples=200, deadline=None)
def test_a_request_with_any_bit_changed_has_a_wrong_mac1(bit: int) -> None:
    """MAC2, behind it, is not covered; it is zero, and may be anything while nobody asks for it."""
    changed = bytearray(REQUEST)
    changed[bit // 8] ^= 1 << bit % 8
    assert not CookieChecker(AUTHORITY, bytes).check_mac1(changed)


@given(fixed(24), fixed(32))
def test_a_forged_cookie_reply_to_a_question_is_refused(nonce: bytes, cookie: bytes) -> None:
    enquiry, request = question()
    assert enquiry.consume_cookie_reply(CookieReply(7, nonce, cookie), 0.0) is None
    assert enquiry.create_request(0.0) == request


@given(public_keys, fixed(48))
def test_a_forged_certified_initiation_names_nobody(ephemeral: bytes, static: bytes) -> None:
    assert Responder(OURS, protocol=CERTIFIED).consume_initiation(ephemeral, static) is None


@given(public_keys, fixed(16))
def test_a_forged_certified_response_makes_no_session(ephemeral: bytes, fill: bytes) -> None:
    initiator = Initiator(OURS, THEIRS.public_key, NO_PRESHARED_KEY, PrivateKey(b"e" * 32), protocol=CERTIFIED)
    initiator.create_initiation(bytes(12) + FIELD)
    assert initiator.consume_response(ephemeral, (fill * 71)[:1124]) is None


# ── inner packets ────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.binary(max_size=100))
def test_any_inner_packet_has_a_length_within_it_or_none(packet: bytes) -> None:
    length = ip.total_length(packet)
    assert length is None or 20 <= length <= len(packet)
    assert len(ip.source(packet)) == len(ip.destination(packet)) in (0, 4, 16)
    if length is not None:
        assert ip.source(packet) != b""

"""Invariant: any bytes are exactly one message, which packs to the same bytes, or none; and no field of one, whatever
it holds, makes the handshake, the MACs or the cookies raise, or accept what its owner did not make.
"""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.protocol.pairs import initiation
from tunnel.endpoint import Endpoint
from tunnel.keys import NO_PRESHARED_KEY, PrivateKey
from tunnel.noise.handshake import Initiator, Responder, compute_static_shared
from tunnel.protocol.cookie import CookieChecker, CookieGenerator, pack_source
from tunnel.wire import ip
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

sizes = st.sampled_from([0, 1, 3, 4, 8, 64, 92, 148, 63, 65, 91, 93, 147, 149])
anything = st.binary(max_size=200) | st.builds(
    lambda kind, size, fill: (bytes([kind, 0, 0, 0]) + fill * size)[:size],
    st.integers(0, 5),
    sizes,
    st.binary(min_size=1, max_size=7),
)
public_keys = st.binary(min_size=32, max_size=32) | st.sampled_from(LOW_ORDER)


def fixed(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


@given(anything)
def test_any_bytes_are_at_most_one_message(datagram: bytes) -> None:
    packed = []
    if (first := parse_initiation(datagram)) is not None:
        packed.append(pack_initiation(first))
    if (second := parse_response(datagram)) is not None:
        packed.append(pack_response(second))
    if (third := parse_cookie_reply(datagram)) is not None:
        packed.append(pack_cookie_reply(third))
    is_one = (message_type(datagram), len(datagram)) in (
        (MessageType.HANDSHAKE_INITIATION, INITIATION_SIZE),
        (MessageType.HANDSHAKE_RESPONSE, RESPONSE_SIZE),
        (MessageType.COOKIE_REPLY, COOKIE_REPLY_SIZE),
    )
    assert packed == ([datagram] if is_one else [])


@given(anything)
def test_a_view_parses_as_the_bytes_do(datagram: bytes) -> None:
    view = memoryview(bytearray(datagram))
    assert message_type(view) == message_type(datagram)
    assert parse_initiation(view) == parse_initiation(datagram)
    assert parse_response(view) == parse_response(datagram)
    assert parse_cookie_reply(view) == parse_cookie_reply(datagram)


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


@given(st.binary(max_size=100))
def test_any_inner_packet_has_a_length_within_it_or_none(packet: bytes) -> None:
    length = ip.total_length(packet)
    assert length is None or 20 <= length <= len(packet)
    assert len(ip.source(packet)) == len(ip.destination(packet)) in (0, 4, 16)
    if length is not None:
        assert ip.source(packet) != b""

from collections.abc import Callable
from hashlib import blake2s
from itertools import count
from typing import Any

import pytest

from tests.vectors import load
from tunnel.endpoint import Endpoint, Source
from tunnel.keys import PrivateKey
from tunnel.noise.primitives import mac, xseal
from tunnel.protocol.cookie import COOKIE_LIFETIME, CookieChecker, CookieGenerator, cookie_key, mac1_key, pack_source
from tunnel.wire.messages import CookieReply, Initiation, pack_initiation, parse_cookie_reply

VECTOR: dict[str, Any] = load("tables")["cookie"]
SOURCE = bytes.fromhex(VECTOR["src"])
MAC1_MESSAGES = [bytes.fromhex(text) for text in VECTOR["mac1_messages"]]
MAC2_MESSAGES = [bytes.fromhex(text) for text in VECTOR["mac2_messages"]]
REPLY_TO = bytes.fromhex(VECTOR["reply_to"])
SENDER = 1377

BOB = PrivateKey(b"b" * 32).public_key
EVE = PrivateKey(b"e" * 32).public_key
MESSAGE = pack_initiation(Initiation(SENDER, b"e" * 32, b"s" * 48, b"t" * 28))


def counting() -> Callable[[int], bytes]:
    """An rng that never repeats itself."""
    numbers = count(1)
    return lambda size: next(numbers).to_bytes(size, "big")


class Conversation:
    """Bob, who answers, and someone who begins."""

    def __init__(self) -> None:
        self.checker = CookieChecker(BOB, counting())
        self.generator = CookieGenerator(BOB)

    def reply(self, now: float, source: bytes = SOURCE) -> CookieReply:
        """What Bob says to a message that is sent now."""
        message = self.generator.add_macs(REPLY_TO, now)
        return self.checker.create_reply(message, SENDER, source, now)

    def exchange(self, now: float = 0.0) -> None:
        """Give the initiator a cookie."""
        assert self.generator.consume_reply(self.reply(now), now)


def flip(data: bytes, position: int, bit: int = 1) -> bytes:
    return data[:position] + bytes([data[position] ^ bit]) + data[position + 1 :]


def test_the_keys_have_the_labels_of_the_paper() -> None:
    assert mac1_key(BOB) == blake2s(b"mac1----" + BOB.raw).digest()
    assert cookie_key(BOB) == blake2s(b"cookie--" + BOB.raw).digest()


# ── MAC1 ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("message", MAC1_MESSAGES)
def test_a_message_with_macs_has_a_right_mac1_and_no_mac2(message: bytes) -> None:
    talk = Conversation()
    sent = talk.generator.add_macs(message, 0.0)
    assert sent[:-32] == message[:-32]
    assert sent[-16:] == bytes(16)
    assert talk.checker.check_mac1(sent)
    assert not talk.checker.check_mac2(sent, SOURCE, 0.0)


def test_mac1_is_a_mac_of_all_before_it() -> None:
    sent = CookieGenerator(BOB).add_macs(MESSAGE, 0.0)
    assert sent[-32:-16] == mac(mac1_key(BOB), MESSAGE[:-32])


@pytest.mark.parametrize("position", [0, 5, 115, 116, 131])
def test_a_message_that_was_changed_has_a_wrong_mac1(position: int) -> None:
    talk = Conversation()
    assert not talk.checker.check_mac1(flip(talk.generator.add_macs(MESSAGE, 0.0), position))


def test_mac1_for_someone_else_is_wrong() -> None:
    assert not CookieChecker(EVE, counting()).check_mac1(CookieGenerator(BOB).add_macs(MESSAGE, 0.0))


@pytest.mark.parametrize("size", [0, 1, 16, 31])
def test_what_is_shorter_than_its_macs_has_a_wrong_mac1(size: int) -> None:
    assert not Conversation().checker.check_mac1(bytes(size))


def test_any_buffer_can_be_checked() -> None:
    talk = Conversation()
    talk.exchange()
    sent = memoryview(bytearray(talk.generator.add_macs(MESSAGE, 0.0)))
    assert talk.checker.check_mac1(sent)
    assert talk.checker.check_mac2(sent, SOURCE, 0.0)


# ── cookies and MAC2 ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("message", MAC2_MESSAGES)
def test_with_a_cookie_both_macs_are_right(message: bytes) -> None:
    talk = Conversation()
    talk.exchange()
    sent = talk.generator.add_macs(message, 0.0)
    assert talk.checker.check_mac1(sent)
    assert talk.checker.check_mac2(sent, SOURCE, 0.0)


@pytest.mark.parametrize("message", MAC2_MESSAGES)
def test_a_flipped_bit_makes_both_macs_wrong(message: bytes) -> None:
    talk = Conversation()
    talk.exchange()
    sent = flip(talk.generator.add_macs(message, 0.0), 5, 0x20)
    assert not talk.checker.check_mac1(sent)
    assert not talk.checker.check_mac2(sent, SOURCE, 0.0)


@pytest.mark.parametrize("position", range(len(SOURCE)))
def test_from_another_source_mac2_is_wrong(position: int) -> None:
    talk = Conversation()
    talk.exchange()
    sent = talk.generator.add_macs(MESSAGE, 0.0)
    assert not talk.checker.check_mac2(sent, flip(SOURCE, position), 0.0)


def test_mac2_covers_mac1() -> None:
    talk = Conversation()
    talk.exchange()
    sent = talk.generator.add_macs(MESSAGE, 0.0)
    assert not talk.checker.check_mac2(flip(sent, 148 - 32), SOURCE, 0.0)


def test_an_mac2_of_zeros_is_wrong() -> None:
    talk = Conversation()
    assert not talk.checker.check_mac2(talk.generator.add_macs(MESSAGE, 0.0), SOURCE, 0.0)


def test_a_reply_names_the_sender_it_answers() -> None:
    assert Conversation().reply(0.0).receiver == SENDER


def test_two_replies_have_different_nonces() -> None:
    talk = Conversation()
    assert talk.reply(0.0).nonce != talk.reply(0.0).nonce


# ── what an initiator believes ───────────────────────────────────────────────────────────────────────────────────────


def test_a_reply_to_nothing_is_ignored() -> None:
    """Not even one that is bound to no MAC1 at all."""
    reply = CookieReply(SENDER, bytes(24), xseal(cookie_key(BOB), bytes(24), bytes(16), b""))
    assert not CookieGenerator(BOB).consume_reply(reply, 0.0)


def test_a_reply_is_good_once() -> None:
    talk = Conversation()
    reply = talk.reply(0.0)
    assert talk.generator.consume_reply(reply, 0.0)
    assert not talk.generator.consume_reply(reply, 0.0)


def test_a_reply_to_an_earlier_message_is_ignored() -> None:
    talk = Conversation()
    reply = talk.reply(0.0)
    talk.generator.add_macs(MESSAGE, 0.0)
    assert not talk.generator.consume_reply(reply, 0.0)


def test_a_reply_from_someone_else_is_ignored() -> None:
    talk = Conversation()
    message = talk.generator.add_macs(MESSAGE, 0.0)
    reply = CookieChecker(EVE, counting()).create_reply(message, SENDER, SOURCE, 0.0)
    assert not talk.generator.consume_reply(reply, 0.0)


@pytest.mark.parametrize("position", [0, 23])
def test_a_reply_with_another_nonce_is_ignored(position: int) -> None:
    talk = Conversation()
    reply = talk.reply(0.0)
    assert not talk.generator.consume_reply(reply._replace(nonce=flip(reply.nonce, position)), 0.0)


def test_a_right_reply_still_works_after_a_wrong_one() -> None:
    talk = Conversation()
    reply = talk.reply(0.0)
    assert not talk.generator.consume_reply(reply._replace(cookie=flip(reply.cookie, 0)), 0.0)
    assert talk.generator.consume_reply(reply, 0.0)


def test_a_wrong_reply_does_not_displace_a_cookie() -> None:
    talk = Conversation()
    talk.exchange()
    reply = talk.reply(0.0)
    assert not talk.generator.consume_reply(reply._replace(cookie=flip(reply.cookie, 0)), 0.0)
    assert talk.checker.check_mac2(talk.generator.add_macs(MESSAGE, 0.0), SOURCE, 0.0)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_cookie_of_another_size_is_ignored(size: int) -> None:
    talk = Conversation()
    message = talk.generator.add_macs(MESSAGE, 0.0)
    sealed = xseal(cookie_key(BOB), bytes(24), bytes(size), message[-32:-16])
    assert not talk.generator.consume_reply(CookieReply(SENDER, bytes(24), sealed), 0.0)


def test_garbage_of_the_right_size_is_ignored() -> None:
    talk = Conversation()
    talk.generator.add_macs(MESSAGE, 0.0)
    garbage = parse_cookie_reply(b"\3\0\0\0" + bytes(60))
    assert garbage is not None
    assert not talk.generator.consume_reply(garbage, 0.0)


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cookie_is_used_until_its_time_is_over() -> None:
    talk = Conversation()
    talk.exchange(now=1000.0)
    assert talk.generator.add_macs(MESSAGE, 1000.0 + COOKIE_LIFETIME - 0.001)[-16:] != bytes(16)
    assert talk.generator.add_macs(MESSAGE, 1000.0 + COOKIE_LIFETIME)[-16:] == bytes(16)


def test_a_responder_takes_its_cookie_until_the_secret_changes() -> None:
    talk = Conversation()
    talk.exchange(now=1000.0)
    sent = talk.generator.add_macs(MESSAGE, 1000.0)
    assert talk.checker.check_mac2(sent, SOURCE, 1000.0 + COOKIE_LIFETIME - 0.001)
    assert not talk.checker.check_mac2(sent, SOURCE, 1000.0 + COOKIE_LIFETIME)


def test_the_secret_is_as_old_as_its_first_use_and_not_its_last() -> None:
    talk = Conversation()
    talk.exchange(now=1000.0)
    talk.exchange(now=1000.0 + COOKIE_LIFETIME - 1)
    sent = talk.generator.add_macs(MESSAGE, 1000.0 + COOKIE_LIFETIME)
    assert not talk.checker.check_mac2(sent, SOURCE, 1000.0 + COOKIE_LIFETIME)


def test_after_the_secret_has_changed_a_new_cookie_works() -> None:
    talk = Conversation()
    talk.exchange(now=1000.0)
    talk.exchange(now=2000.0)
    assert talk.checker.check_mac2(talk.generator.add_macs(MESSAGE, 2000.0), SOURCE, 2000.0)


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_source_is_address_and_port_in_network_order() -> None:
    assert pack_source(Endpoint("192.0.2.1", 0x1234)) == b"\xc0\0\2\1\x12\x34"
    assert pack_source(Endpoint("2001:db8::1", 0x1234)) == b"\x20\1\x0d\xb8" + bytes(11) + b"\1\x12\x34"


def test_our_own_address_is_no_part_of_the_source() -> None:
    assert pack_source(Endpoint("192.0.2.1", 1, source=Source("10.0.0.1", 2))) == pack_source(Endpoint("192.0.2.1", 1))

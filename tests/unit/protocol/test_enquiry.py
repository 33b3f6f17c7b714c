from itertools import count

import pytest

from tunnel.endpoint import Endpoint
from tunnel.noise.primitives import hash_
from tunnel.protocol.cookie import COOKIE_LIFETIME, CookieChecker, pack_source
from tunnel.protocol.credentials import AuthorityId, Credentials
from tunnel.protocol.enquiry import MAX_ENQUIRIES, MAX_REFUSED_ANSWERS, Enquiries, Enquiry, answer_key, create_answer
from tunnel.protocol.host import Host
from tunnel.wire.certified import CertificateAnswer, parse_certificate_answer, parse_certificate_request
from tunnel.wire.messages import CookieReply

AUTHORITY, OTHER = AuthorityId(b"A" * 32), AuthorityId(b"B" * 32)
HERE, THERE = Endpoint("192.0.2.1", 51820), Endpoint("192.0.2.2", 51820)
COOKIE = b"c" * 16
OURS, CHAIN = (b"ours",), (b"leaf", b"issuer")


def fixed(size: int) -> bytes:
    return b"r" * size


def enquiry(authority: AuthorityId = AUTHORITY, nonce: bytes = b"n" * 32) -> Enquiry:
    asked = Enquiry(authority, THERE, nonce)
    asked.local_index = 7
    return asked


def answered(request: bytes, authority: AuthorityId = AUTHORITY, chain: tuple[bytes, ...] = CHAIN) -> CertificateAnswer:
    message = parse_certificate_answer(create_answer(request, authority, COOKIE, chain, fixed))
    assert message is not None
    return message


def test_who_asks_gets_the_cookie_and_the_chain() -> None:
    asked = enquiry()
    message = answered(asked.create_request(0.0))
    assert message.receiver == 7
    assert asked.open_answer(message) == (COOKIE, CHAIN)


def test_a_request_says_nothing_but_the_index_and_the_nonce() -> None:
    message = parse_certificate_request(enquiry().create_request(0.0))
    assert message is not None
    assert (message.sender, message.nonce, message.mac2) == (7, b"n" * 32, bytes(16))


def test_a_request_is_for_the_members_of_one_authority() -> None:
    request = enquiry().create_request(0.0)
    assert CookieChecker(AUTHORITY, fixed).check_mac1(request)
    assert not CookieChecker(OTHER, fixed).check_mac1(request)


def test_the_answer_key_follows_from_the_authority() -> None:
    assert answer_key(AUTHORITY) == hash_(b"answer--" + b"A" * 32)
    assert answer_key(AUTHORITY) != answer_key(OTHER)


def test_an_answer_under_another_authority_is_none() -> None:
    asked = enquiry()
    assert asked.open_answer(answered(asked.create_request(0.0), OTHER)) is None


def test_an_answer_to_a_question_with_another_nonce_is_none() -> None:
    asked, other = enquiry(), enquiry(nonce=b"m" * 32)
    asked.create_request(0.0)
    assert asked.open_answer(answered(other.create_request(0.0))) is None


def test_nothing_answers_what_was_not_asked_yet() -> None:
    assert enquiry().open_answer(answered(enquiry().create_request(0.0))) is None


def test_an_answer_with_no_chain_in_it_is_none() -> None:
    asked = enquiry()
    request = asked.create_request(0.0)
    sealed = create_answer(request, AUTHORITY, COOKIE, (b"\0",), fixed)
    message = parse_certificate_answer(sealed)
    assert message is not None
    assert asked.open_answer(message) == (COOKIE, (b"\0",))
    assert asked.open_answer(message._replace(answer=message.answer[:-1] + b"\0")) is None


# ── what was refused ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_refused_chain_is_no_answer_but_another_one_is() -> None:
    asked = enquiry()
    request = asked.create_request(0.0)
    asked.refuse(CHAIN)
    assert asked.open_answer(answered(request)) is None
    assert asked.open_answer(answered(request, chain=(b"other",))) == (COOKIE, (b"other",))


def test_after_a_few_refused_chains_nothing_is_an_answer_until_we_ask_again() -> None:
    asked = enquiry()
    request = asked.create_request(0.0)
    asked.refuse_only(OURS)
    for number in range(MAX_REFUSED_ANSWERS):
        assert asked.open_answer(answered(request)) is not None
        asked.refuse((b"%d" % number,))
    assert asked.open_answer(answered(request)) is None
    asked.refuse_only(OURS)
    assert asked.open_answer(answered(request)) == (COOKIE, CHAIN)


# ── cookies ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def reply_to(request: bytes, cookie_secret: bytes = b"s" * 32) -> CookieReply:
    checker = CookieChecker(AUTHORITY, lambda size: cookie_secret if size == 32 else fixed(size))
    return checker.create_reply(request, 7, pack_source(HERE), 0.0)


def test_the_first_cookie_is_brought_back_at_once_and_the_next_when_we_ask_again() -> None:
    asked = enquiry()
    assert asked.consume_cookie_reply(reply_to(asked.create_request(0.0)), 0.0) is True
    again = asked.create_request(0.0)
    assert again[-16:] != bytes(16)
    assert asked.consume_cookie_reply(reply_to(again, b"t" * 32), 0.0) is False


def test_with_a_cookie_the_question_is_the_same_but_for_mac2() -> None:
    asked = enquiry()
    first = asked.create_request(0.0)
    asked.consume_cookie_reply(reply_to(first), 0.0)
    assert asked.create_request(0.0)[:-16] == first[:-16]
    assert asked.open_answer(answered(first)) == (COOKIE, CHAIN)


def test_a_cookie_is_forgotten_when_it_is_old() -> None:
    asked = enquiry()
    asked.consume_cookie_reply(reply_to(asked.create_request(0.0)), 0.0)
    assert asked.create_request(COOKIE_LIFETIME)[-16:] == bytes(16)


def test_a_cookie_reply_to_somebody_else_is_refused() -> None:
    asked, other = enquiry(), enquiry(nonce=b"m" * 32)
    asked.create_request(0.0)
    assert asked.consume_cookie_reply(reply_to(other.create_request(0.0)), 0.0) is None


# ── all questions of a device ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def host() -> Host:
    numbers = count(1)
    host = Host(lambda size: next(numbers).to_bytes(size, "little"), bytes)
    host.credentials = Credentials(OURS, AUTHORITY.raw, (AUTHORITY.raw,))
    return host


@pytest.fixture
def enquiries(host: Host) -> Enquiries:
    return Enquiries(host)


def requests(host: Host) -> list[bytes]:
    taken, host.datagrams = host.datagrams, []
    return [bytes(train.buffer) for train, _ in taken]


def test_the_same_place_is_asked_word_for_word_and_another_with_another_nonce(host: Host, enquiries: Enquiries) -> None:
    for endpoint in (HERE, HERE, THERE):
        enquiries.ask(endpoint, 0.0)
    one, again, other = requests(host)
    assert one == again
    assert one[8:40] != other[8:40]
    assert len(host.indices) == 2


def test_our_own_chain_is_no_answer(host: Host, enquiries: Enquiries) -> None:
    enquiries.ask(THERE, 0.0)
    (request,) = requests(host)
    asked = host.indices.lookup(int.from_bytes(request[4:8], "little"))
    assert isinstance(asked, Enquiry)
    assert asked.open_answer(answered(request, chain=OURS)) is None


def test_who_was_answered_asks_anew(host: Host, enquiries: Enquiries) -> None:
    enquiries.ask(THERE, 0.0)
    (request,) = requests(host)
    asked = host.indices.lookup(int.from_bytes(request[4:8], "little"))
    assert isinstance(asked, Enquiry)
    enquiries.answered(asked)
    assert len(host.indices) == 0
    enquiries.ask(THERE, 0.0)
    assert requests(host)[0][8:40] != request[8:40]


def test_there_are_only_so_many_at_once(host: Host, enquiries: Enquiries) -> None:
    for port in range(1, MAX_ENQUIRIES + 50):
        enquiries.ask(Endpoint("192.0.2.2", port), 0.0)
    assert len(host.indices) == MAX_ENQUIRIES
    enquiries.clear()
    assert len(host.indices) == 0

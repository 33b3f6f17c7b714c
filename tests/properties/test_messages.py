"""Messages and bytes are two forms of one thing."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.wire.certified import (
    ANSWER_CHAIN_SIZE,
    INITIATION_CHAIN_SIZE,
    RESPONSE_CHAIN_SIZE,
    CertificateAnswer,
    CertificateRequest,
    CertifiedInitiation,
    CertifiedResponse,
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
    CookieReply,
    Initiation,
    Response,
    message_type,
    pack_cookie_reply,
    pack_initiation,
    pack_response,
    parse_cookie_reply,
    parse_initiation,
    parse_response,
)

INDEX = st.integers(0, 2**32 - 1)


def octets(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


INITIATIONS = st.builds(Initiation, INDEX, octets(32), octets(48), octets(28), octets(16), octets(16))
RESPONSES = st.builds(Response, INDEX, INDEX, octets(32), octets(16), octets(16), octets(16))
COOKIE_REPLIES = st.builds(CookieReply, INDEX, octets(24), octets(32))
REQUESTS = st.builds(CertificateRequest, INDEX, octets(32), st.just(bytes(1128)), octets(16), octets(16))
ANSWERS = st.builds(CertificateAnswer, INDEX, octets(24), octets(1168))
CERTIFIED_INITIATIONS = st.builds(
    CertifiedInitiation, INDEX, octets(32), octets(48), octets(1080), octets(16), octets(16)
)
CERTIFIED_RESPONSES = st.builds(CertifiedResponse, INDEX, INDEX, octets(32), octets(1124), octets(16), octets(16))

CHAINS = st.lists(st.binary(min_size=1, max_size=512), min_size=1, max_size=2).map(tuple)
CHAIN_SIZES = st.sampled_from([ANSWER_CHAIN_SIZE, INITIATION_CHAIN_SIZE, RESPONSE_CHAIN_SIZE])

Codec = tuple[Callable[[Any], Any], Callable[[Any], Any]]
CODECS: list[Codec] = [
    (parse_initiation, pack_initiation),
    (parse_response, pack_response),
    (parse_cookie_reply, pack_cookie_reply),
    (parse_certificate_request, pack_certificate_request),
    (parse_certificate_answer, pack_certificate_answer),
    (parse_certified_initiation, pack_certified_initiation),
    (parse_certified_response, pack_certified_response),
]
KINDS = (1, 2, 3, 16, 17, 18, 19)
SIZES = (148, 92, 64, 1200, 1200, 1200, 1200)


@given(message=INITIATIONS)
def test_an_initiation_survives_the_wire(message: Initiation) -> None:
    assert parse_initiation(pack_initiation(message)) == message


@given(message=RESPONSES)
def test_a_response_survives_the_wire(message: Response) -> None:
    assert parse_response(pack_response(message)) == message


@given(message=COOKIE_REPLIES)
def test_a_cookie_reply_survives_the_wire(message: CookieReply) -> None:
    assert parse_cookie_reply(pack_cookie_reply(message)) == message


@given(message=REQUESTS)
def test_a_certificate_request_survives_the_wire(message: CertificateRequest) -> None:
    assert parse_certificate_request(pack_certificate_request(message)) == message


@given(message=ANSWERS)
def test_a_certificate_answer_survives_the_wire(message: CertificateAnswer) -> None:
    assert parse_certificate_answer(pack_certificate_answer(message)) == message


@given(message=CERTIFIED_INITIATIONS)
def test_a_certified_initiation_survives_the_wire(message: CertifiedInitiation) -> None:
    assert parse_certified_initiation(pack_certified_initiation(message)) == message


@given(message=CERTIFIED_RESPONSES)
def test_a_certified_response_survives_the_wire(message: CertifiedResponse) -> None:
    assert parse_certified_response(pack_certified_response(message)) == message


@given(chain=CHAINS, size=CHAIN_SIZES)
def test_a_chain_survives_its_field(chain: tuple[bytes, ...], size: int) -> None:
    field = pack_chain(chain, size)
    assert len(field) == size
    assert parse_chain(field) == chain


FIELDS = st.binary(max_size=40) | st.builds(
    lambda lengths, fill: b"".join(length.to_bytes(2, "little") + fill for length in lengths),
    st.lists(st.integers(0, 5), max_size=5),
    st.binary(max_size=5),
)


@given(field=FIELDS)
def test_any_field_that_is_a_chain_is_packed_to_the_same_bytes(field: bytes) -> None:
    chain = parse_chain(field)
    assert chain is None or pack_chain(chain, len(field)) == field


@pytest.mark.parametrize(("codec", "kind", "size"), list(zip(CODECS, KINDS, SIZES, strict=True)))
@given(data=st.data())
def test_what_parses_is_packed_to_the_same_bytes(codec: Codec, kind: int, size: int, data: st.DataObject) -> None:
    parse, pack = codec
    middle = data.draw(octets(min(size, 300) - 40)) + bytes(size - min(size, 300))
    datagram = bytes([kind, 0, 0, 0]) + data.draw(octets(4)) + b"n" * 32 + middle
    if kind == 16:
        datagram = datagram[:40] + bytes(1128) + data.draw(octets(32))
    assert pack(parse(datagram)) == datagram


@given(
    kind=st.sampled_from([0, *KINDS, 4, 5, 20]),
    rest=st.sampled_from([60, 88, 144]).flatmap(octets) | st.just(bytes(1196)) | st.binary(max_size=200),
    reserved=st.just(bytes(3)) | octets(3),
)
def test_any_bytes_are_at_most_one_message(kind: int, reserved: bytes, rest: bytes) -> None:
    datagram = bytes([kind]) + reserved + rest
    parsed = [number for number, (parse, _) in zip(KINDS, CODECS, strict=True) if parse(datagram) is not None]
    is_message = (message_type(datagram), len(datagram)) in set(zip(KINDS, SIZES, strict=True))
    assert parsed == ([kind] if is_message else [])

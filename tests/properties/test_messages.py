"""Messages and bytes are two forms of one thing."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

Codec = tuple[Callable[[Any], Any], Callable[[Any], Any]]
CODECS: list[Codec] = [
    (parse_initiation, pack_initiation),
    (parse_response, pack_response),
    (parse_cookie_reply, pack_cookie_reply),
]


@given(message=INITIATIONS)
def test_an_initiation_survives_the_wire(message: Initiation) -> None:
    assert parse_initiation(pack_initiation(message)) == message


@given(message=RESPONSES)
def test_a_response_survives_the_wire(message: Response) -> None:
    assert parse_response(pack_response(message)) == message


@given(message=COOKIE_REPLIES)
def test_a_cookie_reply_survives_the_wire(message: CookieReply) -> None:
    assert parse_cookie_reply(pack_cookie_reply(message)) == message


@pytest.mark.parametrize(("codec", "kind", "size"), list(zip(CODECS, (1, 2, 3), (148, 92, 64), strict=True)))
@given(data=st.data())
def test_what_parses_is_packed_to_the_same_bytes(codec: Codec, kind: int, size: int, data: st.DataObject) -> None:
    parse, pack = codec
    datagram = bytes([kind, 0, 0, 0]) + data.draw(octets(size - 4))
    assert pack(parse(datagram)) == datagram


@given(
    kind=st.integers(0, 5),
    rest=st.sampled_from([60, 88, 144]).flatmap(octets) | st.binary(max_size=200),
    reserved=st.just(bytes(3)) | octets(3),
)
def test_any_bytes_are_at_most_one_message(kind: int, reserved: bytes, rest: bytes) -> None:
    datagram = bytes([kind]) + reserved + rest
    parsed = [number for number, (parse, _) in enumerate(CODECS, start=1) if parse(datagram) is not None]
    is_message = (message_type(datagram), len(datagram)) in {(1, 148), (2, 92), (3, 64)}
    assert parsed == ([kind] if is_message else [])

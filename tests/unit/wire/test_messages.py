import pytest

from tunnel.wire.messages import (
    COOKIE_REPLY_SIZE,
    INITIATION_SIZE,
    RESPONSE_SIZE,
    TRANSPORT_HEADER,
    TRANSPORT_OVERHEAD,
    Buffer,
    CookieReply,
    Initiation,
    MessageType,
    Response,
    message_type,
    pack_cookie_reply,
    pack_initiation,
    pack_response,
    parse_cookie_reply,
    parse_initiation,
    parse_response,
)

INITIATION = Initiation(0x04030201, b"e" * 32, b"s" * 48, b"t" * 28, b"1" * 16, b"2" * 16)
RESPONSE = Response(0x04030201, 0x08070605, b"e" * 32, b"n" * 16, b"1" * 16, b"2" * 16)
COOKIE_REPLY = CookieReply(0x04030201, b"n" * 24, b"c" * 32)


def test_an_initiation_lies_on_the_wire_as_in_the_paper() -> None:
    fields = b"e" * 32 + b"s" * 48 + b"t" * 28 + b"1" * 16 + b"2" * 16
    assert pack_initiation(INITIATION) == b"\1\0\0\0\1\2\3\4" + fields


def test_a_response_lies_on_the_wire_as_in_the_paper() -> None:
    fields = b"e" * 32 + b"n" * 16 + b"1" * 16 + b"2" * 16
    assert pack_response(RESPONSE) == b"\2\0\0\0\1\2\3\4\5\6\7\x08" + fields


def test_a_cookie_reply_lies_on_the_wire_as_in_the_paper() -> None:
    assert pack_cookie_reply(COOKIE_REPLY) == b"\3\0\0\0\1\2\3\4" + b"n" * 24 + b"c" * 32


def test_a_transport_header_lies_on_the_wire_as_in_the_paper() -> None:
    header = TRANSPORT_HEADER.pack(MessageType.TRANSPORT_DATA, 0x04030201, 0x0807060504030201)
    assert header == b"\4\0\0\0\1\2\3\4\1\2\3\4\5\6\7\x08"


def test_the_sizes_are_those_of_the_paper() -> None:
    assert (INITIATION_SIZE, RESPONSE_SIZE, COOKIE_REPLY_SIZE, TRANSPORT_OVERHEAD) == (148, 92, 64, 32)


def test_macs_are_zero_until_they_are_added() -> None:
    assert pack_initiation(Initiation(1, bytes(32), bytes(48), bytes(28)))[-32:] == bytes(32)


@pytest.mark.parametrize("buffer", [bytes, bytearray, lambda data: memoryview(bytearray(data))])
def test_every_kind_of_buffer_is_parsed(buffer: type[bytes]) -> None:
    datagram: Buffer = buffer(pack_initiation(INITIATION))
    assert parse_initiation(datagram) == INITIATION


def test_what_was_parsed_does_not_change_with_the_buffer() -> None:
    datagram = bytearray(pack_initiation(INITIATION))
    message = parse_initiation(memoryview(datagram))
    datagram[:] = bytes(len(datagram))
    assert message == INITIATION


@pytest.mark.parametrize("change", [-148, -147, -1, 1, 16])
def test_an_initiation_of_another_size_is_none(change: int) -> None:
    datagram = pack_initiation(INITIATION) + bytes(16)
    assert parse_initiation(datagram[: INITIATION_SIZE + change]) is None


@pytest.mark.parametrize("change", [-92, -1, 1, 16])
def test_a_response_of_another_size_is_none(change: int) -> None:
    datagram = pack_response(RESPONSE) + bytes(16)
    assert parse_response(datagram[: RESPONSE_SIZE + change]) is None


@pytest.mark.parametrize("change", [-64, -1, 1, 16])
def test_a_cookie_reply_of_another_size_is_none(change: int) -> None:
    datagram = pack_cookie_reply(COOKIE_REPLY) + bytes(16)
    assert parse_cookie_reply(datagram[: COOKIE_REPLY_SIZE + change]) is None


@pytest.mark.parametrize("kind", [0, 2, 3, 4, 5, 255])
def test_a_message_of_another_type_is_none(kind: int) -> None:
    assert parse_initiation(bytes([kind]) + pack_initiation(INITIATION)[1:]) is None


@pytest.mark.parametrize("reserved", [b"\1\0\0", b"\0\1\0", b"\0\0\1"])
def test_a_reserved_byte_that_is_not_zero_makes_it_no_message(reserved: bytes) -> None:
    assert parse_initiation(b"\1" + reserved + pack_initiation(INITIATION)[4:]) is None
    assert parse_response(b"\2" + reserved + pack_response(RESPONSE)[4:]) is None
    assert parse_cookie_reply(b"\3" + reserved + pack_cookie_reply(COOKIE_REPLY)[4:]) is None
    assert message_type(b"\1" + reserved) not in tuple(MessageType)


@pytest.mark.parametrize("datagram", [b"", b"\1", b"\1\0", b"\1\0\0"])
def test_what_is_shorter_than_a_type_has_none(datagram: bytes) -> None:
    assert message_type(datagram) == 0

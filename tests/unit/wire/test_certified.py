from collections.abc import Callable
from typing import Any

import pytest

from tunnel.wire.certified import (
    ANSWER_CHAIN_SIZE,
    CERTIFIED_SIZE,
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

REQUEST = CertificateRequest(0x04030201, b"n" * 32, bytes(1128), b"1" * 16, b"2" * 16)
ANSWER = CertificateAnswer(0x04030201, b"n" * 24, b"a" * 1168)
INITIATION = CertifiedInitiation(0x04030201, b"e" * 32, b"s" * 48, b"p" * 1080, b"1" * 16, b"2" * 16)
RESPONSE = CertifiedResponse(0x04030201, 0x08070605, b"e" * 32, b"p" * 1124, b"1" * 16, b"2" * 16)

PACKED = [
    pack_certificate_request(REQUEST),
    pack_certificate_answer(ANSWER),
    pack_certified_initiation(INITIATION),
    pack_certified_response(RESPONSE),
]
PARSERS: list[Callable[[Any], object | None]] = [
    parse_certificate_request,
    parse_certificate_answer,
    parse_certified_initiation,
    parse_certified_response,
]
NUMBERS = range(4)


def test_a_request_lies_on_the_wire_as_the_page_says() -> None:
    assert PACKED[0] == b"\x10\0\0\0\1\2\3\4" + b"n" * 32 + bytes(1128) + b"1" * 16 + b"2" * 16


def test_an_answer_lies_on_the_wire_as_the_page_says() -> None:
    assert PACKED[1] == b"\x11\0\0\0\1\2\3\4" + b"n" * 24 + b"a" * 1168


def test_a_certified_initiation_lies_on_the_wire_as_the_page_says() -> None:
    assert PACKED[2] == b"\x12\0\0\0\1\2\3\4" + b"e" * 32 + b"s" * 48 + b"p" * 1080 + b"1" * 16 + b"2" * 16


def test_a_certified_response_lies_on_the_wire_as_the_page_says() -> None:
    assert PACKED[3] == b"\x13\0\0\0\1\2\3\4\5\6\7\x08" + b"e" * 32 + b"p" * 1124 + b"1" * 16 + b"2" * 16


@pytest.mark.parametrize("number", NUMBERS)
def test_each_message_has_1200_bytes_and_is_what_was_packed(number: int) -> None:
    assert len(PACKED[number]) == CERTIFIED_SIZE == 1200
    assert PARSERS[number](PACKED[number]) == (REQUEST, ANSWER, INITIATION, RESPONSE)[number]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("size", [0, 3, 4, 8, 64, 92, 148, 1199, 1201, 1216, 2400])
def test_a_message_of_another_size_is_none(number: int, size: int) -> None:
    assert PARSERS[number]((PACKED[number] * 2)[:size]) is None


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("other", NUMBERS)
def test_a_message_is_of_one_type_only(number: int, other: int) -> None:
    assert (PARSERS[other](PACKED[number]) is not None) is (number == other)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("reserved", [b"\1\0\0", b"\0\1\0", b"\0\0\1"])
def test_a_reserved_byte_that_is_not_zero_makes_it_no_message(number: int, reserved: bytes) -> None:
    packed = PACKED[number]
    assert PARSERS[number](packed[:1] + reserved + packed[4:]) is None


@pytest.mark.parametrize("position", [40, 41, 600, 1166, 1167])
def test_a_request_with_anything_in_its_padding_is_none(position: int) -> None:
    packed = bytearray(PACKED[0])
    packed[position] = 1
    assert parse_certificate_request(packed) is None


@pytest.mark.parametrize("position", [4, 39, 1168, 1199])
def test_what_stands_beside_the_padding_may_be_anything(position: int) -> None:
    packed = bytearray(PACKED[0])
    packed[position] ^= 0xFF
    assert parse_certificate_request(packed) is not None


@pytest.mark.parametrize("number", NUMBERS)
def test_a_view_is_parsed_and_what_was_parsed_does_not_change_with_the_buffer(number: int) -> None:
    buffer = bytearray(PACKED[number])
    message = PARSERS[number](memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert message == PARSERS[number](PACKED[number])


# ── chains ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_fields_have_room_for_two_certificates_of_1024_bytes_together() -> None:
    assert (ANSWER_CHAIN_SIZE, INITIATION_CHAIN_SIZE, RESPONSE_CHAIN_SIZE) == (1136, 1036, 1108)
    assert min(ANSWER_CHAIN_SIZE, INITIATION_CHAIN_SIZE, RESPONSE_CHAIN_SIZE) >= 1024 + 2 * 2


def test_a_chain_is_certificates_behind_their_lengths_and_zeros() -> None:
    assert pack_chain((b"leaf", b"issuer"), 20) == b"\4\0leaf\6\0issuer" + bytes(6)


@pytest.mark.parametrize("chain", [(b"leaf",), (b"leaf", b"issuer"), (b"x" * 300,), (b"x" * 18,), (b"\0" * 3, b"\0")])
def test_a_chain_is_what_was_packed(chain: tuple[bytes, ...]) -> None:
    size = max(20, sum(len(certificate) + 2 for certificate in chain))
    assert parse_chain(pack_chain(chain, size)) == chain


@pytest.mark.parametrize(
    "field",
    [
        b"",
        b"\0",
        bytes(20),
        b"\0\0\4\0leaf",
        b"\1\0a\1\0b\1\0c" + bytes(3),
        b"\1\0a" * 300,
    ],
    ids=["nothing", "one zero", "zeros", "an empty certificate first", "three", "three hundred"],
)
def test_none_or_more_than_two_certificates_are_no_chain(field: bytes) -> None:
    assert parse_chain(field) is None


@pytest.mark.parametrize("field", [b"\5\0leaf", b"\xff\xffleaf", b"\4\0leaf\1\0", b"\4\0leaf\7\0issuer", b"\0\1leaf"])
def test_a_length_that_points_outside_makes_it_no_chain(field: bytes) -> None:
    assert parse_chain(field) is None


@pytest.mark.parametrize("rest", [b"\0\0\1", b"\0\0\0\1\0", b"\1", b"\0\0" + bytes(100) + b"\1"])
def test_what_follows_a_chain_and_is_not_zero_makes_it_none(rest: bytes) -> None:
    assert parse_chain(b"\4\0leaf" + rest) is None


@pytest.mark.parametrize("zeros", [0, 1, 2, 3, 100])
def test_any_number_of_zeros_may_follow_a_chain(zeros: int) -> None:
    assert parse_chain(b"\4\0leaf" + bytes(zeros)) == (b"leaf",)


@pytest.mark.parametrize("chain", [(), (b"1", b"2", b"3"), (b"x" * 19,)])
def test_to_pack_what_does_not_fit_is_a_bug(chain: tuple[bytes, ...]) -> None:
    with pytest.raises(AssertionError):
        pack_chain(chain, 20)


def test_an_empty_certificate_is_not_packed() -> None:
    with pytest.raises(AssertionError):
        pack_chain((b"",), 20)

"""rtnetlink's messages as bytes, checked against what the kernel's headers say."""

import errno
import struct

import pytest

from tunnel.netlink.messages import (
    Flag,
    Kind,
    Message,
    pack_attribute,
    pack_message,
    parse_attributes,
    parse_messages,
    parse_number,
    parse_refusal,
    parse_text,
)

REQUEST_HEADER = struct.pack("=IHHII", 36, Kind.NEWLINK, 5, 1, 0)


def error(code: int, rest: bytes = b"", flags: int = 0) -> Message:
    return Message(Kind.ERROR, flags, 1, struct.pack("=i", code) + rest)


def words(text: str) -> bytes:
    """NLMSGERR_ATTR_MSG, after an attribute that says where in the request the trouble is."""
    return pack_attribute(2, 32) + pack_attribute(1, text.encode() + b"\0")


def test_a_message_is_a_header_with_the_length_and_what_follows() -> None:
    assert pack_message(Kind.GETLINK, 5, 7, b"body") == struct.pack("=IHHII", 20, 18, 5, 7, 0) + b"body"


@pytest.mark.parametrize(
    ("value", "packed"),
    [
        (b"wg0\0", b"\x08\x00\x03\x00wg0\0"),
        (b"wg10\0", b"\x09\x00\x03\x00wg10\0\0\0\0"),
        (b"", b"\x04\x00\x03\x00"),
        (1420, struct.pack("=HHI", 8, 3, 1420)),
    ],
)
def test_an_attribute_is_padded_and_its_length_is_without_the_padding(value: bytes | int, packed: bytes) -> None:
    assert pack_attribute(3, value) == packed


def test_messages_of_any_length_are_told_apart() -> None:
    datagram = b"".join(pack_message(Kind.NEWLINK, 0, 7, bytes(length)) + bytes(-length % 4) for length in range(6))
    assert [len(message.body) for message in parse_messages(datagram)] == list(range(6))


def test_attributes_of_any_length_are_told_apart() -> None:
    packed = b"".join(pack_attribute(length + 1, bytes(length)) for length in range(6))
    assert parse_attributes(packed) == {length + 1: bytes(length) for length in range(6)}


def test_the_marks_of_nested_and_swapped_values_are_no_part_of_the_type() -> None:
    assert parse_attributes(pack_attribute(0x8000 | 26, b"") + pack_attribute(0x4000 | 4, b"")) == {26: b"", 4: b""}


@pytest.mark.parametrize("length", [0, 1, 3, 0xFFFF])
def test_a_length_that_cannot_be_ends(length: int) -> None:
    nonsense = struct.pack("=HH", length, 9) * 8
    assert len(list(parse_messages(nonsense))) <= 8
    assert len(parse_attributes(nonsense)) <= 8


def test_an_attribute_that_is_not_there_is_zero_or_empty() -> None:
    assert (parse_number(None), parse_text(None)) == (0, "")


def test_a_text_ends_with_its_nul() -> None:
    assert parse_text(b"wg0\0") == "wg0"


@pytest.mark.parametrize("kind", [Kind.ERROR, Kind.DONE])
def test_no_code_is_no_refusal(kind: Kind) -> None:
    assert parse_refusal(Message(kind, 0, 1, bytes(4))) is None


def test_a_refusal_without_words_is_explained_by_its_errno() -> None:
    refusal = parse_refusal(error(-errno.ENODEV, REQUEST_HEADER + bytes(20)))
    assert refusal is not None
    assert (refusal.errno, refusal.strerror) == (errno.ENODEV, "No such device")


def test_the_kernel_s_words_stand_after_the_header_of_the_request() -> None:
    refusal = parse_refusal(error(-errno.EINVAL, REQUEST_HEADER + words("mtu too large"), Flag.ACK_TLVS))
    assert refusal is not None
    assert (refusal.errno, refusal.strerror) == (errno.EINVAL, "mtu too large")


def test_the_end_of_a_dump_may_be_a_refusal_with_words() -> None:
    body = struct.pack("=i", -errno.ENOENT) + words("FIB table does not exist")
    refusal = parse_refusal(Message(Kind.DONE, Flag.ACK_TLVS, 1, body))
    assert refusal is not None
    assert (refusal.errno, refusal.strerror) == (errno.ENOENT, "FIB table does not exist")

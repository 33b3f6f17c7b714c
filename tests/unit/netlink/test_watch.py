"""Which rtnetlink messages say something about an interface."""

import errno
import struct

import pytest

from tunnel.netlink.watch import IFF_UP, LinkEvent, _pack_question, _parse_events

AF_BRIDGE = 7
NEWLINK, DELLINK, ERROR = 16, 17, 2


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes, sequence: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, sequence, 0) + body


def link(kind: int, index: int, flags: int = 0, family: int = 0, sequence: int = 0) -> bytes:
    """A message about wg0 with an MTU of 1420 (rtnetlink(7), struct ifinfomsg, IFLA_IFNAME, IFLA_MTU)."""
    body = struct.pack("=BxHiII", family, 0xFFFE, index, flags, 0)
    return message(kind, body + attribute(3, b"wg0\0") + attribute(4, struct.pack("=I", 1420)), sequence)


def question_number() -> int:
    return int.from_bytes(_pack_question(7)[8:12], "little")


def parse(data: bytes) -> list[tuple[bool, LinkEvent]]:
    return list(_parse_events(data, 7, "wg0"))


def test_a_new_link_message_is_the_state() -> None:
    assert parse(link(NEWLINK, 7, IFF_UP)) == [(False, LinkEvent("wg0", is_up=True, mtu=1420))]


def test_a_deletion_is_gone_and_not_up_whatever_its_flags() -> None:
    assert parse(link(DELLINK, 7, IFF_UP)) == [(False, LinkEvent("wg0", is_up=False, mtu=1420, is_gone=True))]


@pytest.mark.parametrize("kind", [NEWLINK, DELLINK])
def test_other_interfaces_are_ignored(kind: int) -> None:
    assert parse(link(kind, 8)) == []


def test_leaving_a_bridge_is_no_deletion() -> None:
    assert parse(link(DELLINK, 7, IFF_UP, family=AF_BRIDGE)) == []


def test_messages_in_one_datagram_keep_their_order() -> None:
    data = link(NEWLINK, 7) + link(NEWLINK, 8) + link(NEWLINK, 7, IFF_UP)
    assert [event.is_up for _, event in parse(data)] == [False, True]


def test_the_answer_is_told_from_notifications_by_its_number() -> None:
    assert parse(link(NEWLINK, 7, sequence=question_number())) == [(True, LinkEvent("wg0", is_up=False, mtu=1420))]


def test_an_index_that_is_not_there_is_gone() -> None:
    refusal = message(ERROR, struct.pack("=i", -errno.ENODEV) + _pack_question(7), question_number())
    assert parse(refusal) == [(True, LinkEvent("wg0", is_up=False, mtu=0, is_gone=True))]

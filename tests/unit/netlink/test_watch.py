"""Which rtnetlink messages say something about an interface."""

import errno
import struct
from ipaddress import ip_address, ip_interface

import pytest

from tunnel.config.model import IPInterface
from tunnel.netlink.watch import IFF_UP, LinkEvent, Observer

AF_BRIDGE = 7
NEWLINK, DELLINK, NEWADDR, DELADDR, ERROR, DONE = 16, 17, 20, 21, 2, 3
INTERRUPTED = 0x10


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes, sequence: int = 0, flags: int = 0) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def link(kind: int, index: int = 7, flags: int = 0, family: int = 0, sequence: int = 0) -> bytes:
    """A message about wg0 with an MTU of 1420 (rtnetlink(7), struct ifinfomsg, IFLA_IFNAME, IFLA_MTU)."""
    body = struct.pack("=BxHiII", family, 0xFFFE, index, flags, 0)
    return message(kind, body + attribute(3, b"wg0\0") + attribute(4, struct.pack("=I", 1420)), sequence)


def address(kind: int, text: str, index: int = 7, sequence: int = 0, *, other_end: str = "") -> bytes:
    """A message about an address (struct ifaddrmsg, IFA_ADDRESS, IFA_LOCAL)."""
    own = ip_interface(text)
    body = struct.pack("=BBBBI", 2 if own.version == 4 else 10, own.network.prefixlen, 0, 0, index)
    ends = ((1, ip_address(other_end)), (2, own.ip)) if other_end else ((1, own.ip),)
    return message(kind, body + b"".join(attribute(number, end.packed) for number, end in ends), sequence)


class Talk:
    """With the kernel, about interface 7."""

    def __init__(self) -> None:
        self.observer = Observer(7)
        self.question = self.observer.begin()

    @property
    def number(self) -> int:
        return int.from_bytes(self.question[8:12], "little")

    def hear(self, *messages: bytes) -> list[LinkEvent]:
        events = list(self.observer.observe(b"".join(messages)))
        self.question = self.observer.take_question() or self.question
        return events

    def listed(self, *addresses: str) -> list[LinkEvent]:
        """The answer to the question for addresses."""
        answers = [address(NEWADDR, text, sequence=self.number) for text in addresses]
        return self.hear(*answers, message(DONE, bytes(4), self.number))


def acquainted(*addresses: str) -> Talk:
    """It is known, and was told of."""
    talk = Talk()
    talk.hear(link(NEWLINK, sequence=talk.number))
    talk.listed(*addresses)
    return talk


def having(*addresses: str) -> tuple[IPInterface, ...]:
    return tuple(map(ip_interface, addresses))


def test_nothing_is_told_until_link_and_addresses_are_known() -> None:
    talk = Talk()
    assert talk.hear(link(NEWLINK, sequence=talk.number)) == []
    assert talk.hear(link(NEWLINK, flags=IFF_UP)) == []
    assert talk.listed("10.0.0.1/24", "fd00::1/64") == [
        LinkEvent("wg0", is_up=True, mtu=1420, addresses=having("10.0.0.1/24", "fd00::1/64"))
    ]


def test_what_is_older_than_the_answer_is_dropped() -> None:
    talk = Talk()
    talk.hear(link(NEWLINK, flags=IFF_UP), address(NEWADDR, "10.0.0.9/24"), link(NEWLINK, sequence=talk.number))
    assert talk.listed() == [LinkEvent("wg0", is_up=False, mtu=1420)]


def test_a_deletion_is_gone_and_not_up_whatever_its_flags() -> None:
    told = acquainted("10.0.0.1/24").hear(link(DELLINK, flags=IFF_UP), link(NEWLINK))
    assert told == [LinkEvent("wg0", is_up=False, mtu=1420, is_gone=True)]


def test_a_deletion_before_the_addresses_are_known_is_gone_too() -> None:
    talk = Talk()
    talk.hear(link(NEWLINK, sequence=talk.number))
    assert [event.is_gone for event in talk.hear(link(DELLINK))] == [True]


@pytest.mark.parametrize(
    "other",
    [link(NEWLINK, 8), link(DELLINK, 8), address(NEWADDR, "10.0.0.2/24", 8), address(DELADDR, "10.0.0.1/24", 8)],
    ids=["link", "end of a link", "address", "end of an address"],
)
def test_other_interfaces_are_ignored(other: bytes) -> None:
    assert acquainted("10.0.0.1/24").hear(other) == []


def test_leaving_a_bridge_is_no_deletion() -> None:
    assert acquainted().hear(link(DELLINK, flags=IFF_UP, family=AF_BRIDGE)) == []


def test_messages_in_one_datagram_keep_their_order() -> None:
    told = acquainted().hear(
        link(NEWLINK, flags=IFF_UP), link(NEWLINK, 8), address(NEWADDR, "10.0.0.1/24"), link(NEWLINK)
    )
    assert [(event.is_up, len(event.addresses)) for event in told] == [(True, 0), (True, 1), (False, 1)]


def test_addresses_come_and_go() -> None:
    talk = acquainted("10.0.0.1/24")
    (came,) = talk.hear(address(NEWADDR, "fd00::1/64"))
    assert came.addresses == having("10.0.0.1/24", "fd00::1/64")
    (went,) = talk.hear(address(DELADDR, "10.0.0.1/24"))
    assert went.addresses == having("fd00::1/64")


def test_of_an_address_with_another_at_the_far_end_ours_is_meant() -> None:
    (event,) = acquainted().hear(address(NEWADDR, "10.0.0.1/32", other_end="10.0.0.2"))
    assert event.addresses == having("10.0.0.1/32")


def test_an_address_that_is_told_of_twice_while_they_are_listed_is_there_once() -> None:
    talk = Talk()
    talk.hear(link(NEWLINK, sequence=talk.number), address(NEWADDR, "10.0.0.1/24"))
    (event,) = talk.listed("10.0.0.1/24")
    assert event.addresses == having("10.0.0.1/24")


def test_a_list_that_was_interrupted_by_changes_is_asked_for_again() -> None:
    talk = Talk()
    talk.hear(link(NEWLINK, sequence=talk.number))
    answer = address(NEWADDR, "10.0.0.1/24", sequence=talk.number)
    before = talk.number
    assert talk.hear(answer, message(DONE, bytes(4), talk.number, INTERRUPTED)) == []
    assert talk.number != before
    assert talk.listed("10.0.0.2/24")[-1].addresses == having("10.0.0.2/24")


def test_after_a_new_beginning_nothing_old_is_left() -> None:
    talk = acquainted("10.0.0.1/24")
    talk.question = talk.observer.begin()
    assert talk.hear(address(DELADDR, "10.0.0.1/24"), link(NEWLINK, sequence=talk.number)) == []
    assert talk.listed("10.0.0.2/24")[-1].addresses == having("10.0.0.2/24")


def test_an_index_that_is_not_there_is_gone() -> None:
    talk = Talk()
    refusal = message(ERROR, struct.pack("=i", -errno.ENODEV) + talk.question, talk.number)
    assert talk.hear(refusal) == [LinkEvent("", is_up=False, mtu=0, is_gone=True)]

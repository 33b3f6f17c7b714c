"""Conversations with a kernel that has its answers ready."""

import errno
import struct

import pytest

from tunnel.netlink.messages import Flag, Kind, pack_message, parse_messages
from tunnel.netlink.rtnetlink import Rtnetlink


class Kernel:
    """A netlink socket: `send` queues the next of the replies, given as (kind, flags, body) for each datagram."""

    def __init__(self, *replies: list[list[tuple[Kind, int, bytes]]]) -> None:
        self._replies = list(replies)
        self.queue: list[bytes] = []
        self.asked: list[tuple[int, int]] = []

    def send(self, data: bytes, /) -> int:
        (question,) = parse_messages(data)
        self.asked.append((question.kind, question.flags))
        for datagram in self._replies.pop(0):
            self.queue.append(b"".join(pack_message(k, f, question.sequence, body) for k, f, body in datagram))
        return len(data)

    def recv(self, size: int, /) -> bytes:
        if not self.queue:
            raise BlockingIOError(errno.EAGAIN, "nothing is there")
        return self.queue.pop(0)

    def close(self) -> None:
        self.queue.clear()


ACK = (Kind.ERROR, 0, bytes(4))
REFUSAL = (Kind.ERROR, 0, struct.pack("=i", -errno.EPERM))
DONE = (Kind.DONE, 0, bytes(4))


def route(body: bytes, flags: int = 0) -> tuple[Kind, int, bytes]:
    return (Kind.NEWROUTE, flags, body)


def test_a_change_is_asked_for_with_an_acknowledgement() -> None:
    kernel = Kernel([[ACK]])
    Rtnetlink(kernel).tell(Kind.NEWADDR, b"body", Flag.CREATE | Flag.EXCL)
    assert kernel.asked == [(Kind.NEWADDR, Flag.REQUEST | Flag.ACK | Flag.CREATE | Flag.EXCL)]


def test_a_refused_change_is_an_error_and_the_next_is_not() -> None:
    rtnetlink = Rtnetlink(Kernel([[REFUSAL]], [[ACK]]))
    with pytest.raises(PermissionError):
        rtnetlink.tell(Kind.NEWADDR, b"body")
    rtnetlink.tell(Kind.NEWADDR, b"body")


def test_the_answer_and_its_acknowledgement_may_come_one_by_one() -> None:
    kernel = Kernel([[route(b"here")], [ACK]], [[route(b"next"), ACK]])
    rtnetlink = Rtnetlink(kernel)
    assert rtnetlink.ask(Kind.GETROUTE, b"") == b"here"
    assert rtnetlink.ask(Kind.GETROUTE, b"") == b"next"
    assert kernel.queue == []


def test_a_dump_is_all_datagrams_up_to_the_end() -> None:
    kernel = Kernel([[route(b"1st."), route(b"2nd.")], [route(b"3rd.")], [DONE]])
    assert Rtnetlink(kernel).dump(Kind.GETROUTE, b"") == [b"1st.", b"2nd.", b"3rd."]
    assert kernel.asked == [(Kind.GETROUTE, Flag.REQUEST | Flag.ACK | Flag.DUMP)]


def test_only_what_is_wanted_of_a_dump_is_kept() -> None:
    kernel = Kernel([[route(b"not."), route(b"this"), DONE]])
    assert Rtnetlink(kernel).dump(Kind.GETROUTE, b"", lambda body: body == b"this") == [b"this"]


def test_a_dump_in_which_something_changed_is_asked_for_again() -> None:
    kernel = Kernel([[route(b"old."), route(b"new.", Flag.DUMP_INTR), DONE]], [[route(b"new."), DONE]])
    assert Rtnetlink(kernel).dump(Kind.GETROUTE, b"") == [b"new."]


def test_where_every_dump_is_interrupted_the_last_one_has_to_do() -> None:
    kernel = Kernel(*[[[route(bytes([number] * 4)), (Kind.DONE, Flag.DUMP_INTR, bytes(4))]] for number in range(9)])
    assert Rtnetlink(kernel).dump(Kind.GETROUTE, b"") == [b"\x04" * 4]


def test_what_is_left_of_an_earlier_conversation_is_no_answer() -> None:
    kernel = Kernel([[route(b"mine"), ACK]])
    kernel.queue.append(pack_message(Kind.NEWROUTE, 0, 77, b"old") + pack_message(Kind.ERROR, 0, 77, bytes(4)))
    assert Rtnetlink(kernel).ask(Kind.GETROUTE, b"") == b"mine"


def test_a_kernel_that_says_nothing_is_an_error_and_no_wait() -> None:
    with pytest.raises(BlockingIOError):
        Rtnetlink(Kernel([])).tell(Kind.NEWADDR, b"")

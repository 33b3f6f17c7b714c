"""Datagrams that come in a row, whether or not the kernel joined them."""

import socket
from collections.abc import Iterator

import pytest

from tunnel.udp.offload import SOL_UDP, UDP_GRO
from tunnel.udp.receiver import MAX_READS, Receiver
from tunnel.wire.train import MAX_TRAIN_COUNT, Train

ONE = ("192.0.2.1", 51820)
OTHER = ("192.0.2.2", 51820)

Given = tuple[bytes, tuple[str, int], int]
"""Content, from where, and the size of the datagrams in it (0: it is one)."""


class FakeSocket:
    """Gives what it was made with, one piece for each call."""

    def __init__(self, *given: Given) -> None:
        self._given: Iterator[Given] = iter(given)

    def recvmsg_into(
        self, buffers: tuple[memoryview], ancillary_size: int
    ) -> tuple[int, list[tuple[int, int, bytes]], int, tuple[str, int]]:
        try:
            content, origin, size = next(self._given)
        except StopIteration:
            raise BlockingIOError from None
        length = min(len(content), len(buffers[0]))
        buffers[0][:length] = content[:length]
        ancillary = [(SOL_UDP, UDP_GRO, size.to_bytes(4, "little"))] if size else []
        return length, ancillary, socket.MSG_TRUNC if length < len(content) else 0, origin


def trains(*given: Given, room: int = 1 << 20) -> list[tuple[bytes, int, int, str]]:
    """Content, count, size and host of each train."""
    received = Receiver().receive(FakeSocket(*given), memoryview(bytearray(room)))  # type: ignore[arg-type]
    return [(bytes(train.buffer), train.count, train.size, endpoint.host) for train, endpoint in received]


def test_equal_datagrams_of_one_endpoint_are_one_train() -> None:
    assert trains((b"aaaa", ONE, 0), (b"bbbb", ONE, 0)) == [(b"aaaabbbb", 2, 4, ONE[0])]


def test_a_shorter_one_ends_the_train() -> None:
    given = [(b"aaaa", ONE, 0), (b"bb", ONE, 0), (b"cc", ONE, 0), (b"dddd", ONE, 0)]
    assert trains(*given) == [(b"aaaabb", 2, 4, ONE[0]), (b"cc", 1, 2, ONE[0]), (b"dddd", 1, 4, ONE[0])]


def test_a_longer_one_begins_another() -> None:
    assert trains((b"aa", ONE, 0), (b"bbbb", ONE, 0)) == [(b"aa", 1, 2, ONE[0]), (b"bbbb", 1, 4, ONE[0])]


def test_another_endpoint_begins_another() -> None:
    assert trains((b"aa", ONE, 0), (b"bb", OTHER, 0)) == [(b"aa", 1, 2, ONE[0]), (b"bb", 1, 2, OTHER[0])]


def test_what_the_kernel_joined_is_joined_further() -> None:
    assert trains((b"aabb", ONE, 2), (b"ccd", ONE, 2), (b"ee", ONE, 0)) == [
        (b"aabbccd", 4, 2, ONE[0]),
        (b"ee", 1, 2, ONE[0]),
    ]


def test_joined_datagrams_do_not_follow_longer_ones() -> None:
    assert trains((b"aaaa", ONE, 0), (b"bbcc", ONE, 2)) == [(b"aaaa", 1, 4, ONE[0]), (b"bbcc", 2, 2, ONE[0])]


def test_a_train_has_no_more_datagrams_than_one_send_could_have() -> None:
    pieces = [(b"x" * 8 * 40, ONE, 8)] * 2
    assert [count for _, count, _, _ in trains(*pieces)] == [40, 40]
    assert MAX_TRAIN_COUNT < 80


def test_an_empty_datagram_stands_alone() -> None:
    given = [(b"", ONE, 0), (b"", ONE, 0), (b"a", ONE, 0), (b"", ONE, 0)]
    assert trains(*given) == [(b"", 1, 0, ONE[0]), (b"", 1, 0, ONE[0]), (b"a", 1, 1, ONE[0]), (b"", 1, 0, ONE[0])]


def test_one_call_reads_only_so_often() -> None:
    assert sum(count for _, count, _, _ in trains(*[(b"x", ONE, 0)] * (MAX_READS + 5))) == MAX_READS


@pytest.mark.parametrize("pieces", [1, 3])
def test_trains_of_one_shape_and_place_are_one_object(pieces: int) -> None:
    arena, receiver = memoryview(bytearray(1 << 20)), Receiver()

    def receive(content: bytes) -> Train:
        size = len(content)
        sock = FakeSocket(*[(content * 2, ONE, size)] * pieces)
        ((train, _),) = receiver.receive(sock, arena)  # type: ignore[arg-type]
        assert bytes(train.buffer) == content * 2 * pieces
        return train

    assert receive(b"aaaa") is receive(b"bbbb")
    assert receive(b"cc") is not receive(b"dddd")

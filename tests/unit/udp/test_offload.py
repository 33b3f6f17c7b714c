"""Trains over loopback, and kernels that do not want them, which are sockets that refuse here."""

import errno
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tunnel.config.model import Offload
from tunnel.endpoint import Endpoint, Source
from tunnel.udp.offload import SOL_UDP, UDP_GRO, UDP_SEGMENT, parse_segment_size
from tunnel.udp.sender import GSO_PAUSE
from tunnel.udp.socket import UdpSocket
from tunnel.wire.train import MAX_TRAIN_BYTES, MAX_TRAIN_COUNT, Train

LOOPBACK = ["127.0.0.1", "::1"]
FOR_GOOD = [errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP, errno.EINVAL]
Opener = Callable[..., UdpSocket]
Verdict = Callable[[Any, int], int]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """`UdpSocket.open` on any port, whose sockets are closed in the end."""
    sockets: list[UdpSocket] = []

    def open_socket(**options: Any) -> UdpSocket:
        sockets.append(UdpSocket.open(0, **options))
        return sockets[-1]

    yield open_socket
    for sock in sockets:
        sock.close()


class Kernel:
    """Makes sockets whose `sendmsg` is refused with what `verdict` says, if not 0; counts what is sent."""

    def __init__(self, verdict: Verdict = lambda ancillary, sent: 0) -> None:
        self.verdict = verdict
        self.singles = 0
        self.trains = 0
        self.refused = 0

    def create(self, family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
        kernel = self

        class Picky(socket.socket):
            def sendmsg(self, buffers: Any, ancillary: Any = (), flags: int = 0, address: Any = None, /) -> int:
                is_train = any(level == SOL_UDP for level, _, _ in ancillary)
                code = kernel.verdict(ancillary, kernel.singles + kernel.trains)
                if code:
                    kernel.refused += 1
                    raise OSError(code, os.strerror(code))
                sent = super().sendmsg(buffers, ancillary, flags, address)
                kernel.trains += is_train
                kernel.singles += not is_train
                return sent

        return Picky(family, kind)


def refuses_trains(code: int) -> Verdict:
    return lambda ancillary, _: code if any(level == SOL_UDP for level, _, _ in ancillary) else 0


def train(payload: bytes, size: int) -> Train:
    count = -(-len(payload) // size)
    return Train(memoryview(bytearray(payload)), count, size, len(payload) - (count - 1) * size)


def shape(received: Train) -> tuple[int, int, int]:
    return received.count, received.size, received.last


def numbered(count: int, size: int = 100, start: int = 0) -> Train:
    """Every datagram begins with its number."""
    return train(b"".join(number.to_bytes(2).ljust(size, b".") for number in range(start, start + count)), size)


def receive(sock: UdpSocket, host: str = "127.0.0.1", size: int = 65535) -> list[Train]:
    """All that there is, in the pieces in which the kernel gives it: the arena has room for no more than one."""
    trains: list[Train] = []
    while received := sock.receive(sock.filenos()[":" in host], memoryview(bytearray(size))):
        trains += [train for train, _ in received]
    return trains


def numbers(trains: list[Train]) -> list[int]:
    return [int.from_bytes(datagram[:2]) for received in trains for datagram in received.datagrams()]


# --- as it should be


def offloads(sock: UdpSocket) -> tuple[set[str], set[str]]:
    return set(sock.send_offloads), set(sock.receive_offloads)


@pytest.mark.parametrize(
    ("offload", "expected"),
    [
        (Offload.AUTO, ({"gso"}, {"gro"})),
        (Offload.OFF, (set(), set())),
        (Offload.SEND, ({"gso"}, set())),
        (Offload.RECEIVE, (set(), {"gro"})),
    ],
)
def test_each_is_on_in_its_direction_only(
    opened: Opener, offload: Offload, expected: tuple[set[str], set[str]]
) -> None:
    assert offloads(opened(offload=offload)) == expected


def test_both_are_on_unless_told_otherwise(opened: Opener) -> None:
    assert offloads(opened()) == ({"gso"}, {"gro"})


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("last", [1, 699, 1452])
def test_a_train_is_sent_in_one_call_and_received_in_one(opened: Opener, host: str, last: int) -> None:
    kernel = Kernel()
    here, there = opened(), opened(create=kernel.create)
    payload = os.urandom(43 * 1452 + last)
    assert there.send([(train(payload, 1452), Endpoint(host, here.port))]) == 1
    assert (kernel.trains, kernel.singles) == (1, 0)
    (received,) = receive(here, host)
    assert shape(received) == (44, 1452, last)
    assert bytes(received.buffer) == payload


@pytest.mark.parametrize("host", LOOPBACK)
def test_the_longest_trains_pass(opened: Opener, host: str) -> None:
    here, there = opened(), opened()
    size = MAX_TRAIN_BYTES // MAX_TRAIN_COUNT
    trains = [train(bytes(MAX_TRAIN_COUNT * size), size), train(bytes(MAX_TRAIN_BYTES), 1500), train(bytes(64), 1)]
    assert there.send([(each, Endpoint(host, here.port)) for each in trains]) == 3
    assert [shape(each) for each in receive(here, host)] == [shape(each) for each in trains]
    assert there.send_offloads == {"gso"}
    assert there.unsent == 0


def test_a_train_says_where_it_came_from_and_to(opened: Opener) -> None:
    here, there = opened(), opened()
    there.send([(numbered(5), Endpoint("127.7.7.7", here.port))])
    ((received, origin),) = here.receive(here.filenos()[0], memoryview(bytearray(65535)))
    loopback = socket.if_nametoindex("lo")
    assert origin == Endpoint("127.0.0.1", there.port, 0, Source("127.7.7.7", loopback))
    assert here.send([(received, origin)]) == 1
    ((_, answered),) = there.receive(there.filenos()[0], memoryview(bytearray(65535)))
    assert answered.host == "127.7.7.7"


def test_trains_and_single_datagrams_stay_in_order(opened: Opener) -> None:
    here, there = opened(), opened()
    to = Endpoint("127.0.0.1", here.port)
    bursts = [numbered(5), numbered(1, 90, 5), numbered(3, 110, 6), numbered(1, 40, 9)]
    assert there.send([(burst, to) for burst in bursts]) == 4
    assert numbers(receive(here)) == list(range(10))


def test_a_received_train_lies_in_the_buffer_that_was_given(opened: Opener) -> None:
    here, there = opened(), opened()
    there.send([(numbered(3), Endpoint("127.0.0.1", here.port))])
    memory = bytearray(65535)
    ((received, _),) = here.receive(here.filenos()[0], memoryview(memory))
    received.buffer[0] = 0xFF
    assert memory[0] == 0xFF
    assert len(received.buffer) == 300


def test_a_train_longer_than_its_buffer_is_skipped_and_counted_and_the_next_is_kept(opened: Opener) -> None:
    here, there = opened(), opened()
    to = Endpoint("127.0.0.1", here.port)
    there.send([(numbered(5), to), (numbered(4), to)])
    assert [received.count for received in receive(here, size=450)] == [4]
    assert here.truncated == 1


@pytest.mark.parametrize("host", LOOPBACK)
def test_an_empty_datagram_is_a_train_of_one(opened: Opener, host: str) -> None:
    sock = opened()
    sock.send([(Train.single(memoryview(bytearray())), Endpoint(host, sock.port))])
    assert [shape(received) for received in receive(sock, host)] == [(1, 0, 0)]


def test_datagrams_of_a_train_for_a_family_that_the_host_lacks_are_all_unsent(opened: Opener) -> None:
    def create(family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "unsupported")
        return socket.socket(family, kind)

    sock = opened(create=create)
    assert sock.send([(numbered(7), Endpoint("::1", 9))]) == 1
    assert sock.unsent == 7


# --- switched off, or never there


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("offload", [Offload.OFF, Offload.RECEIVE])
def test_switched_off_every_datagram_goes_by_itself(opened: Opener, host: str, offload: Offload) -> None:
    kernel = Kernel()
    here, there = opened(), opened(create=kernel.create, offload=offload)
    assert there.send([(numbered(20), Endpoint(host, here.port))]) == 1
    assert (kernel.trains, kernel.singles) == (0, 20)
    assert numbers(receive(here, host)) == list(range(20))


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("offload", [Offload.OFF, Offload.SEND])
def test_switched_off_every_datagram_comes_by_itself(opened: Opener, host: str, offload: Offload) -> None:
    here, there = opened(offload=offload), opened()
    assert there.send([(numbered(20), Endpoint(host, here.port))]) == 1
    received = receive(here, host)
    assert [each.count for each in received] == [1] * 20
    assert numbers(received) == list(range(20))


def kernel_without(option: int) -> Callable[[socket.AddressFamily, socket.SocketKind], socket.socket]:
    """A kernel that has never heard of a UDP option."""

    class Old(socket.socket):
        def setsockopt(self, level: int, name: int, *value: Any) -> None:
            self._check(level, name)
            super().setsockopt(level, name, *value)

        def getsockopt(self, level: int, name: int, *size: Any) -> Any:
            self._check(level, name)
            return super().getsockopt(level, name, *size)

        def _check(self, level: int, name: int) -> None:
            if (level, name) == (SOL_UDP, option):
                raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))

    return Old


def test_a_kernel_without_gro_gives_single_datagrams(opened: Opener) -> None:
    here, there = opened(create=kernel_without(UDP_GRO)), opened()
    assert offloads(here) == ({"gso"}, set())
    there.send([(numbered(20), Endpoint("127.0.0.1", here.port))])
    assert [each.count for each in receive(here)] == [1] * 20


def test_a_kernel_without_gso_is_given_single_datagrams(opened: Opener) -> None:
    here, there = opened(), opened(create=kernel_without(UDP_SEGMENT))
    assert offloads(there) == (set(), {"gro"})
    assert there.send([(numbered(20), Endpoint("127.0.0.1", here.port))]) == 1
    assert numbers(receive(here)) == list(range(20))


# --- refused at run time


@pytest.mark.parametrize("code", FOR_GOOD)
def test_a_kernel_that_refuses_trains_is_not_asked_again_and_nothing_is_lost(opened: Opener, code: int) -> None:
    kernel = Kernel(refuses_trains(code))
    here, there = opened(), opened(create=kernel.create)
    to = Endpoint("127.0.0.1", here.port)
    assert there.send([(numbered(20), to), (numbered(20, start=20), to)]) == 2
    assert offloads(there) == (set(), {"gro"})
    assert there.send([(numbered(5, start=40 + 5 * index), to) for index in range(2 * GSO_PAUSE)]) == 2 * GSO_PAUSE
    assert numbers(receive(here)) == list(range(40 + 10 * GSO_PAUSE))
    assert (there.unsent, kernel.refused) == (0, 1)


@pytest.mark.parametrize("code", FOR_GOOD)
def test_it_is_said_once(opened: Opener, caplog: pytest.LogCaptureFixture, code: int) -> None:
    here, there = opened(), opened(create=Kernel(refuses_trains(code)).create)
    with caplog.at_level(logging.WARNING):
        there.send([(numbered(5), Endpoint(host, here.port)) for host in LOOPBACK * 3])
    (record,) = caplog.records
    assert record.getMessage() == f"UDP segmentation offload is off, as the kernel refuses it: {os.strerror(code)}"


def test_a_way_too_narrow_for_trains_is_tried_again_after_a_while(opened: Opener) -> None:
    kernel = Kernel(refuses_trains(errno.EMSGSIZE))
    here, there = opened(), opened(create=kernel.create)
    to = Endpoint("127.0.0.1", here.port)
    assert there.send([(numbered(2, start=2 * index), to) for index in range(1 + GSO_PAUSE)]) == 1 + GSO_PAUSE
    assert (kernel.refused, kernel.singles) == (1, 2 + 2 * GSO_PAUSE)
    kernel.verdict = lambda ancillary, sent: 0
    assert there.send([(numbered(2, start=2 + 2 * GSO_PAUSE), to)]) == 1
    assert kernel.trains == 1
    assert numbers(receive(here)) == list(range(4 + 2 * GSO_PAUSE))
    assert there.send_offloads == {"gso"}


def test_a_way_too_narrow_for_trains_does_not_slow_down_the_others(opened: Opener) -> None:
    """Before Linux 6.14 it is EINVAL that such a way is known by."""
    kernel = Kernel()
    here, there = opened(), opened(create=kernel.create)
    wide, narrow = (Endpoint(host, here.port) for host in LOOPBACK)
    assert there.send([(numbered(2), wide)]) == 1
    kernel.verdict = refuses_trains(errno.EINVAL)
    assert there.send([(numbered(2), narrow)]) == 1
    kernel.verdict = lambda ancillary, sent: 0
    assert there.send([(numbered(2), wide), (numbered(2), narrow)]) == 2
    assert (kernel.trains, kernel.singles) == (2, 4)
    assert there.send_offloads == {"gso"}


def test_an_endpoint_that_refuses_every_datagram_says_nothing_about_trains(opened: Opener) -> None:
    here, there = opened(), opened()
    nowhere = Endpoint("127.0.0.1", 0)  # EINVAL
    assert there.send([(numbered(3), nowhere), (numbered(3), Endpoint("127.0.0.1", here.port))]) == 2
    assert there.unsent == 3
    assert there.send_offloads == {"gso"}
    assert [each.count for each in receive(here)] == [3]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENETUNREACH, errno.ENOBUFS, errno.ENOMEM, errno.ECONNREFUSED])
def test_a_train_that_the_network_refuses_is_unsent_and_not_tried_in_pieces(opened: Opener, code: int) -> None:
    kernel = Kernel(refuses_trains(code))
    there = opened(create=kernel.create)
    assert there.send([(numbered(3), Endpoint("127.0.0.1", 9))]) == 1
    assert (there.unsent, kernel.singles) == (3, 0)
    assert there.send_offloads == {"gso"}


@pytest.mark.parametrize("address", ["192.0.2.123", "2001:db8::123"])
def test_a_source_that_is_not_ours_costs_no_train_its_whole(address: str) -> None:
    """The kernel says EINVAL to that, too; nobody has looked at the routing before."""
    host = "::1" if ":" in address else "127.0.0.1"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kernel = Kernel()
    end = kernel.create(family, socket.SOCK_DGRAM)
    end.setblocking(False)
    end.bind((host, 0))
    here = UdpSocket([end])
    endpoint = Endpoint(host, here.port, 0, Source(address, 1))
    assert here.send([(numbered(3), endpoint), (numbered(3, start=3), endpoint)]) == 2
    assert (kernel.trains, kernel.singles) == (2, 0)
    assert here.send_offloads == {"gso"}
    (fileno,) = here.filenos()
    arena = memoryview(bytearray(1 << 20))
    assert numbers([received for received, _ in here.receive(fileno, arena)]) == list(range(6))
    here.close()


# --- no room


def full_after(count: int) -> Verdict:
    """The buffer is full when so many sends are in it."""
    return lambda _, sent: errno.EAGAIN if sent >= count else 0


def test_a_train_for_which_there_is_no_room_is_not_done(opened: Opener) -> None:
    kernel = Kernel(full_after(2))
    here, there = opened(), opened(create=kernel.create)
    bursts = [(numbered(3, start=3 * index), Endpoint("127.0.0.1", here.port)) for index in range(4)]
    assert there.send(bursts) == 2
    kernel.verdict = full_after(100)
    assert there.send(bursts[2:]) == 2
    assert numbers(receive(here)) == list(range(12))
    assert there.unsent == 0


@pytest.mark.parametrize("room", [1, 4, 5, 9])
def test_a_train_sent_in_part_goes_on_where_it_stopped(opened: Opener, room: int) -> None:
    kernel = Kernel(full_after(room))
    here, there = opened(), opened(create=kernel.create, offload=Offload.OFF)
    bursts = [(numbered(5, start=5 * index), Endpoint("127.0.0.1", here.port)) for index in range(4)]
    done = 0
    while done < len(bursts):
        assert done == min(4, kernel.singles // 5)
        done += there.send(bursts[done:])
        kernel.verdict = full_after(kernel.singles + room)
    assert numbers(receive(here)) == list(range(20))


def test_a_train_refused_and_then_without_room_goes_on_where_it_stopped(opened: Opener) -> None:
    def verdict(ancillary: Any, sent: int) -> int:
        return refuses_trains(errno.EMSGSIZE)(ancillary, sent) or full_after(2)(ancillary, sent)

    kernel = Kernel(verdict)
    here, there = opened(), opened(create=kernel.create)
    burst = [(numbered(5), Endpoint("127.0.0.1", here.port))]
    assert there.send(burst) == 0
    kernel.verdict = refuses_trains(errno.EMSGSIZE)
    assert there.send(burst) == 1
    assert numbers(receive(here)) == list(range(5))
    assert kernel.refused == 2


def test_the_rest_of_a_train_may_be_given_up_for_another(opened: Opener) -> None:
    kernel = Kernel(full_after(2))
    here, there = opened(), opened(create=kernel.create, offload=Offload.OFF)
    to = Endpoint("127.0.0.1", here.port)
    assert there.send([(numbered(5), to)]) == 0
    kernel.verdict = full_after(100)
    assert there.send([(numbered(5, start=5), to)]) == 1
    assert numbers(receive(here)) == [0, 1, 5, 6, 7, 8, 9]


# --- the message


def test_the_size_is_a_number_in_the_order_of_the_host() -> None:
    assert parse_segment_size(struct.pack("=i", 1452)) == 1452


@pytest.mark.parametrize("content", [b"", bytes(2), bytes(8), struct.pack("=i", -1)])
def test_a_size_that_makes_no_sense_is_none(content: bytes) -> None:
    assert parse_segment_size(content) == 0

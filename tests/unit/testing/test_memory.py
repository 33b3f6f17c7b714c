"""The fakes keep the promises of the ports, and their descriptors tell the truth."""

import select
from collections.abc import Iterator

import pytest

from tunnel.daemon.ports import DatagramSocket, PacketDevice
from tunnel.endpoint import Endpoint, Source
from tunnel.errors import TunDeviceError
from tunnel.testing.memory import MemoryTun, MemoryUdp
from tunnel.udp.receiver import MAX_READS
from tunnel.wire.train import Train
from tunnel.wire.virtio import PLAIN


def is_readable(fileno: int) -> bool:
    return bool(select.select([fileno], [], [], 0)[0])


def is_writable(fileno: int) -> bool:
    return bool(select.select([], [fileno], [], 0)[1])


def train(*datagrams: bytes) -> Train:
    return Train(memoryview(bytearray(b"".join(datagrams))), len(datagrams), len(datagrams[0]), len(datagrams[-1]))


# ---- the interface ----------------------------------------------------------------------------------------------


@pytest.fixture
def tun() -> Iterator[MemoryTun]:
    tun = MemoryTun()
    yield tun
    tun.close()


def test_it_is_a_packet_device(tun: MemoryTun) -> None:
    device: PacketDevice = tun
    assert device.send_offloads == device.receive_offloads == {"csum", "tso4", "tso6", "uso4", "uso6"}


def test_what_is_queued_is_read_into_the_buffers_in_order(tun: MemoryTun) -> None:
    tun.queue(b"one", b"three", b"five")
    buffers = [memoryview(bytearray(4)) for _ in range(2)]
    assert tun.read(buffers) == [3, 4]
    assert list(map(bytes, buffers)) == [b"one\0", b"thre"]
    assert tun.read(buffers) == [4]
    assert tun.read(buffers) == []


def test_it_is_readable_while_frames_wait(tun: MemoryTun) -> None:
    assert not is_readable(tun.fileno())
    tun.queue_packets(b"one", b"two")
    buffer = [memoryview(bytearray(100))]
    for _ in range(2):
        assert is_readable(tun.fileno())
        tun.read(buffer)
    assert not is_readable(tun.fileno())


def test_what_is_written_is_kept_in_one_piece(tun: MemoryTun) -> None:
    payload = bytearray(b"packet")
    assert tun.write([[PLAIN, memoryview(payload)], [b"header", b"a", b"b"]]) == 0
    payload[:] = b"gone!!"
    assert tun.written == [PLAIN + b"packet", b"headerab"]


def test_refused_frames_are_counted_and_not_kept(tun: MemoryTun) -> None:
    tun.refuses = True
    assert tun.write([[PLAIN], [PLAIN]]) == 2
    assert tun.written == []


def test_a_deleted_interface_is_readable_and_raises(tun: MemoryTun) -> None:
    tun.delete()
    assert is_readable(tun.fileno())
    with pytest.raises(TunDeviceError, match="interface 'wg0' was deleted"):
        tun.read([])
    with pytest.raises(TunDeviceError, match="interface 'wg0' was deleted"):
        tun.write([])


# ---- the socket -------------------------------------------------------------------------------------------------


@pytest.fixture
def pair() -> Iterator[tuple[MemoryUdp, MemoryUdp]]:
    pair = MemoryUdp.pair()
    yield pair
    for udp in pair:
        udp.close()
        udp.close()


Pair = tuple[MemoryUdp, MemoryUdp]


def test_it_is_a_datagram_socket(pair: Pair) -> None:
    sockets: list[DatagramSocket] = list(pair)
    assert [udp.port for udp in sockets] == [51820, 51820]


def test_a_train_arrives_as_it_was_when_it_was_sent(pair: Pair) -> None:
    left, right = pair
    sent = train(b"aaaa", b"bbbb", b"cc")
    assert left.send([(sent, right.endpoint), (train(b"dd"), right.endpoint)]) == 2
    sent.buffer[:] = bytes(10)
    arena = memoryview(bytearray(100))
    first, second = right.receive(right.filenos()[0], arena)
    assert first == (train(b"aaaa", b"bbbb", b"cc"), Endpoint("192.0.2.1", 51820, source=Source("192.0.2.2", 1)))
    assert second[0] == train(b"dd")
    assert bytes(arena[:12]) == b"aaaabbbbccdd"


def test_it_is_readable_until_everything_is_received(pair: Pair) -> None:
    left, right = pair
    (fileno,) = right.filenos()
    assert not is_readable(fileno)
    left.send([(train(bytes(60)), right.endpoint)] * 2)
    for _ in range(2):
        assert is_readable(fileno)
        assert len(right.receive(fileno, memoryview(bytearray(100)))) == 1
    assert not is_readable(fileno)


def test_what_is_longer_than_the_arena_is_skipped(pair: Pair) -> None:
    left, right = pair
    left.send([(train(bytes(101)), right.endpoint), (train(bytes(100)), right.endpoint)])
    ((received, _),) = right.receive(right.filenos()[0], memoryview(bytearray(100)))
    assert (len(received.buffer), right.truncated) == (100, 1)


def test_one_call_brings_no_more_than_a_real_one(pair: Pair) -> None:
    left, right = pair
    left.send([(train(b"x"), right.endpoint)] * (MAX_READS + 1))
    assert len(right.receive(right.filenos()[0], memoryview(bytearray(1000)))) == MAX_READS


def test_without_room_nothing_is_taken_and_it_is_not_writable(pair: Pair) -> None:
    left, right = pair
    left.room = 2
    bursts = [(train(b"x"), right.endpoint)] * 3
    assert left.send(bursts) == 2
    assert left.send(bursts) == 0
    assert not is_writable(left.fileno_towards(right.endpoint))
    left.room = None
    assert is_writable(left.fileno_towards(right.endpoint))
    assert left.send(bursts) == 3
    assert len(right.receive(right.filenos()[0], memoryview(bytearray(100)))) == 5


def test_it_stays_readable_while_it_is_not_writable(pair: Pair) -> None:
    left, right = pair
    left.room = 0
    right.send([(train(b"x"), left.endpoint)])
    assert is_readable(left.filenos()[0])
    assert len(left.receive(left.filenos()[0], memoryview(bytearray(100)))) == 1
    assert not is_readable(left.filenos()[0])
    assert not is_writable(left.filenos()[0])


def test_what_nobody_listens_to_is_unsent(pair: Pair) -> None:
    left, right = pair
    right.close()
    assert left.send([(train(b"aa", b"bb"), right.endpoint), (train(b"c"), Endpoint("192.0.2.9", 1))]) == 2
    assert left.unsent == 3


def test_another_port_of_the_same_host_is_reached_beside_the_first(pair: Pair) -> None:
    left, right = pair
    other = right.on_port(999)
    left.send([(train(b"x"), right.endpoint), (train(b"y"), Endpoint("192.0.2.2", 999))])
    received = [udp.receive(udp.filenos()[0], memoryview(bytearray(9)))[0][0] for udp in (right, other)]
    assert [bytes(each.buffer) for each in received] == [b"x", b"y"]
    other.close()


def test_a_probe_arrives_if_the_way_is_wide_enough_and_there_is_room(pair: Pair) -> None:
    left, right = pair
    left.longest = 60
    for size in (60, 61):
        left.send_probe(memoryview(bytes(size)), right.endpoint)
    left.room = 0
    left.send_probe(memoryview(bytes(59)), right.endpoint)
    received = right.receive(right.filenos()[0], memoryview(bytearray(300)))
    assert [len(probe.buffer) for probe, _ in received] == [60]
    assert [len(probe) for probe in left.probes] == [60, 61, 59]


def test_what_is_too_long_for_the_way_vanishes_and_the_end_of_its_train_does_not(pair: Pair) -> None:
    left, right = pair
    left.longest = 3
    assert left.send([(train(b"aaaa", b"bb"), right.endpoint), (train(b"cccc", b"dddd"), right.endpoint)]) == 2
    ((received, _),) = right.receive(right.filenos()[0], memoryview(bytearray(100)))
    assert received == train(b"bb")
    assert left.unsent == 0

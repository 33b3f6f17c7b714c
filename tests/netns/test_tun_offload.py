"""Superpackets through a real TUN device, and what comes instead where a kernel or a person wants none."""

import errno
import fcntl
import os
import select
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from tunnel.config.model import Offload
from tunnel.testing.namespaces import Namespace
from tunnel.tun.attach import OFFLOAD_BITS, TUNSETOFFLOAD
from tunnel.tun.device import TunDevice
from tunnel.udp.offload import SOL_UDP, UDP_SEGMENT
from tunnel.wire.virtio import (
    VIRTIO_HEADER_SIZE,
    GsoType,
    VirtioFlag,
    VirtioHeader,
    pack_virtio_header,
    parse_virtio_header,
)

pytestmark = pytest.mark.root

PORT = 7
PAIRS = [("10.7.0.1", "10.7.0.2"), ("fd07::1", "fd07::2")]


@pytest.fixture
def host() -> Iterator[Namespace]:
    with Namespace("offload") as host:
        yield host


def without_uso(descriptor: int, request: int, argument: Any) -> Any:
    """The ioctls of a kernel before 6.2."""
    if request == TUNSETOFFLOAD and argument & OFFLOAD_BITS["uso4"]:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return fcntl.ioctl(descriptor, request, argument)


def create(host: Namespace, own: int = 1, gso_max_size: int = 65536, **options: Any) -> TunDevice:
    """wg0, up, with the addresses of the number `own`."""
    with host.enter():
        device = TunDevice.create("wg0", **options)
    host.ip("link", "set", "wg0", "addrgenmode", "none", "gso_max_size", str(gso_max_size))
    host.ip("address", "add", f"10.7.0.{own}/24", "dev", "wg0")
    host.ip("address", "add", f"fd07::{own}/64", "dev", "wg0")
    host.ip("link", "set", "wg0", "up")
    return device


def buffers(count: int) -> list[memoryview]:
    return [memoryview(bytearray(VIRTIO_HEADER_SIZE + 65535)) for _ in range(count)]


def read(device: TunDevice, count: int = 64) -> list[tuple[VirtioHeader, bytes]]:
    """Header and packet of everything that is there."""
    frames = []
    room = buffers(count)
    for buffer, length in zip(room, device.read(room), strict=False):
        header = parse_virtio_header(buffer)
        assert header is not None
        frames.append((header, bytes(buffer[VIRTIO_HEADER_SIZE:length])))
    return frames


def send_train(host: Namespace, to: str, payload: bytes, size: int) -> None:
    """As an application with UDP_SEGMENT does."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with host.enter(), socket.socket(family, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(SOL_UDP, UDP_SEGMENT, size)
        sender.sendto(payload, (to, PORT))


@pytest.mark.parametrize(("own", "other"), PAIRS)
def test_a_train_of_the_host_is_read_as_one_superpacket(host: Namespace, own: str, other: str) -> None:
    device = create(host)
    assert device.send_offloads == device.receive_offloads == OFFLOAD_BITS.keys()
    send_train(host, other, bytes(45 * 1000 + 7), 1000)
    ((header, packet),) = read(device)
    size = 48 if ":" in own else 28
    assert (header.flags, header.gso_type, header.gso_size) == (VirtioFlag.NEEDS_CSUM, GsoType.UDP_L4, 1000)
    assert (header.checksum_start, header.checksum_offset) == (size - 8, 6)
    assert len(packet) == size + 45 * 1000 + 7
    device.close()


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"offload": Offload.OFF}, set()),
        ({"offload": Offload.RECEIVE}, set()),
        ({"ioctl": without_uso}, {"csum", "tso4", "tso6"}),
    ],
    ids=["off", "receive", "without USO"],
)
@pytest.mark.parametrize(("own", "other"), PAIRS)
def test_without_uso_it_is_read_datagram_by_datagram(
    host: Namespace, own: str, other: str, options: dict[str, Any], left: set[str]
) -> None:
    device = create(host, **options)
    assert device.send_offloads == left
    send_train(host, other, bytes(45 * 1000 + 7), 1000)
    frames = read(device)
    size = 48 if ":" in own else 28
    assert [header.gso_type for header, _ in frames] == [GsoType.NONE] * 46
    assert [len(packet) - size for _, packet in frames] == [1000] * 45 + [7]
    device.close()


def superpacket(payload: bytes, size: int, length: int | None = None) -> list[bytes]:
    """A UDP superpacket for the host over IPv4, in three pieces; its checksum is left to the kernel."""
    length = 8 + len(payload) if length is None else length
    ip = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, 17, 0))
    ip += socket.inet_aton("10.7.0.2") + socket.inet_aton("10.7.0.1")
    ip[10:12] = (65535 - int.from_bytes(ip) % 65535).to_bytes(2)
    pseudo = bytes(ip[12:20]) + struct.pack("!HH", 17, length)
    udp = struct.pack("!HHHH", PORT, PORT, length, int.from_bytes(pseudo) % 65535)
    virtio = VirtioHeader(VirtioFlag.NEEDS_CSUM, GsoType.UDP_L4, 28, size, 20, 6)
    middle = len(payload) // 2
    return [pack_virtio_header(virtio) + bytes(ip) + udp, payload[:middle], payload[middle:]]


@pytest.mark.parametrize("offload", [Offload.AUTO, Offload.RECEIVE])
def test_a_superpacket_that_is_written_arrives_as_its_datagrams(host: Namespace, offload: Offload) -> None:
    device = create(host, offload=offload)
    assert device.receive_offloads == OFFLOAD_BITS.keys()
    payload = bytes(index * 7 & 255 for index in range(40 * 1200 + 100))
    with host.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("10.7.0.1", PORT))
        receiver.settimeout(2)
        assert device.write([superpacket(payload, 1200)]) == 0
        received = [receiver.recv(65535) for _ in range(41)]
    assert [len(datagram) for datagram in received] == [1200] * 40 + [100]
    assert b"".join(received) == payload
    device.close()


def test_a_header_that_points_outside_its_packet_is_refused(host: Namespace) -> None:
    device = create(host)
    whole = b"".join(superpacket(bytes(3000), 1200))
    for header in (
        VirtioHeader(VirtioFlag.NEEDS_CSUM, GsoType.UDP_L4, 28, 1200, 60000, 6),
        VirtioHeader(VirtioFlag.NEEDS_CSUM, GsoType.UDP_L4, 28, 0, 20, 6),
        VirtioHeader(VirtioFlag.NEEDS_CSUM, GsoType.UDP_L4, 60000, 1200, 20, 6),
        VirtioHeader(0, 77, 0, 1200, 0, 0),
    ):
        assert device.write([[pack_virtio_header(header), whole[VIRTIO_HEADER_SIZE:]]]) == 1
    assert device.write([[whole]]) == 0
    device.close()


class Stream:
    """A TCP connection between two namespaces, whose TUN devices we join: what one reads the other is given."""

    def __init__(self, left: Namespace, right: Namespace, to: str, **options: Any) -> None:
        self.devices = create(left, own=1, **options), create(right, own=2, **options)
        self.longest = 0
        family = socket.AF_INET6 if ":" in to else socket.AF_INET
        with right.enter():
            self.listener = socket.create_server((to, PORT), family=family)
        with left.enter():
            self.sender = socket.socket(family, socket.SOCK_STREAM)
        self.sender.setblocking(False)
        self.sender.connect_ex((to, PORT))
        self.pump(until=self.listener)
        self.receiver, _ = self.listener.accept()
        self.receiver.setblocking(False)

    def pump(self, until: socket.socket) -> None:
        """Carry frames both ways until `until` is readable."""
        room = buffers(8)
        ends = {device.fileno(): device for device in self.devices}
        while ready := select.select([*ends, until.fileno()], [], [], 3)[0]:
            for fileno in ready:
                if fileno == until.fileno():
                    return
                device = ends[fileno]
                frames = [room[index][:length] for index, length in enumerate(device.read(room))]
                self.longest = max(self.longest, *(len(frame) for frame in frames))
                (other,) = {*self.devices} - {device}
                assert other.write([[frame] for frame in frames]) == 0
        pytest.fail("nothing comes any more")

    def send(self, payload: bytes) -> bytes:
        """Return what the other side has received of it."""
        received = bytearray()
        rest = memoryview(payload)
        while len(received) < len(payload):
            if rest:
                with suppress(BlockingIOError):
                    rest = rest[self.sender.send(rest) :]
            self.pump(until=self.receiver)
            received += self.receiver.recv(1 << 20)
        return bytes(received)

    def close(self) -> None:
        for end in (self.sender, self.receiver, self.listener, *self.devices):
            end.close()


@pytest.fixture
def other_host() -> Iterator[Namespace]:
    with Namespace("offload-other") as host:
        yield host


@pytest.mark.parametrize(("own", "other"), PAIRS)
def test_a_tcp_stream_goes_through_in_superpackets(
    host: Namespace, other_host: Namespace, own: str, other: str
) -> None:
    stream = Stream(host, other_host, other)
    payload = os.urandom(1 << 21)
    assert stream.send(payload) == payload
    assert stream.longest > 40000
    stream.close()


@pytest.mark.parametrize(("own", "other"), PAIRS)
def test_the_largest_superpacket_is_as_large_as_the_interface_was_told(
    host: Namespace, other_host: Namespace, own: str, other: str
) -> None:
    stream = Stream(host, other_host, other, gso_max_size=20000)
    payload = os.urandom(1 << 20)
    assert stream.send(payload) == payload
    assert 15000 < stream.longest <= VIRTIO_HEADER_SIZE + 20000
    stream.close()


@pytest.mark.parametrize("offload", [Offload.OFF, Offload.RECEIVE])
@pytest.mark.parametrize(("own", "other"), PAIRS)
def test_without_offloads_a_tcp_stream_goes_through_in_packets(
    host: Namespace, other_host: Namespace, own: str, other: str, offload: Offload
) -> None:
    stream = Stream(host, other_host, other, offload=offload)
    payload = os.urandom(1 << 19)
    assert stream.send(payload) == payload
    assert stream.longest == VIRTIO_HEADER_SIZE + 1500
    stream.close()

"""A real TUN device in a namespace of its own; see test_tun_offload.py for superpackets."""

import errno
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tunnel.config.model import Offload
from tunnel.errors import TunDeviceError
from tunnel.testing.namespaces import Namespace
from tunnel.tun.attach import IFF_VNET_HDR, TUNGETFEATURES, attached_to
from tunnel.tun.device import Frame, TunDevice
from tunnel.wire.virtio import PLAIN, VIRTIO_HEADER_SIZE

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[Namespace]:
    with Namespace("tun") as host:
        yield host


def without_virtio_headers(descriptor: int, request: int, argument: Any) -> Any:
    """The ioctls of a kernel that has never heard of them."""
    answer = fcntl.ioctl(descriptor, request, argument)
    if request == TUNGETFEATURES:
        (features,) = struct.unpack("=i", answer)
        return struct.pack("=i", features & ~IFF_VNET_HDR)
    return answer


KERNELS = {
    "offload": lambda: TunDevice.create("wg0"),
    "receive": lambda: TunDevice.create("wg0", offload=Offload.RECEIVE),
    "headers": lambda: TunDevice.create("wg0", offload=Offload.OFF),
    "bare": lambda: TunDevice.create("wg0", ioctl=without_virtio_headers),
}


@pytest.fixture(params=KERNELS)
def device(host: Namespace, request: pytest.FixtureRequest) -> Iterator[TunDevice]:
    """wg0 with 10.7.0.1/24, up; router solicitations and their like turned off."""
    with host.enter():
        device = KERNELS[request.param]()
    host.ip("link", "set", "wg0", "addrgenmode", "none")
    host.ip("address", "add", "10.7.0.1/24", "dev", "wg0")
    host.ip("link", "set", "wg0", "up")
    yield device
    device.close()


def udp_frame(source: str, destination: str, payload: bytes) -> Frame:
    """IPv4 without a UDP checksum, port 7 to port 7, behind a zero header."""
    header = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(payload), 0, 0, 64, 17, 0))
    header += socket.inet_aton(source) + socket.inet_aton(destination)
    header[10:12] = (65535 - int.from_bytes(header) % 65535).to_bytes(2)
    packet = bytes(header) + struct.pack("!HHHH", 7, 7, 8 + len(payload), 0) + payload
    return [PLAIN + packet[:20], packet[20:]]


def buffers(count: int) -> list[memoryview]:
    return [memoryview(bytearray(VIRTIO_HEADER_SIZE + 65535)) for _ in range(count)]


def send_from_host(host: Namespace, payload: bytes, count: int = 1, to: str = "10.7.0.2") -> None:
    with host.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(count):
            sender.sendto(payload, (to, 7))


def test_what_the_host_sends_is_read_behind_a_virtio_header(host: Namespace, device: TunDevice) -> None:
    send_from_host(host, b"payload")
    room = buffers(3)
    assert device.read(room) == [VIRTIO_HEADER_SIZE + 35]
    frame = bytes(room[0])
    assert frame[VIRTIO_HEADER_SIZE] == 0x45
    assert frame[VIRTIO_HEADER_SIZE + 28 :][:7] == b"payload"


def test_without_offloads_there_is_nothing_left_to_do_in_what_is_read(host: Namespace, device: TunDevice) -> None:
    send_from_host(host, b"payload")
    (room,) = buffers(1)
    room[:VIRTIO_HEADER_SIZE] = b"\xff" * VIRTIO_HEADER_SIZE
    device.read([room])
    assert (bytes(room[:VIRTIO_HEADER_SIZE]) == PLAIN) == (not device.send_offloads)


def test_what_is_written_arrives_at_a_socket(host: Namespace, device: TunDevice) -> None:
    with host.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("10.7.0.1", 7))
        receiver.settimeout(2)
        assert device.write([udp_frame("10.7.0.2", "10.7.0.1", b"payload")]) == 0
        assert receiver.recvfrom(100) == (b"payload", ("10.7.0.2", 7))


def test_a_full_queue_is_read_in_batches_and_in_order(host: Namespace, device: TunDevice) -> None:
    for number in range(400):
        send_from_host(host, number.to_bytes(2))
    room = buffers(64)
    numbers: list[int] = []
    while lengths := device.read(room):
        numbers += [int.from_bytes(frame[VIRTIO_HEADER_SIZE + 28 :][:2]) for frame in room[: len(lengths)]]
    assert numbers == list(range(400))


def test_a_packet_of_nine_thousand_bytes_passes_when_the_mtu_allows_it(host: Namespace, device: TunDevice) -> None:
    host.ip("link", "set", "wg0", "mtu", "9000")
    send_from_host(host, bytes(9000 - 28))
    assert device.read(buffers(1)) == [VIRTIO_HEADER_SIZE + 9000]


def test_garbage_among_packets_is_refused_and_the_others_arrive(host: Namespace, device: TunDevice) -> None:
    good = udp_frame("10.7.0.2", "10.7.0.1", b"payload")
    garbage: list[Frame] = [[PLAIN + b"\xff" * 40], [b"\x00"], [PLAIN, b"\x00"]]
    with host.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("10.7.0.1", 7))
        receiver.settimeout(2)
        assert device.write([good, *garbage, good]) == len(garbage)
        assert [receiver.recv(100), receiver.recv(100)] == [b"payload", b"payload"]


def test_while_the_link_is_down_packets_are_refused_and_the_device_stays(host: Namespace, device: TunDevice) -> None:
    packet = udp_frame("10.7.0.2", "10.7.0.1", b"payload")
    host.ip("link", "set", "wg0", "down")
    assert device.write([packet]) == 1
    assert device.read(buffers(1)) == []
    host.ip("link", "set", "wg0", "up")
    assert device.write([packet]) == 0


def test_deleting_the_interface_wakes_the_reader_and_is_an_error(host: Namespace, device: TunDevice) -> None:
    waiting = select.poll()
    waiting.register(device.fileno(), select.POLLIN)
    assert waiting.poll(0) == []
    host.ip("link", "delete", "wg0")
    assert waiting.poll(2000)
    with pytest.raises(TunDeviceError, match="interface 'wg0' was deleted") as gone:
        device.read(buffers(1))
    assert gone.value.errno == errno.EBADFD
    with pytest.raises(TunDeviceError, match="interface 'wg0' was deleted"):
        device.write([udp_frame("10.7.0.2", "10.7.0.1", b"")])


def test_closing_removes_the_interface(host: Namespace, device: TunDevice) -> None:
    assert host.links() == ["wg0"]
    device.close()
    assert host.links() == []


@pytest.mark.parametrize("offload", [Offload.AUTO, Offload.OFF, Offload.RECEIVE])
def test_a_copy_of_the_descriptor_keeps_the_interface_and_what_waits_in_it(host: Namespace, offload: Offload) -> None:
    with host.enter():
        before = TunDevice.create("wg0")
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    host.ip("link", "set", "wg0", "addrgenmode", "none")
    host.ip("address", "add", "10.7.0.1/24", "dev", "wg0")
    host.ip("link", "set", "wg0", "up")
    index = host.ip("-o", "link", "show", "wg0").split(":")[0]
    kept = os.dup(before.fileno())
    before.close()
    with sender:
        sender.sendto(b"waiting", ("10.7.0.2", 9))
    with host.enter():
        assert attached_to(kept) == "wg0"
        assert TunDevice.adopt(kept, "wg1") is None
        after = TunDevice.adopt(kept, "wg0", offload)
    assert after is not None
    assert attached_to(kept) is None, "that one is in another namespace"
    frames = buffers(2)
    (length,) = after.read(frames)
    assert b"waiting" in bytes(frames[0][:length])
    assert host.ip("-o", "link", "show", "wg0").split(":")[0] == index
    assert "10.7.0.1/24" in host.ip("address")
    assert bool(after.receive_offloads) == offload.receives
    assert bool(after.send_offloads) == offload.sends
    after.close()
    assert host.links() == []


def test_what_is_no_such_interface_is_not_taken_on(host: Namespace) -> None:
    with host.enter(), open(os.devnull, "rb") as null:
        assert attached_to(null.fileno()) is None
        assert TunDevice.adopt(null.fileno(), "wg0") is None
        device = TunDevice.create("wg0")
        host.ip("link", "delete", "wg0")
        assert attached_to(device.fileno()) is None
        assert TunDevice.adopt(device.fileno(), "wg0") is None
        device.close()


def test_a_name_that_is_taken_is_left_alone(host: Namespace) -> None:
    host.ip("link", "add", "wg0", "type", "veth", "peer", "name", "other")
    with host.enter(), pytest.raises(TunDeviceError, match="exists already") as refused:
        TunDevice.create("wg0")
    assert refused.value.errno == errno.EBUSY
    assert "wg0" in host.links()


def test_a_persistent_tun_of_that_name_is_not_joined(host: Namespace) -> None:
    host.ip("tuntap", "add", "dev", "wg0", "mode", "tun")
    with host.enter(), pytest.raises(TunDeviceError, match="exists already"):
        TunDevice.create("wg0")


def test_without_the_capability_the_error_says_what_is_needed(host: Namespace) -> None:
    script = "from tunnel.tun.device import TunDevice\ntry: TunDevice.create('wg0')\n"
    script += "except Exception as e: print(e.errno, e)"
    bounded = ("setpriv", "--bounding-set=-net_admin", sys.executable, "-c", script)
    done = subprocess.run(host.command(*bounded), capture_output=True, text=True, check=True)
    assert done.stdout == "1 cannot create interface 'wg0': not permitted: run as root or with CAP_NET_ADMIN\n"

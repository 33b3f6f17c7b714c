"""A TUN device without a kernel: names, refusals of the host, and batches over a socket pair that keeps boundaries."""

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tunnel.errors import TunDeviceError
from tunnel.tun.device import BareTunDevice, TunDevice
from tunnel.wire.virtio import PLAIN, GsoType, VirtioFlag, VirtioHeader, pack_virtio_header


@contextmanager
def connected(kind: type[TunDevice]) -> Iterator[tuple[TunDevice, socket.socket]]:
    """A device whose kernel is the socket."""
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    kernel.setblocking(False)
    device = kind("wg0", ours.detach())
    yield device, kernel
    device.close()
    kernel.close()


@pytest.fixture
def pair() -> Iterator[tuple[TunDevice, socket.socket]]:
    with connected(TunDevice) as pair:
        yield pair


@pytest.fixture
def bare() -> Iterator[tuple[TunDevice, socket.socket]]:
    with connected(BareTunDevice) as pair:
        yield pair


def buffers(count: int, size: int = 64) -> list[memoryview]:
    return [memoryview(bytearray(size)) for _ in range(count)]


@pytest.mark.parametrize("name", ["", "wg 0", "wg/0", "wg%d", "wg0\n", "ü", ".", "..", "all", "default"])
def test_a_name_that_no_interface_may_have_is_refused(name: str) -> None:
    with pytest.raises(TunDeviceError, match="is not an interface name") as refused:
        TunDevice.create(name)
    assert refused.value.errno == errno.EINVAL


def test_a_name_of_sixteen_characters_is_refused_with_the_limit() -> None:
    with pytest.raises(TunDeviceError, match="16 characters, at most 15"):
        TunDevice.create("a" * 16)


def test_a_missing_clone_device_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(TunDeviceError, match="is missing: modprobe tun, or in a container") as refused:
        TunDevice.create("wg0", clone_device=str(tmp_path / "tun"))
    assert refused.value.errno == errno.ENOENT
    assert "\n" not in str(refused.value)


def test_a_clone_device_that_is_none_is_one_line_and_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "tun").touch()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(TunDeviceError, match="cannot create interface 'wg0': ") as refused:
        TunDevice.create("wg0", clone_device=str(tmp_path / "tun"))
    assert refused.value.errno == errno.ENOTTY
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_batch_ends_with_the_last_frame_that_is_there(pair: tuple[TunDevice, socket.socket]) -> None:
    device, kernel = pair
    kernel.send(b"first")
    kernel.send(b"second")
    room = buffers(4)
    assert device.read(room) == [5, 6]
    assert bytes(room[0][:5]) == b"first"
    assert bytes(room[1][:6]) == b"second"


def test_no_more_is_read_than_there_are_buffers(pair: tuple[TunDevice, socket.socket]) -> None:
    device, kernel = pair
    for _ in range(3):
        kernel.send(b"packet")
    assert device.read(buffers(2)) == [6, 6]
    assert device.read(buffers(2)) == [6]


def test_nothing_to_read_is_an_empty_batch(pair: tuple[TunDevice, socket.socket]) -> None:
    device, _ = pair
    assert device.read(buffers(2)) == []


def test_a_frame_longer_than_its_buffer_is_cut_to_it(pair: tuple[TunDevice, socket.socket]) -> None:
    device, kernel = pair
    kernel.send(bytes(100))
    kernel.send(b"next")
    assert device.read(buffers(2, size=64)) == [64, 4]


def test_every_frame_of_a_batch_is_written_by_itself(pair: tuple[TunDevice, socket.socket]) -> None:
    device, kernel = pair
    assert device.write([[b"one"], [b"t", b"wo"]]) == 0
    assert [kernel.recv(64), kernel.recv(64)] == [b"one", b"two"]


def test_what_does_not_fit_is_refused_and_the_rest_is_kept(pair: tuple[TunDevice, socket.socket]) -> None:
    device, kernel = pair
    packets = [[bytes(10), bytes(990)]] * 2000
    refused = device.write(packets)
    assert 0 < refused < len(packets)
    for _ in range(len(packets) - refused):
        assert len(kernel.recv(2000)) == 1000
    with pytest.raises(BlockingIOError):
        kernel.recv(2000)


def test_a_closed_device_is_gone_for_reading_and_writing() -> None:
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    device = TunDevice("wg0", ours.detach())
    device.close()
    device.close()
    with pytest.raises(TunDeviceError, match="'wg0' is closed"):
        device.read(buffers(1))
    with pytest.raises(TunDeviceError, match="'wg0' is closed"):
        device.write([[b"packet"]])
    kernel.close()


def test_without_virtio_headers_a_zero_one_is_put_before_what_is_read(bare: tuple[TunDevice, socket.socket]) -> None:
    device, kernel = bare
    kernel.send(b"first")
    kernel.send(b"second")
    room = [memoryview(bytearray(b"\xff" * 64)) for _ in range(3)]
    assert device.read(room) == [15, 16]
    assert bytes(room[0][:15]) == PLAIN + b"first"
    assert bytes(room[1][:16]) == PLAIN + b"second"


def test_without_virtio_headers_a_long_packet_is_cut_to_what_is_left_of_its_buffer(
    bare: tuple[TunDevice, socket.socket],
) -> None:
    device, kernel = bare
    kernel.send(bytes(100))
    assert device.read(buffers(1, size=64)) == [64]


def test_without_virtio_headers_whole_packets_are_written_bare(bare: tuple[TunDevice, socket.socket]) -> None:
    device, kernel = bare
    checked = pack_virtio_header(VirtioHeader(VirtioFlag.DATA_VALID, GsoType.NONE, 0, 0, 0, 0))
    assert device.write([[PLAIN + b"o", b"ne"], [PLAIN, b"two"], [checked, b"three"]]) == 0
    assert [kernel.recv(64) for _ in range(3)] == [b"one", b"two", b"three"]


@pytest.mark.parametrize(
    "unfinished",
    [
        VirtioHeader(VirtioFlag.NEEDS_CSUM, GsoType.TCPV4, 40, 1400, 20, 16),
        VirtioHeader(VirtioFlag.NEEDS_CSUM, GsoType.NONE, 0, 0, 20, 16),
        VirtioHeader(0, GsoType.UDP_L4, 28, 1400, 0, 0),
    ],
)
def test_without_virtio_headers_what_is_not_finished_is_refused_and_the_rest_written(
    bare: tuple[TunDevice, socket.socket], unfinished: VirtioHeader
) -> None:
    device, kernel = bare
    frames = [[PLAIN + b"one"], [pack_virtio_header(unfinished), b"packet"], [PLAIN + b"two"], [b"short"]]
    assert device.write(frames) == 2
    assert [kernel.recv(64), kernel.recv(64)] == [b"one", b"two"]
    with pytest.raises(BlockingIOError):
        kernel.recv(64)

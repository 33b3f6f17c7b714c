"""A TUN device without a kernel: names, refusals of the host, and batches over a socket pair that keeps boundaries."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunnel.errors import TunDeviceError
from tunnel.tun.device import TunDevice


@pytest.fixture
def pair() -> Iterator[tuple[TunDevice, socket.socket]]:
    """A device whose kernel is the socket."""
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    kernel.setblocking(False)
    device = TunDevice("wg0", ours.detach())
    yield device, kernel
    device.close()
    kernel.close()


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
        TunDevice.create("wg0", str(tmp_path / "tun"))
    assert refused.value.errno == errno.ENOENT
    assert "\n" not in str(refused.value)


def test_a_clone_device_that_is_none_is_one_line_and_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "tun").touch()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(TunDeviceError, match="cannot create interface 'wg0': ") as refused:
        TunDevice.create("wg0", str(tmp_path / "tun"))
    assert refused.value.errno == errno.ENOTTY
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_batch_ends_with_the_last_packet_that_is_there(pair: tuple[TunDevice, socket.socket]) -> None:
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


def test_a_packet_longer_than_its_buffer_is_cut_to_it(pair: tuple[TunDevice, socket.socket]) -> None:
    device, kernel = pair
    kernel.send(bytes(100))
    kernel.send(b"next")
    assert device.read(buffers(2, size=64)) == [64, 4]


def test_every_packet_of_a_batch_is_written_by_itself(pair: tuple[TunDevice, socket.socket]) -> None:
    device, kernel = pair
    assert device.write([memoryview(b"one"), memoryview(b"two")]) == 0
    assert [kernel.recv(64), kernel.recv(64)] == [b"one", b"two"]


def test_what_does_not_fit_is_refused_and_the_rest_is_kept(pair: tuple[TunDevice, socket.socket]) -> None:
    device, kernel = pair
    packets = [memoryview(bytes(1000))] * 2000
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
        device.write([memoryview(b"packet")])
    kernel.close()

"""Which socket an interface uses: one of its own, one of systemd's, one of the process before it."""

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import cast

import pytest

from tests.unit.daemon.test_handover import UNIT, pair
from tunnel.config.model import Offload
from tunnel.config.patch import DevicePatch
from tunnel.daemon.handover import Handover
from tunnel.daemon.pipeline import Pipeline
from tunnel.daemon.udp_port import UdpPort
from tunnel.errors import UdpSocketError
from tunnel.udp.socket import UdpSocket


class Using:
    """Of a pipeline, which socket it was given."""

    socket: UdpSocket | None = None

    def use_socket(self, datagram_socket: UdpSocket | None) -> None:
        self.socket = datagram_socket

    def received(self) -> list[bytes]:
        assert self.socket is not None
        arena = memoryview(bytearray(1 << 17))
        trains = [found for fileno in self.socket.filenos() for found in self.socket.receive(fileno, arena)]
        return [bytes(datagram) for train, _ in trains for datagram in train.datagrams()]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def port_of(stack: ExitStack, handover: Handover) -> tuple[UdpPort, Using]:
    using = Using()
    port = UdpPort(cast(Pipeline, using), Offload.AUTO, stack.enter_context(handover))
    stack.callback(port.close)
    return port, using


def activated(stack: ExitStack) -> tuple[UdpPort, Using, int]:
    """With sockets of systemd's."""
    sockets = pair()
    number = sockets[0].getsockname()[1]
    port, using = port_of(stack, Handover(activated=sockets, unit=UNIT))
    return port, using, number


def send(payload: bytes, number: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(payload, ("127.0.0.1", number))


def test_what_came_before_we_listen_is_read(stack: ExitStack) -> None:
    port, using, number = activated(stack)
    send(b"starts us", number)
    port.open(0, 0)
    assert using.socket is None
    port.listen()
    assert port.number == number
    assert using.received() == [b"starts us"]


def test_a_port_of_systemds_stays_when_the_link_goes_and_what_comes_meanwhile_is_lost(stack: ExitStack) -> None:
    port, using, number = activated(stack)
    port.open(number, 0)
    port.listen()
    port.close()
    assert (using.socket, port.number) == (None, None)
    for _ in range(3):
        send(b"to nobody", number)
    port.open(number, 0)
    port.listen()
    send(b"to us", number)
    assert using.received() == [b"to us"]
    assert port.to_leave() == (), "systemd has it anyway"


def test_a_port_of_systemds_is_not_given_up_for_another(stack: ExitStack) -> None:
    port, using, number = activated(stack)
    port.open(0, 0)
    port.listen()
    before = using.socket
    with pytest.raises(
        UdpSocketError, match=f"cannot listen on UDP port 1: {UNIT} listens on {number} for us"
    ) as error:
        port.move(DevicePatch(listen_port=1), 0, is_link_up=True)
    assert error.value.errno == errno.EBUSY
    assert using.socket is before
    assert port.number == number
    port.move(DevicePatch(listen_port=0), 0, is_link_up=True)
    assert port.number == number


@pytest.mark.parametrize("is_same", [True, False])
def test_the_port_of_the_process_before_us_is_kept_if_none_is_asked_for_or_that_one(
    stack: ExitStack, is_same: bool
) -> None:
    sockets = pair()
    number = sockets[0].getsockname()[1]
    descriptors = [sock.fileno() for sock in sockets]
    port, _ = port_of(stack, Handover(sockets=sockets))
    port.open(number if is_same else 0, 0)
    assert port.number == number
    assert list(port.to_leave()) == descriptors


def test_another_port_than_that_of_the_process_before_us_is_opened(stack: ExitStack) -> None:
    free = pair()
    for sock in free:
        number = sock.getsockname()[1]
        sock.close()
    port, _ = port_of(stack, Handover(sockets=pair()))
    port.open(number, 0)
    assert port.number == number

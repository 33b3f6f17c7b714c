"""What is agreed with a kernel that can less, which is a list of refused requests here."""

import errno
import os
import struct
from collections.abc import Callable
from typing import Any

import pytest

from tunnel.config.model import Offload
from tunnel.errors import TunDeviceError
from tunnel.tun.attach import (
    IFF_VNET_HDR,
    OFFLOAD_BITS,
    TUNGETFEATURES,
    TUNGETIFF,
    TUNSETIFF,
    TUNSETOFFLOAD,
    TUNSETVNETHDRSZ,
    TUNSETVNETLE,
    Attachment,
    attach,
    attach_again,
)

EVERYTHING = sum(OFFLOAD_BITS.values())


class Kernel:
    """Answers ioctls; `refuses` says which with EINVAL, `kind` are the flags of an interface that is there already."""

    kind = 0x1001 | IFF_VNET_HDR  # a TUN without packet information

    def __init__(
        self, features: int = IFF_VNET_HDR, refuses: Callable[[int, Any], bool] = lambda request, argument: False
    ) -> None:
        self.asked: list[tuple[int, Any]] = []
        self._features = features
        self._refuses = refuses

    def ioctl(self, descriptor: int, request: int, argument: Any) -> Any:
        self.asked.append((request, argument))
        if self._refuses(request, argument):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if request == TUNGETIFF:
            return struct.pack("16sH22x", b"wg0", self.kind)
        return struct.pack("=i", self._features) if request == TUNGETFEATURES else argument

    def argument_of(self, request: int) -> Any:
        (argument,) = (argument for asked, argument in self.asked if asked == request)
        return argument

    def flags(self) -> int:
        """Of the interface that was made."""
        _, flags = struct.unpack("16sH22x", self.argument_of(TUNSETIFF))
        return int(flags)


def attach_to(kernel: Kernel, offload: Offload = Offload.AUTO) -> Attachment:
    attachment = attach("wg0", offload, os.devnull, kernel.ioctl)
    os.close(attachment.descriptor)
    return attachment


def test_all_offloads_are_asked_for_at_once() -> None:
    kernel = Kernel()
    attachment = attach_to(kernel)
    assert attachment.send_offloads == attachment.receive_offloads == {"csum", "tso4", "tso6", "uso4", "uso6"}
    assert kernel.argument_of(TUNSETOFFLOAD) == EVERYTHING


def take_on(kernel: Kernel, offload: Offload = Offload.AUTO) -> Attachment | None:
    with open(os.devnull, "rb") as null:
        return attach_again(null.fileno(), "wg0", offload, kernel.ioctl)


@pytest.mark.parametrize("offload", Offload)
def test_an_interface_that_is_there_already_is_agreed_on_like_a_new_one(offload: Offload) -> None:
    kernel = Kernel()
    attachment = take_on(kernel, offload)
    assert attachment is not None
    assert attachment._replace(descriptor=0) == attach_to(Kernel(), offload)._replace(descriptor=0)
    wanted = EVERYTHING if offload.sends else 0  # also what was on before, and is not to be any more
    assert [argument for request, argument in kernel.asked if request == TUNSETOFFLOAD][-1] == wanted


@pytest.mark.parametrize("kind", [0x1001, 0x1002 | IFF_VNET_HDR, 0x1101 | IFF_VNET_HDR, 0x0001 | IFF_VNET_HDR])
def test_an_interface_of_another_kind_is_not_taken_on(kind: int) -> None:
    kernel = Kernel()
    kernel.kind = kind
    assert take_on(kernel) is None


def without_uso() -> Kernel:
    return Kernel(refuses=lambda request, argument: request == TUNSETOFFLOAD and argument >= OFFLOAD_BITS["uso4"])


def test_a_kernel_without_uso_gives_the_rest() -> None:
    attachment = attach_to(without_uso())
    assert attachment.send_offloads == attachment.receive_offloads == {"csum", "tso4", "tso6"}


@pytest.mark.parametrize("offload", Offload)
def test_a_kernel_without_any_offload_is_served_whole_packets(offload: Offload) -> None:
    attachment = attach_to(Kernel(refuses=lambda request, _: request == TUNSETOFFLOAD), offload)
    assert attachment.send_offloads == attachment.receive_offloads == frozenset()
    assert attachment.has_headers


def test_offloads_that_are_not_wanted_are_not_asked_for() -> None:
    kernel = Kernel()
    attachment = attach_to(kernel, Offload.OFF)
    assert attachment.send_offloads == attachment.receive_offloads == frozenset()
    assert TUNSETOFFLOAD not in [request for request, _ in kernel.asked]


def test_to_send_only_the_kernel_leaves_us_work_and_gets_none() -> None:
    kernel = Kernel()
    attachment = attach_to(kernel, Offload.SEND)
    assert attachment.send_offloads == OFFLOAD_BITS.keys()
    assert not attachment.receive_offloads
    assert kernel.argument_of(TUNSETOFFLOAD) == EVERYTHING


@pytest.mark.parametrize(
    ("kernel", "known"), [(Kernel(), OFFLOAD_BITS.keys()), (without_uso(), {"csum", "tso4", "tso6"})]
)
def test_to_receive_only_the_kernel_is_asked_what_it_knows_and_then_leaves_us_nothing(
    kernel: Kernel, known: set[str]
) -> None:
    attachment = attach_to(kernel, Offload.RECEIVE)
    assert not attachment.send_offloads
    assert attachment.receive_offloads == known
    assert kernel.asked[-1] == (TUNSETOFFLOAD, 0)


def test_the_virtio_header_has_ten_bytes_in_little_endian_order() -> None:
    kernel = Kernel()
    assert attach_to(kernel).has_headers
    assert kernel.flags() & IFF_VNET_HDR
    assert kernel.argument_of(TUNSETVNETHDRSZ) == struct.pack("=i", 10)
    assert kernel.argument_of(TUNSETVNETLE) == struct.pack("=i", 1)


def test_a_kernel_without_virtio_headers_is_asked_for_none() -> None:
    kernel = Kernel(features=0)
    attachment = attach_to(kernel)
    assert not attachment.has_headers
    assert attachment.send_offloads == attachment.receive_offloads == frozenset()
    assert not kernel.flags() & IFF_VNET_HDR
    assert [request for request, _ in kernel.asked] == [TUNGETFEATURES, TUNSETIFF]


@pytest.mark.parametrize("request_number", [TUNGETFEATURES, TUNSETIFF, TUNSETVNETHDRSZ, TUNSETVNETLE])
def test_any_other_refusal_is_one_line_and_leaves_nothing_open(request_number: int) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(TunDeviceError, match="cannot create interface 'wg0': Invalid argument") as refused:
        attach_to(Kernel(refuses=lambda request, _: request == request_number))
    assert refused.value.errno == errno.EINVAL
    assert len(os.listdir("/proc/self/fd")) == before

"""A TUN device: the kernel's side of the tunnel, as a file descriptor that reads and writes frames.

    app → kernel → route → wg0 ──read──▶ us          us ──write──▶ wg0 → kernel → app

    frame = virtio header (10 bytes) | IP packet or superpacket

Whoever holds the descriptor *is* the network card: the interface, with its addresses and routes, goes when it is
closed, whatever happens to the process, and stays for as long as anybody holds a copy. One read takes one packet from
the interface's queue (``txqueuelen``), one write delivers one as if it had come off a wire; with offloads a packet may
be a superpacket, the segments of one flow in a row under one header, up to 64 KB. The kernel may do two things behind
our back: bring the link down (writes fail with EIO, nothing comes to read, it may come back) and delete the interface
(EBADFD for ever after).

`BareTunDevice` is for a kernel without virtio headers: the same frames on our side, bare packets on the kernel's.
"""

import errno
import fcntl
import os
from collections.abc import Sequence

from tunnel.config.model import Offload
from tunnel.errors import TunDeviceError
from tunnel.tun.attach import CLONE_DEVICE, Attachment, Ioctl, attach, attach_again
from tunnel.wire.messages import Buffer
from tunnel.wire.virtio import PLAIN, VIRTIO_HEADER_SIZE, VirtioFlag

Frame = Sequence[Buffer]
"""A virtio header and a packet in as many pieces as they come; the first holds at least the virtio header."""


class TunDevice:
    """Satisfies `tunnel.daemon.ports.PacketDevice`."""

    def __init__(
        self,
        name: str,
        descriptor: int,
        send_offloads: frozenset[str] = frozenset(),
        receive_offloads: frozenset[str] = frozenset(),
    ) -> None:
        """Take over a non-blocking descriptor that is attached to the interface `name`."""
        self.name = name
        self.send_offloads = send_offloads
        """What the kernel may leave undone in what is read: of `tunnel.tun.attach.OFFLOAD_BITS`."""
        self.receive_offloads = receive_offloads
        """What may be left undone in what is written, likewise."""
        self._descriptor = descriptor

    @staticmethod
    def create(
        name: str, offload: Offload = Offload.AUTO, *, clone_device: str = CLONE_DEVICE, ioctl: Ioctl = fcntl.ioctl
    ) -> "TunDevice":
        """Make the interface, down and without addresses; in a direction without `offload` only whole packets pass.

        Raise `TunDeviceError` when the name is invalid or taken, /dev/net/tun is missing, or we lack CAP_NET_ADMIN.
        """
        return TunDevice._of(name, attach(name, offload, clone_device, ioctl))

    @staticmethod
    def adopt(
        descriptor: int, name: str, offload: Offload = Offload.AUTO, ioctl: Ioctl = fcntl.ioctl
    ) -> "TunDevice | None":
        """Take over a descriptor that was left for us, and with it the interface `name` as it is; None: not that one.

        Only what is returned closes it.
        """
        attachment = attach_again(descriptor, name, offload, ioctl)
        return None if attachment is None else TunDevice._of(name, attachment)

    @staticmethod
    def _of(name: str, attachment: Attachment) -> "TunDevice":
        descriptor, has_headers, *offloads = attachment
        return TunDevice(name, descriptor, *offloads) if has_headers else BareTunDevice(name, descriptor)

    def fileno(self) -> int:
        """What to wait on for reading, also for the end: it becomes readable when the interface is deleted."""
        return self._descriptor

    def read(self, buffers: Sequence[memoryview]) -> list[int]:
        """Read up to one frame into each buffer, in order; return their lengths, virtio header included.

        Shorter than `buffers` means that there is no more for now. A frame longer than its buffer is cut. Raise
        `TunDeviceError` when the device is gone.
        """
        descriptor, readv = self._descriptor, os.readv
        lengths: list[int] = []
        try:
            for buffer in buffers:
                lengths.append(readv(descriptor, (buffer,)))  # noqa: PERF401 what was read before EAGAIN must survive it
        except BlockingIOError:
            pass
        except OSError as error:
            # EINVAL: a packet that no virtio header can describe, which is lost; the next one wakes us again.
            if error.errno != errno.EINVAL:
                raise self._gone(error) from None
        return lengths

    def write(self, frames: Sequence[Frame]) -> int:
        """Write each frame; return how many the kernel refused: no IP packet, header without sense, link down …

        Refused frames are lost and not tried again, as a network card would do. Raise `TunDeviceError` when the device
        is gone.
        """
        descriptor, writev = self._descriptor, os.writev
        refused = 0
        for frame in frames:
            try:
                writev(descriptor, frame)
            except OSError as error:
                if error.errno in {errno.EBADFD, errno.EBADF}:
                    raise self._gone(error) from None
                # EINVAL: neither version 4 nor 6, or a header that points outside. EIO: link down. ENOMEM, ENOBUFS,
                # EAGAIN: no room for the packet; waiting for room would only make the queue before us longer.
                refused += 1
        return refused

    def close(self) -> None:
        """Let go of the descriptor; the interface, its addresses and routes go with it. Harmless when repeated."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def _gone(self, error: OSError) -> TunDeviceError:
        if self._descriptor < 0:
            return TunDeviceError(f"interface '{self.name}' is closed", errno.EBADF)
        return TunDeviceError(f"interface '{self.name}' was deleted ({error.strerror})", error.errno or 0)


class BareTunDevice(TunDevice):
    """Frames for us, bare packets for a kernel that has no virtio headers, and so no offloads either."""

    def read(self, buffers: Sequence[memoryview]) -> list[int]:
        """As `TunDevice.read`; the virtio header is zero, as of any whole packet."""
        lengths = super().read([buffer[VIRTIO_HEADER_SIZE:] for buffer in buffers])
        for buffer in buffers[: len(lengths)]:
            buffer[:VIRTIO_HEADER_SIZE] = PLAIN
        return [length + VIRTIO_HEADER_SIZE for length in lengths]

    def write(self, frames: Sequence[Frame]) -> int:
        """As `TunDevice.write`; whatever leaves work to the kernel is refused, too."""
        packets = [packet for frame in frames if (packet := _whole_packet(frame)) is not None]
        return len(frames) - len(packets) + super().write(packets)


def _whole_packet(frame: Frame) -> Frame | None:
    """The frame without its virtio header; None if the header says that there is something left to do."""
    first, *rest = frame
    if len(first) < VIRTIO_HEADER_SIZE or first[0] & VirtioFlag.NEEDS_CSUM or first[1]:
        return None
    return [memoryview(first)[VIRTIO_HEADER_SIZE:], *rest]

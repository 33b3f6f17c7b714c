"""A TUN device: the kernel's side of the tunnel, as a file descriptor that reads and writes bare IP packets.

    app → kernel → route → wg0 ──read──▶ us          us ──write──▶ wg0 → kernel → app

Whoever holds the descriptor *is* the network card: the interface, with its addresses and routes, goes when it is
closed, whatever happens to the process. One read takes one packet from the interface's queue (``txqueuelen``), one
write delivers one packet as if it had come off a wire. The kernel may do two things behind our back: bring the link
down (writes fail with EIO, nothing comes to read, it may come back) and delete the interface (EBADFD for ever after).

There is no packet information header (IFF_NO_PI) and, so far, no virtio header: offloads would add IFF_VNET_HDR to
`_FLAGS`, TUNSETOFFLOAD after `_attach`, and a header in front of each packet in `read` and `write`; nothing else here
would change. See Documentation/networking/tuntap.rst in the kernel.
"""

import errno
import fcntl
import os
import re
import struct
from collections.abc import Sequence
from typing import Self

from tunnel.errors import TunDeviceError

CLONE_DEVICE = "/dev/net/tun"
NAME = re.compile(r"[a-zA-Z0-9_=+.-]{1,15}")
"""What wg-quick takes for an interface name; the kernel's limit is 15 bytes (IFNAMSIZ less its zero)."""

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000
_IFF_TUN_EXCL = 0x8000  # a name that exists is EBUSY, also one of a persistent TUN that we could have joined
_FLAGS = _IFF_TUN | _IFF_NO_PI | _IFF_TUN_EXCL
_IFREQ = struct.Struct("16sH22x")

_RESERVED_NAMES = {".", "..", "all", "default"}  # entries of /sys/class/net and /proc/sys/net/*/conf that are no link
_MISSING = {errno.ENOENT, errno.ENODEV, errno.ENXIO}


class TunDevice:
    """Satisfies `tunnel.daemon.ports.PacketDevice`; a packet is an IP header and what follows it."""

    def __init__(self, name: str, descriptor: int) -> None:
        """Take over a non-blocking descriptor that is attached to the interface `name`."""
        self.name = name
        self._descriptor = descriptor

    @classmethod
    def create(cls, name: str, clone_device: str = CLONE_DEVICE) -> Self:
        """Make the interface, down and without addresses.

        Raise `TunDeviceError` when the name is invalid or taken, /dev/net/tun is missing, or we lack CAP_NET_ADMIN.
        """
        _check_name(name)
        try:
            descriptor = os.open(clone_device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise _open_error(name, clone_device, error) from None
        try:
            _attach(descriptor, name)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(name, descriptor)

    def fileno(self) -> int:
        """What to wait on for reading, also for the end: it becomes readable when the interface is deleted."""
        return self._descriptor

    def read(self, buffers: Sequence[memoryview]) -> list[int]:
        """Read up to one packet into each buffer, in order; return their lengths.

        Shorter than `buffers` means that there is no more for now. A packet longer than its buffer is cut. Raise
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
            raise self._gone(error) from None
        return lengths

    def write(self, packets: Sequence[memoryview]) -> int:
        """Write each packet; return how many the kernel refused: no IP packet, link down, out of memory.

        Refused packets are lost and not tried again, as a network card would do. Raise `TunDeviceError` when the device
        is gone.
        """
        descriptor, write = self._descriptor, os.write
        refused = 0
        for packet in packets:
            try:
                write(descriptor, packet)
            except OSError as error:
                if error.errno in {errno.EBADFD, errno.EBADF}:
                    raise self._gone(error) from None
                # EINVAL: neither version 4 nor 6. EIO: link down. ENOMEM, ENOBUFS, EAGAIN: no room for the packet;
                # waiting for room would only make the queue before us longer.
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


def _check_name(name: str) -> None:
    if len(name) > 15:
        raise TunDeviceError(f"interface name '{name}' is too long: {len(name)} characters, at most 15", errno.EINVAL)
    if not NAME.fullmatch(name) or name in _RESERVED_NAMES:
        raise TunDeviceError(f"'{name}' is not an interface name: letters, digits and _=+.- are allowed", errno.EINVAL)


def _attach(descriptor: int, name: str) -> None:
    """Create the interface behind the descriptor."""
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, _IFREQ.pack(name.encode(), _FLAGS))
    except OSError as error:
        if error.errno == errno.EBUSY:
            why = "an interface of that name exists already (see: ip link)"
        elif error.errno == errno.EPERM:
            why = "not permitted: run as root or with CAP_NET_ADMIN"
        else:
            why = error.strerror or str(error)
        raise TunDeviceError(f"cannot create interface '{name}': {why}", error.errno or 0) from None


def _open_error(name: str, clone_device: str, error: OSError) -> TunDeviceError:
    if error.errno in _MISSING:
        why = f"{clone_device} is missing: modprobe tun, or in a container give it --device {clone_device}"
    elif error.errno in {errno.EPERM, errno.EACCES}:
        why = f"{clone_device} may not be opened: run as root, in a container also with --device {clone_device}"
    else:
        why = f"{clone_device}: {error.strerror}"
    return TunDeviceError(f"cannot create interface '{name}': {why}", error.errno or 0)

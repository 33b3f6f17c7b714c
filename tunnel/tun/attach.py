"""Making a TUN interface, and agreeing with the kernel on what it may leave to us.

    open /dev/net/tun → TUNGETFEATURES → TUNSETIFF → TUNSETVNETHDRSZ, TUNSETVNETLE → TUNSETOFFLOAD
    a descriptor that was left for us → TUNGETIFF ─────▶ the same from here on

A network card that can segment and fill in checksums gets whole superpackets from the kernel, and may hand in some.
Here we are the card. IFF_VNET_HDR puts a virtio header in front of every packet, which says what is still to be done
or need not be checked; TUNSETOFFLOAD says which of that we can do. What is asked for is all of it, then all but USO
(UDP, since Linux 6.2, and only for both IP versions at once), then nothing. Without offloads the header stays, and is
zero whenever we read one. (Documentation/networking/tuntap.rst in the kernel; virtio 1.2, section 5.1.6.)

TUNSETOFFLOAD is about what we read. What we write may always be left undone, in the ways that the kernel knows; and
which these are is what it answers to the same question, so that is asked even if it is taken back at once.
"""

import errno
import fcntl
import os
import re
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from tunnel.config.model import Offload
from tunnel.errors import TunDeviceError
from tunnel.wire.virtio import VIRTIO_HEADER_SIZE

CLONE_DEVICE = "/dev/net/tun"
NAME = re.compile(r"[a-zA-Z0-9_=+.-]{1,15}")
"""What wg-quick takes for an interface name; the kernel's limit is 15 bytes (IFNAMSIZ less its zero)."""

QUEUE_LENGTH = 1000
"""Packets that wait in the kernel for us; a TUN's own 500 overflow in a burst."""

Ioctl = Callable[[int, int, Any], Any]
"""As `fcntl.ioctl`; a test may pass a kernel that can less."""

TUNSETIFF = 0x400454CA
TUNGETFEATURES = 0x800454CF
TUNGETIFF = 0x800454D2
TUNSETOFFLOAD = 0x400454D0
TUNGETDEVNETNS = 0x54E3
TUNSETVNETHDRSZ = 0x400454D8
TUNSETVNETLE = 0x400454DC

IFF_VNET_HDR = 0x4000
_IFF_TUN = 0x0001
_IFF_TAP = 0x0002
_IFF_MULTI_QUEUE = 0x0100
_IFF_NO_PI = 0x1000
_IFF_TUN_EXCL = 0x8000  # a name that exists is EBUSY, also one of a persistent TUN that we could have joined
_KIND = _IFF_TUN | _IFF_TAP | _IFF_MULTI_QUEUE | _IFF_NO_PI | IFF_VNET_HDR
"""What of an interface's flags makes a difference to who reads it."""

_IFREQ = struct.Struct("16sH22x")
_INT = struct.Struct("=i")

OFFLOAD_BITS = {"csum": 0x01, "tso4": 0x02, "tso6": 0x04, "uso4": 0x20, "uso6": 0x40}
"""Every offload that we ask for and its bit in TUNSETOFFLOAD. None works without ``csum``."""

_NONE: frozenset[str] = frozenset()
_WISHES = (frozenset(OFFLOAD_BITS), frozenset({"csum", "tso4", "tso6"}))

_RESERVED_NAMES = {".", "..", "all", "default"}  # entries of /sys/class/net and /proc/sys/net/*/conf that are no link
_MISSING = {errno.ENOENT, errno.ENODEV, errno.ENXIO}


class Attachment(NamedTuple):
    """An interface that was made: the descriptor that is its card, and what the kernel agreed to.

    `send_offloads` are what it may leave to us in what we read, `receive_offloads` what we may leave to it in what we
    write: each all of `OFFLOAD_BITS` that the kernel knows, or none.
    """

    descriptor: int
    has_headers: bool
    send_offloads: frozenset[str]
    receive_offloads: frozenset[str]


def attach(name: str, offload: Offload, clone_device: str = CLONE_DEVICE, ioctl: Ioctl = fcntl.ioctl) -> Attachment:
    """Make the interface `name`, down and without addresses, with all offloads that there are in these directions.

    Raise `TunDeviceError` when the name is invalid or taken, the clone device is missing, or we lack CAP_NET_ADMIN.
    """
    _check_name(name)
    try:
        descriptor = os.open(clone_device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _open_error(name, clone_device, error) from None
    try:
        has_headers = _has_virtio_headers(descriptor, ioctl)
        _make_interface(descriptor, name, has_headers, ioctl)
        known = _offer(descriptor, offload, ioctl) if has_headers else _NONE
    except OSError as error:
        os.close(descriptor)
        raise _refusal(name, error) from None
    except BaseException:
        os.close(descriptor)
        raise
    return Attachment(descriptor, has_headers, known if offload.sends else _NONE, known if offload.receives else _NONE)


def attached_to(descriptor: int, ioctl: Ioctl = fcntl.ioctl) -> str | None:
    """The interface in our network namespace that the descriptor is the card of; None: none, or it was deleted."""
    try:
        name = _interface_of(descriptor, ioctl)[0]
        namespace = ioctl(descriptor, TUNGETDEVNETNS, 0)
    except OSError:
        return None
    try:
        return name if os.path.samestat(os.fstat(namespace), os.stat("/proc/self/ns/net")) else None
    finally:
        os.close(namespace)


def attach_again(descriptor: int, name: str, offload: Offload, ioctl: Ioctl = fcntl.ioctl) -> Attachment | None:
    """Take on the interface `name` as it is, up and with addresses perhaps; offloads become those that are asked for.

    `descriptor` is not closed. None if it is not the card of that interface, or not as `attach` would have made it.
    """
    try:
        found, flags = _interface_of(descriptor, ioctl)
        has_headers = _has_virtio_headers(descriptor, ioctl)
        wanted = _IFF_TUN | _IFF_NO_PI | (IFF_VNET_HDR if has_headers else 0)
        if found != name or flags & _KIND != wanted:
            return None
        os.set_blocking(descriptor, False)
        known = _NONE
        if has_headers:
            _agree_on_headers(descriptor, ioctl)
            known = _offer(descriptor, offload, ioctl)
            if not known:
                ioctl(descriptor, TUNSETOFFLOAD, 0)  # what was on before
    except OSError:
        return None
    return Attachment(descriptor, has_headers, known if offload.sends else _NONE, known if offload.receives else _NONE)


def _interface_of(descriptor: int, ioctl: Ioctl) -> tuple[str, int]:
    """Its name and flags. Raise `OSError`."""
    name, flags = _IFREQ.unpack(ioctl(descriptor, TUNGETIFF, bytes(_IFREQ.size)))
    return os.fsdecode(name.rstrip(b"\0")), flags


def _check_name(name: str) -> None:
    if len(name) > 15:
        raise TunDeviceError(f"interface name '{name}' is too long: {len(name)} characters, at most 15", errno.EINVAL)
    if not NAME.fullmatch(name) or name in _RESERVED_NAMES:
        raise TunDeviceError(f"'{name}' is not an interface name: letters, digits and _=+.- are allowed", errno.EINVAL)


def _has_virtio_headers(descriptor: int, ioctl: Ioctl) -> bool:
    """Asked beforehand, as TUNSETIFF silently ignores a flag that it does not know."""
    (features,) = _INT.unpack(ioctl(descriptor, TUNGETFEATURES, bytes(_INT.size)))
    return bool(features & IFF_VNET_HDR)


def _make_interface(descriptor: int, name: str, has_headers: bool, ioctl: Ioctl) -> None:
    flags = _IFF_TUN | _IFF_NO_PI | _IFF_TUN_EXCL | (IFF_VNET_HDR if has_headers else 0)
    ioctl(descriptor, TUNSETIFF, _IFREQ.pack(name.encode(), flags))
    if has_headers:
        _agree_on_headers(descriptor, ioctl)


def _agree_on_headers(descriptor: int, ioctl: Ioctl) -> None:
    ioctl(descriptor, TUNSETVNETHDRSZ, _INT.pack(VIRTIO_HEADER_SIZE))
    ioctl(descriptor, TUNSETVNETLE, _INT.pack(1))


def _offer(descriptor: int, offload: Offload, ioctl: Ioctl) -> frozenset[str]:
    """Offer to do as much as the kernel knows of, and return that; without `offload.sends` the offer is withdrawn."""
    for wish in _WISHES if offload is not Offload.OFF else ():
        try:
            ioctl(descriptor, TUNSETOFFLOAD, sum(OFFLOAD_BITS[name] for name in wish))
        except OSError:
            continue
        if not offload.sends:
            ioctl(descriptor, TUNSETOFFLOAD, 0)
        return wish
    return _NONE  # a new interface has none on


def _refusal(name: str, error: OSError) -> TunDeviceError:
    if error.errno == errno.EBUSY:
        why = "an interface of that name exists already (see: ip link)"
    elif error.errno == errno.EPERM:
        why = "not permitted: run as root or with CAP_NET_ADMIN"
    else:
        why = error.strerror or str(error)
    return TunDeviceError(f"cannot create interface '{name}': {why}", error.errno or 0)


def _open_error(name: str, clone_device: str, error: OSError) -> TunDeviceError:
    if error.errno in _MISSING:
        why = f"{clone_device} is missing: modprobe tun, or in a container give it --device {clone_device}"
    elif error.errno in {errno.EPERM, errno.EACCES}:
        why = f"{clone_device} may not be opened: run as root, in a container also with --device {clone_device}"
    else:
        why = f"{clone_device}: {error.strerror}"
    return TunDeviceError(f"cannot create interface '{name}': {why}", error.errno or 0)

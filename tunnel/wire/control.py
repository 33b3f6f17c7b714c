"""Control frames: what two of us say to each other besides packets (docs/protocol.md, "Extensions").

A frame is the content of a message 4, where a packet would be. The high nibble of its first byte is 0, and no IP packet
begins like that. All integers are little endian; what follows a frame is padding, or what a later version adds, and is
ignored.

    1 hello    kind 1 | version 1 | capabilities 2 | MTU 2        what we take, from now on and under this keypair
    2 close    kind 1                                             we are going away: there is no session any more
"""

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

from tunnel.wire.messages import Buffer

VERSION = 1
"""The highest that we speak."""

_HELLO = struct.Struct("<BBHH")


class ControlKind(IntEnum):
    """The first byte. 3 and 4 are set aside for probes of the path and their answers."""

    HELLO = 1
    CLOSE = 2


class Capability(IntFlag):
    """What the sender of a hello takes. Unknown bits are ignored."""

    TCP_SLICES = 1
    UDP_SLICES = 2
    PARTIAL = 4
    """Packets with partial checksums."""
    AES_256_GCM = 8
    """It has AES in hardware; used only if both have."""


SLICES = Capability.TCP_SLICES | Capability.UDP_SLICES


class Hello(NamedTuple):
    """`mtu` is that of the inner interface, in bytes."""

    capabilities: Capability
    mtu: int


def is_control(packet: Buffer) -> bool:
    """Whether what message 4 held, which is not empty, is a control frame."""
    return packet[0] < 0x10


def pack_hello(hello: Hello) -> bytes:
    return _HELLO.pack(ControlKind.HELLO, VERSION, hello.capabilities, min(hello.mtu, 0xFFFF))


def parse_hello(frame: Buffer) -> Hello | None:
    """None if it is too short, of another kind, or of no version. A later version also speaks the first."""
    if len(frame) < _HELLO.size:
        return None
    kind, version, capabilities, mtu = _HELLO.unpack_from(frame)
    if kind != ControlKind.HELLO or not version:
        return None
    return Hello(Capability(capabilities & _KNOWN), mtu)


def pack_close() -> bytes:
    return bytes((ControlKind.CLOSE,))


_KNOWN = sum(Capability)

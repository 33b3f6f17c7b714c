"""Control frames: what two of us say to each other besides packets (docs/protocol.md, "Extensions").

A frame is the content of a message 4, where a packet would be. The high nibble of its first byte is 0, and no IP packet
begins like that. All integers are little endian; what follows a frame is padding, or what a later version adds, and is
ignored.

    1 hello      kind 1 | version 1 | capabilities 2 | MTU 2      what we take, from now on and under this keypair
    2 close      kind 1                                           we are going away: there is no session any more
    3 probe      kind 1 | zero 1 | number 2 | zeros               does so large a datagram arrive?
    4 probe ack  kind 1 | zero 1 | number 2                       the probe with this number did
"""

import struct
from enum import IntEnum, IntFlag
from typing import NamedTuple

from tunnel.wire.messages import Buffer

VERSION = 1
"""The highest that we speak."""

_HELLO = struct.Struct("<BBHH")
_PROBE = struct.Struct("<BxH")

PROBE_SIZE = _PROBE.size
"""Bytes of a probe without what fills it up, and of its ack."""


class ControlKind(IntEnum):
    """The first byte."""

    HELLO = 1
    CLOSE = 2
    PROBE = 3
    PROBE_ACK = 4


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


def pack_probe(number: int, length: int) -> bytes:
    """A probe of `length` bytes, `PROBE_SIZE` at least. `number` has 16 bits."""
    return _PROBE.pack(ControlKind.PROBE, number).ljust(length, b"\0")


def pack_probe_ack(number: int) -> bytes:
    return _PROBE.pack(ControlKind.PROBE_ACK, number)


def parse_probe(frame: Buffer) -> int | None:
    """The number; None if it is too short or of another kind."""
    return _parse_number(frame, ControlKind.PROBE)


def parse_probe_ack(frame: Buffer) -> int | None:
    """The number of the probe that arrived; None if it is too short or of another kind."""
    return _parse_number(frame, ControlKind.PROBE_ACK)


def _parse_number(frame: Buffer, expected: ControlKind) -> int | None:
    if len(frame) < _PROBE.size:
        return None
    kind, number = _PROBE.unpack_from(frame)
    return int(number) if kind == expected else None


_KNOWN = sum(Capability)

"""Capture files that Wireshark reads: pcapng (draft-ietf-opsawg-pcapng).

A file is a sequence of blocks. The section header says how the others are to be read; interfaces are numbered in the
order in which they are described; packets name theirs. Secrets serve the packets that follow them.

    value ──pack──▶ type 4 | length 4 | body … | options: code 2, length 2, value … | length 4

We write little endian and times in nanoseconds.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

NANOSECONDS = 9
"""The resolution of times, as a negative power of ten."""

WIREGUARD_KEY_LOG = 0x57474B4C
"""The kind of secrets that Wireshark takes for a WireGuard key log: lines of NAME=base64."""


class LinkType(IntEnum):
    """What a packet begins with (tcpdump.org/linktypes.html)."""

    RAW = 101
    """An IP header."""
    LINUX_SLL2 = 276
    """A `cooked_header`, then what its protocol says."""


class Direction(IntEnum):
    """Seen from the host that captures."""

    UNKNOWN = 0
    INBOUND = 1
    OUTBOUND = 2


@dataclass(frozen=True, slots=True)
class Section:
    """The beginning of a file, and who wrote it."""

    application: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Interface:
    """Where packets were captured; the first one is number 0."""

    link_type: int
    name: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet, whole. `nanoseconds` since 1970; `interface` is the number of one that was described before."""

    interface: int
    nanoseconds: int
    data: bytes
    direction: Direction = Direction.UNKNOWN
    comment: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """What decrypts the packets that follow."""

    data: bytes
    kind: int = WIREGUARD_KEY_LOG

    def __repr__(self) -> str:
        return "Secrets(redacted)"


Block = Section | Interface | Packet | Secrets

_SECTION, _INTERFACE, _PACKET, _SECRETS = 0x0A0D0D0A, 1, 6, 10
_BYTE_ORDER = 0x1A2B3C4D
_VERSION = (1, 0)
_UNKNOWN_LENGTH = -1

_SECTION_BODY = struct.Struct("<IHHq")
_INTERFACE_BODY = struct.Struct("<HHI")
_PACKET_BODY = struct.Struct("<IIIII")
_SECRETS_BODY = struct.Struct("<II")
_FRAME = struct.Struct("<II")
_OPTION = struct.Struct("<HH")
_SLL2 = struct.Struct("!HHIHBB8s")
_SMALLEST = 12
_MAX_OPTION = 0xFFFF

_COMMENT, _APPLICATION = 1, 4
_NAME, _DESCRIPTION, _RESOLUTION = 2, 3, 9
_FLAGS = 2


def pack_block(block: Block) -> bytes:
    """The block as it stands in a file. Texts are cut to what an option can hold."""
    match block:
        case Section():
            body = _SECTION_BODY.pack(_BYTE_ORDER, *_VERSION, _UNKNOWN_LENGTH)
            return _frame(_SECTION, body, _text(_APPLICATION, block.application), _text(_COMMENT, block.comment))
        case Interface():
            body = _INTERFACE_BODY.pack(block.link_type, 0, 0)
            texts = _text(_NAME, block.name), _text(_DESCRIPTION, block.description)
            return _frame(_INTERFACE, body, *texts, _option(_RESOLUTION, bytes([NANOSECONDS])))
        case Packet():
            size = len(block.data)
            when = divmod(block.nanoseconds, 1 << 32)
            body = _PACKET_BODY.pack(block.interface, *when, size, size) + _padded(block.data)
            flags = _option(_FLAGS, block.direction.to_bytes(4, "little")) if block.direction else b""
            return _frame(_PACKET, body, flags, _text(_COMMENT, block.comment))
        case Secrets():
            body = _SECRETS_BODY.pack(block.kind, len(block.data)) + _padded(block.data)
            return _frame(_SECRETS, body)


def cooked_header(protocol: int, interface: int, hardware: int, kind: int, address: bytes) -> bytes:
    """What precedes a packet of `LinkType.LINUX_SLL2`: the fields of packet(7)'s address."""
    return _SLL2.pack(protocol, 0, interface, hardware, kind, min(len(address), 8), address[:8])


# ---- packing ----------------------------------------------------------------------------------------------------


def _frame(kind: int, body: bytes, *options: bytes) -> bytes:
    listed = b"".join(options)
    content = body + (listed + _OPTION.pack(0, 0) if listed else b"")
    length = _SMALLEST + len(content)
    return _FRAME.pack(kind, length) + content + length.to_bytes(4, "little")


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _option(code: int, value: bytes) -> bytes:
    return _OPTION.pack(code, len(value)) + _padded(value)


def _text(code: int, text: str) -> bytes:
    value = text.encode(errors="replace")[:_MAX_OPTION].decode(errors="ignore").encode()  # no half of a character
    return _option(code, value) if value else b""

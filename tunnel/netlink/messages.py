"""rtnetlink's messages as bytes, as far as an interface needs them: rtnetlink(7), netlink(7).

    datagram    message, message …
    message     length 4, type 2, flags 2, sequence 4, port 4, fixed part, attribute, attribute …
    attribute   length 2, type 2, value, padded to 4 bytes; the value may again be attributes

All of it in the machine's own byte order. What the fixed part is depends on the type; it begins with the family. The
names are the kernel's (``linux/netlink.h``, ``rtnetlink.h``, ``if_link.h``, ``if_addr.h``).
"""

import os
import struct
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from typing import NamedTuple


class Kind(IntEnum):
    ERROR = 2  # NLMSG_…
    DONE = 3
    NEWLINK = 16  # RTM_…
    DELLINK = 17
    GETLINK = 18
    NEWADDR = 20
    GETADDR = 22
    NEWROUTE = 24
    GETROUTE = 26


class Flag(IntFlag):
    """NLM_F_…; what a bit means depends on the message that it is in."""

    REQUEST = 0x1
    ACK = 0x4
    DUMP_INTR = 0x10
    DUMP = 0x300
    EXCL = 0x200
    CREATE = 0x400
    ACK_TLVS = 0x200


class Ifla(IntEnum):
    """Of a link."""

    IFNAME = 3
    MTU = 4
    TXQLEN = 13
    AF_SPEC = 26
    GSO_MAX_SIZE = 41


class Ifa(IntEnum):
    """Of an address."""

    ADDRESS = 1
    LOCAL = 2


class Rta(IntEnum):
    """Of a route."""

    DST = 1
    OIF = 4
    METRICS = 8
    MULTIPATH = 9
    TABLE = 15
    MARK = 16


IFLA_INET6_ADDR_GEN_MODE = 8
IN6_ADDR_GEN_MODE_NONE = 1
RTAX_MTU = 2
RTPROT_STATIC = 4
RT_SCOPE_LINK = 253
RT_TABLE_MAIN = 254
RTN_UNICAST = 1
IFF_UP = 1

IFINFOMSG = struct.Struct("=BxHiII")
"""Family, hardware type, index, flags, which of the flags to change."""

IFADDRMSG = struct.Struct("=BBBBI")
"""Family, prefix length, flags, scope, index."""

RTMSG = struct.Struct("=BBBBBBBBI")
"""Family, prefix length of the destination, of the source, ToS, table, protocol, scope, type, flags."""

RTNEXTHOP = struct.Struct("=HBBi")
"""Length, flags, weight, index."""

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_NUMBER = struct.Struct("=I")
_CODE = struct.Struct("=i")
_TYPE_MASK = 0x3FFF  # without the flags for nested values and for network byte order
_NLMSGERR_ATTR_MSG = 1


class Message(NamedTuple):
    kind: int
    flags: int
    sequence: int
    body: bytes
    """The fixed part and the attributes."""


def pack_message(kind: Kind, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body


def pack_attribute(kind: int, value: bytes | int) -> bytes:
    """A number takes 4 bytes."""
    if isinstance(value, int):
        value = _NUMBER.pack(value)
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def parse_messages(datagram: bytes) -> Iterator[Message]:
    offset = 0
    while offset + _HEADER.size <= len(datagram):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, offset)
        yield Message(kind, flags, sequence, datagram[offset + _HEADER.size : offset + length])
        offset += _step(length)


def parse_attributes(data: bytes) -> dict[int, bytes]:
    """Type -> value; of two with the same type the last."""
    attributes = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        attributes[kind & _TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += _step(length)
    return attributes


def parse_number(value: bytes | None) -> int:
    """Of 4 bytes; 0 for an attribute that is not there."""
    return int(_NUMBER.unpack(value)[0]) if value else 0


def parse_text(value: bytes | None) -> str:
    """Up to the NUL; empty for an attribute that is not there."""
    return os.fsdecode(value.rstrip(b"\0")) if value else ""


def parse_refusal(message: Message) -> OSError | None:
    """What an ERROR or DONE says is wrong, in the kernel's own words if it has any; None: nothing, it is done.

    The socket must have NETLINK_CAP_ACK if it has NETLINK_EXT_ACK.
    """
    code = -int(_CODE.unpack_from(message.body)[0]) if message.body else 0
    if code == 0:
        return None
    words = ""
    if message.flags & Flag.ACK_TLVS:
        # An error first repeats the header of our request, the end of a dump nothing.
        offset = _CODE.size + (_HEADER.size if message.kind == Kind.ERROR else 0)
        words = parse_text(parse_attributes(message.body[offset:]).get(_NLMSGERR_ATTR_MSG))
    return OSError(code, words or os.strerror(code))


def _step(length: int) -> int:
    """To the next message or attribute; never 0, so that nonsense cannot hold us up for ever."""
    return max((length + 3) & ~3, 4)

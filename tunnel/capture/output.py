"""Where captured packets go: into a file for Wireshark, or as lines to a reader.

CapturedFrame ──┬─ CaptureFile ─▶ pcapng: inner packets as they are, outer ones with a header that names the
                │                 interface, and the keys in front of the handshake that they open
                └─ CaptureLines ─▶ 12:00:00.000001 outer out eth0 192.0.2.1:51820 > …
"""

import socket
import time
from collections.abc import Sequence
from enum import Enum
from typing import BinaryIO, Protocol, TextIO

from tunnel.capture.description import describe_datagram, describe_packet
from tunnel.capture.packet_socket import CapturedFrame
from tunnel.wire.pcapng import (
    Direction,
    Interface,
    LinkType,
    Packet,
    Secrets,
    Section,
    cooked_header,
    pack_block,
)


class Side(Enum):
    """Of the tunnel: what applications see, and what the network sees."""

    INNER = "inner"
    OUTER = "outer"


class Output(Protocol):
    """What a recording writes to."""

    def write(self, side: Side, frame: CapturedFrame, packet: bytes) -> None:
        """One packet, from its IP header on, that was captured in `frame`."""
        ...

    def write_keys(self, lines: bytes) -> None:
        """What opens packets that come later."""
        ...

    def flush(self) -> None:
        """Let the reader see what was written."""
        ...


class CaptureFile:
    """A pcapng file; `sides` are its interfaces. Raise `OSError` as `file` does."""

    def __init__(self, file: BinaryIO, name: str, sides: Sequence[Side], application: str) -> None:
        self._file = file
        self._numbers = {side: number for number, side in enumerate(sides)}
        self._put(Section(application))
        for side in sides:
            if side is Side.INNER:
                self._put(Interface(LinkType.RAW, name, "inner packets"))
            else:
                self._put(Interface(LinkType.LINUX_SLL2, "any", f"outer datagrams of {name}"))

    def _put(self, block: Section | Interface | Packet | Secrets) -> None:
        self._file.write(pack_block(block))

    def write(self, side: Side, frame: CapturedFrame, packet: bytes) -> None:
        direction = Direction.OUTBOUND if frame.is_outgoing else Direction.INBOUND
        data = packet if side is Side.INNER else _cooked(frame) + packet
        self._put(Packet(self._numbers[side], frame.nanoseconds, data, direction))

    def write_keys(self, lines: bytes) -> None:
        self._put(Secrets(lines))

    def flush(self) -> None:
        self._file.flush()


class CaptureLines:
    """A line per packet, in local time."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, side: Side, frame: CapturedFrame, packet: bytes) -> None:
        seconds, rest = divmod(frame.nanoseconds, 1_000_000_000)
        moment = f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest // 1000:06}"
        way = "out" if frame.is_outgoing else "in "
        what = describe_packet(packet) if side is Side.INNER else f"{frame.interface} {describe_datagram(packet)}"
        self._file.write(f"{moment} {side.value} {way} {what}\n")

    def write_keys(self, lines: bytes) -> None:
        """Keys never go to a terminal."""

    def flush(self) -> None:
        self._file.flush()


def _cooked(frame: CapturedFrame) -> bytes:
    try:
        index = socket.if_nametoindex(frame.interface)
    except OSError:  # gone in the meantime
        index = 0
    return cooked_header(frame.protocol, index, frame.hardware, frame.kind, frame.address)

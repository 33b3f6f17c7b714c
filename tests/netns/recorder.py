"""Someone with access to the cable: records the frames that a host sends, and sends them again."""

import socket
import struct
from types import TracebackType
from typing import Self

from tests.netns.hosts import CABLE, PORT
from tunnel.capture.packet_socket import PacketSocket
from tunnel.testing.namespaces import Namespace

_ETHERNET, _IPV4, _UDP_CHECKSUM = 14, 20, 6
_DATAGRAM = _ETHERNET + _IPV4 + 8


class Recorder:
    """Between entering the context and `take`, what leaves `namespace` on the cable as UDP over IPv4 is recorded."""

    def __init__(self, namespace: Namespace) -> None:
        with namespace.enter():
            self._socket = PacketSocket(CABLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def take(self) -> list[bytes]:
        """The frames since the last call."""
        frames: list[bytes] = []
        while (captured := self._socket.receive()) is not None:
            if captured.is_outgoing and _is_wireguard(captured.frame):
                frames.append(_without_checksum(captured.frame))
        return frames

    def inject(self, frames: list[bytes]) -> None:
        """Put frames on the cable, as if `namespace` had sent them."""
        for frame in frames:
            self._socket.send(frame)


def message_type(frame: bytes) -> int:
    """That of the datagram in a recorded frame."""
    return frame[_DATAGRAM]


def with_later_counter(frame: bytes) -> bytes:
    """Message 4 or 5 in a recorded frame, with a counter that the replay window has not seen."""
    start = _DATAGRAM + 8
    counter = int.from_bytes(frame[start : start + 8], "little") + (1 << 20)
    return frame[:start] + counter.to_bytes(8, "little") + frame[start + 8 :]


def _is_wireguard(frame: bytes) -> bool:
    if frame[12:14] != b"\x08\x00" or frame[_ETHERNET + 9] != socket.IPPROTO_UDP:
        return False
    target: int = struct.unpack_from("!H", frame, _ETHERNET + _IPV4 + 2)[0]
    return target == PORT


def _without_checksum(frame: bytes) -> bytes:
    """A veth leaves the UDP checksum to a device that is not there; zero says that there is none."""
    start = _ETHERNET + _IPV4 + _UDP_CHECKSUM
    return frame[:start] + b"\0\0" + frame[start + 2 :]

"""A packet socket (packet(7)): everything that crosses one interface, or all of them, in both directions.

    interface ─▶ port filter, in the kernel ─▶ virtio header 10 | frame ─▶ CapturedFrame
                                                    └ segment size   └ network offset: where its IP header begins

What applications and network cards leave in one piece (segmentation offload, GRO) is captured in one piece; the virtio
header in front says how long the segments are. A kernel before 6.2 cannot say so of UDP, and loses such a frame.
"""

import ctypes
import errno
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tunnel.capture.port_filter import Instruction, pack_program
from tunnel.errors import EdgeError
from tunnel.wire.virtio import VIRTIO_HEADER_SIZE, parse_virtio_header

WHOLE = 1 << 17
"""Bytes that any frame fits into, even a superpacket."""

PACKET_OUTGOING = socket.PACKET_OUTGOING
ARPHRD_LOOPBACK = 772

_RECEIVE_BUFFER = 64 << 20
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_AUXDATA, _PACKET_VNET_HDR = 263, 6, 8, 15
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 26, 33, 35
_AUXDATA = struct.Struct("=IIIHHHH")
_TIMESPEC = struct.Struct("@ll")
_ANCILLARY_SIZE = socket.CMSG_SPACE(_AUXDATA.size) + socket.CMSG_SPACE(_TIMESPEC.size)


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """`frame` begins with the link's header, if there is one, and `packet` with what comes after it.

    `nanoseconds` since 1970; `protocol` is an Ethertype, `hardware` an ARPHRD number, `kind` and `address` (whoever
    sent it) are as in packet(7). `segment_size`: bytes of payload per segment, 0 if the frame is not a superpacket.
    """

    frame: bytes
    network_offset: int
    segment_size: int
    nanoseconds: int
    interface: str
    protocol: int
    kind: int
    hardware: int
    address: bytes

    @property
    def packet(self) -> bytes:
        return self.frame[self.network_offset :]

    @property
    def is_outgoing(self) -> bool:
        return self.kind == PACKET_OUTGOING


class PacketSocket:
    """Captures from when it is made; it never blocks, and `fileno` is readable when there is something.

    `interface`: empty for all. `program` filters (`tunnel.capture.port_filter`); of each frame `size` bytes are kept.
    Raise `EdgeError`: EPERM unless we are root, ENODEV if there is no such interface.
    """

    def __init__(self, interface: str = "", *, program: Sequence[Instruction] = (), size: int = WHOLE) -> None:
        self.lost = 0
        self._buffer = memoryview(bytearray(size + VIRTIO_HEADER_SIZE))
        try:
            # Without a protocol nothing comes in until it is bound to an interface; there is no binding to all of them.
            protocol = 0 if interface else socket.htons(_ETH_P_ALL)
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
        except OSError as error:
            raise _refused(error, interface) from None
        try:
            self._set_options()
            if program:
                self._attach(program)
            if interface:
                self._socket.bind((interface, _ETH_P_ALL))
            else:
                self._forget()
        except OSError as error:
            self._socket.close()
            raise _refused(error, interface) from None

    def _set_options(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self._socket.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)

    def _attach(self, program: Sequence[Instruction]) -> None:
        packed = ctypes.create_string_buffer(pack_program(program))
        where = struct.pack("HP", len(program), ctypes.addressof(packed))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, where)

    def _forget(self) -> None:
        """Throw away what came before the filter was there."""
        with suppress(BlockingIOError):
            while True:
                self._socket.recv_into(self._buffer)

    def receive(self) -> CapturedFrame | None:
        """The next frame; None if there is none, or if its interface went down. Raise `EdgeError` for anything else."""
        while True:
            try:
                length, ancillary, _, address = self._socket.recvmsg_into([self._buffer], _ANCILLARY_SIZE)
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno == errno.EINVAL:  # a UDP superpacket, and the kernel has no words for it
                    self.lost += 1
                    continue
                if error.errno == errno.ENETDOWN:
                    return None
                raise _refused(error, "") from None
            return self._captured(length, ancillary, address)

    def _captured(
        self, length: int, ancillary: list[tuple[int, int, bytes]], address: tuple[str, int, int, int, bytes]
    ) -> CapturedFrame:
        header = parse_virtio_header(self._buffer)
        assert header is not None
        nanoseconds = offset = 0
        for level, _, data in ancillary:
            if level == _SOL_PACKET:
                offset = _AUXDATA.unpack_from(data)[4]
            elif level == socket.SOL_SOCKET:
                seconds, rest = _TIMESPEC.unpack_from(data)
                nanoseconds = seconds * 1_000_000_000 + rest
        frame = bytes(self._buffer[VIRTIO_HEADER_SIZE:length])
        return CapturedFrame(frame, offset, header.gso_size if header.gso_type else 0, nanoseconds, *address)

    def count_lost(self) -> int:
        """Frames that there was no room for since the socket was made, or that the kernel could not describe."""
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        self.lost += struct.unpack("=II", statistics)[1]
        return self.lost

    def send(self, frame: bytes) -> None:
        """Put a frame on the interface, as if this host had sent it."""
        self._socket.send(bytes(VIRTIO_HEADER_SIZE) + frame)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def _refused(error: OSError, interface: str) -> EdgeError:
    if isinstance(error, PermissionError):
        return EdgeError("only root may capture packets", error.errno or 0)
    if error.errno == errno.ENODEV:
        return EdgeError(f"there is no interface {interface} here", errno.ENODEV)
    return EdgeError(
        f"cannot capture packets{f' of {interface}' if interface else ''}: {error.strerror}", error.errno or 0
    )

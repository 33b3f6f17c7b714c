"""What one host puts on the cable, datagram by datagram, also where many leave in one go (UDP_SEGMENT).

A veth carries such a train as one packet; with PACKET_VNET_HDR the kernel says before each packet how it would have
been cut:

    virtio header 10, GSO size in it | Ethernet 14 | IPv4 20 | UDP 8 | datagram | datagram | ...
"""

import socket
import struct
from types import TracebackType
from typing import Self

from tests.netns.hosts import CABLE
from tunnel.testing.namespaces import Namespace
from tunnel.wire.virtio import VIRTIO_HEADER_SIZE, parse_virtio_header

_ETH_P_IP = 0x0800
_PACKET_STATISTICS, _PACKET_VNET_HDR = 6, 15
_SOL_PACKET = 263
_SO_RCVBUFFORCE = 33
_BUFFER_SIZE = 64 << 20
_BIGGEST = 1 << 17
_ETHERNET, _IPV4, _UDP = 14, 20, 8


class Wiretap:
    """Between entering the context and `take`, every UDP datagram over IPv4 that leaves `namespace` is kept."""

    def __init__(self, namespace: Namespace) -> None:
        with namespace.enter():
            # No protocol yet, else packets of all interfaces come in before it is bound to one.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_SIZE)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
            self._socket.bind((CABLE, 3))  # ETH_P_ALL: others are not shown what leaves
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def take(self) -> list[bytes]:
        """The datagrams since the last call; it fails if the kernel had no room for all of them."""
        datagrams: list[bytes] = []
        while True:
            try:
                captured, (_, protocol, direction, _, _) = self._socket.recvfrom(_BIGGEST)
            except BlockingIOError:
                break
            if direction == socket.PACKET_OUTGOING and protocol == _ETH_P_IP:
                datagrams += _datagrams(captured)
        _, lost = struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        assert not lost, f"{lost} packets were not captured"
        return datagrams


def _datagrams(captured: bytes) -> list[bytes]:
    header = parse_virtio_header(captured)
    assert header is not None
    packet = captured[VIRTIO_HEADER_SIZE + _ETHERNET :]
    assert packet[0] == 0x45
    if packet[9] != socket.IPPROTO_UDP:
        return []
    (length,) = struct.unpack_from("!H", packet, _IPV4 + 4)
    content = packet[_IPV4 + _UDP : _IPV4 + length]
    size = header.gso_size or len(content)
    return [content[start : start + size] for start in range(0, len(content), size)]

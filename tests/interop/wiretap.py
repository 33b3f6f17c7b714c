"""What one host puts on the cable, datagram by datagram, also where many leave in one go (UDP_SEGMENT)."""

import socket
from types import TracebackType
from typing import Self

from tests.netns.hosts import CABLE
from tunnel.capture.datagrams import split_datagrams
from tunnel.capture.packet_socket import PacketSocket
from tunnel.testing.namespaces import Namespace

_ETH_P_IP = 0x0800
_IPV4, _UDP = 20, 8


class Wiretap:
    """Between entering the context and `take`, every UDP datagram over IPv4 that leaves `namespace` is kept."""

    def __init__(self, namespace: Namespace) -> None:
        with namespace.enter():
            self._socket = PacketSocket(CABLE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def take(self) -> list[bytes]:
        """The datagrams since the last call; it fails if the kernel had no room for all of them."""
        datagrams: list[bytes] = []
        while (frame := self._socket.receive()) is not None:
            packet = frame.packet
            if frame.is_outgoing and frame.protocol == _ETH_P_IP and packet[9] == socket.IPPROTO_UDP:
                datagrams += [part[_IPV4 + _UDP :] for part in split_datagrams(packet, frame.segment_size)]
        lost = self._socket.count_lost()
        assert not lost, f"{lost} packets were not captured"
        return datagrams

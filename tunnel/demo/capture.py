"""A look at the cable: which datagrams cross a veth, and whether each is one of ours.

A packet socket (`tunnel.capture.packet_socket`) sees every frame in both directions. Only its headers are copied, and
of the payload the first word: the message type with its reserved zeros. What is neither a message between the two ports
nor neighbour discovery is *foreign*, and said to be so. Superpackets (UDP segmentation offload) cross a veth in one
piece, of which the socket knows how long the datagrams in it are.

    veth ─▶ packet socket ─▶ Ethernet 14 | IPv4 20.. or IPv6 40 | UDP 8 | type 4 …
                                                                            └─▶ Traffic
"""

import select
import socket
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tunnel.capture.packet_socket import CapturedFrame, PacketSocket
from tunnel.errors import EdgeError
from tunnel.testing.namespaces import Namespace
from tunnel.wire.certified import CERTIFIED_SIZE
from tunnel.wire.messages import COOKIE_REPLY_SIZE, INITIATION_SIZE, RESPONSE_SIZE, TRANSPORT_OVERHEAD, MessageType

_HEADERS = 256
"""Bytes copied of each frame: enough for all headers and the start of the payload."""

_POLL_INTERVAL = 0.2
_FOREIGN_EXAMPLES = 5

_ETH_IPV4, _ETH_IPV6, _ETH_ARP = 0x0800, 0x86DD, 0x0806
_ETHERNET_SIZE, _IPV6_SIZE, _UDP_SIZE = 14, 40, 8
_SHORTEST_FRAME = _ETHERNET_SIZE + 28
"""That of ARP, and of an empty datagram over IPv4."""
_NEIGHBOUR_DISCOVERY = range(130, 138)
"""ICMPv6 types: multicast listeners, and router and neighbour discovery (RFC 4861, RFC 2710)."""
_MULTICAST_LISTENER_REPORT = 143

_FIXED_SIZES = {
    MessageType.HANDSHAKE_INITIATION: INITIATION_SIZE,
    MessageType.HANDSHAKE_RESPONSE: RESPONSE_SIZE,
    MessageType.COOKIE_REPLY: COOKIE_REPLY_SIZE,
    MessageType.CERTIFICATE_REQUEST: CERTIFIED_SIZE,
    MessageType.CERTIFICATE: CERTIFIED_SIZE,
    MessageType.CERTIFIED_INITIATION: CERTIFIED_SIZE,
    MessageType.CERTIFIED_RESPONSE: CERTIFIED_SIZE,
}


@dataclass(slots=True)
class Traffic:
    """What has crossed: datagrams by message type and size, the rest, and when the handshake's steps were seen."""

    datagrams: Counter[tuple[int, int]] = field(default_factory=Counter)
    neighbour_discovery: int = 0
    foreign: int = 0
    foreign_examples: list[str] = field(default_factory=list)
    lost: int = 0
    """Frames that the capture could not keep up with."""
    first_seen: dict[int, float] = field(default_factory=dict)
    """Message type → seconds (CLOCK_REALTIME) of the first one."""

    def count(self, kind: MessageType) -> int:
        return sum(n for (found, _), n in self.datagrams.items() if found == kind)

    @property
    def handshake_seconds(self) -> float | None:
        """From the first question for a certificate to the first message 4: two round trips, and all the work."""
        begun = self.first_seen.get(MessageType.CERTIFICATE_REQUEST)
        done = self.first_seen.get(MessageType.TRANSPORT_DATA)
        return None if begun is None or done is None else done - begun

    def violations(self, mtu: int) -> list[str]:
        """What is neither as the paper (section 5.4) has it nor message 5 or 16 to 19; `mtu` is that of the tunnel."""
        found = list(self.foreign_examples)
        for (kind, size), number in sorted(self.datagrams.items()):
            if not _is_message(kind, size, mtu):
                found.append(f"{number} datagrams of type {kind:#x} with {size} bytes")
        return found

    def add_foreign(self, what: str) -> None:
        self.foreign += 1
        if len(self.foreign_examples) < _FOREIGN_EXAMPLES:
            self.foreign_examples.append(what)


def _is_message(kind: int, size: int, mtu: int) -> bool:
    if kind in (MessageType.TRANSPORT_DATA, MessageType.EXTENDED_DATA):  # padded to 16, but for probes and message 5
        return 0 <= size - TRANSPORT_OVERHEAD <= mtu
    return _FIXED_SIZES.get(MessageType(kind)) == size if kind in _FIXED_SIZES else False


def classify(frame: memoryview, segment_size: int, ports: frozenset[int], traffic: Traffic) -> int:
    """Count one Ethernet frame, of which at least the headers are there; return its message type, 0 for the others.

    `segment_size`: bytes of UDP payload per datagram in a superpacket, 0 if the frame holds one datagram.
    """
    if len(frame) < _SHORTEST_FRAME:
        traffic.add_foreign(f"a frame of {len(frame)} bytes")
        return 0
    ethertype = int.from_bytes(frame[12:14])
    if ethertype == _ETH_ARP or (ethertype == _ETH_IPV6 and _is_neighbour_discovery(frame)):
        traffic.neighbour_discovery += 1
        return 0
    udp = _find_udp(frame, ethertype)
    if udp is None:
        traffic.add_foreign(f"a frame with ethertype {ethertype:#06x} that is not UDP")
        return 0
    source, target, length = struct.unpack_from("!HHH", frame, udp)
    if source not in ports or target not in ports:
        traffic.add_foreign(f"a datagram from port {source} to port {target}")
        return 0
    payload, size = udp + _UDP_SIZE, length - _UDP_SIZE
    kind = int.from_bytes(frame[payload : payload + 4], "little")
    if kind & 0xFF == MessageType.EXTENDED_DATA:
        kind = int(MessageType.EXTENDED_DATA)  # flags and segment size follow it
    whole, tail = divmod(size, segment_size) if segment_size else (1, 0)
    traffic.datagrams[kind, segment_size or size] += whole
    if tail:
        traffic.datagrams[kind, tail] += 1
    return kind


def _is_neighbour_discovery(frame: memoryview) -> bool:
    if len(frame) < _ETHERNET_SIZE + _IPV6_SIZE + 8:
        return False
    next_header, offset = frame[20], _ETHERNET_SIZE + _IPV6_SIZE
    if next_header == 0:  # hop-by-hop options, which multicast listener reports have
        next_header, offset = frame[offset], offset + 8 + 8 * frame[offset + 1]
    kind = frame[offset] if next_header == socket.IPPROTO_ICMPV6 and offset < len(frame) else 0
    return kind in _NEIGHBOUR_DISCOVERY or kind == _MULTICAST_LISTENER_REPORT


def _find_udp(frame: memoryview, ethertype: int) -> int | None:
    """The offset of the UDP header; None if there is none. A fragment has none."""
    if ethertype == _ETH_IPV4 and frame[23] == socket.IPPROTO_UDP and not int.from_bytes(frame[20:22]) & 0x3FFF:
        return _ETHERNET_SIZE + 4 * (frame[14] & 0x0F)
    if ethertype == _ETH_IPV6 and frame[20] == socket.IPPROTO_UDP:
        return _ETHERNET_SIZE + _IPV6_SIZE
    return None


class Capture:
    """Watches `interface` in a thread from entering the context until leaving it; then `traffic` is complete."""

    def __init__(self, namespace: Namespace, interface: str, ports: frozenset[int]) -> None:
        with namespace.enter():
            self._socket = PacketSocket(interface, size=_HEADERS)
        self._ports = ports
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="capture", daemon=True)
        self.traffic = Traffic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopped.set()
        self._thread.join()
        self.traffic.lost = self._socket.count_lost()
        self._socket.close()

    def _watch(self) -> None:
        """Read until told to stop and nothing is left to read."""
        with suppress(EdgeError):  # the namespace is gone
            is_last = False
            while not is_last:
                select.select([self._socket], [], [], _POLL_INTERVAL)
                is_last = self._stopped.is_set()
                while (frame := self._socket.receive()) is not None:
                    self._record(frame)

    def _record(self, captured: CapturedFrame) -> None:
        kind = classify(memoryview(captured.frame), captured.segment_size, self._ports, self.traffic)
        if kind not in self.traffic.first_seen and kind:
            self.traffic.first_seen[kind] = captured.nanoseconds / 1e9

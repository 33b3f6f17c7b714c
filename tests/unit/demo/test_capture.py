"""What the demo takes for ours on the cable, and what not."""

import socket
import struct

import pytest

from tunnel.demo.capture import Traffic, classify

PORTS = frozenset({51820})
MTU = 1420


def ipv4(protocol: int, payload: bytes, flags_and_offset: int = 0) -> bytes:
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, flags_and_offset, 64, protocol, 0, b"", b"")
    return bytes(12) + b"\x08\x00" + header + payload


def ipv6(next_header: int, payload: bytes) -> bytes:
    return bytes(12) + b"\x86\xdd" + struct.pack("!IHBB32s", 6 << 28, len(payload), next_header, 64, b"") + payload


def udp(payload: bytes, source: int = 51820, target: int = 51820) -> bytes:
    return struct.pack("!HHHH", source, target, 8 + len(payload), 0) + payload


def message(kind: int, size: int) -> bytes:
    return struct.pack("<I", kind).ljust(size, b"\xaa")


def look(*frames: bytes, segment_size: int = 0) -> Traffic:
    traffic = Traffic()
    for frame in frames:
        classify(memoryview(frame), segment_size, PORTS, traffic)
    return traffic


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *[(1, 148), (2, 92), (3, 64), (4, 32), (4, 128), (4, 1452), (5, 32), (5, 33)],
        *[(16, 1200), (17, 1200), (18, 1200), (19, 1200)],
    ],
)
def test_every_message_is_known_over_either_family(kind: int, size: int) -> None:
    datagram = udp(message(kind, size))
    traffic = look(ipv4(socket.IPPROTO_UDP, datagram), ipv6(socket.IPPROTO_UDP, datagram))
    assert traffic.violations(MTU) == []
    assert traffic.datagrams == {(kind, size): 2}


def test_flags_and_segment_size_of_message_5_do_not_make_it_another_message() -> None:
    traffic = look(ipv4(socket.IPPROTO_UDP, udp(message(0x05580B05, 1452))), segment_size=1452)
    assert traffic.violations(MTU) == []
    assert traffic.datagrams == {(5, 1452): 1}


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        *[(1, 147), (2, 148), (3, 92), (4, 31), (4, 1453), (5, 31), (5, 1453), (6, 148)],
        *[(0, 148), (0x0104, 148), (0x45, 1452)],
        *[(15, 1200), (16, 1199), (17, 1201), (18, 148), (19, 92), (20, 1200)],
    ],
)
def test_a_wrong_type_or_size_is_a_violation(kind: int, size: int) -> None:
    traffic = look(ipv4(socket.IPPROTO_UDP, udp(message(kind, size))))
    assert traffic.violations(MTU) == [f"1 datagrams of type {kind:#x} with {size} bytes"]


@pytest.mark.parametrize(
    "frame",
    [
        ipv4(socket.IPPROTO_TCP, bytes(40)),
        ipv4(socket.IPPROTO_ICMP, bytes(40)),
        ipv4(socket.IPPROTO_UDP, udp(message(4, 128)), flags_and_offset=0x2000),
        ipv4(socket.IPPROTO_UDP, udp(message(4, 128), source=53)),
        ipv6(socket.IPPROTO_TCP, bytes(40)),
        ipv6(socket.IPPROTO_ICMPV6, b"\x80".ljust(40, b"\0")),
        bytes(12) + b"\x88\xcc" + bytes(60),
        bytes(12) + b"\x08\x00",
        ipv6(0, b"\x3a\0"),
    ],
    ids=["tcp", "ping", "fragment", "dns", "tcp over ipv6", "ping over ipv6", "lldp", "cut ipv4", "cut ipv6"],
)
def test_anything_else_is_foreign(frame: bytes) -> None:
    traffic = look(frame)
    assert traffic.foreign == 1
    assert traffic.violations(MTU)


def test_neighbour_discovery_is_expected() -> None:
    solicitation = ipv6(socket.IPPROTO_ICMPV6, b"\x87".ljust(32, b"\0"))
    listener_report = ipv6(0, b"\x3a\0".ljust(8, b"\0") + b"\x8f".ljust(28, b"\0"))
    traffic = look(bytes(12) + b"\x08\x06" + bytes(28), solicitation, listener_report)
    assert traffic.violations(MTU) == []
    assert traffic.neighbour_discovery == 3


def test_a_superpacket_is_counted_as_the_datagrams_in_it() -> None:
    superpacket = ipv4(socket.IPPROTO_UDP, udp(message(4, 3 * 1452 + 96)))
    traffic = look(superpacket, segment_size=1452)
    assert traffic.datagrams == {(4, 1452): 3, (4, 96): 1}
    assert traffic.violations(MTU) == []


def test_the_handshake_lasts_from_the_question_who_is_there_to_the_first_sealed_packet() -> None:
    traffic = Traffic(first_seen={16: 10.0, 17: 10.125, 18: 10.25, 19: 10.375, 4: 10.5})
    assert traffic.handshake_seconds == 0.5
    assert Traffic(first_seen={16: 10.0}).handshake_seconds is None

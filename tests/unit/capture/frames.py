"""Frames as a packet socket captures them, and packets to put into them."""

import struct

from tunnel.capture.packet_socket import CapturedFrame

ETHERNET = bytes(12) + b"\x08\x00"
HOST, OUTGOING = 0, 4


def ipv4_udp(payload: bytes, *, ports: tuple[int, int] = (51820, 51821)) -> bytes:
    length = 28 + len(payload)
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, length, 7, 0, 64, 17, 0, bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]))
    return header + struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload


def ipv6(protocol: int, payload: bytes) -> bytes:
    header = struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64)
    return header + bytes(15) + b"\1" + bytes(15) + b"\2" + payload


def captured(
    packet: bytes, *, nanoseconds: int = 0, kind: int = HOST, hardware: int = 1, segment_size: int = 0
) -> CapturedFrame:
    return CapturedFrame(
        ETHERNET + packet, len(ETHERNET), segment_size, nanoseconds, "eth0", 0x0800, kind, hardware, b"\2\0\0\0\0\1"
    )

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.capture.frames import ipv4_udp, ipv6
from tunnel.capture.description import describe_datagram, describe_packet

TCP_SYN_ACK = bytes.fromhex("01bb c350 00000000 00000000 5012 0000 0000 0000")


def with_protocol(packet: bytes, protocol: int, payload: bytes) -> bytes:
    return packet[:9] + bytes([protocol]) + packet[10:20] + payload


IPV4 = ipv4_udp(b"")


@pytest.mark.parametrize(
    ("packet", "words"),
    [
        (with_protocol(IPV4, 1, b"\x08\0\0\0"), "10.0.0.1 > 10.0.0.2 ICMP echo request, 24 bytes"),
        (with_protocol(IPV4, 1, b"\x03\0\0\0"), "10.0.0.1 > 10.0.0.2 ICMP, 24 bytes"),
        (ipv6(58, b"\x81\0\0\0"), "::1 > ::2 ICMPv6 echo reply, 44 bytes"),
        (with_protocol(IPV4, 6, TCP_SYN_ACK), "10.0.0.1:443 > 10.0.0.2:50000 TCP SA, 40 bytes"),
        (ipv6(17, b"\0\1\0\2\0\x08\0\0"), "[::1]:1 > [::2]:2 UDP, 48 bytes"),
        (with_protocol(IPV4, 47, b""), "10.0.0.1 > 10.0.0.2 protocol 47, 20 bytes"),
        (b"\x45", "not an IP packet, 1 bytes"),
    ],
)
def test_a_packet_is_described_by_who_what_and_how_long(packet: bytes, words: str) -> None:
    assert describe_packet(packet) == words


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"\1\0\0\0".ljust(148, b"\0"), "handshake initiation, 148 bytes"),
        (
            bytes.fromhex("04000000 78563412 0500000000000000").ljust(32, b"\0"),
            "transport data to 0x12345678, counter 5, 32 bytes",
        ),
        (b"\x12".ljust(1200, b"\0"), "certified initiation, 1200 bytes"),
        (b"\xff", "unknown message 255, 1 bytes"),
    ],
)
def test_a_datagram_is_described_by_the_message_in_it(message: bytes, words: str) -> None:
    assert describe_datagram(ipv4_udp(message)) == f"10.0.0.1:51820 > 10.0.0.2:51821 {words}"


def test_a_later_fragment_has_no_ports() -> None:
    fragment = IPV4[:6] + b"\0\1" + IPV4[8:] + bytes(8)
    assert describe_packet(fragment) == "10.0.0.1 > 10.0.0.2 UDP, 36 bytes"


@given(st.binary(max_size=80), st.sampled_from([b"", b"\x45", b"\x4f", b"\x60", IPV4, ipv6(6, b""), ipv6(17, b"")]))
def test_any_bytes_are_one_printable_line(data: bytes, prefix: bytes) -> None:
    for words in (describe_packet(prefix + data), describe_datagram(prefix + data)):
        assert words.isprintable()

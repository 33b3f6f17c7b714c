"""Echo and "too big" byte by byte, what is no such message, and about what no error is made."""

from ipaddress import ip_address

import pytest

from tunnel.wire import ip
from tunnel.wire.icmp import (
    Echo,
    pack_echo_reply,
    pack_echo_request,
    pack_too_big,
    parse_echo_reply,
    parse_echo_request,
    parse_too_big,
)

V4 = Echo(ip_address("10.0.0.1").packed, ip_address("10.0.0.2").packed, 0x1234, 7)
V6 = Echo(ip_address("fd00::1").packed, ip_address("fd00::2").packed, 0x1234, 7)
BOTH = pytest.mark.parametrize("echo", [V4, V6], ids=["ipv4", "ipv6"])


def test_an_echo_request_over_ipv4_is_laid_out_as_in_the_rfc() -> None:
    header = "4500001c 00000000 400166df 0a000001 0a000002"
    assert pack_echo_request(V4) == bytes.fromhex(header + "0800 e5c4 1234 0007")


def test_an_echo_request_over_ipv6_is_laid_out_as_in_the_rfc() -> None:
    """Its checksum: 2 × fd00 + 1 + 2 + 8 + 3a + 8000 + 1234 + 7 is 8c82 with the carry, and 737d not."""
    addresses = V6.source + V6.destination
    assert pack_echo_request(V6)[:40] == bytes.fromhex("60000000 0008 3a 40") + addresses
    assert pack_echo_request(V6)[40:] == bytes.fromhex("8000 737d 1234 0007")


@BOTH
def test_an_echo_reads_back_as_it_was_packed(echo: Echo) -> None:
    assert parse_echo_request(pack_echo_request(echo)) == echo
    assert parse_echo_reply(pack_echo_reply(echo)) == echo
    assert echo.answer == (echo.destination, echo.source, 0x1234, 7)


@BOTH
def test_padding_is_not_part_of_an_echo(echo: Echo) -> None:
    assert parse_echo_request(pack_echo_request(echo).ljust(1420, b"\0")) == echo


@BOTH
def test_a_request_is_no_reply_and_a_reply_no_request(echo: Echo) -> None:
    assert parse_echo_reply(pack_echo_request(echo)) is None
    assert parse_echo_request(pack_echo_reply(echo)) is None


@BOTH
def test_a_changed_bit_of_the_message_makes_it_none(echo: Echo) -> None:
    packet = pack_echo_reply(echo)
    for position in range(len(packet) - 8, len(packet)):
        changed = bytearray(packet)
        changed[position] ^= 1
        assert parse_echo_reply(changed) is None


@BOTH
def test_a_short_or_fragmented_message_is_none(echo: Echo) -> None:
    packet = pack_echo_reply(echo)
    assert [parse_echo_reply(packet[:size]) for size in range(len(packet))] == [None] * len(packet)
    part = bytearray(packet)
    part[6] = 44 if ip.version(packet) == 6 else 0x20
    assert parse_echo_reply(part) is None


def packet_of(echo: Echo, protocol: int = 17, size: int = 1400) -> bytearray:
    """Something whole between the same two."""
    packet = bytearray(pack_echo_request(echo).ljust(size, b"x"))
    if ip.version(packet) == 4:
        packet[2:4], packet[9] = size.to_bytes(2, "big"), protocol
    else:
        packet[4:6], packet[6] = (size - 40).to_bytes(2, "big"), protocol
    return packet


@pytest.mark.parametrize(("echo", "size"), [(V4, 576), (V6, 1280)], ids=["ipv4", "ipv6"])
def test_who_sent_too_much_is_told_what_fits_by_whom_he_sent_it_to(echo: Echo, size: int) -> None:
    packet = packet_of(echo)
    error = pack_too_big(packet, 1300)
    assert error is not None
    too_big = parse_too_big(error)
    assert too_big is not None
    assert too_big[:3] == (echo.destination, echo.source, 1300)
    assert packet.startswith(too_big.quoted)
    assert len(error) == size, "as much as may be quoted"


@BOTH
def test_a_short_packet_is_quoted_whole(echo: Echo) -> None:
    packet = packet_of(echo, size=100)
    error = pack_too_big(packet, 68)
    assert error is not None
    too_big = parse_too_big(error)
    assert too_big is not None
    assert too_big.quoted == packet


@BOTH
def test_nobody_is_told_about_an_error(echo: Echo) -> None:
    error = pack_too_big(packet_of(echo), 1300)
    assert error is not None
    assert pack_too_big(error, 500) is None


@BOTH
def test_a_ping_is_no_error(echo: Echo) -> None:
    assert pack_too_big(pack_echo_request(echo), 1300) is not None


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("0.0.0.0", "10.0.0.2"),
        ("127.0.0.1", "10.0.0.2"),
        ("224.0.0.1", "10.0.0.2"),
        ("10.0.0.1", "239.1.2.3"),
        ("10.0.0.1", "255.255.255.255"),
        ("::", "fd00::2"),
        ("::1", "fd00::2"),
        ("ff02::1", "fd00::2"),
        ("fd00::1", "ff02::1"),
    ],
)
def test_nobody_is_told_who_is_not_a_single_host(source: str, destination: str) -> None:
    echo = Echo(ip_address(source).packed, ip_address(destination).packed, 1, 1)
    assert pack_too_big(packet_of(echo), 1300) is None


def test_nobody_is_told_about_a_later_fragment() -> None:
    first, later = packet_of(V4), packet_of(V4)
    first[6] = 0x20
    later[7] = 1
    assert pack_too_big(first, 1300) is not None
    assert pack_too_big(later, 1300) is None
    later = packet_of(V6, protocol=44)
    later[42:44] = b"\0\1"
    assert pack_too_big(later, 1300) is not None
    later[42:44] = b"\0\x08"
    assert pack_too_big(later, 1300) is None

import struct
from ipaddress import ip_address

import pytest

from tunnel.wire import ip


def ipv4(*, total: int, ihl: int = 5, version: int = 4, size: int | None = None) -> bytes:
    """A buffer of `size` bytes (default: `total`) that begins with a header which claims `total`."""
    addresses = ip_address("10.0.0.1").packed + ip_address("10.0.0.2").packed
    header = struct.pack("!BBH8x8s", version << 4 | ihl, 0, total, addresses)
    return (header + bytes(65536))[: total if size is None else size]


def ipv6(*, payload: int, version: int = 6, size: int | None = None) -> bytes:
    """A buffer of `size` bytes (default: all of the packet) that begins with a header which claims `payload`."""
    addresses = ip_address("fd00::1").packed + ip_address("fd00::2").packed
    header = struct.pack("!B3xH2x32s", version << 4, payload, addresses)
    return (header + bytes(65536))[: 40 + payload if size is None else size]


def test_an_ipv4_packet_says_where_from_and_where_to() -> None:
    packet = ipv4(total=84)
    assert (ip.version(packet), ip.total_length(packet)) == (4, 84)
    assert (ip.source(packet), ip.destination(packet)) == (b"\x0a\0\0\1", b"\x0a\0\0\2")


def test_an_ipv6_packet_says_where_from_and_where_to() -> None:
    packet = ipv6(payload=64)
    assert (ip.version(packet), ip.total_length(packet)) == (6, 104)
    assert ip.source(packet) == ip_address("fd00::1").packed
    assert ip.destination(packet) == ip_address("fd00::2").packed


def test_addresses_of_a_memoryview_are_bytes_of_their_own() -> None:
    buffer = bytearray(ipv4(total=20))
    source = ip.source(memoryview(buffer))
    buffer[:] = bytes(20)
    assert source == b"\x0a\0\0\1"


@pytest.mark.parametrize("padding", [0, 1, 15])
def test_padding_is_not_part_of_the_packet(padding: int) -> None:
    assert ip.total_length(ipv4(total=65, size=65 + padding)) == 65
    assert ip.total_length(ipv6(payload=65, size=105 + padding)) == 105


def test_the_longest_packets_are_whole() -> None:
    assert ip.total_length(ipv4(total=65535)) == 65535
    assert ip.total_length(ipv6(payload=65535)) == 65575


def test_a_packet_may_be_all_header() -> None:
    assert ip.total_length(ipv4(total=20)) == 20
    assert ip.total_length(ipv4(total=60, ihl=15)) == 60
    assert ip.total_length(ipv6(payload=0)) == 40


@pytest.mark.parametrize("version", [0, 1, 2, 3, 5, 7, 8, 15])
def test_another_version_is_malformed(version: int) -> None:
    for packet in (ipv4(total=84, version=version), ipv6(payload=64, version=version)):
        assert ip.total_length(packet) is None
        assert (ip.source(packet), ip.destination(packet)) == (b"", b"")


@pytest.mark.parametrize("size", range(20))
def test_a_buffer_shorter_than_an_ipv4_header_is_malformed(size: int) -> None:
    packet = ipv4(total=size, size=size)
    assert ip.total_length(packet) is None
    assert (ip.source(packet), ip.destination(packet)) == (b"", b"")


@pytest.mark.parametrize("size", range(40))
def test_a_buffer_shorter_than_an_ipv6_header_is_malformed(size: int) -> None:
    packet = ipv6(payload=0, size=size)
    assert ip.total_length(packet) is None
    assert (ip.source(packet), ip.destination(packet)) == (b"", b"")


@pytest.mark.parametrize("ihl", range(5))
def test_an_ihl_below_five_is_malformed(ihl: int) -> None:
    assert ip.total_length(ipv4(total=84, ihl=ihl)) is None


@pytest.mark.parametrize("ihl", range(6, 16))
def test_options_that_end_beyond_the_packet_are_malformed(ihl: int) -> None:
    assert ip.total_length(ipv4(total=ihl * 4 - 1, ihl=ihl, size=200)) is None
    assert ip.total_length(ipv4(total=ihl * 4, ihl=ihl, size=200)) == ihl * 4


@pytest.mark.parametrize("total", [0, 1, 19])
def test_a_total_length_within_the_header_is_malformed(total: int) -> None:
    assert ip.total_length(ipv4(total=total, size=84)) is None


def test_a_packet_that_ends_beyond_the_buffer_is_malformed() -> None:
    assert ip.total_length(ipv4(total=84, size=83)) is None
    assert ip.total_length(ipv6(payload=64, size=103)) is None


def test_nothing_has_no_version() -> None:
    assert ip.version(b"") == 0

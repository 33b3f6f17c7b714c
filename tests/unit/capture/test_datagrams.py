import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.capture.frames import ipv4_udp, ipv6
from tunnel.capture.datagrams import split_datagrams
from tunnel.wire.checksum import ones_complement_sum


@given(st.binary(max_size=300), st.integers(1, 100))
def test_datagrams_together_are_what_the_train_carried(payload: bytes, size: int) -> None:
    packets = split_datagrams(ipv4_udp(payload), size)
    assert b"".join(packet[28:] for packet in packets) == payload
    assert all(len(packet) - 28 == size for packet in packets[:-1])


def test_lengths_checksum_and_identification_are_those_of_the_datagram() -> None:
    packets = split_datagrams(ipv4_udp(b"a" * 25), 10)
    for number, packet in enumerate(packets):
        length, identification = struct.unpack_from("!HH", packet, 2)
        (udp_length,) = struct.unpack_from("!H", packet, 24)
        assert (length, udp_length, identification) == (len(packet), len(packet) - 20, 7 + number)
        assert ones_complement_sum(packet[:20]) == 0
    assert [len(packet) for packet in packets] == [38, 38, 33]


def test_an_ipv6_train_is_cut_likewise() -> None:
    train = ipv6(17, struct.pack("!HHHH", 1, 2, 28, 0) + b"a" * 20)
    first, second = split_datagrams(train, 12)
    assert (first[4:6], first[44:46], second[4:6]) == (b"\0\x14", b"\0\x14", b"\0\x10")
    assert first[:4] == train[:4]


@pytest.mark.parametrize("size", [0, 5, 6])
def test_what_is_no_train_stays_as_it_is(size: int) -> None:
    assert split_datagrams(ipv4_udp(b"12345"), size) == [ipv4_udp(b"12345")]

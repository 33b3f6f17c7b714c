"""SYNs in what goes out and in what comes in, alone, in trains, and at the end of one of longer packets."""

from dataclasses import replace

import pytest

from tests.properties.superpackets import ACK, UDP, Flow
from tunnel.protocol.clamping import clamp_laid_out, clamp_opened, clamp_slots, may_have_syn
from tunnel.wire.messages import ExtendedFlag
from tunnel.wire.train import Train

SYN = 2
LONGEST = 1240
BOTH = pytest.mark.parametrize("version", [4, 6])


def syn(version: int, mss: int = 1460, *, is_partial: bool = False) -> bytes:
    flow = Flow(version, flags=SYN, options=b"\2\4" + mss.to_bytes(2, "big"))
    return flow.packet(b"", is_partial=is_partial)


def fitting(version: int, *, is_partial: bool = False) -> bytes:
    return syn(version, LONGEST - (40 if version == 4 else 60), is_partial=is_partial)


def train(packets: list[bytes], header: bytes = bytes(16)) -> Train:
    """As `seal` wants them, or an open one has them; padded to 16 bytes."""
    rows = [header + packet.ljust(-(-len(packet) // 16) * 16, b"\0") + bytes(16) for packet in packets]
    return Train(memoryview(bytearray(b"".join(rows))), len(rows), len(rows[0]), len(rows[-1]))


def contents(of: Train, lengths: list[int]) -> list[bytes]:
    return [bytes(one[16 : 16 + length]) for one, length in zip(of.datagrams(), lengths, strict=True)]


def opened(packets: list[bytes], header: bytes = bytes(16)) -> list[bytes]:
    """What goes on of a train that held these."""
    one = train(packets, header)
    if may_have_syn(one):
        clamp_opened(one, LONGEST)
    return contents(one, list(map(len, packets)))


@BOTH
def test_a_syn_that_comes_alone_is_clamped(version: int) -> None:
    assert opened([syn(version)]) == [fitting(version)]


@BOTH
def test_a_syn_among_packets_of_its_length_is_clamped(version: int) -> None:
    other = Flow(version, flags=ACK, options=bytes(4)).packet(b"")
    assert opened([other, syn(version), other]) == [other, fitting(version), other]


@BOTH
def test_a_syn_behind_longer_packets_is_clamped(version: int) -> None:
    data = Flow(version, flags=ACK).packet(bytes(1300))
    assert opened([data, data, syn(version)]) == [data, data, fitting(version)]


@BOTH
def test_a_syn_before_what_is_too_short_for_one_is_clamped(version: int) -> None:
    short = Flow(4, UDP).packet(b"")
    assert opened([syn(version), syn(version), short]) == [fitting(version)] * 2 + [short]


@BOTH
def test_the_header_of_message_5_says_that_a_checksum_is_partial(version: int) -> None:
    header = bytes([5, ExtendedFlag.PARTIAL | ExtendedFlag.AES_256_GCM]) + bytes(14)
    for count in (1, 4):
        assert opened([syn(version, is_partial=True)] * count, header) == [fitting(version, is_partial=True)] * count


@BOTH
@pytest.mark.parametrize("size", [0, 1, 15, 28, 43, 44, 60, 100, 116, 1300])
def test_nothing_else_is_changed(version: int, size: int) -> None:
    packet = replace(Flow(version), flags=0xFD).packet(bytes(range(256)) * 6)[:size]
    assert opened([packet]) == [packet]
    assert opened([packet] * 3) == [packet] * 3


@BOTH
@pytest.mark.parametrize("flag", [0, ExtendedFlag.PARTIAL])
def test_what_goes_out_is_clamped_too(version: int, flag: int) -> None:
    packet, expected = syn(version, is_partial=flag != 0), fitting(version, is_partial=flag != 0)
    data = Flow(version, flags=ACK).packet(bytes(1300))
    slots = [memoryview(bytearray(16) + bytearray(one) + bytearray(31)) for one in (data, packet, data)]
    clamp_slots(slots, [len(data), len(packet), len(data)], LONGEST, [0, flag, 0])
    assert [bytes(slot[16:-31]) for slot in slots] == [data, expected, data]
    laid_out = train([packet] * 4)
    clamp_laid_out(laid_out, LONGEST, flag)
    assert contents(laid_out, [len(packet)] * 4) == [expected] * 4

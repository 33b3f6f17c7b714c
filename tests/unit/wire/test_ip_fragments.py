"""IPv4 packets in fragments, put together again as RFC 791 says, by another way than they were cut."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.superpackets import UDP, Flow, word_sum
from tunnel.wire import ip

NOP, COPIED, NOT_COPIED = b"\1", b"\x83\4ab", b"\x07\4ab"


def reassemble(fragments: list[bytes]) -> tuple[bytes, bytes]:
    """The header of the first, but for what fragments change, and the payload."""
    payload: dict[int, int] = {}
    total = None
    for fragment in fragments:
        size = (fragment[0] & 15) * 4
        assert word_sum(fragment[:size]) == 0xFFFF
        assert ip.total_length(fragment) == len(fragment)
        (field,) = struct.unpack_from(">H", fragment, 6)
        start = (field & 0x1FFF) * 8
        for at, byte in enumerate(fragment[size:], start):
            assert at not in payload, "they do not overlap"
            payload[at] = byte
        if not field & 0x2000:
            total = start + len(fragment) - size
    assert total == len(payload)
    first = fragments[0]
    return first[4:6] + first[8:10] + first[12:20], bytes(payload[at] for at in range(total))


@given(payload=st.binary(min_size=1, max_size=4000), limit=st.integers(68, 1500), identification=st.integers(0, 65535))
def test_fragments_are_the_packet_when_put_together(payload: bytes, limit: int, identification: int) -> None:
    flow = Flow(protocol=UDP, fragment_field=0, identification=identification)
    packet = flow.packet(payload)
    fragments = ip.fragment(memoryview(bytearray(packet)), limit)
    assert max(map(len, fragments)) <= limit
    assert reassemble(fragments) == (packet[4:6] + packet[8:10] + packet[12:20], packet[20:])
    assert all(ip.is_fragment(fragment) for fragment in fragments) or len(fragments) == 1


@given(payload=st.binary(min_size=900, max_size=2000))
def test_fragments_of_fragments_are_the_packet_too(payload: bytes) -> None:
    packet = Flow(protocol=UDP, fragment_field=0).packet(payload)
    fragments = [small for large in ip.fragment(packet, 800) for small in ip.fragment(large, 500)]
    assert max(map(len, fragments)) <= 500
    assert reassemble(fragments)[1] == packet[20:]


def test_later_fragments_have_the_options_that_are_to_be_copied() -> None:
    flow = Flow(protocol=UDP, fragment_field=0, ip_options=NOP + NOT_COPIED + COPIED + NOP * 3)
    first, *later = ip.fragment(flow.packet(bytes(1000)), 500)
    assert first[20:32] == flow.ip_options
    assert [(fragment[0] & 15) * 4 for fragment in later] == [24] * len(later)
    assert {fragment[20:24] for fragment in later} == {COPIED}
    reassemble([first, *later])


@pytest.mark.parametrize("broken", [b"\x83\0ab", b"\x83\x09ab", b"\x83\1ab", b"\1\1\1\x83", b"\0\x83\3a"])
def test_broken_options_are_not_copied(broken: bytes) -> None:
    flow = Flow(protocol=UDP, fragment_field=0, ip_options=broken)
    first, *later = ip.fragment(flow.packet(bytes(1000)), 500)
    assert later[0][0] == 0x45
    reassemble([first, *later])


@pytest.mark.parametrize(
    ("version", "field", "expected"), [(4, 0, True), (4, 0x4000, False), (4, 0x2000, True), (6, 0, False)]
)
def test_only_ipv4_that_allows_it_is_fragmented(version: int, field: int, expected: bool) -> None:
    assert ip.may_be_fragmented(Flow(version, fragment_field=field).packet(b"")) is expected


@pytest.mark.parametrize(
    ("field", "is_part", "is_later"),
    [(0, False, False), (0x4000, False, False), (0x2000, True, False), (3, True, True)],
)
def test_a_part_of_an_ipv4_packet_is_told_from_a_whole_one(field: int, is_part: bool, is_later: bool) -> None:
    packet = Flow(fragment_field=field).packet(b"")
    assert (ip.is_fragment(packet), ip.is_later_fragment(packet)) == (is_part, is_later)


def test_a_part_of_an_ipv6_packet_is_told_from_a_whole_one() -> None:
    packet = bytearray(Flow(6, extensions=(44,)).packet(b""))
    assert ip.is_fragment(packet)
    packet[42:44] = b"\0\1"
    assert not ip.is_later_fragment(packet)
    packet[42:44] = b"\0\x09"
    assert ip.is_later_fragment(packet)
    assert not ip.is_fragment(Flow(6).packet(b""))

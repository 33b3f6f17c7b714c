"""SYNs are found among other packets, and what they say is made smaller, never larger."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.superpackets import ACK, UDP, Flow
from tunnel.wire.tcp import MAX_SYN, MIN_SYN, clamp_mss, has_syn, is_syn

SYN = 2
BOTH = pytest.mark.parametrize("version", [4, 6])


def options(mss: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """With that segment size among others, filled up to whole words."""
    whole = before + struct.pack(">BBH", 2, 4, mss) + after
    return whole.ljust(-(-len(whole) // 4) * 4, b"\0")


def syn(version: int, mss: int = 1460, flags: int = SYN, before: bytes = b"") -> Flow:
    return Flow(version, flags=flags, options=options(mss, before))


def mss_of(packet: bytes, flow: Flow) -> int:
    place = flow.transport + 20 + flow.options.index(b"\2\4") + 2
    return int.from_bytes(packet[place : place + 2], "big")


@BOTH
@pytest.mark.parametrize("flags", [SYN, SYN | ACK])
def test_a_syn_and_its_answer_are_syns(version: int, flags: int) -> None:
    packet = bytearray(syn(version, flags=flags).packet(b""))
    assert MIN_SYN <= len(packet) <= MAX_SYN
    assert is_syn(memoryview(packet))
    assert has_syn(memoryview(packet), 0, len(packet), 1)


@BOTH
@pytest.mark.parametrize(
    "flow",
    [Flow(flags=ACK), Flow(flags=ACK | 1), Flow(protocol=UDP), Flow(flags=SYN, fragment_field=1)],
    ids=["ack", "fin", "udp", "fragment"],
)
def test_other_packets_are_none(version: int, flow: Flow) -> None:
    packet = memoryview(bytearray(replace(flow, version=version).packet(b"\xff" * 40)))
    if version == 4 or flow.fragment_field != 1:
        assert not is_syn(packet)


@pytest.mark.parametrize("count", [1, 2, 40])
@pytest.mark.parametrize("place", [0, 1, 39])
@BOTH
def test_one_syn_in_a_train_is_found_wherever_it_is(version: int, place: int, count: int) -> None:
    one = syn(version).packet(b"")
    others = [Flow(version, flags=ACK).packet(bytes(len(one) - Flow(version).header))] * (count - 1)
    packets = [*others[:place], one, *others[place:]]
    buffer = memoryview(bytearray(b"".join(packet + bytes(48) for packet in packets)))
    assert has_syn(buffer, 0, len(one) + 48, len(packets))


@BOTH
@pytest.mark.parametrize("protocol", [6, UDP])
def test_a_train_without_one_has_none(version: int, protocol: int) -> None:
    flow = Flow(version, protocol, flags=ACK)
    row = flow.packet(b"\xff" * 64) + bytes(32)
    assert not has_syn(memoryview(bytearray(row * 64)), 0, len(row), 64)


@BOTH
@pytest.mark.parametrize("is_partial", [False, True])
@pytest.mark.parametrize("before", [b"", b"\1", b"\1\1", b"\1\1\1", b"\4\2", b"\3\3\7"])
def test_a_segment_size_that_does_not_fit_is_lowered_and_the_checksum_stays_right(
    version: int, is_partial: bool, before: bytes
) -> None:
    flow = syn(version, before=before)
    packet = bytearray(flow.packet(b"", is_partial=is_partial))
    assert clamp_mss(memoryview(packet), 1280, is_partial=is_partial)
    expected = 1280 - (40 if version == 4 else 60)
    assert bytes(packet) == syn(version, expected, before=before).packet(b"", is_partial=is_partial)


@BOTH
def test_a_segment_size_that_fits_is_left(version: int) -> None:
    flow = syn(version, 1220)
    packet = bytearray(flow.packet(b""))
    assert not clamp_mss(memoryview(packet), 1280, is_partial=False)
    assert packet == flow.packet(b"")


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\0\0\2\4\xff\xff",
        b"\2\3\xff\xff",
        b"\2\5\xff\xff",
        b"\4\0\2\4\xff\xff",
        b"\4\1\2\4",
        b"\1\1\1\2",
        b"\1\1\2\4",
    ],
)
def test_broken_options_are_left(broken: bytes) -> None:
    flow = Flow(flags=SYN, options=broken.ljust(-(-len(broken) // 4) * 4, b"\0"))
    packet = bytearray(flow.packet(b""))
    assert not clamp_mss(memoryview(packet), 600, is_partial=False)
    assert packet == flow.packet(b"")


def test_a_header_that_is_said_to_be_longer_than_the_packet_is_left() -> None:
    packet = bytearray(syn(4).packet(b""))
    packet[32] = 0xF0
    assert not clamp_mss(memoryview(packet), 600, is_partial=False)


@given(
    mss=st.integers(0, 65535),
    longest=st.integers(516, 9000),
    version=st.sampled_from([4, 6]),
    before=st.sampled_from([b"", b"\1", b"\4\2", b"\3\3\7"]),
    ports=st.tuples(st.integers(0, 65535), st.integers(0, 65535)),
)
def test_whatever_it_says_is_clamped_as_if_it_had_been_made_so(
    mss: int, longest: int, version: int, before: bytes, ports: tuple[int, int]
) -> None:
    flow = replace(syn(version, mss, before=before), ports=ports)
    packet = bytearray(flow.packet(b""))
    clamp_mss(memoryview(packet), longest, is_partial=False)
    most = min(mss, longest - flow.transport - 20)
    expected = replace(flow, options=options(most, before)).packet(b"")
    assert packet == expected


@given(content=st.binary(min_size=MIN_SYN, max_size=120), longest=st.integers(516, 1500))
def test_garbage_is_read_without_an_error_and_keeps_its_length(content: bytes, longest: int) -> None:
    for version in (b"\x45", b"\x60"):
        packet = bytearray(version + content[1:])
        packet[9 if version == b"\x45" else 6] = 6
        if is_syn(memoryview(packet)):
            assert has_syn(memoryview(packet), 0, len(packet), 1)
            clamp_mss(memoryview(packet), longest, is_partial=False)
        assert len(packet) == len(content)

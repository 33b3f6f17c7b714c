import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.superpackets import TCP, UDP, Flow
from tunnel.wire.checksum import checksum_of, checksum_place, complete_checksum, ones_complement_sum


def test_the_example_of_the_rfc_adds_up() -> None:
    assert ones_complement_sum(bytes.fromhex("0001 f203 f4f5 f6f7")) == 0xDDF2
    assert checksum_of(0xDDF2) == 0x220D


def test_an_odd_last_byte_is_the_high_half_of_a_word() -> None:
    assert ones_complement_sum(b"\x12\x34\x56") == 0x1234 + 0x5600


@pytest.mark.parametrize("data", [b"", b"\0", bytes(1500), b"\xff\xff", b"\xff" * 64])
def test_both_zeros_of_ones_complement_are_zero(data: bytes) -> None:
    assert ones_complement_sum(data) == 0


def test_the_carry_goes_around() -> None:
    assert ones_complement_sum(b"\xff\xff\x00\x01") == 1
    assert ones_complement_sum(b"\x80\x00\x80\x01") == 2


@pytest.mark.parametrize("total", [0, 1, 0x1234, 0xFFFE, 0xFFFF, 0x12345])
def test_the_checksum_makes_the_sum_zero_and_is_never_zero_itself(total: int) -> None:
    assert (total + checksum_of(total)) % 0xFFFF == 0
    assert 1 <= checksum_of(total) <= 0xFFFF


@pytest.mark.parametrize("flow", [Flow(version, protocol) for version in (4, 6) for protocol in (TCP, UDP)])
@pytest.mark.parametrize("payload", [b"", b"x", bytes(range(256))])
def test_a_checksum_is_completed_where_it_belongs(flow: Flow, payload: bytes) -> None:
    packet = bytearray(flow.packet(payload, is_partial=True))
    assert checksum_place(packet) == (flow.transport, 16 if flow.protocol == TCP else 6)
    complete_checksum(packet)
    assert packet == flow.packet(payload)


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        Flow(ip_options=b"\1\1\1\0").packet(b"x"),
        Flow(version=6, extensions=(0,)).packet(b"x"),
        Flow(protocol=1).packet(b"x"),
        Flow().packet(b"")[:37],
        Flow(version=6).packet(b"")[:57],
        Flow(protocol=UDP).packet(b"")[:27],
    ],
)
def test_what_is_not_plainly_tcp_or_udp_has_no_place(packet: bytes) -> None:
    assert checksum_place(packet) is None


@given(st.binary(max_size=80), st.sampled_from([b"", b"\x45", b"\x60"]))
def test_a_place_is_always_within_the_packet(content: bytes, start: bytes) -> None:
    packet = start + content
    place = checksum_place(packet)
    assert place is None or sum(place) + 2 <= len(packet)

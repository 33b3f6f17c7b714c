from dataclasses import replace

import pytest

from tests.properties.superpackets import ACK, CWR, TIMESTAMPS, UDP, Flow, Superpacket
from tunnel.offload.segment import Segmenter
from tunnel.offload.superpacket import make_superpacket

FLOW = Flow(options=TIMESTAMPS)
SYN, RST, URG = 2, 4, 32


def framed(packet: bytes) -> memoryview:
    return memoryview(bytearray(b"\xaa" * 10 + packet))


def options(*kinds_and_lengths: int) -> bytes:
    return bytes(kinds_and_lengths).ljust(20, b"\1")


@pytest.mark.parametrize("flow", [FLOW, Flow(version=6), Flow(options=options(3, 3, 7, 5, 10)), Flow(options=bytes(4))])
@pytest.mark.parametrize("is_partial", [False, True])
def test_a_packet_becomes_the_superpacket_that_a_kernel_would_give(flow: Flow, is_partial: bool) -> None:
    frame = framed(flow.packet(bytes(range(200)), is_partial=is_partial))
    assert make_superpacket(frame, flow.header + 150, is_partial=is_partial)
    assert bytes(frame) == Superpacket(flow, bytes(range(200)), 150).frame()


def test_only_the_first_packet_has_cwr() -> None:
    flow = replace(FLOW, flags=ACK | CWR)
    frame = framed(flow.packet(bytes(200)))
    assert make_superpacket(frame, flow.header + 150, is_partial=False)
    assert bytes(frame) == Superpacket(flow, bytes(200), 150).frame()


@pytest.mark.parametrize(
    "packet",
    [
        replace(FLOW, flags=SYN).packet(bytes(200)),
        replace(FLOW, flags=ACK | RST).packet(bytes(200)),
        replace(FLOW, flags=ACK | URG).packet(bytes(200)),
        Flow(protocol=UDP).packet(bytes(200)),
        Flow(fragment_field=0x2000).packet(bytes(200)),
        Flow(fragment_field=0x0010).packet(bytes(200)),
        FLOW.packet(b""),
        FLOW.packet(bytes(200)) + b"padding",
        FLOW.packet(bytes(200))[:-1],
        Flow(options=options(19, 18)).packet(bytes(200)),
        Flow(options=options(1, 1, 29, 16)).packet(bytes(200)),
        Flow(options=options(8, 0)).packet(bytes(200)),
        Flow(options=bytes([1, 1, 1, 5])).packet(bytes(200)),
        b"",
        b"\x45",
        bytes(200),
    ],
    ids=[
        "SYN", "RST", "URG", "UDP", "first fragment", "last fragment", "no payload", "too long", "cut off",
        "MD5", "TCP-AO", "option of length 0", "option cut off", "empty", "a byte", "zeros",
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_left_as_it_is(packet: bytes) -> None:
    frame = framed(packet)
    assert not make_superpacket(frame, 120, is_partial=False)
    assert bytes(frame) == b"\xaa" * 10 + packet


def test_where_not_even_the_headers_fit_nothing_is_cut() -> None:
    frame = framed(FLOW.packet(bytes(200)))
    assert not make_superpacket(frame, FLOW.header, is_partial=False)
    assert make_superpacket(frame, FLOW.header + 1, is_partial=False)


def test_padding_makes_no_packet_longer_than_the_path_takes() -> None:
    arena = memoryview(bytearray(1 << 16))
    frame = memoryview(bytearray(Superpacket(FLOW, bytes(3000), 1000).frame()))
    (outbound,) = Segmenter().segment(frame, arena, 1420, 1053)  # type: ignore[misc]
    assert (outbound.packet_length, outbound.train.size) == (1052, 32 + 1053)

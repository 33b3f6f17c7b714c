import struct

import pytest

from tests.properties.superpackets import UDP, Flow, Superpacket
from tunnel.offload.segment import complete_checksum


def frame(packet: bytes, *, flags: int = 1, start: int = 20, offset: int = 16, gso_type: int = 0) -> bytearray:
    return bytearray(struct.pack("<BBHHHH", flags, gso_type, 0, 0, start, offset) + packet)


@pytest.mark.parametrize("payload", [b"", b"odd", b"even", bytes(1380), b"\xff" * 1379])
@pytest.mark.parametrize("flow", [Flow(), Flow(version=6), Flow(protocol=UDP), Flow(version=6, protocol=UDP)])
def test_the_checksum_is_filled_in_place(flow: Flow, payload: bytes) -> None:
    offset = 6 if flow.protocol == UDP else 16
    partial = frame(flow.packet(payload, is_partial=True), start=flow.transport, offset=offset)
    assert complete_checksum(memoryview(partial))
    assert partial[10:] == flow.packet(payload)


def test_a_packet_whose_checksum_is_complete_is_left_alone() -> None:
    complete = frame(Flow().packet(b"payload"), flags=0, start=0, offset=0)
    before = bytes(complete)
    assert complete_checksum(memoryview(complete))
    assert complete == before


@pytest.mark.parametrize(
    ("start", "offset"),
    [(0, 10), (19, 16), (20, 26), (20, 65535), (65535, 0), (65535, 65535), (46, 0)],
)
def test_a_place_within_the_ip_header_or_outside_the_packet_is_refused(start: int, offset: int) -> None:
    bad = frame(Flow().packet(b"payload", is_partial=True), start=start, offset=offset)
    before = bytes(bad)
    assert not complete_checksum(memoryview(bad))
    assert bad == before


def test_an_ipv6_header_is_not_a_place_for_a_checksum() -> None:
    assert not complete_checksum(memoryview(frame(Flow(version=6).packet(b"payload"), start=39)))


def test_a_superpacket_is_not_for_this() -> None:
    superpacket = bytearray(Superpacket(Flow(), bytes(30), 10).frame())
    before = bytes(superpacket)
    assert not complete_checksum(memoryview(superpacket))
    assert superpacket == before


@pytest.mark.parametrize("size", [0, 9, 10])
def test_a_frame_without_a_packet_is_refused(size: int) -> None:
    assert not complete_checksum(memoryview(frame(b"")[:size]))

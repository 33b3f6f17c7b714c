import pytest

from tunnel.wire.virtio import (
    PLAIN,
    GsoType,
    VirtioFlag,
    VirtioHeader,
    pack_virtio_header,
    parse_virtio_header,
)

TCP_SUPERPACKET = VirtioHeader(VirtioFlag.NEEDS_CSUM, GsoType.TCPV4, 52, 1368, 20, 16)


def test_a_header_is_ten_little_endian_bytes() -> None:
    assert pack_virtio_header(TCP_SUPERPACKET) == bytes.fromhex("01 01 3400 5805 1400 1000")


def test_what_was_packed_is_parsed_from_the_front_of_a_frame() -> None:
    frame = memoryview(pack_virtio_header(TCP_SUPERPACKET) + b"\x45 the packet")
    assert parse_virtio_header(frame) == TCP_SUPERPACKET


@pytest.mark.parametrize("size", [0, 1, 9])
def test_a_frame_shorter_than_the_header_is_none(size: int) -> None:
    assert parse_virtio_header(bytes(size)) is None


def test_a_complete_packet_asks_for_nothing() -> None:
    assert parse_virtio_header(PLAIN) == VirtioHeader(0, GsoType.NONE, 0, 0, 0, 0)

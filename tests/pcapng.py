"""Reading back what `tunnel.wire.pcapng` has written: little endian, times in nanoseconds, and no more than that."""

import struct
from collections.abc import Iterator

from tunnel.wire.pcapng import NANOSECONDS, Block, Direction, Interface, Packet, Secrets, Section

SECTION, INTERFACE, PACKET, SECRETS = 0x0A0D0D0A, 1, 6, 10
COMMENT, APPLICATION = 1, 4
NAME, DESCRIPTION, RESOLUTION = 2, 3, 9
FLAGS = 2


def parse_blocks(data: bytes) -> Iterator[Block]:
    """The blocks of a file; fails where there is none of ours, or half of one."""
    while data:
        kind, length = struct.unpack_from("<II", data)
        assert length % 4 == 0
        assert data[length - 4 : length] == data[4:8], "both ends say how long it is"
        yield _parse_body(kind, data[8 : length - 4])
        data = data[length:]


def _parse_body(kind: int, body: bytes) -> Block:
    if kind == SECTION:
        assert body[:16] == bytes.fromhex("4d3c2b1a 0100 0000 ffffffffffffffff")
        options = _parse_options(body[16:])
        return Section(options.get(APPLICATION, b"").decode(), options.get(COMMENT, b"").decode())
    if kind == INTERFACE:
        link_type, _, _ = struct.unpack_from("<HHI", body)
        options = _parse_options(body[8:])
        assert options[RESOLUTION] == bytes([NANOSECONDS])
        return Interface(link_type, options.get(NAME, b"").decode(), options.get(DESCRIPTION, b"").decode())
    if kind == PACKET:
        interface, high, low, size, original = struct.unpack_from("<IIIII", body)
        assert size == original
        options = _parse_options(body[20 + _padded(size) :])
        direction = Direction(int.from_bytes(options.get(FLAGS, b""), "little"))
        return Packet(interface, high << 32 | low, body[20 : 20 + size], direction, options.get(COMMENT, b"").decode())
    assert kind == SECRETS
    secrets, size = struct.unpack_from("<II", body)
    assert len(body) == 8 + _padded(size)
    return Secrets(body[8 : 8 + size], secrets)


def _parse_options(rest: bytes) -> dict[int, bytes]:
    """Code → value. Where there are any, the last one says so."""
    options = {}
    while rest:
        code, size = struct.unpack_from("<HH", rest)
        if code == 0:
            assert rest == bytes(4)
            break
        options[code] = rest[4 : 4 + size]
        rest = rest[4 + _padded(size) :]
        assert rest, "the end of the options is missing"
    return options


def _padded(size: int) -> int:
    return size + -size % 4

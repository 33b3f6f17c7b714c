import pytest

from tunnel.wire.control import (
    Capability,
    Hello,
    is_control,
    pack_close,
    pack_hello,
    pack_probe,
    pack_probe_ack,
    parse_hello,
    parse_probe,
    parse_probe_ack,
)

HELLO = Hello(Capability.TCP_SLICES | Capability.AES_256_GCM, 1420)


def test_a_hello_reads_back_as_it_was_packed() -> None:
    assert parse_hello(pack_hello(HELLO)) == HELLO


def test_a_hello_is_laid_out_as_documented() -> None:
    assert pack_hello(HELLO) == bytes.fromhex("01 01 0900 8c05")


def test_what_follows_a_hello_is_ignored() -> None:
    assert parse_hello(pack_hello(HELLO) + b"padding") == HELLO


def test_a_later_version_is_understood_as_ours() -> None:
    assert parse_hello(bytes.fromhex("01 07 0900 8c05 1234")) == HELLO


def test_capabilities_that_we_do_not_know_are_ignored() -> None:
    assert parse_hello(bytes.fromhex("01 01 09ff 8c05")) == HELLO


def test_an_interface_with_a_huge_mtu_says_the_most_that_fits() -> None:
    assert parse_hello(pack_hello(HELLO._replace(mtu=100_000))) == HELLO._replace(mtu=65535)


@pytest.mark.parametrize(
    "frame", [b"", b"\1", pack_hello(HELLO)[:-1], b"\2" + pack_hello(HELLO)[1:], b"\1\0" + pack_hello(HELLO)[2:]]
)
def test_what_is_no_hello_is_none(frame: bytes) -> None:
    assert parse_hello(frame) is None


@pytest.mark.parametrize("frame", [pack_hello(HELLO), pack_close(), b"\x0f", b"\0"])
def test_a_control_frame_is_told_by_its_first_nibble(frame: bytes) -> None:
    assert is_control(frame)


@pytest.mark.parametrize("packet", [b"\x45", b"\x60", b"\x10", b"\xff"])
def test_a_packet_is_no_control_frame(packet: bytes) -> None:
    assert not is_control(packet)


def test_a_probe_and_its_ack_are_laid_out_as_documented() -> None:
    assert pack_probe(0x1234, 7) == bytes.fromhex("03 00 3412 000000")
    assert pack_probe_ack(0x1234) == bytes.fromhex("04 00 3412")


def test_a_probe_has_exactly_the_length_that_is_asked_for() -> None:
    assert [len(pack_probe(1, length)) for length in (4, 5, 1452)] == [4, 5, 1452]


def test_a_probe_and_its_ack_read_back_as_they_were_packed() -> None:
    assert parse_probe(pack_probe(0xFFFF, 100)) == 0xFFFF
    assert parse_probe_ack(pack_probe_ack(0xFFFF) + b"padding") == 0xFFFF


@pytest.mark.parametrize("frame", [b"", b"\3", pack_probe(1, 4)[:-1], pack_probe_ack(1)[:-1], pack_hello(HELLO)])
def test_what_is_no_probe_is_none(frame: bytes) -> None:
    assert parse_probe(frame) is None
    assert parse_probe_ack(frame) is None


def test_a_probe_is_no_ack_and_an_ack_no_probe() -> None:
    assert parse_probe(pack_probe_ack(1)) is None
    assert parse_probe_ack(pack_probe(1, 4)) is None

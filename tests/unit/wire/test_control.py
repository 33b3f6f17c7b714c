import pytest

from tunnel.wire.control import Capability, Hello, is_control, pack_close, pack_hello, parse_hello

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

import pytest

from tunnel.wire.checksum import checksum_of, ones_complement_sum


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

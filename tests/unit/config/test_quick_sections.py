"""The outer form of wg-quick files."""

import pytest

from tunnel.config.quick_sections import MAX_FILE_SIZE, decode_quick, read_sections
from tunnel.errors import ConfigError


def test_settings_carry_their_line_numbers() -> None:
    (section,) = read_sections("\n[Interface]\n# nothing\nMTU = 1400 # bytes\nPostUp = a\nPostUp = b", "")
    assert section.line == 2
    assert section.settings == {"MTU": [("1400", 4)], "PostUp": [("a", 5), ("b", 6)]}


def test_a_commented_section_is_no_section() -> None:
    assert [section.name for section in read_sections("[Interface]\n#[Peer]\n[Peer] # one", "")] == [
        "Interface",
        "Peer",
    ]


def test_a_byte_order_mark_is_dropped() -> None:
    assert decode_quick(b"\xef\xbb\xbf[Interface]", "wg0.conf") == "[Interface]"


def test_a_byte_that_is_not_utf8_is_refused_with_its_line() -> None:
    with pytest.raises(ConfigError) as refusal:
        decode_quick(b"[Interface]\n# caf\xe9\n", "wg0.conf")
    assert str(refusal.value) == "wg0.conf:2: byte 0xe9 is not UTF-8"


def test_more_bytes_than_a_configuration_can_have_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^wg0.conf: longer than 16 MiB"):
        decode_quick(bytes(MAX_FILE_SIZE + 1), "wg0.conf")


def test_a_header_that_may_be_a_damaged_line_with_a_key_is_not_quoted() -> None:
    with pytest.raises(ConfigError) as refusal:
        read_sections("[PrivateKey = c2VjcmV0\n", "wg0.conf")
    assert str(refusal.value) == "wg0.conf:1: neither [Interface] nor [Peer]"

import struct

from hypothesis import given
from hypothesis import strategies as st

from tests.pcapng import parse_blocks
from tunnel.wire.pcapng import (
    Block,
    Direction,
    Interface,
    LinkType,
    Packet,
    Secrets,
    Section,
    cooked_header,
    pack_block,
)

texts = st.text(max_size=40)
blocks = st.one_of(
    st.builds(Section, texts, texts),
    st.builds(Interface, st.sampled_from(LinkType).map(int), texts, texts),
    st.builds(
        Packet,
        st.integers(0, 9),
        st.integers(0, (1 << 64) - 1),
        st.binary(max_size=80),
        st.sampled_from(Direction),
        texts,
    ),
    st.builds(Secrets, st.binary(max_size=80)),
)


@given(st.lists(blocks, max_size=5))
def test_what_was_packed_is_parsed(written: list[Block]) -> None:
    assert list(parse_blocks(b"".join(map(pack_block, written)))) == written


@given(blocks)
def test_a_block_is_whole_words_and_says_its_length_at_both_ends(block: Block) -> None:
    packed = pack_block(block)
    assert len(packed) % 4 == 0
    assert struct.unpack_from("<I", packed, 4) == struct.unpack("<I", packed[-4:]) == (len(packed),)


def test_a_file_begins_as_the_draft_says() -> None:
    assert pack_block(Section()) == bytes.fromhex("0a0d0d0a 1c000000 4d3c2b1a 0100 0000 ffffffffffffffff 1c000000")


def test_secrets_are_a_wireguard_key_log() -> None:
    assert pack_block(Secrets(b"A=b\n")) == bytes.fromhex("0a000000 18000000 4c4b4757 04000000 413d620a 18000000")


def test_secrets_do_not_show_themselves() -> None:
    assert "PRIVATE" not in repr(Secrets(b"LOCAL_STATIC_PRIVATE_KEY=abc"))


def test_a_text_that_is_too_long_is_cut_between_characters() -> None:
    (section,) = parse_blocks(pack_block(Section(comment="é" * 40000)))
    assert section == Section(comment="é" * 32767)


def test_a_cooked_header_has_the_interface_and_the_address() -> None:
    header = cooked_header(0x0800, 3, 1, 4, bytes.fromhex("020000000001"))
    assert header == bytes.fromhex("0800 0000 00000003 0001 04 06 0200000000010000")

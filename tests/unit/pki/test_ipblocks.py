from ipaddress import IPv6Address, ip_network, summarize_address_range
from itertools import chain

import pytest

from tests.unit.pki.authorities import addresses, networks
from tunnel.pki.ipblocks import MAX_NETWORKS, decode_ip_blocks, encode_host_blocks, encode_ip_blocks, is_covered
from tunnel.pki.problem import CertificateError, Problem

# RFC 3779, appendix B, first example: its unicast IPv4 family, whose fourth block is a range.
RFC_BLOCKS = bytes.fromhex(
    "302d302b04030001013024030404 0a0020030400 0a0040030300 0a01300c030404 0a0230030400 0a0240030300 0a03"
)
RFC_NETWORKS = networks("10.0.32.0/20", "10.0.64.0/24", "10.1.0.0/16", "10.2.48.0/20", "10.2.64.0/24", "10.3.0.0/16")


def tlv(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes([tag, len(content)]) + content


def sequence(*parts: bytes) -> bytes:
    return tlv(0x30, *parts)


def prefix(octets: str, padding: int = 0) -> bytes:
    """A BIT STRING."""
    return tlv(0x03, bytes([padding]), bytes.fromhex(octets))


def family(*blocks: bytes, afi: str = "0001") -> bytes:
    return sequence(tlv(0x04, bytes.fromhex(afi)), sequence(*blocks))


NULL = tlv(0x05)
INHERIT = sequence(tlv(0x04, b"\0\1"), NULL)


def refusal(der: bytes) -> str:
    with pytest.raises(CertificateError) as caught:
        decode_ip_blocks(der)
    assert caught.value.problem is Problem.MALFORMED
    return str(caught.value)


def test_blocks_are_encoded_as_in_the_rfc() -> None:
    assert encode_ip_blocks((), forwarded=RFC_NETWORKS) == RFC_BLOCKS


def test_blocks_of_the_rfc_are_decoded() -> None:
    assert decode_ip_blocks(RFC_BLOCKS) == RFC_NETWORKS


@pytest.mark.parametrize(
    ("given", "der"),
    [
        (["10.9.0.2/32"], "300f300d0402000130070305000a090002"),
        (["0.0.0.0/0", "::/0"], "3016300904020001300303010030090402000230 03030100"),
        (["10.0.0.0/25", "10.0.0.128/25"], "300e300c04020001300603 04000a0000"),
        (["fd00::/8"], "300c300a0402000230040302 00fd"),
    ],
    ids=["address", "everything", "two halves", "IPv6"],
)
def test_networks_have_one_encoding(given: list[str], der: str) -> None:
    assert encode_ip_blocks(networks(*given)).hex() == der.replace(" ", "")


@pytest.mark.parametrize(
    "der",
    [
        b"",
        NULL,
        sequence(),
        sequence(family(prefix("0a")))[:-1],
        sequence(family(prefix("0a"))) + b"\0",
        sequence(family(prefix("0a")), NULL),
        sequence(INHERIT),
        sequence(family(prefix("0a"), afi="0003")),
        sequence(family(prefix("0a"), afi="000102")),
        sequence(family(prefix("0a09000200"))),
        sequence(family(prefix("0a01", padding=1))),
        sequence(family(sequence(prefix("0b"), prefix("0a")))),
    ],
    ids=[
        "nothing",
        "null",
        "no family",
        "truncated",
        "trailing byte",
        "something else behind",
        "inherited",
        "neither IPv4 nor IPv6",
        "multicast",
        "longer than an address",
        "stray bits",
        "range that ends before it begins",
    ],
)
def test_broken_blocks_are_refused(der: bytes) -> None:
    assert "broken" in refusal(der)


@pytest.mark.parametrize(
    "der",
    [
        sequence(family()),
        sequence(family(prefix("0a")), family(afi="0002")),
        sequence(family(prefix("0c"), prefix("0a"))),
        sequence(family(prefix("0a"), prefix("0b"))),
        sequence(family(prefix("0a"), prefix("0a"))),
        sequence(family(prefix("0a"), prefix("0a09"))),
        sequence(family(sequence(prefix("0a"), prefix("0a")))),
        sequence(family(sequence(prefix("0a00"), prefix("0c")))),
        sequence(family(prefix("fd"), afi="0002"), family(prefix("0a"))),
        sequence(family(prefix("0a")), family(prefix("0c"))),
    ],
    ids=[
        "empty",
        "empty family",
        "unsorted",
        "touching",
        "repeated",
        "one in the other",
        "prefix as a range",
        "zeros at the end of a range's beginning",
        "families unsorted",
        "family twice",
    ],
)
def test_blocks_that_are_not_canonical_are_refused(der: bytes) -> None:
    assert "canonical" in refusal(der)


def test_a_few_ranges_that_would_be_too_many_networks_are_refused() -> None:
    ranges = [
        list(summarize_address_range(IPv6Address(f"fd0{digit}::1"), IPv6Address(f"fd0{digit}:ffff::")))
        for digit in range(3)
    ]
    few, many = encode_ip_blocks(ranges[0]), encode_ip_blocks(chain(*ranges))
    assert 100 < len(decode_ip_blocks(few)) < MAX_NETWORKS
    assert len(many) < 150
    assert "broken" in refusal(many)


def test_an_address_beside_a_route_is_still_told_from_it() -> None:
    der = encode_host_blocks(addresses("10.9.0.255"), networks("10.9.1.0/24"))
    assert decode_ip_blocks(der) == networks("10.9.0.255/32", "10.9.1.0/24")


@pytest.mark.parametrize("route", ["10.9.0.0/24", "0.0.0.0/0", "10.9.0.0/31"])
def test_an_address_within_a_route_is_still_told_from_it(route: str) -> None:
    der = encode_host_blocks(addresses("10.9.0.1"), networks(route))
    assert set(decode_ip_blocks(der)) == set(networks(route, "10.9.0.1/32"))


def test_two_addresses_that_make_one_block_are_refused() -> None:
    with pytest.raises(ValueError, match=r"10\.9\.0\.2, 10\.9\.0\.3 make one block"):
        encode_host_blocks(addresses("10.9.0.2", "10.9.0.3"), ())


def test_two_neighbours_that_make_no_block_are_two_addresses() -> None:
    der = encode_host_blocks(addresses("10.9.0.1", "10.9.0.2"), ())
    assert decode_ip_blocks(der) == networks("10.9.0.1/32", "10.9.0.2/32")


@pytest.mark.parametrize(
    ("network", "by", "expected"),
    [
        ("10.9.0.0/24", ["10.0.0.0/8"], True),
        ("10.9.0.0/24", ["10.9.0.0/24"], True),
        ("10.9.0.0/24", ["10.9.0.0/25", "10.9.0.128/25"], True),
        ("10.9.0.0/24", ["10.9.0.0/25"], False),
        ("10.9.0.0/24", ["10.9.0.0/25", "10.9.0.192/26"], False),
        ("10.9.0.0/24", ["::/0"], False),
        ("10.9.0.0/24", [], False),
        ("::a09:0/120", ["10.9.0.0/24"], False),
    ],
)
def test_a_network_is_covered_by_all_the_others_together(network: str, by: list[str], expected: bool) -> None:
    assert is_covered(ip_network(network), networks(*by)) is expected

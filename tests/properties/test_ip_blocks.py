"""IP address blocks against sets of addresses, and decode(encode(x)) == x."""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tunnel.config.patch import IPNetwork
from tunnel.pki.ipblocks import (
    decode_ip_blocks,
    encode_host_blocks,
    encode_ip_blocks,
    find_uncovered,
    is_covered,
    is_single,
)


def near(version: type[IPv4Network] | type[IPv6Network], base: int, bits: int) -> st.SearchStrategy[IPNetwork]:
    """Networks among the 64 addresses from `base` on, so that they touch and overlap."""
    offsets, lengths = st.integers(0, 63), st.integers(bits - 6, bits)
    return st.builds(lambda offset, length: version((base + offset, length), strict=False), offsets, lengths)


anywhere = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
) | st.builds(
    lambda address, length: IPv6Network((address, length), strict=False),
    st.integers(0, 2**128 - 1),
    st.integers(0, 128),
)
ipv4 = near(IPv4Network, 0, 32) | near(IPv4Network, 0x0A090000, 32) | near(IPv4Network, 2**32 - 64, 32)
ipv6 = near(IPv6Network, 0, 128) | near(IPv6Network, 0xFD09 << 112, 128) | near(IPv6Network, 2**128 - 64, 128)
networks = st.lists(ipv4 | ipv6 | anywhere, min_size=1, max_size=20)


def collapsed(given_networks: Iterable[IPNetwork]) -> tuple[IPNetwork, ...]:
    """The reference: as the standard library merges them."""
    found = list(given_networks)
    return (
        *collapse_addresses(network for network in found if isinstance(network, IPv4Network)),
        *collapse_addresses(network for network in found if isinstance(network, IPv6Network)),
    )


@given(networks)
def test_blocks_are_the_same_addresses_after_encoding_and_decoding(some: list[IPNetwork]) -> None:
    assert decode_ip_blocks(encode_ip_blocks(some)) == collapsed(some)


@given(networks)
def test_there_is_one_encoding_for_a_set_of_addresses(some: list[IPNetwork]) -> None:
    assert encode_ip_blocks(some) == encode_ip_blocks(collapsed(some)) == encode_ip_blocks([*some, *reversed(some)])


@given(networks, networks)
def test_what_is_forwarded_is_merged_by_itself(own: list[IPNetwork], forwarded: list[IPNetwork]) -> None:
    assert set(decode_ip_blocks(encode_ip_blocks(own, forwarded))) == {*collapsed(own), *collapsed(forwarded)}


@given(networks, networks)
def test_a_peers_own_addresses_are_told_from_its_routes(some: list[IPNetwork], others: list[IPNetwork]) -> None:
    own = {ip_network(network.network_address) for network in some}
    assume(all(map(is_single, collapsed(own))))
    routes = [network for network in others if not is_single(network)]
    blocks = decode_ip_blocks(encode_host_blocks((network.network_address for network in own), routes))
    assert set(filter(is_single, blocks)) == own
    assert collapsed(blocks) == collapsed([*own, *routes])


@given(anywhere)
def test_own_addresses_that_make_one_block_are_refused(network: IPNetwork) -> None:
    address = network.network_address
    with pytest.raises(ValueError, match="one block"):
        encode_host_blocks([address, ip_address(address.packed[:-1] + bytes([address.packed[-1] ^ 1]))], ())


@given(ipv4, st.lists(ipv4, max_size=10))
def test_a_network_is_covered_if_each_of_its_addresses_is(network: IPNetwork, others: list[IPNetwork]) -> None:
    held = {address for other in others for address in other}
    assert is_covered(network, others) == all(address in held for address in network)


@given(st.lists(ipv4 | ipv6 | anywhere, max_size=8), st.lists(ipv4 | ipv6 | anywhere, max_size=8))
def test_of_several_the_first_that_is_not_covered_is_found(some: list[IPNetwork], others: list[IPNetwork]) -> None:
    assert find_uncovered(some, others) == next((one for one in some if not is_covered(one, others)), None)


@pytest.mark.parametrize("version", [4, 6])
@given(data=st.data())
def test_networks_of_the_other_family_cover_nothing(version: int, data: st.DataObject) -> None:
    network = data.draw(ipv4 if version == 4 else ipv6)
    assert not is_covered(network, data.draw(st.lists(ipv6 if version == 4 else ipv4)))

from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.vectors import load
from tunnel.config.patch import IPNetwork
from tunnel.protocol.allowedips import AllowedIPs

TABLES = load("tables")


def network(text: str) -> IPNetwork:
    return ip_network(text, strict=False)


def table(**networks: str) -> AllowedIPs[str]:
    """Peers by name and their networks, separated by spaces."""
    allowed_ips: AllowedIPs[str] = AllowedIPs()
    for peer, texts in networks.items():
        for text in texts.split():
            allowed_ips.insert(network(text), peer)
    return allowed_ips


def find(allowed_ips: AllowedIPs[str], address: str) -> str | None:
    return allowed_ips.lookup(ip_address(address).packed)


def replay(operations: list[dict[str, Any]]) -> AllowedIPs[str]:
    allowed_ips: AllowedIPs[str] = AllowedIPs()
    for operation in operations:
        match operation:
            case {"op": "clear"}:
                allowed_ips = AllowedIPs()
            case {"op": "insert", "prefix": prefix, "peer": peer}:
                allowed_ips.insert(network(prefix), peer)
            case {"op": "remove", "prefix": prefix, "peer": peer}:
                allowed_ips.remove(network(prefix), peer or "nobody")
            case {"op": "remove_peer", "peer": peer}:
                allowed_ips.remove_peer(peer)
            case {"op": "lookup_is", "address": address, "peer": peer}:
                assert find(allowed_ips, address) == peer, operation
            case {"op": "lookup_is_not", "address": address, "peer": peer}:
                assert find(allowed_ips, address) != peer, operation
            case _:
                pytest.fail(f"unknown operation {operation}")
    return allowed_ips


@pytest.mark.parametrize("name", ["allowedips", "allowedips_remove"])
def test_every_lookup_of_the_known_answers_is_right(name: str) -> None:
    replay(TABLES[name]["ops"])


def test_the_last_known_answer_is_a_list_of_networks() -> None:
    allowed_ips = replay(TABLES["allowedips"]["ops"])
    assert sorted(map(str, allowed_ips.networks_of("a"))) == TABLES["allowedips"]["after_last_op_peer_a_has_exactly"]


def test_an_empty_table_knows_nobody() -> None:
    assert find(table(), "10.0.0.1") is None
    assert find(table(), "fd00::1") is None


def test_the_longest_prefix_wins_whatever_came_first() -> None:
    for allowed_ips in (
        table(wide="10.0.0.0/8", narrow="10.1.0.0/16", host="10.1.1.1/32"),
        table(host="10.1.1.1/32", narrow="10.1.0.0/16", wide="10.0.0.0/8"),
    ):
        assert find(allowed_ips, "10.1.1.1") == "host"
        assert find(allowed_ips, "10.1.1.2") == "narrow"
        assert find(allowed_ips, "10.2.0.0") == "wide"
        assert find(allowed_ips, "11.0.0.0") is None


def test_the_default_route_is_a_prefix_like_any_other() -> None:
    allowed_ips = table(all="0.0.0.0/0 ::/0", one="10.0.0.1/32 fd00::1/128")
    assert find(allowed_ips, "192.0.2.1") == find(allowed_ips, "2001:db8::1") == "all"
    assert find(allowed_ips, "10.0.0.1") == find(allowed_ips, "fd00::1") == "one"


def test_the_families_do_not_mix() -> None:
    allowed_ips = table(four="0.0.0.0/0")
    assert find(allowed_ips, "::") is None
    assert find(allowed_ips, "::ffff:10.0.0.1") is None


def test_host_bits_do_not_count() -> None:
    allowed_ips = table(a="192.95.5.93/27")
    assert find(allowed_ips, "192.95.5.64") == "a"
    assert list(map(str, allowed_ips.networks_of("a"))) == ["192.95.5.64/27"]


def test_a_network_moves_to_the_peer_that_gets_it_last() -> None:
    allowed_ips = table(a="10.0.0.0/24 10.0.1.0/24", b="10.0.0.0/24")
    assert find(allowed_ips, "10.0.0.1") == "b"
    assert allowed_ips.networks_of("a") == (network("10.0.1.0/24"),)
    assert allowed_ips.networks_of("b") == (network("10.0.0.0/24"),)


def test_networks_are_listed_in_the_order_of_their_insertion() -> None:
    allowed_ips = table(a="10.2.0.0/16 fd00::/64 10.1.0.0/16 10.0.0.0/8")
    assert list(map(str, allowed_ips.networks_of("a"))) == ["10.2.0.0/16", "fd00::/64", "10.1.0.0/16", "10.0.0.0/8"]


def test_a_network_inserted_again_becomes_the_last() -> None:
    allowed_ips = table(a="10.2.0.0/16 10.1.0.0/16 10.2.0.0/16")
    assert list(map(str, allowed_ips.networks_of("a"))) == ["10.1.0.0/16", "10.2.0.0/16"]


def test_a_warm_lookup_sees_an_insertion() -> None:
    allowed_ips = table(a="10.0.0.0/8")
    assert find(allowed_ips, "10.0.0.1") == "a"
    assert find(allowed_ips, "11.0.0.1") is None
    allowed_ips.insert(network("10.0.0.1/32"), "b")
    allowed_ips.insert(network("11.0.0.0/8"), "c")
    assert find(allowed_ips, "10.0.0.1") == "b"
    assert find(allowed_ips, "11.0.0.1") == "c"


def test_a_warm_lookup_sees_a_removal() -> None:
    allowed_ips = table(a="10.0.0.0/8", b="10.0.0.1/32")
    assert find(allowed_ips, "10.0.0.1") == "b"
    allowed_ips.remove(network("10.0.0.1/32"), "b")
    assert find(allowed_ips, "10.0.0.1") == "a"
    allowed_ips.remove_peer("a")
    assert find(allowed_ips, "10.0.0.1") is None


def test_only_the_very_prefix_of_the_very_peer_is_removed() -> None:
    allowed_ips = table(a="10.0.0.0/8", b="11.0.0.0/8")
    allowed_ips.remove(network("10.0.0.0/9"), "a")
    allowed_ips.remove(network("10.0.0.0/8"), "b")
    allowed_ips.remove(network("10.0.0.0/8"), "stranger")
    assert find(allowed_ips, "10.0.0.1") == "a"


def test_removing_a_peer_leaves_the_others_and_nothing_of_it() -> None:
    allowed_ips = table(a="10.0.0.0/8 fd00::/8", b="10.0.0.0/9")
    allowed_ips.remove_peer("a")
    assert allowed_ips.networks_of("a") == ()
    assert find(allowed_ips, "10.128.0.1") is None
    assert find(allowed_ips, "fd00::1") is None
    assert find(allowed_ips, "10.0.0.1") == "b"
    allowed_ips.remove_peer("a")


@pytest.mark.parametrize("address", [b"", b"\x0a\0\0", bytes(8), bytes(17)])
def test_what_is_no_address_belongs_to_nobody(address: bytes) -> None:
    assert table(a="0.0.0.0/0 ::/0").lookup(address) is None


def test_lookups_stay_right_when_the_cache_overflows() -> None:
    allowed_ips: AllowedIPs[str] = AllowedIPs(cache_size=4)
    allowed_ips.insert(network("10.0.0.0/25"), "low")
    allowed_ips.insert(network("10.0.0.128/25"), "high")
    for _ in range(2):
        found = [find(allowed_ips, f"10.0.0.{host}") for host in range(256)]
        assert found == ["low"] * 128 + ["high"] * 128


def test_the_cache_is_bounded() -> None:
    allowed_ips: AllowedIPs[str] = AllowedIPs(cache_size=4)
    for host in range(100):
        find(allowed_ips, f"10.0.0.{host}")
        assert len(allowed_ips._cache) <= 4


def test_peers_are_told_apart_as_dict_keys_are() -> None:
    one, other = object(), object()
    allowed_ips: AllowedIPs[object] = AllowedIPs()
    allowed_ips.insert(network("10.0.0.0/8"), one)
    allowed_ips.remove(network("10.0.0.0/8"), other)
    assert allowed_ips.lookup(b"\x0a\0\0\1") is one

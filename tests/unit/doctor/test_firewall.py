"""nft's rules as doctor reads them: certain drops are found, and whatever is not certain is none."""

import json
from typing import Any

import pytest

from tunnel.doctor.firewall import Hook, Packet, Ruleset, parse_ruleset


def match(protocol: str, name: str, right: Any, operator: str = "==") -> dict[str, Any]:
    return {"match": {"op": operator, "left": {"payload": {"protocol": protocol, "field": name}}, "right": right}}


PORT = match("udp", "dport", 51820)
PORTS = match("udp", "dport", {"set": [53, {"range": [51000, 52000]}]})
TCP = match("tcp", "dport", 51820)
NETWORK = match("ip", "daddr", {"prefix": {"addr": "10.0.0.0", "len": 8}}, "!=")
IPV6 = match("ip6", "daddr", "::1")
NAMED_SET = match("ip", "daddr", "@good")
LIMIT = {"limit": {"rate": 5, "per": "second"}}
STATE = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}
WG = {"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": "eth*"}}
LO = {"match": {"op": "==", "left": {"meta": {"key": "oif"}}, "right": "lo"}}
COUNTER = {"counter": {"packets": 7, "bytes": 700}}
DROP, ACCEPT, REJECT, RETURN = {"drop": None}, {"accept": None}, {"reject": None}, {"return": None}

PACKET = Packet(Hook.OUTPUT, 4, "udp", {"daddr": "192.0.2.2", "udp dport": 51820, "oifname": "eth0", "ct state": "new"})


def ruleset(*rules: list[dict[str, Any]], policy: str = "accept", more: tuple[dict[str, Any], ...] = ()) -> Ruleset:
    """One output chain with these rules, and whatever else."""
    where = {"family": "inet", "table": "t"}
    chain = {"chain": where | {"name": "out", "type": "filter", "hook": "output", "prio": 0, "policy": policy}}
    listed = [{"rule": where | {"chain": "out", "handle": n, "expr": expr}} for n, expr in enumerate(rules, 1)]
    return parse_ruleset(json.dumps({"nftables": [{"metainfo": {}}, chain, *listed, *more]}))


SUB_CHAIN = (
    {"chain": {"family": "inet", "table": "t", "name": "sub"}},
    {"rule": {"family": "inet", "table": "t", "chain": "sub", "handle": 90, "expr": [TCP, ACCEPT]}},
    {"rule": {"family": "inet", "table": "t", "chain": "sub", "handle": 91, "expr": [PORT, DROP]}},
)


@pytest.mark.parametrize(
    "rules",
    [
        ruleset([PORT, COUNTER, DROP]),
        ruleset([PORTS, REJECT]),
        ruleset([NETWORK, DROP]),
        ruleset([WG, DROP]),
        ruleset([TCP, ACCEPT], [LO, ACCEPT], [STATE, ACCEPT], [IPV6, ACCEPT], [DROP]),
        ruleset([TCP, ACCEPT], policy="drop"),
        ruleset([{"jump": {"target": "sub"}}], more=SUB_CHAIN),
        ruleset([NAMED_SET, COUNTER], [DROP]),
        ruleset([RETURN], [ACCEPT], policy="drop"),
    ],
    ids=[
        "rule",
        "set and range",
        "prefix",
        "wildcard",
        "what precedes does not match",
        "policy",
        "jump",
        "count",
        "return",
    ],
)
def test_a_certain_drop_is_found(rules: Ruleset) -> None:
    assert rules.drops(PACKET)


@pytest.mark.parametrize(
    "rules",
    [
        ruleset(),
        ruleset([PORT, ACCEPT], [DROP]),
        ruleset([TCP, DROP]),
        ruleset([STATE, DROP]),
        ruleset([IPV6, DROP]),
        ruleset([LIMIT, ACCEPT], policy="drop"),
        ruleset([LIMIT, DROP]),
        ruleset([NAMED_SET, ACCEPT], [DROP]),
        ruleset([{"xt": {"type": "match", "name": "owner"}}, ACCEPT], policy="drop"),
        ruleset([{"goto": {"target": "sub"}}], more=SUB_CHAIN),
        ruleset([{"jump": {"target": "missing"}}], policy="drop"),
    ],
    ids=[
        "none",
        "accepted before",
        "tcp",
        "state",
        "ipv6",
        "limit",
        "limited drop",
        "named set",
        "xt",
        "goto",
        "no chain",
    ],
)
def test_what_is_not_certain_is_no_drop(rules: Ruleset) -> None:
    assert rules.drops(PACKET) is None


def test_an_unknown_field_is_not_certain() -> None:
    rules = ruleset([{"match": {"op": "==", "left": {"meta": {"key": "skuid"}}, "right": 0}}, ACCEPT], [DROP])
    assert rules.drops(PACKET) is None


def test_the_rule_is_named_as_nft_wants_it() -> None:
    drop = ruleset([ACCEPT], policy="drop").drops(PACKET)
    assert drop is None
    drop = ruleset([TCP, ACCEPT], [PORT, DROP]).drops(PACKET)
    assert str(drop) == "rule 2 of chain inet t out"


def test_the_rule_that_is_not_understood_is_told_and_what_decides_before_it_is_not() -> None:
    unclear = ruleset([TCP, ACCEPT], [PORT, LIMIT, DROP], [DROP]).unjudged(PACKET)
    assert str(unclear) == "rule 2 of chain inet t out"
    assert ruleset([PORT, ACCEPT], [LIMIT, DROP]).unjudged(PACKET) is None
    assert ruleset([PORT, DROP], [LIMIT, ACCEPT]).unjudged(PACKET) is None


def test_counters_are_by_chain_and_handle() -> None:
    ((where, handle),) = ruleset([PORT, COUNTER, DROP]).counters()
    assert (str(where), handle) == ("inet t out", 1)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"nftables": [{"rule": 1}]}', '{"nftables": 3}'])
def test_what_is_no_ruleset_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a ruleset|Expecting"):
        parse_ruleset(text)

"""Rules that doctor cannot judge are named where something does not come through, and only there."""

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.unit.doctor.patients import FACTS, silent, with_peer
from tunnel.doctor.examination import Examination, examine
from tunnel.doctor.facts import Echo, Facts
from tunnel.doctor.finding import Severity
from tunnel.doctor.firewall import Ruleset, parse_ruleset

XT: dict[str, Any] = {"xt": {"type": "match", "name": "multiport"}}
DROP: dict[str, Any] = {"drop": None}
DEAF = with_peer(echo=Echo("10.8.0.7", 0))


def rules(hook: str, *expressions: dict[str, Any]) -> Ruleset:
    """A chain with one rule, as iptables-nft makes it."""
    chain = {"family": "ip", "table": "filter", "name": hook.upper(), "type": "filter", "hook": hook, "prio": 0}
    rule = {"family": "ip", "table": "filter", "chain": hook.upper(), "handle": 4, "expr": list(expressions)}
    return parse_ruleset(json.dumps({"nftables": [{"chain": chain}, {"rule": rule}]}))


def remedies(examination: Examination) -> list[str]:
    assert not any(finding.severity is Severity.FAULT and "rule" in finding.what for finding in examination.findings)
    return [finding.remedy for finding in examination.findings]


@pytest.mark.parametrize("facts", [silent(), DEAF], ids=["no session", "no answer inside"])
@pytest.mark.parametrize("hook", ["input", "output"])
def test_a_rule_of_iptables_that_our_packets_meet_is_named_with_how_to_read_it(facts: Facts, hook: str) -> None:
    examination = examine(replace(facts, firewall=rules(hook, XT, DROP)))
    assert f"nft -a list chain ip filter {hook.upper()}" in remedies(examination)


def test_with_a_session_it_is_pings_in_the_tunnel_whose_rules_are_read() -> None:
    ours = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "wg0"}}
    facts = {"inside": DEAF, "outside": silent()}
    found = {
        where: remedies(examine(replace(one, firewall=rules("input", ours, XT, DROP)))) for where, one in facts.items()
    }
    assert "nft -a list chain ip filter INPUT" in found["inside"]
    assert "nft -a list chain ip filter INPUT" not in found["outside"]


def test_a_rule_that_does_not_concern_us_is_not_named() -> None:
    other = {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}
    examination = examine(replace(silent(), firewall=rules("output", other, XT, DROP)))
    assert not any(remedy.startswith("nft") for remedy in remedies(examination))


def test_tables_of_legacy_iptables_are_named_with_how_to_list_them() -> None:
    examination = examine(replace(silent(), legacy_tables=("ip filter", "ip nat", "ip6 filter")))
    assert "iptables-legacy-save; ip6tables-legacy-save" in remedies(examination)


def test_where_everything_comes_through_rules_are_nobodys_business() -> None:
    facts = replace(FACTS, firewall=rules("input", XT, DROP), legacy_tables=("ip filter",))
    assert not examine(facts).findings


def test_an_address_that_was_guessed_and_does_not_answer_is_no_reason_to_ask() -> None:
    facts = with_peer(echo=Echo("10.8.0.1", 0, is_guess=True))
    assert not examine(replace(facts, legacy_tables=("ip filter",))).findings


def test_what_stops_everything_is_still_the_verdict() -> None:
    verdict = examine(replace(silent(), firewall=rules("input", XT, DROP), legacy_tables=("ip filter",))).verdict
    assert verdict is not None
    assert "does not answer our handshakes" in verdict.what

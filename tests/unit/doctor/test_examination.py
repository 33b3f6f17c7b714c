"""What doctor says of made-up facts: the right thing, and nothing where nothing is wrong."""

import json
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from tests.unit.doctor.patients import (
    FACTS,
    KEY,
    NOW,
    OTHER_KEY,
    PEER,
    PEER_STATUS,
    STATUS,
    silent,
    with_peer,
    with_status,
)
from tunnel.control.status import InterfaceStatus
from tunnel.doctor.examination import STEPS, Mark, examine
from tunnel.doctor.facts import ConfigFacts, Echo, Facts, Link, PeerFacts, Route, Way
from tunnel.doctor.finding import Severity
from tunnel.doctor.firewall import parse_ruleset

UNMARKED = Way("198.51.100.7", "wg0", "10.8.0.2", network="0.0.0.0/0", table="51820")
STRICT = {"net.ipv4.conf.all.rp_filter": "0", "net.ipv4.conf.eth0.rp_filter": "1", "net.ipv4.conf.wg0.rp_filter": "1"}
ASTRAY = {"10.8.0.7/32": Way("10.8.0.7", "eth0", "192.168.1.5", network="0.0.0.0/0")}
SHADOWED = {"10.8.0.7/32": Way("10.8.0.7", "eth0", "192.168.1.5", network="10.8.0.0/25")}
CHAIN = {"family": "ip", "table": "n", "name": "post", "type": "nat", "hook": "postrouting", "prio": 100}
RULE = {"family": "ip", "table": "n", "chain": "post", "handle": 1, "expr": [{"masquerade": None}]}
MASQUERADE = parse_ruleset(json.dumps({"nftables": [{"chain": CHAIN}, {"rule": RULE}]}))
WG_DOWN = {"wg0": Link("wg0", False, 1420, ("10.8.0.2/24",))}
NOTHING_RUNS = replace(FACTS, status=None, peers=(), silence="nothing runs as wg0")
ONLY_ROOT = replace(FACTS, status=None, peers=(), silence="wg0: only root may ask")
IP_FORWARD = ("does not forward IPv4", "sysctl -w net.ipv4.ip_forward=1")

FAULTS = {
    "/dev/net/tun": (replace(FACTS, has_tun=False), "no TUN devices", "modprobe tun"),
    "file modes": (
        replace(FACTS, config=ConfigFacts(Path("/etc/w g.conf"), problem="everybody may read it: chmod 600 x")),
        "configuration cannot be used",
        "chmod 600 '/etc/w g.conf'",
    ),
    "not running": (
        replace(FACTS, status=None, links={}, silence="nothing runs as wg0"),
        "is not up",
        "tunnel up wg0 -d",
    ),
    "not ours": (
        replace(FACTS, status=None, silence="nothing runs as wg0"),
        "no process of ours",
        "ip link delete wg0",
    ),
    "stopped": (
        replace(FACTS, status=None, silence="the process that runs wg0 does not answer"),
        "process that runs it does not answer",
        "ss -xlp src '*/wg0.sock'",
    ),
    "not root": (
        replace(FACTS, status=None, silence="wg0: only root may ask"),
        "may not ask",
        "sudo tunnel doctor wg0",
    ),
    "clock unset": (replace(FACTS, now=1000.0), "clock of this host was never set", "timedatectl"),
    "clock back": (with_peer(status={"last_handshake": NOW + 1000}), "was set back", "timedatectl"),
    "no key": (with_status(public_key=None), "no private key", "tunnel genkey"),
    "certificate expired": (with_status(certificate_expires=NOW - 1), "certificate has expired", "tunnel cert renew"),
    "refused": (
        with_status(dialling="dialling gw", refusals={"expired": 3}),
        "certificates of others are refused",
        "tunnel events wg0",
    ),
    "refused for the clock": (
        with_status(dialling="dialling gw", refusals={"wrong_clock": 1}),
        "certificates of others are refused",
        "timedatectl",
    ),
    "duplicate key": (
        replace(FACTS, others=(InterfaceStatus("wg1", STATUS.public_key, 51821, 0, peers=(PEER_STATUS,)),)),
        "two interfaces use one private key",
        "tunnel genkey",
    ),
    "link gone": (replace(FACTS, links={}), "interface is not there", "tunnel up wg0 -d"),
    "link down": (
        replace(FACTS, links={"wg0": Link("wg0", False, 1420, ("10.8.0.2/24",))}),
        "is down",
        "ip link set wg0 up",
    ),
    "deaf": (
        replace(with_status(receive_buffer=0), before=replace(STATUS, receive_buffer=0)),
        "the interface is deaf",
        "ss -ulpn 'sport = :51820'",
    ),
    "no address": (replace(FACTS, links={"wg0": Link("wg0", True, 1420)}), "no address", "ip address add"),
    "no peers": (replace(FACTS, status=replace(STATUS, peers=()), peers=()), "no peers", "tunnel peer add wg0 KEY"),
    "no allowed IPs": (with_peer(status={"allowed_ips": ()}, inside={}), "no allowed IPs", "allowed-ips"),
    "own address": (
        with_peer(status={"allowed_ips": ("10.8.0.2/32",)}, inside={}),
        "hold our own address",
        "allowed-ips",
    ),
    "name": (
        silent(status={"endpoint": None, "endpoint_name": "gw.example:51820"}, addresses=(), lookup_problem="unknown"),
        "gw.example does not resolve",
        "getent ahosts gw.example",
    ),
    "name moved": (
        silent(status={"endpoint_name": "gw.example:51820"}, addresses=("203.0.113.9",)),
        "leads elsewhere",
        f"wg set wg0 peer {KEY} endpoint 203.0.113.9:51820",
    ),
    "no route out": (
        silent(outside=Way("198.51.100.7", problem="network is unreachable")),
        "no route to its endpoint",
        "ip route add 198.51.100.7 via ROUTER",
    ),
    "loop": (silent(outside=replace(UNMARKED, interface="wg0")), "inside the tunnel", "ip route add 198.51.100.7"),
    "EPERM": (silent(knock="EPERM"), "our own firewall stops what we send", "nft list ruleset"),
    "way back without the mark": (
        replace(silent(unmarked=UNMARKED), settings=STRICT),
        "throws its answers away",
        "sysctl -w net.ipv4.conf.eth0.rp_filter=2",
    ),
    "port": (silent(knock="ECONNREFUSED"), "nobody listens", "endpoint HOST:PORT"),
    "host": (silent(knock="EHOSTUNREACH"), "cannot be reached", "ping 198.51.100.7"),
    "preshared key": (
        silent(status={"drops": {"handshake_not_authentic": 1}}),
        "preshared keys differ",
        "preshared-key FILE",
    ),
    "unknown peer": (with_status(drops={"unknown_peer": 2}), "whose public key we do not have", "ITS-PUBLIC-KEY"),
    "wrong key": (with_status(drops={"wrong_mac1": 2}), "wrong public key for us", f"{STATUS.public_key}"),
    "silence": (silent(), "does not answer our handshakes", "tunnel doctor  # there"),
    "route": (with_peer(inside=ASTRAY), "no route to 10.8.0.7/32 by wg0", "ip route add 10.8.0.7/32 dev wg0"),
    "shadow": (with_peer(inside=SHADOWED), "is shadowed", "ip route delete 10.8.0.0/25 dev eth0"),
    "source": (
        with_peer(status={"drops": {"source_not_allowed": 4}}),
        "allowed IPs here miss an address",
        "allowed-ips 10.8.0.7/32,ITS-ADDRESS/32",
    ),
    "nobody's address": (with_status(drops={"no_route": 4}), "that no peer may have", "tcpdump"),
    "forwarding": (
        replace(FACTS, counted={"IpInAddrErrors": 3}),
        "does not forward IPv4",
        "sysctl -w net.ipv4.ip_forward=1",
    ),
    "masquerading": (replace(FACTS, firewall=MASQUERADE), *IP_FORWARD),
    "large packets": (with_peer(echo=Echo("10.8.0.7", 1300)), "large packets are lost", "ip link set wg0 mtu 1300"),
}


def test_of_a_host_that_is_well_nothing_is_said() -> None:
    examination = examine(FACTS)
    assert not examination.findings
    assert examination.is_healthy
    assert {step.mark for step in examination.steps} <= {Mark.GOOD, Mark.SKIPPED}


@pytest.mark.parametrize(("facts", "what", "remedy"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_the_verdict_with_its_remedy(facts: Facts, what: str, remedy: str) -> None:
    examination = examine(facts)
    verdict = examination.verdict
    assert verdict is not None
    assert verdict.severity is Severity.FAULT
    assert what in verdict.what
    assert remedy in verdict.remedy
    assert not examination.is_healthy


def test_a_fault_early_on_the_way_comes_before_what_follows_from_it() -> None:
    facts = silent(knock="ECONNREFUSED", inside=ASTRAY)
    examination = examine(facts)
    assert len(examination.findings) > 1
    assert examination.verdict is not None
    assert "nobody listens" in examination.verdict.what


def test_without_a_process_the_steps_behind_it_are_left_out() -> None:
    examination = examine(NOTHING_RUNS)
    assert {step.mark for step in examination.steps[1:]} == {Mark.SKIPPED}


def test_counts_from_before_are_no_fault() -> None:
    old = {"unknown_peer": 7, "wrong_mac1": 7, "no_route": 7}
    facts = replace(with_status(drops=old), before=replace(STATUS, drops=old))
    assert examine(facts).verdict is None


def test_a_session_without_an_answer_inside_is_a_doubt() -> None:
    verdict = examine(with_peer(echo=Echo("10.8.0.7", 0), status={"rx_bytes": 2000})).verdict
    assert verdict is not None
    assert verdict.severity is Severity.DOUBT
    assert "handshake is fine" in verdict.what


def test_of_a_session_that_brings_nothing_any_more_it_is_said_that_nobody_listens() -> None:
    assert PEER_STATUS.last_handshake
    asked_again = {"last_handshake": PEER_STATUS.last_handshake + 1e-6}
    verdict = examine(with_peer(echo=Echo("10.8.0.7", 0), knock="ECONNREFUSED", status=asked_again)).verdict
    assert verdict is not None
    assert verdict.what == "it has a session, but nothing comes back"
    assert "nobody listens at 198.51.100.7:51820 any more" in verdict.why


def test_a_guessed_address_that_does_not_answer_says_nothing() -> None:
    assert examine(with_peer(echo=Echo("10.8.0.1", 0, is_guess=True))).verdict is None


def test_behind_nat_a_keepalive_is_advised() -> None:
    way = Way("8.8.8.8", "eth0", "192.168.1.5", network="0.0.0.0/0")
    examination = examine(with_peer(outside=way))
    assert examination.verdict is not None
    assert "keepalive" in examination.verdict.what
    assert examination.is_healthy


def test_a_default_route_with_exceptions_is_not_called_overlapping() -> None:
    everything = replace(PEER_STATUS, public_key=OTHER_KEY, allowed_ips=("0.0.0.0/0",))
    facts = replace(FACTS, peers=(PEER, PeerFacts(everything, everything)))
    assert examine(facts).verdict is None


def test_a_network_inside_another_peers_is_pointed_out() -> None:
    wide = replace(PEER_STATUS, public_key=OTHER_KEY, allowed_ips=("10.8.0.0/24",))
    verdict = examine(replace(FACTS, peers=(PEER, PeerFacts(wide, wide)))).verdict
    assert verdict is not None
    assert verdict.severity is Severity.ADVICE
    assert "overlap" in verdict.what


def test_a_lan_inside_an_allowed_ip_is_pointed_out_only() -> None:
    inside = {"10.8.0.0/16": Way("10.8.0.1", "wg0", network="10.8.0.0/16")}
    facts = with_peer(status={"allowed_ips": ("10.8.0.0/16",)}, inside=inside)
    verdict = examine(replace(facts, routes=(Route(ip_network("10.8.9.0/24"), "eth0"),))).verdict
    assert verdict is not None
    assert verdict.severity is Severity.ADVICE
    assert "10.8.9.0/24" in verdict.why


def test_reverse_path_filtering_is_blamed_only_if_the_kernel_dropped_something() -> None:
    facts = replace(with_peer(inside=ASTRAY), settings=STRICT)
    told = "throws away"
    assert not any(told in finding.what for finding in examine(facts).findings)
    counted = replace(facts, counted={"TcpExtIPReversePathFilter": 2})
    assert any(told in finding.what for finding in examine(counted).findings)


@pytest.mark.parametrize("endpoint", ["198.51.100.7:51820", None], ids=["answers", "first datagrams"])
def test_a_rule_against_what_comes_in_is_blamed_only_while_nobody_comes(endpoint: str | None) -> None:
    chain = CHAIN | {"name": "in", "type": "filter", "hook": "input", "policy": "drop"}
    rules = parse_ruleset(json.dumps({"nftables": [{"chain": chain}]}))
    outside = None if endpoint is None else PEER.outside
    facts = replace(silent(status={"endpoint": endpoint}, outside=outside), firewall=rules)
    verdict = examine(facts).verdict
    assert verdict is not None
    assert verdict.remedy == "nft insert rule ip n in udp dport 51820 accept"
    assert examine(replace(FACTS, firewall=rules)).verdict is None


def test_loose_reverse_path_filtering_is_never_blamed() -> None:
    settings = STRICT | {"net.ipv4.conf.all.rp_filter": "2"}
    facts = replace(with_peer(inside=ASTRAY), settings=settings, counted={"TcpExtIPReversePathFilter": 2})
    assert not any("throws away" in finding.what for finding in examine(facts).findings)


def test_a_session_that_is_three_minutes_old_is_none() -> None:
    verdict = examine(with_peer(echo=Echo("10.8.0.7", 0), status={"last_handshake": NOW - 181})).verdict
    assert verdict is not None
    assert verdict.what == "it does not answer our handshakes"


def test_what_weighs_more_is_the_verdict_wherever_it_comes() -> None:
    examination = examine(replace(silent(knock="ECONNREFUSED"), status=replace(STATUS, certificate_expires=NOW + 60)))
    assert examination.findings[0].severity is Severity.ADVICE
    assert examination.verdict is not None
    assert examination.verdict.severity is Severity.FAULT


def test_first_datagrams_that_one_interface_lets_in_are_not_called_stopped() -> None:
    chain = CHAIN | {"name": "in", "type": "filter", "hook": "input", "policy": "drop"}
    wan = {"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "wan0"}}
    rule = RULE | {"chain": "in", "expr": [wan, {"accept": None}]}
    rules = parse_ruleset(json.dumps({"nftables": [{"chain": chain}, {"rule": rule}]}))
    stranger = silent(status={"endpoint": None}, outside=None, echo=None)
    links = {**FACTS.links, "wan0": Link("wan0", True, 1500, ("198.51.100.1/24",))}
    verdict = examine(replace(stranger, firewall=rules, links=links)).verdict
    assert verdict is not None
    assert verdict.severity is Severity.ADVICE


def test_a_path_that_is_known_to_be_narrow_is_advice_with_what_is_done_about_it() -> None:
    status = {"path_mtu": 1280, "max_packet": 1220}
    examination = examine(with_peer(status=status, echo=Echo("10.8.0.7", 1213)))
    verdict = examination.verdict
    assert verdict is not None
    assert verdict.severity is Severity.ADVICE
    assert "1280 bytes get through to 198.51.100.7:51820, so 1220 inside: larger TCP is cut" in verdict.why
    assert verdict.remedy == "ip link set wg0 mtu 1220"


def test_with_ipv6_inside_a_narrow_path_is_no_reason_for_an_mtu_without_it() -> None:
    links = {**FACTS.links, "wg0": Link("wg0", True, 1420, ("fd08::2/64",))}
    verdict = examine(replace(with_peer(status={"path_mtu": 1280, "max_packet": 1220}), links=links)).verdict
    assert verdict is not None
    assert verdict.remedy == "ip link set wg0 mtu 1280"


def test_what_is_lost_although_the_path_carries_it_is_a_fault() -> None:
    facts = with_peer(status={"path_mtu": 1280, "max_packet": 1220}, echo=Echo("10.8.0.7", 1212))
    verdict = examine(facts).verdict
    assert verdict is not None
    assert verdict.severity is Severity.FAULT
    assert verdict.remedy == "ip link set wg0 mtu 1212"


@pytest.mark.parametrize(("path_mtu", "is_advised"), [(None, True), (1500, False)])
def test_a_path_that_was_measured_is_not_guessed_at(path_mtu: int | None, is_advised: bool) -> None:
    outside = replace(FACTS.peers[0].outside or UNMARKED, mtu=1400)
    findings = examine(with_peer(outside=outside, status={"path_mtu": path_mtu})).findings
    assert any("in pieces" in finding.what for finding in findings) == is_advised


def test_every_step_has_a_check() -> None:
    assert all(step.checks or step.peer_checks for step in STEPS)

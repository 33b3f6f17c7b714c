"""What nftables would do with a packet: its rules, as ``nft -j list ruleset`` tells them, walked through by us.

    nft -j ─ parse_ruleset ─▶ Ruleset ── drops(packet) ─▶ the rule, or the policy, that ends its way; or None

Only what is certain counts. A rule that we do not understand (a set by name, a limit, what iptables-nft wraps in
``xt``) may accept the packet, so after one of these nothing is certain any more, and no drop is reported: a wrong
diagnosis is worse than none. `unjudged` tells which rule that was. The walk is that of nft(8): base chains of a hook by
priority, each with its policy; ``accept`` ends a base chain, ``drop`` ends the packet, ``jump`` comes back and ``goto``
does not.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from ipaddress import ip_address, ip_network
from typing import Any

MAX_DEPTH = 16
"""Jumps that nft(8) allows inside one another."""

_SILENT = frozenset({"counter", "log", "mangle", "notrack"})
"""Statements that decide nothing."""


class Hook(Enum):
    """On the way of a packet through this host."""

    INPUT = ("prerouting", "input")
    OUTPUT = ("output", "postrouting")
    FORWARD = ("prerouting", "forward", "postrouting")


@dataclass(frozen=True, slots=True)
class Packet:
    """`fields` by nft's own names (``iifname``, ``saddr``, ``udp dport``, ``ct state``); what is absent is not known.

    A value of the empty string is one that the packet does not have.
    """

    hook: Hook
    version: int
    protocol: str
    fields: Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Rule:
    """`counted` is in packets, None for a rule without a counter."""

    chain: "ChainName"
    handle: int
    statements: Sequence[Mapping[str, Any]]
    counted: int | None = None

    def __str__(self) -> str:
        return f"rule {self.handle} of chain {self.chain}"


@dataclass(frozen=True, slots=True)
class ChainName:
    """How nft(8) wants it: family, table, chain."""

    family: str
    table: str
    chain: str

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.chain}"


@dataclass(frozen=True, slots=True)
class Chain:
    """`hook` is empty for a chain that is only jumped to."""

    name: ChainName
    hook: str = ""
    kind: str = ""
    priority: int = 0
    policy: str = "accept"
    rules: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class Drop:
    """`base` is the chain in which an exception would have to stand; `rule` None: the policy of `base`."""

    base: ChainName
    rule: Rule | None

    def __str__(self) -> str:
        return str(self.rule) if self.rule else f"the policy of chain {self.base}"


class _Verdict(Enum):
    CONTINUE = auto()
    RETURN = auto()
    ACCEPT = auto()
    DROP = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All chains of all tables; empty if there are no rules."""

    chains: Mapping[ChainName, Chain] = field(default_factory=dict)

    def drops(self, packet: Packet) -> Drop | None:
        """What certainly drops or rejects the packet."""
        for base, verdict, rule in self._verdicts(packet):
            if verdict is _Verdict.CONTINUE and base.policy == "drop":
                return Drop(base.name, None)
            if verdict is _Verdict.DROP:
                return Drop(base.name, rule)
        return None

    def unjudged(self, packet: Packet) -> Rule | None:
        """The first rule that the packet meets of which we do not know what it does, if any."""
        found = (rule for _, verdict, rule in self._verdicts(packet) if verdict is _Verdict.UNKNOWN)
        return next(found, None)

    def mentions(self, statement: str) -> bool:
        """Whether any rule has this statement (``masquerade``)."""
        return any(
            statement in part for chain in self.chains.values() for rule in chain.rules for part in rule.statements
        )

    def counters(self) -> dict[tuple[ChainName, int], int]:
        """Packets by chain and handle."""
        rules = (rule for chain in self.chains.values() for rule in chain.rules)
        return {(rule.chain, rule.handle): rule.counted for rule in rules if rule.counted is not None}

    def _verdicts(self, packet: Packet) -> Iterator[tuple[Chain, _Verdict, Rule | None]]:
        """Of each base chain on the way of a packet that is let through; the rule is the one that decides."""
        for hook in packet.hook.value:
            for base in self._bases(hook, packet.version):
                yield base, *self._walk(base, packet, 0)

    def _bases(self, hook: str, version: int) -> list[Chain]:
        families = ("inet", "ip" if version == 4 else "ip6")
        found = [
            chain
            for chain in self.chains.values()
            if chain.hook == hook and chain.kind == "filter" and chain.name.family in families
        ]
        return sorted(found, key=lambda chain: chain.priority)

    def _walk(self, chain: Chain, packet: Packet, depth: int) -> tuple[_Verdict, Rule | None]:
        for rule in chain.rules:
            verdict, by = self._apply(rule, packet, depth)
            if verdict is _Verdict.RETURN:
                break
            if verdict is not _Verdict.CONTINUE:
                return verdict, by
        return _Verdict.CONTINUE, None

    def _apply(self, rule: Rule, packet: Packet, depth: int) -> tuple[_Verdict, Rule | None]:
        """The statements of a rule, in order, until one does not match or decides."""
        for statement in rule.statements:
            ((kind, content),) = statement.items()
            if kind == "match":
                matches = _matches(content, packet)
                if matches is None:
                    return _uncertain(rule), rule
                if not matches:
                    break
            elif kind in ("drop", "reject"):
                return _Verdict.DROP, rule
            elif kind == "accept":
                return _Verdict.ACCEPT, rule
            elif kind == "return":
                return _Verdict.RETURN, rule
            elif kind in ("jump", "goto"):
                target = self.chains.get(ChainName(rule.chain.family, rule.chain.table, content["target"]))
                if target is None or kind == "goto" or depth == MAX_DEPTH:
                    return _Verdict.UNKNOWN, rule
                return self._walk(target, packet, depth + 1)
            elif kind not in _SILENT:
                return _Verdict.UNKNOWN, rule
        return _Verdict.CONTINUE, None


def parse_ruleset(text: str) -> Ruleset:
    """Raise `ValueError` if this is not what nft(8) prints."""
    try:
        objects = json.loads(text)["nftables"]
        rules: dict[ChainName, list[Rule]] = {}
        for item in objects:
            if "rule" in item:
                rule = _parse_rule(item["rule"])
                rules.setdefault(rule.chain, []).append(rule)
        chains = [_parse_chain(item["chain"], rules) for item in objects if "chain" in item]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a ruleset: {error!r}") from None
    return Ruleset({chain.name: chain for chain in chains})


def _parse_rule(members: Mapping[str, Any]) -> Rule:
    name = ChainName(members["family"], members["table"], members["chain"])
    statements = [part for part in members.get("expr", ()) if len(part) == 1]
    counters = [part["counter"] for part in statements if isinstance(part.get("counter"), dict)]
    return Rule(name, members["handle"], statements, counters[0]["packets"] if counters else None)


def _parse_chain(members: Mapping[str, Any], rules: Mapping[ChainName, Sequence[Rule]]) -> Chain:
    name = ChainName(members["family"], members["table"], members["name"])
    priority = members.get("prio", 0)
    return Chain(
        name,
        members.get("hook", ""),
        members.get("type", ""),
        priority if isinstance(priority, int) else 0,
        members.get("policy", "accept"),
        tuple(rules.get(name, ())),
    )


def _uncertain(rule: Rule) -> _Verdict:
    """A rule that may match: harmless if all it does is count."""
    decides = any(next(iter(part)) not in _SILENT and "match" not in part for part in rule.statements)
    return _Verdict.UNKNOWN if decides else _Verdict.CONTINUE


def _matches(condition: Mapping[str, Any], packet: Packet) -> bool | None:
    """None: not known."""
    operator, right = condition["op"], condition["right"]
    known = _left(condition["left"], packet)
    if known is None or operator not in ("==", "!=", "in"):
        return None
    if known == "":
        return False  # nft(8) adds what a payload depends on as a condition of its own
    answers = [_equals(known, value) for value in _alternatives(right)]
    matches = True if True in answers else None if None in answers else False
    return matches if operator != "!=" or matches is None else not matches


def _left(left: Any, packet: Packet) -> str | int | None:
    """The packet's value for what a rule looks at; empty if it has none, None if we do not know."""
    if not isinstance(left, dict):
        return None
    if "payload" in left:
        protocol, name = left["payload"].get("protocol"), left["payload"].get("field")
        if protocol in ("ip", "ip6"):
            if protocol != ("ip" if packet.version == 4 else "ip6"):
                return ""
            return packet.protocol if name in ("protocol", "nexthdr") else packet.fields.get(name)
        if protocol in ("udp", "tcp", "icmp", "icmpv6", "sctp", "th"):
            return packet.fields.get(f"{packet.protocol} {name}") if protocol in (packet.protocol, "th") else ""
        return None
    key = (left.get("meta") or left.get("ct") or {}).get("key")
    if "meta" in left and key in ("l4proto", "nfproto"):
        return packet.protocol if key == "l4proto" else f"ipv{packet.version}"
    if key in ("iif", "oif"):  # shown by name as well
        key += "name"
    return packet.fields.get(f"ct {key}" if "ct" in left else str(key))


def _alternatives(right: Any) -> Iterator[Any]:
    members = right.get("set") if isinstance(right, dict) and "set" in right else right
    if isinstance(members, list):
        yield from members
    else:
        yield members


def _equals(known: str | int, value: Any) -> bool | None:
    if isinstance(value, dict):
        if "prefix" in value:
            network = ip_network((value["prefix"]["addr"], value["prefix"]["len"]), strict=False)
            return ip_address(known) in network
        if "range" in value and isinstance(known, int):
            low, high = value["range"]
            return bool(low <= known <= high)
        return None
    if isinstance(value, str) and value.startswith("@"):
        return None
    if isinstance(value, str) and value.endswith("*") and isinstance(known, str):
        return known.startswith(value[:-1])
    return bool(known == value)

"""Rules that doctor cannot judge, where something does not come through: it says so, and how a person can read them."""

from collections.abc import Iterator

from tunnel.doctor.checks.inside import ping_unanswered
from tunnel.doctor.checks.outside import incoming, outgoing
from tunnel.doctor.facts import Facts, PeerFacts
from tunnel.doctor.finding import Finding, advice
from tunnel.doctor.firewall import Hook, Packet


def is_silent(facts: Facts, peer: PeerFacts) -> bool:
    """Whether there is no session, or an address that is its own does not answer."""
    echo = peer.echo
    return not peer.has_session(facts.now) or (echo is not None and not echo.largest and not echo.is_guess)


def rules_not_understood(facts: Facts) -> Finding | None:
    """Said once, whomever it concerns: of all silent peers' packets, the first that meets such a rule."""
    if facts.firewall is None or facts.status is None:
        return None
    for packet in _packets(facts):
        rule = facts.firewall.unjudged(packet)
        if rule is not None:
            why = f"{rule} has a condition or a statement that doctor does not know, and our packets meet it"
            return advice("a rule of our own firewall is not understood", why, f"nft -a list chain {rule.chain}")
    return None


def legacy_rules(facts: Facts) -> Finding | None:
    """They are not among nftables' rules, and yet the kernel asks both."""
    if not facts.legacy_tables:
        return None
    why = f"the kernel has the tables {', '.join(facts.legacy_tables)} of legacy iptables, which doctor does not read"
    families = {table.partition(" ")[0] for table in facts.legacy_tables}
    programs = [f"{family}tables-legacy-save" for family in sorted(families)]
    return advice("there may be rules of legacy iptables", why, "; ".join(programs))


def _packets(facts: Facts) -> Iterator[Packet]:
    """Those whose way, or whose answer's, may end at a rule."""
    for peer in facts.peers:
        if not is_silent(facts, peer):
            continue
        if peer.has_session(facts.now):
            inside = (ping_unanswered(facts, peer, hook) for hook in (Hook.OUTPUT, Hook.INPUT))
            yield from (packet for packet in inside if packet is not None)
        else:
            sent = outgoing(facts, peer)
            yield from () if sent is None else (sent,)
            yield from incoming(facts, peer)

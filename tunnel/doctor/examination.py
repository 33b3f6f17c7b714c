"""The steps in the order in which a packet travels, and the verdict: the first of what weighs most.

    Facts ─ examine ─▶ Examination: a mark per step, findings ─▶ verdict, and the command that mends it

A fault early on the way explains those behind it, so its remedy is the one to begin with. A step whose facts are not
there is left out (–) and never called good.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tunnel.doctor.checks import inside, interface, losses, outside, unread
from tunnel.doctor.facts import Facts, PeerFacts
from tunnel.doctor.finding import Finding, Severity

InterfaceCheck = Callable[[Facts], Finding | None]
PeerCheck = Callable[[Facts, PeerFacts], Finding | None]


class Mark(Enum):
    """How a step went."""

    GOOD = "✓"
    BAD = "✗"
    NOTED = "!"
    SKIPPED = "–"


@dataclass(frozen=True, slots=True)
class Step:
    """`needs` says whether there is anything to go by."""

    title: str
    needs: Callable[[Facts], bool]
    checks: tuple[InterfaceCheck, ...] = ()
    peer_checks: tuple[PeerCheck, ...] = ()

    def run(self, facts: Facts) -> "StepResult":
        if not self.needs(facts):
            return StepResult(self.title, Mark.SKIPPED)
        found = [check(facts) for check in self.checks]
        found += [check(facts, peer) for peer in facts.peers for check in self.peer_checks]
        findings = tuple(finding for finding in found if finding is not None)
        return StepResult(self.title, _mark(findings), findings)


@dataclass(frozen=True, slots=True)
class StepResult:
    """A step and what it found."""

    title: str
    mark: Mark
    findings: tuple[Finding, ...] = ()


def _mark(findings: Sequence[Finding]) -> Mark:
    if not findings:
        return Mark.GOOD
    return Mark.NOTED if all(finding.severity is Severity.ADVICE for finding in findings) else Mark.BAD


def _has_process(facts: Facts) -> bool:
    return facts.status is not None


def _has_peers(facts: Facts) -> bool:
    return facts.status is not None and bool(facts.peers)


def _knows_endpoints(facts: Facts) -> bool:
    return any(peer.outside is not None for peer in facts.peers)


def _has_names(facts: Facts) -> bool:
    return any(peer.addresses is not None for peer in facts.peers)


def _knows_of_handshakes(facts: Facts) -> bool:
    """Whether a peer was tried, is there, or has to come by itself; or a stranger tried."""
    tried = any(peer.is_probed or peer.knock is not None or peer.has_session(facts.now) for peer in facts.peers)
    waiting = _has_process(facts) and any(peer.endpoint is None for peer in facts.peers)
    strangers = any(map(facts.new_drops, ("unknown_peer", "wrong_mac1", "replayed_handshake")))
    return tried or waiting or strangers


def _pinged(facts: Facts) -> bool:
    return any(peer.echo is not None and peer.has_session(facts.now) for peer in facts.peers)


def _answered(facts: Facts) -> bool:
    return any(peer.echo is not None and peer.echo.largest for peer in facts.peers)


def _is_anybody_silent(facts: Facts) -> bool:
    return _has_process(facts) and any(unread.is_silent(facts, peer) for peer in facts.peers)


def _knows_forwarding(facts: Facts) -> bool:
    return _has_process(facts) and "net.ipv4.ip_forward" in facts.settings


STEPS = (
    Step("process", lambda _: True, (interface.tun_missing, interface.config_unreadable, interface.not_running)),
    Step(
        "keys and certificates",
        _has_process,
        (
            interface.clock_unset,
            interface.no_private_key,
            interface.certificate_ends,
            interface.certificates_refused,
            interface.duplicate_key,
        ),
        (interface.peer_certificate_ends,),
    ),
    Step("interface", _has_process, (interface.link_down, interface.port_not_open, interface.address_missing)),
    Step(
        "peers",
        _has_process,
        (interface.no_peers, interface.nobody_found),
        (interface.no_allowed_ips, interface.own_address_given_away, interface.nested_networks),
    ),
    Step("names", _has_names, (), (outside.name_unknown, outside.name_moved)),
    Step("way to the endpoint", _knows_endpoints, (), (outside.no_route_out, outside.endpoint_inside)),
    Step("our firewall, outside", _has_peers, (), (outside.sending_forbidden, outside.receiving_forbidden)),
    Step(
        "buffers and checksums",
        _has_process,
        (losses.datagrams_damaged, losses.buffer_overflows, losses.buffer_small),
    ),
    Step(
        "handshake",
        _knows_of_handshakes,
        (outside.unknown_peer_calls, outside.wrong_key_of_ours, outside.replayed_handshakes),
        (
            outside.answers_filtered,
            outside.nobody_listens,
            outside.host_unreachable,
            outside.preshared_key_differs,
            outside.unanswered,
            outside.no_endpoint,
            interface.no_keepalive,
        ),
    ),
    Step("routes into the tunnel", _has_peers, (), (inside.route_astray, inside.partly_shadowed)),
    Step(
        "allowed IPs",
        _has_peers,
        (inside.nobody_has_address,),
        (inside.source_not_allowed,),
    ),
    Step(
        "our host's filters, inside",
        _has_peers,
        (),
        (inside.replies_filtered, inside.entering_forbidden, inside.replies_forbidden),
    ),
    Step("forwarding", _knows_forwarding, (inside.not_forwarding, inside.forwarding_forbidden)),
    Step("queue and offloads", _has_process, (losses.queue_overflows, losses.packets_refused, losses.segments_damaged)),
    Step("rules that are not read", _is_anybody_silent, (unread.rules_not_understood, unread.legacy_rules)),
    Step("answer through the tunnel", _pinged, (), (inside.silent_inside,)),
    Step("packet size", _answered, (), (inside.packets_too_big, inside.path_narrow, inside.mtu_too_large)),
)


@dataclass(frozen=True, slots=True)
class Examination:
    """Everything that was looked at, of the interface `name`."""

    name: str
    steps: tuple[StepResult, ...]
    untried: int = 0

    @property
    def findings(self) -> Sequence[Finding]:
        return [finding for step in self.steps for finding in step.findings]

    @property
    def verdict(self) -> Finding | None:
        """What to mend first; None if nothing was found."""
        found = self.findings
        return next((one for severity in Severity for one in found if one.severity is severity), None)

    @property
    def is_healthy(self) -> bool:
        """Nothing was found, or advice only."""
        return all(finding.severity is Severity.ADVICE for finding in self.findings)

    def as_document(self) -> dict[str, Any]:
        """For ``--json``."""
        verdict = self.verdict
        return {
            "name": self.name,
            "healthy": self.is_healthy,
            "verdict": _document(verdict) if verdict else None,
            "steps": [
                {"step": step.title, "result": step.mark.name.lower(), "findings": list(map(_document, step.findings))}
                for step in self.steps
            ],
            "untried_peers": self.untried,
        }


def examine(facts: Facts) -> Examination:
    """Run every step."""
    return Examination(facts.name, tuple(step.run(facts) for step in STEPS), facts.untried)


def _document(finding: Finding) -> dict[str, str]:
    return {
        "severity": finding.severity.value,
        "peer": finding.peer,
        "what": finding.what,
        "why": finding.why,
        "remedy": finding.remedy,
    }

"""``tunnel why ADDRESS``: which way a packet would take, and what would stop it.

address ─ rule, table, route ─▶ interface ─ allowed IPs ─▶ peer ─ session, endpoint ─▶ outer route ─▶ out
"""

from ipaddress import ip_address

import click

from tunnel.cli.doctor import sentence
from tunnel.cli.places import Places, pass_places
from tunnel.control.status import InterfaceStatus, PeerStatus
from tunnel.control.uapi_client import list_interfaces
from tunnel.doctor import kernel
from tunnel.doctor.examination import examine
from tunnel.doctor.facts import Facts, PeerFacts, Way
from tunnel.doctor.finding import Severity
from tunnel.doctor.gather import Question, gather, read_status
from tunnel.doctor.naming import Address, find_holder
from tunnel.errors import ConfigError

STOPPED = 1

_INDENT = "    "


@click.command(
    epilog="""\b
Examples:
  tunnel why 10.8.0.7
  tunnel why fd00::7 && echo a packet would get out
"""
)
@click.argument("address")
@pass_places
def why(places: Places, address: str) -> int:
    """Say which rule, route, interface and peer a packet to ADDRESS would take, and what would stop it.

    Nothing is sent: `tunnel doctor` tries it. The exit status is 0 if a tunnel takes the packet and nothing is known to
    stop it, else 1.
    """
    target = _parse(address)
    way = kernel.find_way(str(target))
    names = list_interfaces(places.sockets)
    lines = [f"{target}: {_describe_way(target, way)}"]
    if way.interface in names:
        stops = _inside(target, way, places, lines)
    else:
        stops = _outside(target, [read_status(name, places.sockets) for name in names])
    lines += [f"{_INDENT}stopped:     {stop}" for stop in stops] or [f"{_INDENT}nothing that we know of stops it"]
    click.echo("\n".join(lines))
    return STOPPED if stops else 0


def _parse(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise ConfigError(f"'{text}' is no IP address") from None


def _describe_way(address: Address, way: Way) -> str:
    if way.problem:
        return f"goes nowhere: {way.problem}"
    parts = [f"leaves by {way.interface}"]
    if way.gateway:
        parts.append(f"via {way.gateway}")
    if way.source:
        parts.append(f"from {way.source}")
    rule = kernel.find_rule(address.version, way.table)
    return f"{' '.join(parts)}\n{_INDENT}route:       {way.network or '?'} in table {way.table}" + (
        f"\n{_INDENT}rule:        {rule}" if rule else ""
    )


def _inside(address: Address, way: Way, places: Places, lines: list[str]) -> list[str]:
    """What stops a packet that enters the tunnel; what there is to say of its way is added to `lines`."""
    status = read_status(way.interface, places.sockets)
    held = find_holder(status.peers, address)
    if held is None:
        return [f"no peer of {way.interface} has it in its allowed IPs"]
    peer, network = held
    facts = gather(Question(way.interface, sockets=places.sockets, public_key=peer.public_key, has_probes=False))
    lines += [f"{_INDENT}{f'{label}:':<12} {value}" for label, value in _describe_peer(peer, str(network), facts)]
    stops = [sentence(found) for found in examine(facts).findings if found.severity is Severity.FAULT]
    if not stops and peer.endpoint is None:
        stops = ["its endpoint is not known: it has to come to us first"]
    return stops


def _describe_peer(peer: PeerStatus, network: str, facts: Facts) -> list[tuple[str, str]]:
    rows = [
        ("peer", f"{peer.name} ({peer.public_key})" if peer.name else peer.public_key),
        ("allowed ip", network),
    ]
    found = next((one for one in facts.peers if one.status.public_key == peer.public_key), None)
    if found is not None:
        rows.append(("session", _describe_session(found, facts.now)))
        if found.outside is not None:
            outside = found.outside.problem or f"by {found.outside.interface}, from {found.outside.source}"
            rows.append(("endpoint", f"{peer.endpoint} ({outside})"))
    return rows


def _describe_session(peer: PeerFacts, now: float) -> str:
    last = peer.status.last_handshake
    if last is None:
        return "none yet; the packet waits for a handshake"
    age = f"handshake {max(0, int(now - last))} s ago"
    return age if peer.has_session(now) else f"none any more ({age}); the packet waits for a new one"


def _outside(address: Address, statuses: list[InterfaceStatus]) -> list[str]:
    """Why it is no packet for a tunnel."""
    for status in statuses:
        held = find_holder(status.peers, address)
        if held is not None:
            peer, network = held
            return [f"it would have to leave by {status.name}, where {peer.name or peer.public_key} has {network}"]
    return ["it goes around every tunnel: no peer has it in its allowed IPs" if statuses else "no interface is up"]

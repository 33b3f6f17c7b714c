"""The way to the peer's endpoint and back, outside the tunnel: name, route, firewall, answer.

name ─▶ route ─▶ our firewall ─▶ … the network … ─▶ is anybody there? ─▶ does it know us? ─▶ session
"""

from ipaddress import ip_interface

from tunnel.doctor.facts import Facts, PeerFacts
from tunnel.doctor.finding import Finding, advice, fault
from tunnel.doctor.firewall import Drop, Hook, Packet
from tunnel.endpoint import EndpointName


def name_unknown(facts: Facts, peer: PeerFacts) -> Finding | None:
    name = peer.endpoint_name
    if name is None or peer.addresses is None or peer.addresses:
        return None
    kind = advice if peer.has_session(facts.now) else fault
    return kind(f"the name {name.host} does not resolve", peer.lookup_problem, f"getent ahosts {name.host}", peer.label)


def name_moved(facts: Facts, peer: PeerFacts) -> Finding | None:
    """Only while nobody answers: with a session, a peer that roams is where it is."""
    endpoint, name = peer.endpoint, peer.endpoint_name
    if (
        name is None
        or not peer.addresses
        or endpoint is None
        or endpoint[0] in peer.addresses
        or peer.has_session(facts.now)
    ):
        return None
    why = f"{name.host} is {', '.join(peer.addresses)} now, and we send to {endpoint[0]}"
    remedy = f"wg set {facts.name} peer {peer.status.public_key} endpoint {EndpointName(peer.addresses[0], name.port)}"
    return fault("its name leads elsewhere by now", why, remedy, peer.label)


def no_endpoint(facts: Facts, peer: PeerFacts) -> Finding | None:
    if peer.endpoint is not None or (peer.addresses is not None and not peer.addresses):
        return None
    port = facts.status.listen_port if facts.status else 0
    why = f"it has no endpoint here, so it has to begin, at UDP port {port} of this host"
    return advice("it has not come yet", why, f"tcpdump -ni any udp port {port}", peer.label)


def no_route_out(facts: Facts, peer: PeerFacts) -> Finding | None:
    way = peer.outside
    if way is None or not way.problem or "program" in way.problem:
        return None
    option = "-6 " if ":" in way.address else ""
    why = f"the kernel says of {way.address}: {way.problem}"
    return fault("there is no route to its endpoint", why, f"ip {option}route add {way.address} via ROUTER", peer.label)


def endpoint_inside(facts: Facts, peer: PeerFacts) -> Finding | None:
    way = peer.outside
    if way is None or way.interface != facts.name:
        return None
    why = f"{way.address} is routed by {way.network or 'a route'} into {facts.name}, whose datagrams go to it: a loop"
    return fault("its endpoint lies inside the tunnel", why, f"ip route add {way.address} via ROUTER", peer.label)


def sending_forbidden(facts: Facts, peer: PeerFacts) -> Finding | None:
    """By a rule that we can name, or because the kernel said so (EPERM)."""
    packet = outgoing(facts, peer)
    drop = facts.firewall.drops(packet) if facts.firewall and packet else None
    if drop is not None and peer.endpoint:
        condition = f"{_ip(peer)} daddr {peer.endpoint[0]} udp dport {peer.endpoint[1]}"
        why = f"{drop} drops UDP to {peer.status.endpoint}{_count(facts, drop)}"
        return fault(
            "our own firewall stops what we send", why, f"nft insert rule {drop.base} {condition} accept", peer.label
        )
    if peer.knock in ("EPERM", "EACCES"):
        why = f"a datagram to {peer.status.endpoint} is refused on this host ({peer.knock})"
        return fault(
            "our own firewall stops what we send", why, "nft list ruleset; iptables-legacy -S OUTPUT", peer.label
        )
    return None


def receiving_forbidden(facts: Facts, peer: PeerFacts) -> Finding | None:
    if facts.firewall is None or facts.status is None or peer.has_session(facts.now):
        return None
    drops = [facts.firewall.drops(packet) for packet in incoming(facts, peer)]
    if not drops or None in drops or drops[0] is None:
        return None
    drop, port = drops[0], facts.status.listen_port
    sender = f"answers from {peer.status.endpoint}" if peer.endpoint else f"UDP to port {port}"
    why = f"{drop} drops {sender}{_count(facts, drop)}"
    remedy = f"nft insert rule {drop.base} udp dport {port} accept"
    return fault("our own firewall stops what it sends", why, remedy, peer.label)


def answers_filtered(facts: Facts, peer: PeerFacts) -> Finding | None:
    """With a firewall mark and policy routing: the kernel looks for the way back to the sender without our mark.

    With ``src_valid_mark`` it takes the mark of what came in, if a rule restores one; then only its counter tells.
    """
    way, unmarked = peer.outside, peer.unmarked
    if way is None or unmarked is None or not way.interface or ":" in way.address or peer.has_session(facts.now):
        return None
    is_marked = facts.settings.get("net.ipv4.conf.all.src_valid_mark") == "1"
    is_restored = is_marked and not facts.counted.get("TcpExtIPReversePathFilter")
    if unmarked.interface == way.interface or is_restored or not facts.is_strict(way.interface):
        return None
    why = (
        f"answers come in by {way.interface}, but without our mark the way back is {unmarked.interface or 'none'}, "
        "and rp_filter is strict"
    )
    remedy = f"sysctl -w net.ipv4.conf.{way.interface}.rp_filter=2"
    return fault("the kernel throws its answers away", why, remedy, peer.label)


def nobody_listens(facts: Facts, peer: PeerFacts) -> Finding | None:
    if peer.knock != "ECONNREFUSED" or peer.has_session(facts.now):
        return None
    why = f"the host at {peer.status.endpoint} says so (ICMP port unreachable): wrong port, or it is not up there"
    remedy = f"wg set {facts.name} peer {peer.status.public_key} endpoint HOST:PORT"
    return fault("nobody listens at its endpoint", why, remedy, peer.label)


def host_unreachable(facts: Facts, peer: PeerFacts) -> Finding | None:
    if peer.knock not in ("EHOSTUNREACH", "ENETUNREACH") or peer.has_session(facts.now) or peer.endpoint is None:
        return None
    why = f"the network says of {peer.endpoint[0]}: {'host' if peer.knock[1] == 'H' else 'network'} unreachable"
    return fault("its endpoint cannot be reached", why, f"ping {peer.endpoint[0]}", peer.label)


def preshared_key_differs(facts: Facts, peer: PeerFacts) -> Finding | None:
    """An initiation is authentic by the static keys alone, so what fails in the answer is the preshared key."""
    if not peer.new_drops("handshake_not_authentic") or peer.has_session(facts.now):
        return None
    has = "we have one" if peer.status.has_preshared_key else "we have none"
    why = f"it answers our handshakes, but the answer does not open: {has}"
    remedy = f"wg set {facts.name} peer {peer.status.public_key} preshared-key FILE"
    return fault("the preshared keys differ", why, remedy, peer.label)


def unknown_peer_calls(facts: Facts) -> Finding | None:
    count = facts.new_drops("unknown_peer")
    if not count or facts.status is None:
        return None
    why = f"{count} initiations just now, made for our key {facts.status.public_key}, by a key that is no peer here"
    remedy = f"tunnel peer add {facts.name} ITS-PUBLIC-KEY --allowed-ips ITS-ADDRESS/32"
    return fault("somebody knocks whose public key we do not have", why, remedy)


def wrong_key_of_ours(facts: Facts) -> Finding | None:
    count = facts.new_drops("wrong_mac1")
    if not count or facts.status is None:
        return None
    why = f"{count} initiations just now that are made for another public key than ours"
    remedy = f"tunnel peer add NAME {facts.status.public_key} --endpoint … --allowed-ips …  # there: this is our key"
    return fault("somebody has a wrong public key for us", why, remedy)


def replayed_handshakes(facts: Facts) -> Finding | None:
    if not facts.new_drops("replayed_handshake"):
        return None
    why = "a peer's initiations are older than its last one: its clock was set back, or two hosts share its key"
    return fault("a peer's clock has gone back", why, "timedatectl set-ntp true  # there")


def unanswered(facts: Facts, peer: PeerFacts) -> Finding | None:
    """The last resort: silence is what WireGuard says to whom it does not know."""
    if not peer.is_probed or peer.has_session(facts.now) or facts.status is None:
        return None
    why = (
        f"nothing came back from {peer.status.endpoint}: a firewall on the way, or it has not our public key "
        f"({facts.status.public_key}), or we have a wrong one for it ({peer.status.public_key}), or its port is another"
    )
    return fault("it does not answer our handshakes", why, "tunnel doctor  # there: it sees which it is", peer.label)


def _ip(peer: PeerFacts) -> str:
    return "ip6" if peer.endpoint and ":" in peer.endpoint[0] else "ip"


def _count(facts: Facts, drop: Drop) -> str:
    """What the rule's counter says of the time that we looked."""
    passed = facts.passed_by(drop)
    return f" ({passed} just now)" if passed else ""


def outgoing(facts: Facts, peer: PeerFacts) -> Packet | None:
    """A datagram of ours to the peer, None if it is not known where that is."""
    if peer.endpoint is None or peer.outside is None or facts.status is None:
        return None
    address, port = peer.endpoint
    known: dict[str, str | int] = {"daddr": address, "udp dport": port, "udp sport": facts.status.listen_port}
    known |= {"oifname": peer.outside.interface} if peer.outside.interface else {}
    known |= {"saddr": peer.outside.source} if peer.outside.source else {}
    known |= {"mark": facts.status.fwmark, "ct state": "established" if peer.has_session(facts.now) else "new"}
    return Packet(Hook.OUTPUT, 6 if ":" in address else 4, "udp", known)


def incoming(facts: Facts, peer: PeerFacts) -> list[Packet]:
    """An answer to us. Of whom we cannot call, its first datagram by any interface, unless others come through."""
    assert facts.status is not None
    port = facts.status.listen_port
    if peer.endpoint is None or peer.outside is None:
        if any(other.has_session(facts.now) for other in facts.peers):
            return []
        links = [link for link in facts.links.values() if link.is_up and link.name not in ("lo", facts.name)]
        return [
            Packet(Hook.INPUT, version, "udp", {"udp dport": port, "ct state": "new", "iifname": link.name})
            for link in links
            for version in sorted({ip_interface(address).version for address in link.addresses})
        ]
    address, sender = peer.endpoint
    known: dict[str, str | int] = {"saddr": address, "udp sport": sender, "udp dport": port, "ct state": "established"}
    known |= {"iifname": peer.outside.interface} if peer.outside.interface else {}
    return [Packet(Hook.INPUT, 6 if ":" in address else 4, "udp", known)]

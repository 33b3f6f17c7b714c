"""Packets inside the tunnel: do they enter it, does the far end's answer arrive, are they forwarded, do they fit?"""

from tunnel.config.model import MIN_IPV6_MTU, RouteTable
from tunnel.doctor.facts import Facts, Link, Network, PeerFacts, Way
from tunnel.doctor.finding import Finding, advice, doubt, fault
from tunnel.doctor.firewall import Drop, Hook, Packet
from tunnel.doctor.probe import PRECISION

MIN_IPV4_MTU = 576

OVERHEAD = {4: 60, 6: 80}
"""Bytes around an inner packet: outer IP header, UDP 8, message 4's 32."""


def route_astray(facts: Facts, peer: PeerFacts) -> Finding | None:
    """Packets for an allowed IP that do not enter the tunnel. With ``Table = off`` that is somebody's own business."""
    if _routes_are_ours(facts):
        for network in peer.networks:
            way = peer.inside.get(str(network))
            if way is not None and way.interface != facts.name and network.prefixlen > 1 and not _is_own(facts, way):
                return _astray(facts, peer, network, way)
    return None


def _astray(facts: Facts, peer: PeerFacts, network: Network, way: Way) -> Finding:
    option = "-6 " if network.version == 6 else ""
    lookup = f"ip {option}route get {way.address}"
    if way.problem or way.network in ("0.0.0.0/0", "::/0", ""):
        instead = way.problem or f"they leave by {way.interface}, the default route"
        why = f"of packets to {way.address}, {lookup} says: {instead}"
        remedy = f"ip {option}route add {network} dev {facts.name}"
        return fault(f"there is no route to {network} by {facts.name}", why, remedy, peer.label)
    why = f"packets to {way.address} leave by {way.interface}, whose route {way.network} is preferred ({lookup})"
    remedy = f"ip {option}route delete {way.network} dev {way.interface}"
    if way.table not in ("main", "local"):
        remedy += f" table {way.table}"
    return fault(f"the route to {network} is shadowed", why, remedy, peer.label)


def partly_shadowed(facts: Facts, peer: PeerFacts) -> Finding | None:
    """A longer route of another interface inside an allowed IP, which mostly is as it should be."""
    others = {route.network for route in facts.routes if route.interface == facts.name}
    for network in peer.networks:
        for route in facts.routes:
            is_inside = route.network.version == network.version and route.network.prefixlen > network.prefixlen
            if (
                network.prefixlen > 1 and is_inside and route.interface not in (facts.name, "lo")
                and route.network.network_address in network and route.network not in others
            ):  # fmt: skip
                why = f"packets to {route.network} leave by {route.interface}, only the rest of {network} by the tunnel"
                remedy = f"ip route get {route.network.network_address + 1}"
                return advice("part of its network is reached around the tunnel", why, remedy, peer.label)
    return None


def replies_filtered(facts: Facts, peer: PeerFacts) -> Finding | None:
    """Strict reverse path filtering takes only what it would send back by the same interface."""
    if not facts.is_strict(facts.name):
        return None
    for network in peer.networks:
        way = peer.inside.get(str(network))
        if network.version == 4 and way is not None and way.interface != facts.name and not _is_own(facts, way):
            count = facts.counted.get("TcpExtIPReversePathFilter", 0)
            if not count:
                continue
            why = (
                f"packets from {network} come in by {facts.name}, the way back is {way.interface or 'none'}, and "
                f"rp_filter is strict (the kernel dropped {count} just now)"
            )
            remedy = f"sysctl -w net.ipv4.conf.{facts.name}.rp_filter=2"
            return fault("the kernel throws away what comes out of the tunnel", why, remedy, peer.label)
    return None


def replies_forbidden(facts: Facts, peer: PeerFacts) -> Finding | None:
    """What comes out of the tunnel to this host: the answer to a ping is as harmless as it gets."""
    drop = _drop_of_ping(facts, peer, Hook.INPUT)
    if drop is None:
        return None
    why = f"{drop} drops answers that come out of {facts.name}"
    remedy = f'nft insert rule {drop.base} iifname "{facts.name}" ct state established accept'
    return fault("our own firewall stops what comes out of the tunnel", why, remedy, peer.label)


def entering_forbidden(facts: Facts, peer: PeerFacts) -> Finding | None:
    drop = _drop_of_ping(facts, peer, Hook.OUTPUT)
    if drop is None or peer.echo is None:
        return None
    why = f"{drop} drops packets to {peer.echo.address} by {facts.name}"
    remedy = f'nft insert rule {drop.base} oifname "{facts.name}" accept'
    return fault("our own firewall stops what goes into the tunnel", why, remedy, peer.label)


def _drop_of_ping(facts: Facts, peer: PeerFacts, hook: Hook) -> Drop | None:
    packet = ping_unanswered(facts, peer, hook)
    return facts.firewall.drops(packet) if facts.firewall and packet else None


def ping_unanswered(facts: Facts, peer: PeerFacts, hook: Hook) -> Packet | None:
    """A ping without an answer, on its way out of this host, or the answer on the way in; None if all is well."""
    echo = peer.echo
    if echo is None or echo.largest:
        return None
    if hook is Hook.OUTPUT:
        known = {"oifname": facts.name, "ct state": "new", "daddr": echo.address}
    else:
        known = {"iifname": facts.name, "ct state": "established", "saddr": echo.address}
    version, protocol = (6, "icmpv6") if ":" in echo.address else (4, "icmp")
    return Packet(hook, version, protocol, known)


def source_not_allowed(facts: Facts, peer: PeerFacts) -> Finding | None:
    count = peer.new_drops("source_not_allowed")
    if not count:
        return None
    why = f"{count} of its packets just now had a source that is not in {', '.join(peer.status.allowed_ips) or 'none'}"
    listed = ",".join((*peer.status.allowed_ips, "ITS-ADDRESS/32"))
    remedy = f"wg set {facts.name} peer {peer.status.public_key} allowed-ips {listed}"
    return fault("its packets are refused: its allowed IPs here miss an address", why, remedy, peer.label)


def nobody_has_address(facts: Facts) -> Finding | None:
    count = facts.new_drops("no_route")
    if not count:
        return None
    why = f"{count} packets just now entered {facts.name} for an address that is in no peer's allowed IPs"
    remedy = f"tcpdump -ni {facts.name} -c 5; wg show {facts.name} allowed-ips"
    return fault("packets are routed into the tunnel that no peer may have", why, remedy)


def not_forwarding(facts: Facts) -> Finding | None:
    """Packets for others arrive and are not passed on: the kernel counts what it refuses because it is no router."""
    if facts.status is None:
        return None
    for version, name, counter in (
        (4, "net.ipv4.ip_forward", "IpInAddrErrors"),
        (6, "net.ipv6.conf.all.forwarding", "Ip6InAddrErrors"),
    ):
        if facts.settings.get(name) != "0":
            continue
        refused = facts.counted.get(counter, 0)
        masquerades = version == 4 and facts.firewall is not None and facts.firewall.mentions("masquerade")
        if refused or masquerades:
            evidence = f"it refused {refused} packets for others just now" if refused else "though it masquerades"
            return fault(f"this host does not forward IPv{version}", f"{name} is 0, {evidence}", f"sysctl -w {name}=1")
    return None


def forwarding_forbidden(facts: Facts) -> Finding | None:
    """Sure if the rule that we find counts; a policy that nobody counts may be meant."""
    if facts.firewall is None or facts.settings.get("net.ipv4.ip_forward") != "1":
        return None
    for key, state in (("iifname", "new"), ("oifname", "established")):
        drop = facts.firewall.drops(Packet(Hook.FORWARD, 4, "tcp", {key: facts.name, "ct state": state}))
        if drop is None:
            continue
        passed = facts.passed_by(drop)
        direction = "from" if key == "iifname" else "back into"
        why = f"{drop} drops what is forwarded {direction} the tunnel"
        remedy = f'nft insert rule {drop.base} {key} "{facts.name}" accept'
        kind = fault if passed else advice
        what = "our own firewall stops what is forwarded"
        return kind(what, f"{why} ({passed} packets just now)" if passed else why, remedy)
    return None


def silent_inside(facts: Facts, peer: PeerFacts) -> Finding | None:
    """A session, and yet no answer inside it."""
    echo = peer.echo
    if echo is None or echo.largest or echo.is_guess or not peer.has_session(facts.now):
        return None
    if peer.was_heard:
        what, first = "the handshake is fine, but nothing answers inside", "it drops pings"
    else:
        what, first = "it has a session, but nothing comes back", "it has gone, drops pings, or the network lost it"
        if peer.knock == "ECONNREFUSED":  # or a NAT in front of it knows only the port that we have a session from
            first = f"nobody listens at {peer.status.endpoint} any more (ICMP port unreachable)"
    source = facts.link.addresses[0].partition("/")[0] if facts.link and facts.link.addresses else "our address"
    causes = f"{first}, or its allowed IPs for us miss {source}, or it has no route back"
    why = f"{echo.address} does not answer a ping: {causes}"
    return doubt(what, why, "tunnel doctor  # there: it sees which it is", peer.label)


def path_narrow(facts: Facts, peer: PeerFacts) -> Finding | None:
    """Found out by the process itself, which then lets nothing be lost."""
    status, link = peer.status, facts.link
    if status.max_packet is None or link is None or status.max_packet >= link.mtu:
        return None
    why = (
        f"{status.path_mtu} bytes get through to {status.endpoint}, so {status.max_packet} inside: larger TCP is cut, "
        f"and who sends larger packets is told (ICMP); the interface's MTU of {link.mtu} costs that work"
    )
    if status.max_packet < MIN_IPV6_MTU and any(":" in address for address in link.addresses):
        why += f"; it cannot be less than {MIN_IPV6_MTU} as long as there is IPv6 inside"
    remedy = f"ip link set {facts.name} mtu {_possible_mtu(link, status.max_packet)}"
    return advice("the path is narrower than the interface", why, remedy, peer.label)


def packets_too_big(facts: Facts, peer: PeerFacts) -> Finding | None:
    """The peer does not answer our process's own probes, or they are lost behind it."""
    echo, link, largest = peer.echo, facts.link, peer.status.max_packet
    if echo is None or link is None or not echo.largest:
        return None
    least = link.mtu if largest is None else min(link.mtu, largest - PRECISION + 1)
    if echo.largest >= least:
        return None
    why = f"through the tunnel {echo.largest} bytes come back, and {least} do not"
    if echo.largest < MIN_IPV6_MTU and any(":" in address for address in link.addresses):
        why += f"; below {MIN_IPV6_MTU} there can be no IPv6 inside"
    remedy = f"ip link set {facts.name} mtu {echo.largest}"
    return fault("large packets are lost on the way", why, remedy, peer.label)


def mtu_too_large(facts: Facts, peer: PeerFacts) -> Finding | None:
    """Larger than what the way outside takes in one piece, as far as this host knows it.

    Of a path that our process has measured it knows better.
    """
    link, way = facts.link, peer.outside
    if link is None or way is None or way.interface not in facts.links or peer.status.path_mtu is not None:
        return None
    outer = way.mtu or facts.links[way.interface].mtu
    fits = outer - OVERHEAD[6 if ":" in way.address else 4]
    if link.mtu <= fits:
        return None
    why = f"the way to {way.address} takes {outer} bytes, so {fits} inside; the interface's MTU is {link.mtu}"
    remedy = f"ip link set {facts.name} mtu {_possible_mtu(link, fits)}"
    return advice("large packets are sent in pieces", why, remedy, peer.label)


def _possible_mtu(link: Link, fits: int) -> int:
    return max(fits, MIN_IPV6_MTU if any(":" in address for address in link.addresses) else MIN_IPV4_MTU)


def _routes_are_ours(facts: Facts) -> bool:
    config = facts.config.config
    return config is None or config.interface.table is RouteTable.AUTO or config.interface.is_table_consulted


def _is_own(facts: Facts, way: Way) -> bool:
    """An address of this very host, which is another check's business."""
    return way.interface == "lo" and facts.link is not None and facts.link.has(way.address)

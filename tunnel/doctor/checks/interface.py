"""This end, before any packet moves: the process, its configuration, its certificate, its interface."""

import shlex
from collections.abc import Iterator

from tunnel.doctor.facts import Facts, PeerFacts
from tunnel.doctor.finding import Finding, advice, fault

RENEW_SOON = 7 * 86400
"""Seconds that a certificate has left when it is time."""

EARLIEST = 1_735_689_600
"""The start of 2025: a clock that shows less was never set."""


def tun_missing(facts: Facts) -> Finding | None:
    if facts.has_tun:
        return None
    return fault("this host has no TUN devices", "there is no /dev/net/tun", "modprobe tun")


def config_unreadable(facts: Facts) -> Finding | None:
    """The file is what the next start will read, whatever runs now."""
    config = facts.config
    if not config.problem:
        return None
    path = shlex.quote(str(config.path))
    mends_itself = "chmod 600" in config.problem
    remedy = f"chmod 600 {path}" if mends_itself else f"${{EDITOR:-vi}} {path}"
    return fault("the configuration cannot be used", config.problem, remedy)


def not_running(facts: Facts) -> Finding | None:
    if facts.status is not None:
        return None
    if "only root" in facts.silence:
        return fault("we may not ask the process that runs it", facts.silence, f"sudo tunnel doctor {facts.name}")
    if "does not answer" in facts.silence:
        why = "it is stopped (ps shows T), or hangs"
        return fault("the process that runs it does not answer", why, f"ss -xlp src '*/{facts.name}.sock'  # its pid")
    if facts.name in facts.links:
        why = f"there is an interface {facts.name}, but nobody answers at its control socket: {facts.silence}"
        return fault("no process of ours runs the interface", why, f"ip link delete {facts.name}")
    return fault("the interface is not up", facts.silence, f"tunnel up {facts.target} -d")


def clock_unset(facts: Facts) -> Finding | None:
    if facts.now < EARLIEST:
        return fault("the clock of this host was never set", "it shows a time long past", "timedatectl set-ntp true")
    for peer in facts.peers:
        if peer.status.last_handshake is not None and peer.status.last_handshake > facts.now + 60:
            why = "the last handshake lies in the future: peers refuse handshakes that are older than the last"
            return fault("the clock of this host was set back", why, "timedatectl set-ntp true", peer.label)
    return None


def no_private_key(facts: Facts) -> Finding | None:
    if facts.status is None or facts.status.public_key is not None:
        return None
    remedy = f"umask 077; tunnel genkey >{facts.name}.key; wg set {facts.name} private-key {facts.name}.key"
    return fault("the interface has no private key", "without one nobody can be talked to", remedy)


def certificate_ends(facts: Facts) -> Finding | None:
    status = facts.status
    if status is None or status.certificate_expires is None:
        return None
    identity = str(_identity(facts) or "/etc/tunnel/identity.pem")
    remedy = f"tunnel cert renew {shlex.quote(identity)} && tunnel reload {facts.name}"
    left = status.certificate_expires - facts.now
    if left <= 0:
        return fault("our certificate has expired", "members refuse it from then on", remedy)
    if left < RENEW_SOON:
        return advice(f"our certificate ends in {left / 86400:.1f} days", "members refuse it from then on", remedy)
    return None


def no_peers(facts: Facts) -> Finding | None:
    status = facts.status
    if status is None or status.peers or status.identity is not None:
        return None
    remedy = f"tunnel peer add {facts.name} KEY --endpoint HOST:PORT --allowed-ips ADDRESS/32"
    return fault("the interface has no peers", "there is nobody to talk to", remedy)


def nobody_found(facts: Facts) -> Finding | None:
    """Of a member: it dials, and nobody answers, or nobody with a good certificate."""
    status = facts.status
    if status is None or status.dialling is None or status.refusals:
        return None
    why = f"{status.dialling}: it is not up, its network loses UDP, its CA is another, or it refuses us"
    return fault("nobody whom we dial has let us in", why, "tunnel doctor  # there: it says why it refuses")


def certificates_refused(facts: Facts) -> Finding | None:
    """A fault if that is why we have nobody, or if it happens now; what was long ago is not worth a word."""
    status, before = facts.status, facts.before
    if status is None or before is None:
        return None
    new = {name: count - before.refusals.get(name, 0) for name, count in status.refusals.items()}
    refused = {name: count for name, count in new.items() if count > 0}
    if status.dialling is not None:
        refused = refused or dict(status.refusals)
    if not refused:
        return None
    from tunnel.pki.problem import Problem  # X.509 takes its time to import

    words = {problem.value: problem.words for problem in Problem}
    listed = ", ".join(f"{count} × {words.get(name, name)}" for name, count in refused.items())
    is_clock = bool({"wrong_clock", "not_yet_valid"} & refused.keys())
    remedy = "timedatectl set-ntp true" if is_clock else f"tunnel events {facts.name}"
    return fault("certificates of others are refused here", listed, remedy)


def duplicate_key(facts: Facts) -> Finding | None:
    status = facts.status
    for other in facts.others:
        if status is not None and status.public_key and other.public_key == status.public_key:
            ours, theirs = ({peer.public_key for peer in one.peers} for one in (status, other))
            why = f"{other.name}, on this host too, has the same one"
            if ours & theirs:
                why += ", and a peer in common: it answers whichever of the two spoke last"
            remedy = f"umask 077; tunnel genkey >{facts.name}.key; wg set {facts.name} private-key {facts.name}.key"
            return (fault if ours & theirs else advice)("two interfaces use one private key", why, remedy)
    return None


def link_down(facts: Facts) -> Finding | None:
    if facts.status is None:
        return None
    if facts.link is None:
        why = f"a process runs {facts.name}, but this network namespace has no such interface"
        return fault("the interface is not there", why, facts.restart)
    if facts.link.is_up:
        return None
    return fault("the interface is down", "it exists, and was switched off", f"ip link set {facts.name} up")


def port_not_open(facts: Facts) -> Finding | None:
    """The link is up, and yet the process has had no socket all the time: it tries again every two seconds."""
    status, before, link = facts.status, facts.before, facts.link
    if status is None or before is None or link is None or not link.is_up:
        return None
    if before.receive_buffer != 0 or status.receive_buffer != 0:
        return None
    why = f"another program has UDP port {status.listen_port}, or the process has no descriptors left: see its log"
    return fault("the interface is deaf", why, f"ss -ulpn 'sport = :{status.listen_port}'")


def address_missing(facts: Facts) -> Finding | None:
    if facts.link is None or facts.status is None:
        return None
    config = facts.config.config
    for address in config.interface.addresses if config else ():
        if not facts.link.has(str(address.ip)):
            why = f"the configuration has it, the interface has {', '.join(facts.link.addresses) or 'none'}"
            remedy = f"ip address add {address} dev {facts.name}"
            if any(way.interface != facts.name for peer in facts.peers for way in peer.inside.values()):
                remedy = f"tunnel reload {facts.name}"  # the kernel takes routes away with an interface's last address
            return fault(f"the address {address.ip} is missing", why, remedy)
    if facts.link.addresses:
        return None
    remedy = f"ip address add ADDRESS dev {facts.name}"
    return fault("the interface has no address", "what leaves by it has an address that no peer expects", remedy)


def no_allowed_ips(facts: Facts, peer: PeerFacts) -> Finding | None:
    if peer.status.allowed_ips:
        return None
    remedy = f"wg set {facts.name} peer {peer.status.public_key} allowed-ips ADDRESS/32"
    why = "no packet is sent to it, and none of its packets is taken"
    return fault("it has no allowed IPs", why, remedy, peer.label)


def own_address_given_away(facts: Facts, peer: PeerFacts) -> Finding | None:
    """A single address of ours, allowed to a peer: a slip, as the kernel never routes it out."""
    for network in peer.networks:
        address = str(network.network_address)
        if network.prefixlen == network.max_prefixlen and facts.link is not None and facts.link.has(address):
            why = f"{network} is this interface's own address, so packets to it never leave this host"
            remedy = f"wg set {facts.name} peer {peer.status.public_key} allowed-ips ITS-OWN-ADDRESS/32"
            return fault("its allowed IPs hold our own address", why, remedy, peer.label)
    return None


def nested_networks(facts: Facts, peer: PeerFacts) -> Finding | None:
    """An allowed IP inside another peer's: right if meant, and a puzzle if not."""
    for other, network, part in _nested(facts, peer):
        why = f"{part} belongs to {other.label}, so only the rest of {network} goes to {peer.label}"
        return advice("allowed IPs overlap", why, f"wg show {facts.name} allowed-ips", peer.label)
    return None


def no_keepalive(facts: Facts, peer: PeerFacts) -> Finding | None:
    """From a private address to a public one there is a NAT on the way, which forgets who is silent."""
    from ipaddress import ip_address

    if peer.status.persistent_keepalive or peer.outside is None or not peer.outside.source:
        return None
    source, target = ip_address(peer.outside.source), ip_address(peer.outside.address)
    if source.is_global or not target.is_global or source.version == 6:
        return None
    why = f"from {source} to {target} there is NAT, which forgets us when we are silent; then it cannot reach us"
    remedy = f"wg set {facts.name} peer {peer.status.public_key} persistent-keepalive 25"
    return advice("no keepalive behind NAT", why, remedy, peer.label)


def peer_certificate_ends(facts: Facts, peer: PeerFacts) -> Finding | None:
    expires = peer.status.certificate_expires
    if expires is None or expires - facts.now > RENEW_SOON:
        return None
    why = f"it ends in {max(0.0, expires - facts.now) / 86400:.1f} days; then it is a peer no more"
    return advice("its certificate ends soon", why, "tunnel cert renew IDENTITY  # there", peer.label)


def _identity(facts: Facts) -> object:
    config = facts.config.config
    return config.interface.certificates.identity if config and config.interface.certificates else None


def _nested(facts: Facts, peer: PeerFacts) -> Iterator[tuple[PeerFacts, object, object]]:
    for other in facts.peers:
        for network in peer.networks if other is not peer else ():
            if network.prefixlen <= 1:
                continue  # a default route is meant to have exceptions
            for part in other.networks:
                if part.version == network.version and part != network and part.subnet_of(network):  # type: ignore[arg-type]
                    yield other, network, part

"""Finding out what there is to know: everything is read, then the probes are sent, then what moves is read again.

    status, counters, firewall ─▶ per peer: name, ways, knock, ping ─▶ status, counters, firewall ─▶ Facts

Nothing of this host is changed. Peers are probed side by side, a few at most; a session that is not there is waited
for as long as a handshake takes that was just tried and is tried again.
"""

import os
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from tunnel.control.status import InterfaceStatus, PeerStatus
from tunnel.control.uapi_client import SOCKET_DIRECTORY, TIMEOUT, ControlClient, list_interfaces
from tunnel.doctor import kernel
from tunnel.doctor.facts import ConfigFacts, Echo, Facts, Link, Network, PeerFacts, Route
from tunnel.doctor.probe import Pinger, knock
from tunnel.endpoint import EndpointName
from tunnel.errors import ControlError

TUN_DEVICE = Path("/dev/net/tun")

PROBED = 8
"""Peers that are probed unless one is named: a hub's thousand would take long and tell little."""

HANDSHAKE_PATIENCE = 6.5
"""Seconds that a first answer may take: a handshake that was just tried is tried again after 5.33 at the most."""

PING_PATIENCE = 0.7
OTHERS_PATIENCE = 1.0
GLANCE = 2.0
"""Seconds in which to see what is dropped, when everybody is there."""

_NEVER_ROUTED = {4: "203.0.113.1", 6: "2001:db8::1"}
"""Stand for anywhere, where the allowed IP is a default route (RFC 5737, RFC 3849)."""


Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class Question:
    """What a person wants to know: about all peers, or about `public_key`. `has_probes`: whether to send anything."""

    name: str
    config: ConfigFacts = field(default_factory=ConfigFacts)
    sockets: Path = SOCKET_DIRECTORY
    public_key: str | None = None
    has_probes: bool = True


def gather(question: Question) -> Facts:
    """Takes up to some ten seconds, when nobody answers."""
    try:
        before = read_status(question.name, question.sockets)
    except ControlError as error:
        return _without_process(question, str(error))
    counters, firewall = kernel.read_counters(), kernel.read_firewall()
    port_drops = kernel.read_port_drops(before.listen_port)
    routes, links = kernel.read_routes(), kernel.read_links()
    chosen = _choose(before, question)
    looking = _Looking(question, before, routes, links)
    with ThreadPoolExecutor(max_workers=PROBED) as pool:
        peers = list(pool.map(looking.examine, chosen))
    if question.has_probes:
        looking.listen(peers)
    status = looking.read()
    after = kernel.read_firewall()
    links_after = kernel.read_links()
    return Facts(
        name=question.name,
        now=time.time(),
        config=question.config,
        has_tun=TUN_DEVICE.exists(),
        status=status,
        before=before,
        links=links,
        routes=routes,
        peers=tuple(_updated(peer, status) for peer in peers),
        untried=len(before.peers) - len(chosen),
        others=_others(question),
        settings=kernel.read_settings(links),
        counted=_growth(counters, kernel.read_counters()),
        firewall=after,
        passed=_growth(firewall.counters(), after.counters()) if firewall and after else {},
        port_drops=kernel.read_port_drops(before.listen_port) - port_drops,
        queue_drops=_queue_drops(links_after, question.name) - _queue_drops(links, question.name),
        legacy_tables=kernel.read_legacy_tables(),
    )


def read_status(name: str, sockets: Path, timeout: float = TIMEOUT) -> InterfaceStatus:
    """What the process tells, or what UAPI's ``get`` tells if it is not one of ours; raise `ControlError`."""
    try:
        with ControlClient.connect(name, sockets, timeout) as client:
            return InterfaceStatus.from_json(client.request("status=1\n\n"))
    except (ControlError, ValueError):
        from tunnel.config.uapi import parse_get

        with ControlClient.connect(name, sockets, timeout) as client:
            snapshot = parse_get(client.request("get=1\n\n"), socket.if_nametoindex)
        return InterfaceStatus.from_snapshot(snapshot, name=name)


class _Looking:
    """One examination of one interface."""

    def __init__(
        self, question: Question, before: InterfaceStatus, routes: Sequence[Route], links: Mapping[str, Link]
    ) -> None:
        self._question = question
        self._before = before
        self._routes = routes
        self._links = links
        self._began = time.monotonic()

    def read(self) -> InterfaceStatus:
        """The status now; the one from before if the process has gone meanwhile."""
        try:
            return read_status(self._question.name, self._question.sockets)
        except ControlError:
            return self._before

    def examine(self, peer: PeerStatus) -> PeerFacts:
        facts = PeerFacts(peer, peer)
        addresses, problem = _look_up(facts.endpoint_name)
        fwmark, endpoint = self._before.fwmark, facts.endpoint
        can_ping = self._question.has_probes and os.geteuid() == 0
        echo = self._ping(facts) if can_ping else None
        must_knock = self._question.has_probes and not (echo and echo.largest)
        return replace(
            facts,
            addresses=addresses,
            lookup_problem=problem,
            outside=kernel.find_way(endpoint[0], fwmark) if endpoint else None,
            unmarked=kernel.find_way(endpoint[0]) if endpoint and fwmark else None,
            knock=knock(*endpoint, fwmark) if endpoint and must_knock else None,
            inside={str(network): kernel.find_way(self._sample(network)) for network in facts.networks},
            echo=echo,
        )

    def listen(self, peers: Sequence[PeerFacts]) -> None:
        """Look on long enough to see what comes by itself: peers without a session try again and again."""
        status = self.read()
        is_quiet = bool(peers) and all(_updated(peer, status).has_session(time.time()) for peer in peers)
        patience = GLANCE if is_quiet else HANDSHAKE_PATIENCE
        time.sleep(max(0.0, self._began + patience - time.monotonic()))

    def _ping(self, peer: PeerFacts) -> Echo | None:
        """None: there is nobody to ping, or no way to do it."""
        target = _target(peer)
        if target is None or (peer.endpoint is None and not peer.has_session(time.time())):
            return None
        address, is_guess = target
        link = self._links.get(self._question.name)
        mtu = link.mtu if link else 0
        try:
            with Pinger(self._question.name, address) as pinger:
                return Echo(address, self._largest(pinger, peer, mtu), is_guess)
        except OSError:
            return None

    def _largest(self, pinger: Pinger, peer: PeerFacts, mtu: int) -> int:
        small = 84
        give_up = time.monotonic() + (HANDSHAKE_PATIENCE if not peer.has_session(time.time()) else 3 * PING_PATIENCE)
        while not pinger.ping(small, PING_PATIENCE):
            if time.monotonic() > give_up or not mtu:
                return 0
        if mtu <= small or any(pinger.ping(mtu, PING_PATIENCE) for _ in range(3)):
            return max(mtu, small)
        return pinger.find_largest(small, mtu, PING_PATIENCE / 2)

    def _sample(self, network: Network) -> str:
        """An address of the network, best one that no longer route of another interface takes."""
        if network.prefixlen <= 1:
            return _NEVER_ROUTED[network.version]
        foreign = [
            route.network
            for route in self._routes
            if route.interface != self._question.name and route.network.version == network.version
            and route.network.prefixlen > network.prefixlen
        ]  # fmt: skip
        last = network.num_addresses - 1
        candidates = [network[min(number, last)] for number in (1, last // 2, last - 1 if last else 0)]
        free = (address for address in candidates if not any(address in taken for taken in foreign))
        return str(next(free, candidates[0]))


def _without_process(question: Question, silence: str) -> Facts:
    return Facts(
        name=question.name,
        now=time.time(),
        config=question.config,
        has_tun=TUN_DEVICE.exists(),
        silence=silence,
        links=kernel.read_links(),
        others=_others(question),
    )


def _choose(status: InterfaceStatus, question: Question) -> list[PeerStatus]:
    """Those that are meant, else a few: first whom we know how to reach, and who is silent."""
    if question.public_key is not None:
        return [peer for peer in status.peers if peer.public_key == question.public_key]
    return sorted(status.peers, key=lambda peer: (peer.endpoint is None, peer.last_handshake or 0))[:PROBED]


def _look_up(name: EndpointName | None) -> tuple[tuple[str, ...] | None, str]:
    """(addresses, why there are none); (None, "") if the endpoint is no name."""
    if name is None or name.numeric():
        return None, ""
    try:
        found = socket.getaddrinfo(name.host, name.port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        return (), (error.strerror if isinstance(error, OSError) else str(error)) or "no answer"
    return tuple(dict.fromkeys(str(item[4][0]) for item in found)), ""


def _target(peer: PeerFacts) -> tuple[str, bool] | None:
    """What to ping, and whether that is a guess: an address of its own, else the first one of a network."""
    networks = sorted(peer.networks, key=lambda network: (-network.prefixlen + network.max_prefixlen, network.version))
    for network in networks:
        if network.prefixlen == network.max_prefixlen:
            return str(network.network_address), False
        return str(network[1]) if network.prefixlen > 1 else _NEVER_ROUTED[network.version], True
    return None


def _updated(peer: PeerFacts, after: InterfaceStatus) -> PeerFacts:
    """With the status from after the probes; one that was removed meanwhile keeps the old one."""
    same = (one for one in after.peers if one.public_key == peer.status.public_key)
    return replace(peer, status=next(same, peer.status))


def _others(question: Question) -> tuple[InterfaceStatus, ...]:
    """Of the same user's other interfaces, those that answer: only to see whether a key is used twice."""
    found: list[InterfaceStatus] = []
    with suppress(ControlError):
        for name in list_interfaces(question.sockets):
            if name != question.name:
                with suppress(ControlError):
                    found.append(read_status(name, question.sockets, OTHERS_PATIENCE))
    return tuple(found)


def _queue_drops(links: Mapping[str, Link], name: str) -> int:
    return links[name].queue_drops if name in links else 0


def _growth(before: Mapping[Key, int], after: Mapping[Key, int]) -> dict[Key, int]:
    return {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}

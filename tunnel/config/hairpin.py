"""Endpoints that lie inside the tunnel: datagrams that would be routed into the interface that sends them.

    allowed IPs of peer A ∋ endpoint of A        packet → tunnel → datagram to A → tunnel → datagram to A → …

The same happens around a corner, when A is reached through B and B through A. A is merely nested, and fine, when it is
reached through B, and B from outside. A firewall mark, or routes in a table of one's own, mean that somebody has
thought about it; then nothing is reported.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from tunnel.config.model import TunnelConfig
from tunnel.config.patch import IPNetwork
from tunnel.endpoint import Endpoint
from tunnel.keys import PublicKey


@dataclass(frozen=True, slots=True)
class Hairpin:
    """Datagrams to `peer` at `endpoint` would follow the route for `network` into the tunnel, and never leave it."""

    peer: PublicKey
    endpoint: Endpoint
    network: IPNetwork

    def __str__(self) -> str:
        return (
            f"inside {self.network}, which is routed into the tunnel, so datagrams to it would loop: "
            "leave it out of AllowedIPs, or route it outside yourself and set FwMark or Table = off"
        )


def hairpins(config: TunnelConfig, endpoints: Mapping[PublicKey, Endpoint]) -> tuple[Hairpin, ...]:
    """The peers in `endpoints` (what names resolved to, and what was numeric) that cannot be reached there."""
    if config.interface.fwmark or not config.interface.is_table_consulted:
        return ()
    owners = {network: peer.public_key for peer in config.peers for network in peer.allowed_ips}
    lengths = sorted({network.prefixlen for network in owners}, reverse=True)
    routes = {peer: _longest_match(endpoint, owners, lengths) for peer, endpoint in endpoints.items()}
    carriers = {peer: owners[network] for peer, network in routes.items() if network is not None}
    return tuple(
        Hairpin(peer, endpoints[peer], network)
        for peer, network in routes.items()
        if network is not None and _is_own_carrier(peer, carriers)
    )


def _longest_match(endpoint: Endpoint, networks: Container[IPNetwork], lengths: Iterable[int]) -> IPNetwork | None:
    """The longest of `networks` that holds the endpoint; `lengths` are those to try, longest first."""
    for length in lengths:
        if length <= len(endpoint.packed) * 8:
            network = ip_network((endpoint.packed, length), strict=False)
            if network in networks:
                return network
    return None


def _is_own_carrier(peer: PublicKey, carriers: Mapping[PublicKey, PublicKey]) -> bool:
    """Whether following who carries whose datagrams comes back to `peer`."""
    seen = set[PublicKey]()
    hop = carriers.get(peer)
    while hop is not None and hop not in seen:
        if hop == peer:
            return True
        seen.add(hop)
        hop = carriers.get(hop)
    return False

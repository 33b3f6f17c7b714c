"""Which peer is meant: by what a person types, or by an address that a packet goes to."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from tunnel.control.status import PeerStatus
from tunnel.doctor.facts import Network

Address = IPv4Address | IPv6Address


def find_peer(peers: Sequence[PeerStatus], text: str) -> PeerStatus | None:
    """By the beginning of its key, its certificate's name, its endpoint's host, or an address that it has."""
    for peer in peers:
        host = (peer.endpoint_name or "").rpartition(":")[0].strip("[]")
        numeric = (peer.endpoint or "").rpartition(":")[0].strip("[]")
        if text in (peer.name, host, numeric):
            return peer
    try:
        address = ip_address(text)
    except ValueError:
        begins = [peer for peer in peers if peer.public_key.startswith(text)]
        return begins[0] if len(begins) == 1 else None
    found = find_holder(peers, address)
    return found[0] if found else None


def find_holder(peers: Iterable[PeerStatus], address: Address) -> tuple[PeerStatus, Network] | None:
    """Cryptokey routing: whose allowed IP is the longest that holds the address."""
    holding = [
        (peer, network)
        for peer in peers
        for network in map(ip_network, peer.allowed_ips)
        if network.version == address.version and address in network
    ]
    return max(holding, key=lambda found: found[1].prefixlen, default=None)

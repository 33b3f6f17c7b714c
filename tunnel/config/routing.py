"""The routes that a configuration asks for: into the interface, for what its peers may send and be sent.

allowed IPs of all peers ─ without those that the kernel routes for an address of ours ─▶ longest prefix first
"""

from tunnel.config.model import InterfaceConfig, RouteTable, TunnelConfig
from tunnel.config.patch import IPNetwork
from tunnel.keys import PublicKey


def wanted_routes(config: TunnelConfig) -> list[IPNetwork]:
    """The routes to add, the longest prefix first: the allowed IPs of all peers, each once.

    In the main table, those inside the network of one of the interface's own addresses are left out: the kernel
    makes that route itself.
    """
    interface = config.interface
    if interface.table is RouteTable.OFF:
        return []
    networks = dict.fromkeys(network for peer in config.peers for network in peer.allowed_ips)
    wanted = [
        network for network in networks if interface.table is not RouteTable.AUTO or not _is_own(network, interface)
    ]
    return sorted(wanted, key=lambda network: -network.prefixlen)


def static_networks(config: TunnelConfig) -> dict[IPNetwork, PublicKey | None]:
    """The networks that lead into the interface because of the configuration alone, and the peer that each belongs to.

    None if to none, as those of the interface's own addresses.
    """
    static: dict[IPNetwork, PublicKey | None] = dict.fromkeys(wanted_routes(config))
    for peer in config.peers:
        static.update((network, peer.public_key) for network in peer.allowed_ips if network in static)
    return static | dict.fromkeys(address.network for address in config.interface.addresses)


def _is_own(network: IPNetwork, interface: InterfaceConfig) -> bool:
    """Whether the interface's own connected routes cover it."""
    own = (address.network for address in interface.addresses if address.version == network.version)
    return any(network.prefixlen >= connected.prefixlen and network.network_address in connected for connected in own)

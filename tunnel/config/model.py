"""The configuration of one interface, as a person means it: a wg-quick file without its syntax.

Frozen values, checked by whoever parsed them. `TunnelConfig.device_patch` is how they reach the device; the rest
(addresses, MTU, routes, hooks) is for the daemon.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Interface, IPv6Interface

from tunnel.config.patch import AllowedIPChange, DevicePatch, IPNetwork, PeerPatch
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey

IPInterface = IPv4Interface | IPv6Interface

CONSULTED_TABLES = frozenset({253, 254, 255})
"""default, main and local: the routing tables that every lookup goes through, rules or no rules (ip-rule(8))."""


class RouteTable(Enum):
    """The two words that ``Table =`` takes besides a number."""

    AUTO = "auto"
    OFF = "off"


class Offload(Enum):
    """The directions in which the kernel shares work with us: superpackets and checksums at the TUN, trains at UDP."""

    AUTO = "auto"
    OFF = "off"
    SEND = "send"
    RECEIVE = "receive"

    @property
    def sends(self) -> bool:
        """The kernel leaves us superpackets and checksums, and cuts the trains that we send."""
        return self in (Offload.AUTO, Offload.SEND)

    @property
    def receives(self) -> bool:
        """The kernel joins what we receive into trains, and takes superpackets and checksums from us."""
        return self in (Offload.AUTO, Offload.RECEIVE)


@dataclass(frozen=True, slots=True)
class Hooks:
    """Shell commands in the order written, verbatim; ``%i`` is the interface name."""

    pre_up: tuple[str, ...] = ()
    post_up: tuple[str, ...] = ()
    pre_down: tuple[str, ...] = ()
    post_down: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """One ``[Peer]`` section. `persistent_keepalive` is in seconds, 0 is off."""

    public_key: PublicKey
    preshared_key: PresharedKey = NO_PRESHARED_KEY
    endpoint: EndpointName | None = None
    persistent_keepalive: int = 0
    allowed_ips: tuple[IPNetwork, ...] = ()


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """The ``[Interface]`` section. `mtu` None: from the route to the endpoint. `table`: a number, or a word.

    `extensions`: whether to use what goes beyond plain WireGuard with peers that know it too.
    """

    private_key: PrivateKey
    listen_port: int = 0
    fwmark: int = 0
    addresses: tuple[IPInterface, ...] = ()
    mtu: int | None = None
    table: RouteTable | int = RouteTable.AUTO
    offload: Offload = Offload.AUTO
    extensions: bool = True
    save_config: bool = False
    hooks: Hooks = Hooks()

    @property
    def is_table_consulted(self) -> bool:
        """Whether the routes for allowed IPs go where every packet of this host looks, our own datagrams included."""
        return self.table is RouteTable.AUTO or self.table in CONSULTED_TABLES


@dataclass(frozen=True, slots=True)
class TunnelConfig:
    """A whole file."""

    interface: InterfaceConfig
    peers: tuple[PeerConfig, ...] = ()

    def device_patch(self, endpoints: Mapping[PublicKey, Endpoint] | None = None) -> DevicePatch:
        """Everything the device needs, replacing what it had.

        `endpoints` holds what the names resolved to; a name that is not in it stays unset, a numeric one is used.
        """
        resolved = endpoints or {}
        return DevicePatch(
            private_key=self.interface.private_key,
            listen_port=self.interface.listen_port,
            fwmark=self.interface.fwmark,
            replace_peers=True,
            peers=tuple(
                PeerPatch(
                    public_key=peer.public_key,
                    preshared_key=peer.preshared_key,
                    endpoint=resolved.get(peer.public_key) or (peer.endpoint.numeric() if peer.endpoint else None),
                    persistent_keepalive=peer.persistent_keepalive,
                    replace_allowed_ips=True,
                    allowed_ips=tuple(AllowedIPChange(network) for network in peer.allowed_ips),
                )
                for peer in self.peers
            ),
        )

"""The configuration of one interface, as a person means it: a wg-quick file without its syntax.

Frozen values, checked by whoever parsed them. `TunnelConfig.device_patch` is how they reach the device; the rest
(addresses, MTU, routes, hooks) is for the daemon.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_interface
from pathlib import Path

from tunnel.config.patch import AllowedIPChange, DevicePatch, IPNetwork, PeerPatch
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.errors import ConfigError
from tunnel.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey

IPInterface = IPv4Interface | IPv6Interface

CONSULTED_TABLES = frozenset({253, 254, 255})
"""default, main and local: the routing tables that every lookup goes through, rules or no rules (ip-rule(8))."""

WIREGUARD_PORT = 51820
"""Where a host with a certificate is dialled, unless told otherwise: what everybody uses, though nobody assigned it."""

MIN_IPV6_MTU = 1280
"""RFC 8200, section 5. Below it Linux takes IPv6 off an interface, and every IPv6 address and route is refused."""

DEFAULT_MAX_PEERS = 1000


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

    def patch(self, endpoint: Endpoint | None = None) -> PeerPatch:
        """Everything about it, whatever was there before; `endpoint` is what its name resolved to, if it did."""
        return PeerPatch(
            public_key=self.public_key,
            preshared_key=self.preshared_key,
            endpoint=endpoint or (self.endpoint.numeric() if self.endpoint else None),
            persistent_keepalive=self.persistent_keepalive,
            replace_allowed_ips=True,
            allowed_ips=tuple(AllowedIPChange(network) for network in self.allowed_ips),
        )


@dataclass(frozen=True, slots=True)
class CertificateConfig:
    """How certificates take the place of keys: the files that say who we are and whom we believe, and who may come.

    `identity` holds the private key, our certificate and its CA. `peers` are alternatives to dial. `allow` are patterns
    (`fnmatch.fnmatchcase`) of the names that strangers may have, empty: any; `max_peers` is how many of them.
    """

    identity: Path
    authorities: tuple[Path, ...] = ()
    crls: tuple[Path, ...] = ()
    peers: tuple[EndpointName, ...] = ()
    allow: tuple[str, ...] = ()
    max_peers: int = DEFAULT_MAX_PEERS


@dataclass(frozen=True, slots=True)
class InterfaceConfig:
    """The ``[Interface]`` section. `mtu` None: from the route to the endpoint. `table`: a number, or a word.

    `extensions`: whether to use what goes beyond plain WireGuard with peers that know it too. With `certificates` the
    private key is `NO_PRIVATE_KEY` until `TunnelConfig.identified` knows it.
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
    certificates: CertificateConfig | None = None

    @property
    def is_table_consulted(self) -> bool:
        """Whether the routes for allowed IPs go where every packet of this host looks, our own datagrams included."""
        return self.table is RouteTable.AUTO or self.table in CONSULTED_TABLES


@dataclass(frozen=True, slots=True)
class TunnelConfig:
    """A whole file."""

    interface: InterfaceConfig
    peers: tuple[PeerConfig, ...] = ()

    def identified(
        self, private_key: PrivateKey, addresses: Sequence[IPv4Address | IPv6Address], *, is_server: bool
    ) -> "TunnelConfig":
        """This configuration, as it was read, with what our certificate says: the key, and `addresses` of our own.

        Each of these is there alone (/32, /128), unless ``Address`` has the same one with a prefix; they go in front. A
        host that is dialled (`is_server`) listens on `WIREGUARD_PORT`, if no other was chosen. Raise `ConfigError` if
        the two do not fit together: we are our own peer, or the MTU is too small for an IPv6 address.
        """
        if any(peer.public_key == private_key.public_key for peer in self.peers):
            raise ConfigError(
                f"'{private_key.public_key}': our identity's own; we cannot be our own peer", key="PublicKey"
            )
        mtu = self.interface.mtu
        if mtu is not None and mtu < MIN_IPV6_MTU and any(address.version == 6 for address in addresses):
            raise ConfigError(f"'{mtu}': our certificate's IPv6 address needs at least {MIN_IPV6_MTU}", key="MTU")
        interface = replace(
            self.interface,
            private_key=private_key,
            addresses=_merge_addresses(addresses, self.interface.addresses),
            listen_port=self.interface.listen_port or (WIREGUARD_PORT if is_server else 0),
        )
        return replace(self, interface=interface)

    def device_patch(self, endpoints: Mapping[PublicKey, Endpoint] | None = None) -> DevicePatch:
        """Everything the device needs, replacing what it had.

        `endpoints` holds what the names resolved to; a name that is not in it stays unset, a numeric one is used. With
        certificates there is no private key before `identified`.
        """
        resolved = endpoints or {}
        return DevicePatch(
            private_key=self.interface.private_key,
            listen_port=self.interface.listen_port,
            fwmark=self.interface.fwmark,
            replace_peers=True,
            peers=tuple(peer.patch(resolved.get(peer.public_key)) for peer in self.peers),
        )


def _merge_addresses(
    own: Sequence[IPv4Address | IPv6Address], configured: Sequence[IPInterface]
) -> tuple[IPInterface, ...]:
    """`own` in front, each as it is configured, else alone; then the others that are configured."""
    in_front = [
        chosen
        for address in own
        for chosen in [interface for interface in configured if interface.ip == address] or [ip_interface(address)]
    ]
    return tuple(dict.fromkeys([*in_front, *configured]))

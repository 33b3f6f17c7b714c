"""What is known about one interface, its peers and this host, before anybody judges it.

    files, control socket, ip -j, nft -j, /proc, probes ── gather ──▶ Facts ── checks ──▶ findings

Facts are plain values: a test makes them up. What could not be found out is None, and the checks that need it are left
out. Counters come twice, from before and after the probes: what has grown meanwhile happens now, and is no story of
last week.
"""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_interface, ip_network
from pathlib import Path

from tunnel.config.model import TunnelConfig
from tunnel.control.status import InterfaceStatus, PeerStatus
from tunnel.doctor.firewall import ChainName, Drop, Ruleset
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.protocol.constants import REJECT_AFTER_TIME

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """`path` None: there is no file. `problem` is why it could not be read."""

    path: Path | None = None
    config: TunnelConfig | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface of this host; `addresses` as ``10.8.0.2/24``.

    `queue_length` is in packets (``txqueuelen``), `queue_drops` how many have not been taken since it exists.
    """

    name: str
    is_up: bool
    mtu: int
    addresses: tuple[str, ...] = ()
    queue_length: int = 0
    queue_drops: int = 0

    def has(self, address: str) -> bool:
        return any(ip_interface(held).ip == ip_interface(address).ip for held in self.addresses)


@dataclass(frozen=True, slots=True)
class Way:
    """Where the kernel sends a packet for an address. `problem` is its refusal, and then nothing else is known.

    `network` and `table` are those of the route that decided; `mtu` is 0 if the route has none of its own.
    """

    address: str
    interface: str = ""
    source: str = ""
    gateway: str = ""
    network: str = ""
    table: str = "main"
    mtu: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """A line of the main routing table."""

    network: Network
    interface: str


@dataclass(frozen=True, slots=True)
class Echo:
    """A ping through the tunnel to `address`. `largest` is the size in bytes of the largest packet that came back,

    0 if none did. `is_guess`: nobody said that a host has this address.
    """

    address: str
    largest: int
    is_guess: bool = False


@dataclass(frozen=True, slots=True)
class PeerFacts:
    """One peer. `status` is from after the probes, `before` from before them.

    `addresses` are what the endpoint's name resolves to now, None if it has no name; `lookup_problem` why it does not.
    `outside` is the way to the endpoint with our firewall mark, `unmarked` without. `knock` is the name of the error
    (``ECONNREFUSED``) that a datagram to the endpoint met, empty without one, None if there was no knocking. `inside`
    are the ways to an address of each allowed IP, by its text.
    """

    status: PeerStatus
    before: PeerStatus
    addresses: tuple[str, ...] | None = None
    lookup_problem: str = ""
    outside: Way | None = None
    unmarked: Way | None = None
    knock: str | None = None
    inside: Mapping[str, Way] = field(default_factory=dict)
    echo: Echo | None = None

    @property
    def label(self) -> str:
        """What a person calls it."""
        return self.status.name or self.status.endpoint_name or f"{self.status.public_key[:8]}…"

    @property
    def endpoint(self) -> tuple[str, int] | None:
        """Address and port, None while not known."""
        if self.status.endpoint is None:
            return None
        endpoint = Endpoint.parse(self.status.endpoint)
        return endpoint.host, endpoint.port

    @property
    def endpoint_name(self) -> EndpointName | None:
        """What is configured; None if nothing is."""
        return EndpointName.parse(self.status.endpoint_name) if self.status.endpoint_name else None

    @property
    def is_probed(self) -> bool:
        return self.echo is not None

    @property
    def networks(self) -> list[Network]:
        return [ip_network(text) for text in self.status.allowed_ips]

    def has_session(self, now: float) -> bool:
        return self.status.last_handshake is not None and now - self.status.last_handshake < REJECT_AFTER_TIME

    @property
    def was_heard(self) -> bool:
        """Whether anything came from it since we look. One handshake's time differs a little whenever it is asked."""
        had_handshake = (self.status.last_handshake or 0.0) - (self.before.last_handshake or 0.0) > 1.0
        return had_handshake or self.status.rx_bytes != self.before.rx_bytes

    def new_drops(self, reason: str) -> int:
        return self.status.drops.get(reason, 0) - self.before.drops.get(reason, 0)


@dataclass(frozen=True, slots=True)
class Facts:
    """`now` is in seconds since 1970. `status` None: nobody answers, and `silence` says how.

    `others` are the other interfaces of this host. `settings` are sysctls by name, those that could be read.
    `counted` is by how much counters of the kernel grew meanwhile, by nstat(8)'s names (``UdpInCsumErrors``). `passed`
    is the same for rules of the firewall, `port_drops` for datagrams to our UDP port that the kernel threw away, and
    `queue_drops` for packets that found no room on their way into the interface. `legacy_tables` are tables of legacy
    iptables, as ``ip filter``. `untried` is how many peers there are besides `peers`.
    """

    name: str
    now: float
    config: ConfigFacts = ConfigFacts()
    has_tun: bool = True
    status: InterfaceStatus | None = None
    before: InterfaceStatus | None = None
    silence: str = ""
    links: Mapping[str, Link] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    peers: tuple[PeerFacts, ...] = ()
    untried: int = 0
    others: tuple[InterfaceStatus, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    counted: Mapping[str, int] = field(default_factory=dict)
    firewall: Ruleset | None = None
    passed: Mapping[tuple[ChainName, int], int] = field(default_factory=dict)
    port_drops: int = 0
    queue_drops: int = 0
    legacy_tables: tuple[str, ...] = ()

    @property
    def link(self) -> Link | None:
        return self.links.get(self.name)

    @property
    def target(self) -> str:
        """What `tunnel up` is to be given, quoted for a shell."""
        return shlex.quote(str(self.config.path)) if self.config.path else self.name

    @property
    def restart(self) -> str:
        """The command that starts it anew."""
        return f"tunnel down {self.name} && tunnel up {self.target} -d"

    def new_drops(self, reason: str) -> int:
        """How often the whole interface dropped something for this reason since we look."""
        if self.status is None or self.before is None:
            return 0
        return self.status.drops.get(reason, 0) - self.before.drops.get(reason, 0)

    def passed_by(self, drop: Drop) -> int:
        """How many packets the rule has counted since we look; 0 also if nobody counts."""
        return self.passed.get((drop.rule.chain, drop.rule.handle), 0) if drop.rule else 0

    def is_strict(self, interface: str) -> bool:
        """Whether reverse path filtering is strict there: the larger of two settings counts (ip-sysctl)."""
        values = [self.settings.get(f"net.ipv4.conf.{name}.rp_filter", "0") for name in ("all", interface)]
        return max(values) == "1"

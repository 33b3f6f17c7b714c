"""The kernel's routes into the interface, for peers that come and go.

The routes of hand-configured peers are added once, when the interface comes up (`lifecycle`). Those of peers that are
admitted by their certificates change while it runs: whoever admits says what is wanted now, and one task makes the
kernel's table follow.

    want(networks, endpoints) ─ RouteChoice ─▶ routable ─┐
                                                         ├─ difference ─▶ delete what is too much ─▶ add what is missing
    what is in the table already ────────────────────────┘                 └──── refused: again after 30 s ────┘

A route that somebody else has for the very same network is left to them, as in `lifecycle`. And a network that
datagrams to a peer would follow into the tunnel, never to leave it, is left out (`tunnel.config.hairpin`). That goes by
who has which network: a peer that roams, or pretends to, into the network of another one is nested in it. That is fine,
and must not cost the other its route, or else what is meant for the tunnel would be sent outside.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from socket import AF_INET, AF_INET6, inet_pton
from typing import Protocol

from tunnel.config.model import CONSULTED_TABLES, RouteTable
from tunnel.config.patch import IPNetwork
from tunnel.daemon.clock import Clock
from tunnel.daemon.log import RateLimited
from tunnel.endpoint import Endpoint
from tunnel.errors import NetlinkError
from tunnel.keys import PublicKey

RETRY = 30.0
"""Seconds until what could not be added or deleted is tried again."""

REMIND = 600.0
"""Seconds between log lines about the same network."""

CACHE_SIZE = 16384
"""Addresses of endpoints, as numbers."""

_LOOP = "inside, so datagrams to it would loop: leave it out of the certificate, or set FwMark or Table = off"
"""Why an endpoint keeps a network from being routed."""

_log = logging.getLogger(__name__)


class Links(Protocol):
    """What we need of netlink; `tunnel.netlink.link.Netlink` is the real one. All raise `NetlinkError`."""

    async def route_holders(self, networks: Sequence[IPNetwork], table: int | None) -> Mapping[IPNetwork, str]:
        """The names of the interfaces of identical routes, where there are any. None for `table` is the main one."""
        ...

    async def add_route(self, index: int, network: IPNetwork, table: int | None) -> None: ...

    async def delete_routes(self, index: int, networks: Iterable[IPNetwork], table: int | None) -> None:
        """Ours only; one that is gone already is fine."""
        ...


class RouteChoice:
    """Decides which networks may be routed, from arguments only.

    It keeps what it was asked last, and does no more than a short look at each endpoint besides the difference.
    """

    def __init__(self, table: RouteTable | int, static: Mapping[IPNetwork, PublicKey | None]) -> None:
        self._is_off = table is RouteTable.OFF
        self._is_consulted = table is RouteTable.AUTO or table in CONSULTED_TABLES
        self._static = dict(static)
        self._networks: Mapping[IPNetwork, PublicKey] = {}
        self._asked = set[IPNetwork]()
        self._candidates = set[IPNetwork]()
        self._defaults = set[IPNetwork]()
        self._prefixes = _Prefixes(static)

    def choose(
        self, networks: Mapping[IPNetwork, PublicKey], endpoints: Mapping[PublicKey, Endpoint], fwmark: int
    ) -> tuple[set[IPNetwork], dict[IPNetwork, str]]:
        """Those to route, and those to leave out with the reason as fields of a log line; for the arguments see `want`.

        Networks that are static, and all of them where there is no table, are in neither.
        """
        if self._is_off:
            return set(), {}
        self._ask(networks)
        left_out = dict.fromkeys(self._defaults, "why=a default route needs a Table of its own")
        if self._is_consulted and not fwmark:
            left_out |= self._hairpins(endpoints)
        return self._candidates.difference(left_out), left_out

    def _ask(self, networks: Mapping[IPNetwork, PublicKey]) -> None:
        self._networks = networks
        gone = self._asked.difference(networks)
        self._asked -= gone
        for network in gone:
            self._defaults.discard(network)
            if network in self._candidates:
                self._candidates.remove(network)
                self._prefixes.remove(network)
        for network in set(networks) - self._asked if len(networks) > len(self._asked) else ():
            self._asked.add(network)
            if network in self._static:
                continue
            if self._is_consulted and not network.prefixlen:
                self._defaults.add(network)
            else:
                self._candidates.add(network)
                self._prefixes.add(network)

    def _hairpins(self, endpoints: Mapping[PublicKey, Endpoint]) -> dict[IPNetwork, str]:
        """Longest prefix first: without a network, its datagrams may follow the next shorter one."""
        left_out: dict[IPNetwork, str] = {}
        carriers = dict(self._carriers(endpoints, left_out))
        while looping := self._looping(carriers):
            for network, peer in looping.items():
                left_out[network] = f"peer={peer.short} endpoint={endpoints[peer]} why={_LOOP}"
            affected = {peer: endpoints[peer] for peer, network in carriers.items() if network in looping}
            carriers = {peer: network for peer, network in carriers.items() if peer not in affected}
            carriers.update(self._carriers(affected, left_out))
        return left_out

    def _carriers(
        self, endpoints: Mapping[PublicKey, Endpoint], without: Container[IPNetwork]
    ) -> Iterator[tuple[PublicKey, IPNetwork]]:
        """The peers whose endpoint is inside a network that is routed into the tunnel, and the longest such network."""
        for peer, endpoint in endpoints.items():
            network = self._prefixes.longest(endpoint, without)
            if network is not None:
                yield peer, network

    def _looping(self, carriers: Mapping[PublicKey, IPNetwork]) -> dict[IPNetwork, PublicKey]:
        """Of the networks through which a peer's datagrams come to be its own again, those that we may leave out."""
        looping: dict[IPNetwork, PublicKey] = {}
        done = set[PublicKey]()
        for start in carriers:
            path: list[PublicKey] = []
            hop: PublicKey | None = start
            while hop is not None and hop in carriers and hop not in done:
                done.add(hop)
                path.append(hop)
                hop = self._owner(carriers[hop])
            if hop in path:
                cycle = path[path.index(hop) :]
                looping |= {carriers[peer]: peer for peer in cycle if carriers[peer] in self._candidates}
        return looping

    def _owner(self, network: IPNetwork) -> PublicKey | None:
        return self._networks[network] if network in self._candidates else self._static[network]


class PeerRoutes:
    """Keeps the routes into the interface `name` equal to what is wanted. Everything but `run` returns at once.

    `static` are the networks for which `lifecycle` or the kernel has added a route, and the peer that each belongs to,
    None if to none. They are never touched. Until `link_changed` says otherwise the link is down, and nothing is added.
    """

    def __init__(
        self,
        links: Links,
        clock: Clock,
        name: str,
        index: int,
        table: RouteTable | int,
        static: Mapping[IPNetwork, PublicKey | None],
    ) -> None:
        self._links = links
        self._clock = clock
        self.name = name
        self._index = index
        self._route_table = table
        self._table = table if isinstance(table, int) else None
        self._choice = RouteChoice(table, static)
        self._networks: Mapping[IPNetwork, PublicKey] = {}
        self._endpoints: Mapping[PublicKey, Endpoint] = {}
        self._fwmark = 0
        self._present = set[IPNetwork]()
        self._refused = set[IPNetwork]()
        self._retry_at = math.inf
        self._is_up = False
        self._is_in_doubt = False
        self._woken = asyncio.Event()
        self._lines = RateLimited(_log, clock, REMIND)

    def want(
        self, networks: Mapping[IPNetwork, PublicKey], endpoints: Mapping[PublicKey, Endpoint], fwmark: int = 0
    ) -> None:
        """From now on: the networks of admitted peers, and where all peers are outside, hand-configured ones too.

        To be told whenever one of them changes. With a firewall mark somebody has thought about datagrams that follow
        our own routes; then nothing is left out for that.
        """
        self._networks = dict(networks)
        self._endpoints = dict(endpoints)
        self._fwmark = fwmark
        self._woken.set()

    def configure(self, static: Mapping[IPNetwork, PublicKey | None]) -> None:
        """Another configuration: these are the static ones now, and its addresses may have taken routes with them."""
        self._choice = RouteChoice(self._route_table, static)
        self._present -= static.keys()
        self._is_in_doubt = True
        self._woken.set()

    def link_changed(self, is_up: bool) -> None:
        """The link came up, and all routes are added, or it went down, which takes them away."""
        if is_up != self._is_up:
            self._is_up = is_up
            self._present = set()
            self._refused = set()
            self._woken.set()

    @property
    def present(self) -> Collection[IPNetwork]:
        """Those that we have added, as far as we know."""
        return self._present

    def add_again(self, networks: Iterable[IPNetwork]) -> None:
        """They are gone: somebody has taken them away, and wants them back."""
        self._present.difference_update(networks)
        self._woken.set()

    async def run(self) -> None:
        """Follow what is wanted, the latest, until cancelled."""
        while True:
            self._woken.clear()
            if self._is_up:
                await self._follow()
            await self._sleep()

    async def _sleep(self) -> None:
        """Until something is wanted anew, or what was refused is due."""
        delay = max(0.0, self._retry_at - self._clock.now()) if self._refused else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._woken.wait()

    async def _follow(self) -> None:
        """One round; what cannot be done is refused for a while."""
        routable, left_out = self._choice.choose(self._networks, self._endpoints, self._fwmark)
        for network, why in left_out.items():
            self._complain(network, f"not added network={network} {why}")
        present = self._present
        if self._is_in_doubt:
            self._is_in_doubt = False
            await self._look_again(present)
        if self._clock.now() >= self._retry_at:
            self._refused.clear()
        self._refused &= routable | present
        for network in present - routable - self._refused:
            await self._delete(network, present)
        missing = sorted(routable - present - self._refused, key=lambda network: -network.prefixlen)
        if missing:
            await self._add(missing, present)

    async def _look_again(self, present: set[IPNetwork]) -> None:
        """Which of those that were added are there still; those that are not are added again."""
        try:
            holders = await self._links.route_holders(sorted(present, key=str), self._table)
        except NetlinkError as error:
            self._lines.log(logging.WARNING, "look again", f"routes not looked at why={error}")
        else:
            present -= {network for network in present if holders.get(network) != self.name}

    async def _delete(self, network: IPNetwork, present: set[IPNetwork]) -> None:
        try:
            await self._links.delete_routes(self._index, [network], self._table)
        except NetlinkError as error:
            self._refuse(network, present, f"not deleted network={network} why={error}")
        else:
            present.discard(network)

    async def _add(self, networks: Sequence[IPNetwork], present: set[IPNetwork]) -> None:
        try:
            holders = await self._links.route_holders(networks, self._table)
        except NetlinkError as error:
            for network in networks:
                self._refuse(network, present, f"not added network={network} why={error}")
            return
        for network in networks:
            holder = holders.get(network)
            if holder == self.name:
                present.add(network)
            elif holder is not None:
                self._refuse(network, present, f"not added network={network} taken by={holder}")
            elif network in self._networks:  # still
                await self._add_free(network, present)

    async def _add_free(self, network: IPNetwork, present: set[IPNetwork]) -> None:
        try:
            await self._links.add_route(self._index, network, self._table)
        except NetlinkError as error:
            self._refuse(network, present, f"not added network={network} why={error}")
        else:
            present.add(network)

    def _refuse(self, network: IPNetwork, present: set[IPNetwork], line: str) -> None:
        if present is not self._present:  # the link went down meanwhile, so of course, and all will be done anew
            return
        if not self._refused:
            self._retry_at = self._clock.now() + RETRY
        self._refused.add(network)
        self._complain(network, line)

    def _complain(self, network: IPNetwork, line: str) -> None:
        self._lines.log(logging.WARNING, str(network), f"route {line}")


class _Prefixes:
    """Networks, found by the longest prefix of an address, as `tunnel.protocol.allowedips` finds peers."""

    def __init__(self, networks: Iterable[IPNetwork]) -> None:
        # By whether it is IPv6, then by host bits, the fewest first, then by the address without them.
        self._tables: dict[bool, dict[int, dict[int, IPNetwork]]] = {False: {}, True: {}}
        self._addresses: dict[str, int] = {}
        for network in networks:
            self.add(network)

    def add(self, network: IPNetwork) -> None:
        is_ipv6 = network.version == 6
        host_bits = network.max_prefixlen - network.prefixlen
        if host_bits not in self._tables[is_ipv6]:
            self._tables[is_ipv6] = dict(sorted([*self._tables[is_ipv6].items(), (host_bits, {})]))
        self._tables[is_ipv6][host_bits][int(network.network_address) >> host_bits] = network

    def remove(self, network: IPNetwork) -> None:
        table = self._tables[network.version == 6]
        host_bits = network.max_prefixlen - network.prefixlen
        del table[host_bits][int(network.network_address) >> host_bits]
        if not table[host_bits]:
            del table[host_bits]

    def longest(self, endpoint: Endpoint, without: Container[IPNetwork]) -> IPNetwork | None:
        address = self._addresses.get(endpoint.host)
        if address is None:
            address = self._remember(endpoint)
        for host_bits, prefixes in self._tables[endpoint.is_ipv6].items():
            network = prefixes.get(address >> host_bits)
            if network is not None and network not in without:
                return network
        return None

    def _remember(self, endpoint: Endpoint) -> int:
        """Its address as a number: most endpoints are where they were."""
        if len(self._addresses) >= CACHE_SIZE:
            self._addresses.clear()
        address = int.from_bytes(inet_pton(AF_INET6 if endpoint.is_ipv6 else AF_INET, endpoint.host), "big")
        self._addresses[endpoint.host] = address
        return address

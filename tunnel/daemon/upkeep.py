"""The addresses and routes that an interface is to have, while others change them.

    link comes up ──────────▶ what went with it when it went down is put back
    address or route gone ──▶ a moment later: is it still? ──▶ one line that names it, and what puts it back
    ``tunnel reload`` ──────▶ what is missing is put back, along with what the file changes

The kernel takes an interface's routes when its link goes down, and its IPv6 addresses. PostUp does not run again, so
nobody else would bring them back. What somebody takes away while the link is up is left to them: to add it again would
be a fight with a person, or a program, that has a reason. So it is only said, and not at all of what we take ourselves:
we change things with `Upkeep.lock` held, and what counts is how they are when that is done.

What PreUp and PostUp have taken away is not missed: they are part of the configuration. Routes of peers that come and
go are put back by `tunnel.daemon.peer_routes`; here it is only noticed that they are gone.
"""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, Protocol

from tunnel.config.model import IPInterface, TunnelConfig
from tunnel.config.patch import IPNetwork
from tunnel.config.routing import wanted_routes
from tunnel.errors import NetlinkError

SETTLE = 0.5
"""Seconds until what is gone is missed: whoever replaces something takes it away first."""

NAMES_TOLD = 4
"""Addresses, and networks, in one line."""

MAIN_TABLE = 254

Route = tuple[int, IPNetwork]
"""The number of a table, and a network that it routes into the interface."""

_log = logging.getLogger(__name__)


class Links(Protocol):
    """What we need of netlink; `tunnel.netlink.link.Netlink` is the real one. All raise `NetlinkError`."""

    async def addresses_of(self, index: int) -> Sequence[IPInterface]:
        """Those that the interface has."""
        ...

    async def add_address(self, index: int, address: IPInterface) -> None: ...

    async def delete_address(self, index: int, address: IPInterface) -> None: ...

    async def missing_routes(self, index: int, networks: Sequence[IPNetwork], table: int | None) -> list[IPNetwork]:
        """Those that do not lead into the interface. None for `table` is the main one."""
        ...

    async def route_holders(self, networks: Sequence[IPNetwork], table: int | None) -> Mapping[IPNetwork, str]: ...

    async def add_route(self, index: int, network: IPNetwork, table: int | None) -> None: ...

    async def add_connected_route(self, index: int, address: IPInterface) -> None:
        """The one to the network of an address, as the kernel makes it."""
        ...

    async def delete_routes(self, index: int, networks: Iterable[IPNetwork], table: int | None) -> None: ...


class PeerRoutes(Protocol):
    """Of peers that come and go; `tunnel.daemon.peer_routes.PeerRoutes` is the real one."""

    @property
    def present(self) -> Collection[IPNetwork]:
        """What it has added to the table of the configuration."""
        ...

    def add_again(self, networks: Collection[IPNetwork]) -> None:
        """These are gone."""
        ...


@dataclass(frozen=True, slots=True)
class Missing:
    """What the interface should have and has not."""

    addresses: tuple[IPInterface, ...] = ()
    routes: tuple[Route, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.addresses or self.routes)

    def without(self, items: Collection[IPInterface | Route]) -> "Missing":
        return Missing(
            tuple(address for address in self.addresses if address not in items),
            tuple(route for route in self.routes if route not in items),
        )

    def describe(self) -> str:
        """``address 10.0.0.1/24, routes 10.8.0.0/16, fd00::/8``."""
        networks = [network for _, network in self.routes]
        kinds = (("address", "addresses", self.addresses), ("route", "routes", networks))
        return ", ".join(f"{many if len(items) > 1 else one} {_listed(items)}" for one, many, items in kinds if items)

    def lines(self) -> list[str]:
        """As those of a `tunnel.config.difference.Plan`."""
        return [
            *(f"+ address {address} (was missing)" for address in self.addresses),
            *(f"+ route {network} (was missing)" for _, network in self.routes),
        ]


class Upkeep:
    """Of the interface `index`, which is up and called `name`, and has what `config` says.

    `lock` is to be held by whoever changes addresses or routes that we know of. One task runs `run`.
    """

    def __init__(
        self,
        name: str,
        index: int,
        links: Links,
        config: Callable[[], TunnelConfig],
        peer_routes: PeerRoutes | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.name = name
        self.lock = asyncio.Lock()
        self.is_link_up = True
        self._index = index
        self._links = links
        self._config = config
        self._peer_routes = peer_routes
        self._sleep = sleep
        self._waived: Collection[IPInterface | Route] = ()
        self._routes: dict[Route, IPInterface | None] = {}
        self._routes_of: TunnelConfig | None = None
        self._told = set[IPInterface | Route]()
        self._suspects = set[Route]()
        self._suspects_all = False
        self._has_ended = False
        self._came_up = asyncio.Event()
        self._woken = asyncio.Event()

    async def begin(self) -> None:
        """Nothing is missed that is missing now. Raise `NetlinkError`."""
        missing = await self.missing(self._config())
        self._waived = {*missing.addresses, *missing.routes}

    def end(self) -> None:
        """Nothing is missed, or put back, from now on."""
        self._has_ended = True

    async def missing(self, config: TunnelConfig, among: Collection[Route] | None = None) -> Missing:
        """What `config` wants and the kernel has not; nothing while the link is down. Raise `NetlinkError`.

        With `among` only these routes are looked for, and no address.
        """
        if not self.is_link_up:
            return Missing()
        wanted = [route for route in self._wanted(config) if among is None or route in among]
        addresses: Sequence[IPInterface] = ()
        if among is None:
            held = await self._links.addresses_of(self._index)
            addresses = [address for address in config.interface.addresses if address not in held]
            lost = {(MAIN_TABLE, address.network) for address in addresses}  # its route comes with it
            wanted = [route for route in wanted if route not in lost]
        missing = set[Route]()
        for table in dict.fromkeys(table for table, _ in wanted):
            networks = [network for its, network in wanted if its == table]
            missing.update(
                (table, network) for network in await self._links.missing_routes(self._index, networks, table)
            )
        return Missing(tuple(addresses), tuple(route for route in wanted if route in missing)).without(self._waived)

    async def restore(self, missing: Missing, config: TunnelConfig) -> None:
        """Put back what is missing of `config`; raise `NetlinkError` at the first that is refused."""

        def refuse(error: NetlinkError) -> NoReturn:
            raise error

        await self._put_back(missing, config, refuse)

    async def withdraw(self, missing: Missing) -> None:
        """Undo `restore`, but for routes that the kernel makes itself."""
        for address in missing.addresses:
            await self._links.delete_address(self._index, address)
        for table, network in missing.routes:
            await self._links.delete_routes(self._index, [network], table)

    # ── what happens; everything returns at once ─────────────────────────────────────────────────────────────────

    def link_changed(self, is_up: bool) -> None:
        if is_up and not self.is_link_up:
            self._came_up.set()
        self.is_link_up = is_up

    def addresses_changed(self, addresses: Collection[IPInterface]) -> None:
        """These are all that the interface has."""
        if not self.is_link_up:  # that is no news: the link took them along
            return
        gone = set(self._config().interface.addresses).difference(addresses)
        self._told = {item for item in self._told if isinstance(item, tuple) or item in gone}
        if not gone <= self._told:
            self._suspects_all = True  # with the last address of IPv4 its routes go, too, and without a word
            self._woken.set()

    def routes_removed(self, routes: Collection[Route]) -> None:
        """They do not lead into the interface any more."""
        if not self.is_link_up:
            return
        config = self._config()
        if suspects := {route for route in routes if self._is_wanted(config, route)}:
            self._told -= suspects
            self._suspects |= suspects
            self._woken.set()

    def routes_unknown(self) -> None:
        """Any of them may have been removed."""
        self._suspects_all = True
        self._woken.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow_link())
            tasks.create_task(self._follow_losses())

    async def _follow_link(self) -> None:
        while True:
            await self._came_up.wait()
            try:
                await self._restore_all()
            except NetlinkError as error:
                _log.warning("%s", error)

    async def _follow_losses(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            await self._sleep(SETTLE)
            try:
                await self._look()
            except NetlinkError as error:
                _log.warning("%s", error)

    async def _look(self) -> None:
        async with self.lock:
            suspects = None if self._suspects_all else set(self._suspects)
            self._suspects.clear()
            self._suspects_all = False
            if not self.is_link_up or self._came_up.is_set():
                return
            missing = await self.missing(self._config(), suspects)
        news = missing.without(self._told)
        self._told = {*missing.addresses, *missing.routes} | (self._told if suspects is not None else set())
        if news and not self._has_ended:
            them = "them" if len(news.addresses) + len(news.routes) > 1 else "it"
            line = "somebody has removed %s from %s; to put %s back: tunnel reload %s"
            _log.warning(line, news.describe(), self.name, them, self.name)

    async def _restore_all(self) -> None:
        """The link has come up."""
        async with self.lock:
            self._came_up.clear()
            if self._has_ended:
                return
            refused: list[NetlinkError] = []
            config = self._config()
            missing = await self.missing(config)
            await self._put_back(missing, config, refused.append)
        self._told.clear()
        if any(error.errno in {errno.ENETDOWN, errno.ENODEV} for error in refused):  # down, or gone, again
            return
        for error in refused:
            _log.warning("not put back when the link came up: %s", error)
        if missing and not refused:
            _log.info("the link is up again, put back: %s", missing.describe())

    # ── how ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _wanted(self, config: TunnelConfig) -> list[Route]:
        """All routes that should be there."""
        of_peers = self._peer_routes.present if self._peer_routes else ()
        return [*self._configured(config), *((self._table(config), network) for network in of_peers)]

    def _is_wanted(self, config: TunnelConfig, route: Route) -> bool:
        return route in self._configured(config) or self._is_of_peers(config, route)

    def _is_of_peers(self, config: TunnelConfig, route: Route) -> bool:
        table, network = route
        return self._peer_routes is not None and table == self._table(config) and network in self._peer_routes.present

    def _configured(self, config: TunnelConfig) -> dict[Route, IPInterface | None]:
        """Those that do not come and go, and of one that the kernel makes itself the address that it comes with."""
        if config is not self._routes_of:
            self._routes = dict.fromkeys((self._table(config), network) for network in wanted_routes(config))
            for address in config.interface.addresses:
                if address.network.prefixlen < address.max_prefixlen:
                    self._routes[MAIN_TABLE, address.network] = address
            self._routes_of = config
        return self._routes

    def _table(self, config: TunnelConfig) -> int:
        table = config.interface.table
        return table if isinstance(table, int) else MAIN_TABLE

    async def _put_back(self, missing: Missing, config: TunnelConfig, refuse: Callable[[NetlinkError], None]) -> None:
        """As far as it goes: `refuse` is told of what is refused, and may raise."""
        configured = self._configured(config)
        for address in missing.addresses:
            await _attempt(self._links.add_address(self._index, address), refuse)
        by_table: dict[int, list[IPNetwork]] = {}
        for route in missing.routes:
            if (of := configured.get(route)) is not None:
                await _attempt(self._links.add_connected_route(self._index, of), refuse)
            elif route in configured:
                by_table.setdefault(route[0], []).append(route[1])
        for table, networks in by_table.items():
            holders = await self._links.route_holders(networks, table)
            for network in networks:
                if network in holders:
                    refuse(NetlinkError(f"there is a route to {network} already, by {holders[network]}", errno.EEXIST))
                else:
                    await _attempt(self._links.add_route(self._index, network, table), refuse)
        if self._peer_routes is not None:
            self._peer_routes.add_again([route[1] for route in missing.routes if self._is_of_peers(config, route)])


async def _attempt(deed: Awaitable[None], refuse: Callable[[NetlinkError], None]) -> None:
    try:
        await deed
    except NetlinkError as error:
        refuse(error)


def _listed(items: Sequence[object]) -> str:
    more = f" and {len(items) - NAMES_TOLD} more" if len(items) > NAMES_TOLD else ""
    return ", ".join(map(str, items[:NAMES_TOLD])) + more

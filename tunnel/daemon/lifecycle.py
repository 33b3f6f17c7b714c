"""What ``up`` does around the interface, and how all of it goes away again.

    check ─▶ PreUp ─▶ addresses ─▶ MTU, queue length, up ─▶ routes ─▶ PostUp ─▶ … ─▶ PreDown ─▶ interface ─▶ PostDown

Addresses and routes belong to the interface, and the interface to its TUN descriptor: the kernel takes all of them
away with it, even after ``kill -9``. What is left to undo is what hooks did, which is what PreDown and PostDown are
for. When something fails half way up they run only if a hook ran before: otherwise there is nothing to clean up, and a
PostDown that deletes what PostUp adds would only complain.

The whole check is made before anything is changed: an address or a route that somebody else has is left alone.
"""

import errno
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Protocol

from tunnel.config.model import IPInterface, TunnelConfig
from tunnel.config.patch import IPNetwork
from tunnel.config.routing import wanted_routes
from tunnel.daemon.hooks import run_every_hook, run_hooks
from tunnel.endpoint import Endpoint
from tunnel.errors import NetlinkError
from tunnel.protocol.host import DEFAULT_MTU
from tunnel.tun.attach import QUEUE_LENGTH

TUNNEL_OVERHEAD = 80
"""What a packet grows by on the way: IPv6 40 + UDP 8 + message 4's 32."""

LEAST_MTU = 576
LEAST_MTU_IPV6 = 1280
"""Below it the kernel refuses to do IPv6 on an interface (RFC 8200 section 5)."""


class Links(Protocol):
    """What we need of netlink; `tunnel.netlink.link.Netlink` is the real one. All raise `NetlinkError`."""

    async def link_index(self, name: str) -> int | None:
        """None if there is no such interface."""
        ...

    async def set_link(
        self, index: int, *, mtu: int | None = None, txqueuelen: int | None = None, is_up: bool | None = None
    ) -> object: ...

    async def leave_link_local_off(self, index: int) -> None:
        """So that the kernel does not give the interface an IPv6 address that nobody asked for."""
        ...

    async def add_address(self, index: int, address: IPInterface) -> None: ...

    async def address_holder(self, address: IPInterface) -> str | None:
        """The name of an interface that has this very address."""
        ...

    async def add_routes(self, index: int, networks: Sequence[IPNetwork], table: int | None) -> None:
        """None for `table` is the main table."""
        ...

    async def route_holders(self, networks: Sequence[IPNetwork], table: int | None) -> Mapping[IPNetwork, str]:
        """The names of the interfaces of identical routes, where there are any."""
        ...

    async def route_mtus(self, endpoints: Iterable[Endpoint], fwmark: int) -> Sequence[int]:
        """Of the routes to the endpoints, those left out that have none."""
        ...


class Lifecycle:
    """Of one interface that is called `name` and configured by `config`.

    `remove` makes the interface go away (it closes the TUN descriptor); called once, between PreDown and PostDown.
    """

    def __init__(self, name: str, config: TunnelConfig, links: Links, remove: Callable[[], None]) -> None:
        self.name = name
        self._config = config
        self._links = links
        self._remove = remove
        self._owes_down_hooks = False

    async def check(self) -> None:
        """Raise `NetlinkError` if something we want is taken. Best before the interface is made."""
        for address in self._config.interface.addresses:
            holder = await self._links.address_holder(address)
            if holder not in (None, self.name):
                raise NetlinkError(f"{self.name}: address {address.ip} is taken by {holder}", errno.EEXIST)
        holders = await self._links.route_holders(wanted_routes(self._config), self._table)
        for network, holder in holders.items():
            if holder != self.name:
                raise NetlinkError(f"{self.name}: there is a route to {network} already, by {holder}", errno.EEXIST)

    @asynccontextmanager
    async def up(self, endpoints: Iterable[Endpoint]) -> AsyncIterator[int]:
        """Bring the interface up on entry, away on exit; yields its MTU.

        The interface exists already and its packets are being served, so that PostUp can use the tunnel and ``wg``.
        `endpoints` are where the peers are as far as known, for the MTU. What fails raises `NetlinkError` or
        `HookError`, after everything done so far was undone.
        """
        hooks = self._config.interface.hooks
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._run_down_hooks, "PostDown", hooks.post_down)
            undo.callback(self._remove)
            undo.push_async_callback(self._run_down_hooks, "PreDown", hooks.pre_down)
            await self._run_up_hooks("PreUp", hooks.pre_up)
            mtu = await self._bring_up(endpoints)
            await self._run_up_hooks("PostUp", hooks.post_up)
            self._owes_down_hooks = True
            yield mtu

    @property
    def _table(self) -> int | None:
        """The number of the routing table; None is the main one."""
        table = self._config.interface.table
        return table if isinstance(table, int) else None

    async def _bring_up(self, endpoints: Iterable[Endpoint]) -> int:
        interface = self._config.interface
        index = await self._links.link_index(self.name)
        if index is None:
            raise NetlinkError(f"{self.name}: the interface is gone", errno.ENODEV)
        await self._links.leave_link_local_off(index)
        for address in interface.addresses:
            await self._links.add_address(index, address)
        mtu = interface.mtu if interface.mtu is not None else await self.route_mtu(endpoints)
        await self._links.set_link(index, mtu=mtu, txqueuelen=QUEUE_LENGTH, is_up=True)
        await self._links.add_routes(index, wanted_routes(self._config), self._table)
        return mtu

    async def route_mtu(self, endpoints: Iterable[Endpoint]) -> int:
        """The MTU that suits the routes to these, where none is configured."""
        mtus = await self._links.route_mtus(endpoints, self._config.interface.fwmark)
        return inner_mtu(mtus, has_ipv6=_has_ipv6(self._config))

    async def _run_up_hooks(self, phase: str, commands: Sequence[str]) -> None:
        self._owes_down_hooks = self._owes_down_hooks or bool(commands)
        await run_hooks(phase, commands, self.name)

    async def _run_down_hooks(self, phase: str, commands: Sequence[str]) -> None:
        if self._owes_down_hooks:
            await run_every_hook(phase, commands, self.name)


def inner_mtu(route_mtus: Sequence[int], *, has_ipv6: bool) -> int:
    """The MTU of the interface when the routes to the peers have these, `DEFAULT_MTU` when none is known.

    The smallest counts, since one interface serves all peers. Where it is too small for the inner protocol, the outer
    datagrams are fragmented.
    """
    if not route_mtus:
        return DEFAULT_MTU
    return max(min(route_mtus) - TUNNEL_OVERHEAD, LEAST_MTU_IPV6 if has_ipv6 else LEAST_MTU)


def _has_ipv6(config: TunnelConfig) -> bool:
    return any(address.version == 6 for address in config.interface.addresses) or any(
        network.version == 6 for peer in config.peers for network in peer.allowed_ips
    )

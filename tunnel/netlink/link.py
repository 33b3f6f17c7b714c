"""Giving an interface what it needs: state, MTU, addresses, routes; and asking the host what is there already.

Everything is added so that nothing which was there before is touched: an address or a route that somebody else has is
an error that names them, one that is ours already is fine. What was added goes with the interface.

pyroute2 takes a third of a second to import and nothing else in `tunnel` imports it, so import this package only where
an interface is about to be made.
"""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv6Interface, IPv6Network
from socket import AF_INET, AF_INET6
from types import TracebackType
from typing import Any, Self

from pyroute2.netlink.exceptions import NetlinkError as KernelError

from tunnel.config.model import IPInterface
from tunnel.config.patch import IPNetwork
from tunnel.endpoint import Endpoint
from tunnel.errors import NetlinkError
from tunnel.netlink.loopsocket import LoopIPRoute
from tunnel.netlink.routes import MAIN_TABLE, Route, find_routes
from tunnel.netlink.routing_watch import RoutingChange, watch_routing
from tunnel.netlink.watch import LinkEvent, parse_address, watch_link

__all__ = ["LinkEvent", "Netlink", "RoutingChange"]

IPV6_MIN_MTU = 1280

_SCOPE_LINK = 253
_CONNECTED_IPV6_METRIC = 256
_ADDR_GEN_MODE_NONE = 1
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.ENETDOWN, errno.EAFNOSUPPORT}
"""Nothing, or an unreachable, prohibit or blackhole route; or a family that the host lacks."""

_SIZE_REFUSED = {errno.EINVAL, errno.EOPNOTSUPP, errno.ERANGE}


class Netlink:
    """A conversation with the kernel about the network namespace that it was opened in.

    Every method raises `NetlinkError` with the kernel's own words and errno, and has then changed nothing.
    """

    def __init__(self) -> None:
        self._rtnetlink: LoopIPRoute
        self._one_dump = asyncio.Lock()
        """The kernel refuses a second dump on a socket that has not finished the first (EBUSY)."""

    async def __aenter__(self) -> Self:
        try:
            self._rtnetlink = LoopIPRoute()
            await self._rtnetlink.setup_endpoint()
        except OSError as error:
            raise NetlinkError(f"cannot open an rtnetlink socket: {error.strerror}", error.errno or 0) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._rtnetlink.close()

    async def link_index(self, name: str) -> int | None:
        """None if there is no such interface."""
        try:
            (link,) = await self._rtnetlink.link("get", ifname=name)
        except KernelError as error:
            if error.code in {errno.ENODEV, errno.ERANGE, errno.EINVAL}:  # the last two: a name that cannot be
                return None
            raise _refusal(f"look for interface '{name}'", error) from None
        return int(link["index"])

    async def set_link(
        self,
        index: int,
        *,
        mtu: int | None = None,
        txqueuelen: int | None = None,
        is_up: bool | None = None,
        gso_max_size: int | None = None,
    ) -> bool:
        """Set what is not None: MTU in bytes, queue in packets, state, bytes of the largest superpacket.

        The last is set after the others, for both IP versions. A kernel that does not want it is no error: then the
        result is False. TCP connections that are open already keep to what was set when they began.
        """
        changes: dict[str, Any] = {}
        if mtu is not None:
            changes["mtu"] = mtu
        if txqueuelen is not None:
            changes["txqlen"] = txqueuelen
        if is_up is not None:
            changes["state"] = "up" if is_up else "down"
        wanted = ", ".join(f"{name} {value}" for name, value in changes.items())
        if changes:
            async with self._explained(f"set {wanted} on", index):
                await self._rtnetlink.link("set", index=index, **changes)
        return gso_max_size is None or await self._set_gso_max_size(index, gso_max_size)

    async def leave_link_local_off(self, index: int) -> None:
        """Have the kernel invent no IPv6 link-local address when the link comes up, as for its own WireGuard.

        Without it every tunnel would begin with router solicitations, that no peer can be found for. Harmless where
        there is no IPv6 to begin with.
        """
        mode = {"attrs": [("AF_INET6", {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", _ADDR_GEN_MODE_NONE)]})]}
        try:
            await self._rtnetlink.link("set", index=index, IFLA_AF_SPEC=mode)
        except KernelError as error:
            if error.code not in {errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL}:
                raise _refusal("turn off IPv6 link-local addresses", error) from None

    async def add_address(self, index: int, address: IPInterface) -> None:
        """Fine if it is there already. The route to the address' network comes with it.

        No flag against duplicate address detection is needed: the kernel skips it on a TUN (IFF_NOARP), so an IPv6
        address is of use at once, and ``ip address`` shows what it would after wg-quick.
        """
        try:
            async with self._explained(f"add address {address} to", index, has_ipv6=isinstance(address, IPv6Interface)):
                await self._rtnetlink.addr(
                    "add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen
                )
        except NetlinkError as error:
            if error.errno != errno.EEXIST:  # which the kernel says of the very link only, never of another
                raise

    async def delete_address(self, index: int, address: IPInterface) -> None:
        """Take it from the interface, with the route to its network; one that is gone already is fine.

        With the first IPv4 address of a network the kernel takes the others of that network (unless sysctl
        promote_secondaries is on), and with an interface's last one all of its IPv4 routes.
        """
        try:
            async with self._explained(f"delete address {address} from", index):
                await self._rtnetlink.addr(
                    "del", index=index, address=str(address.ip), prefixlen=address.network.prefixlen
                )
        except NetlinkError as error:
            # ENXIO: the kernel does no IPv6 there, for instance since the MTU became too small for it.
            if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENXIO}:
                raise

    async def address_holder(self, address: IPInterface) -> str | None:
        """The name of an interface that has this very address, with whatever prefix length."""
        family = AF_INET6 if isinstance(address, IPv6Interface) else AF_INET
        for index, held in await self._addresses(family, f"look for address {address.ip}"):
            if held.ip == address.ip:
                return await self._name(index)
        return None

    async def addresses_of(self, index: int) -> list[IPInterface]:
        """Those that the interface has."""
        return [
            held
            for family in (AF_INET, AF_INET6)
            for holder, held in await self._addresses(family, "read addresses")
            if holder == index
        ]

    async def add_routes(self, index: int, networks: Sequence[IPNetwork], table: int | None) -> None:
        """Route the networks into the interface, in this order, in the main table if `table` is None.

        One that leads there already is fine, as the connected route of an address does. A route of the same prefix to
        somewhere else is an error whatever its metric: ours would win over it or be of no use; then none is added. When
        the kernel refuses one, those before it stay.
        """
        present = await self._present(index, networks, table)
        for network in networks:
            if network not in present:
                await self.add_route(index, network, table)

    async def add_route(self, index: int, network: IPNetwork, table: int | None) -> None:
        """The same for one network, without a look at who else has a route to it: see `route_holders`."""
        try:
            async with self._explained(f"add route {network} to", index, has_ipv6=isinstance(network, IPv6Network)):
                await self._rtnetlink.route("add", dst=str(network), **_route_of(index, table))
        except NetlinkError as error:
            # Somebody was quicker.
            if error.errno != errno.EEXIST or not await self._present(index, [network], table):
                raise

    async def add_connected_route(self, index: int, address: IPInterface) -> None:
        """The route to the network of an address that the interface has, as the kernel makes it with the address.

        So it goes with the address, too. Fine if it is there already.
        """
        route: dict[str, Any] = {"oif": index, "table": MAIN_TABLE, "scope": _SCOPE_LINK, "proto": "kernel"}
        if isinstance(address, IPv6Interface):
            route["priority"] = _CONNECTED_IPV6_METRIC
        else:
            route["prefsrc"] = str(address.ip)
        try:
            async with self._explained(f"add route {address.network} to", index):
                await self._rtnetlink.route("add", dst=str(address.network), **route)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:
                raise

    async def delete_routes(self, index: int, networks: Iterable[IPNetwork], table: int | None) -> None:
        """Take away what `add_routes` has added to the interface, in this order; one that is gone already is fine.

        Nothing else goes: no connected route, none that somebody added by hand, none of another interface. When the
        kernel refuses one, those before it are gone.
        """
        for network in networks:
            try:
                async with self._explained(f"delete route {network} from", index):
                    await self._rtnetlink.route("del", dst=str(network), **_route_of(index, table))
            except NetlinkError as error:
                if error.errno != errno.ESRCH:
                    raise

    async def route_holders(self, networks: Sequence[IPNetwork], table: int | None) -> dict[IPNetwork, str]:
        """Of identical routes that are there already: the interface, or the kind (``blackhole`` …) if it has none."""
        routes = await self._routes(networks, table)
        return {network: await self._holder(found[0]) for network, found in routes.items()}

    async def missing_routes(self, index: int, networks: Sequence[IPNetwork], table: int | None) -> list[IPNetwork]:
        """Those of the networks that no route leads to by the interface, in their order."""
        routes = await self._routes(networks, table)
        return [network for network in networks if all(route.interface != index for route in routes.get(network, ()))]

    async def route_mtus(self, endpoints: Iterable[Endpoint], fwmark: int) -> list[int]:
        """The largest outer IP packet towards each endpoint: the route's MTU, else its interface's.

        Endpoints without a route are left out.
        """
        by_link: dict[int, int] = {}
        mtus = [await self._route_mtu(endpoint, fwmark, by_link) for endpoint in endpoints]
        return [mtu for mtu in mtus if mtu is not None]

    async def _route_mtu(self, endpoint: Endpoint, fwmark: int, by_link: dict[int, int]) -> int | None:
        """`by_link` keeps what the interfaces said: with a thousand endpoints most go through one."""
        question: dict[str, Any] = {"dst": endpoint.host}
        if fwmark:
            question["mark"] = fwmark
        if endpoint.scope_id:
            question["oif"] = endpoint.scope_id
        try:
            (route,) = await self._rtnetlink.route("get", **question)
            if mtu := route.get(("metrics", "mtu")):
                return int(mtu)
            index = route.get("oif")
            if index not in by_link:
                (link,) = await self._rtnetlink.link("get", index=index)
                by_link[index] = int(link.get("mtu"))
        except KernelError as error:
            if error.code in _NO_ROUTE:
                return None
            raise _refusal(f"find the route to {endpoint}", error) from None
        return by_link[index]

    def watch_link(self, index: int) -> AsyncGenerator[LinkEvent, None]:
        """The present state, then every change, the last being that it is gone; see `tunnel.netlink.watch`."""
        return watch_link(index)

    def watch_routing(self, index: int) -> AsyncGenerator[RoutingChange, None]:
        """Routes that no longer lead into the interface, and what else moves; see `tunnel.netlink.routing_watch`."""
        return watch_routing(index)

    async def _set_gso_max_size(self, index: int, size: int) -> bool:
        """Return whether the kernel took it; it refuses what is more than the device can do.

        One attribute is enough: since Linux 6.3, which has another for IPv4, it sets that one, too, up to 65536.
        """
        try:
            await self._rtnetlink.link("set", index=index, gso_max_size=size)
        except KernelError as error:
            if error.code in _SIZE_REFUSED:
                return False
            raise _refusal(f"set gso_max_size {size} on {await self._name(index)}", error) from None
        return True

    async def _addresses(self, family: int, deed: str) -> list[tuple[int, IPInterface]]:
        """All addresses of the host, each with the index of who holds it."""
        try:
            async with self._one_dump:
                messages = [message async for message in await self._rtnetlink.addr("dump", family=family)]
        except KernelError as error:
            raise _refusal(deed, error) from None
        held = ((message["index"], parse_address(message)) for message in messages)
        return [(index, address) for index, address in held if address is not None]

    async def _present(self, index: int, networks: Sequence[IPNetwork], table: int | None) -> Collection[IPNetwork]:
        """Those that lead into our interface already; raise `NetlinkError` if one leads elsewhere."""
        routes = await self._routes(networks, table)
        for network, found in routes.items():
            for route in found:
                if route.interface != index:
                    verb = "goes through" if route.interface else "is of type"
                    why = f"route {network} is taken: it {verb} {await self._holder(route)}"
                    raise NetlinkError(why, errno.EEXIST)
        return routes.keys()

    async def _routes(self, networks: Sequence[IPNetwork], table: int | None) -> dict[IPNetwork, list[Route]]:
        try:
            async with self._one_dump:
                return await find_routes(self._rtnetlink, networks, table or MAIN_TABLE)
        except KernelError as error:
            raise _refusal(f"read routing table {table or MAIN_TABLE}", error) from None

    async def _holder(self, route: Route) -> str:
        return await self._name(route.interface) if route.interface else route.kind

    async def _name(self, index: int) -> str:
        try:
            (link,) = await self._rtnetlink.link("get", index=index)
        except KernelError:  # gone since
            return f"interface {index}"
        return str(link.get("ifname"))

    @asynccontextmanager
    async def _explained(self, deed: str, index: int, has_ipv6: bool = False) -> AsyncIterator[None]:
        """Translate the kernel's refusal of `deed` on the interface."""
        try:
            yield
        except KernelError as error:
            why = await self._ipv6_trouble(index, error.code) if has_ipv6 else None
            raise _refusal(f"{deed} {await self._name(index)}", error, why) from None

    async def _ipv6_trouble(self, index: int, code: int) -> str | None:
        """What the kernel means when an interface without IPv6 is given some; None if it is something else."""
        if code == errno.EACCES:
            return "IPv6 is disabled there (sysctl net.ipv6.conf.*.disable_ipv6)"
        if code in {errno.EAFNOSUPPORT, errno.EOPNOTSUPP}:
            return "this host has no IPv6"
        if code in {errno.EINVAL, errno.ENODEV}:
            try:
                (link,) = await self._rtnetlink.link("get", index=index)
            except KernelError:
                return None
            if link.get("mtu") < IPV6_MIN_MTU:
                return f"IPv6 needs an MTU of {IPV6_MIN_MTU} or more, not {link.get('mtu')}"
        return None


def _route_of(index: int, table: int | None) -> dict[str, Any]:
    """By what the kernel knows a route for one that we have made."""
    return {"oif": index, "table": table or MAIN_TABLE, "scope": _SCOPE_LINK, "proto": "static"}


def _refusal(deed: str, error: KernelError, why: str | None = None) -> NetlinkError:
    """In one line, with the kernel's own words unless we know better ones."""
    return NetlinkError(f"cannot {deed}: {why or error.args[1] or os.strerror(error.code)}", error.code)

"""Giving an interface what it needs: state, MTU, addresses, routes; and asking the host what is there already.

Everything is added so that nothing which was there before is touched: an address or a route that somebody else has is
an error that names them, one that is ours already is fine. What was added goes with the interface.

The methods are coroutines for the sake of whoever stands in for them; the kernel answers at once (`rtnetlink`).
"""

import errno
import os
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import IPv6Interface, IPv6Network, ip_network
from socket import AF_INET, AF_INET6, AF_UNSPEC
from types import TracebackType
from typing import Self

from tunnel.config.model import IPInterface
from tunnel.config.patch import IPNetwork
from tunnel.endpoint import Endpoint
from tunnel.errors import NetlinkError
from tunnel.netlink.messages import (
    IFADDRMSG,
    IFF_UP,
    IFINFOMSG,
    IFLA_INET6_ADDR_GEN_MODE,
    IN6_ADDR_GEN_MODE_NONE,
    RT_SCOPE_LINK,
    RT_TABLE_MAIN,
    RTAX_MTU,
    RTMSG,
    RTN_UNICAST,
    RTPROT_STATIC,
    Flag,
    Ifa,
    Ifla,
    Kind,
    Rta,
    pack_attribute,
    parse_attributes,
    parse_number,
    parse_text,
)
from tunnel.netlink.routes import Route, find_routes
from tunnel.netlink.rtnetlink import Rtnetlink
from tunnel.netlink.watch import LinkEvent, watch_link

__all__ = ["LinkEvent", "Netlink"]

IPV6_MIN_MTU = 1280

_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EINVAL, errno.ENETDOWN, errno.EAFNOSUPPORT}
"""Nothing, or an unreachable, prohibit or blackhole route; or a family that the host lacks."""

_SIZE_REFUSED = {errno.EINVAL, errno.EOPNOTSUPP, errno.ERANGE}


class Netlink:
    """A conversation with the kernel about the network namespace that it was opened in.

    Every method raises `NetlinkError` with the kernel's own words and errno, and has then changed nothing.
    """

    def __init__(self) -> None:
        self._rtnetlink: Rtnetlink

    async def __aenter__(self) -> Self:
        try:
            self._rtnetlink = Rtnetlink.open()
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
            link = self._rtnetlink.ask(Kind.GETLINK, _link_body(0, {Ifla.IFNAME: os.fsencode(name) + b"\0"}))
        except OSError as error:
            if error.errno in {errno.ENODEV, errno.ERANGE, errno.EINVAL}:  # the last two: a name that cannot be
                return None
            raise _refusal(f"look for interface '{name}'", error) from None
        return int(IFINFOMSG.unpack_from(link)[2])

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
        state = {None: None, True: "up", False: "down"}[is_up]
        wanted = {"mtu": mtu, "txqlen": txqueuelen, "state": state}
        changes = ", ".join(f"{name} {value}" for name, value in wanted.items() if value is not None)
        if changes:
            numbers = {Ifla.MTU: mtu, Ifla.TXQLEN: txqueuelen}
            attributes = {kind: value for kind, value in numbers.items() if value is not None}
            with self._explained(f"set {changes} on", index):
                self._change_link(index, attributes, is_up)
        return gso_max_size is None or self._set_gso_max_size(index, gso_max_size)

    async def leave_link_local_off(self, index: int) -> None:
        """Have the kernel invent no IPv6 link-local address when the link comes up, as for its own WireGuard.

        Without it every tunnel would begin with router solicitations, that no peer can be found for. Harmless where
        there is no IPv6 to begin with.
        """
        mode = pack_attribute(IFLA_INET6_ADDR_GEN_MODE, bytes([IN6_ADDR_GEN_MODE_NONE]))
        try:
            self._change_link(index, {Ifla.AF_SPEC: pack_attribute(AF_INET6, mode)})
        except OSError as error:
            if error.errno not in {errno.EAFNOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL}:
                raise _refusal("turn off IPv6 link-local addresses", error) from None

    async def add_address(self, index: int, address: IPInterface) -> None:
        """Fine if it is there already. The route to the address' network comes with it.

        No flag against duplicate address detection is needed: the kernel skips it on a TUN (IFF_NOARP), so an IPv6
        address is of use at once, and ``ip address`` shows what it would after wg-quick.
        """
        body = IFADDRMSG.pack(_family(address), address.network.prefixlen, 0, 0, index)
        body += pack_attribute(Ifa.LOCAL, address.packed) + pack_attribute(Ifa.ADDRESS, address.packed)
        try:
            with self._explained(f"add address {address} to", index, has_ipv6=isinstance(address, IPv6Interface)):
                self._rtnetlink.tell(Kind.NEWADDR, body, Flag.CREATE | Flag.EXCL)
        except NetlinkError as error:
            if error.errno != errno.EEXIST:  # which the kernel says of the very link only, never of another
                raise

    async def address_holder(self, address: IPInterface) -> str | None:
        """The name of an interface that has this very address, with whatever prefix length."""
        try:
            answers = self._rtnetlink.dump(Kind.GETADDR, IFADDRMSG.pack(_family(address), 0, 0, 0, 0))
        except OSError as error:
            raise _refusal(f"look for address {address.ip}", error) from None
        for answer in answers:
            attributes = parse_attributes(answer[IFADDRMSG.size :])
            if attributes.get(Ifa.LOCAL, attributes.get(Ifa.ADDRESS)) == address.packed:
                return self._name(IFADDRMSG.unpack_from(answer)[4])
        return None

    async def add_route(self, index: int, network: IPNetwork, table: int | None) -> None:
        """Route `network` into the interface, in the main table if `table` is None.

        Fine if it leads there already, as the connected route of an address does. A route of the same prefix to
        somewhere else is an error whatever its metric: ours would win over it or be of no use.
        """
        if self._has_route(index, network, table):
            return
        body = _route_body(network, RTPROT_STATIC, RT_SCOPE_LINK, RTN_UNICAST)
        body += pack_attribute(Rta.OIF, index) + pack_attribute(Rta.TABLE, table or RT_TABLE_MAIN)
        try:
            with self._explained(f"add route {network} to", index, has_ipv6=isinstance(network, IPv6Network)):
                self._rtnetlink.tell(Kind.NEWROUTE, body, Flag.CREATE | Flag.EXCL)
        except NetlinkError as error:
            # Somebody was quicker.
            if error.errno != errno.EEXIST or not self._has_route(index, network, table):
                raise

    async def route_holder(self, network: IPNetwork, table: int | None) -> str | None:
        """The interface of an identical route that is there already, or its kind (``blackhole`` …) if it has none."""
        routes = self._routes(network, table)
        return self._holder(routes[0]) if routes else None

    async def route_mtu(self, endpoint: Endpoint, fwmark: int) -> int | None:
        """The largest outer IP packet towards the endpoint: the route's MTU, else its interface's; None: no route."""
        question = _route_body(ip_network(endpoint.host))
        if fwmark:
            question += pack_attribute(Rta.MARK, fwmark)
        if endpoint.scope_id:
            question += pack_attribute(Rta.OIF, endpoint.scope_id)
        try:
            route = parse_attributes(self._rtnetlink.ask(Kind.GETROUTE, question)[RTMSG.size :])
            metrics = parse_attributes(route.get(Rta.METRICS, b""))
            return parse_number(metrics.get(RTAX_MTU)) or self._link_mtu(parse_number(route.get(Rta.OIF)))
        except OSError as error:
            if error.errno in _NO_ROUTE:
                return None
            raise _refusal(f"find the route to {endpoint}", error) from None

    def watch_link(self, index: int) -> AsyncGenerator[LinkEvent, None]:
        """The present state, then every change, the last being that it is gone; see `tunnel.netlink.watch`."""
        return watch_link(index)

    def _set_gso_max_size(self, index: int, size: int) -> bool:
        """Return whether the kernel took it; it refuses what is more than the device can do.

        One attribute is enough: since Linux 6.3, which has another for IPv4, it sets that one, too, up to 65536.
        """
        try:
            self._change_link(index, {Ifla.GSO_MAX_SIZE: size})
        except OSError as error:
            if error.errno in _SIZE_REFUSED:
                return False
            raise _refusal(f"set gso_max_size {size} on {self._name(index)}", error) from None
        return True

    def _has_route(self, index: int, network: IPNetwork, table: int | None) -> bool:
        """Whether it leads into our interface; raise `NetlinkError` if it leads elsewhere."""
        routes = self._routes(network, table)
        for route in routes:
            if route.interface != index:
                holder = self._holder(route)
                verb = "goes through" if route.interface else "is of type"
                raise NetlinkError(f"route {network} is taken: it {verb} {holder}", errno.EEXIST)
        return bool(routes)

    def _routes(self, network: IPNetwork, table: int | None) -> list[Route]:
        try:
            return find_routes(self._rtnetlink, network, table or RT_TABLE_MAIN)
        except OSError as error:
            raise _refusal(f"read the routes to {network}", error) from None

    def _holder(self, route: Route) -> str:
        return self._name(route.interface) if route.interface else route.kind

    def _name(self, index: int) -> str:
        try:
            return parse_text(self._link_attributes(index).get(Ifla.IFNAME))
        except OSError:  # gone since
            return f"interface {index}"

    def _link_mtu(self, index: int) -> int:
        return parse_number(self._link_attributes(index).get(Ifla.MTU))

    def _link_attributes(self, index: int) -> dict[int, bytes]:
        return parse_attributes(self._rtnetlink.ask(Kind.GETLINK, _link_body(index))[IFINFOMSG.size :])

    def _change_link(self, index: int, attributes: Mapping[Ifla, bytes | int], is_up: bool | None = None) -> None:
        self._rtnetlink.tell(Kind.NEWLINK, _link_body(index, attributes, is_up))

    @contextmanager
    def _explained(self, deed: str, index: int, has_ipv6: bool = False) -> Iterator[None]:
        """Translate the kernel's refusal of `deed` on the interface."""
        try:
            yield
        except OSError as error:
            why = self._ipv6_trouble(index, error.errno) if has_ipv6 else None
            raise _refusal(f"{deed} {self._name(index)}", error, why) from None

    def _ipv6_trouble(self, index: int, code: int | None) -> str | None:
        """What the kernel means when an interface without IPv6 is given some; None if it is something else."""
        if code == errno.EACCES:
            return "IPv6 is disabled there (sysctl net.ipv6.conf.*.disable_ipv6)"
        if code in {errno.EAFNOSUPPORT, errno.EOPNOTSUPP}:
            return "this host has no IPv6"
        if code in {errno.EINVAL, errno.ENODEV}:
            try:
                mtu = self._link_mtu(index)
            except OSError:
                return None
            if mtu < IPV6_MIN_MTU:
                return f"IPv6 needs an MTU of {IPV6_MIN_MTU} or more, not {mtu}"
        return None


def _link_body(index: int, attributes: Mapping[Ifla, bytes | int] | None = None, is_up: bool | None = None) -> bytes:
    flags, changed_flags = (IFF_UP if is_up else 0), (0 if is_up is None else IFF_UP)
    packed = (pack_attribute(kind, value) for kind, value in (attributes or {}).items())
    return IFINFOMSG.pack(AF_UNSPEC, 0, index, flags, changed_flags) + b"".join(packed)


def _route_body(network: IPNetwork, protocol: int = 0, scope: int = 0, kind: int = 0) -> bytes:
    body = RTMSG.pack(_family(network), network.prefixlen, 0, 0, 0, protocol, scope, kind, 0)
    return body + pack_attribute(Rta.DST, network.network_address.packed)


def _family(address: IPInterface | IPNetwork) -> int:
    return AF_INET if address.version == 4 else AF_INET6


def _refusal(deed: str, error: OSError, why: str | None = None) -> NetlinkError:
    """In one line, with the kernel's own words unless we know better ones."""
    return NetlinkError(f"cannot {deed}: {why or error.strerror}", error.errno or 0)

"""The outer side of the tunnel: UDP over IPv4 and IPv6 on one port, with sticky sources.

    network ──recvmsg──▶ (length, Endpoint)          (datagram, Endpoint) ──sendmsg──▶ network

Between the kernel's socket addresses and our `Endpoint` stand two bounded tables, one for each direction, so that a
datagram of a flow costs a look-up and nothing is parsed or built again. Both forget everything when full: a flood of
forged sources costs the rebuilding of a few entries, never memory.

What the network says (no route, too big, refused by a firewall) is no error here: the datagram is lost, as any may be,
and counted. Our sockets are never connected, so Linux does not report ICMP errors to them at all (udp(7), RFC 1122
section 4.1.3.3 notwithstanding).
"""

import errno
import socket
from collections.abc import Sequence
from typing import NamedTuple, Self

from tunnel.endpoint import Endpoint
from tunnel.udp.binding import SocketFactory, bind_port, granted, mark
from tunnel.udp.pktinfo import ANCILLARY_SIZE, Ancillary, pack_source, parse_source
from tunnel.udp.route import Routing

MAX_REMEMBERED = 1024
"""Endpoints in each table, and so roughly the number of peers that can be talked to at full speed at once."""

_Address = tuple[str, int] | tuple[str, int, int, int]
_Origin = tuple[_Address, bytes]
"""What tells one endpoint from another as the kernel sees it: socket address and content of the pktinfo message."""

_SOURCE_REFUSED = {errno.EINVAL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO}


class _Path(NamedTuple):
    """How to send to an endpoint: everything that `sendmsg` needs but the datagram."""

    sock: socket.socket
    ancillary: Ancillary
    address: _Address


class UdpSocket:
    """Satisfies `tunnel.daemon.ports.DatagramSocket`."""

    def __init__(self, sockets: list[socket.socket], fwmark: int = 0, routing: Routing | None = None) -> None:
        """Take over bound, non-blocking sockets, at most one per family; see `open`.

        Without `routing` a source is used for as long as the kernel accepts it.
        """
        self.unsent = 0
        self.port: int = sockets[0].getsockname()[1]
        self.receive_buffer = granted(sockets, socket.SO_RCVBUF)
        self.send_buffer = granted(sockets, socket.SO_SNDBUF)
        self._sockets = {sock.fileno(): sock for sock in sockets}
        self._by_version = {sock.family == socket.AF_INET6: sock for sock in sockets}
        self._fwmark = fwmark
        self._routing = routing
        self._endpoints: dict[_Origin, Endpoint] = {}
        self._paths: dict[Endpoint, _Path | None] = {}

    @classmethod
    def open(cls, port: int, fwmark: int = 0, create: SocketFactory = socket.socket) -> Self:
        """Listen on `port` (0: any that is free) on all addresses of the families that the host has.

        Raise `UdpSocketError` with the kernel's errno: EADDRINUSE, EACCES for a privileged port, EPERM for the mark.
        """
        sockets = bind_port(port, fwmark, create)
        try:
            routing = Routing()
        except OSError:  # a sandbox without netlink; the kernel still refuses an address that is not ours
            routing = None
        return cls(sockets, fwmark, routing)

    def filenos(self) -> Sequence[int]:
        """What to wait on for reading: one descriptor per address family that is available."""
        return tuple(self._sockets)

    def receive(self, fileno: int, buffers: Sequence[memoryview]) -> list[tuple[int, Endpoint]]:
        """Read up to one datagram into each buffer, in order; return (length, from where) for each.

        A datagram longer than its buffer has length 0. Shorter than `buffers` means that there is no more for now.
        """
        recvmsg_into, remembered = self._sockets[fileno].recvmsg_into, self._endpoints
        received: list[tuple[int, Endpoint]] = []
        for buffer in buffers:
            try:
                length, ancillary, flags, address = recvmsg_into((buffer,), ANCILLARY_SIZE)
            except OSError:  # EAGAIN; anything else the kernel has forgotten by saying it, and will wake us again
                break
            origin = (address, ancillary[0][2] if ancillary else b"")
            endpoint = remembered.get(origin) or self._remember(origin)
            received.append((0 if flags & socket.MSG_TRUNC else length, endpoint))
        return received

    def send(self, datagrams: Sequence[tuple[memoryview, Endpoint]]) -> int:
        """Send in order, each from its endpoint's `source` if that is still ours; return how many are done.

        Fewer than given: the kernel's buffer is full; wait until writable, then send the rest.
        """
        if self._routing is not None and self._routing.changed():
            self._paths.clear()
        current: Endpoint | None = None
        path: _Path | None = None
        for done, (datagram, endpoint) in enumerate(datagrams):
            if endpoint is not current:
                current, path = endpoint, self._path_to(endpoint)
            if path is None:
                self.unsent += 1
                continue
            try:
                path.sock.sendmsg((datagram,), path.ancillary, 0, path.address)
            except BlockingIOError:
                return done
            except OSError as error:
                if not self._send_from_any_source(datagram, endpoint, path, error):
                    return done
                current = None
        return len(datagrams)

    def fileno_towards(self, endpoint: Endpoint) -> int:
        """The descriptor that `send` uses for it: what to wait on until it is writable.

        Of a family that the host lacks `send` never waits; then it is any of ours.
        """
        sock = self._by_version.get(endpoint.is_ipv6)
        return sock.fileno() if sock is not None else next(iter(self._sockets), -1)

    def set_fwmark(self, fwmark: int) -> None:
        """Mark what is sent from now on; 0 is no mark. Raise `UdpSocketError` (EPERM without CAP_NET_ADMIN)."""
        if fwmark != self._fwmark:
            mark(list(self._sockets.values()), fwmark)
            self._fwmark = fwmark
            self._paths.clear()

    def close(self) -> None:
        """Harmless when repeated."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets = {}
        self._by_version = {}
        self._paths = {}
        if self._routing is not None:
            self._routing.close()
            self._routing = None

    def _remember(self, origin: _Origin) -> Endpoint:
        address, pktinfo = origin
        is_ipv6 = len(address) == 4
        plain = Endpoint.create(address[0], address[1], address[3] if len(address) == 4 else 0)
        endpoint = Endpoint(plain.host, plain.port, plain.scope_id, parse_source(is_ipv6, pktinfo))
        if len(self._endpoints) >= MAX_REMEMBERED:
            self._endpoints.clear()
        self._endpoints[origin] = endpoint
        return endpoint

    def _path_to(self, endpoint: Endpoint) -> _Path | None:
        """None: the host has no socket of that family."""
        try:
            return self._paths[endpoint]
        except KeyError:
            pass
        sock = self._by_version.get(endpoint.is_ipv6)
        path = None
        if sock is not None:
            path = _Path(sock, self._source_of(endpoint), _socket_address(endpoint))
        self._keep_path(endpoint, path)
        return path

    def _source_of(self, endpoint: Endpoint) -> Ancillary:
        """The control message for the endpoint's source, if the route from it still leaves where it was learnt."""
        if endpoint.source is None:
            return []
        if self._routing is not None and not self._routing.fits_source(endpoint, self._fwmark):
            return []
        return pack_source(endpoint.source)

    def _keep_path(self, endpoint: Endpoint, path: _Path | None) -> None:
        if len(self._paths) >= MAX_REMEMBERED:
            self._paths.clear()
        self._paths[endpoint] = path

    def _send_from_any_source(self, datagram: memoryview, endpoint: Endpoint, path: _Path, error: OSError) -> bool:
        """After a refusal: if the source may be to blame, leave it to the kernel; return False if its buffer is full.

        That the source is gone is remembered with the endpoint until something changes in the routing.
        """
        if path.ancillary and error.errno in _SOURCE_REFUSED:
            path = path._replace(ancillary=[])
            try:
                path.sock.sendmsg((datagram,), path.ancillary, 0, path.address)
            except BlockingIOError:
                return False
            except OSError:
                pass
            else:
                self._keep_path(endpoint, path)
                return True
        # ENOBUFS is counted here, too: it means that a queue below us was full, but the socket stays writable, so there
        # would be nothing to wait for.
        self.unsent += 1
        return True


def _socket_address(endpoint: Endpoint) -> _Address:
    if endpoint.is_ipv6:
        return (endpoint.host, endpoint.port, 0, endpoint.scope_id)
    return (endpoint.host, endpoint.port)

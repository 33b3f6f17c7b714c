"""Sending trains: from the right source, in one system call if the kernel can cut them, and else in several.

    (Train, Endpoint) ──▶ path: socket, source, address ──sendmsg + UDP_SEGMENT──▶ kernel
                               ▲          │ refused
                               └──────────┴──▶ without the source ──▶ datagram by datagram ──▶ lost, counted

What `sendmsg` needs for an endpoint is its path, kept in a bounded table until the host's routing changes. A refusal
has three possible reasons, and errno tells them apart badly: the source is not ours any more, the train cannot be cut
on this way (or on no way from this socket), the network does not want any datagram at all. So the next best is tried,
and what helps is remembered: that the source is gone, with the path; that this way takes no trains, for the next
`GSO_PAUSE` of them, as a path MTU is learnt for ten minutes only; that no way takes any, for ever.
"""

import errno
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunnel.endpoint import Endpoint
from tunnel.udp.fragmentation import probing
from tunnel.udp.offload import GSO_REFUSED, GSO_UNUSABLE, pack_segment_size
from tunnel.udp.pktinfo import Ancillary, pack_source
from tunnel.udp.route import Routing
from tunnel.wire.train import Train

MAX_PATHS = 4096
"""Endpoints in the table, and so roughly the number of peers that can be talked to at full speed at once."""

GSO_PAUSE = 64
"""Trains sent datagram by datagram after a refusal: so many that one vain attempt more costs next to nothing."""

SocketAddress = tuple[str, int] | tuple[str, int, int, int]

_SOURCE_REFUSED = {errno.EINVAL, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENODEV, errno.ENXIO}

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Path:
    """How to send to an endpoint: everything that `sendmsg` needs but the datagrams."""

    sock: socket.socket
    ancillary: Ancillary
    address: SocketAddress
    gso_pause: int = 0  # trains that are still to go datagram by datagram

    def send(self, train: Train) -> None:
        ancillary = self.ancillary if train.count == 1 else [*self.ancillary, pack_segment_size(train.size)]
        self.sock.sendmsg((train.buffer,), ancillary, 0, self.address)


class Sender:
    """The sending half of a `tunnel.udp.socket.UdpSocket`."""

    def __init__(
        self, by_version: Mapping[bool, socket.socket], fwmark: int, routing: Routing | None, has_gso: bool
    ) -> None:
        """`by_version`: the socket for IPv6 (True) and the one for IPv4 (False), or one of them.

        Without `routing` a source is used for as long as the kernel accepts it.
        """
        self.unsent = 0
        self.has_gso = has_gso
        self._by_version = by_version
        self._fwmark = fwmark
        self._routing = routing
        self._paths: dict[Endpoint, _Path | None] = {}
        self._gso_has_worked = False
        self._begun: tuple[Train, int] | None = None  # a train that is sent in part, and how many datagrams of it

    def send(self, bursts: Sequence[tuple[Train, Endpoint]]) -> int:
        """As `tunnel.udp.socket.UdpSocket.send`."""
        if self._routing is not None and self._routing.changed():
            self._paths.clear()
        current: Endpoint | None = None
        path: _Path | None = None
        for done, (train, endpoint) in enumerate(bursts):
            if endpoint is not current:
                current, path = endpoint, self._path_to(endpoint)
            if path is None:
                self.unsent += train.count
                continue
            if train.count > 1 and (path.gso_pause or not self.has_gso or self._begun):
                if not self._send_singly(train, path):
                    return done
                path.gso_pause = max(0, path.gso_pause - 1)
                continue
            try:
                path.send(train)
            except BlockingIOError:
                return done
            except OSError as error:
                if not self._send_otherwise(train, path, error):
                    return done
            else:
                self._gso_has_worked |= train.count > 1
        return len(bursts)

    def send_probe(self, datagram: memoryview, endpoint: Endpoint) -> None:
        """As `tunnel.udp.socket.UdpSocket.send_probe`."""
        path = self._path_to(endpoint)
        if path is None:
            return
        try:
            with probing(path.sock):
                path.send(Train.single(datagram))
        except OSError as error:  # as if it had been lost on the way, which is what it asks
            _log.debug("a probe of %d bytes was not sent: %s", len(datagram), error)

    def use_mark(self, fwmark: int) -> None:
        """The sockets have another mark from now on, which may lead another way."""
        self._fwmark = fwmark
        self._paths.clear()

    def close(self) -> None:
        """Whatever is sent from now on is unsent; the sockets and the routing are their owner's."""
        self._by_version = {}
        self._routing = None
        self._paths.clear()

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
        if len(self._paths) >= MAX_PATHS:
            self._paths.clear()
        self._paths[endpoint] = path
        return path

    def _source_of(self, endpoint: Endpoint) -> Ancillary:
        """The control message for the endpoint's source, if the route from it still leaves where it was learnt."""
        if endpoint.source is None:
            return []
        if self._routing is not None and not self._routing.fits_source(endpoint, self._fwmark):
            return []
        return pack_source(endpoint.source)

    def _send_otherwise(self, train: Train, path: _Path, refusal: OSError) -> bool:
        """After a refusal: from any source, then datagram by datagram; return False if the kernel's buffer is full."""
        reason = refusal.errno
        if path.ancillary and reason in _SOURCE_REFUSED:
            source, path.ancillary = path.ancillary, []
            try:
                path.send(train)
            except OSError as error:
                path.ancillary = source
                if isinstance(error, BlockingIOError):
                    return False
                reason = error.errno
            else:
                return True
        if train.count > 1 and reason in GSO_REFUSED:
            return self._send_refused_train(train, path, reason or 0)
        # ENOBUFS is counted here, too: it means that a queue below us was full, but the socket stays writable, so there
        # would be nothing to wait for.
        self.unsent += train.count
        return True

    def _send_refused_train(self, train: Train, path: _Path, reason: int) -> bool:
        """Datagram by datagram; if that helps, that it was a train is what was wrong."""
        unsent = self.unsent
        is_done = self._send_singly(train, path)
        if self.unsent > unsent:
            return is_done
        # EINVAL from the very first train on is a kernel, or a sandbox, that means it; later it is this way's fault.
        if reason in GSO_UNUSABLE or (reason == errno.EINVAL and not self._gso_has_worked):
            self.has_gso = False
            _log.warning("UDP segmentation offload is off, as the kernel refuses it: %s", os.strerror(reason))
        path.gso_pause = GSO_PAUSE
        return is_done

    def _send_singly(self, train: Train, path: _Path) -> bool:
        """Go on where the train stopped before; return False if the kernel's buffer is full again."""
        begun, self._begun = self._begun, None
        first = begun[1] if begun is not None and begun[0] is train else 0
        for index, datagram in enumerate(train.datagrams()[first:], first):
            single = Train.single(datagram)
            try:
                path.send(single)
            except BlockingIOError:
                is_done = False
            except OSError as error:
                is_done = self._send_otherwise(single, path, error)
            else:
                is_done = True
            if not is_done:
                self._begun = train, index
                return False
        return True


def _socket_address(endpoint: Endpoint) -> SocketAddress:
    if endpoint.is_ipv6:
        return (endpoint.host, endpoint.port, 0, endpoint.scope_id)
    return (endpoint.host, endpoint.port)

"""The outer side of the tunnel: UDP over IPv4 and IPv6 on one port, with sticky sources, in trains.

    network ──recvmsg──▶ (Train, Endpoint)          (Train, Endpoint) ──sendmsg──▶ network

`Receiver` and `Sender` are its two halves; here is what they share.

What the network says (no route, too big, refused by a firewall) is no error here: the datagram is lost, as any may be,
and counted. Our sockets are never connected, so Linux does not report ICMP errors to them at all (udp(7), RFC 1122
section 4.1.3.3 notwithstanding).
"""

import socket
from collections.abc import Sequence
from typing import Self

from tunnel.config.model import Offload
from tunnel.endpoint import Endpoint
from tunnel.udp.binding import SocketFactory, adopt_port, bind_port, granted, mark
from tunnel.udp.offload import knows_gso, set_gro
from tunnel.udp.receiver import Receiver
from tunnel.udp.route import Routing
from tunnel.udp.sender import Sender
from tunnel.wire.train import Train


class UdpSocket:
    """Satisfies `tunnel.daemon.ports.DatagramSocket`."""

    def __init__(
        self,
        sockets: list[socket.socket],
        fwmark: int = 0,
        routing: Routing | None = None,
        offload: Offload = Offload.AUTO,
    ) -> None:
        """Take over bound, non-blocking sockets, at most one per family; see `open`.

        Without `routing` a source is used for as long as the kernel accepts it.
        """
        self.port: int = sockets[0].getsockname()[1]
        self.receive_buffer = granted(sockets, socket.SO_RCVBUF)
        self.send_buffer = granted(sockets, socket.SO_SNDBUF)
        self._sockets = {sock.fileno(): sock for sock in sockets}
        self._by_version = {sock.family == socket.AF_INET6: sock for sock in sockets}
        self._fwmark = fwmark
        self._routing = routing
        self._has_gro = set_gro(sockets, offload.receives)
        self._receiver = Receiver()
        self._sender = Sender(self._by_version, fwmark, routing, offload.sends and knows_gso(sockets))

    @classmethod
    def open(
        cls, port: int, fwmark: int = 0, offload: Offload = Offload.AUTO, *, create: SocketFactory = socket.socket
    ) -> Self:
        """Listen on `port` (0: any that is free) on all addresses of the families that the host has.

        In a direction without `offload` the kernel is given, or gives, one datagram at a time.

        Raise `UdpSocketError` with the kernel's errno: EADDRINUSE, EACCES for a privileged port, EPERM for the mark.
        """
        return cls(bind_port(port, fwmark, create), fwmark, _open_routing(), offload)

    @classmethod
    def adopt(cls, sockets: list[socket.socket], fwmark: int = 0, offload: Offload = Offload.AUTO) -> Self:
        """Use sockets that somebody else has bound to one port, at most one of each family, IPv6 without IPv4.

        They are ours from now on. Raise `UdpSocketError`, and they are not.
        """
        adopt_port(sockets, fwmark)
        return cls(sockets, fwmark, _open_routing(), offload)

    @property
    def send_offloads(self) -> frozenset[str]:
        """``gso``, unless it is off by now: the kernel cuts what we send."""
        return frozenset({"gso"} if self._sender.has_gso else ())

    @property
    def receive_offloads(self) -> frozenset[str]:
        """``gro``, unless it is off: the kernel joins what we receive."""
        return frozenset({"gro"} if self._has_gro else ())

    @property
    def truncated(self) -> int:
        """Datagrams that were longer than the arena that was given for them."""
        return self._receiver.truncated

    @property
    def unsent(self) -> int:
        """Datagrams that the network refused since the socket was opened."""
        return self._sender.unsent

    def filenos(self) -> Sequence[int]:
        """What to wait on for reading: one descriptor per address family that is available."""
        return tuple(self._sockets)

    def receive(self, fileno: int, arena: memoryview) -> list[tuple[Train, Endpoint]]:
        """Read what there is into `arena`, one behind the other, up to its end; return each train, and from where.

        Equal datagrams from one endpoint that come in a row are one train. What is longer than the arena is skipped and
        counted in `truncated`: 65535 bytes are enough for anything. An empty datagram is a train of one of size 0.
        """
        return self._receiver.receive(self._sockets[fileno], arena)

    def send(self, bursts: Sequence[tuple[Train, Endpoint]]) -> int:
        """Send in order, each from its endpoint's `source` if that is still ours; return how many trains are done.

        Fewer than given: the kernel's buffer is full; wait until writable, then send the rest. Of the first of the rest
        a part may have been sent: given again, the very same `Train`, it goes on where it stopped.
        """
        return self._sender.send(bursts)

    def send_probe(self, datagram: memoryview, endpoint: Endpoint) -> None:
        """Send one that nobody may cut, however narrow the kernel takes the path to be; what fails is lost silently."""
        self._sender.send_probe(datagram, endpoint)

    def fileno_towards(self, endpoint: Endpoint) -> int:
        """The descriptor that `send` uses for it: what to wait on until it is writable.

        Of a family that the host lacks `send` never waits; then it is any of ours.
        """
        sock = self._by_version.get(endpoint.is_ipv6)
        return sock.fileno() if sock is not None else next(iter(self._sockets), -1)

    def has_moved(self, endpoint: Endpoint) -> bool:
        """Whether what is sent to the endpoint no longer leaves from its `source`; not known, no, if it has none."""
        if self._routing is None or endpoint.source is None:
            return False
        return not self._routing.fits_source(endpoint, self._fwmark)

    def set_fwmark(self, fwmark: int) -> None:
        """Mark what is sent from now on; 0 is no mark. Raise `UdpSocketError` (EPERM without CAP_NET_ADMIN)."""
        if fwmark != self._fwmark:
            mark(list(self._sockets.values()), fwmark)
            self._fwmark = fwmark
            self._sender.use_mark(fwmark)

    def close(self) -> None:
        """Harmless when repeated."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets = {}
        self._by_version = {}
        self._sender.close()
        if self._routing is not None:
            self._routing.close()
            self._routing = None


def _open_routing() -> Routing | None:
    try:
        return Routing()
    except OSError:  # a sandbox without netlink; the kernel still refuses an address that is not ours
        return None

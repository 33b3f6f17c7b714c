"""The UDP port of an interface: which socket is in use, and how another one takes its place.

    open ─▶ bind, or take what systemd has bound ─▶ listen, once the link is up
    move ─▶ bind the new one ─▶ the pipeline uses it ─▶ close the old one       refused: nothing has changed

What comes before the link is up waits in the socket, so that the datagram that started us (`tunnel.daemon.handover`) is
answered. A port of systemd's stays bound while the link is down: what has come meanwhile is thrown away.
"""

import errno
import logging
import socket
from collections.abc import Sequence, Set
from contextlib import suppress

from tunnel.config.model import Offload
from tunnel.config.patch import DevicePatch
from tunnel.daemon.handover import Handover
from tunnel.daemon.pipeline import Pipeline
from tunnel.endpoint import Endpoint
from tunnel.errors import UdpSocketError
from tunnel.udp.socket import UdpSocket

MOST_STALE = 1 << 16
"""Datagrams thrown away at most: more than wait in a socket, and an end to it in a flood."""

_log = logging.getLogger(__name__)


class UdpPort:
    """Of the interface whose packets `pipeline` moves. Without a socket it is deaf: down, or the port was refused."""

    def __init__(self, pipeline: Pipeline, offload: Offload, handover: Handover) -> None:
        self._pipeline = pipeline
        self._offload = offload
        self._handover = handover
        self._socket: UdpSocket | None = None
        self._was_closed = False

    @property
    def number(self) -> int | None:
        """Where we listen; None while there is no socket."""
        return None if self._socket is None else self._socket.port

    @property
    def buffers(self) -> tuple[int, int]:
        """Bytes that the kernel grants for receiving and for sending; 0 without a socket."""
        return (self._socket.receive_buffer, self._socket.send_buffer) if self._socket else (0, 0)

    @property
    def send_offloads(self) -> Set[str]:
        return self._socket.send_offloads if self._socket else frozenset()

    @property
    def receive_offloads(self) -> Set[str]:
        return self._socket.receive_offloads if self._socket else frozenset()

    def open(self, number: int, fwmark: int) -> None:
        """Have a new socket, and leave one before it open; raise `UdpSocketError`, with nothing changed."""
        self._socket = self._open(number, fwmark)

    def listen(self) -> None:
        """Let the pipeline use the socket, if there is one."""
        if self._socket is not None:
            self._pipeline.use_socket(self._socket)

    def close(self) -> None:
        """Harmless when repeated."""
        if self._socket is not None:
            self._pipeline.use_socket(None)
            self._socket.close()
            self._socket = None
            self._was_closed = True

    def has_moved(self, endpoint: Endpoint) -> bool:
        """Whether what goes to the endpoint leaves from elsewhere than what comes from there has come to."""
        return self._socket is not None and self._socket.has_moved(endpoint)

    def to_leave(self) -> Sequence[int]:
        """The descriptors that the process after us would have to be given: none if systemd has them anyway."""
        return self._socket.filenos() if self._socket is not None and not self._handover.activated else ()

    def move(self, patch: DevicePatch, fwmark: int, *, is_link_up: bool) -> None:
        """Take port and mark of `patch`; `fwmark` is the mark before. Raise `UdpSocketError`, with nothing changed."""
        wanted = fwmark if patch.fwmark is None else patch.fwmark
        if self._socket is None:
            if patch.listen_port is not None and is_link_up:  # deaf: the port was taken
                self.open(patch.listen_port, wanted)
                self.listen()
        elif patch.listen_port is not None and patch.listen_port != self._socket.port:
            before = self._socket
            self.open(patch.listen_port, wanted)
            if is_link_up:
                self.listen()
            before.close()
        elif patch.fwmark is not None:
            self._socket.set_fwmark(wanted)

    def _open(self, number: int, fwmark: int) -> UdpSocket:
        given = self._handover.activated
        if given:
            if number not in (0, self._handover.port):
                why = f"{self._handover.unit} listens on {self._handover.port} for us"
                raise UdpSocketError(f"cannot listen on UDP port {number}: {why}", errno.EBUSY)
            if self._was_closed:
                _discard(given)
            return _adopt([sock.dup() for sock in given], fwmark, self._offload)
        if kept := self._handover.take_sockets(number):
            try:
                return _adopt(kept, fwmark, self._offload)
            except UdpSocketError as error:
                _log.info("%s; another is opened", error)
        return UdpSocket.open(number, fwmark, self._offload)


def _adopt(sockets: list[socket.socket], fwmark: int, offload: Offload) -> UdpSocket:
    try:
        return UdpSocket.adopt(sockets, fwmark, offload)
    except UdpSocketError:
        for sock in sockets:
            sock.close()
        raise


def _discard(sockets: Sequence[socket.socket]) -> None:
    """Throw away what waits to be received."""
    for sock in sockets:
        with suppress(OSError):
            for _ in range(MOST_STALE):
                sock.recv(1, socket.MSG_DONTWAIT | socket.MSG_TRUNC)

"""The UDP port of an interface: which socket is in use, and how another one takes its place.

move ─▶ bind the new one ─▶ the pipeline uses it ─▶ close the old one       refused: nothing has changed
"""

from collections.abc import Set

from tunnel.config.model import Offload
from tunnel.config.patch import DevicePatch
from tunnel.daemon.pipeline import Pipeline
from tunnel.udp.socket import UdpSocket


class UdpPort:
    """Of the interface whose packets `pipeline` moves. Without a socket it is deaf: down, or the port was refused."""

    def __init__(self, pipeline: Pipeline, offload: Offload) -> None:
        self._pipeline = pipeline
        self._offload = offload
        self._socket: UdpSocket | None = None

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
        """Use a new socket, and leave one before it open; raise `UdpSocketError`, with nothing changed."""
        self._socket = UdpSocket.open(number, fwmark, self._offload)
        self._pipeline.use_socket(self._socket)

    def close(self) -> None:
        """Harmless when repeated."""
        if self._socket is not None:
            self._pipeline.use_socket(None)
            self._socket.close()
            self._socket = None

    def move(self, patch: DevicePatch, fwmark: int, *, is_link_up: bool) -> None:
        """Take port and mark of `patch`; `fwmark` is the mark before. Raise `UdpSocketError`, with nothing changed."""
        wanted = fwmark if patch.fwmark is None else patch.fwmark
        if self._socket is None:
            if patch.listen_port is not None and is_link_up:  # deaf: the port was taken
                self.open(patch.listen_port, wanted)
        elif patch.listen_port is not None and patch.listen_port != self._socket.port:
            before = self._socket
            self.open(patch.listen_port, wanted)
            before.close()
        elif patch.fwmark is not None:
            self._socket.set_fwmark(wanted)

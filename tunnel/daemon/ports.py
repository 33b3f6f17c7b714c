"""What the daemon needs of the world, as Protocols: real edges and the fakes in `tunnel.testing` both fit.

Both data ports are batch-shaped, and both let the caller own every buffer, always: a port reads into the buffers it is
given and writes from them before it returns, so nothing is copied and nothing outlives a call.
"""

from collections.abc import Sequence
from typing import Protocol

from tunnel.endpoint import Endpoint


class PacketDevice(Protocol):
    """Where inner IP packets come from and go to: a TUN device."""

    name: str

    def fileno(self) -> int:
        """What to wait on for reading."""
        ...

    def read(self, buffers: Sequence[memoryview]) -> list[int]:
        """Read up to one packet into each buffer, in order, without blocking; return their lengths.

        Shorter than `buffers` means that there is no more for now. A packet longer than its buffer is cut by the
        kernel: buffers must hold the device's MTU. Raise `TunDeviceError` when the device is gone, never for a packet.
        """
        ...

    def write(self, packets: Sequence[memoryview]) -> int:
        """Write each packet; return how many the kernel refused (they are lost, the others are not).

        Raise `TunDeviceError` when the device is gone.
        """
        ...

    def close(self) -> None:
        """Let go of the descriptor; the interface, its addresses and routes go with it. Harmless when repeated."""
        ...


class DatagramSocket(Protocol):
    """Where outer datagrams come from and go to: UDP over IPv4 and IPv6 on one port."""

    port: int

    def filenos(self) -> Sequence[int]:
        """What to wait on for reading: one descriptor per address family that is available."""
        ...

    def receive(self, fileno: int, buffers: Sequence[memoryview]) -> list[tuple[int, Endpoint]]:
        """Read up to one datagram into each buffer, in order, without blocking; return (length, from where) for each.

        Shorter than `buffers` means that there is no more for now. The endpoint's `source` is the address and interface
        it came to. A datagram longer than its buffer has length 0. Never raises for what the network does.
        """
        ...

    def send(self, datagrams: Sequence[tuple[memoryview, Endpoint]]) -> int:
        """Send in order without blocking, each from its endpoint's `source` if still ours; return how many are done.

        Fewer than given: the kernel's buffer is full; wait until writable and call again with the rest. A datagram the
        network refuses (no route, too big, port unreachable) is counted in `unsent` and is done.
        """
        ...

    def fileno_towards(self, endpoint: Endpoint) -> int:
        """The descriptor that `send` uses for it: what to wait on until it is writable."""
        ...

    unsent: int
    """Datagrams that the network refused since the socket was opened."""

    def set_fwmark(self, fwmark: int) -> None:
        """Mark what is sent from now on; 0 is no mark. Raise `UdpSocketError` (EPERM without CAP_NET_ADMIN)."""
        ...

    def close(self) -> None:
        """Harmless when repeated."""
        ...

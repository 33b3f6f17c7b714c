"""What the daemon needs of the world, as Protocols: real edges and the fakes in `tunnel.testing` both fit.

Both data ports are batch-shaped, and both let the caller own every buffer, always: a port reads into the buffers it is
given and writes from them before it returns, so nothing is copied and nothing outlives a call. What it returns of a
buffer is a view of it, good until the caller uses that buffer again.

A packet comes as a *frame*: 10 bytes of virtio header (`struct virtio_net_hdr`), then the packet. The header of a whole
packet is zero. Any other says that the packet is a superpacket, still to be cut into segments, or that its checksum is
still to be filled in. Datagrams come as a *train*: see `tunnel.wire.train`.
"""

from collections.abc import Sequence
from typing import Protocol

from tunnel.endpoint import Endpoint
from tunnel.wire.messages import Buffer
from tunnel.wire.train import Train

Frame = Sequence[Buffer]
"""A frame to write, in as many pieces as it comes in (at most 1024); the first holds at least the virtio header."""


class PacketDevice(Protocol):
    """Where inner IP packets come from and go to: a TUN device."""

    name: str

    @property
    def send_offloads(self) -> frozenset[str]:
        """What the kernel may leave undone in what is read, of csum, tso4, tso6, uso4 and uso6; fixed while it is open.

        Empty: every frame that is read has a zero header.
        """
        ...

    @property
    def receive_offloads(self) -> frozenset[str]:
        """What may be left undone in what is written, of the same, and as fixed.

        Whoever writes keeps to it: a kernel that cannot do the rest refuses it, and one that can may not be wanted to.
        """
        ...

    def fileno(self) -> int:
        """What to wait on for reading."""
        ...

    def read(self, buffers: Sequence[memoryview]) -> list[int]:
        """Read up to one frame into each buffer, in order, without blocking; return their lengths, header included.

        Shorter than `buffers` means that there is no more for now. A frame longer than its buffer is cut by the
        kernel: buffers must hold 10 + 65535 bytes, 10 and the device's MTU without `send_offloads`. Raise
        `TunDeviceError` when the device is gone, never for a packet.
        """
        ...

    def write(self, frames: Sequence[Frame]) -> int:
        """Write each frame; return how many the kernel refused (they are lost, the others are not).

        A superpacket is one frame, refused or not as a whole. Raise `TunDeviceError` when the device is gone.
        """
        ...

    def close(self) -> None:
        """Let go of the descriptor; the interface, its addresses and routes go with it. Harmless when repeated."""
        ...


class DatagramSocket(Protocol):
    """Where outer datagrams come from and go to: UDP over IPv4 and IPv6 on one port."""

    port: int

    @property
    def truncated(self) -> int:
        """Receives that brought more than the arena had room for, and were skipped."""
        ...

    @property
    def send_offloads(self) -> frozenset[str]:
        """gso, if the kernel is given trains to cut; it may go off at any time."""
        ...

    @property
    def receive_offloads(self) -> frozenset[str]:
        """gro, if the kernel joins datagrams into trains; it stays as it is."""
        ...

    @property
    def unsent(self) -> int:
        """Datagrams that the network refused since the socket was opened."""
        ...

    def filenos(self) -> Sequence[int]:
        """What to wait on for reading: one descriptor per address family that is available."""
        ...

    def receive(self, fileno: int, arena: memoryview) -> list[tuple[Train, Endpoint]]:
        """Read what there is into `arena`, without blocking; return each train, a view of it, and from where it is.

        Equal datagrams from one endpoint that come in a row are one train; one by itself is a train of one, an empty
        one has size 0. The endpoint's `source` is the address and interface it came to. What is longer than the arena
        is skipped and counted in `truncated`; 65535 bytes are always enough, and several times that is better. Never
        raises for what the network does.
        """
        ...

    def send(self, bursts: Sequence[tuple[Train, Endpoint]]) -> int:
        """Send in order without blocking, each from its endpoint's `source` if still ours; return how many are done.

        A train is at most `MAX_TRAIN_COUNT` datagrams and `MAX_TRAIN_BYTES`; one that the kernel does not want to cut
        is sent datagram by datagram. Fewer done than given: the kernel's buffer is full; wait until writable and call
        again with the rest, beginning with the very same `Train`, of which a part may have been sent and is not sent
        again. A datagram the network refuses (no route, too big, port unreachable) is counted in `unsent` and is done.
        """
        ...

    def send_probe(self, datagram: memoryview, endpoint: Endpoint) -> None:
        """Send one datagram that arrives whole or not at all, whatever the kernel has learnt about the path.

        It goes where `send` would send it. What cannot be sent (larger than the link, buffer full, no route) is lost,
        and not counted.
        """
        ...

    def fileno_towards(self, endpoint: Endpoint) -> int:
        """The descriptor that `send` uses for it: what to wait on until it is writable."""
        ...

    def set_fwmark(self, fwmark: int) -> None:
        """Mark what is sent from now on; 0 is no mark. Raise `UdpSocketError` (EPERM without CAP_NET_ADMIN)."""
        ...

    def close(self) -> None:
        """Harmless when repeated."""
        ...

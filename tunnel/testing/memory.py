"""A TUN device and UDP sockets that exist in memory only: what the pipeline runs on without privileges or a kernel.

    test ─queue──▶ MemoryTun ─read──▶ pipeline ─send──▶ MemoryUdp ┐
    test ◀written─ MemoryTun ◀write── pipeline ◀receive─ MemoryUdp ┘ the other one, through `Links`

They keep the promises of `tunnel.daemon.ports`: memory belongs to the caller, nothing blocks. Each has a real
descriptor to wait on, readable and writable exactly when the real one would be, so they run on any event loop.
"""

import errno
import socket
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from tunnel.daemon.ports import Frame
from tunnel.endpoint import Endpoint, Source
from tunnel.errors import TunDeviceError
from tunnel.udp.receiver import MAX_DATAGRAM, MAX_READS
from tunnel.wire.train import Train
from tunnel.wire.virtio import PLAIN

ALL_OFFLOADS = frozenset({"csum", "tso4", "tso6", "uso4", "uso6"})


class _Descriptor:
    """Readable and writable as we say: it is one end of a pair of sockets, of which we hold the other."""

    def __init__(self) -> None:
        self._end, self._ours = socket.socketpair()
        self._end.setblocking(False)
        self._ours.setblocking(False)
        self._is_readable = False

    def fileno(self) -> int:
        return self._end.fileno()

    def set_readable(self, is_readable: bool) -> None:
        if is_readable and not self._is_readable:
            self._ours.send(b"\0")
        elif self._is_readable and not is_readable:
            self._end.recv(1)
        self._is_readable = is_readable

    def set_writable(self, is_writable: bool) -> None:
        with suppress(BlockingIOError):
            while True:
                _ = self._ours.recv(1 << 16) if is_writable else self._end.send(bytes(1 << 16))

    def close(self) -> None:
        self._end.close()
        self._ours.close()


class MemoryTun:
    """Satisfies `tunnel.daemon.ports.PacketDevice`: what a test queues is read, what is written the test finds."""

    def __init__(
        self,
        name: str = "wg0",
        send_offloads: frozenset[str] = ALL_OFFLOADS,
        receive_offloads: frozenset[str] = ALL_OFFLOADS,
    ) -> None:
        self.name = name
        self.send_offloads = send_offloads
        self.receive_offloads = receive_offloads
        self.written: list[bytes] = []
        """Frames in the order they were written."""
        self.refuses = False
        """While it is set every frame is refused, as by a kernel whose link is down."""
        self.reads = 0
        """How often `read` was called."""
        self._waiting: deque[bytes] = deque()
        self._is_gone = False
        self._descriptor = _Descriptor()

    def queue(self, *frames: bytes) -> None:
        """Let frames, virtio header and packet, come out of it."""
        self._waiting.extend(frames)
        self._update()

    def queue_packets(self, *packets: bytes) -> None:
        """Let whole packets come out of it."""
        self.queue(*(PLAIN + packet for packet in packets))

    @property
    def waiting(self) -> int:
        """Frames that have not been read."""
        return len(self._waiting)

    def delete(self) -> None:
        """Somebody removes the interface: from now on `read` and `write` raise."""
        self._is_gone = True
        self._update()

    def fileno(self) -> int:
        """Readable while frames wait, and for ever when it is deleted."""
        return self._descriptor.fileno()

    def read(self, buffers: Sequence[memoryview]) -> list[int]:
        """As `tunnel.tun.device.TunDevice.read`."""
        self.reads += 1
        self._check()
        lengths: list[int] = []
        for buffer in buffers:
            if not self._waiting:
                break
            frame = self._waiting.popleft()
            length = min(len(frame), len(buffer))
            buffer[:length] = frame[:length]
            lengths.append(length)
        self._update()
        return lengths

    def write(self, frames: Sequence[Frame]) -> int:
        """As `tunnel.tun.device.TunDevice.write`."""
        self._check()
        if self.refuses:
            return len(frames)
        self.written += [b"".join(frame) for frame in frames]
        return 0

    def close(self) -> None:
        """Harmless when repeated."""
        self._is_gone = True
        self._descriptor.close()

    def _check(self) -> None:
        if self._is_gone:
            raise TunDeviceError(f"interface '{self.name}' was deleted", errno.EBADFD)

    def _update(self) -> None:
        self._descriptor.set_readable(bool(self._waiting) or self._is_gone)


Links = dict[tuple[str, int], "MemoryUdp"]
"""Who listens where: address and port -> socket."""


class MemoryUdp:
    """Satisfies `tunnel.daemon.ports.DatagramSocket`. Trains arrive as they were sent, at once and in order."""

    def __init__(self, links: Links, endpoint: Endpoint) -> None:
        """Listen at `endpoint`, for all who share `links`."""
        self.port = endpoint.port
        self.send_offloads = frozenset({"gso"})
        self.receive_offloads = frozenset({"gro"})
        self.truncated = 0
        self.unsent = 0
        self.sent: list[Train] = []
        """Copies of all trains that it took, whether or not anybody is there."""
        self.probes: list[bytes] = []
        """Those that it was given."""
        self.longest = MAX_DATAGRAM
        """Bytes of the longest datagram that arrives: others vanish on their way, as behind a silent narrow link."""
        self._links = links
        self._endpoint = endpoint
        self._room: int | None = None
        self._arrived: deque[tuple[Train, Endpoint]] = deque()
        self._descriptor = _Descriptor()
        links[endpoint.host, endpoint.port] = self

    @classmethod
    def pair(cls) -> tuple["MemoryUdp", "MemoryUdp"]:
        """Two that reach each other, at 192.0.2.1:51820 and 192.0.2.2:51820."""
        links: Links = {}
        return cls(links, Endpoint("192.0.2.1", 51820)), cls(links, Endpoint("192.0.2.2", 51820))

    def on_port(self, port: int) -> "MemoryUdp":
        """Another socket of the same host."""
        return MemoryUdp(self._links, Endpoint(self._endpoint.host, port))

    @property
    def endpoint(self) -> Endpoint:
        """Where it is reached."""
        return self._endpoint

    @property
    def room(self) -> int | None:
        """Trains that the send buffer takes until it is full, which it is at 0; None: any number."""
        return self._room

    @room.setter
    def room(self, trains: int | None) -> None:
        self._room = trains
        self._descriptor.set_writable(trains != 0)

    def filenos(self) -> Sequence[int]:
        return (self._descriptor.fileno(),)

    def fileno_towards(self, endpoint: Endpoint) -> int:
        """Not writable while there is no room."""
        return self._descriptor.fileno()

    def receive(self, fileno: int, arena: memoryview) -> list[tuple[Train, Endpoint]]:
        """As `tunnel.udp.socket.UdpSocket.receive`."""
        assert fileno == self._descriptor.fileno()
        received: list[tuple[Train, Endpoint]] = []
        end = 0
        while self._arrived and len(received) < MAX_READS:
            train, source = self._arrived[0]
            start, end = end, end + len(train.buffer)
            if start and end > len(arena):
                break
            self._arrived.popleft()
            if end > len(arena):
                self.truncated += 1
                end = start
                continue
            arena[start:end] = train.buffer
            endpoint = Endpoint(source.host, source.port, source=Source(self._endpoint.host, 1))
            received.append((Train(arena[start:end], train.count, train.size, train.last), endpoint))
        self._descriptor.set_readable(bool(self._arrived))
        return received

    def send(self, bursts: Sequence[tuple[Train, Endpoint]]) -> int:
        """As `tunnel.udp.socket.UdpSocket.send`: a train is taken as a whole or not at all."""
        for done, (train, endpoint) in enumerate(bursts):
            if self._room == 0:
                return done
            if self._room is not None:
                self.room = self._room - 1
            self._take(train, endpoint)
        return len(bursts)

    def send_probe(self, datagram: memoryview, endpoint: Endpoint) -> None:
        """As `tunnel.udp.socket.UdpSocket.send_probe`."""
        self.probes.append(bytes(datagram))
        if self._room != 0:
            self._deliver(Train.single(memoryview(self.probes[-1])), endpoint)

    def set_fwmark(self, fwmark: int) -> None:
        """Nobody is there to look at it."""

    def close(self) -> None:
        """Harmless when repeated."""
        if self._links.get((self._endpoint.host, self._endpoint.port)) is self:
            del self._links[self._endpoint.host, self._endpoint.port]
        self._descriptor.close()

    def _take(self, train: Train, endpoint: Endpoint) -> None:
        copy = Train(memoryview(bytes(train.buffer)), train.count, train.size, train.last)
        self.sent.append(copy)
        if not self._deliver(copy, endpoint):
            self.unsent += train.count

    def _deliver(self, train: Train, endpoint: Endpoint) -> bool:
        """Let the other socket have it; False if there is none."""
        other = self._links.get((endpoint.host, endpoint.port))
        if other is None:
            return False
        if train.size > self.longest:
            last = train.datagrams()[-1]
            if len(last) > self.longest:
                return True
            train = Train.single(last)
        other._arrived.append((train, self._endpoint))
        other._descriptor.set_readable(True)
        return True

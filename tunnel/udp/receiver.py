"""Receiving trains: what the kernel joined (UDP_GRO), and what it did not but came in a row.

    arena   | datagram | datagram | datagram | shorter | datagram ...        one recvmsg each, one behind the other
            └──────────── train ─────────────────────┘ └── train ...

Datagrams are read one behind the other into one arena, so a row of equal ones from one endpoint lies there as a train
lies, whether the kernel gave it in one piece or not: a peer that sends datagram by datagram costs a system call more
for each, and nothing else. Between the kernel's socket addresses and our `Endpoint` stands a bounded table, so that of
a flow nothing is parsed again; it forgets everything when full: forged sources cost the rebuilding of a few entries.
"""

import socket
from typing import NamedTuple

from tunnel.endpoint import Endpoint
from tunnel.udp.offload import GRO_ANCILLARY_SIZE, SOL_UDP, parse_segment_size
from tunnel.udp.pktinfo import PKTINFO_ANCILLARY_SIZE, parse_source
from tunnel.udp.sender import SocketAddress
from tunnel.wire.train import MAX_TRAIN_COUNT, Places, Train

MAX_READS = 64
"""System calls for one `receive`."""

MAX_DATAGRAM = 65535

MAX_TRAINS = 256
"""Shapes of trains that are remembered, with what others keep in `Train.plan`: some 2 KB each at the most."""

MAX_ORIGINS = 4096
"""Endpoints in the table, and so roughly the number of peers that can be heard at full speed at once."""

_ANCILLARY_SIZE = GRO_ANCILLARY_SIZE + PKTINFO_ANCILLARY_SIZE

_Origin = tuple[SocketAddress, bytes]
"""What tells one endpoint from another as the kernel sees it: socket address and content of the pktinfo message."""


class _Piece(NamedTuple):
    """What one system call brought: datagrams of `size` bytes each, but for the last."""

    origin: _Origin
    length: int
    size: int

    @property
    def datagrams(self) -> int:
        return -(-self.length // self.size) if self.length else 1


class Receiver:
    """The receiving half of a `tunnel.udp.socket.UdpSocket`."""

    def __init__(self) -> None:
        self.truncated = 0
        self._endpoints: dict[_Origin, Endpoint] = {}
        self._arena: memoryview | None = None
        self._trains: dict[tuple[int, int, int], Train] = {}
        self._places = Places()

    def receive(self, sock: socket.socket, arena: memoryview) -> list[tuple[Train, Endpoint]]:
        """As `tunnel.udp.socket.UdpSocket.receive`."""
        received: list[tuple[Train, Endpoint]] = []
        start = end = count = 0
        run: _Piece | None = None  # the first piece of the train that lies in arena[start:end]
        is_open = False  # whether its last datagram is a full one, so that another may follow
        for _ in range(MAX_READS):
            if end and len(arena) - end < MAX_DATAGRAM:
                break
            piece = self._read(sock, arena[end:])
            if piece is None:
                break
            if run is not None and not (is_open and _follows(run, count, piece)):
                received.append((self._train(arena, start, end, run.size), self._endpoint(run.origin)))
                start, count, run = end, 0, None
            run = run or piece
            end += piece.length
            count += piece.datagrams
            is_open = piece.length > 0 and piece.size == run.size and piece.length % piece.size == 0
        if run is not None:
            received.append((self._train(arena, start, end, run.size), self._endpoint(run.origin)))
        return received

    def _read(self, sock: socket.socket, room: memoryview) -> _Piece | None:
        """The next piece that is whole; None if there is none for now."""
        while True:
            try:
                length, ancillary, flags, address = sock.recvmsg_into((room,), _ANCILLARY_SIZE)
            except OSError:  # EAGAIN; anything else the kernel has forgotten by saying it, and will wake us again
                return None
            if flags & socket.MSG_TRUNC:
                self.truncated += 1
                continue
            size, pktinfo = length, b""
            for level, _, content in ancillary:
                if level == SOL_UDP:
                    size = parse_segment_size(content)
                else:
                    pktinfo = content
            return _Piece((address, pktinfo), length, size if 0 < size < length else length)

    def _train(self, arena: memoryview, start: int, end: int, size: int) -> Train:
        """The datagrams in ``arena[start:end]``. In one arena, those of one shape and place are one object."""
        length = end - start
        if length <= size:
            return Train(arena[start:end], 1, length, length)
        if arena is not self._arena or len(self._trains) >= MAX_TRAINS:
            self._arena = arena
            self._trains.clear()
            self._places = Places()
        train = self._trains.get((start, length, size))
        if train is None:
            whole, rest = divmod(length - 1, size)
            place = self._places.find(start, size)
            train = self._trains[start, length, size] = Train(arena[start:end], whole + 1, size, rest + 1, place)
        return train

    def _endpoint(self, origin: _Origin) -> Endpoint:
        endpoint = self._endpoints.get(origin)
        if endpoint is None:
            address, pktinfo = origin
            scope_id = address[3] if len(address) == 4 else 0
            plain = Endpoint.create(address[0], address[1], scope_id)
            source = parse_source(len(address) == 4, pktinfo)
            endpoint = Endpoint(plain.host, plain.port, plain.scope_id, source)
            if len(self._endpoints) >= MAX_ORIGINS:
                self._endpoints.clear()
            self._endpoints[origin] = endpoint
        return endpoint


def _follows(run: _Piece, count: int, piece: _Piece) -> bool:
    """Whether `piece` can stand behind the `count` full datagrams of the train that began with `run`."""
    if piece.origin != run.origin or count + piece.datagrams > MAX_TRAIN_COUNT or not 0 < piece.size <= run.size:
        return False
    return piece.size == run.size or piece.length == piece.size

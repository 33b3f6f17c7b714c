"""Joining packets that arrived in trains into superpackets for the TUN: what a network card does as GRO.

    train   | 16 | headers | payload 0 | padding | 16 | 16 | headers | payload 1 | padding | 16 | ...
                     │ compared by columns           │ summed by rows                              (tunnel.offload.rows)
    runs    [packets 0 to 42]  [packet 43: shorter]
                     │ joined if one superpacket can stand for both                                (tunnel.offload.run)
    frame   [virtio header and headers, payload 0, ..., payload 43]

A train is mostly one run of one flow, so its full packets are compared all at once; where two neighbours differ, a run
ends. Each run, and each packet that cannot be seen that way, is then offered to the run before it. Order is kept: a run
is a frame as soon as something follows that it cannot take in.

Trains of message 5 with PARTIAL have packets whose checksum is left to whoever needs it, which may be nobody; those
with SLICE are slices, and not ours (tunnel.offload.slices).
"""

from collections.abc import Collection, Sequence

from tunnel.offload.flow import CWR, IPV4_SIZE, TCP, UDP, Layout, Refusal, parse_layout
from tunnel.offload.ipv4 import checksums
from tunnel.offload.rows import Rows, RowTables
from tunnel.offload.run import CLOSING, Run, begin_run
from tunnel.offload.slices import Rebuilder
from tunnel.offload.superpacket import Frame, partial_header
from tunnel.wire import ip
from tunnel.wire.checksum import MODULUS, ones_complement_sum
from tunnel.wire.messages import TAG_SIZE, TRANSPORT_HEADER_SIZE, ExtendedFlag, MessageType
from tunnel.wire.train import MAX_TRAIN_COUNT, Train
from tunnel.wire.virtio import PLAIN

MIN_ROWS = 4
"""With fewer packets, one by one is faster."""

_EXTENDED_DATA = MessageType.EXTENDED_DATA.value
_SLICE = ExtendedFlag.SLICE.value
_PARTIAL = ExtendedFlag.PARTIAL.value
_MARKED = _SLICE | _PARTIAL


class Coalescer:
    """Joins what is of `protocols`; a TUN without UDP offload must get none, and one without virtio headers nothing.

    Keeps tables of views, and with them references to the last buffers it was given.
    """

    def __init__(self, protocols: Collection[int] = (TCP, UDP)) -> None:
        self._protocols = frozenset(protocols)
        self._tables = RowTables()
        self._rebuilder = Rebuilder(protocols)
        self._malformed = 0

    @property
    def malformed(self) -> int:
        """Slices, and packets with partial checksums, that were dropped so far, because they were none."""
        return self._malformed + self._rebuilder.malformed

    def coalesce(self, trains: Sequence[Train]) -> list[Frame]:
        """Frames to write, one writev each, with every packet of `trains` in the order it came in.

        Packet i of a train is at ``buffer[i * size + 16:]``, padded; one that is not whole is handed on as it lies, for
        the kernel to refuse, and an empty one (a keepalive) is left out. Frames are views of the trains' buffers, and
        headers of their own; nothing is written into those buffers. Type and flags are those of a train's first header.
        """
        if len(trains) == 1 and trains[0].count == 1 and not _flags(trains[0]) & _MARKED:
            packet = _packet(trains[0], 0)
            return [[PLAIN, packet]] if packet else []  # alone: there is nothing to join
        frames: list[Frame] = []
        pending: Run | None = None
        for train in trains:
            for item in self._items(train):
                if isinstance(item, Run):
                    if pending is None:
                        pending = item
                    elif not pending.join(item):
                        frames.append(pending.frame())
                        pending = item
                else:
                    if pending is not None:
                        frames.append(pending.frame())
                        pending = None
                    frames.append(item)
        if pending is not None:
            frames.append(pending.frame())
        return frames

    def _items(self, train: Train) -> Sequence[Run | Frame]:
        """What a train has, in order; packets that can have a part in a superpacket as runs."""
        flags = _flags(train)
        if flags & _SLICE:
            return self._rebuilder.rebuild(train)
        is_partial = flags & _PARTIAL != 0
        rows = train.count if train.last == train.size else train.count - 1
        if not MIN_ROWS <= rows <= MAX_TRAIN_COUNT:
            return self._one_by_one(train, 0, train.count, is_partial)
        items = self._compared(train, rows, is_partial)
        return items if rows == train.count else items + self._one_by_one(train, rows, train.count, is_partial)

    def _one_by_one(self, train: Train, start: int, end: int, is_partial: bool) -> list[Run | Frame]:
        items: list[Run | Frame] = []
        for row in range(start, end):
            packet = _packet(train, row)
            layout = parse_layout(packet)
            run = self._begin(packet, layout, is_partial)
            if run is not None:
                items.append(run)
            elif not is_partial:
                items += [[PLAIN, packet]] if packet else []
            elif isinstance(layout, Refusal):
                self._malformed += 1
            else:
                items.append([partial_header(layout), packet])
        return items

    def _begin(self, packet: memoryview, layout: Layout | Refusal, is_partial: bool) -> Run | None:
        """The run that begins with a packet; None if it joins no others."""
        if isinstance(layout, Refusal) or layout.protocol not in self._protocols:
            return None  # not TCP or UDP, a fragment, not whole, or not for this TUN
        return begin_run(packet, layout, is_partial)

    def _parse(self, packet: memoryview, is_partial: bool) -> Run | None:
        return self._begin(packet, parse_layout(packet), is_partial)

    def _compared(self, train: Train, rows: int, is_partial: bool) -> list[Run | Frame]:
        """The first `rows` packets, which lie in equal space, all at once."""
        first = self._parse(_packet(train, 0), is_partial)
        if first is None:
            return self._one_by_one(train, 0, rows, is_partial)
        step = _step(first, _packet(train, 1))
        table = self._tables.find(train, first.layout, len(first.packet), rows)
        flags = table.flags() if first.layout.protocol == TCP else bytes(rows)
        starts = _starts(table, step, flags)
        if len(starts) > rows // 2:
            return self._one_by_one(train, 0, rows, is_partial)
        damaged = table.damaged(is_partial)
        ipv4_checksums = table.ipv4_checksums()
        items: list[Run | Frame] = []
        for start, end in zip(starts, [*starts[1:], rows], strict=True):
            run = first if start == 0 else self._parse(_packet(train, start), is_partial)
            is_damaged = damaged and any(start <= row < end for row in damaged)
            if run is None or is_damaged or not _are_alike(first, run, ipv4_checksums[2 * start : 2 * end], step):
                items += self._one_by_one(train, start, end, is_partial)
            else:
                run.grow(table.payloads if end - start == rows else table.payloads[start:end], flags[end - 1] & CLOSING)
                items.append(run)
        return items


def _flags(train: Train) -> int:
    """Of message 5; others have none."""
    buffer = train.buffer
    return buffer[1] if buffer[0] == _EXTENDED_DATA and len(buffer) > 1 else 0


def _packet(train: Train, row: int) -> memoryview:
    """A packet without its padding; with it if its header makes no sense."""
    start = row * train.size
    end = start + (train.last if row == train.count - 1 else train.size)
    body = train.buffer[start + TRANSPORT_HEADER_SIZE : end - TAG_SIZE]
    return body[: ip.total_length(body)]


def _step(first: Run, second: memoryview) -> int:
    """By how much identifications seem to go up in this train: by one, or not at all where that is allowed."""
    if first.must_count or len(second) < IPV4_SIZE:
        return 1
    return int(second[4] << 8 | second[5] != first.identification)


def _starts(table: Rows, step: int, flags: bytes) -> list[int]:
    """The rows at which runs begin, so that none is too long for a superpacket."""
    rows = table.shape.rows
    breaks = table.breaks(step)
    is_plain = flags.count(flags[0]) == rows and not flags[0] & (CLOSING | CWR)
    if not breaks and is_plain and rows <= table.most:
        return [0]
    is_start = bytearray(rows)
    for row in breaks:
        is_start[row] = True
    starts = [0]
    for row in range(1, rows):
        if is_start[row] or flags[row] & CWR or flags[row - 1] & CLOSING or row - starts[-1] >= table.most:
            starts.append(row)
    return starts


def _are_alike(first: Run, run: Run, ipv4_checksums: bytes, step: int) -> bool:
    """Whether the packets that follow `run` by `step` lie as those that follow `first`, with right IPv4 headers."""
    if run is not first and (run.layout != first.layout or run.segment != first.segment):
        return False
    if run.layout.version == 6:
        return True
    if run.must_count and not step:
        return False
    header = run.packet[:IPV4_SIZE]
    total = (ones_complement_sum(header) - run.identification - (header[10] << 8 | header[11])) % MODULUS
    if step:
        return checksums(total, run.identification, len(ipv4_checksums) // 2).tobytes() == ipv4_checksums
    return checksums(total, run.identification, 1).tobytes() * (len(ipv4_checksums) // 2) == ipv4_checksums

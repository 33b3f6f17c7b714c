"""Sealing and opening whole trains: messages 4 or 5, many at once (see `tunnel.wire.train`, `protocol.transport`).

What is done per datagram happens inside one C-level loop over the AEAD. Headers and counters are columns of the train,
and columns are compared as bytes: that is a fraction of what a numpy comparison and its reduction cost. The views of a
train are made once and kept with it, since trains lie in the same few places again and again.

    buffer   | 16 header | packet, padding | 16 tag | 16 header | packet, padding | 16 tag | ...
    columns    type and receiver, one 64-bit word; counter; first byte, length and source of the packet

The datagrams of one train are alike in type, receiver, flags and segment size; only, a slice may be the last of its
superpacket, wherever it is in the train.
"""

from collections import deque
from collections.abc import Iterable
from itertools import pairwise, repeat

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag

from tunnel.protocol.constants import REJECT_AFTER_MESSAGES
from tunnel.protocol.extension import Aead
from tunnel.protocol.keypair import Keypair
from tunnel.wire.messages import TAG_SIZE, TRANSPORT_HEADER_SIZE, TRANSPORT_OVERHEAD, ExtendedFlag, MessageType
from tunnel.wire.train import MAX_TRAIN_COUNT, Train

_NONCE_SIZE = 12
_COUNTER_OFFSET = 4
_IPV4_HEADER_SIZE = 20
_IPV6_HEADER_SIZE = 40
_EXTENDED = int(MessageType.EXTENDED_DATA)
_LAST = int(ExtendedFlag.LAST)


class Nonces:
    """Room for the nonces of one train: four zero bytes and a counter each, little endian."""

    __slots__ = ("_counters", "_steps", "views")

    def __init__(self) -> None:
        memory = bytearray(_NONCE_SIZE * MAX_TRAIN_COUNT)
        view = memoryview(memory)
        self.views = [view[start : start + _NONCE_SIZE] for start in range(0, len(memory), _NONCE_SIZE)]
        self._counters = np.ndarray((MAX_TRAIN_COUNT,), "<u8", memory, _COUNTER_OFFSET, (_NONCE_SIZE,))
        self._steps = np.arange(MAX_TRAIN_COUNT, dtype="<u8")

    def count_from(self, first: int, count: int) -> npt.NDArray[np.uint64]:
        """Fill in `count` consecutive counters and return them."""
        counters: npt.NDArray[np.uint64] = self._counters[:count]
        np.add(self._steps[:count], np.uint64(first), out=counters)
        return counters


class _Plan:
    """The views of one train: columns with an element per datagram, and a memoryview per datagram."""

    __slots__ = (
        "_headers",
        "_train",
        "bodies",
        "counters",
        "first_bytes",
        "ipv4_lengths",
        "ipv4_sources",
        "packets",
        "words",
    )

    def __init__(self, train: Train, views: tuple[list[memoryview], list[memoryview]] | None = None) -> None:
        """`views`: `packets` and `bodies`, if they are there already."""
        buffer, count, size = train.buffer, train.count, train.size
        start = TRANSPORT_HEADER_SIZE

        def column(kind: str, offset: int, rows: int = count) -> npt.NDArray[np.generic]:
            return np.ndarray((rows,), kind, buffer, offset, (size,))

        self._train = train
        self._headers: list[memoryview] = []
        self.words = column("<u8", 0)
        self.counters = column("<u8", 8)
        self.first_bytes = column("u1", start)
        has_headers = min(size, train.last) >= TRANSPORT_OVERHEAD + _IPV4_HEADER_SIZE
        self.ipv4_lengths = column(">u2", start + 2, count - 1) if has_headers else None
        self.ipv4_sources = column("<u4", start + 12) if has_headers else None
        self.packets, self.bodies = views or _views(train)

    @property
    def headers(self) -> list[memoryview]:
        """Of message 5, which authenticates them."""
        if not self._headers:
            train = self._train
            views, before = _views_of(train), train.count - 1
            views.grow_headers(train)
            last = train.buffer[before * train.size :][:TRANSPORT_HEADER_SIZE]
            self._headers = [*views.headers[:before], last]
        return self._headers

    @headers.setter
    def headers(self, headers: list[memoryview]) -> None:
        self._headers = headers


class _Views:
    """Of the datagrams of one place, as many as were needed so far; all are `Train.size` long."""

    __slots__ = ("bodies", "headers", "packets")

    def __init__(self) -> None:
        self.packets: list[memoryview] = []
        self.bodies: list[memoryview] = []
        self.headers: list[memoryview] = []

    def grow(self, train: Train) -> None:
        """Have those of all datagrams of `train` but the last."""
        buffer, size = train.buffer, train.size
        for at in range(len(self.packets) * size, (train.count - 1) * size, size):
            self.packets.append(buffer[at + TRANSPORT_HEADER_SIZE : at + size - TAG_SIZE])
            self.bodies.append(buffer[at + TRANSPORT_HEADER_SIZE : at + size])

    def grow_headers(self, train: Train) -> None:
        buffer, size = train.buffer, train.size
        for at in range(len(self.headers) * size, (train.count - 1) * size, size):
            self.headers.append(buffer[at : at + TRANSPORT_HEADER_SIZE])


def _views_of(train: Train) -> _Views:
    """Those of the train's place; of its own, if it has none."""
    place = train.place
    if place is None:
        return _Views()
    if not isinstance(place.plan, _Views):
        place.plan = _Views()
    return place.plan


def _views(train: Train) -> tuple[list[memoryview], list[memoryview]]:
    """Each packet without its tag, and with it."""
    views = _views_of(train)
    views.grow(train)
    before = train.count - 1
    last = train.buffer[before * train.size + TRANSPORT_HEADER_SIZE :]
    return [*views.packets[:before], last[:-TAG_SIZE]], [*views.bodies[:before], last]


def _plan_of(train: Train) -> _Plan:
    plan = train.plan
    if not isinstance(plan, _Plan):
        plan = train.plan = _Plan(train)
    return plan


def _is_constant(column: npt.NDArray[np.generic]) -> bool:
    content = column.tobytes()
    return content == content[: column.itemsize] * len(column)


def seal_train(keypair: Keypair, train: Train, nonces: Nonces) -> None:
    """Seal the packets of `train` in place, with consecutive counters. The caller has checked `Keypair.can_send`."""
    plan = _plan_of(train)
    plan.words[:] = MessageType.TRANSPORT_DATA | keypair.remote_index << 32
    plan.counters[:] = nonces.count_from(keypair.send_counter, train.count)
    keypair.send_counter += train.count
    deque(map(keypair.sealer.encrypt_into, nonces.views, plan.packets, repeat(None), plan.bodies), maxlen=0)


def seal_extended_train(
    keypair: Keypair, train: Train, nonces: Nonces, flags: int, *, segment: int = 0, is_end: bool = False
) -> None:
    """The same as message 5: packets with `flags`, or slices of `segment` bytes, of which the last may be the end."""
    extension = keypair.extension
    assert extension is not None
    assert extension.sealer is not None
    plan = _plan_of(train)
    plan.words[:] = _EXTENDED | (flags | extension.flags) << 8 | segment << 16 | keypair.remote_index << 32
    if is_end:
        train.buffer[len(train.buffer) - train.last + 1] |= _LAST
    plan.counters[:] = nonces.count_from(keypair.send_counter, train.count)
    keypair.send_counter += train.count
    deque(map(extension.sealer.encrypt_into, nonces.views, plan.packets, plan.headers, plan.bodies), maxlen=0)


def has_one_receiver(train: Train) -> bool:
    """Whether all datagrams, of at least 32 bytes, agree in type and receiver, and in what else a train agrees in."""
    words = _plan_of(train).words.tobytes()
    first = words[:8]
    if words == first * train.count:
        return True
    if train.buffer[0] != _EXTENDED:
        return False
    flags = words[1::8]
    if flags.count(flags[0] | _LAST) + flags.count(flags[0] & ~_LAST) != train.count:
        return False
    alike = bytearray(first * train.count)
    alike[1::8] = flags
    return words == alike


def split_by_kind(train: Train) -> list[Train]:
    """The same datagrams, of at least 32 bytes, as trains of which each `has_one_receiver`.

    The kernel appends to a train whatever follows from the same place and is shorter: an acknowledgement to slices.
    """
    words = _plan_of(train).words
    change = words[1:] ^ words[:-1]  # type: ignore[operator]
    is_within = (change == _LAST << 8) & (words[1:] & 0xFF == _EXTENDED)  # type: ignore[operator]
    return _split(train, (change != 0) & ~is_within)


def split_at_gaps(train: Train) -> list[Train]:
    """The same datagrams as trains within which the counters follow each other: what is around those that are lost."""
    return _split(train, np.diff(_plan_of(train).counters) != 1)


def _split(train: Train, is_break: npt.NDArray[np.bool_]) -> list[Train]:
    """`is_break[i]`: datagram i + 1 does not belong to datagram i."""
    breaks = (np.flatnonzero(is_break) + 1).tolist()
    return [_part(train, start, end) for start, end in pairwise([0, *breaks, train.count])]


def _part(train: Train, start: int, end: int) -> Train:
    """With the views of the whole, which are most of what a plan costs."""
    last = train.last if end == train.count else train.size
    buffer = train.buffer[start * train.size : (end - 1) * train.size + last]
    part = Train(buffer, end - start, train.size if end - start > 1 else last, last)
    if end - start > 1:
        plan = _plan_of(train)
        part.plan = part_plan = _Plan(part, (plan.packets[start:end], plan.bodies[start:end]))
        if part.buffer[0] == _EXTENDED:
            part_plan.headers = plan.headers[start:end]
    return part


def open_run(keypair: Keypair, train: Train, nonces: Nonces) -> list[int] | None:
    """Open data for one receiver in place and mark it as seen; return the positions that are not authentic.

    None, and nothing happened, unless the counters follow each other, ahead of all that were accepted before: then
    look at each.
    """
    plan = _plan_of(train)
    first = int.from_bytes(train.buffer[8:16], "little")
    if not keypair.replay.is_ahead(first) or first + train.count > REJECT_AFTER_MESSAGES:
        return None
    if nonces.count_from(first, train.count).tobytes() != plan.counters.tobytes():
        return None
    failed = _open_each(keypair, train, plan, nonces)
    if not failed:
        keypair.replay.accept_run(first, train.count)
        return failed
    for position in range(train.count):
        if position not in failed:
            keypair.replay.accept(first + position)
    return failed


def _open_each(keypair: Keypair, train: Train, plan: _Plan, nonces: Nonces) -> list[int]:
    """A failed tag ends the C-level loop; what was opened before it stays in the list, and so tells the position."""
    opener: Aead = keypair.opener
    headers: Iterable[memoryview | None] = repeat(None)
    if train.buffer[0] == _EXTENDED:
        assert keypair.extension is not None
        opener, headers = keypair.extension.opener(train.buffer[1]), iter(plan.headers)
    steps = iter(nonces.views), iter(plan.bodies), headers, iter(plan.packets)
    opened: list[int] = []
    failed: list[int] = []
    while len(opened) + len(failed) < len(plan.packets):
        try:
            opened.extend(map(opener.decrypt_into, *steps))
        except InvalidTag:
            failed.append(len(opened) + len(failed))
    return failed


def has_uniform_packets(train: Train) -> bool:
    """Whether the packets of an opened train agree in version, header length, source address, and length but the last.

    They are whole then if the first and the last are. False is no verdict: look at each.
    """
    plan = _plan_of(train)
    if plan.ipv4_lengths is None or plan.ipv4_sources is None or not _is_constant(plan.first_bytes):
        return False
    if train.buffer[TRANSPORT_HEADER_SIZE] >> 4 == 4:
        return _is_constant(plan.ipv4_sources) and _is_constant(plan.ipv4_lengths)
    return _has_uniform_ipv6_packets(train)


def _has_uniform_ipv6_packets(train: Train) -> bool:
    if not _has_one_ipv6_source(train):
        return False
    return _is_constant(np.ndarray((train.count - 1,), ">u2", train.buffer, TRANSPORT_HEADER_SIZE + 4, (train.size,)))


def has_one_source(train: Train) -> bool:
    """Whether what the opened datagrams hold agrees in version and source address. False is no verdict."""
    plan = _plan_of(train)
    if plan.ipv4_sources is None or not _is_constant(plan.first_bytes):
        return False
    if train.buffer[TRANSPORT_HEADER_SIZE] >> 4 == 4:
        return _is_constant(plan.ipv4_sources)
    return _has_one_ipv6_source(train)


def _has_one_ipv6_source(train: Train) -> bool:
    if min(train.size, train.last) < TRANSPORT_OVERHEAD + _IPV6_HEADER_SIZE:
        return False
    return _is_constant(np.ndarray((train.count,), "V16", train.buffer, TRANSPORT_HEADER_SIZE + 8, (train.size,)))

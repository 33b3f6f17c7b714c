"""Single packets that leave together, gathered into trains so that they are sealed and sent together.

    slots    | 16 | packet | room |   | 16 | packet | room |   | 16 | packet | room |
                    └─ copied ─┐          └─ copied ─┐
    arena    | 16 | packet, padding | 16 | 16 | packet, padding | 16 | ...          as `seal_train` wants them

Copying a small packet costs a tenth of sending it by itself. Packets that are equally long when padded, and follow each
other towards one peer, make a train; fewer than `MIN_RUN` of them, and long ones, are sealed where they are.
"""

from collections.abc import Iterator, Sequence

from tunnel.protocol.clamping import clamp_laid_out, clamp_slots
from tunnel.protocol.keypair import Keypair
from tunnel.protocol.trains import Nonces, seal_extended_train, seal_train
from tunnel.protocol.transport import MAX_PACKET, seal, seal_extended
from tunnel.wire.messages import PADDING, TRANSPORT_HEADER_SIZE, TRANSPORT_OVERHEAD, padded_length
from tunnel.wire.train import MAX_TRAIN_BYTES, MAX_TRAIN_COUNT, Places, Train

MIN_RUN = 3
"""Packets from which on a train is worth it."""

ARENA_SIZE = 256 * 1024
"""Bytes that can be gathered for one `seal_burst`; what goes beyond is sealed where it is."""

MAX_TRAINS = 256
"""Shapes and places of trains that are remembered."""

_ZEROS = bytes(PADDING)


class BurstArena:
    """The memory of the trains, and the trains that have lain in it. What was sealed must be sent before the next."""

    __slots__ = ("_arena", "_end", "_places", "_trains")

    def __init__(self) -> None:
        self._arena = memoryview(bytearray(ARENA_SIZE))
        self._end = 0
        self._trains: dict[tuple[int, int, int], Train] = {}
        self._places = Places()

    def clear(self) -> None:
        """The next train may lie where the first one lay."""
        self._end = 0

    def lay_out(self, slots: Sequence[memoryview], lengths: Sequence[int], padded: int) -> Train | None:
        """Copy the packets, with zeros up to `padded`; None, and nothing happened, if there is no room."""
        size = padded + TRANSPORT_OVERHEAD
        start = self._end
        if start + len(lengths) * size > ARENA_SIZE:
            return None
        self._end += len(lengths) * size
        arena = self._arena
        at = start + TRANSPORT_HEADER_SIZE
        for slot, length in zip(slots, lengths, strict=False):
            end = at + length
            arena[at:end] = slot[TRANSPORT_HEADER_SIZE : TRANSPORT_HEADER_SIZE + length]
            if length != padded:
                arena[end : at + padded] = _ZEROS[: padded - length]
            at += size
        return self._train(start, len(lengths), size)

    def _train(self, start: int, count: int, size: int) -> Train:
        train = self._trains.get((start, count, size))
        if train is None:
            if len(self._trains) >= MAX_TRAINS:
                self._trains.clear()
            place = self._places.find(start, size)
            train = Train(self._arena[start : start + count * size], count, size, size, place)
            self._trains[start, count, size] = train
        return train


def seal_burst(
    keypair: Keypair,
    slots: Sequence[memoryview],
    lengths: Sequence[int],
    longest: int,
    arena: BurstArena,
    nonces: Nonces,
) -> list[Train]:
    """Seal ``slots[i][16:16 + lengths[i]]`` as message 4, in order, with consecutive counters.

    `longest` is what goes whole to the peer: no padding makes a packet longer, and no connection begins with more.
    """
    if len(lengths) < MIN_RUN:
        clamp_slots(slots, lengths, longest)
        return [Train.single(datagram) for datagram in seal(keypair, slots, lengths, longest)]
    trains: list[Train] = []
    padding_limit = min(longest, MAX_PACKET)
    for start, end in _runs([padded_length(length, padding_limit) for length in lengths]):
        padded = padded_length(lengths[start], padding_limit)
        train = arena.lay_out(slots[start:end], lengths[start:end], padded) if end - start >= MIN_RUN else None
        if train is not None:
            clamp_laid_out(train, longest)
            seal_train(keypair, train, nonces)
            trains.append(train)
        else:
            part = slots[start:end], lengths[start:end]
            clamp_slots(*part, longest)
            trains += [Train.single(datagram) for datagram in seal(keypair, *part, longest)]
    return trains


def seal_extended_burst(
    keypair: Keypair,
    slots: Sequence[memoryview],
    lengths: Sequence[int],
    flags: Sequence[int],
    longest: int,
    arena: BurstArena,
    nonces: Nonces,
) -> list[Train]:
    """The same as message 5, without padding: packet i with ``flags[i]`` of `ExtendedFlag`."""
    if len(lengths) < MIN_RUN:
        clamp_slots(slots, lengths, longest, flags)
        return [Train.single(datagram) for datagram in seal_extended(keypair, slots, lengths, flags)]
    trains: list[Train] = []
    for start, end in _runs(lengths, flags):
        part = slots[start:end], lengths[start:end]
        train = arena.lay_out(*part, lengths[start]) if end - start >= MIN_RUN else None
        if train is not None:
            clamp_laid_out(train, longest, flags[start])
            seal_extended_train(keypair, train, nonces, flags[start])
            trains.append(train)
        else:
            clamp_slots(*part, longest, flags[start:end])
            trains += [Train.single(datagram) for datagram in seal_extended(keypair, *part, flags[start:end])]
    return trains


def _runs(lengths: Sequence[int], flags: Sequence[int] = ()) -> Iterator[tuple[int, int]]:
    """(start, end) of consecutive packets that are equally long, padding included, and alike, and fit one train."""
    kinds = list(zip(lengths, flags, strict=True)) if flags else lengths
    start = 0
    for index in range(1, len(lengths) + 1):
        most = min(MAX_TRAIN_COUNT, MAX_TRAIN_BYTES // (lengths[start] + TRANSPORT_OVERHEAD))
        if index == len(lengths) or kinds[index] != kinds[start] or index - start >= most:
            yield start, index
            start = index

"""The equally long packets of an opened train as rows of a table: where neighbours differ, and which are damaged.

    row i   | 16 | headers: words of 4 bytes | payload | padding | 16 |        a column is a strided numpy view

A packet follows another if its headers, read as big-endian words, are those of the other plus a constant: the payload's
size in the word of the TCP sequence, one in the high half of the word of the IPv4 identification, and zero elsewhere.
That takes one subtraction and one comparison for all headers of a train, at any place where numbers wrap around too.
"""

import ctypes
import sys
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tunnel.offload.flow import CWR, TCP, UDP, Layout
from tunnel.offload.plans import keep
from tunnel.offload.run import ADDRESSES, CLOSING
from tunnel.offload.superpacket import MAX_SUPERPACKET
from tunnel.wire.checksum import MODULUS
from tunnel.wire.messages import TRANSPORT_HEADER_SIZE
from tunnel.wire.train import MAX_TRAIN_COUNT, Train

MAX_PLANS = 128
"""Tables that are kept. One is some 10 KB, most of it the views of the payloads."""

_MAX_WORDS = 30
"""In the longest headers: IPv6 without extensions, and TCP; IPv4 and TCP with all options."""

_MODULUS = np.array(MODULUS, np.uint64)
_UINT64 = np.dtype(np.uint64)

Words = npt.NDArray[np.uint32]


class Shape(NamedTuple):
    """What a table depends on, sizes in bytes: `address` is where the train begins in memory, `length` a packet's."""

    address: int
    layout: Layout
    length: int
    rows: int
    stride: int


class Rows:
    """Views of the first `shape.rows` rows of a train, and what the layout of the first packet expects of the others.

    `payloads` are those of all rows; `most` is how many a superpacket holds.
    `scratch` is shared by all tables: what is in it counts only within a call.
    """

    __slots__ = (
        "_addresses",
        "_checksums",
        "_difference",
        "_earlier",
        "_expected",
        "_flags",
        "_header_words",
        "_headers",
        "_ipv4_checksums",
        "_later",
        "_mask",
        "_pseudo_header",
        "_rest_mask",
        "_rests",
        "_summed",
        "most",
        "payloads",
        "shape",
    )

    def __init__(self, train: Train, shape: Shape, scratch: Words) -> None:
        _, layout, length, rows, stride = self.shape = shape
        buffer, packet = train.buffer, TRANSPORT_HEADER_SIZE
        transport, words = packet + layout.transport, layout.payload // 4
        addresses = ADDRESSES[layout.version]
        summed, rest = divmod(length - addresses, 4)
        checksum = packet + layout.checksum_field
        payload = packet + layout.payload

        self._headers = np.ndarray((rows, words), ">u4", buffer, packet, (stride, 4))
        self._header_words = scratch[: rows * words].reshape(rows, words)
        self._earlier, self._later = self._header_words[:-1], self._header_words[1:]
        self._difference = scratch[rows * words : (2 * rows - 1) * words].reshape(rows - 1, words)
        self._summed = np.ndarray((rows, summed), np.uint32, buffer, packet + addresses, (stride, 4))
        self._addresses = self._summed[:, : (layout.transport - addresses) // 4]
        self._rest_mask = int.from_bytes(b"\xff" * rest + bytes(4 - rest), sys.byteorder)
        self._rests = np.ndarray((rows,), np.uint32, buffer, packet + length - rest, (stride,))
        self._flags = np.ndarray((rows,), np.uint8, buffer, transport + 13, (stride,))
        self._ipv4_checksums = np.ndarray((rows,), ">u2", buffer, packet + 10, (stride,))
        self._checksums = np.ndarray((rows,), ">u2", buffer, checksum, (stride,))
        self._pseudo_header = np.array(_native(layout.protocol + length - layout.transport), np.uint64)
        self._mask = np.tile(_compared(layout), (rows, 1))
        self._expected = tuple(_expected(layout, length, step).tobytes() * (rows - 1) for step in (0, 1))
        self.most = (MAX_SUPERPACKET - layout.payload) // (length - layout.payload)
        self.payloads = [
            buffer[start : start + length - layout.payload] for start in range(payload, rows * stride, stride)
        ]

    def breaks(self, step: int) -> list[int]:
        """The rows that do not follow the one before them, if identifications go up by `step`; TCP flags aside."""
        words = self._header_words
        np.copyto(words, self._headers)
        np.bitwise_and(words, self._mask, words)
        difference = np.subtract(self._later, self._earlier, self._difference)
        if difference.tobytes() == self._expected[step]:
            return []
        expected = np.frombuffer(self._expected[step], np.uint32).reshape(difference.shape)
        return [row + 1 for row in np.flatnonzero((difference != expected).any(axis=1)).tolist()]

    def flags(self) -> bytes:
        """The TCP flags of each row; of UDP, anything."""
        return self._flags.tobytes()

    def ipv4_checksums(self) -> bytes:
        """The IPv4 header checksum of each row, two bytes each; of IPv6, anything."""
        return self._ipv4_checksums.tobytes()

    def damaged(self, is_partial: bool = False) -> list[int]:
        """The rows whose TCP or UDP checksum is wrong or, with UDP, absent. Partial: is not the pseudo-header's sum."""
        if is_partial:
            sums = np.add.reduce(self._addresses, 1, _UINT64)
            sums += MODULUS - self._checksums.view(np.uint16)
        else:
            sums = np.add.reduce(self._summed, 1, _UINT64)
            if self._rest_mask:
                sums += self._rests & self._rest_mask
        sums += self._pseudo_header
        remainders = np.remainder(sums, _MODULUS, sums)
        damaged = np.flatnonzero(remainders).tolist() if np.count_nonzero(remainders) else []
        if self.shape.layout.protocol == UDP and np.count_nonzero(self._checksums) < self.shape.rows:
            damaged += np.flatnonzero(self._checksums == 0).tolist()
        return damaged


class RowTables:
    """Makes tables, and keeps them together with the memory they look into; the oldest go first."""

    def __init__(self) -> None:
        self._tables: dict[Shape, Rows] = {}
        self._scratch: Words = np.empty(2 * MAX_TRAIN_COUNT * _MAX_WORDS, np.uint32)

    def find(self, train: Train, layout: Layout, length: int, rows: int) -> Rows:
        """The table of the first `rows` packets, 2 to `MAX_TRAIN_COUNT`, if all are laid out as the first one."""
        shape = Shape(address_of(train), layout, length, rows, train.size)
        table = self._tables.get(shape)
        if table is None:
            table = keep(self._tables, shape, Rows(train, shape, self._scratch), MAX_PLANS)
        return table


def address_of(train: Train) -> int:
    """Where it lies. Who keeps a view of it keeps the memory from being freed: the same address is the same memory."""
    return ctypes.addressof(ctypes.c_char.from_buffer(train.buffer))


def _native(total: int) -> int:
    """A sum of big-endian words as part of one over words in the order of this machine."""
    return int.from_bytes((total % MODULUS).to_bytes(2, "big"), sys.byteorder)


def _compared(layout: Layout) -> Words:
    """A mask over the headers: all but checksums, and the TCP flags that are looked at by themselves."""
    mask = bytearray(b"\xff" * layout.payload)
    if layout.version == 4:
        mask[10:12] = bytes(2)
    if layout.protocol == TCP:
        mask[layout.transport + 13] = 0xFF & ~(CLOSING | CWR)
    mask[layout.checksum_field : layout.checksum_field + 2] = bytes(2)
    return np.frombuffer(mask, ">u4").astype(np.uint32)


def _expected(layout: Layout, length: int, step: int) -> Words:
    """By how much each header word goes up from row to row."""
    difference = np.zeros(layout.payload // 4, np.uint32)
    if layout.version == 4:
        difference[1] = step << 16
    if layout.protocol == TCP:
        difference[layout.transport // 4 + 1] = length - layout.payload
    return difference

"""Receiver indices: how a datagram names the session it is for (WireGuard paper, section 5.4.2, ``I_m``).

An index is 32 random bits, unique on this device, so that an outsider cannot tell how many sessions there are, nor
which belong together, nor guess one that exists.
"""

from typing import Generic, TypeVar

from tunnel.keys import Rng

Value = TypeVar("Value")

_INDEX_SIZE = 4


class IndexTable(Generic[Value]):
    """Index -> what it stands for: a handshake under way, later the keypair that it made."""

    __slots__ = ("_rng", "_values")

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._values: dict[int, Value] = {}

    def insert(self, value: Value) -> int:
        """Give `value` a new index and return it."""
        while True:
            index = int.from_bytes(self._rng(_INDEX_SIZE), "little")
            if index not in self._values:
                self._values[index] = value
                return index

    def replace(self, index: int, value: Value) -> None:
        """Let `index`, which must be in use, stand for `value` from now on."""
        assert index in self._values
        self._values[index] = value

    def remove(self, index: int) -> None:
        """Free `index`. Harmless when repeated."""
        self._values.pop(index, None)

    def lookup(self, index: int) -> Value | None:
        """What `index` stands for; None if it is not in use."""
        return self._values.get(index)

    def __len__(self) -> int:
        return len(self._values)

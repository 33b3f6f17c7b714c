"""The replay window of one receiving key (WireGuard paper, section 5.4.6; the algorithm of RFC 6479).

A counter is accepted once, and only if it is at most `WINDOW_SIZE` behind the greatest one accepted so far. One flag
per counter lies in a ring, at the counter modulo the ring's size; counters skipped on the way to a new greatest one
have their flags cleared. A byte per flag rather than RFC 6479's bit: 8 KB per keypair buys a store in place of a shift.
Until a counter needs them there are fewer: most peers of a large hub send a keepalive now and then, and no more.

    ring     ... 0 0 1 1 0 1 1 1 | stale ...
                 ▲             ▲
                 greatest - WINDOW_SIZE .. greatest
"""

from tunnel.protocol.constants import REJECT_AFTER_MESSAGES

_RING_SIZE = 8192
_FIRST_SIZE = 256
"""Of the ring of a key that no counter from this on has come under."""

_MASK = _RING_SIZE - 1
_ONES = b"\1" * _RING_SIZE
WINDOW_SIZE = _RING_SIZE - 64
"""How far behind a counter may be. As in the kernel, whose ring is as large but is cleared by words of 64."""


class ReplayWindow:
    """Which counters are still acceptable. Mark one only after its datagram has authenticated."""

    __slots__ = ("_flags", "_greatest")

    def __init__(self) -> None:
        self._flags = bytearray(_FIRST_SIZE)
        self._greatest = -1

    def check(self, counter: int) -> bool:
        """Whether `accept` would say yes; nothing is marked."""
        if counter > self._greatest:
            return counter < REJECT_AFTER_MESSAGES
        return counter + WINDOW_SIZE >= self._greatest and not self._flags[counter & _MASK]

    def accept(self, counter: int) -> bool:
        """Mark `counter` as seen; False, and nothing changes, if it was seen before, is too old or is at the limit."""
        ahead = counter - self._greatest
        slot = counter & _MASK
        if ahead > 0:
            if counter >= REJECT_AFTER_MESSAGES:
                return False
            if self._greatest < _FIRST_SIZE <= counter:
                self._grow()
            if ahead > 1:
                self._clear(self._greatest + 1, counter)
            self._greatest = counter
        elif ahead < -WINDOW_SIZE or self._flags[slot]:
            return False
        self._flags[slot] = 1
        return True

    def is_ahead(self, counter: int) -> bool:
        """Whether `counter` is greater than every one accepted so far."""
        return counter > self._greatest

    def accept_run(self, first: int, count: int) -> None:
        """Accept `count` consecutive counters from `first` on, which is ahead; none may reach the limit."""
        assert self._greatest < first <= REJECT_AFTER_MESSAGES - count
        if self._greatest < _FIRST_SIZE < first + count:
            self._grow()
        if first > self._greatest + 1:
            self._clear(self._greatest + 1, first)
        low, high = first & _MASK, (first + count) & _MASK
        if low < high:
            self._flags[low:high] = _ONES[:count]
        else:
            self._flags[low:] = _ONES[: _RING_SIZE - low]
            self._flags[:high] = _ONES[:high]
        self._greatest = first + count - 1

    def _grow(self) -> None:
        """Have room for the whole window. What is marked already is below the first size, and stays in its place."""
        self._flags += bytes(_RING_SIZE - _FIRST_SIZE)

    def _clear(self, first: int, end: int) -> None:
        """Forget what the ring holds for the counters from `first` to before `end`."""
        if end - first >= _RING_SIZE:
            self._flags = bytearray(_RING_SIZE)
            return
        low, high = first & _MASK, end & _MASK
        if low <= high:
            self._flags[low:high] = bytes(high - low)
        else:
            self._flags[low:] = bytes(_RING_SIZE - low)
            self._flags[:high] = bytes(high)

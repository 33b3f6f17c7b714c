"""The only module that reads a clock.

`now()` is CLOCK_BOOTTIME: it never goes back, nobody can set it, and unlike CLOCK_MONOTONIC it runs on while the
machine is suspended, so that a session is as old after a night's sleep as its peer thinks it is. The wall clock is for
what others see: TAI64N stamps and "last handshake".
"""

import time
from typing import Protocol


class Clock(Protocol):
    """What the daemon asks for the time; `tunnel.testing.clock.FakeClock` is one that a test moves by hand."""

    def now(self) -> float:
        """Seconds that never go back, suspend included; comparable only on this machine until it boots again."""
        ...

    def unix_ns(self) -> int:
        """Nanoseconds since 1970 by the wall clock, which may step either way."""
        ...

    def unix_offset(self) -> float:
        """Add this to `now()` to get seconds since 1970."""
        ...


class SystemClock:
    """The kernel's clocks."""

    def now(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def unix_ns(self) -> int:
        return time.time_ns()

    def unix_offset(self) -> float:
        return time.time() - self.now()

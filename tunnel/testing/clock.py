"""A clock that stands still until a test moves it."""


class FakeClock:
    """Satisfies `tunnel.daemon.clock.Clock`. It starts at `now` seconds after boot and `unix` seconds after 1970."""

    def __init__(self, now: float = 1000.0, unix: float = 1_800_000_000.0) -> None:
        self._now = now
        self._unix_ns = round(unix * 1e9)

    def now(self) -> float:
        return self._now

    def unix_ns(self) -> int:
        return self._unix_ns

    def unix_offset(self) -> float:
        return self._unix_ns / 1e9 - self._now

    def advance(self, seconds: float) -> None:
        """Let time pass: both clocks move. A suspend of an hour is `advance(3600)` with nothing running in between."""
        assert seconds >= 0, "CLOCK_BOOTTIME does not go back; step_wall_clock() does"
        self._now += seconds
        self._unix_ns += round(seconds * 1e9)

    def step_wall_clock(self, seconds: float) -> None:
        """Somebody set the time, forth or back: only the wall clock moves."""
        self._unix_ns += round(seconds * 1e9)

"""The five timers of one peer (WireGuard paper, sections 6.1 to 6.5), and that of its path MTU.

Each timer is a deadline, infinite when it is not pending. What happens to the peer is told in past-tense events, which
set and clear deadlines; the device asks for the earliest one and hands back those that are due. No callback, no clock.

    timer                 set by                                   cleared by               when due
    RETRANSMIT            handshake initiated                      handshake complete       initiate again, or give up
    SEND_KEEPALIVE        data received                            anything sent            send a keepalive
    NEW_HANDSHAKE         data sent                                anything received        initiate: we hear nothing
    ZERO_KEYS             session derived, giving up               session derived: moves   forget all keys
    PERSISTENT_KEEPALIVE  anything sent or received                switched off             send a keepalive
    PATH_PROBE            probes sent                              answered                 see what is known now
"""

from collections.abc import Callable
from enum import IntEnum
from math import inf

from tunnel.protocol.constants import (
    KEEPALIVE_TIMEOUT,
    PERSISTENT_KEEPALIVE_STEP,
    REKEY_TIMEOUT,
    ZERO_KEYS_AFTER_TIME,
)


class Timer(IntEnum):
    """Index into the deadlines; also the order in which timers due at once are handled."""

    ZERO_KEYS = 0
    RETRANSMIT = 1
    NEW_HANDSHAKE = 2
    SEND_KEEPALIVE = 3
    PERSISTENT_KEEPALIVE = 4
    PATH_PROBE = 5


class Timers:
    """Deadlines in seconds of the caller's clock. `jitter()` is drawn anew for every handshake timer, in seconds."""

    __slots__ = ("_deadlines", "_jitter", "_needs_another_keepalive", "persistent_keepalive")

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._deadlines = [inf] * len(Timer)
        self._jitter = jitter
        self._needs_another_keepalive = False
        self.persistent_keepalive = 0
        """Seconds between persistent keepalives; 0 is off."""

    @property
    def deadline(self) -> float:
        """When to call `take_due` next; infinite when nothing is pending."""
        return min(self._deadlines)

    def is_pending(self, timer: Timer) -> bool:
        return self._deadlines[timer] < inf

    def take_due(self, now: float) -> list[Timer]:
        """The timers whose deadline has come, cleared, in the order of `Timer`."""
        due = [timer for timer in Timer if self._deadlines[timer] <= now]
        for timer in due:
            self._deadlines[timer] = inf
        return due

    def data_sent(self, now: float) -> None:
        if self._deadlines[Timer.NEW_HANDSHAKE] == inf:
            self._deadlines[Timer.NEW_HANDSHAKE] = now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT + self._jitter()

    def data_received(self, now: float) -> None:
        if self._deadlines[Timer.SEND_KEEPALIVE] == inf:
            self._deadlines[Timer.SEND_KEEPALIVE] = now + KEEPALIVE_TIMEOUT
        else:
            self._needs_another_keepalive = True

    def keepalive_due(self, now: float) -> None:
        """`SEND_KEEPALIVE` was taken: data that came while it was pending asks for one more."""
        if self._needs_another_keepalive:
            self._needs_another_keepalive = False
            self._deadlines[Timer.SEND_KEEPALIVE] = now + KEEPALIVE_TIMEOUT

    def any_authenticated_packet_sent(self) -> None:
        self._deadlines[Timer.SEND_KEEPALIVE] = inf

    def any_authenticated_packet_received(self) -> None:
        self._deadlines[Timer.NEW_HANDSHAKE] = inf

    def any_authenticated_packet_traversed(self, now: float) -> None:
        """The next persistent keepalive is due a little early, so that those of many peers leave together."""
        if self.persistent_keepalive:
            due = now + self.persistent_keepalive
            self._deadlines[Timer.PERSISTENT_KEEPALIVE] = due - due % PERSISTENT_KEEPALIVE_STEP

    def handshake_initiated(self, now: float) -> None:
        self._deadlines[Timer.RETRANSMIT] = now + REKEY_TIMEOUT + self._jitter()

    def handshake_postponed(self, now: float) -> None:
        """One was wanted too soon after the last handshake message: see that it is not forgotten."""
        if self._deadlines[Timer.RETRANSMIT] == inf:
            self.handshake_initiated(now)

    def handshake_completed(self) -> None:
        self._deadlines[Timer.RETRANSMIT] = inf

    def handshake_gave_up(self, now: float) -> None:
        self._deadlines[Timer.SEND_KEEPALIVE] = inf
        if self._deadlines[Timer.ZERO_KEYS] == inf:
            self._deadlines[Timer.ZERO_KEYS] = now + ZERO_KEYS_AFTER_TIME

    def session_derived(self, now: float) -> None:
        self._deadlines[Timer.ZERO_KEYS] = now + ZERO_KEYS_AFTER_TIME

    def persistent_keepalive_changed(self, seconds: int) -> None:
        self.persistent_keepalive = seconds
        if not seconds:
            self._deadlines[Timer.PERSISTENT_KEEPALIVE] = inf

    def peer_closed(self) -> None:
        """The peer is gone: nobody is there who waits for a keepalive, or could answer."""
        self._deadlines[Timer.SEND_KEEPALIVE] = inf
        self._deadlines[Timer.NEW_HANDSHAKE] = inf

    def path_probed(self, deadline: float) -> None:
        """Answers are expected until then; none, if that is infinite."""
        self._deadlines[Timer.PATH_PROBE] = deadline

    def stop(self) -> None:
        self._deadlines = [inf] * len(Timer)
        self._needs_another_keepalive = False

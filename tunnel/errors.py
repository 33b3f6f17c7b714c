"""What can go wrong for the person who runs us, one line each.

A `TunnelError` is shown as it is, after ``tunnel: ``, and ends the command with a status of its own
(`tunnel.cli.ending`): its text says what failed, where, and what to do. OS errors are translated into one exactly once,
at the edge that got them. Garbage from the network is not an error but a drop (`tunnel.protocol.stats.DropReason`), and
a broken invariant is an `AssertionError`.
"""

from enum import Enum
from typing import Self


class Reason(Enum):
    """Why something was refused: the value is the name for machines, `words` is what a person reads."""

    words: str

    def __new__(cls, value: str, words: str) -> Self:
        member = object.__new__(cls)
        member._value_ = value
        member.words = words
        return member


class TunnelError(Exception):
    """The base of everything we raise on purpose; ``str()`` is one clear line."""


class ConfigError(TunnelError):
    """Bad configuration, found before anything was changed.

    The text reads ``wg0.conf:12: AllowedIPs: '10.0.0.0/33': prefix longer than 32``; what is not known is left out.
    """

    def __init__(self, why: str, *, source: str = "", line: int = 0, key: str = "") -> None:
        where = f"{source}:{line}" if source and line else source
        super().__init__(": ".join(part for part in (where, key, why) if part))
        self.why = why
        self.source = source
        self.line = line
        self.key = key


class ClockError(ConfigError):
    """A certificate or a list that is good, only not at the time that our clock shows.

    Nobody has to mend it: a host without a battery begins in 1970, and learns the time later.
    """


class EdgeError(TunnelError):
    """A file descriptor, socket or netlink request refused us; `errno` is what the kernel said (0: not from it)."""

    def __init__(self, what: str, errno: int = 0) -> None:
        super().__init__(what)
        self.errno = errno


class TunDeviceError(EdgeError):
    """The TUN device could not be made, or went away."""


class UdpSocketError(EdgeError):
    """The UDP socket could not be bound or configured."""


class NetlinkError(EdgeError):
    """The kernel refused an address, a route or a link setting."""


class ControlError(EdgeError):
    """The control socket could not be made or reached, or answered with an errno."""


class HookError(TunnelError):
    """A PreUp, PostUp, PreDown or PostDown command failed."""


def only_tunnel_error(group: BaseExceptionGroup[BaseException]) -> TunnelError | None:
    """What a task group wrapped, if it is one refusal and not a bug."""
    errors, bugs = group.split(TunnelError)
    if errors is None or bugs is not None:
        return None
    first: BaseException = errors
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    assert isinstance(first, TunnelError)
    return first

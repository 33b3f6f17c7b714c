"""What happened, for whoever watches: the log, the resolver, later hooks and metrics.

Events are about control, never about single packets. They name the peer by its public key.
"""

from dataclasses import dataclass

from tunnel.endpoint import Endpoint
from tunnel.keys import PublicKey


@dataclass(frozen=True, slots=True)
class HandshakeCompleted:
    """A session is confirmed from our side; `as_initiator` says who began."""

    peer: PublicKey
    endpoint: Endpoint
    as_initiator: bool


@dataclass(frozen=True, slots=True)
class HandshakeUnanswered:
    """No response came within the rekey timeout, for the `attempts`-th time in a row; we try again."""

    peer: PublicKey
    attempts: int


@dataclass(frozen=True, slots=True)
class HandshakeGaveUp:
    """No response came for 90 s; we stop until there is something to send. `staged` packets were dropped."""

    peer: PublicKey
    staged: int


@dataclass(frozen=True, slots=True)
class PeerRoamed:
    """An authenticated datagram came from elsewhere than before."""

    peer: PublicKey
    before: Endpoint | None
    after: Endpoint


@dataclass(frozen=True, slots=True)
class SessionExpired:
    """No new session for three times the reject time: all keys of the peer are gone."""

    peer: PublicKey


@dataclass(frozen=True, slots=True)
class PeerClosed:
    """The peer said that it is going away: its session is gone."""

    peer: PublicKey


@dataclass(frozen=True, slots=True)
class PathMtuChanged:
    """The path to the peer is known to be narrower, or wider, than it was, or as wide as we need again.

    `path_mtu` is the largest outer IP packet that gets through, `max_packet` the largest inner one that goes in it.
    """

    peer: PublicKey
    path_mtu: int
    max_packet: int


@dataclass(frozen=True, slots=True)
class UnderLoad:
    """We began (or ceased) to ask for cookies."""

    is_under_load: bool


Event = (
    HandshakeCompleted
    | HandshakeUnanswered
    | HandshakeGaveUp
    | PeerRoamed
    | SessionExpired
    | PeerClosed
    | PathMtuChanged
    | UnderLoad
)

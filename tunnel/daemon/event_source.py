"""What the core and DNS did, in the words of `tunnel.control.events`.

    Device ──Event──▶ EventSource ──tell──▶ EventFeed
                          │
                          └─ who is up: what makes of a handshake ``peer_up`` or ``rekeyed``

Who is up is known from the moment at which somebody began to listen, and forgotten when nobody does. A peer that has
been removed is noticed at the next event, or when whoever removed it says so.
"""

from collections.abc import Callable, Mapping, Sequence

from tunnel.config.model import PeerConfig
from tunnel.control.events import EventFeed
from tunnel.daemon.clock import Clock
from tunnel.endpoint import Endpoint
from tunnel.keys import PublicKey
from tunnel.protocol.device import Device
from tunnel.protocol.events import (
    Event,
    HandshakeCompleted,
    HandshakeGaveUp,
    HandshakeUnanswered,
    PathMtuChanged,
    PeerClosed,
    PeerRoamed,
    SessionExpired,
    UnderLoad,
)

EXPIRED, CLOSED, REMOVED, LINK_DOWN = "expired", "closed_by_peer", "removed", "link_down"
"""Why a peer is down."""


class EventSource:
    """Of `device`; `name_of` knows the names in the certificates of peers."""

    def __init__(
        self, feed: EventFeed, device: Device, clock: Clock, name_of: Callable[[PublicKey], str | None]
    ) -> None:
        self._feed = feed
        self._device = device
        self._clock = clock
        self._name_of = name_of
        self._up: dict[PublicKey, str | None] = {}
        feed.on_first = self._look

    def _look(self) -> None:
        now = self._clock.now()
        peers = [peer.public_key for peer in self._device.snapshot(0).peers]
        self._up = {peer: self._name_of(peer) for peer in peers if self._device.has_session(peer, now)}

    def observe(self, event: Event) -> None:
        """Tell us every event of the core, before anybody else acts on it."""
        if not self._feed.is_heard:
            return
        self.peers_changed()
        tell = self._feed.tell
        match event:
            case HandshakeCompleted(peer, endpoint, as_initiator):
                role, name = "initiator" if as_initiator else "responder", self._name_of(peer)
                kind = "rekeyed" if peer in self._up else "peer_up"
                self._up[peer] = name
                tell(kind, peer=peer, name=name, endpoint=endpoint, role=role)
            case HandshakeUnanswered(peer, attempts):
                tell("handshake_unanswered", peer=peer, name=self._name_of(peer), attempts=attempts)
            case HandshakeGaveUp(peer, staged):
                tell("handshake_given_up", peer=peer, name=self._name_of(peer), dropped=staged)
            case PeerRoamed(peer, before, after):
                tell("roamed", peer=peer, name=self._name_of(peer), endpoint=after, before=before)
            case SessionExpired(peer):
                self._went_down(peer, EXPIRED)
            case PeerClosed(peer):
                self._went_down(peer, CLOSED)
            case PathMtuChanged(peer, path_mtu, max_packet):
                tell("path_mtu_changed", peer=peer, name=self._name_of(peer), path_mtu=path_mtu, max_packet=max_packet)
            case UnderLoad(is_under_load):
                tell("under_load", is_under_load=is_under_load)

    def peers_changed(self) -> None:
        """Somebody may have removed some."""
        if self._feed.is_heard:
            for peer in [peer for peer in self._up if not self._device.has_peer(peer)]:
                self._went_down(peer, REMOVED)

    def resolved(self, configured: Sequence[PeerConfig], endpoints: Mapping[PublicKey, Endpoint]) -> None:
        """The names of some of those that are configured have led to these."""
        if self._feed.is_heard:
            for peer in configured:
                if (endpoint := endpoints.get(peer.public_key)) is not None:
                    who = {"peer": peer.public_key, "name": self._name_of(peer.public_key)}
                    self._feed.tell("name_resolved", **who, endpoint=endpoint, endpoint_name=peer.endpoint)

    def link_down(self) -> None:
        """All sessions are gone."""
        if self._feed.is_heard:
            for peer in list(self._up):
                self._went_down(peer, LINK_DOWN)

    def _went_down(self, peer: PublicKey, reason: str) -> None:
        """Nothing is told of one who was not up."""
        if peer in self._up:
            self._feed.tell("peer_down", peer=peer, name=self._up.pop(peer), reason=reason)

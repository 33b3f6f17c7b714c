"""The peers of a device by their public keys: how they come to be what a patch says, and whose deadline is next.

    PeerPatch ─ apply ──▶ a peer made, changed or removed
    reschedule ─▶ a heap of deadlines ─ expire ─▶ Peer.expire, of those that are due

A peer's deadline moves with every packet, mostly into the future. So it has one entry in the heap, at or before its
deadline (`Peer.scheduled`), and a later deadline is found out when that entry comes up.
"""

import heapq
from collections.abc import Iterable
from itertools import count
from math import inf

from tunnel.config.patch import PeerPatch
from tunnel.keys import PublicKey
from tunnel.protocol.host import Host
from tunnel.protocol.peer import Peer


class PeerTable(dict[PublicKey, Peer]):
    """In the order in which they were added. It is changed by `apply` and `remove`."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self._host = host
        self._schedule: list[tuple[float, int, Peer]] = []
        self._tickets = count()

    # ── configuration ────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, patches: Iterable[PeerPatch], now: float) -> None:
        """Change what they say, in order. A peer with our own key is not a peer."""
        for patch in patches:
            self._apply(patch, now)
        self._forget_removed()

    def remove(self, public_key: PublicKey, now: float) -> None:
        """Nothing happens if there is no such peer."""
        peer = self.pop(public_key, None)
        if peer is None:
            return
        peer.down(now)
        peer.scheduled = inf
        self._host.allowed_ips.remove_peer(peer)

    def _apply(self, patch: PeerPatch, now: float) -> None:
        if self._host.identity is not None and patch.public_key == self._host.identity.public_key:
            return
        if patch.remove:
            self.remove(patch.public_key, now)
            return
        peer = self.get(patch.public_key)
        if peer is None:
            if patch.update_only:
                return
            peer = self[patch.public_key] = Peer(patch.public_key, self._host)
        self._change(peer, patch, now)
        self.reschedule(peer)

    def _change(self, peer: Peer, patch: PeerPatch, now: float) -> None:
        if patch.preshared_key is not None:
            peer.handshakes.preshared_key = patch.preshared_key
        before = peer.path.endpoint
        if patch.endpoint is not None:
            peer.path.move(patch.endpoint)
        if patch.replace_allowed_ips:
            self._host.allowed_ips.remove_peer(peer)
        for change in patch.allowed_ips:
            if change.remove:
                self._host.allowed_ips.remove(change.network, peer)
            else:
                self._host.allowed_ips.insert(change.network, peer)
        if patch.persistent_keepalive is not None:
            peer.set_persistent_keepalive(patch.persistent_keepalive, now)
        if self._host.is_up:
            if before is None and patch.endpoint is not None:
                peer.up(now)
            elif patch.endpoint is not None:
                peer.handshakes.look_elsewhere(now)
            peer.send_staged(now)

    # ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> float:
        """When to call `expire` next; infinite if nothing is to come."""
        return self._schedule[0][0] if self._schedule else inf

    def expire(self, now: float) -> None:
        """Handle the timers that are due."""
        while self._schedule and self._schedule[0][0] <= now:
            deadline, _, peer = heapq.heappop(self._schedule)
            if peer.scheduled != deadline:
                continue
            peer.scheduled = inf
            peer.expire(now)
            self.reschedule(peer)

    def reschedule(self, peer: Peer) -> None:
        """Its timers have changed, after any call to it."""
        deadline = peer.timers.deadline
        if deadline < peer.scheduled:
            peer.scheduled = deadline
            heapq.heappush(self._schedule, (deadline, next(self._tickets), peer))

    def _forget_removed(self) -> None:
        """Nothing may keep a removed peer, and the secrets in it, until a deadline that it once had."""
        schedule = [entry for entry in self._schedule if entry[2].scheduled == entry[0]]
        if len(schedule) < len(self._schedule):
            heapq.heapify(schedule)
            self._schedule = schedule

"""The peers of a device, without the device: what `tunnel.daemon.admission` asks, and what its patches do."""

from tunnel.config.patch import DevicePatch, IPNetwork, PeerPatch
from tunnel.keys import PublicKey


class Roster:
    """`alive` are those who have a session."""

    def __init__(self) -> None:
        self.networks: dict[PublicKey, set[IPNetwork]] = {}
        self.alive: set[PublicKey] = set()

    def holder(self, network: IPNetwork) -> PublicKey | None:
        return next((key for key, networks in self.networks.items() if network in networks), None)

    def has_peer(self, public_key: PublicKey) -> bool:
        return public_key in self.networks

    def has_session(self, public_key: PublicKey, now: float) -> bool:
        return public_key in self.alive

    def configure(self, public_key: PublicKey, *networks: IPNetwork) -> None:
        """As ``wg set`` would."""
        self.networks[public_key] = set(networks)

    def remove(self, public_key: PublicKey) -> None:
        self.networks.pop(public_key, None)
        self.alive.discard(public_key)

    def apply(self, patch: DevicePatch) -> None:
        for peer in patch.peers:
            if peer.remove:
                self.remove(peer.public_key)
            elif self.has_peer(peer.public_key) or not peer.update_only:
                self._change(peer)

    def _change(self, patch: PeerPatch) -> None:
        own = self.networks.setdefault(patch.public_key, set())
        if patch.replace_allowed_ips:
            own.clear()
        for change in patch.allowed_ips:
            for networks in self.networks.values():
                networks.discard(change.network)
            own.add(change.network)

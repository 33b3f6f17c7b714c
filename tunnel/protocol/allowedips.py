"""Cryptokey routing (WireGuard paper, section 2): which peer an inner address belongs to, by longest prefix.

The same table says where a packet goes (its destination) and whether it may come from there (its source).

One dict per address family and prefix length maps a network's first address to its peer; a lookup tries the lengths
that occur, longest first. What it finds is kept in a cache by address, which is bounded and dropped whenever the
table changes, so that a warm lookup is one dict access.

    lookup ──▶ cache[address] ──miss──▶ /32, /24, ... /0 ──▶ cache
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

from tunnel.config.patch import IPNetwork

P = TypeVar("P", bound=Hashable)

CACHE_SIZE = 16384
"""Addresses. When it is full it is emptied: a scan through it costs everyone one miss, and no bookkeeping."""


class AllowedIPs(Generic[P]):
    """Networks and their peers. A network belongs to at most one peer."""

    def __init__(self, cache_size: int = CACHE_SIZE) -> None:
        self._cache_size = cache_size
        self._cache: dict[bytes, P | None] = {}
        self._networks: dict[P, dict[IPNetwork, None]] = {}
        # By size of an address in bytes, then by prefix length, longest first, then by the network's address.
        self._tables: dict[int, dict[int, dict[int, P]]] = {4: {}, 16: {}}

    def insert(self, network: IPNetwork, peer: P) -> None:
        """Give `network` to `peer`, taking it from whoever has it; it becomes the last of its networks."""
        self._cache.clear()
        size = network.max_prefixlen // 8
        table = self._tables[size]
        if network.prefixlen not in table:
            table[network.prefixlen] = {}
            self._tables[size] = dict(sorted(table.items(), reverse=True))
            table = self._tables[size]
        prefixes = table[network.prefixlen]
        address = int(network.network_address)
        before = prefixes.get(address)
        if before is not None:
            self._forget(network, before)
        prefixes[address] = peer
        self._networks.setdefault(peer, {})[network] = None

    def remove(self, network: IPNetwork, peer: P) -> None:
        """Take exactly `network` from `peer`; nothing happens if it is not theirs."""
        if network not in self._networks.get(peer, ()):
            return
        self._cache.clear()
        table = self._tables[network.max_prefixlen // 8]
        del table[network.prefixlen][int(network.network_address)]
        if not table[network.prefixlen]:
            del table[network.prefixlen]
        self._forget(network, peer)

    def remove_peer(self, peer: P) -> None:
        """Take all its networks from `peer`."""
        for network in self.networks_of(peer):
            self.remove(network, peer)

    def networks_of(self, peer: P) -> tuple[IPNetwork, ...]:
        """In the order in which they were inserted."""
        return tuple(self._networks.get(peer, ()))

    def holder(self, network: IPNetwork) -> P | None:
        """Whose exactly `network` is."""
        return self._tables[network.max_prefixlen // 8].get(network.prefixlen, {}).get(int(network.network_address))

    def lookup(self, address: bytes) -> P | None:
        """The peer of an address of 4 or 16 bytes, in network order; None if it is in no network."""
        try:
            return self._cache[address]
        except KeyError:
            return self._miss(address)

    def _miss(self, address: bytes) -> P | None:
        peer = self._find(address)
        if len(self._cache) >= self._cache_size:
            self._cache.clear()
        self._cache[address] = peer
        return peer

    def _find(self, address: bytes) -> P | None:
        number = int.from_bytes(address, "big")
        bits = len(address) * 8
        for length, prefixes in self._tables.get(len(address), {}).items():
            host_bits = bits - length
            peer = prefixes.get(number >> host_bits << host_bits)
            if peer is not None:
                return peer
        return None

    def _forget(self, network: IPNetwork, peer: P) -> None:
        networks = self._networks[peer]
        del networks[network]
        if not networks:
            del self._networks[peer]

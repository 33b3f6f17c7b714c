"""Probes of the path to one peer: what `PathMtu` asks, made into datagrams, and the answers.

    a peer like us    message 4: probe, zeros up to the size        ◀── message 4: probe ack
    a stock peer      message 4: echo request, zeros up to the size ◀── message 4: echo reply, which is for us alone

Every WireGuard cuts off what follows the IP packet in a message 4. So an echo request of 28 or 48 bytes in a datagram
of any size is answered with a small reply, if somebody who answers pings is at an address of the peer. It comes from
our own inner address, with an identifier that nobody else uses.

A probe is nobody's data: it touches no timer, so that losing it, for which it is made, means nothing else.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING

from tunnel.config.patch import IPNetwork
from tunnel.protocol.events import PathMtuChanged
from tunnel.protocol.host import Host
from tunnel.protocol.keypair import Keypair
from tunnel.protocol.path import NetworkPath
from tunnel.protocol.path_mtu import LARGE_PACKET, Probe
from tunnel.protocol.transport import MAX_PACKET, SLOT_OVERHEAD, seal
from tunnel.wire.control import pack_probe
from tunnel.wire.icmp import Echo, pack_echo_request, parse_echo_reply
from tunnel.wire.messages import PADDING, TRANSPORT_HEADER_SIZE, TRANSPORT_OVERHEAD

if TYPE_CHECKING:
    from tunnel.protocol.peer import Peer

OUTER_HEADERS = {4: 20 + 8, 6: 40 + 8}
"""Bytes of outer IP and UDP, by version."""

TURN = 1 / 20
"""Seconds between rounds that begin, for a whole device: a thousand busy peers cost no more than ten."""

SMALL_DATA_INTERVAL = 0.05
"""How soon after small data we see whether there is large data, of who never sent any: not with every batch."""

ASK_AGAIN_DELAY = 0.02
"""How long large data that flows has to ask by itself, before it is taken for standing still."""

WIDEST_NETWORK = {4: 8, 6: 32}
"""Prefix lengths: in a wider one it is anybody's guess who has its first address."""


class PathProbes:
    """Along `path`. What is sent goes into `host.probes`. The peer is an argument, so that nothing here keeps it."""

    __slots__ = ("_asks_again", "_echo", "_host", "_identifier", "_path", "_seen_bytes", "_told", "_turn")

    def __init__(self, path: NetworkPath, host: Host) -> None:
        self._path = path
        self._host = host
        self._identifier: int | None = None
        self._turn: float | None = None
        self._asks_again = False
        self._seen_bytes = 0
        self._echo: Echo | None = None
        self._told: int | None = None

    def awaits_echo(self, now: float) -> bool:
        """Whether an echo reply may come that is for us."""
        return self._echo is not None and self._path.mtu.awaits_answers(now)

    def data_sent(self, longest: int, peer: "Peer", keypair: Keypair, now: float) -> None:
        """Packets of up to `longest` bytes went to the peer, and it is time to ask whether they arrive, if large."""
        if longest <= LARGE_PACKET:
            if not self._path.mtu.is_known:  # else it may be among acknowledgements that flow back all the time
                self._path.mtu.due = now + SMALL_DATA_INTERVAL
            return
        self._asks_again = True
        self._ask(peer, keypair, now)

    def _ask(self, peer: "Peer", keypair: Keypair, now: float) -> None:
        host, path = self._host, self._path
        assert path.endpoint is not None
        if not self._is_our_turn(now):
            path.timers.path_probed(path.mtu.due)
            return
        self._echo = self._choose_echo(peer) if keypair.takes is None else None
        if keypair.takes is None and self._echo is None:
            path.mtu.put_off(now - keypair.created, now)
            return
        version = 6 if path.endpoint.is_ipv6 else 4
        overhead = OUTER_HEADERS[version] + TRANSPORT_OVERHEAD
        self._send(path.mtu.begin(min(host.mtu, MAX_PACKET), overhead, version, now), peer, now)

    def _is_our_turn(self, now: float) -> bool:
        """Everybody has one, in the order in which they ask; when ours comes, we are asked for it again.

        Nobody has a second one before, on however many paths he has been meanwhile: the others would wait for them all.
        """
        if self._turn is None:
            self._turn = max(now, self._host.next_turn)
            self._host.next_turn = self._turn + TURN
        if self._turn > now:
            self._path.mtu.due = self._turn
            return False
        self._turn = None
        return True

    def acknowledged(self, number: int, peer: "Peer", now: float) -> bool:
        """The probe with that number arrived; False if there is none."""
        probes = self._path.mtu.answered(number, now)
        if probes is None:
            return False
        self._send(probes, peer, now)
        return True

    def consume_echo(self, packet: memoryview, peer: "Peer", now: float) -> bool:
        """Whether a packet that came from the peer answers one of ours; if so it is for nobody else."""
        reply = parse_echo_reply(packet)
        if reply is None or self._echo is None or reply[:3] != self._echo.answer[:3]:
            return False
        return self.acknowledged(reply.number, peer, now)

    def expire(self, peer: "Peer", now: float) -> None:
        """No more answers are to be expected; or the last one is as old as it may be, and data went on since then.

        A flow that stands still sends what was lost again, after a time that doubles. If that alone made us ask, it
        would find out one doubling later.
        """
        if not self._path.mtu.is_settled:
            self._send(self._path.mtu.expire(now), peer, now)
            return
        keypair = peer.keypairs.current
        self._asks_again = False
        if keypair is not None and self._path.tx_bytes - self._seen_bytes > LARGE_PACKET:
            self._ask(peer, keypair, now)

    def _send(self, probes: Iterable[Probe], peer: "Peer", now: float) -> None:
        """Without a session nothing is sent, and so nothing is answered."""
        path, endpoint, keypair = self._path, self._path.endpoint, peer.keypairs.current
        if keypair is not None:
            path.mtu.pad(PADDING if keypair.takes is None else 1)
        for number, size in probes:
            if keypair is None or endpoint is None or not keypair.can_send(1, now):
                break
            length = size - OUTER_HEADERS[6 if endpoint.is_ipv6 else 4] - TRANSPORT_OVERHEAD
            content = self._content(number, length)
            slot = memoryview(bytearray(length + SLOT_OVERHEAD))
            slot[TRANSPORT_HEADER_SIZE : TRANSPORT_HEADER_SIZE + len(content)] = content
            (datagram,) = seal(keypair, [slot], [length], length)
            self._host.probes.append((datagram, endpoint))
            path.tx_bytes += len(datagram)
        if path.mtu.is_settled and path.mtu.is_known and self._asks_again:
            self._seen_bytes = path.tx_bytes
            path.timers.path_probed(path.mtu.due + ASK_AGAIN_DELAY)
        else:
            path.timers.path_probed(path.mtu.deadline)
        self._tell()

    def _content(self, number: int, length: int) -> bytes:
        if self._echo is None:
            return pack_probe(number, length)
        return pack_echo_request(self._echo._replace(number=number))

    def _tell(self) -> None:
        """Of what was found out, when it is certain; that a path is as wide as we need is nothing to tell at first."""
        mtu = self._path.mtu
        if not mtu.is_settled or not mtu.is_known:
            return
        narrow = mtu.size if mtu.is_narrow else None
        if narrow != self._told:
            self._told = narrow
            event = PathMtuChanged(self._path.public_key, mtu.size, mtu.max_packet)
            self._host.events.append(event)

    # ── whom to ping ─────────────────────────────────────────────────────────────────────────────────────────────

    def _choose_echo(self, peer: "Peer") -> Echo | None:
        """From an address of ours to one of the peer's, where somebody may answer; None if there is none."""
        if self._identifier is None:
            self._identifier = int.from_bytes(self._host.rng(2), "big")
        ours = {interface.ip.packed: interface for interface in self._host.addresses}
        for destination in self._candidates(peer):
            if destination in ours or self._host.allowed_ips.lookup(destination) is not peer:
                continue
            sources = [address for address in ours if len(address) == len(destination)]
            near = [address for address in sources if ip_address(destination) in ours[address].network]
            for source in near or sources:
                return Echo(source, destination, self._identifier, 0)
        return None

    def _candidates(self, peer: "Peer") -> Iterator[bytes]:
        """Addresses that may be the peer's own: single ones, first hosts of the subnets we are in, of its networks.

        Networks come last, as their first hosts are likely to be somebody behind the peer, or even strangers.
        """
        networks = self._host.allowed_ips.networks_of(peer)
        for network in networks:
            if network.prefixlen == network.max_prefixlen:
                yield network.network_address.packed
        for interface in self._host.addresses:
            yield _first_host(interface.network)
        for network in sorted(networks, key=lambda network: network.max_prefixlen - network.prefixlen):
            if network.prefixlen >= WIDEST_NETWORK[network.version]:
                yield _first_host(network)


def _first_host(network: IPNetwork) -> bytes:
    """The only address, or the one after the network's own."""
    first = network.network_address
    return (first if network.num_addresses <= 2 else first + 1).packed

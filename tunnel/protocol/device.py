"""The device: all peers behind one identity, as a state machine without I/O.

Feed it packets and datagrams in batches, and the time; take what it made. Handshake messages wait in a bounded queue
(`tunnel.protocol.intake`), a few are consumed whenever `expire` is called, and data never waits for them.

    send(packets)      ─ allowed IPs ─▶ Peer.send ──▶ take_datagrams()
    receive(datagrams) ─ index table ─▶ Peer.receive ▶ take_packets(), take_datagrams(), take_events()
    deadline ─▶ expire(now): timers that are due, handshakes that wait

Whoever calls must take the datagrams and packets, and be done with them, before the next `send`, and before the buffers
that were passed in are used again.
"""

from collections.abc import Callable, Sequence
from itertools import repeat

from tunnel.config.patch import DevicePatch, IPNetwork
from tunnel.config.snapshot import DeviceSnapshot
from tunnel.endpoint import Endpoint
from tunnel.keys import PrivateKey, PublicKey, Rng
from tunnel.noise.handshake import Responder
from tunnel.protocol.certified import CertifiedHandshakes
from tunnel.protocol.credentials import Credentials, Gatekeeper
from tunnel.protocol.enquiry import Enquiry
from tunnel.protocol.events import Event
from tunnel.protocol.handshakes import PendingHandshake
from tunnel.protocol.host import Host, IPInterface, KeyLog, Oversized
from tunnel.protocol.intake import HandshakeIntake, Waiting
from tunnel.protocol.keypair import Keypair
from tunnel.protocol.peer import Peer
from tunnel.protocol.peers import PeerTable
from tunnel.protocol.stats import DropReason
from tunnel.protocol.trains import has_one_receiver, split_by_kind
from tunnel.protocol.transport import MAX_PACKET
from tunnel.wire import ip
from tunnel.wire.certified import CertifiedResponse, parse_certified_response
from tunnel.wire.control import Capability
from tunnel.wire.messages import (
    TRANSPORT_HEADER_SIZE,
    TRANSPORT_OVERHEAD,
    Initiation,
    MessageType,
    Response,
    message_type,
    parse_cookie_reply,
    parse_initiation,
    parse_response,
)
from tunnel.wire.train import Outbound, Train

_TRANSPORT_DATA = int(MessageType.TRANSPORT_DATA)
_EXTENDED_DATA = int(MessageType.EXTENDED_DATA)


class Device:
    """`rng(n)` gives n random bytes; `stamp()` a 12-byte TAI64N later than any before it, across restarts too."""

    def __init__(self, rng: Rng, stamp: Callable[[], bytes]) -> None:
        self.listen_port = 0
        self.fwmark = 0
        self._host = Host(rng, stamp)
        self._peers = PeerTable(self._host)
        self._responder: Responder | None = None
        self._intake = HandshakeIntake(self._host)
        self._certified = CertifiedHandshakes(self._host, self._intake, self._peers)

    # ── configuration ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def mtu(self) -> int:
        """Of the inner interface, in bytes: padding never makes a packet longer than this."""
        return self._host.mtu

    @mtu.setter
    def mtu(self, mtu: int) -> None:
        if mtu != self._host.mtu:
            self._host.mtu = mtu
            for peer in self._peers.values():
                peer.path.mtu.reset()

    @property
    def addresses(self) -> Sequence[IPInterface]:
        """Those of the inner interface: where echo requests to peers that are not like us come from."""
        return self._host.addresses

    @addresses.setter
    def addresses(self, addresses: Sequence[IPInterface]) -> None:
        self._host.addresses = tuple(addresses)

    @property
    def offered(self) -> Capability | None:
        """What we take from peers that are like us, from the next handshake on; None: we are plain WireGuard."""
        return self._host.offered

    @offered.setter
    def offered(self, offered: Capability | None) -> None:
        self._host.offered = offered

    @property
    def key_log(self) -> KeyLog | None:
        """Who is told the keys of handshakes from now on; None: nobody, and they are not kept."""
        return self._host.key_log

    @key_log.setter
    def key_log(self, key_log: KeyLog | None) -> None:
        self._host.key_log = key_log

    @property
    def credentials(self) -> Credentials | None:
        """What we show to peers with certificates, from the next handshake on; None: there are none to us."""
        return self._host.credentials

    @credentials.setter
    def credentials(self, credentials: Credentials | None) -> None:
        self._certified.credentials_changed(credentials)

    @property
    def gatekeeper(self) -> Gatekeeper | None:
        """Who judges certificates; to be set before there are credentials."""
        return self._certified.gatekeeper

    @gatekeeper.setter
    def gatekeeper(self, gatekeeper: Gatekeeper) -> None:
        self._certified.gatekeeper = gatekeeper

    def apply(self, patch: DevicePatch, now: float) -> None:
        """Change what `patch` says. Never fails: whoever made the patch has checked it."""
        if patch.private_key is not None:
            self._set_identity(patch.private_key, now)
        if patch.listen_port is not None:
            self.listen_port = patch.listen_port
        if patch.fwmark is not None:
            self.fwmark = patch.fwmark
        if patch.replace_peers:
            for public_key in list(self._peers):
                self._peers.remove(public_key, now)
        self._peers.apply(patch.peers, now)

    def up(self, now: float) -> None:
        """The interface is up and the socket open: sessions may begin."""
        if self._host.is_up:
            return
        self._host.is_up = True
        for peer in self._peers.values():
            peer.up(now)
            self._peers.reschedule(peer)

    def down(self, now: float) -> None:
        """No more sessions; the configuration stays. What there is to send now tells peers that are like us."""
        self._host.is_up = False
        self._intake.clear()
        self._certified.stop_asking()
        for peer in self._peers.values():
            peer.down(now)
            self._peers.reschedule(peer)

    def snapshot(self, unix_offset: float) -> DeviceSnapshot:
        """The state as values. `unix_offset` is Unix time minus the `now` of all other calls, in seconds."""
        return DeviceSnapshot(
            private_key=self._host.identity,
            listen_port=self.listen_port,
            fwmark=self.fwmark,
            peers=tuple(peer.snapshot(unix_offset) for peer in self._peers.values()),
            drops=self._host.drops.nonzero(),
        )

    def count_drop(self, reason: DropReason, times: int = 1) -> None:
        """For what the edges refuse, so that all drops are counted in one place."""
        self._host.drops.count(reason, times)

    def holder(self, network: IPNetwork) -> PublicKey | None:
        """Whose allowed IP exactly `network` is."""
        peer = self._host.allowed_ips.holder(network)
        return peer.public_key if peer else None

    def has_peer(self, public_key: PublicKey) -> bool:
        """Whether there is a peer with this key."""
        return public_key in self._peers

    def endpoints(self) -> dict[PublicKey, Endpoint]:
        """Where the peers are, those left out of whom that is not known."""
        return {key: peer.path.endpoint for key, peer in self._peers.items() if peer.path.endpoint is not None}

    def has_session(self, public_key: PublicKey, now: float) -> bool:
        """Whether there is a peer with this key to whom packets could be sent now without a handshake."""
        peer = self._peers.get(public_key)
        keypair = peer.keypairs.current if peer else None
        return keypair is not None and keypair.can_send(1, now)

    def announce(self, public_keys: Sequence[PublicKey], now: float) -> None:
        """Send an empty packet to those of these peers with whom there is a session: they learn where we are now."""
        for public_key in public_keys:
            if self.has_session(public_key, now):
                peer = self._peers[public_key]
                peer.send_keepalive(now)
                self._peers.reschedule(peer)

    # ── certificates ─────────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, endpoint: Endpoint, now: float) -> None:
        """Ask for the certificate of whoever is at `endpoint`, once; the gatekeeper hears of an answer."""
        self._certified.ask(endpoint, now)

    def stop_asking(self) -> None:
        """Answers to what was asked are no longer wanted."""
        self._certified.stop_asking()

    def handshake(self, public_key: PublicKey, now: float) -> None:
        """Begin a handshake with that peer, if there is none under way; what we show has changed."""
        peer = self._peers.get(public_key)
        if peer is not None:
            peer.handshakes.initiate(now)
            self._peers.reschedule(peer)

    # ── the data path ────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, slots: Sequence[memoryview], lengths: Sequence[int], now: float, flags: Sequence[int] = ()) -> None:
        """Packets from the interface: ``slots[i][16:16 + lengths[i]]`` (see `tunnel.protocol.transport`).

        `flags` is empty, or has `ExtendedFlag.PARTIAL` for each packet whose TCP or UDP checksum is still the sum of
        the pseudo-header, and which `wire.checksum.complete_checksum` can complete; 0 for the others.
        """
        self._host.burst.clear()
        lookup = self._host.allowed_ips.lookup
        batches: dict[Peer, tuple[list[memoryview], list[int], list[int]]] = {}
        for slot, length, flag in zip(slots, lengths, flags or repeat(0), strict=False):
            destination = ip.destination(slot[TRANSPORT_HEADER_SIZE : TRANSPORT_HEADER_SIZE + length])
            peer = lookup(destination) if destination else None
            if peer is None:
                self._host.drops.count(_why_no_route(destination))
                continue
            if length > MAX_PACKET:
                self._host.drops.count(DropReason.TOO_BIG)
                continue
            batch = batches.get(peer)
            if batch is None:
                batch = batches[peer] = ([], [], [])
            batch[0].append(slot)
            batch[1].append(length)
            batch[2].append(flag)
        for peer, (peer_slots, peer_lengths, peer_flags) in batches.items():
            peer.send(peer_slots, peer_lengths, now, peer_flags if flags else ())
            self._peers.reschedule(peer)

    def route(self, packet: memoryview) -> Peer | None:
        """The peer that an inner packet from our side goes to; None, and counted, if there is none."""
        destination = ip.destination(packet)
        peer = self._host.allowed_ips.lookup(destination) if destination else None
        if peer is None:
            self._host.drops.count(_why_no_route(destination))
        return peer

    def send_train(self, peer: Peer, outbound: Outbound, now: float) -> None:
        """Packets of equal size for one peer (see `route`), or slices if `Peer.takes` says so, sealed in place."""
        peer.send_train(outbound, now)
        self._peers.reschedule(peer)

    def receive(self, trains: Sequence[Train], endpoints: Sequence[Endpoint], now: float) -> None:
        """Datagrams from the network, opened in place; runs for one keypair are handled as one."""
        if self._host.identity is None or not self._host.is_up:
            self._host.drops.count(DropReason.NO_IDENTITY, sum(train.count for train in trains))
            return
        run: tuple[list[Train], list[Endpoint]] = ([], [])
        run_index = -1
        for train, endpoint in zip(trains, endpoints, strict=True):
            for part in _by_receiver(train):
                index = _receiver(part)
                if index is None:
                    self._receive_handshake(part.buffer, endpoint, now)
                    continue
                if index != run_index:
                    self._receive_data(run_index, run, now)
                    run, run_index = ([], []), index
                run[0].append(part)
                run[1].append(endpoint)
        self._receive_data(run_index, run, now)

    def take_datagrams(self) -> list[tuple[Train, Endpoint]]:
        """What to send now, in order."""
        taken, self._host.datagrams = self._host.datagrams, []
        return taken

    def take_probes(self) -> list[tuple[memoryview, Endpoint]]:
        """Datagrams that find out what the path carries: to be sent whole, with "don't fragment", or lost silently."""
        taken, self._host.probes = self._host.probes, []
        return taken

    def take_oversized(self) -> list[Oversized]:
        """Packets from the interface that do not fit the path to their peer: to be cut, or refused (`Peer.too_big`).

        Peer, slot, length and flag as they came in `send`: the packet is ``slot[16:16 + length]``, untouched, and what
        `flag` says of its checksum still true. After any call: packets may have waited for a handshake.
        """
        taken, self._host.oversized = self._host.oversized, []
        return taken

    def take_packets(self) -> list[Train]:
        """What to write into the interface now, in order: opened trains, whose packets lie where they were sealed."""
        taken, self._host.packets = self._host.packets, []
        return taken

    def take_events(self) -> list[Event]:
        taken, self._host.events = self._host.events, []
        return taken

    # ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> float:
        """When to call `expire` next; in the past if handshakes wait, infinite if nothing is to come."""
        return min(self._peers.deadline, self._intake.deadline)

    def expire(self, now: float) -> None:
        """Handle the timers that are due and a few of the handshake messages that wait."""
        self._peers.expire(now)
        for waiting in self._intake.take():
            self._consume_handshake(waiting, now)
        self._intake.note_load(now)

    # ── datagrams ────────────────────────────────────────────────────────────────────────────────────────────────

    def _receive_data(self, index: int, run: tuple[list[Train], list[Endpoint]], now: float) -> None:
        trains, endpoints = run
        if not trains:
            return
        keypair = self._host.indices.lookup(index)
        if not isinstance(keypair, Keypair):
            self._host.drops.count(DropReason.NO_SUCH_INDEX, sum(train.count for train in trains))
            return
        keypair.peer.receive(keypair, trains, endpoints, now)
        self._peers.reschedule(keypair.peer)

    def _receive_handshake(self, datagram: memoryview, endpoint: Endpoint, now: float) -> None:
        kind = message_type(datagram)
        if kind == MessageType.COOKIE_REPLY:
            self._consume_cookie_reply(datagram, now)
        elif kind == MessageType.CERTIFICATE and self._host.credentials is not None:
            self._certified.consume_answer(datagram, now)
        else:
            self._intake.add(datagram, endpoint, now)

    def _consume_handshake(self, waiting: Waiting, now: float) -> None:
        match message_type(waiting.message):
            case MessageType.HANDSHAKE_INITIATION:
                initiation = parse_initiation(waiting.message)
                assert initiation is not None
                self._consume_initiation(initiation, waiting.endpoint, now)
            case MessageType.CERTIFICATE_REQUEST:
                self._certified.consume_request(waiting, now)
            case MessageType.CERTIFIED_INITIATION:
                self._certified.consume_initiation(waiting, now)
            case _:
                response = parse_response(waiting.message) or parse_certified_response(waiting.message)
                assert response is not None
                self._consume_response(response, waiting.endpoint, now)

    def _consume_initiation(self, message: Initiation, endpoint: Endpoint, now: float) -> None:
        assert self._responder is not None
        incoming = self._responder.consume_initiation(message.ephemeral, message.static)
        if incoming is None:
            self._host.drops.count(DropReason.HANDSHAKE_NOT_AUTHENTIC)
            return
        peer = self._peers.get(incoming.initiator)
        if peer is None:
            self._host.drops.count(DropReason.UNKNOWN_PEER)
            return
        peer.consume_initiation(incoming, message, endpoint, now)
        self._peers.reschedule(peer)

    def _consume_response(self, message: Response | CertifiedResponse, endpoint: Endpoint, now: float) -> None:
        pending = self._host.indices.lookup(message.receiver)
        is_certified = isinstance(message, CertifiedResponse)
        if not isinstance(pending, PendingHandshake) or pending.is_certified != is_certified:
            self._host.drops.count(DropReason.UNEXPECTED_RESPONSE)
            return
        peer = self._peers[pending.public_key]
        if isinstance(message, CertifiedResponse):
            self._certified.consume_response(peer, pending, message, endpoint, now)
        else:
            peer.consume_response(pending, message, endpoint, now)
        self._peers.reschedule(peer)

    def _consume_cookie_reply(self, datagram: memoryview, now: float) -> None:
        message = parse_cookie_reply(datagram)
        if message is None:
            self._host.drops.count(DropReason.MALFORMED_DATAGRAM)
            return
        owner = self._host.indices.lookup(message.receiver)
        if owner is None:
            self._host.drops.count(DropReason.UNEXPECTED_COOKIE)
            return
        if isinstance(owner, Enquiry):
            self._certified.consume_cookie_reply(owner, message, now)
            return
        peer = owner.peer if isinstance(owner, Keypair) else self._peers[owner.public_key]
        peer.handshakes.consume_cookie_reply(message, now)
        self._peers.reschedule(peer)

    # ── identity ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _set_identity(self, private_key: PrivateKey, now: float) -> None:
        """All sessions end with the key they were made under; a peer with our own key is not a peer."""
        identity = None if private_key.is_zero else private_key
        if identity == self._host.identity:
            return
        self._host.identity = identity
        self._intake.identity_changed(identity)
        self._certified.identity_changed(identity)
        self._responder = Responder(identity) if identity else None
        if identity:
            self._peers.remove(identity.public_key, now)
        for peer in self._peers.values():
            peer.identity_changed()
            if self._host.is_up:
                peer.up(now)
                self._peers.reschedule(peer)


def _why_no_route(destination: bytes) -> DropReason:
    if not destination:
        return DropReason.MALFORMED_PACKET
    return DropReason.MULTICAST if ip.is_multicast(destination) else DropReason.NO_ROUTE


def _by_receiver(train: Train) -> list[Train]:
    """The train, if all its datagrams are data of one kind for one receiver; else parts of it of which that is true."""
    if train.count == 1:
        return [train]
    if train.last < TRANSPORT_OVERHEAD:
        return _singles(train)
    parts = [train] if has_one_receiver(train) else split_by_kind(train)
    return [one for part in parts for one in ([part] if _receiver(part) is not None else _singles(part))]


def _singles(train: Train) -> list[Train]:
    return [Train.single(datagram) for datagram in train.datagrams()]


def _receiver(train: Train) -> int | None:
    """The receiver index of its data; None if it is not data."""
    if train.last < TRANSPORT_OVERHEAD:
        return None
    word = int.from_bytes(train.buffer[:8], "little")
    if word & 0xFFFFFFFF != _TRANSPORT_DATA and word & 0xFF != _EXTENDED_DATA:
        return None
    return word >> 32

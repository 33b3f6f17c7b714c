"""One peer: what goes to it and comes from it, its keypairs, and what happens when (WireGuard paper, sections 3 and 6).

The peer takes batches of packets to seal and of datagrams to open, and is told when its deadline has come. What it
makes goes into the `Host`'s lists; what it refuses is counted. It puts together what is described elsewhere: its
handshakes, the path to it, the control frames, which packets go on, and the timers.

    packets  ─ send ──▶ seal under current ──▶ host.datagrams        no keypair: stage, initiate
    datagrams ─ receive ▶ open, replay, source ▶ host.packets        first under next: confirm, flush what is staged
    handshake ─ consume_… ▶ a keypair, next or current ▶ message 2, or what is staged
"""

from collections.abc import Sequence
from math import inf

from tunnel.config.snapshot import PeerSnapshot
from tunnel.endpoint import Endpoint
from tunnel.keys import PublicKey
from tunnel.noise.handshake import IncomingHandshake, TransportKeys
from tunnel.protocol.burst import seal_burst, seal_extended_burst
from tunnel.protocol.control import Control
from tunnel.protocol.events import HandshakeCompleted, HandshakeGaveUp, PeerClosed, SessionExpired
from tunnel.protocol.handshakes import Handshakes, PendingHandshake
from tunnel.protocol.host import Host
from tunnel.protocol.inbound import hand_on
from tunnel.protocol.keypair import Keypair, Keypairs
from tunnel.protocol.opening import open_train
from tunnel.protocol.path import NetworkPath
from tunnel.protocol.probing import PathProbes
from tunnel.protocol.staged import StagedPackets
from tunnel.protocol.stats import DropReason, Drops
from tunnel.protocol.timers import Timer, Timers
from tunnel.protocol.too_big import pieces, tell_sender
from tunnel.protocol.trains import seal_extended_train, seal_train
from tunnel.protocol.transport import MAX_PACKET, SLOT_OVERHEAD
from tunnel.wire import ip
from tunnel.wire.checksum import complete_checksum
from tunnel.wire.control import Capability
from tunnel.wire.messages import TRANSPORT_HEADER_SIZE, ExtendedFlag, Initiation, Response
from tunnel.wire.train import Outbound, Train

MAX_SLICES = 4096
"""More than one superpacket is ever cut into at once."""

_TAKES_PARTIAL = int(Capability.PARTIAL)
_SLICE = int(ExtendedFlag.SLICE)


class Peer:
    """State and behaviour towards one public key. `scheduled` belongs to the device, which keeps our deadline there."""

    def __init__(self, public_key: PublicKey, host: Host) -> None:
        self.public_key = public_key
        self.scheduled = inf
        self.last_handshake: float | None = None
        self.drops = Drops(host.drops)
        self.timers = Timers(host.jitter)
        self.path = NetworkPath(public_key, self.timers, host)
        self.handshakes = Handshakes(self.path, self.drops, host)
        self.probes = PathProbes(self.path, host)
        self.control = Control(self.path, self.probes, self.drops, host)
        self.keypairs = Keypairs()
        self._host = host
        self._staged = StagedPackets()

    # ── the data path ────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, slots: Sequence[memoryview], lengths: Sequence[int], now: float, flags: Sequence[int] = ()) -> None:
        """Seal and send the packets in `slots` (see `tunnel.protocol.transport`), or stage copies of them.

        `flags` is empty, or says of each packet whether its checksum is still partial (`ExtendedFlag`).
        """
        if self.path.endpoint is None:
            self.drops.count(DropReason.NO_ENDPOINT, len(lengths))
            return
        limit = self.path.mtu.limit
        if limit < MAX_PACKET and max(lengths) > limit:
            slots, lengths, flags = self._set_aside(slots, lengths, flags, now)
        self._send(slots, lengths, now, flags)

    def _send(self, slots: Sequence[memoryview], lengths: Sequence[int], now: float, flags: Sequence[int]) -> None:
        """All that fit the path, or must go as they are."""
        if not lengths:
            return
        takes = self.takes(now)
        if flags and (takes is None or not takes & _TAKES_PARTIAL):
            _complete_checksums(slots, lengths, flags)
            flags = ()
        keypair = self.keypairs.current
        if keypair is None or not keypair.can_send(len(lengths), now):
            self.drops.count(DropReason.STAGED_OVERFLOW, self._staged.add(slots, lengths))
            self.handshakes.initiate(now)
            return
        host, longest = self._host, min(self._host.mtu, self.path.mtu.limit)
        if takes is None:
            trains = seal_burst(keypair, slots, lengths, longest, host.burst, host.nonces)
        else:
            flags = flags or bytes(len(lengths))
            trains = seal_extended_burst(keypair, slots, lengths, flags, longest, host.burst, host.nonces)
        self.path.transmit(trains, now)
        if any(lengths):
            self.timers.data_sent(now)
        if now >= self.path.mtu.due:
            self.probes.data_sent(max(lengths), self, keypair, now)
        self.handshakes.rekey_after_sending(keypair, now)

    def takes(self, now: float) -> int | None:
        """What the peer takes just now beyond plain WireGuard (`Capability`); None: no message 5."""
        keypair = self.keypairs.current
        if keypair is None or keypair.extension is None or not keypair.can_send(MAX_SLICES, now):
            return None
        return keypair.takes

    @property
    def limit(self) -> int:
        """The longest inner packet that goes whole in one datagram just now.

        Unless the path is known to be narrow, that is more than the interface ever asks for.
        """
        return self.path.mtu.limit

    def too_big(self, packet: memoryview, now: float) -> None:
        """A packet for the peer, its checksum complete, is longer than `limit`, and cannot be cut as TCP can.

        Its sender is told the limit. What may be fragmented (IPv4 without "don't fragment") is, and goes on; IPv6 that
        has no more than the 1280 bytes which every link must carry goes on as it is.
        """
        if ip.total_length(packet) is None:
            self.drops.count(DropReason.MALFORMED_PACKET)
            return
        parts = pieces(packet, self.limit)
        if parts:
            slots = [bytes(TRANSPORT_HEADER_SIZE) + part + bytes(SLOT_OVERHEAD) for part in parts]
            self._send([memoryview(bytearray(slot)) for slot in slots], [len(part) for part in parts], now, ())
            return
        self.drops.count(DropReason.PATH_TOO_NARROW)
        error = tell_sender(packet, self.limit, self._host.refusals, now)
        if error is not None:
            self._host.packets.append(error)

    def _set_aside(
        self, slots: Sequence[memoryview], lengths: Sequence[int], flags: Sequence[int], now: float
    ) -> tuple[list[memoryview], list[int], list[int]]:
        """What does not fit the path goes to `Host.oversized`; what is left is returned."""
        limit, keypair = self.limit, self.keypairs.current
        fitting = []
        for slot, length, flag in zip(slots, lengths, flags or bytes(len(lengths)), strict=False):
            if length > limit:
                self._host.oversized.append((self, slot, length, flag))
            else:
                fitting.append((slot, length, flag))
        if now >= self.path.mtu.due and keypair is not None and keypair.can_send(1, now):
            self.probes.data_sent(max(lengths), self, keypair, now)
        kept_flags = [flag for _, _, flag in fitting] if flags else []
        return [slot for slot, _, _ in fitting], [length for _, length, _ in fitting], kept_flags

    def send_keepalive(self, now: float) -> None:
        """An empty packet, unless staged packets do as well."""
        if self.path.endpoint is None:
            return
        if not self._staged:
            self.send([memoryview(bytearray(SLOT_OVERHEAD))], [0], now)
        else:
            self.send_staged(now)

    def send_staged(self, now: float) -> None:
        """Send what waits, or go on waiting and see that there is a handshake."""
        if self._staged:
            self.send(*self._staged.take(), now)

    def receive(self, keypair: Keypair, trains: Sequence[Train], endpoints: Sequence[Endpoint], now: float) -> None:
        """Open message 4 datagrams that all came for `keypair`, and hand on what is new, whole and allowed."""
        if not keypair.can_receive(now):
            self.drops.count(DropReason.EXPIRED_KEYPAIR, sum(train.count for train in trains))
            return
        opened: list[Train] = []
        latest: Endpoint | None = None
        for train, endpoint in zip(trains, endpoints, strict=True):
            packets = open_train(keypair, train, self._host.nonces, self.drops.count)
            if packets:
                opened += packets
                latest = endpoint
        if latest is None:
            return
        self.path.authenticated(sum([len(train.buffer) for train in opened]), latest, now)
        self._confirm(keypair, now)
        self.control.say_hello_if_due(keypair, now)
        self.handshakes.rekey_after_receiving(self.keypairs.current, now)
        frames: list[memoryview] = []
        has_data = [hand_on(train, self, self._host, frames, now) for train in opened]
        for frame in frames:
            if self.control.consume(keypair, frame, now):
                self._closed(keypair)
        if any(has_data):
            self.timers.data_received(now)

    def send_train(self, outbound: Outbound, now: float) -> None:
        """The same as `send` for packets of equal size, or slices, that lie in one train, ready to be sealed.

        Slices only if `takes` has just said so.
        """
        if self.path.endpoint is None:
            self.drops.count(DropReason.NO_ENDPOINT, outbound.train.count)
            return
        keypair = self.keypairs.current
        if keypair is None or not keypair.can_send(outbound.train.count, now):
            assert not outbound.segment
            self.send(*outbound.slots(), now)
            return
        if outbound.segment:
            train, _, _, segment, is_end = outbound
            seal_extended_train(keypair, train, self._host.nonces, _SLICE, segment=segment, is_end=is_end)
        elif keypair.takes is None:
            seal_train(keypair, outbound.train, self._host.nonces)
        else:
            seal_extended_train(keypair, outbound.train, self._host.nonces, 0)
        self.path.transmit([outbound.train], now)
        self.timers.data_sent(now)
        if now >= self.path.mtu.due:
            self.probes.data_sent(outbound.packet_length, self, keypair, now)
        self.handshakes.rekey_after_sending(keypair, now)

    # ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────

    def consume_initiation(
        self, incoming: IncomingHandshake, message: Initiation, endpoint: Endpoint, now: float
    ) -> None:
        """Message 1 came in our peer's name: if it is good, we have answered, and wait for data to confirm it."""
        keypair = self.handshakes.consume_initiation(self, incoming, message, endpoint, now)
        if keypair is not None:
            self._add(keypair, now)

    def respond_certified(
        self, incoming: IncomingHandshake, timestamp: bytes, remote_index: int, endpoint: Endpoint, now: float
    ) -> None:
        """Message 18 came, and all that it says was found right: the same."""
        self._add(self.handshakes.respond(self, incoming, timestamp, remote_index, endpoint, now), now)

    def consume_response(self, pending: PendingHandshake, message: Response, endpoint: Endpoint, now: float) -> None:
        """Message 2 came for `pending`: if it is good, there is a new session, which we confirm at once."""
        keypair = self.handshakes.consume_response(self, pending, message, endpoint, now)
        if keypair is not None:
            self._begin(keypair, now)

    def derive_certified(
        self, pending: PendingHandshake, keys: TransportKeys, remote_index: int, endpoint: Endpoint, now: float
    ) -> None:
        """Message 19 came, and all that it says was found right: the same."""
        self._begin(self.handshakes.derive(self, pending, keys, remote_index, endpoint, now), now)

    def _begin(self, keypair: Keypair, now: float) -> None:
        self._add(keypair, now)
        self._complete(keypair, now)
        self.send_keepalive(now)

    def _add(self, keypair: Keypair, now: float) -> None:
        self._forget(self.keypairs.add(keypair))
        self.timers.session_derived(now)

    def _confirm(self, keypair: Keypair, now: float) -> None:
        """Data came under `keypair`; if it is the first under next, the session is ours to use."""
        if keypair is self.keypairs.current:
            return
        identity = self._host.identity
        assert identity is not None
        self.keypairs.prefer(keypair, ours=identity.public_key.raw > self.public_key.raw)
        forgotten = self.keypairs.confirm(keypair)
        if forgotten is not None:
            self._forget(forgotten)
            self.handshakes.forget_pending()  # else its response could still replace what both sides now use
            self._complete(keypair, now)
            self.send_staged(now)

    def _complete(self, keypair: Keypair, now: float) -> None:
        assert self.path.endpoint is not None
        self.handshakes.completed()
        self.last_handshake = now
        self.timers.handshake_completed()
        self._host.events.append(HandshakeCompleted(self.public_key, self.path.endpoint, keypair.is_initiator))

    def _closed(self, keypair: Keypair) -> None:
        """The peer went away: what is older than this keypair is gone with it, a newer session is not."""
        if keypair is self.keypairs.next or keypair is self.keypairs.previous:
            return
        self._forget(self.keypairs.forget_current())
        self.handshakes.wait_no_longer()  # it may be back before the rekey timeout
        self.timers.peer_closed()
        self._host.events.append(PeerClosed(self.public_key))

    def forget_keys(self) -> None:
        """No keypair and no pending handshake is left in any table."""
        self.handshakes.forget_pending()
        self._forget(self.keypairs.forget())

    def _forget(self, keypairs: Sequence[Keypair]) -> None:
        for keypair in keypairs:
            self._host.indices.remove(keypair.local_index)

    # ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def expire(self, now: float) -> None:
        """Handle the timers that are due."""
        for timer in self.timers.take_due(now):
            match timer:
                case Timer.ZERO_KEYS:
                    self._zero_keys()
                case Timer.RETRANSMIT:
                    if not self.handshakes.retransmit(now):
                        self._give_up(now)
                case Timer.NEW_HANDSHAKE:
                    self.path.forget_source()
                    self.handshakes.initiate(now)
                case Timer.SEND_KEEPALIVE:
                    self.send_keepalive(now)
                    self.timers.keepalive_due(now)
                case Timer.PERSISTENT_KEEPALIVE:
                    self.send_keepalive(now)
                case Timer.PATH_PROBE:
                    self.probes.expire(self, now)

    def _zero_keys(self) -> None:
        """All keys go; a handshake under way stays, which after a suspend may have begun a moment ago."""
        if self.timers.is_pending(Timer.RETRANSMIT):
            self._forget(self.keypairs.forget())
        else:
            self.forget_keys()
        self._host.events.append(SessionExpired(self.public_key))

    def _give_up(self, now: float) -> None:
        """No handshake was answered: what waited for one is dropped, the next packet may begin anew."""
        self.timers.handshake_gave_up(now)
        self._host.events.append(HandshakeGaveUp(self.public_key, self._drop_staged()))

    def _drop_staged(self) -> int:
        staged = self._staged.clear()
        self.drops.count(DropReason.HANDSHAKE_GAVE_UP, staged)
        return staged

    # ── what the device tells us ─────────────────────────────────────────────────────────────────────────────────

    def up(self, now: float) -> None:
        """We can reach the peer from now on: the interface is up, its endpoint is known, or we have an identity."""
        self.send_staged(now)
        if self.timers.persistent_keepalive:
            self.send_keepalive(now)

    def down(self, now: float) -> None:
        """Back to the configuration alone: no session, no timer, nothing staged. A peer like us is told."""
        if self.keypairs.current is not None:
            self.control.say_close(self.keypairs.current, now)
        self._drop_staged()
        self.timers.stop()
        self.path.mtu.reset()
        self.forget_keys()
        self.handshakes.wait_no_longer()

    def identity_changed(self) -> None:
        self.handshakes.identity_changed()
        self.forget_keys()

    def set_persistent_keepalive(self, seconds: int, now: float) -> None:
        was_off = not self.timers.persistent_keepalive
        self.timers.persistent_keepalive_changed(seconds)
        if seconds and was_off and self._host.is_up:
            self.send_keepalive(now)

    def snapshot(self, unix_offset: float) -> PeerSnapshot:
        """The state as values; `unix_offset` is Unix time minus `now`, in seconds."""
        current = self.keypairs.current
        extension = None if current is None else current.extension
        return PeerSnapshot(
            public_key=self.public_key,
            preshared_key=self.handshakes.preshared_key,
            endpoint=self.path.endpoint,
            allowed_ips=tuple(self._host.allowed_ips.networks_of(self)),
            persistent_keepalive=self.timers.persistent_keepalive,
            last_handshake=0.0 if self.last_handshake is None else self.last_handshake + unix_offset,
            rx_bytes=self.path.rx_bytes,
            tx_bytes=self.path.tx_bytes,
            drops=self.drops.nonzero(),
            extensions=() if extension is None else tuple(extension.names()),
            path_mtu=self.path.mtu.size if self.path.mtu.is_known else None,
            max_packet=self.path.mtu.max_packet if self.path.mtu.is_narrow else None,
        )


def _complete_checksums(slots: Sequence[memoryview], lengths: Sequence[int], flags: Sequence[int]) -> None:
    for slot, length, flag in zip(slots, lengths, flags, strict=False):
        if flag:
            complete_checksum(slot[TRANSPORT_HEADER_SIZE : TRANSPORT_HEADER_SIZE + length])

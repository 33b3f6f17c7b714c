"""One peer: its handshakes, its keypairs, its timers, and what waits for them (WireGuard paper, sections 5 and 6).

The peer takes batches of packets to seal and of datagrams to open, and is told when its deadline has come. What it
makes goes into the `Host`'s lists; what it refuses is counted there. Both sides may begin a handshake at once: the one
we began stays pending while we answer the other's, so neither has to wait for a retransmission, and both come to agree
on one of the two sessions (see `tunnel.protocol.keypair`).

    packets  ─ send ──▶ seal under current ──▶ host.datagrams        no keypair: stage, initiate
    datagrams ─ receive ▶ open, replay, source ▶ host.packets        first under next: confirm, flush what is staged
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf

from tunnel.config.snapshot import PeerSnapshot
from tunnel.endpoint import Endpoint
from tunnel.keys import NO_PRESHARED_KEY, PrivateKey, PublicKey
from tunnel.noise.handshake import (
    IncomingHandshake,
    Initiator,
    compute_static_shared,
)
from tunnel.protocol.burst import seal_burst, seal_extended_burst
from tunnel.protocol.constants import (
    INITIATIONS_PER_SECOND,
    KEEPALIVE_TIMEOUT,
    MAX_HANDSHAKE_ATTEMPTS,
    REJECT_AFTER_TIME,
    REKEY_AFTER_MESSAGES,
    REKEY_AFTER_TIME,
    REKEY_TIMEOUT,
)
from tunnel.protocol.cookie import CookieGenerator
from tunnel.protocol.events import (
    HandshakeCompleted,
    HandshakeGaveUp,
    HandshakeUnanswered,
    PeerClosed,
    PeerRoamed,
    SessionExpired,
)
from tunnel.protocol.host import Host
from tunnel.protocol.keypair import Keypair, Keypairs
from tunnel.protocol.opening import open_train
from tunnel.protocol.staged import StagedPackets
from tunnel.protocol.stats import DropReason, Drops
from tunnel.protocol.timers import Timer, Timers
from tunnel.protocol.trains import has_one_source, has_uniform_packets, seal_extended_train, seal_train
from tunnel.protocol.transport import SLOT_OVERHEAD, seal
from tunnel.wire import ip
from tunnel.wire.checksum import complete_checksum
from tunnel.wire.control import (
    Capability,
    ControlKind,
    Hello,
    is_control,
    pack_close,
    pack_hello,
    parse_hello,
)
from tunnel.wire.messages import (
    INITIATION_SIZE,
    RESPONSE_SIZE,
    TAG_SIZE,
    TRANSPORT_HEADER_SIZE,
    CookieReply,
    ExtendedFlag,
    Initiation,
    MessageType,
    Response,
    pack_initiation,
    pack_response,
)
from tunnel.wire.tai64n import is_tagged, tag_stamp
from tunnel.wire.train import Outbound, Train

MAX_SLICES = 4096
"""More than one superpacket is ever cut into at once."""


class PendingHandshake:
    """An initiation that we sent and whose response may still come."""

    __slots__ = ("initiator", "local_index", "offered", "peer")

    def __init__(self, peer: "Peer", initiator: Initiator, offered: Capability | None) -> None:
        self.peer = peer
        self.initiator = initiator
        self.local_index = 0
        self.offered = offered


class Peer:
    """State and behaviour towards one public key. `scheduled` belongs to the device, which keeps our deadline there."""

    def __init__(self, public_key: PublicKey, host: Host) -> None:
        self.public_key = public_key
        self.preshared_key = NO_PRESHARED_KEY
        self.endpoint: Endpoint | None = None
        self.timers = Timers(host.jitter)
        self.scheduled = inf
        self.rx_bytes = 0
        self.tx_bytes = 0
        self.last_handshake: float | None = None
        self.drops = Drops()
        self.keypairs = Keypairs()
        self._host = host
        self._cookie = CookieGenerator(public_key)
        self._static_shared: bytes | None = None
        self._pending: PendingHandshake | None = None
        self._staged = StagedPackets()
        self._latest_timestamp = b""
        self._last_initiation_consumed = -inf
        self._last_handshake_sent = -inf
        self._attempts = 0
        self._unanswered = 0
        self._has_asked_for_last_minute_handshake = False

    # ── the data path ────────────────────────────────────────────────────────────────────────────────────────────

    def send(self, slots: Sequence[memoryview], lengths: Sequence[int], now: float, flags: Sequence[int] = ()) -> None:
        """Seal and send the packets in `slots` (see `tunnel.protocol.transport`), or stage copies of them.

        `flags` is empty, or says of each packet whether its checksum is still partial (`ExtendedFlag`).
        """
        if self.endpoint is None:
            self._drop(DropReason.NO_ENDPOINT, len(lengths))
            return
        takes = self.takes(now)
        if flags and (takes is None or not takes & Capability.PARTIAL):
            _complete_checksums(slots, lengths, flags)
            flags = ()
        keypair = self.keypairs.current
        if keypair is None or not keypair.can_send(len(lengths), now):
            self._drop(DropReason.STAGED_OVERFLOW, self._staged.add(slots, lengths))
            self.initiate(now)
            return
        host = self._host
        if takes is None:
            trains = seal_burst(keypair, slots, lengths, host.mtu, host.burst, host.nonces)
        else:
            trains = seal_extended_burst(keypair, slots, lengths, flags or bytes(len(lengths)), host.burst, host.nonces)
        self._transmit(trains, now)
        if any(lengths):
            self.timers.data_sent(now)
        self._renew(keypair, now)

    def takes(self, now: float) -> Capability | None:
        """What the peer takes just now beyond plain WireGuard; None: no message 5."""
        keypair = self.keypairs.current
        if keypair is None or keypair.extension is None or not keypair.can_send(MAX_SLICES, now):
            return None
        return keypair.takes

    def send_keepalive(self, now: float) -> None:
        """An empty packet, unless staged packets do as well."""
        if self.endpoint is None:
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
            self._drop(DropReason.EXPIRED_KEYPAIR, sum(train.count for train in trains))
            return
        opened: list[Train] = []
        latest: Endpoint | None = None
        for train, endpoint in zip(trains, endpoints, strict=True):
            packets = open_train(keypair, train, self._host.nonces, self._drop)
            if packets:
                opened += packets
                latest = endpoint
        if latest is None:
            return
        self.rx_bytes += sum(len(train.buffer) for train in opened)
        self._authenticated(latest, now)
        self._confirm(keypair, now)
        self._say_hello(keypair, now)
        self._ask_for_last_minute_handshake(now)
        has_data = [self._hand_on(keypair, train, now) for train in opened]
        if any(has_data):
            self.timers.data_received(now)

    def send_train(self, outbound: Outbound, now: float) -> None:
        """The same as `send` for packets of equal size, or slices, that lie in one train, ready to be sealed.

        Slices only if `takes` has just said so.
        """
        if self.endpoint is None:
            self._drop(DropReason.NO_ENDPOINT, outbound.train.count)
            return
        keypair = self.keypairs.current
        if keypair is None or not keypair.can_send(outbound.train.count, now):
            assert not outbound.segment
            self.send(*outbound.slots(), now)
            return
        if outbound.segment:
            flags, is_end = int(ExtendedFlag.SLICE), outbound.is_end
            train, nonces = outbound.train, self._host.nonces
            seal_extended_train(keypair, train, nonces, flags, segment=outbound.segment, is_end=is_end)
        elif keypair.takes is None:
            seal_train(keypair, outbound.train, self._host.nonces)
        else:
            seal_extended_train(keypair, outbound.train, self._host.nonces, 0)
        self._transmit([outbound.train], now)
        self.timers.data_sent(now)
        self._renew(keypair, now)

    def _transmit(self, trains: Sequence[Train], now: float) -> None:
        endpoint = self.endpoint
        assert endpoint is not None
        self._host.datagrams.extend([(train, endpoint) for train in trains])
        self.tx_bytes += sum([len(train.buffer) for train in trains])
        self.timers.any_authenticated_packet_sent()
        self.timers.any_authenticated_packet_traversed(now)

    def _renew(self, keypair: Keypair, now: float) -> None:
        """Something went out under `keypair`: if it is old, or has sealed much, begin the next."""
        if keypair.send_counter > REKEY_AFTER_MESSAGES or (
            keypair.is_initiator and now - keypair.created >= REKEY_AFTER_TIME
        ):
            self.initiate(now)

    def _hand_on(self, keypair: Keypair, train: Train, now: float) -> bool:
        """Give the packets whose source we allow to the host; return whether any was more than a keepalive."""
        if train.count == 1:
            return self._hand_on_single(keypair, train, now)
        if _is_sliced(train):
            is_uniform = has_one_source(train)
        else:
            first = train.buffer[TRANSPORT_HEADER_SIZE : train.size - TAG_SIZE]
            last = train.buffer[-train.last :][TRANSPORT_HEADER_SIZE:-TAG_SIZE]
            is_uniform = has_uniform_packets(train) and None not in (ip.total_length(first), ip.total_length(last))
        if is_uniform:
            self._hand_on_allowed(train)
            return True
        has_data = [self._hand_on_single(keypair, Train.single(datagram), now) for datagram in train.datagrams()]
        return any(has_data)

    def _hand_on_single(self, keypair: Keypair, single: Train, now: float) -> bool:
        packet = single.buffer[TRANSPORT_HEADER_SIZE : single.size - TAG_SIZE]
        if not packet:
            return False
        if is_control(packet):
            self._consume_control(keypair, packet, now)
            return False
        if ip.total_length(packet) is None and not _is_sliced(single):
            self._drop(DropReason.MALFORMED_PACKET)
        else:
            self._hand_on_allowed(single)
        return True

    def _hand_on_allowed(self, train: Train) -> None:
        """All of one source; whether slices are sound is seen where they are put together."""
        source = ip.source(train.buffer[TRANSPORT_HEADER_SIZE : train.size - TAG_SIZE])
        if source and self._host.allowed_ips.lookup(source) is self:
            self._host.packets.append(train)
        else:
            self._drop(DropReason.SOURCE_NOT_ALLOWED, train.count)

    # ── extensions ───────────────────────────────────────────────────────────────────────────────────────────────

    def _say_hello(self, keypair: Keypair, now: float, *, is_answer: bool = False) -> None:
        """Tell the peer what we take, if it is like us and does not know yet, or has asked."""
        extension = keypair.extension
        if extension is not None and (is_answer or extension.is_hello_due(now)):
            extension.hello_sent(now)
            self._send_control(keypair, pack_hello(Hello(extension.offered, self._host.mtu)), now)

    def _consume_control(self, keypair: Keypair, frame: memoryview, now: float) -> None:
        extension = keypair.extension
        hello = parse_hello(frame)
        if extension is None:
            self._drop(DropReason.UNEXPECTED_CONTROL)
        elif hello is not None:
            extension.consume_hello(hello)
            if keypair.is_initiator:
                self._say_hello(keypair, now, is_answer=True)
        elif frame[0] == ControlKind.CLOSE:
            self._closed(keypair)
        else:
            self._drop(DropReason.UNEXPECTED_CONTROL)

    def _closed(self, keypair: Keypair) -> None:
        """The peer went away: what is older than this keypair is gone with it, a newer session is not."""
        if keypair is self.keypairs.next or keypair is self.keypairs.previous:
            return
        self._forget(self.keypairs.forget_current())
        self._last_handshake_sent = -inf  # it may be back before the rekey timeout
        self.timers.peer_closed()
        self._host.events.append(PeerClosed(self.public_key))

    def _close(self, now: float) -> None:
        """Tell the peer that we go away, if it understands that."""
        keypair = self.keypairs.current
        if keypair is not None and keypair.takes is not None and keypair.can_send(1, now):
            self._send_control(keypair, pack_close(), now)

    def _send_control(self, keypair: Keypair, frame: bytes, now: float) -> None:
        """Control frames are message 4, also between those who speak message 5."""
        if self.endpoint is not None and keypair.can_send(1, now):
            slot = memoryview(bytearray(len(frame) + SLOT_OVERHEAD))
            slot[TRANSPORT_HEADER_SIZE : TRANSPORT_HEADER_SIZE + len(frame)] = frame
            (datagram,) = seal(keypair, [slot], [len(frame)], self._host.mtu)
            self._transmit([Train.single(datagram)], now)

    # ── handshakes ───────────────────────────────────────────────────────────────────────────────────────────────

    def initiate(self, now: float, *, is_retry: bool = False) -> None:
        """Send message 1, unless one of ours went out within the rekey timeout."""
        host = self._host
        if host.identity is None or not host.is_up or self.endpoint is None:
            return
        if not is_retry:
            self._attempts = 0
        if now - self._last_handshake_sent < REKEY_TIMEOUT:
            self.timers.handshake_postponed(now)
            return
        shared = self._shared_with_us()
        if shared is None:
            return
        self._last_handshake_sent = now
        initiator = Initiator(
            host.identity,
            self.public_key,
            self.preshared_key,
            PrivateKey.generate(host.rng),
            static_shared=shared,
        )
        self._forget_pending()
        self._pending = PendingHandshake(self, initiator, host.offered)
        self._pending.local_index = host.indices.insert(self._pending)
        stamp = host.stamp() if host.offered is None else tag_stamp(host.stamp())
        ephemeral, static, timestamp = initiator.create_initiation(stamp)
        self._send_handshake(pack_initiation(Initiation(self._pending.local_index, ephemeral, static, timestamp)), now)
        self.timers.handshake_initiated(now)

    def consume_initiation(
        self, incoming: IncomingHandshake, message: Initiation, endpoint: Endpoint, now: float
    ) -> None:
        """Message 1 came in our peer's name: if it is from them and new, send message 2."""
        shared = self._shared_with_us()
        timestamp = incoming.consume_timestamp(shared, message.timestamp) if shared is not None else None
        if timestamp is None:
            self._drop(DropReason.HANDSHAKE_NOT_AUTHENTIC)
        elif timestamp <= self._latest_timestamp:
            self._drop(DropReason.REPLAYED_HANDSHAKE)
        elif now - self._last_initiation_consumed < 1 / INITIATIONS_PER_SECOND:
            self._drop(DropReason.HANDSHAKE_FLOOD)
        else:
            self._latest_timestamp = timestamp
            self._last_initiation_consumed = now
            self.rx_bytes += INITIATION_SIZE
            self._authenticated(endpoint, now)
            self._respond(incoming, message.sender, self._host.offered if is_tagged(timestamp) else None, now)

    def consume_response(self, pending: PendingHandshake, message: Response, endpoint: Endpoint, now: float) -> None:
        """Message 2 came for `pending`: a new session, which we confirm at once."""
        keys = pending.initiator.consume_response(message.ephemeral, message.nothing)
        if keys is None:
            self._drop(DropReason.HANDSHAKE_NOT_AUTHENTIC)
            return
        self._pending = None
        self.rx_bytes += RESPONSE_SIZE
        keypair = Keypair(
            self,
            keys,
            local_index=pending.local_index,
            remote_index=message.sender,
            is_initiator=True,
            now=now,
            offered=pending.offered,
        )
        self._host.indices.replace(keypair.local_index, keypair)
        self._add(keypair, now)
        self._authenticated(endpoint, now)
        self._complete(keypair, now)
        self.send_keepalive(now)

    def consume_cookie_reply(self, message: CookieReply, now: float) -> None:
        """Message 3 came for our pending handshake or a keypair: the next handshake message carries the cookie."""
        if not self._cookie.consume_reply(message, now):
            self._drop(DropReason.UNEXPECTED_COOKIE)

    def _shared_with_us(self) -> bytes | None:
        """X25519 of the two static keys, computed once; None for a low-order public key, which nobody can hold."""
        if self._static_shared is None and self._host.identity is not None:
            self._static_shared = compute_static_shared(self._host.identity, self.public_key)
        return self._static_shared

    def _respond(self, incoming: IncomingHandshake, remote_index: int, offered: Capability | None, now: float) -> None:
        host = self._host
        ephemeral, nothing, keys = incoming.create_response(PrivateKey.generate(host.rng), self.preshared_key)
        keypair = Keypair(
            self, keys, local_index=0, remote_index=remote_index, is_initiator=False, now=now, offered=offered
        )
        keypair.local_index = host.indices.insert(keypair)
        self._add(keypair, now)
        self._last_handshake_sent = now
        self._send_handshake(pack_response(Response(keypair.local_index, remote_index, ephemeral, nothing)), now)

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
            self._forget_pending()  # else its response could still replace what both sides now use
            self._complete(keypair, now)
            self.send_staged(now)

    def _complete(self, keypair: Keypair, now: float) -> None:
        assert self.endpoint is not None
        self._attempts = 0
        self._unanswered = 0
        self._has_asked_for_last_minute_handshake = False
        self.last_handshake = now
        self.timers.handshake_completed()
        self._host.events.append(HandshakeCompleted(self.public_key, self.endpoint, keypair.is_initiator))

    def _ask_for_last_minute_handshake(self, now: float) -> None:
        """We only receive, and the session that we began is about to be rejected: renew it in time."""
        keypair = self.keypairs.current
        if (
            keypair is not None
            and keypair.is_initiator
            and not self._has_asked_for_last_minute_handshake
            and now - keypair.created >= REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
        ):
            self._has_asked_for_last_minute_handshake = True
            self.initiate(now)

    def _send_handshake(self, message: bytes, now: float) -> None:
        assert self.endpoint is not None
        datagram = self._cookie.add_macs(message, now)
        self._host.datagrams.append((Train.single(memoryview(datagram)), self.endpoint))
        self.tx_bytes += len(datagram)
        self.timers.any_authenticated_packet_sent()
        self.timers.any_authenticated_packet_traversed(now)

    def _authenticated(self, endpoint: Endpoint, now: float) -> None:
        """Something authentic came from `endpoint`: that is where the peer is now."""
        self.timers.any_authenticated_packet_received()
        self.timers.any_authenticated_packet_traversed(now)
        before = self.endpoint
        if before == endpoint:
            return
        self.endpoint = endpoint
        if before is None or (before.host, before.port) != (endpoint.host, endpoint.port):
            self._host.events.append(PeerRoamed(self.public_key, before, endpoint))

    # ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def expire(self, now: float) -> None:
        """Handle the timers that are due."""
        for timer in self.timers.take_due(now):
            match timer:
                case Timer.ZERO_KEYS:
                    self._zero_keys()
                case Timer.RETRANSMIT:
                    self._retransmit(now)
                case Timer.NEW_HANDSHAKE:
                    self._forget_source()
                    self.initiate(now)
                case Timer.SEND_KEEPALIVE:
                    self.send_keepalive(now)
                    self.timers.keepalive_due(now)
                case Timer.PERSISTENT_KEEPALIVE:
                    self.send_keepalive(now)

    def up(self, now: float) -> None:
        """We can reach the peer from now on: the interface is up, its endpoint is known, or we have an identity."""
        self.send_staged(now)
        if self.timers.persistent_keepalive:
            self.send_keepalive(now)

    def look_elsewhere(self, now: float) -> None:
        """We were given another endpoint: a handshake under way begins there at once, and not with its next retry."""
        if self._pending is not None and self.timers.is_pending(Timer.RETRANSMIT):
            self._last_handshake_sent = -inf
            self.initiate(now, is_retry=True)

    def down(self, now: float) -> None:
        """Back to the configuration alone: no session, no timer, nothing staged. A peer like us is told."""
        self._close(now)
        self._drop_staged()
        self.timers.stop()
        self.forget_keys()
        self._last_handshake_sent = -inf

    def forget_keys(self) -> None:
        """No keypair and no pending handshake is left in any table."""
        self._forget_pending()
        self._forget(self.keypairs.forget())

    def identity_changed(self) -> None:
        self._static_shared = None
        self.forget_keys()
        self._last_handshake_sent = -inf

    def set_persistent_keepalive(self, seconds: int, now: float) -> None:
        was_off = not self.timers.persistent_keepalive
        self.timers.persistent_keepalive_changed(seconds)
        if seconds and was_off and self._host.is_up:
            self.send_keepalive(now)

    def snapshot(self, unix_offset: float) -> PeerSnapshot:
        current = self.keypairs.current
        return PeerSnapshot(
            public_key=self.public_key,
            preshared_key=self.preshared_key,
            endpoint=self.endpoint,
            allowed_ips=tuple(self._host.allowed_ips.networks_of(self)),
            persistent_keepalive=self.timers.persistent_keepalive,
            last_handshake=0.0 if self.last_handshake is None else self.last_handshake + unix_offset,
            rx_bytes=self.rx_bytes,
            tx_bytes=self.tx_bytes,
            drops=self.drops.nonzero(),
            extensions=tuple(current.extension.names())
            if current is not None and current.extension is not None
            else (),
        )

    def _drop(self, reason: DropReason, times: int = 1) -> None:
        self.drops.count(reason, times)
        self._host.drops.count(reason, times)

    def _zero_keys(self) -> None:
        """All keys go; a handshake under way stays, which after a suspend may have begun a moment ago."""
        if self.timers.is_pending(Timer.RETRANSMIT):
            self._forget(self.keypairs.forget())
        else:
            self.forget_keys()
        self._host.events.append(SessionExpired(self.public_key))

    def _retransmit(self, now: float) -> None:
        if self._pending is None:
            self.initiate(now)  # postponed because we had just responded: nothing of ours went unanswered
            return
        self._attempts += 1
        self._unanswered += 1
        if self._attempts > MAX_HANDSHAKE_ATTEMPTS:
            staged = self._drop_staged()
            self.timers.handshake_gave_up(now)
            self._host.events.append(HandshakeGaveUp(self.public_key, staged))
            return
        self._forget_source()
        self._host.events.append(HandshakeUnanswered(self.public_key, self._unanswered))
        self.initiate(now, is_retry=True)

    def _forget_source(self) -> None:
        """We hear nothing: perhaps our own address is gone; let the kernel choose again."""
        if self.endpoint is not None and self.endpoint.source is not None:
            self.endpoint = replace(self.endpoint, source=None)

    def _drop_staged(self) -> int:
        staged = self._staged.clear()
        self._drop(DropReason.HANDSHAKE_GAVE_UP, staged)
        return staged

    def _forget_pending(self) -> None:
        if self._pending is not None:
            self._host.indices.remove(self._pending.local_index)
            self._pending = None

    def _forget(self, keypairs: Sequence[Keypair]) -> None:
        for keypair in keypairs:
            self._host.indices.remove(keypair.local_index)


def _is_sliced(train: Train) -> bool:
    return train.buffer[0] == MessageType.EXTENDED_DATA and bool(train.buffer[1] & ExtendedFlag.SLICE)


def _complete_checksums(slots: Sequence[memoryview], lengths: Sequence[int], flags: Sequence[int]) -> None:
    for slot, length, flag in zip(slots, lengths, flags, strict=False):
        if flag:
            complete_checksum(slot[TRANSPORT_HEADER_SIZE : TRANSPORT_HEADER_SIZE + length])

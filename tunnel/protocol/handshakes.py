"""The handshakes with one peer: messages 1 to 3, both ways, and when to begin (WireGuard paper, sections 5.4 and 6).

    no keypair, or an old one ─ initiate ───────────▶ message 1, pending       not within 5 s of the last one
    pending, no response ─ retransmit ──────────────▶ message 1 anew           until 90 s have passed: give up
    message 1 ─ consume_initiation ─▶ message 2 ────▶ a keypair that the first data will confirm
    message 2 ─ consume_response ───────────────────▶ a keypair to send with at once
    message 3 ─ consume_cookie_reply ───────────────▶ what the next message 1 or 2 carries as MAC2

With a peer that has shown a certificate (`chain`) these are messages 18 and 19, which show ours; what they show is for
`tunnel.protocol.certified` to have judged, between the steps in which it drives us.

Both sides may begin at once: the handshake we began stays pending while we answer the other's, so neither has to wait
for a retransmission. What becomes of the keypairs is the peer's business (`tunnel.protocol.keypair`).
"""

from math import inf
from typing import TYPE_CHECKING

from tunnel.endpoint import Endpoint
from tunnel.keys import NO_PRESHARED_KEY, PrivateKey, PublicKey
from tunnel.noise.handshake import (
    CERTIFIED,
    WIREGUARD,
    IncomingHandshake,
    Initiator,
    Protocol,
    TransportKeys,
    compute_static_shared,
)
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
from tunnel.protocol.credentials import Chain
from tunnel.protocol.events import HandshakeUnanswered
from tunnel.protocol.host import Host
from tunnel.protocol.keypair import Keypair
from tunnel.protocol.path import NetworkPath
from tunnel.protocol.stats import DropReason, Drops
from tunnel.protocol.timers import Timer
from tunnel.wire.certified import (
    CERTIFIED_SIZE,
    INITIATION_CHAIN_SIZE,
    RESPONSE_CHAIN_SIZE,
    CertifiedInitiation,
    CertifiedResponse,
    pack_certified_initiation,
    pack_certified_response,
    pack_chain,
)
from tunnel.wire.control import Capability
from tunnel.wire.messages import (
    INITIATION_SIZE,
    RESPONSE_SIZE,
    CookieReply,
    Initiation,
    Response,
    pack_initiation,
    pack_response,
)
from tunnel.wire.tai64n import is_tagged, tag_stamp
from tunnel.wire.train import Train

if TYPE_CHECKING:
    from tunnel.protocol.peer import Peer


class PendingHandshake:
    """An initiation that we sent to `public_key` and whose response may still come: message 19 if `is_certified`."""

    __slots__ = ("initiator", "is_certified", "local_index", "offered", "public_key", "sent_at")

    def __init__(
        self, public_key: PublicKey, initiator: Initiator, offered: Capability | None, is_certified: bool, now: float
    ) -> None:
        self.public_key = public_key
        self.initiator = initiator
        self.local_index = 0
        self.offered = offered
        self.is_certified = is_certified
        self.sent_at = now


class Handshakes:
    """`pending` is the one we began last, if it may still be answered; `chain` what the peer has shown, if it did.

    Nothing here leads back to the peer, so that the secrets in here go when the peer is removed, and not some time
    later: whoever consumes a message says which peer the keypair is to be of.
    """

    __slots__ = (
        "_attempts",
        "_cookie",
        "_drops",
        "_has_asked_in_the_last_minute",
        "_host",
        "_last_hastened",
        "_last_initiation_consumed",
        "_last_sent",
        "_latest_timestamp",
        "_path",
        "_static_shared",
        "_unanswered",
        "chain",
        "pending",
        "preshared_key",
    )

    def __init__(self, path: NetworkPath, drops: Drops, host: Host) -> None:
        self.preshared_key = NO_PRESHARED_KEY
        self.pending: PendingHandshake | None = None
        self.chain: Chain = ()
        self._path = path
        self._drops = drops
        self._host = host
        self._cookie = CookieGenerator(path.public_key)
        self._static_shared: bytes | None = None
        self._latest_timestamp = b""
        self._last_initiation_consumed = -inf
        self._last_hastened = -inf
        self._last_sent = -inf
        self._attempts = 0
        self._unanswered = 0
        self._has_asked_in_the_last_minute = False

    @property
    def is_certified(self) -> bool:
        """Whether those that we begin carry certificates."""
        return bool(self.chain) and self._host.credentials is not None

    # ── beginning one ────────────────────────────────────────────────────────────────────────────────────────────

    def initiate(self, now: float, *, is_retry: bool = False) -> None:
        """Send message 1, unless one of ours went out within the rekey timeout."""
        host, path = self._host, self._path
        if host.identity is None or not host.is_up or path.endpoint is None:
            return
        if not is_retry:
            self._attempts = 0
        if now - self._last_sent < REKEY_TIMEOUT:
            path.timers.handshake_postponed(now)
            return
        if not is_retry and self._last_sent > -inf and path.timers.is_pending(Timer.RETRANSMIT):
            return  # or else whoever has packets to send would never hear that nobody answers
        shared = self._shared_with_us()
        if shared is None:
            return
        protocol = CERTIFIED if self.is_certified else WIREGUARD
        initiator = Initiator(
            host.identity,
            path.public_key,
            self.preshared_key,
            self._new_ephemeral(protocol),
            static_shared=shared,
            protocol=protocol,
        )
        self._send_initiation(initiator, now)

    def retransmit(self, now: float) -> bool:
        """No response came in time: send message 1 anew. False: that was done often enough, give up."""
        if self.pending is None:
            self.initiate(now)  # postponed because we had just responded: nothing of ours went unanswered
            return True
        self._attempts += 1
        self._unanswered += 1
        if self._attempts > MAX_HANDSHAKE_ATTEMPTS:
            return False
        self._path.forget_source()
        self._host.events.append(HandshakeUnanswered(self._path.public_key, self._unanswered))
        self.initiate(now, is_retry=True)
        return True

    def look_elsewhere(self, now: float) -> None:
        """We were given another endpoint: a handshake under way begins there at once, and not with its next retry."""
        if self.pending is not None and self._path.timers.is_pending(Timer.RETRANSMIT):
            self.wait_no_longer()
            self.initiate(now, is_retry=True)

    def rekey_after_sending(self, keypair: Keypair, now: float) -> None:
        """Something went out under `keypair`: if it is old, or has sealed much, begin the next."""
        if keypair.send_counter > REKEY_AFTER_MESSAGES or (
            keypair.is_initiator and now - keypair.created >= REKEY_AFTER_TIME
        ):
            self.initiate(now)

    def rekey_after_receiving(self, current: Keypair | None, now: float) -> None:
        """We only receive, and the session that we began is about to be rejected: renew it in time."""
        if (
            current is not None
            and current.is_initiator
            and not self._has_asked_in_the_last_minute
            and now - current.created >= REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT
        ):
            self._has_asked_in_the_last_minute = True
            self.initiate(now)

    # ── messages that came ───────────────────────────────────────────────────────────────────────────────────────

    def consume_initiation(
        self, peer: "Peer", incoming: IncomingHandshake, message: Initiation, endpoint: Endpoint, now: float
    ) -> Keypair | None:
        """Message 1 came in the name of `peer`: if it is from them and new, send message 2."""
        timestamp = self.open_payload(incoming, message.timestamp)
        if timestamp is None or not self.is_new(timestamp, now):
            return None
        return self.respond(peer, incoming, timestamp, message.sender, endpoint, now)

    def open_payload(self, incoming: IncomingHandshake, sealed: bytes) -> bytes | None:
        """The timestamp of message 1 or 18, and what follows it; None, and counted, if it is not from our peer."""
        shared = self._shared_with_us()
        payload = incoming.consume_timestamp(shared, sealed) if shared is not None else None
        if payload is None:
            self._drops.count(DropReason.HANDSHAKE_NOT_AUTHENTIC)
        return payload

    def is_new(self, timestamp: bytes, now: float) -> bool:
        """Whether an initiation with this timestamp is neither an old one nor one too many; counted if it is."""
        if timestamp <= self._latest_timestamp:
            self._drops.count(DropReason.REPLAYED_HANDSHAKE)
        elif now - self._last_initiation_consumed < 1 / INITIATIONS_PER_SECOND:
            self._drops.count(DropReason.HANDSHAKE_FLOOD)
        else:
            return True
        return False

    def consumed(self, timestamp: bytes, now: float) -> None:
        """An initiation with this timestamp was new, whatever came of it: now it is not any more."""
        self._latest_timestamp = timestamp
        self._last_initiation_consumed = now

    def respond(
        self,
        peer: "Peer",
        incoming: IncomingHandshake,
        timestamp: bytes,
        remote_index: int,
        endpoint: Endpoint,
        now: float,
    ) -> Keypair:
        """Answer an initiation that is authentic and new. After a plain one, those that we begin are plain too."""
        self.consumed(timestamp, now)
        if incoming.protocol is not CERTIFIED:
            self.chain = ()
        self._path.authenticated(CERTIFIED_SIZE if incoming.protocol is CERTIFIED else INITIATION_SIZE, endpoint, now)
        offered = self._host.offered if is_tagged(timestamp) else None
        return self._send_response(peer, incoming, remote_index, offered, now)

    def consume_response(
        self, peer: "Peer", pending: PendingHandshake, message: Response, endpoint: Endpoint, now: float
    ) -> Keypair | None:
        """Message 2 came for `pending`: a new session, if it is authentic, under the same index."""
        keys = self.open_response(pending, message.ephemeral, message.nothing)
        return None if keys is None else self.derive(peer, pending, keys, message.sender, endpoint, now)

    def open_response(self, pending: PendingHandshake, ephemeral: bytes, sealed: bytes) -> TransportKeys | None:
        """What message 2 or 19 gives; None, and counted, if it is not from our peer."""
        keys = pending.initiator.consume_response(ephemeral, sealed)
        if keys is None:
            self._drops.count(DropReason.HANDSHAKE_NOT_AUTHENTIC)
        return keys

    def derive(
        self,
        peer: "Peer",
        pending: PendingHandshake,
        keys: TransportKeys,
        remote_index: int,
        endpoint: Endpoint,
        now: float,
    ) -> Keypair:
        """The session that an authentic response makes."""
        keypair = Keypair(
            peer,
            keys,
            local_index=pending.local_index,
            remote_index=remote_index,
            is_initiator=True,
            now=now,
            offered=pending.offered,
        )
        self.pending = None
        self._host.indices.replace(keypair.local_index, keypair)
        self._path.authenticated(CERTIFIED_SIZE if pending.is_certified else RESPONSE_SIZE, endpoint, now)
        return keypair

    def consume_cookie_reply(self, message: CookieReply, now: float) -> None:
        """Message 3 came for our pending handshake or a keypair: the next handshake message carries the cookie.

        Who wants to see a cookie before it looks at a certificate need not be kept waiting: one goes back at once, and
        the next not before the rekey timeout.
        """
        if not self._cookie.consume_reply(message, now):
            self._drops.count(DropReason.UNEXPECTED_COOKIE)
        elif self.pending is not None and self.pending.is_certified and now - self._last_hastened >= REKEY_TIMEOUT:
            self._last_hastened = now
            self.wait_no_longer()
            self.initiate(now, is_retry=True)

    # ── what the peer tells us ───────────────────────────────────────────────────────────────────────────────────

    def keep_cookie(self, cookie: bytes, now: float) -> None:
        """A cookie of the peer's that came with its certificate."""
        self._cookie.keep(cookie, now)

    def completed(self) -> None:
        """There is a new session to use."""
        self._attempts = 0
        self._unanswered = 0
        self._has_asked_in_the_last_minute = False

    def wait_no_longer(self) -> None:
        """The next message 1 may go out before the rekey timeout."""
        self._last_sent = -inf

    def forget_pending(self) -> None:
        """No response will be accepted any more."""
        if self.pending is not None:
            self._host.indices.remove(self.pending.local_index)
            self.pending = None

    def identity_changed(self) -> None:
        """We have another private key, or none: what was made with the last one is void."""
        self._static_shared = None
        self.forget_pending()
        self.wait_no_longer()

    # ── messages that go ─────────────────────────────────────────────────────────────────────────────────────────

    def _send_initiation(self, initiator: Initiator, now: float) -> None:
        host = self._host
        self.forget_pending()
        pending = PendingHandshake(self._path.public_key, initiator, host.offered, self.is_certified, now)
        self.pending = pending
        index = pending.local_index = host.indices.insert(pending)
        stamp = host.stamp() if host.offered is None else tag_stamp(host.stamp())
        if self.is_certified:
            payload = stamp + self._cookie.cookie(now) + pack_chain(self._own_chain(), INITIATION_CHAIN_SIZE)
            message = pack_certified_initiation(CertifiedInitiation(index, *initiator.create_initiation(payload)))
        else:
            message = pack_initiation(Initiation(index, *initiator.create_initiation(stamp)))
        self._send(message, now)
        self._path.timers.handshake_initiated(now)

    def _send_response(
        self, peer: "Peer", incoming: IncomingHandshake, remote_index: int, offered: Capability | None, now: float
    ) -> Keypair:
        host = self._host
        is_certified = incoming.protocol is CERTIFIED
        payload = pack_chain(self._own_chain(), RESPONSE_CHAIN_SIZE) if is_certified else b""
        ephemeral = self._new_ephemeral(incoming.protocol)
        public, sealed, keys = incoming.create_response(ephemeral, self.preshared_key, payload)
        keypair = Keypair(
            peer, keys, local_index=0, remote_index=remote_index, is_initiator=False, now=now, offered=offered
        )
        keypair.local_index = host.indices.insert(keypair)
        if is_certified:
            message = pack_certified_response(CertifiedResponse(keypair.local_index, remote_index, public, sealed))
        else:
            message = pack_response(Response(keypair.local_index, remote_index, public, sealed))
        self._send(message, now)
        return keypair

    def _new_ephemeral(self, protocol: Protocol) -> PrivateKey:
        """A key for one handshake. What reads key logs knows WireGuard only, so no other handshake's key gets there."""
        ephemeral = PrivateKey.generate(self._host.rng)
        if self._host.key_log is not None and protocol is WIREGUARD:
            self._host.key_log(self._path.public_key, ephemeral, self.preshared_key)
        return ephemeral

    def _own_chain(self) -> Chain:
        assert self._host.credentials is not None
        return self._host.credentials.chain

    def _send(self, message: bytes, now: float) -> None:
        self._last_sent = now
        self._path.transmit([Train.single(memoryview(self._cookie.add_macs(message, now)))], now)

    def _shared_with_us(self) -> bytes | None:
        """X25519 of the two static keys, computed once; None for a low-order public key, which nobody can hold."""
        if self._static_shared is None and self._host.identity is not None:
            self._static_shared = compute_static_shared(self._host.identity, self._path.public_key)
        return self._static_shared

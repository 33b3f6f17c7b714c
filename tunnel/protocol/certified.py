"""Messages 16 to 19 of a device: certificates, and the peers that they make (docs/protocol.md, "Certificates").

    who dials                                               who is dialled
    ask ── 16 ─────────────────────────────────────────────▶ ours, and a cookie: nothing is kept
    Gatekeeper.answered ◀───────────────────────────── 17 ── a stranger has to bring the cookie back
    a peer, and its handshake ── 18 ───────────────────────▶ Gatekeeper.presented: a peer
    Gatekeeper.presented, if it shows another chain ◀── 19 ── its session

What it costs to refuse somebody grows with what he has shown: MAC1 for nothing, one X25519 for knowing our key, a
cookie for an address, and only who has proved an address and a key has his certificates looked at. A chain that a peer
has shown before is not judged again, so that a rekey costs what any handshake costs.

A stranger's cookie is inside of what it seals, too, since a timestamp says nothing of somebody we do not know, or not
any more. Else whoever recorded a message 18 could send it with a cookie of his own, and make its sender a peer at his
address.
"""

from hmac import compare_digest

from tunnel.config.patch import DevicePatch
from tunnel.endpoint import Endpoint
from tunnel.keys import PrivateKey, PublicKey
from tunnel.noise.handshake import CERTIFIED, IncomingHandshake, Responder, compute_static_shared
from tunnel.protocol.credentials import Chain, Credentials, Gatekeeper
from tunnel.protocol.enquiry import Enquiries, Enquiry, create_answer
from tunnel.protocol.handshakes import PendingHandshake
from tunnel.protocol.host import Host
from tunnel.protocol.intake import HandshakeIntake, Waiting
from tunnel.protocol.peer import Peer
from tunnel.protocol.peers import PeerTable
from tunnel.protocol.stats import DropReason
from tunnel.protocol.timers import Timer
from tunnel.wire.certified import (
    CertifiedInitiation,
    CertifiedResponse,
    parse_certificate_answer,
    parse_certificate_request,
    parse_certified_initiation,
    parse_chain,
)
from tunnel.wire.messages import COOKIE_SIZE, Buffer, CookieReply
from tunnel.wire.tai64n import STAMP_SIZE
from tunnel.wire.train import Train

TOGETHER = 0.5
"""Seconds between two messages to one place that may well be answered in the other order."""

_CHAIN_START = STAMP_SIZE + COOKIE_SIZE
"""In the payload of message 18."""


class CertifiedHandshakes:
    """Those of a device with these `peers`.

    `gatekeeper` has to be there as soon as the host has credentials.
    """

    __slots__ = ("_enquiries", "_host", "_intake", "_peers", "_responder", "gatekeeper")

    def __init__(self, host: Host, intake: HandshakeIntake, peers: PeerTable) -> None:
        self.gatekeeper: Gatekeeper | None = None
        self._host = host
        self._intake = intake
        self._peers = peers
        self._enquiries = Enquiries(host)
        self._responder: Responder | None = None

    def credentials_changed(self, credentials: Credentials | None) -> None:
        """Show these from now on. What was asked under another authority stays unanswered."""
        before, self._host.credentials = self._host.credentials, credentials
        if credentials is None or before is None or before.authority != credentials.authority:
            self._enquiries.clear()
        self._intake.credentials_changed()

    def identity_changed(self, identity: PrivateKey | None) -> None:
        self._responder = Responder(identity, protocol=CERTIFIED) if identity else None

    # ── who is there ─────────────────────────────────────────────────────────────────────────────────────────────

    def ask(self, endpoint: Endpoint, now: float) -> None:
        """Send message 16, if we are up and have something to show ourselves."""
        if self._host.is_up and self._host.credentials is not None:
            self._enquiries.ask(endpoint, now)

    def stop_asking(self) -> None:
        """No answer is expected any more."""
        self._enquiries.clear()

    def consume_request(self, waiting: Waiting, now: float) -> None:
        """Message 16: show who we are."""
        host = self._host
        if host.credentials is None or waiting.authority is None or not parse_certificate_request(waiting.message):
            host.drops.count(DropReason.MALFORMED_DATAGRAM)
            return
        cookie = self._intake.cookie(waiting.endpoint, now)
        answer = create_answer(waiting.message, waiting.authority, cookie, host.credentials.chain, host.rng)
        host.datagrams.append((Train.single(memoryview(answer)), waiting.endpoint))

    def consume_answer(self, datagram: Buffer, now: float) -> None:
        """Message 17: begin a handshake with the peer that it comes to, if it was asked for and is believed."""
        message = parse_certificate_answer(datagram)
        enquiry = self._host.indices.lookup(message.receiver) if message else None
        opened = enquiry.open_answer(message) if message and isinstance(enquiry, Enquiry) else None
        if opened is None or not isinstance(enquiry, Enquiry):
            self._host.drops.count(DropReason.UNEXPECTED_CERTIFICATE)
            return
        cookie, chain = opened
        assert self.gatekeeper is not None
        patch = self.gatekeeper.answered(enquiry.endpoint, chain, now)
        if patch is None:
            enquiry.refuse(chain)
        else:
            self._enquiries.answered(enquiry)
        peer = self._accept(patch, chain, now)
        if peer is not None:
            peer.handshakes.keep_cookie(cookie, now)
            if not _is_calling(peer, enquiry):
                peer.path.move(enquiry.endpoint)
                peer.handshakes.wait_no_longer()
                peer.handshakes.initiate(now)
            self._peers.reschedule(peer)

    def consume_cookie_reply(self, enquiry: Enquiry, message: CookieReply, now: float) -> None:
        """Message 3 to a message 16."""
        self._enquiries.consume_cookie_reply(enquiry, message, now)

    # ── the handshake ────────────────────────────────────────────────────────────────────────────────────────────

    def consume_initiation(self, waiting: Waiting, now: float) -> None:
        """Message 18: respond, if it is new and authentic, and its chain is believed."""
        message = parse_certified_initiation(waiting.message)
        if message is None or self._responder is None or self._host.credentials is None:
            self._host.drops.count(DropReason.MALFORMED_DATAGRAM)
            return
        incoming = self._responder.consume_initiation(message.ephemeral, message.static)
        if incoming is None:
            self._host.drops.count(DropReason.HANDSHAKE_NOT_AUTHENTIC)
            return
        known = self._peers.get(incoming.initiator)
        if known is None and not self._intake.has_proved_its_address(waiting, now):
            self._host.drops.count(DropReason.UNPROVED_STRANGER)
            return
        if known is not None:
            opened = self._open_of_peer(incoming, known, message, now)
        else:
            opened = self._open_of_stranger(incoming, message, waiting.endpoint, now)
        if opened is None:
            return
        timestamp, chain = opened
        peer = self._judge(known, incoming.initiator, chain, waiting.endpoint, now)
        if peer is not None:
            peer.respond_certified(incoming, timestamp, message.sender, waiting.endpoint, now)
            self._peers.reschedule(peer)

    def consume_response(
        self, peer: Peer, pending: PendingHandshake, message: CertifiedResponse, endpoint: Endpoint, now: float
    ) -> None:
        """Message 19: a session, if it is authentic, and a chain that it has changed to is believed."""
        keys = peer.handshakes.open_response(pending, message.ephemeral, message.payload)
        if keys is None:
            return
        chain = parse_chain(keys.payload)
        if chain is None:
            self._host.drops.count(DropReason.CERTIFICATE_REFUSED)
        elif self._judge(peer, peer.public_key, chain, endpoint, now) is not peer:
            return
        elif peer.handshakes.pending is not pending:  # what the patch let go has begun the next handshake
            self._host.drops.count(DropReason.UNEXPECTED_RESPONSE)
        else:
            peer.derive_certified(pending, keys, message.sender, endpoint, now)

    def _open_of_peer(
        self, incoming: IncomingHandshake, peer: Peer, message: CertifiedInitiation, now: float
    ) -> tuple[bytes, Chain] | None:
        """The timestamp and the chain in message 18, which are the peer's, and new: once, whatever the chain is."""
        payload = peer.handshakes.open_payload(incoming, message.payload)
        if payload is None or not peer.handshakes.is_new(payload[:STAMP_SIZE], now):
            return None
        peer.handshakes.consumed(payload[:STAMP_SIZE], now)
        return self._parse_payload(payload)

    def _open_of_stranger(
        self, incoming: IncomingHandshake, message: CertifiedInitiation, endpoint: Endpoint, now: float
    ) -> tuple[bytes, Chain] | None:
        """The same of somebody who has sealed the cookie that we sent to this very address not long ago."""
        assert self._host.identity is not None
        shared = compute_static_shared(self._host.identity, incoming.initiator)
        payload = incoming.consume_timestamp(shared, message.payload) if shared is not None else None
        if payload is None:
            self._host.drops.count(DropReason.HANDSHAKE_NOT_AUTHENTIC)
            return None
        if not compare_digest(payload[STAMP_SIZE:_CHAIN_START], self._intake.cookie(endpoint, now)):
            self._host.drops.count(DropReason.REPLAYED_HANDSHAKE)
            return None
        return self._parse_payload(payload)

    def _parse_payload(self, payload: bytes) -> tuple[bytes, Chain] | None:
        chain = parse_chain(payload[_CHAIN_START:])
        if chain is None:
            self._host.drops.count(DropReason.CERTIFICATE_REFUSED)
            return None
        return payload[:STAMP_SIZE], chain

    # ── what it comes to ─────────────────────────────────────────────────────────────────────────────────────────

    def _judge(
        self, known: Peer | None, public_key: PublicKey, chain: Chain, endpoint: Endpoint, now: float
    ) -> Peer | None:
        """The peer that holds the key and shows the chain; None: refused."""
        if known is not None and known.handshakes.chain == chain:
            return known
        assert self.gatekeeper is not None
        patch = self.gatekeeper.presented(public_key, chain, endpoint, now)
        assert patch is None or not patch.peers or patch.peers[-1].public_key == public_key, "a chain for another key"
        return self._accept(patch, chain, now)

    def _accept(self, patch: DevicePatch | None, chain: Chain, now: float) -> Peer | None:
        if patch is not None and not patch.peers:
            self._host.drops.count(DropReason.UNEXPECTED_CERTIFICATE)
            return None
        peer = None
        if patch is not None:
            self._peers.apply(patch.peers, now)
            peer = self._peers.get(patch.peers[-1].public_key)
        if peer is None:
            self._host.drops.count(DropReason.CERTIFICATE_REFUSED)
        else:
            peer.handshakes.chain = chain
        return peer


def _is_calling(peer: Peer, enquiry: Enquiry) -> bool:
    """Whether a message 18 is on its way there, sent not long before the question that has been answered.

    Then another one would only do harm: the response may be here already, and wait behind us for its turn, and to the
    other side the two would be a flood. One that is older was not heard: nobody was there, who now is.
    """
    pending, place, endpoint = peer.handshakes.pending, peer.path.endpoint, enquiry.endpoint
    return (
        pending is not None
        and pending.is_certified
        and pending.sent_at > enquiry.asked_at - TOGETHER
        and peer.timers.is_pending(Timer.RETRANSMIT)
        and place is not None
        and (place.host, place.port) == (endpoint.host, endpoint.port)
    )

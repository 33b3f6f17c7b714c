"""Many peers of one hub in one process: initiators of the real protocol, with as little state as they can do with.

    Member   keys, one handshake under way, one session; no I/O
    Crowd    all members behind one socket, each with an outer address of its own (198.18.0.1, 198.18.0.2 …)

Each has its own address because a hub under load limits handshakes by source. The addresses are local without being
configured one by one (``ip route add local``), and the hub needs one route to all of them. A member's receiver index is
its number, so an answer finds it without a table.
"""

import hashlib
import os
import random
import select
import socket
import time
from collections import deque
from ipaddress import IPv4Address, IPv4Network
from typing import Self

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.bench.topology import ProgramError
from tunnel.endpoint import Source
from tunnel.keys import NO_PRESHARED_KEY, PrivateKey, PublicKey
from tunnel.noise.handshake import Initiator, compute_static_shared
from tunnel.protocol.cookie import CookieGenerator
from tunnel.testing.namespaces import Namespace
from tunnel.udp.pktinfo import pack_source
from tunnel.wire.messages import (
    TRANSPORT_HEADER,
    Initiation,
    MessageType,
    message_type,
    pack_initiation,
    parse_cookie_reply,
    parse_response,
)
from tunnel.wire.tai64n import NO_STAMP, next_stamp

NETWORK = IPv4Network("198.18.0.0/15")
"""Where members are outside: set apart for measuring by RFC 2544."""

KEEPALIVE_INTERVAL = 25.0
"""Seconds from the last message, either way, to a member's keepalive, as with any peer; the hub has the same."""

REKEY_AFTER_SENDING, REKEY_AFTER_RECEIVING = 120.0, 165.0
"""How old a session is when its initiator begins the next, with a message that it sends, or one that comes."""

WINDOW = 64
"""Handshakes under way at a time."""

PATIENCE = 1.0
ATTEMPTS = 10
"""Seconds without any answer before everything under way is sent anew, and how often that may happen."""

_RECEIVE_BUFFER = 4 << 20
_LARGEST = 2048


def deterministic_key(seed: str, number: int) -> PrivateKey:
    """The private key of member `number`; number 0 is the hub's."""
    return PrivateKey(hashlib.blake2s(f"{seed} {number}".encode()).digest())


def outer_address(number: int) -> IPv4Address:
    return NETWORK[number]


class Member:
    """One peer. `number`, from 1 on, is also its receiver index."""

    __slots__ = (
        "_cookie",
        "_counter",
        "_hub",
        "_initiation",
        "_initiator",
        "_key",
        "_receiver",
        "_sealer",
        "_stamp",
        "_static_shared",
        "begun",
        "keepalive_due",
        "number",
        "received",
    )

    def __init__(self, number: int, key: PrivateKey, hub: PublicKey) -> None:
        self.number = number
        self.received = 0
        """Data messages, keepalives included, that came for it."""
        self.begun = 0.0
        """When its session began."""
        self.keepalive_due = 0.0
        self._key = key
        self._hub = hub
        self._static_shared = compute_static_shared(key, hub)
        self._cookie = CookieGenerator(hub)
        self._stamp = NO_STAMP
        self._initiation = b""
        self._initiator: Initiator | None = None
        self._sealer: ChaCha20Poly1305 | None = None
        self._receiver = 0
        self._counter = 0

    def prepare(self) -> None:
        """Do the arithmetic of the next initiation now, so that it need not be done while the clock runs."""
        self._stamp = next_stamp(self._stamp, time.time_ns())
        ephemeral = PrivateKey.generate(os.urandom)
        initiator = Initiator(self._key, self._hub, NO_PRESHARED_KEY, ephemeral, static_shared=self._static_shared)
        self._initiation = pack_initiation(Initiation(self.number, *initiator.create_initiation(self._stamp)))
        self._initiator = initiator

    def initiation(self, now: float) -> bytes:
        """The one prepared last, with its MACs as of now."""
        return self._cookie.add_macs(self._initiation, now)

    def consume_response(self, datagram: bytes) -> bool:
        """Whether it completes the handshake under way: then there is a new session."""
        response = parse_response(datagram)
        if response is None or self._initiator is None:
            return False
        keys = self._initiator.consume_response(response.ephemeral, response.nothing)
        if keys is None:
            return False
        self._initiator = None
        self._sealer = ChaCha20Poly1305(keys.send)
        self._receiver = response.sender
        self._counter = 0
        return True

    def consume_cookie_reply(self, datagram: bytes, now: float) -> bool:
        """Whether `initiation` has a right MAC2 from now on."""
        reply = parse_cookie_reply(datagram)
        return reply is not None and self._cookie.consume_reply(reply, now)

    def keepalive(self) -> bytes:
        """An empty packet under the session, which must be there."""
        assert self._sealer is not None
        counter, self._counter = self._counter, self._counter + 1
        header = TRANSPORT_HEADER.pack(MessageType.TRANSPORT_DATA, self._receiver, counter)
        return header + self._sealer.encrypt(bytes(4) + counter.to_bytes(8, "little"), b"", b"")


class Crowd:
    """All members, in `namespace`, towards the hub at `hub_address`; a context that closes the socket."""

    def __init__(self, namespace: Namespace, hub_address: tuple[str, int], seed: str, size: int) -> None:
        hub = deterministic_key(seed, 0).public_key
        self.members = [Member(number, deterministic_key(seed, number), hub) for number in range(1, size + 1)]
        self._sources = [pack_source(Source(str(outer_address(member.number)), 0)) for member in self.members]
        self._in_flight: set[Member] = set()
        self._hub_address = hub_address
        namespace.ip("route", "replace", "local", str(NETWORK), "dev", "lo")
        with namespace.enter():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._socket.bind(("", 0))
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def shake_hands(self) -> float:
        """A new session for everybody; returns the seconds from the first initiation to the last response.

        A handshake is: initiation, response, and the keepalive that confirms the session. Cookies are answered at once.
        Raise `ProgramError` if the hub does not answer somebody.
        """
        for member in self.members:
            member.prepare()
        began = time.monotonic()
        waiting = deque(self.members)
        attempts = 0
        while waiting or self._in_flight:
            while waiting and len(self._in_flight) < WINDOW:
                self._initiate(waiting.popleft())
            if self._receive(PATIENCE):
                continue
            attempts += 1
            if attempts > ATTEMPTS:
                raise ProgramError(f"the hub leaves {len(self._in_flight)} initiations unanswered")
            self._initiate_again()
        return time.monotonic() - began

    def spread(self) -> None:
        """As if they had not all begun at once: let everybody say something, evenly, and sessions be of all ages.

        It takes `KEEPALIVE_INTERVAL`, and from there on `keep_alive` goes on.
        """
        began = time.monotonic()
        for number, member in enumerate(self.members):
            share = number / len(self.members)
            self._receive_until(began + KEEPALIVE_INTERVAL * share)
            self._send(member, member.keepalive())
        for number, member in enumerate(random.Random(0).sample(self.members, len(self.members))):
            member.begun = time.monotonic() - REKEY_AFTER_RECEIVING * number / len(self.members)

    def keep_alive(self, seconds: float) -> None:
        """For so long do what idle peers do: keepalives, unless the hub was first, and new handshakes in time."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            due = min(self.members, key=_keepalive_due)
            if due.keepalive_due > now:
                self._receive_until(min(end, due.keepalive_due))
            elif now - due.begun >= REKEY_AFTER_SENDING:
                self._rekey(due)
            else:
                self._send(due, due.keepalive())

    def _rekey(self, member: Member) -> None:
        member.prepare()
        self._initiate(member)

    def say_hello(self) -> None:
        """One keepalive of everybody, under the session that it has."""
        for member in self.members:
            self._send(member, member.keepalive())

    def settle(self, quiet: float = 0.2) -> None:
        """Wait until nothing has come from the hub for so many seconds."""
        while self._receive(quiet):
            pass

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _initiate(self, member: Member) -> None:
        self._in_flight.add(member)
        self._send(member, member.initiation(time.monotonic()))

    def _initiate_again(self) -> None:
        """With new stamps: a hub that has answered one already takes the same one for a replay."""
        for member in list(self._in_flight):
            member.prepare()
            self._initiate(member)

    def _receive_until(self, moment: float) -> None:
        while (left := moment - time.monotonic()) > 0:
            self._receive(left)

    def _receive(self, seconds: float) -> bool:
        """Wait at most so long for something, and consume all that is there; False if nothing came."""
        if not self._poll.poll(seconds * 1000):
            return False
        try:
            while True:
                self._consume(self._socket.recv(_LARGEST))
        except BlockingIOError:
            return True

    def _consume(self, datagram: bytes) -> None:
        match message_type(datagram):
            case MessageType.HANDSHAKE_RESPONSE:
                member = self._member(datagram[8:12])
                if member.consume_response(datagram):
                    member.begun = time.monotonic()
                    self._send(member, member.keepalive())
                    self._in_flight.discard(member)
            case MessageType.COOKIE_REPLY:
                member = self._member(datagram[4:8])
                if member.consume_cookie_reply(datagram, time.monotonic()) and member in self._in_flight:
                    self._initiate(member)
            case MessageType.TRANSPORT_DATA:
                self._consume_data(self._member(datagram[4:8]))

    def _consume_data(self, member: Member) -> None:
        now = time.monotonic()
        member.received += 1
        member.keepalive_due = now + KEEPALIVE_INTERVAL
        if now - member.begun >= REKEY_AFTER_RECEIVING and member not in self._in_flight:
            self._rekey(member)

    def _member(self, index: bytes) -> Member:
        return self.members[int.from_bytes(index, "little") - 1]

    def _send(self, member: Member, datagram: bytes) -> None:
        member.keepalive_due = time.monotonic() + KEEPALIVE_INTERVAL
        self._socket.sendmsg([datagram], self._sources[member.number - 1], 0, self._hub_address)


def _keepalive_due(member: Member) -> float:
    return member.keepalive_due

"""Our own side, which all peers of a device share: identity, tables, randomness, and what waits to leave.

A peer takes what it needs from here and puts what it makes here; it never sees the device or another peer.
"""

from collections.abc import Callable
from ipaddress import IPv4Interface, IPv6Interface
from math import inf
from typing import TYPE_CHECKING

from tunnel.endpoint import Endpoint
from tunnel.keys import PresharedKey, PrivateKey, PublicKey, Rng
from tunnel.protocol.allowedips import AllowedIPs
from tunnel.protocol.burst import BurstArena
from tunnel.protocol.constants import REKEY_TIMEOUT_JITTER
from tunnel.protocol.credentials import Credentials
from tunnel.protocol.events import Event
from tunnel.protocol.indextable import IndexTable
from tunnel.protocol.ratelimiter import RateLimiter
from tunnel.protocol.stats import Drops
from tunnel.protocol.trains import Nonces
from tunnel.wire.control import Capability
from tunnel.wire.train import Train

if TYPE_CHECKING:
    from tunnel.protocol.enquiry import Enquiry
    from tunnel.protocol.handshakes import PendingHandshake
    from tunnel.protocol.keypair import Keypair
    from tunnel.protocol.peer import Peer

KeyLog = Callable[[PublicKey, PrivateKey, PresharedKey], None]
"""Of one handshake: with whom it is, our ephemeral key, and the preshared key (zero: there is none)."""

IPInterface = IPv4Interface | IPv6Interface

Oversized = tuple["Peer", memoryview, int, int]
"""A packet that does not fit the path to its peer: the peer, the slot it lies in, its length, its `ExtendedFlag`."""

DEFAULT_MTU = 1420
"""An Ethernet's 1500 less what a packet grows by over IPv6."""


class Host:
    """`stamp()` returns a 12-byte TAI64N later than any before it; `mtu` is the inner one, in bytes.

    `addresses` are those of that interface.
    `offered` is what we take from peers that are like us (see `tunnel.protocol.extension`); None: plain WireGuard.
    `credentials` are what we show to peers with certificates; None: there are none to us.
    `next_turn` is when another peer may ask whether large data arrives; `refusals` limits what we tell senders of
    packets that are too big.
    `key_log` is told every ephemeral key of a WireGuard handshake before it is used; None: they are nobody's but ours.
    """

    __slots__ = (
        "addresses",
        "allowed_ips",
        "burst",
        "credentials",
        "datagrams",
        "drops",
        "events",
        "identity",
        "indices",
        "is_up",
        "key_log",
        "mtu",
        "next_turn",
        "nonces",
        "offered",
        "oversized",
        "packets",
        "probes",
        "refusals",
        "rng",
        "stamp",
    )

    def __init__(self, rng: Rng, stamp: Callable[[], bytes]) -> None:
        self.rng = rng
        self.stamp = stamp
        self.mtu = DEFAULT_MTU
        self.addresses: tuple[IPInterface, ...] = ()
        self.is_up = False
        self.offered: Capability | None = None
        self.identity: PrivateKey | None = None
        self.credentials: Credentials | None = None
        self.key_log: KeyLog | None = None
        self.indices: IndexTable[PendingHandshake | Keypair | Enquiry] = IndexTable(rng)
        self.allowed_ips: AllowedIPs[Peer] = AllowedIPs()
        self.drops = Drops()
        self.nonces = Nonces()
        self.burst = BurstArena()
        self.datagrams: list[tuple[Train, Endpoint]] = []
        self.next_turn = -inf
        self.refusals = RateLimiter()
        self.probes: list[tuple[memoryview, Endpoint]] = []
        self.oversized: list[Oversized] = []
        self.packets: list[Train] = []
        self.events: list[Event] = []

    def jitter(self) -> float:
        """From nothing to a third of a second, so that two peers do not go on colliding."""
        return int.from_bytes(self.rng(2), "big") / 0xFFFF * REKEY_TIMEOUT_JITTER

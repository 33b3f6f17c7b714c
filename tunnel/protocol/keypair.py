"""Keypairs and how they rotate (WireGuard paper, sections 5.4.5 and 6.1; the kernel's ``noise.c``).

A handshake yields one keypair. Its initiator may send at once, so there it becomes *current*. Its responder does not
know whether the response arrived: there it is *next* until the first data under it arrives. What was current stays
*previous*, so that datagrams on their way still open.

    initiator:  current -> previous, new -> current     (an unconfirmed next -> previous: the other began too)
    responder:  new -> next                             first data under next:  current -> previous, next -> current

When both began at once there are two sessions, and each side may hold another one for current; the next rekey would
then forget one that is still in use. So of two that different sides began within the rekey timeout, both sides prefer
the one that the greater public key began: data under it as previous makes it current.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tunnel.noise.handshake import TransportKeys
from tunnel.protocol.constants import REJECT_AFTER_MESSAGES, REJECT_AFTER_TIME, REKEY_TIMEOUT
from tunnel.protocol.extension import Extension
from tunnel.protocol.replay import ReplayWindow
from tunnel.wire.control import Capability

if TYPE_CHECKING:
    from tunnel.protocol.peer import Peer


class Keypair:
    """Two transport keys, the two receiver indices, a counter to send with and a window to receive with.

    The keys live only inside the AEAD contexts, whose memory OpenSSL cleanses when the keypair is forgotten.
    `extension` is there if the other side may be one of us; counter and window are for message 4 and 5 alike.
    """

    __slots__ = (
        "created",
        "extension",
        "is_initiator",
        "local_index",
        "opener",
        "peer",
        "remote_index",
        "replay",
        "sealer",
        "send_counter",
    )

    def __init__(
        self,
        peer: "Peer",
        keys: TransportKeys,
        *,
        local_index: int,
        remote_index: int,
        is_initiator: bool,
        now: float,
        offered: Capability | None = None,
    ) -> None:
        """`offered`: what we take beyond plain WireGuard, if the other side may be one of us."""
        self.peer = peer
        self.local_index = local_index
        self.remote_index = remote_index
        self.is_initiator = is_initiator
        self.created = now
        self.sealer = ChaCha20Poly1305(keys.send)
        self.opener = ChaCha20Poly1305(keys.receive)
        self.send_counter = 0
        self.replay = ReplayWindow()
        self.extension = None if offered is None else Extension(keys, offered, is_initiator=is_initiator)

    def can_send(self, count: int, now: float) -> bool:
        """Whether it is young enough, and has counters left, to seal `count` more packets."""
        return self.can_receive(now) and self.send_counter + count <= REJECT_AFTER_MESSAGES

    def can_receive(self, now: float) -> bool:
        return now - self.created < REJECT_AFTER_TIME

    @property
    def takes(self) -> int | None:
        """What the other side takes beyond plain WireGuard (`Capability`); None: nothing, and no message 5."""
        return None if self.extension is None else self.extension.takes

    def __repr__(self) -> str:
        return f"Keypair(local_index={self.local_index:#x}, remote_index={self.remote_index:#x}, keys redacted)"


class Keypairs:
    """The up to three keypairs of one peer. Every method returns the keypairs it let go of: their indices are free."""

    __slots__ = ("current", "next", "previous")

    def __init__(self) -> None:
        self.previous: Keypair | None = None
        self.current: Keypair | None = None
        self.next: Keypair | None = None

    def __iter__(self) -> Iterator[Keypair]:
        return (keypair for keypair in (self.previous, self.current, self.next) if keypair is not None)

    def add(self, keypair: Keypair) -> list[Keypair]:
        """A handshake made `keypair`."""
        if not keypair.is_initiator:
            return self._shift(previous=None, current=self.current, next_=keypair)
        return self._shift(previous=self.next or self.current, current=keypair, next_=None)

    def confirm(self, keypair: Keypair) -> list[Keypair] | None:
        """Data came under `keypair`: if it was next it is now current. None if it was not next."""
        if keypair is not self.next:
            return None
        return self._shift(previous=self.current, current=keypair, next_=None)

    def prefer(self, keypair: Keypair, *, ours: bool) -> None:
        """Data came under `keypair`: if both began at once, and it is the one that shall last, it is current again.

        `ours` says that it is the one that we began which shall last.
        """
        current = self.current
        if (
            keypair is self.previous
            and current is not None
            and keypair.is_initiator is ours
            and current.is_initiator is not ours
            and abs(current.created - keypair.created) < REKEY_TIMEOUT
        ):
            self.previous, self.current = current, keypair

    def forget_current(self) -> list[Keypair]:
        """Let go of the session in use and the one before it."""
        return self._shift(previous=None, current=None, next_=self.next)

    def forget(self) -> list[Keypair]:
        """Let go of all of them."""
        return self._shift(None, None, None)

    def _shift(self, previous: Keypair | None, current: Keypair | None, next_: Keypair | None) -> list[Keypair]:
        before = list(self)
        self.previous, self.current, self.next = previous, current, next_
        kept = set(map(id, self))
        return [keypair for keypair in before if id(keypair) not in kept]

"""What a host with a certificate shows, and who judges what others show: the seam between the core and X.509.

The core carries chains and never looks into one. Whoever drives it brings a `Gatekeeper`, who says what a chain comes
to: a patch, as ``wg set`` would make one, or nothing.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tunnel.config.patch import DevicePatch
from tunnel.endpoint import Endpoint
from tunnel.keys import PublicKey

Chain = tuple[bytes, ...]
"""DER, the peer's own certificate first, then at most one intermediate."""


class AuthorityId(NamedTuple):
    """A hash of an authority's public key, 32 bytes: what messages 16 and 17 are keyed with."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """Ours: `chain` has at most 1024 bytes; `authority` is the one that it leads to, and one of `trusted`.

    `is_dialled`: we tell whoever asks (message 16) who we are. Who is not dialled need not.
    """

    chain: Chain
    authority: bytes
    trusted: tuple[bytes, ...]
    is_dialled: bool = True


class Gatekeeper(Protocol):
    """Judges chains. A patch ends with the `PeerPatch` of the peer in question; None: refused, counted and logged.

    A patch without peers says that it does not matter any more what the chain is. Neither method may change the device.
    """

    def answered(self, endpoint: Endpoint, chain: Chain, now: float) -> DevicePatch | None:
        """`endpoint`, which we asked, shows `chain` (message 17). Nothing proves yet that it holds the key."""
        ...

    def presented(self, public_key: PublicKey, chain: Chain, endpoint: Endpoint, now: float) -> DevicePatch | None:
        """The holder of `public_key`, at `endpoint`, presents `chain` (messages 18 and 19)."""
        ...

"""The one configuration currency: what is to change, as a value.

A wg-quick file, a UAPI ``set``, a reload and (later) a certificate all become a `DevicePatch`, and one
`Device.apply(patch, now)` consumes it. None means "leave as it is".

    wg-quick file ─ quick ─┐
    UAPI set ────── uapi ──┼──▶ DevicePatch ──▶ Device.apply
    certificate ─── pki ───┘
"""

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from tunnel.endpoint import Endpoint
from tunnel.keys import PresharedKey, PrivateKey, PublicKey

IPNetwork = IPv4Network | IPv6Network

MAX_PERSISTENT_KEEPALIVE = 65535


@dataclass(frozen=True, slots=True)
class AllowedIPChange:
    """Give `network` (host bits masked) to the peer, taking it from whoever has it; with `remove`, take it away."""

    network: IPNetwork
    remove: bool = False


@dataclass(frozen=True, slots=True)
class PeerPatch:
    """What is to change about one peer; a peer that does not exist is made, unless `update_only` or `remove`.

    A zero `preshared_key` removes it, a zero `persistent_keepalive` (seconds) turns it off. `replace_allowed_ips` drops
    those it has before `allowed_ips` are applied in order.
    """

    public_key: PublicKey
    remove: bool = False
    update_only: bool = False
    preshared_key: PresharedKey | None = None
    endpoint: Endpoint | None = None
    persistent_keepalive: int | None = None
    replace_allowed_ips: bool = False
    allowed_ips: tuple[AllowedIPChange, ...] = ()


@dataclass(frozen=True, slots=True)
class DevicePatch:
    """What is to change about the device, then about its peers, in order.

    A zero `private_key` takes the identity away, `listen_port` 0 asks for any free port, `fwmark` 0 turns the mark off.
    """

    private_key: PrivateKey | None = None
    listen_port: int | None = None
    fwmark: int | None = None
    replace_peers: bool = False
    peers: tuple[PeerPatch, ...] = ()

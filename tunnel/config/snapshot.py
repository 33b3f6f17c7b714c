"""What a device is right now, as plain values: for ``wg show``, ``tunnel status`` and ``SaveConfig``.

It stands here, below the protocol, because the UAPI codec has to write it and layers import downwards only.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tunnel.config.patch import IPNetwork
from tunnel.endpoint import Endpoint
from tunnel.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey


@dataclass(frozen=True, slots=True)
class PeerSnapshot:
    """One peer. `last_handshake` is in seconds since 1970 (0: never); `drops` are named as `DropReason` values.

    `extensions` names what is in use towards it beyond plain WireGuard (`protocol.extension`); None: nobody knows.
    `path_mtu` is the largest outer IP packet that is known to get to it; None: nothing is known. `max_packet` is the
    largest inner packet that goes in one such; None while the path is not known to be narrower than we need.
    """

    public_key: PublicKey
    preshared_key: PresharedKey = NO_PRESHARED_KEY
    endpoint: Endpoint | None = None
    allowed_ips: tuple[IPNetwork, ...] = ()
    persistent_keepalive: int = 0
    last_handshake: float = 0.0
    rx_bytes: int = 0
    tx_bytes: int = 0
    drops: Mapping[str, int] | None = None
    extensions: tuple[str, ...] | None = None
    path_mtu: int | None = None
    max_packet: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceSnapshot:
    """The device and its peers in the order they were added. `drops` counts since the device was made, by reason."""

    private_key: PrivateKey | None
    listen_port: int
    fwmark: int
    peers: tuple[PeerSnapshot, ...]
    drops: Mapping[str, int]

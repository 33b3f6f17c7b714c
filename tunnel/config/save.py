"""``SaveConfig = true``: what runs now, written over what was configured.

keys, port, mark, peers ◀── snapshot        addresses, MTU, table, hooks ◀── configuration
"""

from collections.abc import Mapping
from dataclasses import replace

from tunnel.config.model import PeerConfig, TunnelConfig
from tunnel.config.snapshot import DeviceSnapshot, PeerSnapshot
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.keys import PublicKey


def merge_snapshot(
    config: TunnelConfig, snapshot: DeviceSnapshot, resolved: Mapping[PublicKey, Endpoint] | None = None
) -> TunnelConfig:
    """`config` as the device has it now, peers in the device's order.

    A private key that was taken away stays as configured, because a file must have one. So does an endpoint that was
    given by name, as long as the peer is where the name led (`resolved`) or has no endpoint yet: wg-quick would freeze
    the address, and the file would break when the name moves.
    """
    configured = {peer.public_key: peer.endpoint for peer in config.peers}
    private_key = snapshot.private_key
    return TunnelConfig(
        interface=replace(
            config.interface,
            private_key=config.interface.private_key if private_key is None or private_key.is_zero else private_key,
            listen_port=snapshot.listen_port,
            fwmark=snapshot.fwmark,
        ),
        peers=tuple(
            PeerConfig(
                public_key=peer.public_key,
                preshared_key=peer.preshared_key,
                endpoint=_endpoint(peer, configured.get(peer.public_key), (resolved or {}).get(peer.public_key)),
                persistent_keepalive=peer.persistent_keepalive,
                allowed_ips=peer.allowed_ips,
            )
            for peer in snapshot.peers
        ),
    )


def _endpoint(peer: PeerSnapshot, configured: EndpointName | None, resolved: Endpoint | None) -> EndpointName | None:
    now = peer.endpoint
    if now is None:
        return configured
    if (
        configured
        and resolved
        and (now.host, now.port, now.scope_id) == (resolved.host, resolved.port, resolved.scope_id)
    ):
        return configured
    zone = f"%{now.scope_id}" if now.scope_id else ""
    return EndpointName(now.host + zone, now.port)

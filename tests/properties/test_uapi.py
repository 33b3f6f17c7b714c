"""The UAPI codec loses nothing on the way."""

from collections.abc import Iterator

from hypothesis import given

from tests.properties.configurations import device_patches, device_snapshots
from tunnel.config.patch import DevicePatch, PeerPatch
from tunnel.config.snapshot import DeviceSnapshot
from tunnel.config.uapi import Operation, format_errno, format_get, parse_get, parse_set


def set_lines(patch: DevicePatch) -> Iterator[str]:
    """What wg(8) would send for a patch."""
    if patch.private_key is not None:
        yield f"private_key={patch.private_key.to_hex()}"
    if patch.listen_port is not None:
        yield f"listen_port={patch.listen_port}"
    if patch.fwmark is not None:
        yield f"fwmark={patch.fwmark}"
    if patch.replace_peers:
        yield "replace_peers=true"
    for peer in patch.peers:
        yield from set_peer_lines(peer)


def set_peer_lines(peer: PeerPatch) -> Iterator[str]:
    yield f"public_key={peer.public_key.to_hex()}"
    if peer.remove:
        yield "remove=true"
    if peer.update_only:
        yield "update_only=true"
    if peer.preshared_key is not None:
        yield f"preshared_key={peer.preshared_key.to_hex()}"
    if peer.endpoint is not None:
        yield f"endpoint={peer.endpoint}"
    if peer.persistent_keepalive is not None:
        yield f"persistent_keepalive_interval={peer.persistent_keepalive}"
    if peer.replace_allowed_ips:
        yield "replace_allowed_ips=true"
    for change in peer.allowed_ips:
        yield f"allowed_ip={'-' if change.remove else ''}{change.network}"


@given(device_patches)
def test_a_patch_that_wg_sends_arrives_whole(patch: DevicePatch) -> None:
    assert parse_set("\n".join([*set_lines(patch), "", ""])) == patch


@given(device_snapshots)
def test_a_snapshot_that_we_answer_arrives_whole(snapshot: DeviceSnapshot) -> None:
    assert parse_get(format_get(snapshot) + format_errno(Operation.GET)) == snapshot

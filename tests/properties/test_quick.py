"""A configuration survives being written to a wg-quick file and read back."""

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.configurations import device_snapshots, tunnel_configs
from tunnel.config.model import TunnelConfig
from tunnel.config.quick import format_quick, parse_quick
from tunnel.config.save import merge_snapshot
from tunnel.config.snapshot import DeviceSnapshot, PeerSnapshot


@given(tunnel_configs())
def test_a_written_configuration_reads_back_the_same(config: TunnelConfig) -> None:
    assert parse_quick(format_quick(config), "wg0.conf") == config


@given(tunnel_configs(), st.data())
def test_case_indentation_and_comments_change_nothing(config: TunnelConfig, data: st.DataObject) -> None:
    def dress(line: str) -> str:
        key, equals, value = line.partition("=")
        cased = data.draw(st.sampled_from([key, key.upper(), key.lower()]))
        before = data.draw(st.sampled_from(["", " ", "\t"]))
        after = data.draw(st.sampled_from(["", " # a = b", "\r"]))
        return f"{before}{cased}{equals}{value}{after}"

    dressed = "\n".join(dress(line) for line in format_quick(config).split("\n"))
    assert parse_quick(dressed, "wg0.conf") == config


@given(
    tunnel_configs(),
    device_snapshots.filter(lambda device: len({p.public_key for p in device.peers}) == len(device.peers)),
)
def test_what_is_saved_has_the_running_peers_and_the_configured_rest(
    config: TunnelConfig, device: DeviceSnapshot
) -> None:
    saved = merge_snapshot(config, device)
    assert saved.interface.addresses == config.interface.addresses
    assert saved.interface.hooks == config.interface.hooks
    assert [(peer.public_key, peer.allowed_ips) for peer in saved.peers] == [
        (peer.public_key, peer.allowed_ips) for peer in device.peers
    ]


@given(tunnel_configs())
def test_saving_what_was_just_brought_up_gives_the_configuration_again(config: TunnelConfig) -> None:
    numeric = {peer.public_key: peer.endpoint.numeric() for peer in config.peers if peer.endpoint}
    device = DeviceSnapshot(
        private_key=config.interface.private_key,
        listen_port=config.interface.listen_port,
        fwmark=config.interface.fwmark,
        peers=tuple(
            PeerSnapshot(
                public_key=peer.public_key,
                preshared_key=peer.preshared_key,
                endpoint=numeric.get(peer.public_key),
                allowed_ips=peer.allowed_ips,
                persistent_keepalive=peer.persistent_keepalive,
            )
            for peer in config.peers
        ),
        drops={},
    )
    resolved = {peer: endpoint for peer, endpoint in numeric.items() if endpoint}
    assert merge_snapshot(config, device, resolved) == config

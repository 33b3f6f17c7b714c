"""SaveConfig: what runs now over what was configured."""

from dataclasses import replace
from ipaddress import ip_interface, ip_network

from tunnel.config.model import Hooks, InterfaceConfig, Offload, PeerConfig, RouteTable, TunnelConfig
from tunnel.config.save import merge_snapshot
from tunnel.config.snapshot import DeviceSnapshot, PeerSnapshot
from tunnel.endpoint import Endpoint, EndpointName, Source
from tunnel.keys import PresharedKey, PrivateKey, PublicKey

KEY, NEW_KEY = PrivateKey(b"k" * 32), PrivateKey(b"n" * 32)
A, B = PublicKey(b"a" * 32), PublicKey(b"b" * 32)
NAME = EndpointName("vpn.example.com", 51820)
HERE = Endpoint("192.0.2.1", 51820, source=Source("192.0.2.9", 2))

CONFIGURED = TunnelConfig(
    InterfaceConfig(
        KEY,
        addresses=(ip_interface("10.0.0.1/24"),),
        mtu=1400,
        table=RouteTable.OFF,
        offload=Offload.SEND,
        extensions=False,
        save_config=True,
        hooks=Hooks(post_up=("true",)),
    ),
    (PeerConfig(A, endpoint=NAME, allowed_ips=(ip_network("10.0.0.2/32"),)),),
)
RUNNING = DeviceSnapshot(
    private_key=NEW_KEY,
    listen_port=51820,
    fwmark=7,
    peers=(
        PeerSnapshot(B, PresharedKey(b"p" * 32), HERE, (ip_network("10.0.0.3/32"),), persistent_keepalive=25),
        PeerSnapshot(A),
    ),
    drops={},
)


def test_keys_port_mark_and_peers_are_those_that_run() -> None:
    merged = merge_snapshot(CONFIGURED, RUNNING)
    assert merged.interface == replace(CONFIGURED.interface, private_key=NEW_KEY, listen_port=51820, fwmark=7)
    assert [peer.public_key for peer in merged.peers] == [B, A]
    assert merged.peers[0] == PeerConfig(
        B, PresharedKey(b"p" * 32), EndpointName("192.0.2.1", 51820), 25, (ip_network("10.0.0.3/32"),)
    )


def test_a_key_that_was_taken_away_stays_as_configured() -> None:
    assert merge_snapshot(CONFIGURED, replace(RUNNING, private_key=None)).interface.private_key == KEY
    assert merge_snapshot(CONFIGURED, replace(RUNNING, private_key=PrivateKey(bytes(32)))).interface.private_key == KEY


def test_a_name_that_has_not_been_resolved_stays() -> None:
    assert merge_snapshot(CONFIGURED, RUNNING).peers[1].endpoint == NAME


def test_a_name_stays_while_the_peer_is_where_it_led() -> None:
    running = replace(RUNNING, peers=(PeerSnapshot(A, endpoint=HERE),))
    (peer,) = merge_snapshot(CONFIGURED, running, {A: Endpoint("192.0.2.1", 51820)}).peers
    assert peer.endpoint == NAME


def test_a_peer_that_has_roamed_is_saved_where_it_is() -> None:
    running = replace(RUNNING, peers=(PeerSnapshot(A, endpoint=Endpoint("fe80::5", 9, scope_id=3)),))
    (peer,) = merge_snapshot(CONFIGURED, running, {A: Endpoint("192.0.2.1", 51820)}).peers
    assert peer.endpoint == EndpointName("fe80::5%3", 9)

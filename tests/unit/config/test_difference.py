from dataclasses import replace
from pathlib import Path

import pytest

from tunnel.config.difference import Plan, as_running, difference
from tunnel.config.model import CertificateConfig, TunnelConfig
from tunnel.config.quick import parse_quick
from tunnel.config.snapshot import DeviceSnapshot, PeerSnapshot
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.keys import NO_PRESHARED_KEY, PrivateKey

OWN, OTHER = PrivateKey(bytes([1]) * 32), PrivateKey(bytes([9]) * 32)
A, B, C = (PrivateKey(bytes([number]) * 32).public_key for number in (2, 3, 4))
PSK = "Zm9vZm9vZm9vZm9vZm9vZm9vZm9vZm9vZm9vZm9vZm8="

BASE = f"""\
[Interface]
PrivateKey = {OWN.to_base64()}
ListenPort = 51820
Address = 10.0.0.1/24

[Peer]
PublicKey = {A}
AllowedIPs = 10.0.0.2/32
Endpoint = 192.0.2.2:51820

[Peer]
PublicKey = {B}
AllowedIPs = 10.0.0.3/32, 10.9.0.0/16
"""


def config(text: str = BASE) -> TunnelConfig:
    return parse_quick(text, "wg0.conf")


def plan(old: str, new: str) -> Plan:
    """Of the base to itself, with `old` in it replaced by `new`."""
    assert old in BASE
    return difference(config(), config(BASE.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("ListenPort = 51820", "ListenPort = 51821", ["~ port 51820 → 51821"]),
        ("ListenPort = 51820\n", "", ["~ port 51820 → any"]),
        ("Address", "FwMark = 0x10\nAddress", ["~ mark off → 0x10"]),
        ("Address", "MTU = 1380\nAddress", ["~ mtu auto → 1380"]),
        ("Address", "SaveConfig = true\nAddress", ["~ save when it ends: yes"]),
        (
            OWN.to_base64(),
            PrivateKey(bytes([9]) * 32).to_base64(),
            [f"~ private key; ours is now {PrivateKey(bytes([9]) * 32).public_key.short}"],
        ),
        (
            "10.0.0.1/24",
            "10.1.0.1/24",
            [
                *("- address 10.0.0.1/24", "+ address 10.1.0.1/24"),
                *("+ route 10.0.0.2/32", "+ route 10.0.0.3/32"),
            ],
        ),
        ("192.0.2.2:51820", "vpn.example.com:5", [f"~ peer {A.short} endpoint 192.0.2.2:51820 → vpn.example.com:5"]),
        ("Endpoint = 192.0.2.2:51820", "", [f"~ peer {A.short} endpoint 192.0.2.2:51820 → none"]),
        (
            "Endpoint = 192.0.2.2:51820",
            f"Endpoint = 192.0.2.2:51820\nPresharedKey = {PSK}\nPersistentKeepalive = 25",
            [f"~ peer {A.short} another preshared key, keepalive off → 25 s"],
        ),
        (
            "10.9.0.0/16",
            "10.8.0.0/16",
            [
                f"~ peer {B.short} allowed IPs -10.9.0.0/16 +10.8.0.0/16",
                *("- route 10.9.0.0/16", "+ route 10.8.0.0/16"),
            ],
        ),
        (
            str(B),
            str(C),
            [f"- peer {B.short} 10.0.0.3/32, 10.9.0.0/16", f"+ peer {C.short} 10.0.0.3/32, 10.9.0.0/16"],
        ),
    ],
)
def test_a_plan_says_what_changes_and_nothing_else(old: str, new: str, lines: list[str]) -> None:
    assert plan(old, new).describe() == lines
    assert not plan(old, new).needs_restart


def test_an_empty_plan_says_so() -> None:
    assert plan("[Peer]", "# a comment\n[Peer]").describe() == ["nothing to change"]


def test_the_order_of_networks_is_no_change() -> None:
    assert plan("10.0.0.3/32, 10.9.0.0/16", "10.9.0.0/16, 10.0.0.3/32").is_empty


def test_the_patch_leaves_out_a_peer_that_stays_as_it_is() -> None:
    (changed,) = plan("10.9.0.0/16", "10.8.0.0/16").device_patch().peers
    assert changed.public_key == B
    assert changed.update_only
    assert not changed.replace_allowed_ips
    assert changed.endpoint is None


def test_an_endpoint_by_name_is_left_to_the_resolver() -> None:
    (changed,) = plan("192.0.2.2:51820", "vpn.example.com:5").device_patch().peers
    assert changed.endpoint is None


@pytest.mark.parametrize(
    ("line", "setting"),
    [
        ("Table = 77", "Table"),
        ("Offload = off", "Offload"),
        ("Extensions = off", "Extensions"),
        ("PostUp = true", "PostUp"),
        ("PreDown = true", "PreDown"),
    ],
)
def test_what_needs_a_restart_is_named(line: str, setting: str) -> None:
    refused = plan("Address", f"{line}\nAddress")
    assert refused.needs_restart == (setting,)
    assert f"! {setting}: needs a restart" in refused.describe()
    assert not refused.is_empty


def with_certificates(base: TunnelConfig, certificates: CertificateConfig) -> TunnelConfig:
    return replace(base, interface=replace(base.interface, certificates=certificates))


def test_which_certificates_are_wanted_needs_a_restart() -> None:
    identity = CertificateConfig(Path("/me.pem"))
    old = with_certificates(config(), identity)
    assert difference(config(), old).needs_restart == ("Identity",)
    new = with_certificates(config(), replace(identity, allow=("laptop-*",), max_peers=5))
    assert difference(old, new).needs_restart == ("Allow", "MaxPeers")


@pytest.mark.parametrize(
    ("old", "new"), [("10.9.0.0/16", "10.8.0.0/16"), ("10.0.0.1/24", "10.0.0.9/24"), (str(B), str(C))]
)
def test_beside_certificates_addresses_and_peers_change_as_without(old: str, new: str) -> None:
    identity = CertificateConfig(Path("/me.pem"))
    before, after = (with_certificates(config(text), identity) for text in (BASE, BASE.replace(old, new)))
    assert not difference(before, after).needs_restart
    assert difference(before, after).describe() == plan(old, new).describe()


def test_a_peer_that_comes_may_be_there_by_its_certificate_and_is_patched_whole() -> None:
    gone, come = plan(str(B), str(C)).device_patch().peers
    assert gone.remove
    assert come == config(BASE.replace(str(B), str(C))).peers[1].patch()
    assert come.replace_allowed_ips
    assert come.persistent_keepalive is not None
    assert come.preshared_key is not None


def test_routes_are_compared_with_those_that_there_are() -> None:
    assert difference(config(), config(), routes=[]).describe() == ["+ route 10.9.0.0/16"]


# ---- what runs ----------------------------------------------------------------------------------------------------


def snapshot(*peers: PeerSnapshot, port: int = 51820) -> DeviceSnapshot:
    return DeviceSnapshot(OWN, port, 0, peers, {})


def running_peers() -> list[PeerSnapshot]:
    return [PeerSnapshot(peer.public_key, allowed_ips=peer.allowed_ips) for peer in config().peers]


def test_who_has_roamed_has_not_changed() -> None:
    a, b = running_peers()
    a, b = (replace(peer, endpoint=Endpoint("198.51.100.7", 4)) for peer in (a, b))
    assert as_running(config(), snapshot(a, b)) == config()


def test_a_free_port_that_was_found_has_not_changed() -> None:
    free = config(BASE.replace("ListenPort = 51820\n", ""))
    assert as_running(free, snapshot(*running_peers(), port=40404)) == free


def test_what_somebody_else_has_changed_is_seen() -> None:
    _, b = running_peers()
    extra = PeerSnapshot(C, endpoint=Endpoint("fe80::1", 5, 3), persistent_keepalive=7)
    running = as_running(config(), snapshot(replace(b, allowed_ips=()), extra, port=99))
    assert running.interface.listen_port == 99
    assert [peer.public_key for peer in running.peers] == [B, C]
    assert running.peers[0].allowed_ips == ()
    assert running.peers[1].endpoint == EndpointName("fe80::1%3", 5)
    assert running.peers[1].preshared_key == NO_PRESHARED_KEY


def test_who_came_by_certificate_is_left_out() -> None:
    running = as_running(config(), snapshot(*running_peers(), PeerSnapshot(C)), members={A, C})
    assert [peer.public_key for peer in running.peers] == [A, B]

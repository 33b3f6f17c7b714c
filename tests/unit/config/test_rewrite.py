from dataclasses import replace

import pytest

from tunnel.config.model import PeerConfig, TunnelConfig
from tunnel.config.quick import parse_quick
from tunnel.config.rewrite import rewrite_quick
from tunnel.errors import ConfigError
from tunnel.keys import PrivateKey

OWN, A, B, C = (PrivateKey(bytes([number]) * 32) for number in (1, 2, 3, 4))

FILE = f"""\
# office gateway
# ask Ada before changing

[Interface]
PrivateKey = {OWN.to_base64()}   # made in 2024
ListenPort=51820
Address = 10.0.0.1/24


# laptop
[Peer]
PublicKey = {A.public_key}
AllowedIPs = 10.0.0.2/32   # home

# phone
[Peer]
PublicKey = {B.public_key}
allowedips = 10.0.0.3/32
# the end
"""

CONFIG = parse_quick(FILE, "")
FIRST, SECOND = CONFIG.peers
NEW = PeerConfig(C.public_key)


def rewritten(config: TunnelConfig) -> str:
    text = rewrite_quick(FILE, config)
    assert set(parse_quick(text, "").peers) == set(config.peers)
    assert parse_quick(text, "").interface == config.interface
    return text


def test_what_says_the_same_stays_as_it_is_written() -> None:
    assert rewritten(CONFIG) == FILE.replace("\n\n\n", "\n\n")


def test_a_new_peer_comes_last() -> None:
    text = rewritten(TunnelConfig(CONFIG.interface, (NEW, *CONFIG.peers)))
    assert text == FILE.replace("\n\n\n", "\n\n") + f"\n[Peer]\nPublicKey = {C.public_key}\n"


def test_a_peer_that_is_gone_takes_its_comments_along() -> None:
    text = rewritten(TunnelConfig(CONFIG.interface, (SECOND,)))
    assert "laptop" not in text
    assert "# phone\n[Peer]" in text


def test_a_peer_that_has_changed_keeps_the_comments_in_front_of_it() -> None:
    text = rewritten(TunnelConfig(CONFIG.interface, (replace(FIRST, persistent_keepalive=25), SECOND)))
    assert f"# laptop\n[Peer]\nPublicKey = {A.public_key}\nAllowedIPs = 10.0.0.2/32\nPersistentKeepalive = 25\n" in text
    assert "# home" not in text
    assert "allowedips" in text


def test_another_interface_section_leaves_the_peers_alone() -> None:
    text = rewritten(replace(CONFIG, interface=replace(CONFIG.interface, listen_port=5)))
    assert text.startswith("# office gateway\n# ask Ada before changing\n\n[Interface]\n")
    assert "ListenPort = 5\n" in text
    assert "10.0.0.2/32   # home" in text


def test_the_order_of_networks_is_nothing_new() -> None:
    text = FILE.replace("10.0.0.2/32 ", "10.0.0.2/32, 10.5.0.0/16 ")
    config = parse_quick(text, "")
    turned = replace(config.peers[0], allowed_ips=config.peers[0].allowed_ips[::-1])
    assert "# home" in rewrite_quick(text, TunnelConfig(config.interface, (turned, SECOND)))


def test_a_file_that_is_none_is_not_rewritten() -> None:
    with pytest.raises(ConfigError):
        rewrite_quick("[Interface]\nx", CONFIG)

"""Certificates instead of keys, in a wg-quick file."""

from pathlib import Path

import pytest

from tests.unit.config.test_quick import PEER, PRIVATE
from tunnel.config.model import CertificateConfig, InterfaceConfig, TunnelConfig
from tunnel.config.quick import format_quick, parse_quick
from tunnel.endpoint import EndpointName
from tunnel.errors import ConfigError
from tunnel.keys import NO_PRIVATE_KEY, PrivateKey

EVERYTHING = """\
[Interface]
Identity = /etc/tunnel/identity.pem
CA = /etc/tunnel/old ca.pem
CA = /etc/tunnel/new.pem
CRL = /etc/tunnel/crl.pem
Peer = gw.example.com:51820
Peer = 192.0.2.1:443
Allow = laptop-*
Allow = *.example.com
MaxPeers = 7
Address = 10.9.0.1/24
"""


def parse(*lines: str, source: str = "/etc/tunnel/wg0.conf") -> TunnelConfig:
    return parse_quick("\n".join(lines), source)


def identity(*lines: str) -> CertificateConfig:
    """What a file with an identity says; what follows that starts on line 3."""
    certificates = parse("[Interface]", "Identity = identity.pem", *lines).interface.certificates
    assert certificates is not None
    return certificates


def refusal_of(*lines: str) -> str:
    with pytest.raises(ConfigError) as refusal:
        parse_quick("\n".join(lines), "wg0.conf")
    return str(refusal.value)


def test_every_setting_is_read() -> None:
    config = parse_quick(EVERYTHING, "/somewhere/wg0.conf")
    assert config.interface.certificates == CertificateConfig(
        identity=Path("/etc/tunnel/identity.pem"),
        authorities=(Path("/etc/tunnel/old ca.pem"), Path("/etc/tunnel/new.pem")),
        crls=(Path("/etc/tunnel/crl.pem"),),
        peers=(EndpointName("gw.example.com", 51820), EndpointName("192.0.2.1", 443)),
        allow=("laptop-*", "*.example.com"),
        max_peers=7,
    )
    assert config.interface.private_key == NO_PRIVATE_KEY


def test_a_written_file_is_the_shortest_that_says_it() -> None:
    assert format_quick(parse_quick(EVERYTHING, "")) == EVERYTHING
    bare = "[Interface]\nIdentity = /etc/tunnel/identity.pem\n"
    assert format_quick(parse_quick(bare, "")) == bare


def test_the_private_key_of_an_identity_is_never_written() -> None:
    identified = parse_quick(EVERYTHING, "").identified(PrivateKey(b"k" * 32), [], is_server=False)
    assert "PrivateKey" not in format_quick(identified)


def test_what_is_not_set_has_its_default() -> None:
    assert identity() == CertificateConfig(Path("/etc/tunnel/identity.pem"))
    assert (identity().allow, identity().max_peers) == ((), 1000)


def test_a_file_with_a_private_key_has_no_certificates() -> None:
    assert parse("[Interface]", f"PrivateKey = {PRIVATE}").interface.certificates is None


def test_settings_are_read_in_any_case() -> None:
    config = parse("[interface]", "IDENTITY=/i", "ca=/c", "crl=/l", "PEER=gw", "allow=*", "maxpeers=1")
    assert config.interface.certificates == CertificateConfig(
        Path("/i"), (Path("/c"),), (Path("/l"),), (EndpointName("gw", 51820),), ("*",), 1
    )


def test_lists_take_commas_and_several_lines_and_count_what_is_there_twice_once() -> None:
    assert identity("Allow = a, b", "Allow = c,a").allow == ("a", "b", "c")
    assert identity("Peer = gw1, gw2", "Peer = gw3").peers == tuple(EndpointName(f"gw{n}", 51820) for n in (1, 2, 3))


def test_relative_paths_are_relative_to_the_folder_of_the_file() -> None:
    read = identity("CA = sub/ca.pem, /ca.pem", "CRL = ../crl.pem")
    assert read.identity == Path("/etc/tunnel/identity.pem")
    assert read.authorities == (Path("/etc/tunnel/sub/ca.pem"), Path("/ca.pem"))
    assert read.crls == (Path("/etc/tunnel/../crl.pem"),)


def test_white_space_inside_a_path_or_a_pattern_belongs_to_it() -> None:
    assert identity("CA = my  ca.pem ").authorities == (Path("/etc/tunnel/my  ca.pem"),)
    assert identity("Allow = Road Warrior*").allow == ("Road Warrior*",)


def test_peers_with_keys_may_stand_beside_an_identity() -> None:
    config = parse("[Interface]", "Identity = i.pem", "[Peer]", f"PublicKey = {PEER}", "AllowedIPs = 10.0.0.2/32")
    assert len(config.peers) == 1


def test_no_public_key_is_taken_for_our_own_while_there_is_no_private_key() -> None:
    key = NO_PRIVATE_KEY.public_key
    assert parse("[Interface]", "Identity = i.pem", "[Peer]", f"PublicKey = {key}").peers[0].public_key == key


def test_a_default_route_is_refused_beside_an_identity_too() -> None:
    refusal = refusal_of("[Interface]", "Identity = i.pem", "[Peer]", f"PublicKey = {PEER}", "AllowedIPs = ::/0")
    assert refusal.startswith("wg0.conf:5: AllowedIPs: '::/0': a default route needs Table = off")


REFUSED = [
    ("Identity = b.pem", "wg0.conf:3: Identity: set on line 2 already"),
    ("PrivateKey = x", "wg0.conf:2: Identity: PrivateKey is set on line 3; an identity has a key of its own"),
    ("CA =", "wg0.conf:3: CA: '': empty"),
    ("CA = a.pem,", "wg0.conf:3: CA: '': empty"),
    ("CA = a\x1b[2J", "wg0.conf:3: CA: 'a\\x1b[2J': unprintable characters in it"),
    ("CRL = , b", "wg0.conf:3: CRL: '': empty"),
    ("Allow =", "wg0.conf:3: Allow: '': empty"),
    ("Allow = a,, b", "wg0.conf:3: Allow: '': empty"),
    ("Allow = a\u200eb", "wg0.conf:3: Allow: 'a\\u200eb': unprintable characters in it"),
    ("Peer =", "wg0.conf:3: Peer: '': empty"),
    ("Peer = gw 192.0.2.1", "wg0.conf:3: Peer: 'gw 192.0.2.1': not a host name"),
    ("Peer = gw:0", "wg0.conf:3: Peer: 'gw:0': port '0' is not a number from 1 to 65535"),
    ("Peer = gw, GW:51820", "wg0.conf:3: Peer: 'gw:51820': on line 3 already"),
    ("MaxPeers = 0", "wg0.conf:3: MaxPeers: '0': not in 1–100000"),
    ("MaxPeers = 100001", "wg0.conf:3: MaxPeers: '100001': not in 1–100000"),
    ("MaxPeers = many", "wg0.conf:3: MaxPeers: 'many': not a number"),
    ("MaxPeers = 1\nMaxPeers = 2", "wg0.conf:4: MaxPeers: set on line 3 already"),
    (
        "SaveConfig = true",
        "wg0.conf:3: SaveConfig: 'true': not with Identity, as it would write down what certificates say",
    ),
    ("[Peer]\nAllow = a", "wg0.conf:4: Allow: belongs in [Interface], not in [Peer]"),
    ("MaxPeer = 1", "wg0.conf:3: MaxPeer: unknown setting; did you mean MaxPeers?"),
]


@pytest.mark.parametrize(("line", "message"), REFUSED)
def test_a_bad_line_is_refused_with_its_place_and_reason(line: str, message: str) -> None:
    assert refusal_of("[Interface]", "Identity = identity.pem", line) == message


def test_an_identity_that_is_no_path_is_refused() -> None:
    assert refusal_of("[Interface]", "Identity =") == "wg0.conf:2: Identity: '': empty"


def test_a_key_in_the_place_of_a_path_is_refused_without_being_shown() -> None:
    assert refusal_of("[Interface]", f"Identity = {PRIVATE}") == "wg0.conf:2: Identity: '(key)': a key, not a file"


@pytest.mark.parametrize("line", ["CA = a.pem", "CRL = a.pem", "Peer = gw", "Allow = *", "MaxPeers = 5"])
def test_what_needs_an_identity_is_refused_without_one(line: str) -> None:
    key = line.partition(" ")[0]
    refusal = refusal_of("[Interface]", f"PrivateKey = {PRIVATE}", line)
    assert refusal == f"wg0.conf:3: {key}: needs Identity in place of PrivateKey"


def test_saving_nothing_goes_with_an_identity() -> None:
    assert not parse("[Interface]", "Identity = i.pem", "SaveConfig = false").interface.save_config


@pytest.mark.parametrize("path", ["/a#b", "/a\nb", "/a ", "/a,b"])
def test_a_path_that_no_list_can_hold_is_not_written(path: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        format_quick(written(CertificateConfig(Path("/i"), crls=(Path(path),))))
    assert str(refusal.value) == (
        "CRL: a value with '#', a comma, a line break or white space around it cannot be written"
    )


def test_an_identity_may_have_a_comma_in_its_path_and_no_hash() -> None:
    assert "Identity = /a, b\n" in format_quick(written(CertificateConfig(Path("/a, b"))))
    with pytest.raises(ConfigError) as refusal:
        format_quick(written(CertificateConfig(Path("/a#b"))))
    assert str(refusal.value) == ("Identity: a value with '#', a line break or white space around it cannot be written")


def written(certificates: CertificateConfig) -> TunnelConfig:
    return TunnelConfig(InterfaceConfig(NO_PRIVATE_KEY, certificates=certificates))

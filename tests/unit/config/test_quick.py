"""What a wg-quick file means to us."""

from ipaddress import ip_interface, ip_network

import pytest

from tunnel.config.model import Hooks, Offload, RouteTable, TunnelConfig
from tunnel.config.quick import format_quick, is_world_accessible, parse_quick
from tunnel.endpoint import EndpointName
from tunnel.errors import ConfigError
from tunnel.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey

PRIVATE = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
PEER = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
OTHER_PEER = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="
PSK = "/UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak="

EVERYTHING = f"""\
# a comment before anything
[Interface]
PrivateKey = {PRIVATE}
Address = 10.0.0.1/24, fd00::1/64
Address = 10.1.0.1
ListenPort = 51820
FwMark = 0xca6c
MTU = 1380
Table = 1234
Offload = send
Extensions = off
SaveConfig = true
PreUp = echo one
PreUp = echo  "two, three"  # and not this
PostUp = iptables -A FORWARD -i %i -j ACCEPT; test a = a
PreDown = true
PostDown = echo bye

[Peer]
PublicKey = {PEER}
PresharedKey = {PSK}
AllowedIPs = 10.0.0.2/32, fd00::2/128
AllowedIPs = 192.168.7.9/24
Endpoint = vpn.example.com:51820
PersistentKeepalive = 25
"""


def parse(*lines: str) -> TunnelConfig:
    return parse_quick("\n".join(lines), "wg0.conf")


def interface(*lines: str) -> TunnelConfig:
    """A file of one [Interface]; what follows the private key starts on line 3."""
    return parse("[Interface]", f"PrivateKey = {PRIVATE}", *lines)


def peer(*lines: str) -> TunnelConfig:
    """A file with one [Peer]; what follows the public key starts on line 5."""
    return interface("[Peer]", f"PublicKey = {PEER}", *lines)


def test_every_setting_of_the_interface_is_read() -> None:
    read = parse_quick(EVERYTHING, "wg0.conf").interface
    assert read.private_key == PrivateKey.from_base64(PRIVATE)
    assert read.addresses == (ip_interface("10.0.0.1/24"), ip_interface("fd00::1/64"), ip_interface("10.1.0.1/32"))
    assert (read.listen_port, read.fwmark, read.mtu, read.table) == (51820, 0xCA6C, 1380, 1234)
    assert (read.offload, read.extensions) == (Offload.SEND, False)
    assert read.save_config


def test_hooks_keep_their_order_and_their_inner_white_space_and_lose_what_follows_a_hash() -> None:
    assert parse_quick(EVERYTHING, "wg0.conf").interface.hooks == Hooks(
        pre_up=("echo one", 'echo  "two, three"'),
        post_up=("iptables -A FORWARD -i %i -j ACCEPT; test a = a",),
        pre_down=("true",),
        post_down=("echo bye",),
    )


def test_every_setting_of_a_peer_is_read() -> None:
    (read,) = parse_quick(EVERYTHING, "wg0.conf").peers
    assert read.public_key == PublicKey.from_base64(PEER)
    assert read.preshared_key == PresharedKey.from_base64(PSK)
    assert read.allowed_ips == (ip_network("10.0.0.2"), ip_network("fd00::2"), ip_network("192.168.7.0/24"))
    assert read.endpoint == EndpointName("vpn.example.com", 51820)
    assert read.persistent_keepalive == 25


def test_what_is_not_set_has_wg_quicks_default() -> None:
    config = peer()
    assert config.interface.table is RouteTable.AUTO
    assert config.interface.mtu is None
    assert (config.interface.offload, config.interface.extensions) == (Offload.AUTO, True)
    assert (config.interface.listen_port, config.interface.fwmark, config.interface.save_config) == (0, 0, False)
    assert config.peers[0].preshared_key == NO_PRESHARED_KEY
    assert config.peers[0].endpoint is None
    assert config.peers[0].allowed_ips == ()


def test_sections_and_keys_are_read_in_any_case() -> None:
    config = parse("[INTERFACE]", f"privatekey={PRIVATE}", "[peer]", f"PUBLICKEY={PEER}", "allowedips=10.0.0.2")
    assert config.peers[0].allowed_ips == (ip_network("10.0.0.2/32"),)


def test_windows_line_ends_and_tabs_are_white_space() -> None:
    assert interface("\tListenPort\t=\t7\r", "  \r").interface.listen_port == 7


def test_white_space_inside_wgs_own_settings_is_dropped_as_wg_drops_it() -> None:
    assert interface("[ Peer ]", f"Public Key = {PEER}", "AllowedIPs = 10.0.0.0 / 8").peers[0].allowed_ips == (
        ip_network("10.0.0.0/8"),
    )


def test_addresses_may_be_separated_by_spaces_as_in_wg_quick() -> None:
    assert interface("Address = 10.0.0.1/24 10.0.1.1/24,").interface.addresses == (
        ip_interface("10.0.0.1/24"),
        ip_interface("10.0.1.1/24"),
    )


def test_a_unicode_line_separator_does_not_end_a_line() -> None:
    assert interface("PostUp = echo a\u2028MTU = 1\x85").interface.hooks.post_up == ("echo a\u2028MTU = 1\x85",)


@pytest.mark.parametrize(("text", "table"), [("off", RouteTable.OFF), ("auto", RouteTable.AUTO), ("", RouteTable.AUTO)])
def test_table_takes_a_word(text: str, table: RouteTable) -> None:
    assert interface(f"Table = {text}").interface.table is table


@pytest.mark.parametrize(("text", "table"), [("1234", 1234), ("0x10", 16), ("main", 254)])
def test_table_takes_a_number_or_the_name_of_a_standard_table(text: str, table: int) -> None:
    assert interface(f"Table = {text}").interface.table == table


@pytest.mark.parametrize(
    ("text", "offload"),
    [("auto", Offload.AUTO), ("off", Offload.OFF), ("Send", Offload.SEND), ("RECEIVE", Offload.RECEIVE)],
)
def test_offload_takes_a_direction_in_any_case(text: str, offload: Offload) -> None:
    assert interface(f"offload = {text}").interface.offload is offload


@pytest.mark.parametrize(
    ("offload", "sends", "receives"),
    [
        (Offload.AUTO, True, True),
        (Offload.OFF, False, False),
        (Offload.SEND, True, False),
        (Offload.RECEIVE, False, True),
    ],
)
def test_each_offload_has_its_directions(offload: Offload, sends: bool, receives: bool) -> None:
    assert (offload.sends, offload.receives) == (sends, receives)


@pytest.mark.parametrize(("text", "wanted"), [("auto", True), ("OFF", False)])
def test_extensions_are_used_or_not(text: str, wanted: bool) -> None:
    assert interface(f"EXTENSIONS = {text}").interface.extensions is wanted


def test_settings_of_our_own_are_only_written_where_wg_quick_would_do_something_else() -> None:
    assert not {"Offload", "Extensions"} & set(format_quick(interface("Offload = auto", "Extensions = auto")).split())
    written = format_quick(interface("Offload = receive", "Extensions = off"))
    assert "\nOffload = receive\nExtensions = off\n" in written


@pytest.mark.parametrize(
    ("text", "mark"), [("off", 0), ("OFF", 0), ("0", 0), ("0xFFffFFff", 0xFFFFFFFF), ("51820", 51820)]
)
def test_fwmark_takes_off_decimal_and_hexadecimal(text: str, mark: int) -> None:
    assert interface(f"FwMark = {text}").interface.fwmark == mark


@pytest.mark.parametrize(("text", "seconds"), [("off", 0), ("0", 0), ("65535", 65535)])
def test_persistent_keepalive_takes_off_and_seconds(text: str, seconds: int) -> None:
    assert peer(f"PersistentKeepalive = {text}").peers[0].persistent_keepalive == seconds


def test_empty_lists_hooks_mtu_and_dns_say_nothing() -> None:
    config = interface("Address =", "MTU =", "DNS =", "PostUp =", "[Peer]", f"PublicKey = {PEER}", "AllowedIPs =")
    assert config == peer()


def test_an_allowed_ip_given_twice_to_one_peer_counts_once() -> None:
    assert peer("AllowedIPs = 10.0.0.1/24, 10.0.0.2/24").peers[0].allowed_ips == (ip_network("10.0.0.0/24"),)


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("192.0.2.1:51820", EndpointName("192.0.2.1", 51820)),
        ("[2001:db8::1]:51820", EndpointName("2001:db8::1", 51820)),
        ("[fe80::1%eth0]:51820", EndpointName("fe80::1%eth0", 51820)),
        ("host:1", EndpointName("host", 1)),
    ],
)
def test_an_endpoint_is_a_name_or_an_address_with_a_port(text: str, endpoint: EndpointName) -> None:
    assert peer(f"Endpoint = {text}").peers[0].endpoint == endpoint


REFUSED_IN_INTERFACE = [
    ("ListenPort = 65536", "wg0.conf:3: ListenPort: '65536': not in 0–65535"),
    ("ListenPort = http", "wg0.conf:3: ListenPort: 'http': not a number"),
    ("ListenPort = -1", "wg0.conf:3: ListenPort: '-1': not a number"),
    ("ListenPort = ٣", "wg0.conf:3: ListenPort: '٣': not a number"),
    ("ListenPort =", "wg0.conf:3: ListenPort: '': empty"),
    ("MTU = 575", "wg0.conf:3: MTU: '575': not in 576–65475"),
    ("MTU = 65476", "wg0.conf:3: MTU: '65476': not in 576–65475"),
    ("FwMark = 0x100000000", "wg0.conf:3: FwMark: '0x100000000': not in 0x0–0xffffffff"),
    ("FwMark = 0x", "wg0.conf:3: FwMark: '0x': not a hexadecimal number"),
    ("FwMark = 0x+1", "wg0.conf:3: FwMark: '0x+1': not a hexadecimal number"),
    ("Table = vpn", "wg0.conf:3: Table: 'vpn': neither auto, off nor a table's number"),
    ("Table = 0", "wg0.conf:3: Table: '0': not in 1–4294967295"),
    ("SaveConfig = yes", "wg0.conf:3: SaveConfig: 'yes': neither true nor false"),
    ("Offload = on", "wg0.conf:3: Offload: 'on': neither auto, off, send nor receive"),
    ("Offload =", "wg0.conf:3: Offload: '': neither auto, off, send nor receive"),
    ("Extensions = on", "wg0.conf:3: Extensions: 'on': neither auto nor off"),
    ("Extension = off", "wg0.conf:3: Extension: unknown setting; did you mean Extensions?"),
    ("Address = 10.0.0.256/24", "wg0.conf:3: Address: '10.0.0.256/24': not an IPv4 address"),
    ("Address = fd00::1/129", "wg0.conf:3: Address: 'fd00::1/129': prefix longer than 128"),
    ("Address = fd00::1%3/64", "wg0.conf:3: Address: 'fd00::1%3/64': a zone has no place here"),
    ("Address = 10.0.0.1/255.0.0.0", "wg0.conf:3: Address: '10.0.0.1/255.0.0.0': the prefix length is not a number"),
    ("PrivateKey = x", "wg0.conf:3: PrivateKey: set on line 2 already"),
    ("AllowedIPs = 10.0.0.0/8", "wg0.conf:3: AllowedIPs: belongs in [Peer], not in [Interface]"),
    ("PostUpp = true", "wg0.conf:3: PostUpp: unknown setting; did you mean PostUp?"),
    ("AllowedIP = 10.0.0.0/8", "wg0.conf:3: AllowedIP: unknown setting; did you mean AllowedIPs?"),
    ("Zzz = 1", "wg0.conf:3: Zzz: unknown setting"),
    ("Listen Port 7", "wg0.conf:3: expected 'Key = value' or a section"),
    ("[Peers]", "wg0.conf:3: '[Peers]': neither [Interface] nor [Peer]"),
    ("[Peer", "wg0.conf:3: '[Peer': neither [Interface] nor [Peer]"),
    ("[Interface]", "wg0.conf:3: a second [Interface]; the first is on line 1"),
    ("MTU = 1\0", "wg0.conf:3: a NUL byte: not a text file"),
]


@pytest.mark.parametrize(("line", "message"), REFUSED_IN_INTERFACE)
def test_a_bad_line_of_the_interface_is_refused_with_its_place_and_reason(line: str, message: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        interface(line)
    assert str(refusal.value) == message


REFUSED_IN_PEER = [
    ("AllowedIPs = 10.0.0.0/33", "wg0.conf:5: AllowedIPs: '10.0.0.0/33': prefix longer than 32"),
    ("AllowedIPs = 10.0.0.0/8,", "wg0.conf:5: AllowedIPs: '': nothing between two commas"),
    ("AllowedIPs = 10.0.0.0/8 10.1.0.0/16", None),
    ("AllowedIPs = 10.0.0.0/", "wg0.conf:5: AllowedIPs: '10.0.0.0/': the prefix length is not a number"),
    ("AllowedIPs = -10.0.0.0/8", None),
    ("Endpoint = 192.0.2.1", "wg0.conf:5: Endpoint: '192.0.2.1': expected host:port"),
    ("Endpoint = 192.0.2.1:0", "wg0.conf:5: Endpoint: '192.0.2.1:0': port '0' is not a number from 1 to 65535"),
    ("Endpoint = 192.0.2.256:1", "wg0.conf:5: Endpoint: '192.0.2.256:1': not an IPv4 address"),
    ("Endpoint = 2001:db8::1:51820", None),
    ("Endpoint = https://a:1", "wg0.conf:5: Endpoint: 'https://a:1': expected host:port, not a URL or a prefix"),
    ("PersistentKeepalive = 65536", "wg0.conf:5: PersistentKeepalive: '65536': not in 0–65535"),
    ("MTU = 1400", "wg0.conf:5: MTU: belongs in [Interface], not in [Peer]"),
    (f"PublicKey = {OTHER_PEER}", "wg0.conf:5: PublicKey: set on line 4 already"),
]


@pytest.mark.parametrize(("line", "message"), REFUSED_IN_PEER)
def test_a_bad_line_of_a_peer_is_refused_with_its_place_and_reason(line: str, message: str | None) -> None:
    with pytest.raises(ConfigError) as refusal:
        peer(line)
    assert refusal.value.line == 5
    assert str(refusal.value) == message or message is None


def refusal_of(*lines: str) -> str:
    with pytest.raises(ConfigError) as refusal:
        parse(*lines)
    return str(refusal.value)


def test_an_empty_file_is_refused() -> None:
    assert refusal_of("") == "wg0.conf: no [Interface] section"


def test_a_setting_before_any_section_is_refused() -> None:
    assert refusal_of("MTU = 1400") == "wg0.conf:1: a setting before any [Interface] or [Peer]"


def test_an_interface_with_neither_a_private_key_nor_an_identity_is_refused() -> None:
    assert refusal_of("", "[Interface]") == "wg0.conf:2: [Interface] has neither PrivateKey nor Identity"


def test_a_private_key_of_zeros_is_refused() -> None:
    refusal = refusal_of("[Interface]", f"PrivateKey = {NO_PRESHARED_KEY.to_base64()}")
    assert refusal == "wg0.conf:2: PrivateKey: the private key is all zeros"


@pytest.mark.parametrize("line", [f"PrivateKey = x{PRIVATE}", f"PrivateKey {PRIVATE}", PRIVATE, f"{PRIVATE} = 1"])
def test_a_secret_in_a_bad_line_is_never_shown(line: str) -> None:
    refusal = refusal_of("[Interface]", line)
    assert refusal.startswith("wg0.conf:2: ")
    assert PRIVATE[:20] not in refusal


@pytest.mark.parametrize("setting", ["ListenPort", "Address", "MTU", "Table", "DNS"])
def test_a_key_that_was_pasted_on_the_wrong_line_is_not_shown(setting: str) -> None:
    refusal = refusal_of("[Interface]", f"PrivateKey = {PRIVATE}", f"{setting} = {PRIVATE}")
    assert refusal.startswith(f"wg0.conf:3: {setting}: '(key)': ")


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in refusal_of("[Interface]", "Table = \x1b[2J")


def test_a_peer_without_a_public_key_is_refused_at_its_section() -> None:
    refusal = refusal_of("[Interface]", f"PrivateKey = {PRIVATE}", "[Peer]", "AllowedIPs = 10.0.0.0/8")
    assert refusal == "wg0.conf:3: [Peer] has no PublicKey"


def test_a_peer_given_twice_is_refused_with_both_lines() -> None:
    with pytest.raises(ConfigError, match=r"wg0.conf:6: PublicKey: '.*': a peer on line 4 already"):
        peer("[Peer]", f"PublicKey = {PEER}")


def test_our_own_public_key_as_a_peer_is_refused() -> None:
    own = PrivateKey.from_base64(PRIVATE).public_key
    with pytest.raises(ConfigError, match=r"wg0.conf:4: PublicKey: '.*': our own public key"):
        interface("[Peer]", f"PublicKey = {own}")


def test_an_address_given_twice_is_refused_with_both_lines() -> None:
    with pytest.raises(ConfigError, match=r"wg0.conf:4: Address: '10.0.0.1/24': on line 3 already"):
        interface("Address = 10.0.0.1/24", "Address = 10.0.0.1/24")


def test_an_allowed_ip_of_two_peers_is_refused_with_both_lines() -> None:
    with pytest.raises(ConfigError) as refusal:
        peer("AllowedIPs = 10.0.0.1/24", "[Peer]", f"PublicKey = {OTHER_PEER}", "AllowedIPs = 10.0.0.2/24")
    assert str(refusal.value) == (
        "wg0.conf:8: AllowedIPs: '10.0.0.0/24': belongs to the peer of line 3 already (line 5)"
    )


def test_dns_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(ConfigError, match=r"wg0.conf:3: DNS: '10.0.0.53': not supported; .* PostUp = resolvectl"):
        interface("DNS = 10.0.0.53")


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_a_default_route_is_refused_with_what_to_do_instead(network: str) -> None:
    with pytest.raises(ConfigError, match=rf"wg0.conf:5: AllowedIPs: '{network}': a default route needs Table = off"):
        peer(f"AllowedIPs = {network}")


@pytest.mark.parametrize("table", ["off", "1234"])
def test_a_default_route_that_nothing_consults_by_itself_is_allowed(table: str) -> None:
    config = interface(f"Table = {table}", "[Peer]", f"PublicKey = {PEER}", "AllowedIPs = 0.0.0.0/0, ::/0")
    assert len(config.peers[0].allowed_ips) == 2


def test_an_ipv6_address_on_an_mtu_too_small_for_ipv6_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"wg0.conf:4: MTU: '1279': IPv6 .* at least 1280"):
        interface("Address = fd00::1/64", "MTU = 1279")


def test_an_ipv6_route_on_an_mtu_too_small_for_ipv6_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"wg0.conf:3: MTU: '1000'"):
        interface("MTU = 1000", "[Peer]", f"PublicKey = {PEER}", "AllowedIPs = fd00::/64")


def test_a_numeric_endpoint_inside_its_own_allowed_ips_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"wg0.conf:6: Endpoint: '10.0.0.5:1': inside 10.0.0.0/8"):
        peer("AllowedIPs = 10.0.0.0/8", "Endpoint = 10.0.0.5:1")


def test_a_file_that_is_no_configuration_is_refused_by_its_length() -> None:
    assert refusal_of("#" * (16 << 20) + "#") == "wg0.conf: longer than 16 MiB: not a configuration file"


def test_a_written_file_is_the_shortest_that_says_it() -> None:
    assert (
        format_quick(parse_quick(EVERYTHING, ""))
        == f"""\
[Interface]
PrivateKey = {PRIVATE}
Address = 10.0.0.1/24
Address = fd00::1/64
Address = 10.1.0.1/32
ListenPort = 51820
FwMark = 0xca6c
MTU = 1380
Table = 1234
Offload = send
Extensions = off
SaveConfig = true
PreUp = echo one
PreUp = echo  "two, three"
PostUp = iptables -A FORWARD -i %i -j ACCEPT; test a = a
PreDown = true
PostDown = echo bye

[Peer]
PublicKey = {PEER}
PresharedKey = {PSK}
AllowedIPs = 10.0.0.2/32, fd00::2/128, 192.168.7.0/24
Endpoint = vpn.example.com:51820
PersistentKeepalive = 25
"""
    )


@pytest.mark.parametrize(
    ("file_mode", "directory_mode", "is_accessible"),
    [(0o100644, 0o755, True), (0o100602, 0o711, True), (0o100640, 0o755, False), (0o100644, 0o700, False)],
)
def test_a_file_is_world_accessible_if_others_get_at_it_through_its_directory(
    file_mode: int, directory_mode: int, is_accessible: bool
) -> None:
    assert is_world_accessible(file_mode, directory_mode) is is_accessible

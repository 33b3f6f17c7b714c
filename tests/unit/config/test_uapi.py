"""What wg(8) says to a userspace implementation, and what it hears."""

from errno import EADDRINUSE, EINVAL, EPROTO
from ipaddress import ip_network

import pytest

from tunnel.config.patch import AllowedIPChange, DevicePatch, PeerPatch
from tunnel.config.snapshot import DeviceSnapshot, PeerSnapshot
from tunnel.config.uapi import Operation, UapiError, format_errno, format_get, parse_get, parse_set
from tunnel.endpoint import Endpoint, Source
from tunnel.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey

KEY, A, B = "a8" * 32, "aa" * 32, "bb" * 32
NETWORK, OTHER = ip_network("10.0.0.0/24"), ip_network("fd00::/64")


def peer_patch(*lines: str) -> PeerPatch:
    (peer,) = parse_set("\n".join([f"public_key={A}", *lines, "", ""])).peers
    return peer


def test_everything_that_wg_setconf_sends_is_understood() -> None:
    text = (
        f"private_key={KEY}\nlisten_port=51820\nfwmark=51820\nreplace_peers=true\n"
        f"public_key={A}\npreshared_key={B}\nendpoint=[2001:db8::1]:1234\npersistent_keepalive_interval=25\n"
        f"replace_allowed_ips=true\nallowed_ip=10.0.0.0/24\nallowed_ip=fd00::/64\n"
        f"public_key={B}\nremove=true\n\n"
    )
    assert parse_set(text) == DevicePatch(
        private_key=PrivateKey.from_hex(KEY),
        listen_port=51820,
        fwmark=51820,
        replace_peers=True,
        peers=(
            PeerPatch(
                public_key=PublicKey.from_hex(A),
                preshared_key=PresharedKey.from_hex(B),
                endpoint=Endpoint("2001:db8::1", 1234),
                persistent_keepalive=25,
                replace_allowed_ips=True,
                allowed_ips=(AllowedIPChange(NETWORK), AllowedIPChange(OTHER)),
            ),
            PeerPatch(public_key=PublicKey.from_hex(B), remove=True),
        ),
    )


def test_an_empty_set_changes_nothing() -> None:
    assert parse_set("\n") == parse_set("") == DevicePatch()


def test_what_follows_the_blank_line_is_not_read() -> None:
    assert parse_set("fwmark=1\n\nnonsense").fwmark == 1


def test_the_last_of_repeated_values_counts() -> None:
    assert parse_set("fwmark=1\nfwmark=2\n\n").fwmark == 2


def test_a_peer_may_come_twice_and_order_is_kept() -> None:
    patch = parse_set(f"public_key={A}\nremove=true\npublic_key={B}\npublic_key={A}\n\n")
    assert [peer.public_key.to_hex() for peer in patch.peers] == [A, B, A]
    assert [peer.remove for peer in patch.peers] == [True, False, False]


def test_zero_takes_keys_port_mark_and_keepalive_away() -> None:
    patch = parse_set(f"private_key={'0' * 64}\nlisten_port=0\nfwmark=0\npublic_key={A}\npreshared_key={'0' * 64}\n\n")
    assert patch.private_key is not None
    assert patch.private_key.is_zero
    assert (patch.listen_port, patch.fwmark) == (0, 0)
    assert patch.peers[0].preshared_key == NO_PRESHARED_KEY


def test_host_bits_of_an_allowed_ip_are_masked() -> None:
    assert peer_patch("allowed_ip=10.0.0.7/24").allowed_ips == (AllowedIPChange(NETWORK),)


def test_an_allowed_ip_with_a_sign_is_added_or_taken_away() -> None:
    assert peer_patch("allowed_ip=+10.0.0.0/24", "allowed_ip=-fd00::/64").allowed_ips == (
        AllowedIPChange(NETWORK),
        AllowedIPChange(OTHER, remove=True),
    )


def test_replacing_after_adding_takes_from_everybody_and_keeps_only_what_follows() -> None:
    peer = peer_patch("allowed_ip=10.0.0.0/24", "replace_allowed_ips=true", "allowed_ip=fd00::/64")
    assert peer.replace_allowed_ips
    assert peer.allowed_ips == (
        AllowedIPChange(NETWORK),
        AllowedIPChange(NETWORK, remove=True),
        AllowedIPChange(OTHER),
    )


def test_update_only_and_protocol_version_are_understood() -> None:
    assert peer_patch("update_only=true", "protocol_version=1") == PeerPatch(PublicKey.from_hex(A), update_only=True)


def test_a_zone_by_name_is_looked_up_as_wg_sends_it() -> None:
    patch = parse_set(f"public_key={A}\nendpoint=[fe80::1%eth0]:9\n\n", {"eth0": 3}.__getitem__)
    assert patch.peers[0].endpoint == Endpoint("fe80::1", 9, scope_id=3)


def test_a_zone_that_nobody_knows_is_invalid() -> None:
    def no_such_interface(name: str) -> int:
        raise OSError(f"no interface {name}")

    with pytest.raises(UapiError) as refusal:
        parse_set(f"public_key={A}\nendpoint=[fe80::1%eth0]:9\n\n", no_such_interface)
    assert refusal.value.errno == EINVAL


INVALID = [
    "private_key=",
    "private_key=aa",
    f"private_key={KEY}0",
    "private_key=" + "g" * 64,
    "listen_port=65536",
    "listen_port=-1",
    "listen_port=0x10",
    "listen_port= 1",
    "listen_port=1_0",
    "listen_port=" + "9" * 5000,
    "fwmark=4294967296",
    "fwmark=off",
    "fwmark=",
    "replace_peers=false",
    "replace_peers=",
    "set=1",
    "remove=true",
    "=",
    "allowed_ip=10.0.0.0/24",
    "public_key=",
    f"public_key={A}\nlisten_port=1",
    f"public_key={A}\nremove=false",
    f"public_key={A}\nupdate_only=1",
    f"public_key={A}\nreplace_allowed_ips=True",
    f"public_key={A}\npreshared_key=00",
    f"public_key={A}\nendpoint=example.com:1",
    f"public_key={A}\nendpoint=192.0.2.1",
    f"public_key={A}\nendpoint=192.0.2.1:65536",
    f"public_key={A}\nendpoint=[fe80::1%eth0]:1",
    f"public_key={A}\nendpoint=[fe80::1%4294967296]:1",
    f"public_key={A}\npersistent_keepalive_interval=65536",
    f"public_key={A}\npersistent_keepalive_interval=off",
    f"public_key={A}\nallowed_ip=",
    f"public_key={A}\nallowed_ip=-",
    f"public_key={A}\nallowed_ip=10.0.0.0",
    f"public_key={A}\nallowed_ip=10.0.0.0/33",
    f"public_key={A}\nallowed_ip=10.0.0.0/-1",
    f"public_key={A}\nallowed_ip=--10.0.0.0/8",
    f"public_key={A}\nprotocol_version=2",
    f"public_key={A}\nlast_handshake_time_sec=0",
]


@pytest.mark.parametrize("text", INVALID, ids=lambda text: text[-60:])
def test_a_bad_key_or_value_is_einval(text: str) -> None:
    with pytest.raises(UapiError) as refusal:
        parse_set(text + "\n\n")
    assert refusal.value.errno == EINVAL


def test_a_line_without_an_equals_sign_is_eproto() -> None:
    with pytest.raises(UapiError) as refusal:
        parse_set("listen_port\n\n")
    assert refusal.value.errno == EPROTO


@pytest.mark.parametrize("line", [f"private_key={KEY}0", f"{KEY}=1", f"preshared_key={KEY}", f"private_key {KEY}"])
def test_a_refusal_shows_no_secret(line: str) -> None:
    with pytest.raises(UapiError) as refusal:
        parse_set(line)
    assert KEY[:16] not in str(refusal.value)


def test_a_refusal_names_line_and_key() -> None:
    with pytest.raises(UapiError, match=r"^set: line 2: fwmark: not a number$"):
        parse_set("listen_port=1\nfwmark=x\n\n")


FULL = DeviceSnapshot(
    private_key=PrivateKey.from_hex(KEY),
    listen_port=51820,
    fwmark=7,
    peers=(
        PeerSnapshot(
            public_key=PublicKey.from_hex(A),
            preshared_key=PresharedKey.from_hex(B),
            endpoint=Endpoint("fe80::1", 9, scope_id=3),
            allowed_ips=(NETWORK, OTHER),
            persistent_keepalive=25,
            last_handshake=1_700_000_000.25,
            rx_bytes=10,
            tx_bytes=20,
        ),
        PeerSnapshot(public_key=PublicKey.from_hex(B)),
    ),
    drops={},
)
FULL_TEXT = f"""\
private_key={PrivateKey.from_hex(KEY).to_hex()}
listen_port=51820
fwmark=7
public_key={A}
preshared_key={B}
protocol_version=1
endpoint=[fe80::1%3]:9
last_handshake_time_sec=1700000000
last_handshake_time_nsec=250000000
tx_bytes=20
rx_bytes=10
persistent_keepalive_interval=25
allowed_ip=10.0.0.0/24
allowed_ip=fd00::/64
public_key={B}
preshared_key={"0" * 64}
protocol_version=1
last_handshake_time_sec=0
last_handshake_time_nsec=0
tx_bytes=0
rx_bytes=0
persistent_keepalive_interval=0
"""


def test_get_answers_in_wireguard_gos_order() -> None:
    assert format_get(FULL) == FULL_TEXT


def test_get_of_a_bare_device_is_empty() -> None:
    assert format_get(DeviceSnapshot(None, 0, 0, (), {})) == ""
    assert format_get(DeviceSnapshot(PrivateKey(bytes(32)), 0, 0, (), {})) == ""


def test_the_source_of_an_endpoint_and_drops_do_not_travel() -> None:
    peer = PeerSnapshot(PublicKey.from_hex(A), endpoint=Endpoint("192.0.2.1", 9, source=Source("192.0.2.2", 1)))
    (read,) = parse_get(format_get(DeviceSnapshot(None, 0, 0, (peer,), {"replayed": 1}))).peers
    assert read.endpoint == Endpoint("192.0.2.1", 9)


@pytest.mark.parametrize(
    ("time", "lines"),
    [(1.9999999999, "sec=2 nsec=0"), (-5.5, "sec=0 nsec=0"), (0.5, "sec=0 nsec=500000000")],
)
def test_a_time_is_whole_seconds_and_nanoseconds(time: float, lines: str) -> None:
    text = format_get(DeviceSnapshot(None, 0, 0, (PeerSnapshot(PublicKey.from_hex(A), last_handshake=time),), {}))
    second, nanosecond = lines.split()
    assert f"last_handshake_time_{second}\nlast_handshake_time_{nanosecond}\n" in text


def test_the_answer_is_read_back() -> None:
    assert parse_get(FULL_TEXT + format_errno(Operation.GET)) == FULL


def test_keys_of_other_implementations_are_passed_over() -> None:
    assert parse_get(f"colour=red\npublic_key={A}\nshape=round\nerrno=0\n\n").peers[0].public_key.to_hex() == A


@pytest.mark.parametrize("answer", ["errno=19\n\n", "errno=-19\n\n"])
def test_an_answer_with_an_errno_raises_it(answer: str) -> None:
    with pytest.raises(UapiError) as refusal:
        parse_get(answer)
    assert refusal.value.errno == 19


@pytest.mark.parametrize(
    "answer", ["nonsense\n\n", "errno=x\n\n", "fwmark=x\n\n", "public_key=\n\n", "private_key=a\n"]
)
def test_a_bad_answer_is_eproto(answer: str) -> None:
    with pytest.raises(UapiError) as refusal:
        parse_get(answer)
    assert refusal.value.errno == EPROTO


def test_errno_has_the_sign_that_wg_understands() -> None:
    assert format_errno(Operation.SET, EADDRINUSE) == "errno=-98\n\n"
    assert format_errno(Operation.GET, EINVAL) == "errno=22\n\n"
    assert format_errno(Operation.SET) == format_errno(Operation.GET) == "errno=0\n\n"

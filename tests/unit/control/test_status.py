import json

import pytest

from tunnel.config.patch import IPNetwork
from tunnel.config.snapshot import DeviceSnapshot, PeerSnapshot
from tunnel.config.values import parse_network
from tunnel.control.status import InterfaceStatus, MemberStatus, PeerStatus
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.keys import PresharedKey, PrivateKey, PublicKey

PRIVATE_KEY = PrivateKey(bytes(range(32)))
PRESHARED_KEY = PresharedKey(bytes([9] * 32))
PEER = PublicKey(bytes([7] * 32))
NETWORKS: tuple[IPNetwork, ...] = (parse_network("10.0.0.0/24"), parse_network("fd00::/64"))
SNAPSHOT = DeviceSnapshot(
    private_key=PRIVATE_KEY,
    listen_port=51820,
    fwmark=0x51,
    peers=(
        PeerSnapshot(
            public_key=PEER,
            preshared_key=PRESHARED_KEY,
            endpoint=Endpoint.parse("[2001:db8::1]:51820"),
            allowed_ips=NETWORKS,
            persistent_keepalive=25,
            last_handshake=1700000000.5,
            rx_bytes=148,
            tx_bytes=92,
            drops={"replayed": 2, "tag_failed": 0},
            path_mtu=1280,
            max_packet=1220,
        ),
    ),
    drops={"wrong_mac1": 5, "replayed": 0},
)


def _status() -> InterfaceStatus:
    names = {PEER: EndpointName("vpn.example.com", 51820)}
    return InterfaceStatus.from_snapshot(
        SNAPSHOT,
        name="wg0",
        mtu=1420,
        pid=4711,
        receive_buffer=7 << 20,
        send_buffer=6 << 20,
        send_offloads={"gso", "csum"},
        receive_offloads=["gro"],
        endpoint_names=names,
        identity="laptop",
        certificate_expires=1800000000.0,
        refusals={"expired": 3, "revoked": 0},
        dialling="gw.example.com, no answer for 12 s",
        members={PEER: MemberStatus("gw", 1790000000.0, "dialled as gw.example.com")},
    )


def test_a_status_survives_its_json_form() -> None:
    assert InterfaceStatus.from_json(_status().to_json()) == _status()


def test_the_json_form_is_the_documented_one() -> None:
    assert json.loads(_status().to_json()) == {
        "version": 1,
        "name": "wg0",
        "public_key": str(PRIVATE_KEY.public_key),
        "listen_port": 51820,
        "fwmark": 0x51,
        "mtu": 1420,
        "pid": 4711,
        "receive_buffer": 7 << 20,
        "send_buffer": 6 << 20,
        "send_offloads": ["csum", "gso"],
        "receive_offloads": ["gro"],
        "drops": {"wrong_mac1": 5},
        "identity": "laptop",
        "certificate_expires": 1800000000.0,
        "refusals": {"expired": 3},
        "dialling": "gw.example.com, no answer for 12 s",
        "peers": [
            {
                "public_key": str(PEER),
                "has_preshared_key": True,
                "endpoint_name": "vpn.example.com:51820",
                "endpoint": "[2001:db8::1]:51820",
                "allowed_ips": ["10.0.0.0/24", "fd00::/64"],
                "last_handshake": 1700000000.5,
                "rx_bytes": 148,
                "tx_bytes": 92,
                "persistent_keepalive": 25,
                "drops": {"replayed": 2},
                "extensions": None,
                "name": "gw",
                "certificate_expires": 1790000000.0,
                "admitted": "dialled as gw.example.com",
                "path_mtu": 1280,
                "max_packet": 1220,
            }
        ],
    }


def test_the_json_form_is_one_line() -> None:
    assert "\n" not in _status().to_json()


def test_no_secret_is_in_a_status() -> None:
    text = _status().to_json() + repr(_status())
    for secret in (PRIVATE_KEY, PRESHARED_KEY):
        assert secret.to_base64() not in text
        assert secret.to_hex() not in text


def test_a_peer_without_a_handshake_has_none() -> None:
    snapshot = DeviceSnapshot(None, 0, 0, (PeerSnapshot(PEER),), {})
    assert InterfaceStatus.from_snapshot(snapshot, name="wg0").peers[0].last_handshake is None


def test_without_certificates_nothing_is_told_of_them() -> None:
    snapshot = DeviceSnapshot(None, 0, 0, (PeerSnapshot(PEER),), {})
    status = InterfaceStatus.from_snapshot(snapshot, name="wg0")
    assert (status.identity, status.certificate_expires, status.refusals, status.dialling) == (None, None, {}, None)
    (peer,) = status.peers
    assert (peer.name, peer.certificate_expires, peer.admitted) == (None, None, None)


def test_only_the_peer_that_was_admitted_is_told_by_its_name() -> None:
    other = PublicKey(bytes([8] * 32))
    snapshot = DeviceSnapshot(None, 0, 0, (PeerSnapshot(PEER), PeerSnapshot(other)), {})
    members = {other: MemberStatus("laptop", 1790000000.0, "vouched for by Example CA")}
    status = InterfaceStatus.from_snapshot(snapshot, name="wg0", members=members)
    assert [peer.name for peer in status.peers] == [None, "laptop"]


@pytest.mark.parametrize("key", [None, PrivateKey(bytes(32))])
def test_without_a_private_key_there_is_no_public_key(key: PrivateKey | None) -> None:
    assert InterfaceStatus.from_snapshot(DeviceSnapshot(key, 0, 0, (), {}), name="wg0").public_key is None


def test_members_that_are_new_are_ignored() -> None:
    members = json.loads(_status().to_json())
    members["colour"] = "green"
    members["peers"][0]["colour"] = "green"
    assert InterfaceStatus.from_json(json.dumps(members)) == _status()


def test_members_that_a_daemon_does_not_have_yet_are_taken_for_unknown_or_empty() -> None:
    members = {"version": 1, "name": "wg0", "public_key": None, "listen_port": 0, "fwmark": 0}
    text = json.dumps(members | {"peers": [{"public_key": "x"}]})
    assert InterfaceStatus.from_json(text) == InterfaceStatus("wg0", None, 0, 0, peers=(PeerStatus("x"),))


def test_the_extensions_in_use_survive_the_json_form() -> None:
    status = InterfaceStatus("wg0", None, 0, 0, peers=(PeerStatus("x", extensions=("slices",)),))
    assert InterfaceStatus.from_json(status.to_json()) == status


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '{"version": 1}', '{"version": 1, "peers": [1]}', "errno=0"])
def test_what_is_no_status_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        InterfaceStatus.from_json(text)


def test_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="version 2 instead of 1"):
        InterfaceStatus.from_json(_status().to_json().replace('"version":1', '"version":2'))

"""The device as configured: patches, up and down, routing, snapshots, and what is never shown."""

import gc
import weakref
from ipaddress import ip_network
from math import inf

import pytest

from tests.unit.protocol.pairs import create_pair, create_session, current_of, hold, indices_of, initiation, peer_of
from tunnel.config.patch import AllowedIPChange, DevicePatch, IPNetwork, PeerPatch
from tunnel.endpoint import Endpoint
from tunnel.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey
from tunnel.protocol.device import Device
from tunnel.testing.network import Network, SimulatedHost
from tunnel.wire.messages import MessageType
from tunnel.wire.train import Train

NOW = 100.0
OURS = PrivateKey(b"o" * 32)
ONE = PrivateKey(b"1" * 32).public_key
TWO = PrivateKey(b"2" * 32).public_key
NETWORK = ip_network("10.1.0.0/16")
OTHER_NETWORK = ip_network("fd00::/64")
ENDPOINT = Endpoint("192.0.2.1", 51820)
PSK = PresharedKey(b"k" * 32)
INITIATION = MessageType.HANDSHAKE_INITIATION


def create_device(*peers: PeerPatch) -> Device:
    device = Device(Network(seed=1).random.randbytes, lambda: bytes(12))
    device.apply(DevicePatch(private_key=OURS, peers=peers), NOW)
    return device


def apply(device: Device, *peers: PeerPatch, replace_peers: bool = False) -> None:
    device.apply(DevicePatch(replace_peers=replace_peers, peers=peers), NOW)


def give(*networks: IPNetwork) -> tuple[AllowedIPChange, ...]:
    return tuple(AllowedIPChange(network) for network in networks)


def peers_of(device: Device) -> list[PublicKey]:
    return [peer.public_key for peer in device.snapshot(0).peers]


def networks_of(device: Device, public_key: PublicKey) -> tuple[IPNetwork, ...]:
    return next(peer.allowed_ips for peer in device.snapshot(0).peers if peer.public_key == public_key)


# ── patches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_device_is_empty() -> None:
    snapshot = Device(bytes, bytes).snapshot(0)
    assert (snapshot.private_key, snapshot.listen_port, snapshot.fwmark) == (None, 0, 0)
    assert (snapshot.peers, snapshot.drops) == ((), {})


def test_a_patch_leaves_alone_what_it_does_not_name() -> None:
    device = create_device()
    device.apply(DevicePatch(listen_port=51820), NOW)
    device.apply(DevicePatch(fwmark=7), NOW)
    snapshot = device.snapshot(0)
    assert (snapshot.private_key, snapshot.listen_port, snapshot.fwmark) == (OURS, 51820, 7)


def test_zeros_take_away() -> None:
    device = create_device()
    device.apply(DevicePatch(listen_port=51820, fwmark=7), NOW)
    device.apply(DevicePatch(private_key=PrivateKey(bytes(32)), listen_port=0, fwmark=0), NOW)
    snapshot = device.snapshot(0)
    assert (snapshot.private_key, snapshot.listen_port, snapshot.fwmark) == (None, 0, 0)


def test_a_peer_is_made_with_what_its_patch_says() -> None:
    patch = PeerPatch(
        ONE, preshared_key=PSK, endpoint=ENDPOINT, persistent_keepalive=25, allowed_ips=give(NETWORK, OTHER_NETWORK)
    )
    (peer,) = create_device(patch).snapshot(0).peers
    assert (peer.public_key, peer.preshared_key, peer.endpoint) == (ONE, PSK, ENDPOINT)
    assert (peer.persistent_keepalive, peer.allowed_ips) == (25, (NETWORK, OTHER_NETWORK))
    assert (peer.last_handshake, peer.rx_bytes, peer.tx_bytes, peer.drops) == (0, 0, 0, {})


def test_peers_are_shown_in_the_order_they_were_added() -> None:
    device = create_device(PeerPatch(TWO), PeerPatch(ONE))
    apply(device, PeerPatch(TWO))
    assert peers_of(device) == [TWO, ONE]


def test_a_patch_of_a_peer_leaves_alone_what_it_does_not_name() -> None:
    device = create_device(PeerPatch(ONE, preshared_key=PSK, endpoint=ENDPOINT, allowed_ips=give(NETWORK)))
    apply(device, PeerPatch(ONE, persistent_keepalive=9))
    (peer,) = device.snapshot(0).peers
    assert (peer.preshared_key, peer.endpoint, peer.allowed_ips) == (PSK, ENDPOINT, (NETWORK,))
    assert peer.persistent_keepalive == 9


def test_a_zero_preshared_key_removes_it() -> None:
    device = create_device(PeerPatch(ONE, preshared_key=PSK))
    apply(device, PeerPatch(ONE, preshared_key=NO_PRESHARED_KEY))
    assert device.snapshot(0).peers[0].preshared_key == NO_PRESHARED_KEY


def test_update_only_makes_no_peer() -> None:
    device = create_device(PeerPatch(ONE))
    apply(device, PeerPatch(ONE, update_only=True, persistent_keepalive=3), PeerPatch(TWO, update_only=True))
    assert [(peer.public_key, peer.persistent_keepalive) for peer in device.snapshot(0).peers] == [(ONE, 3)]


def test_a_peer_is_removed_with_its_allowed_ips() -> None:
    device = create_device(PeerPatch(ONE, allowed_ips=give(NETWORK)), PeerPatch(TWO))
    apply(device, PeerPatch(ONE, remove=True))
    assert peers_of(device) == [TWO]
    assert device._host.allowed_ips.lookup(b"\x0a\x01\0\0") is None


def test_removing_a_peer_that_is_not_there_is_harmless() -> None:
    device = create_device(PeerPatch(ONE))
    apply(device, PeerPatch(TWO, remove=True))
    assert peers_of(device) == [ONE]


def test_replacing_peers_keeps_only_those_of_the_patch() -> None:
    device = create_device(PeerPatch(ONE, preshared_key=PSK))
    apply(device, PeerPatch(TWO), PeerPatch(ONE), replace_peers=True)
    assert peers_of(device) == [TWO, ONE]
    assert device.snapshot(0).peers[1].preshared_key == NO_PRESHARED_KEY


def test_replacing_peers_with_none_removes_all() -> None:
    device = create_device(PeerPatch(ONE), PeerPatch(TWO))
    apply(device, replace_peers=True)
    assert peers_of(device) == []


def test_an_allowed_ip_moves_to_the_peer_that_is_given_it_last() -> None:
    device = create_device(PeerPatch(ONE, allowed_ips=give(NETWORK, OTHER_NETWORK)), PeerPatch(TWO))
    apply(device, PeerPatch(TWO, allowed_ips=give(NETWORK)))
    assert networks_of(device, ONE) == (OTHER_NETWORK,)
    assert networks_of(device, TWO) == (NETWORK,)


def test_an_allowed_ip_is_taken_only_from_who_has_it() -> None:
    device = create_device(PeerPatch(ONE, allowed_ips=give(NETWORK)), PeerPatch(TWO))
    apply(device, PeerPatch(TWO, allowed_ips=(AllowedIPChange(NETWORK, remove=True),)))
    assert networks_of(device, ONE) == (NETWORK,)
    apply(device, PeerPatch(ONE, allowed_ips=(AllowedIPChange(NETWORK, remove=True),)))
    assert networks_of(device, ONE) == ()


def test_replacing_allowed_ips_drops_those_from_before() -> None:
    device = create_device(PeerPatch(ONE, allowed_ips=give(NETWORK)))
    apply(device, PeerPatch(ONE, replace_allowed_ips=True, allowed_ips=give(OTHER_NETWORK)))
    assert networks_of(device, ONE) == (OTHER_NETWORK,)


def test_our_own_public_key_is_no_peer() -> None:
    assert peers_of(create_device(PeerPatch(OURS.public_key), PeerPatch(ONE))) == [ONE]


def test_a_peer_whose_key_becomes_ours_is_no_peer_any_more() -> None:
    device = create_device(PeerPatch(ONE), PeerPatch(TWO))
    device.apply(DevicePatch(private_key=PrivateKey(b"1" * 32)), NOW)
    assert peers_of(device) == [TWO]


def test_a_removed_peer_is_not_kept_by_the_schedule() -> None:
    network, left, right = create_session()
    peer = peer_of(left, right)
    left.device.apply(DevicePatch(replace_peers=True), network.clock.now())
    assert left.device.deadline == inf
    assert all(entry[2] is not peer for entry in left.device._peers._schedule)
    assert indices_of(left) == 0


def test_a_removed_peer_is_freed_at_once_and_its_secrets_with_it() -> None:
    """Not some time later, when the garbage collector comes by."""
    network, left, right = create_session()
    peer = weakref.ref(peer_of(left, right))
    gc.disable()
    try:
        left.device.apply(DevicePatch(replace_peers=True), network.clock.now())
        assert peer() is None
    finally:
        gc.enable()


def test_the_mtu_caps_padding() -> None:
    network, left, right = create_session()
    left.device.mtu = 45
    left.send_to(right, bytes(25))
    network.run(1)
    assert left.device.mtu == 45
    assert len(left.sent[-1][2]) == 32 + 45


# ── what a patch does to sessions ────────────────────────────────────────────────────────────────────────────────────


def set_key(network: Network, host: SimulatedHost, private_key: PrivateKey) -> None:
    host.device.apply(DevicePatch(private_key=private_key), network.clock.now())
    network.flush(host)


def test_another_private_key_ends_all_sessions() -> None:
    network, left, right = create_session()
    set_key(network, left, PrivateKey(b"n" * 32))
    assert indices_of(left) == 0
    left.send_to(right, b"who am I")
    network.run(1)
    assert right.drops() == {"unknown_peer": 1}


def test_another_private_key_that_the_peer_knows_makes_new_sessions_at_once() -> None:
    network, left, right = create_session()
    key = PrivateKey(b"n" * 32)
    patch = PeerPatch(key.public_key, allowed_ips=give(ip_network(left.address)))
    right.device.apply(DevicePatch(replace_peers=True, peers=(patch,)), network.clock.now())
    set_key(network, left, key)
    left.send_to(right, b"a new name")
    network.run(1)
    assert right.received == [b"a new name"]


def test_the_same_private_key_changes_nothing() -> None:
    network, left, right = create_session()
    before = current_of(left, right)
    set_key(network, left, left.private_key)
    assert current_of(left, right) is before


@pytest.mark.parametrize("key", [PrivateKey(bytes(32)), PrivateKey(b"n" * 32)], ids=["none", "another"])
def test_handshakes_that_wait_were_for_the_old_identity(key: PrivateKey) -> None:
    network, left, right = create_pair()
    message = initiation(left.private_key, right.public_key)
    right.device.receive([Train.single(memoryview(bytearray(message)))], [left.endpoint], network.clock.now())
    set_key(network, right, key)
    network.run(1)
    assert (right.sent, right.drops()) == ([], {})


def test_packets_wait_for_an_identity() -> None:
    network, left, right = create_pair()
    set_key(network, left, PrivateKey(bytes(32)))
    left.send_to(right, b"hello")
    network.run(1)
    assert left.sent == []
    set_key(network, left, left.private_key)
    network.run(1)
    assert right.received == [b"hello"]


def test_another_preshared_key_leaves_the_session_and_holds_for_the_next() -> None:
    network, left, right = create_session()
    for host, other in ((left, right), (right, left)):
        patch = PeerPatch(other.public_key, preshared_key=PSK)
        host.device.apply(DevicePatch(peers=(patch,)), network.clock.now())
    left.send_to(right, b"before")
    network.run(121)
    left.send_to(right, b"between")
    network.run(1)
    left.send_to(right, b"after")
    network.run(1)
    assert right.received == [b"before", b"between", b"after"]
    assert len(left.sent_of(INITIATION)) == 1


def test_a_keepalive_begins_when_the_endpoint_becomes_known() -> None:
    network, left, right = create_pair()
    patch = PeerPatch(right.public_key, persistent_keepalive=25)
    left.device.apply(DevicePatch(replace_peers=True, peers=(patch,)), network.clock.now())
    network.run(10)
    assert left.sent == []
    patch = PeerPatch(right.public_key, update_only=True, endpoint=right.endpoint)
    left.device.apply(DevicePatch(peers=(patch,)), network.clock.now())
    network.flush(left)
    assert len(left.sent_of(INITIATION)) == 1


def test_another_endpoint_is_used_from_the_next_packet_on() -> None:
    network, left, right = create_session()
    right.endpoint = Endpoint("203.0.113.1", 1)
    patch = PeerPatch(right.public_key, endpoint=right.endpoint)
    left.device.apply(DevicePatch(peers=(patch,)), network.clock.now())
    left.send_to(right, b"there")
    network.run(1)
    assert right.received == [b"there"]


def test_who_has_a_session_hears_us_and_nobody_else_does() -> None:
    network, left, right = create_session()
    stranger = network.host()
    left.connect(stranger)
    right.endpoint = Endpoint("203.0.113.1", 1)
    right.device.announce([left.public_key], network.clock.now())
    left.device.announce([stranger.public_key, PrivateKey(b"3" * 32).public_key], network.clock.now())
    for host in (left, right):
        network.flush(host)
    network.run(1)
    assert peer_of(left, right).path.endpoint == right.endpoint
    assert left.sent == []
    left.send_to(right, b"there")
    network.run(1)
    assert right.received == [b"there"]


# ── up and down ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_down_forgets_sessions_and_keeps_the_configuration() -> None:
    network, left, right = create_session()
    left.device.down(network.clock.now())
    assert indices_of(left) == 0
    assert left.device.take_datagrams() == []
    (peer,) = left.device.snapshot(0).peers
    assert (peer.public_key, peer.endpoint) == (right.public_key, right.endpoint)


def test_a_device_that_is_down_is_silent() -> None:
    network, left, right = create_pair(keepalive=25)
    network.run(1)
    left.device.down(network.clock.now())
    left.sent.clear()
    right.send_to(left, b"hello")
    network.run(300)
    assert left.sent == []
    assert left.drops()["no_identity"] > 0


def test_up_goes_on_at_once() -> None:
    network, left, right = create_session()
    left.device.down(network.clock.now())
    left.device.up(network.clock.now())
    left.send_to(right, b"hello")
    network.run(0.1)
    assert right.received == [b"hello"]


def test_up_begins_persistent_keepalives() -> None:
    network, left, _ = create_pair(keepalive=25)
    network.run(1)
    left.device.down(network.clock.now())
    left.sent.clear()
    left.device.up(network.clock.now())
    network.flush(left)
    assert len(left.sent_of(INITIATION)) == 1


def test_up_twice_is_up_once() -> None:
    network, left, right = create_session()
    before = current_of(left, right)
    left.device.up(network.clock.now())
    assert current_of(left, right) is before


def test_down_drops_handshakes_and_packets_that_wait() -> None:
    network, left, right = create_pair()
    held = hold(network)
    left.send_to(right, b"hello")
    source, _, initiation = held[0]
    right.device.receive([Train.single(memoryview(bytearray(initiation)))], [source], network.clock.now())
    for host in (left, right):
        host.device.down(network.clock.now())
        host.device.expire(network.clock.now() + 1000)
    assert (left.drops(), right.device.take_datagrams()) == ({"handshake_gave_up": 1}, [])


# ── showing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_snapshot_has_the_last_handshake_in_unix_time() -> None:
    network, left, _ = create_session()
    offset = network.clock.unix_offset()
    (peer,) = left.device.snapshot(offset).peers
    assert network.clock.unix_ns() / 1e9 - peer.last_handshake < 1

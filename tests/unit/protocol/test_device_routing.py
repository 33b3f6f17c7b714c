"""Allowed IPs as a route and as a filter of sources."""

from ipaddress import IPv6Address, ip_network

import pytest

from tests.unit.protocol.pairs import create_session
from tunnel.config.patch import AllowedIPChange, DevicePatch, IPNetwork, PeerPatch
from tunnel.testing.network import Network, ipv4_packet

NETWORK = ip_network("10.1.0.0/16")
OTHER_NETWORK = ip_network("fd00::/64")


def give(*networks: IPNetwork) -> tuple[AllowedIPChange, ...]:
    return tuple(AllowedIPChange(network) for network in networks)


def test_the_longest_prefix_says_which_peer_a_packet_goes_to() -> None:
    network = Network()
    left, one, two = network.host(), network.host(), network.host()
    left.connect(one)
    left.connect(two)
    wide, narrow = give(NETWORK), give(ip_network("10.1.2.0/24"))
    patches = PeerPatch(one.public_key, allowed_ips=wide), PeerPatch(two.public_key, allowed_ips=narrow)
    left.device.apply(DevicePatch(peers=patches), network.clock.now())
    for host in ("10.1.2.3", "10.1.3.3"):
        destination = ip_network(host).network_address
        left.send_packets(ipv4_packet(left.address, destination, host.encode()))  # type: ignore[arg-type]
    network.run(1)
    assert (two.received, one.received) == ([b"10.1.2.3"], [b"10.1.3.3"])


def test_one_batch_may_go_to_many_peers_in_order() -> None:
    network = Network()
    left, one, two = network.host(), network.host(), network.host()
    left.connect(one)
    left.connect(two)
    packets = [ipv4_packet(left.address, (one, two)[number % 2].address, b"%d" % number) for number in range(6)]
    left.send_packets(*packets)
    network.run(1)
    assert (one.received, two.received) == ([b"0", b"2", b"4"], [b"1", b"3", b"5"])


def test_a_peer_may_not_speak_in_the_name_of_another() -> None:
    network = Network()
    right, honest, liar = network.host(), network.host(), network.host()
    right.connect(honest)
    liar.connect(right)
    liar.send_packets(ipv4_packet(honest.address, right.address, b"it is me"))
    network.run(1)
    assert right.received == []
    drops = {peer.public_key: peer.drops for peer in right.device.snapshot(0).peers}
    assert drops == {liar.public_key: {"source_not_allowed": 1}, honest.public_key: {}}


@pytest.mark.parametrize(("source", "is_allowed"), [("fd00::1", True), ("fd00:0:0:1::1", False)])
def test_ipv6_is_routed_and_checked_as_well(source: str, is_allowed: bool) -> None:
    network, left, right = create_session()
    now = network.clock.now()
    right.device.apply(DevicePatch(peers=(PeerPatch(left.public_key, allowed_ips=give(OTHER_NETWORK)),)), now)
    left.device.apply(DevicePatch(peers=(PeerPatch(right.public_key, allowed_ips=give(ip_network("fd01::/64"))),)), now)
    addresses = IPv6Address(source).packed + IPv6Address("fd01::2").packed
    left.send_packets(b"\x60\0\0\0\0\5\xfd\x40" + addresses + b"hello")
    network.run(1)
    assert [packet[-5:] for packet in right.received] == ([b"hello"] if is_allowed else [])
    assert right.drops() == ({} if is_allowed else {"source_not_allowed": 1})


@pytest.mark.parametrize("tail", [b"", b"\0" * 9, b"\xff" * 9])
def test_what_follows_the_ip_packet_is_cut_off(tail: bytes) -> None:
    network, left, right = create_session()
    left.send_packets(ipv4_packet(left.address, right.address, b"hello") + tail)
    network.run(1)
    assert right.received == [b"hello"]

"""Every reason to refuse something, reached from outside; each is one count of one reason, and silence."""

from ipaddress import IPv4Address

import pytest

from tests.unit.protocol.pairs import Held, create_pair, create_session, hold, initiation, let_pass, peer_of
from tunnel.config.patch import DevicePatch, PeerPatch
from tunnel.endpoint import Endpoint
from tunnel.keys import PrivateKey
from tunnel.protocol.constants import INITIATIONS_PER_SECOND, MAX_STAGED_PACKETS
from tunnel.protocol.cookie import CookieGenerator
from tunnel.protocol.stats import DropReason
from tunnel.protocol.transport import MAX_PACKET
from tunnel.testing.network import Network, SimulatedHost, ipv4_packet
from tunnel.wire.messages import CookieReply, Response, pack_cookie_reply, pack_response
from tunnel.wire.train import Train

STRANGER = Endpoint("203.0.113.9", 999)
STRANGER_KEY = PrivateKey(b"s" * 32)


def receive(network: Network, host: SimulatedHost, *datagrams: bytes, source: Endpoint = STRANGER) -> None:
    """Let datagrams come, and handle them to the end."""
    for datagram in datagrams:
        network.inject(source, host.endpoint, datagram)
    network.run(0.001)


def held_data(*, packet: bytes | None = None) -> tuple[Network, SimulatedHost, SimulatedHost, Held]:
    """A session, and a datagram of the left one's that has not arrived."""
    network, left, right = create_session()
    held = hold(network)
    if packet is None:
        left.send_to(right, b"hello")
    else:
        left.send_packets(packet)
    let_pass(network)
    return network, left, right, held


def flipped(datagram: bytes, position: int) -> bytes:
    changed = bytearray(datagram)
    changed[position] ^= 1
    return bytes(changed)


# ── outer datagrams ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x01",
        b"\x01\0\0\0" + bytes(143),
        b"\x01\0\0\0" + bytes(145),
        b"\x02\0\0\0" + bytes(87),
        b"\x03\0\0\0" + bytes(61),
        b"\x04\0\0\0" + bytes(27),
        b"\x00\0\0\0" + bytes(144),
        b"\x05\0\0\0" + bytes(27),
        b"\x06\0\0\0" + bytes(60),
        b"\x04\x01\0\0" + bytes(60),
        b"\x01\0\0\x80" + bytes(144),
    ],
    ids=lambda datagram: f"{datagram[:4].hex()}-{len(datagram)}",
)
def test_what_is_no_wireguard_message_is_malformed(datagram: bytes) -> None:
    network, _, right = create_pair()
    receive(network, right, datagram)
    assert right.drops() == {"malformed_datagram": 1}


@pytest.mark.parametrize("size", [148, 92])
def test_a_handshake_message_for_somebody_else_has_a_wrong_mac1(size: int) -> None:
    network, _, right = create_pair()
    message = bytes([1 if size == 148 else 2]) + bytes(size - 1)
    receive(network, right, CookieGenerator(STRANGER_KEY.public_key).add_macs(message, 0.0))
    assert right.drops() == {"wrong_mac1": 1}
    assert right.sent == []


def test_an_initiation_that_was_changed_is_not_authentic() -> None:
    network, left, right = create_pair()
    message = flipped(initiation(left.private_key, right.public_key), 60)
    receive(network, right, CookieGenerator(right.public_key).add_macs(message, 0.0))
    assert right.drops() == {"handshake_not_authentic": 1}


def test_an_initiation_in_a_peers_name_by_somebody_else_is_not_authentic() -> None:
    network, left, right = create_pair()
    message = flipped(initiation(left.private_key, right.public_key), 100)
    receive(network, right, CookieGenerator(right.public_key).add_macs(message, 0.0))
    assert right.drops() == {"handshake_not_authentic": 1}
    assert peer_of(right, left).drops.nonzero() == {"handshake_not_authentic": 1}


def test_an_initiation_with_a_low_order_ephemeral_key_is_not_authentic() -> None:
    network, left, right = create_pair()
    message = bytearray(initiation(left.private_key, right.public_key))
    message[8:40] = bytes(32)
    receive(network, right, CookieGenerator(right.public_key).add_macs(bytes(message), 0.0))
    assert right.drops() == {"handshake_not_authentic": 1}


def test_an_initiation_from_who_is_no_peer() -> None:
    network, _, right = create_pair()
    receive(network, right, initiation(STRANGER_KEY, right.public_key))
    assert right.drops() == {"unknown_peer": 1}
    assert right.sent == []


@pytest.mark.parametrize("number", [4, 5])
def test_an_initiation_with_an_old_timestamp_is_a_replay(number: int) -> None:
    network, left, right = create_pair()
    receive(network, right, initiation(left.private_key, right.public_key, number=5))
    network.run(1)
    receive(network, right, initiation(left.private_key, right.public_key, number=number))
    assert right.drops() == {"replayed_handshake": 1}


def test_initiations_faster_than_fifty_a_second_are_a_flood() -> None:
    network, left, right = create_pair()
    for number in range(1, 6):
        receive(network, right, initiation(left.private_key, right.public_key, number=number))
    assert len(right.sent) == 1
    assert right.drops() == {"handshake_flood": 4}
    network.run(1 / INITIATIONS_PER_SECOND)
    receive(network, right, initiation(left.private_key, right.public_key, number=6))
    assert len(right.sent) == 2


def test_data_for_an_index_that_we_did_not_give() -> None:
    network, _, right = create_session()
    receive(network, right, b"\x04\0\0\0" + bytes(60))
    assert right.drops() == {"no_such_index": 1}


def test_data_for_a_handshake_under_way() -> None:
    network, left, right = create_pair()
    hold(network)
    left.send_to(right, b"hello")
    index = left.sent[0][2][4:8]
    receive(network, left, b"\x04\0\0\0" + index + bytes(60))
    assert left.drops() == {"no_such_index": 1}


@pytest.mark.parametrize("index", [0, None], ids=["unknown", "of a session"])
def test_a_response_that_we_did_not_ask_for(index: int | None) -> None:
    network, left, right = create_session()
    theirs = peer_of(left, right).keypairs.current
    assert theirs is not None
    response = pack_response(Response(1, theirs.local_index if index is None else index, bytes(32), bytes(16)))
    receive(network, left, CookieGenerator(left.public_key).add_macs(response, 0.0))
    assert left.drops() == {"unexpected_response": 1}


def test_a_cookie_reply_that_we_did_not_ask_for() -> None:
    network, left, _ = create_session()
    receive(network, left, pack_cookie_reply(CookieReply(1, bytes(24), bytes(32))))
    assert left.drops() == {"unexpected_cookie": 1}


def test_a_cookie_reply_that_does_not_authenticate() -> None:
    network, left, right = create_pair()
    hold(network)
    left.send_to(right, b"hello")
    index = int.from_bytes(left.sent[0][2][4:8], "little")
    receive(network, left, pack_cookie_reply(CookieReply(index, bytes(24), bytes(32))))
    assert left.drops() == {"unexpected_cookie": 1}


def test_data_under_an_expired_keypair() -> None:
    network, left, right, held = held_data()
    network.run(180)
    receive(network, right, held[0][2], source=left.endpoint)
    assert right.drops() == {"expired_keypair": 1}


@pytest.mark.parametrize("position", [9, 15, 16, -1])
def test_data_that_was_changed_does_not_authenticate(position: int) -> None:
    network, left, right, held = held_data()
    receive(network, right, flipped(held[0][2], position), source=left.endpoint)
    assert right.drops() == {"tag_failed": 1}
    assert peer_of(right, left).drops.nonzero() == {"tag_failed": 1}


def test_data_that_came_before_is_a_replay() -> None:
    network, left, right, held = held_data()
    receive(network, right, held[0][2], held[0][2], source=left.endpoint)
    assert right.received == [b"hello"]
    assert right.drops() == {"replayed": 1}


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(bytes.fromhex("4600001500000000 40fd0000 0a000001 0a000002 00"), id="header beyond the total"),
        pytest.param(bytes.fromhex("4500ffff00000000 40fd0000 0a000001 0a000002 00"), id="total beyond the packet"),
        pytest.param(bytes.fromhex("4400001400000000 40fd0000 0a000001 0a000002 00"), id="header too short"),
    ],
)
def test_an_inner_packet_that_is_not_whole(packet: bytes) -> None:
    network, left, right, held = held_data(packet=packet)
    receive(network, right, held[0][2], source=left.endpoint)
    assert right.received == []
    assert right.drops() == {"malformed_packet": 1}


def test_an_inner_source_that_is_not_the_peers() -> None:
    spoofed = ipv4_packet(IPv4Address("10.9.9.9"), IPv4Address("10.0.0.2"), b"spoofed")
    network, left, right, held = held_data(packet=spoofed)
    receive(network, right, held[0][2], source=left.endpoint)
    assert right.received == []
    assert right.drops() == {"source_not_allowed": 1}


def test_any_datagram_while_we_have_no_identity() -> None:
    network, left, right, held = held_data()
    right.device.apply(DevicePatch(private_key=PrivateKey(bytes(32))), network.clock.now())
    receive(network, right, held[0][2], b"", initiation(left.private_key, right.public_key))
    assert right.drops() == {"no_identity": 3}
    assert right.sent == []


def test_any_datagram_while_we_are_down() -> None:
    network, _, right, held = held_data()
    right.device.down(network.clock.now())
    receive(network, right, held[0][2], b"")
    assert right.drops() == {"no_identity": 2}


# ── inner packets ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_packet_for_nobody_has_no_route() -> None:
    _, left, _ = create_pair()
    left.send_packets(ipv4_packet(left.address, IPv4Address("10.9.9.9"), b"hello"))
    assert left.drops() == {"no_route": 1}


@pytest.mark.parametrize("packet", [b"", b"x", b"\x45" + bytes(18), b"\x60" + bytes(38), b"\x00" + bytes(50)])
def test_what_is_no_ip_packet_goes_nowhere(packet: bytes) -> None:
    _, left, _ = create_pair()
    left.send_packets(packet)
    assert left.drops() == {"malformed_packet": 1}


def test_a_packet_to_a_peer_that_is_nowhere_has_no_endpoint() -> None:
    _, left, right = create_pair(right_knows_endpoint=False)
    right.send_to(left, b"hello")
    assert right.drops() == {"no_endpoint": 1}
    assert right.sent == []


def test_a_packet_that_fits_no_datagram_is_too_big() -> None:
    network, left, right = create_session()
    packet = ipv4_packet(left.address, right.address, b"")
    left.send_packets(packet + bytes(MAX_PACKET - len(packet)), packet + bytes(MAX_PACKET + 1 - len(packet)))
    assert left.drops() == {"too_big": 1}
    assert len(left.sent) == 1
    network.run(1)


def test_packets_that_wait_are_pushed_out_by_newer_ones() -> None:
    _, left, right = create_pair()
    left.send_to(right, *[b"hello"] * (MAX_STAGED_PACKETS + 2))
    assert left.drops() == {"staged_overflow": 2}


def test_packets_that_wait_for_what_never_comes_are_dropped() -> None:
    network, left, right = create_pair()
    hold(network)
    left.send_to(right, b"hello")
    network.run(110)
    assert left.drops() == {"handshake_gave_up": 1}


def test_packets_that_wait_for_a_peer_that_is_removed_are_dropped() -> None:
    network, left, right = create_pair()
    left.send_to(right, b"hello")
    left.device.apply(DevicePatch(peers=(PeerPatch(right.public_key, remove=True),)), network.clock.now())
    assert left.drops() == {"handshake_gave_up": 1}


@pytest.mark.parametrize("reason", [DropReason.UNREACHABLE, DropReason.TUN_REFUSED])
def test_what_the_edges_refuse_is_counted_in_the_same_place(reason: DropReason) -> None:
    _, left, _ = create_pair()
    left.device.count_drop(reason, 3)
    left.device.count_drop(reason, 0)
    assert left.drops() == {reason.value: 3}


# ── runs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_bad_datagram_in_a_batch_costs_only_itself() -> None:
    network, left, right = create_session()
    held = hold(network)
    left.send_to(right, *(b"%d" % number for number in range(5)))
    let_pass(network)
    batch = [bytearray(datagram) for _, _, datagram in held]
    batch[2][20] ^= 1
    batch.insert(1, bytearray(b"garbage"))
    batch.insert(3, bytearray(b"\x04\0\0\0" + bytes(60)))
    right.device.receive(
        [Train.single(memoryview(datagram)) for datagram in batch], [left.endpoint] * 7, network.clock.now()
    )
    network.flush(right)
    assert right.received == [b"0", b"1", b"3", b"4"]
    assert right.drops() == {"malformed_datagram": 1, "no_such_index": 1, "tag_failed": 1}


def test_a_batch_may_mix_sessions() -> None:
    network = Network()
    right, one, two = network.host(), network.host(), network.host()
    one.connect(right)
    two.connect(right)
    for host in (one, two):
        host.send_to(right, b"first")
    network.run(1)
    held = hold(network)
    for number in range(3):
        one.send_to(right, b"one %d" % number)
        two.send_to(right, b"two %d" % number)
    right.received.clear()
    datagrams = [Train.single(memoryview(bytearray(datagram))) for _, _, datagram in held]
    right.device.receive(datagrams, [source for source, _, _ in held], network.clock.now())
    network.flush(right)
    assert right.received == [b"%b %d" % (name, number) for number in range(3) for name in (b"one", b"two")]

"""Where the peer is: only what is authentic and new says so."""

from tests.unit.protocol.pairs import create_pair, create_session, hold, let_pass, peer_of
from tunnel.config.patch import DevicePatch, PeerPatch
from tunnel.endpoint import Endpoint, Source
from tunnel.protocol.events import PeerRoamed
from tunnel.wire.messages import MessageType
from tunnel.wire.train import Train

INITIATION = MessageType.HANDSHAKE_INITIATION
DATA = MessageType.TRANSPORT_DATA
ELSEWHERE = Endpoint("203.0.113.7", 4242)


def test_an_authentic_datagram_from_elsewhere_moves_the_endpoint() -> None:
    network, left, right = create_session()
    before, left.endpoint = left.endpoint, ELSEWHERE
    left.send_to(right, b"I moved")
    network.run(1)
    assert peer_of(right, left).path.endpoint == ELSEWHERE
    assert right.events_of(PeerRoamed) == [PeerRoamed(left.public_key, before, ELSEWHERE)]
    right.send_to(left, b"I know")
    network.run(1)
    assert left.received == [b"I know"]


def test_a_replay_from_elsewhere_does_not_move_the_endpoint() -> None:
    network, left, right = create_session()
    left.send_to(right, b"hello")
    network.run(1)
    network.inject(ELSEWHERE, right.endpoint, left.sent[-1][2])
    network.run(1)
    assert peer_of(right, left).path.endpoint == left.endpoint
    assert right.drops() == {"replayed": 1}


def test_a_forgery_from_elsewhere_does_not_move_the_endpoint() -> None:
    network, left, right = create_session()
    held = hold(network, DATA)
    left.send_to(right, b"hello")
    let_pass(network)
    forged = bytearray(held[0][2])
    forged[20] ^= 1
    network.inject(ELSEWHERE, right.endpoint, bytes(forged))
    network.run(1)
    assert peer_of(right, left).path.endpoint == left.endpoint
    assert right.drops() == {"tag_failed": 1}


def test_a_replayed_initiation_from_elsewhere_does_not_move_the_endpoint() -> None:
    network, left, right = create_pair()
    left.send_to(right, b"hello")
    network.run(1)
    network.inject(ELSEWHERE, right.endpoint, left.sent_of(INITIATION)[0])
    network.run(1)
    assert peer_of(right, left).path.endpoint == left.endpoint


def test_a_packet_that_is_not_allowed_moves_the_endpoint_since_it_is_authentic() -> None:
    network, left, right = create_session()
    left.endpoint = ELSEWHERE
    spoofed = bytes.fromhex("45000014 00000000 40fd0000 0a090909 0a000002")
    left.send_packets(spoofed)
    network.run(1)
    assert right.drops() == {"source_not_allowed": 1}
    assert peer_of(right, left).path.endpoint == ELSEWHERE


def test_the_last_of_a_batch_says_where_the_peer_is() -> None:
    network, left, right = create_session()
    held = hold(network)
    left.send_to(right, b"one", b"two")
    datagrams = [Train.single(memoryview(bytearray(datagram))) for _, _, datagram in held]
    right.device.receive(datagrams, [left.endpoint, ELSEWHERE], network.clock.now())
    assert peer_of(right, left).path.endpoint == ELSEWHERE


def test_another_address_of_ours_is_used_but_is_no_roaming() -> None:
    network, left, right = create_session()
    held = hold(network)
    left.send_to(right, b"hello")
    sticky = Endpoint(left.endpoint.host, left.endpoint.port, source=Source("192.0.2.99", 3))
    right.device.receive([Train.single(memoryview(bytearray(held[0][2])))], [sticky], network.clock.now())
    assert peer_of(right, left).path.endpoint == sticky
    assert right.device.take_events() == []


def test_when_nothing_is_heard_the_address_of_ours_is_chosen_anew() -> None:
    network, left, right = create_session()
    sticky = Endpoint(right.endpoint.host, right.endpoint.port, source=Source("192.0.2.99", 3))
    peer_of(left, right).path.endpoint = sticky
    hold(network)
    left.send_to(right, b"hello?")
    network.run(16)
    assert peer_of(left, right).path.endpoint == right.endpoint


def test_a_handshake_under_way_begins_at_once_where_we_are_told_to_look() -> None:
    network, left, right = create_pair()
    nowhere = PeerPatch(right.public_key, endpoint=ELSEWHERE)
    left.device.apply(DevicePatch(peers=(nowhere,)), network.clock.now())
    left.send_to(right, b"hello")
    network.run(1)
    found = PeerPatch(right.public_key, endpoint=right.endpoint)
    left.device.apply(DevicePatch(peers=(found,)), network.clock.now())
    network.flush(left)
    network.run(0.1)
    assert right.received == [b"hello"]
    assert [destination for _, destination, _ in left.sent[:2]] == [ELSEWHERE, right.endpoint]


def test_another_endpoint_begins_no_handshake_where_none_is_under_way() -> None:
    network, left, right = create_session()
    network.run(20)
    left.sent.clear()
    left.device.apply(DevicePatch(peers=(PeerPatch(right.public_key, endpoint=ELSEWHERE),)), network.clock.now())
    network.flush(left)
    assert left.sent == []

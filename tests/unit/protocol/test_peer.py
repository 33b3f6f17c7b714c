"""One peer with a session: staging, renewing it in time, keepalives, where the peer is, and the end of its keys."""

import gc

import pytest

from tests.unit.protocol.pairs import create_pair, create_session, current_of, hold, indices_of, let_pass, peer_of
from tunnel.protocol.constants import MAX_STAGED_PACKETS, REJECT_AFTER_MESSAGES, REKEY_AFTER_MESSAGES
from tunnel.protocol.events import HandshakeCompleted, SessionExpired
from tunnel.protocol.keypair import Keypair
from tunnel.testing.network import SimulatedHost
from tunnel.wire.messages import MessageType

INITIATION = MessageType.HANDSHAKE_INITIATION
DATA = MessageType.TRANSPORT_DATA


def last_handshake_of(host: SimulatedHost) -> float:
    return host.device.snapshot(0).peers[0].last_handshake


# ── staged packets ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_packets_that_wait_leave_in_their_order() -> None:
    network, left, right = create_pair()
    for number in range(5):
        left.send_to(right, b"%d" % number)
    network.run(1)
    assert right.received == [b"%d" % number for number in range(5)]


def test_too_many_packets_push_out_the_oldest() -> None:
    network, left, right = create_pair()
    for number in range(MAX_STAGED_PACKETS + 3):
        left.send_to(right, b"%d" % number)
    network.run(1)
    assert right.received == [b"%d" % number for number in range(3, MAX_STAGED_PACKETS + 3)]
    assert left.drops() == {"staged_overflow": 3}


def test_a_batch_larger_than_the_bound_keeps_its_end() -> None:
    network, left, right = create_pair()
    left.send_to(right, *(b"%d" % number for number in range(300)))
    network.run(1)
    assert right.received == [b"%d" % number for number in range(300 - MAX_STAGED_PACKETS, 300)]


def test_a_staged_packet_is_a_copy() -> None:
    network, left, right = create_pair()
    peer = peer_of(left, right)
    slot = memoryview(bytearray(200))
    packet = bytes.fromhex("45000018 00000000 40fd0000 0a000001 0a000002") + b"mine"
    slot[16 : 16 + len(packet)] = packet
    peer.send([slot], [len(packet)], network.clock.now())
    slot[16 : 16 + len(packet)] = bytes(len(packet))
    network.flush(left)
    network.run(1)
    assert right.received == [b"mine"]


# ── renewing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_initiator_renews_with_the_first_packet_after_120_seconds() -> None:
    network, left, right = create_session()
    network.run(119)
    left.send_to(right, b"still young")
    assert left.sent_of(INITIATION) == []
    network.run(2)
    left.send_to(right, b"old")
    assert len(left.sent_of(INITIATION)) == 1


def test_the_responder_leaves_renewing_to_the_initiator() -> None:
    network, left, right = create_session()
    network.run(130)
    right.send_to(left, b"old")
    assert right.sent_of(INITIATION) == []


def test_packets_go_on_under_the_old_session_while_the_new_one_is_made() -> None:
    network, left, right = create_session()
    network.run(121)
    hold(network, INITIATION)
    left.send_to(right, b"one")
    left.send_to(right, b"two")
    network.run(1)
    assert right.received == [b"one", b"two"]


def test_an_idle_session_is_not_renewed() -> None:
    network, left, right = create_session()
    network.run(12)
    left.sent.clear()
    network.run(1000)
    assert (left.sent, right.sent_of(INITIATION)) == ([], [])


@pytest.mark.parametrize("is_initiator", [True, False])
def test_either_side_renews_after_so_many_messages(is_initiator: bool) -> None:
    network, left, right = create_session()
    sender, receiver = (left, right) if is_initiator else (right, left)
    network.run(6)
    current_of(sender, receiver).send_counter = REKEY_AFTER_MESSAGES - 1
    sender.send_to(receiver, b"one")
    assert sender.sent_of(INITIATION) == []
    sender.send_to(receiver, b"two")
    assert len(sender.sent_of(INITIATION)) == 1


def test_nothing_is_sent_under_a_session_of_180_seconds() -> None:
    network, left, right = create_session()
    network.run(180)
    left.sent.clear()
    left.send_to(right, b"hello")
    assert left.sent_of(DATA) == []
    network.run(1)
    assert right.received == [b"hello"]
    assert left.drops() == {}


def test_nothing_is_received_under_a_session_of_180_seconds() -> None:
    network, left, right = create_session()
    held = hold(network, DATA)
    left.send_to(right, b"late")
    let_pass(network)
    network.run(180)
    network.inject(*held[0])
    network.run(1)
    assert right.received == []
    assert right.drops() == {"expired_keypair": 1}


def test_the_counter_stops_at_its_limit_and_the_packet_waits_for_a_new_session() -> None:
    network, left, right = create_session()
    network.run(6)
    before = current_of(left, right)
    before.send_counter = REJECT_AFTER_MESSAGES - 1
    left.send_to(right, b"last")
    left.send_to(right, b"next")
    assert before.send_counter == REJECT_AFTER_MESSAGES
    network.run(1)
    assert right.received == [b"last", b"next"]
    assert current_of(left, right) is not before


def test_an_initiator_that_only_receives_renews_at_the_last_minute() -> None:
    network, left, right = create_session()
    network.run(164)
    right.send_to(left, b"early")
    network.run(0.5)
    assert left.sent_of(INITIATION) == []
    network.run(1)
    right.send_to(left, b"late")
    network.run(0.5)
    assert len(left.sent_of(INITIATION)) == 1


def test_a_new_session_may_ask_for_its_last_minute_handshake_again() -> None:
    network, left, right = create_session()
    for _ in range(3):
        network.run(166)
        right.send_to(left, b"late")
        network.run(1)
    assert len(left.sent_of(INITIATION)) == 3


def test_a_responder_that_only_receives_leaves_the_last_minute_to_the_initiator() -> None:
    network, left, right = create_session()
    hold(network, INITIATION)
    network.run(170)
    left.send_to(right, b"late")
    network.run(1)
    assert right.received == [b"late"]
    assert right.sent_of(INITIATION) == []


# ── keepalives ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_data_that_is_not_answered_is_acknowledged_after_ten_seconds() -> None:
    network, left, right = create_session()
    network.run(100)
    right.sent.clear()
    left.send_to(right, b"hello")
    began = network.clock.now()
    network.run(60)
    assert [len(datagram) for _, _, datagram in right.sent] == [32]
    assert right.sent[0][0] == pytest.approx(began + 10.01)
    assert left.sent_of(INITIATION) == []


def test_an_answer_does_as_well() -> None:
    network, left, right = create_session()
    network.run(100)
    right.sent.clear()
    left.send_to(right, b"hello")
    network.run(5)
    right.send_to(left, b"answer")
    network.run(6)
    assert len(right.sent) == 1


def test_data_that_goes_on_unanswered_is_acknowledged_once_more() -> None:
    network, left, right = create_session()
    network.run(100)
    right.sent.clear()
    began = network.clock.now()
    for _ in range(2):
        left.send_to(right, b"hello")
        network.run(5)
    network.run(50)
    assert right.times_of(DATA) == pytest.approx([began + 10.01, began + 20.01])


def test_a_keepalive_is_not_acknowledged() -> None:
    network, left, right = create_pair(keepalive=25)
    network.run(100)
    assert right.sent_of(DATA) == []
    assert len(left.sent_of(DATA)) == 5


def test_persistent_keepalives_follow_the_last_datagram_in_either_direction() -> None:
    network, left, right = create_pair(keepalive=25)
    network.run(20)
    left.sent.clear()
    right.send_to(left, b"hello")
    began = network.clock.now()
    network.run(40)
    assert left.times_of(DATA) == pytest.approx([began + 10.01, began + 35.0])


def test_switching_persistent_keepalive_on_begins_at_once() -> None:
    network, left, right = create_pair()
    peer_of(left, right).set_persistent_keepalive(25, network.clock.now())
    network.flush(left)
    assert len(left.sent_of(INITIATION)) == 1


def test_switching_persistent_keepalive_off_ends_it() -> None:
    network, left, right = create_pair(keepalive=25)
    network.run(30)
    peer_of(left, right).set_persistent_keepalive(0, network.clock.now())
    left.sent.clear()
    network.run(500)
    assert left.sent == []


# ── the end of keys ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_keys_are_forgotten_after_540_seconds() -> None:
    network, left, right = create_session()
    network.run(539)
    assert indices_of(left) == indices_of(right) == 1
    network.run(2)
    assert indices_of(left) == indices_of(right) == 0
    assert list(peer_of(left, right).keypairs) == []
    assert left.events_of(SessionExpired) == [SessionExpired(right.public_key)]


def test_no_keypair_stays_in_memory() -> None:
    network, left, right = create_session()
    peer = peer_of(left, right)

    def alive() -> int:
        return sum(isinstance(thing, Keypair) and thing.peer is peer for thing in gc.get_objects())

    for _ in range(3):
        network.run(121)
        left.send_to(right, b"renew")
    network.run(1)
    assert alive() == 2
    network.run(600)
    assert alive() == 0


def test_the_residue_of_a_handshake_that_was_never_answered_is_forgotten() -> None:
    network, left, right = create_pair()
    hold(network)
    left.send_to(right, b"hello")
    network.run(110)
    assert indices_of(left) == 1
    network.run(540)
    assert indices_of(left) == 0


def test_the_residue_of_a_handshake_that_was_never_confirmed_is_forgotten() -> None:
    network, left, right = create_pair()
    left.send_to(right, b"hello")
    network.run(0.015)
    hold(network)
    network.run(700)
    assert indices_of(right) == 0


def test_after_its_keys_are_gone_a_peer_begins_anew() -> None:
    network, left, right = create_session()
    network.run(1000)
    right.send_to(left, b"hello again")
    network.run(1)
    assert left.received == [b"hello again"]


def test_a_handshake_begun_while_old_keys_are_zeroed_goes_on() -> None:
    network, left, right = create_session()
    network.clock.advance(3600)
    left.send_to(right, b"after the suspend")
    network.run(0.1)
    assert right.received == [b"after the suspend"]


def test_the_last_handshake_is_when_the_session_was_confirmed() -> None:
    network, left, right = create_pair()
    began = network.clock.now()
    assert last_handshake_of(left) == 0
    left.send_to(right, b"hello")
    network.run(1)
    assert last_handshake_of(left) == pytest.approx(began + 0.02)
    assert last_handshake_of(right) == pytest.approx(began + 0.03)


def test_bytes_are_counted_as_they_are_on_the_wire() -> None:
    network, left, right = create_pair()
    left.send_to(right, bytes(100))
    network.run(1)
    ours, theirs = left.device.snapshot(0).peers[0], right.device.snapshot(0).peers[0]
    assert ours.tx_bytes == theirs.rx_bytes == 148 + 32 + 128
    assert theirs.tx_bytes == ours.rx_bytes == 92


def test_a_refused_datagram_is_not_counted_as_received() -> None:
    network, left, right = create_session()
    before = right.device.snapshot(0).peers[0].rx_bytes
    network.inject(left.endpoint, right.endpoint, b"\x04\0\0\0" + bytes(60))
    network.run(1)
    assert right.device.snapshot(0).peers[0].rx_bytes == before


def test_each_session_is_reported() -> None:
    network, left, right = create_session()
    network.run(121)
    left.send_to(right, b"renew")
    network.run(1)
    assert len(left.events_of(HandshakeCompleted)) == len(right.events_of(HandshakeCompleted)) == 2

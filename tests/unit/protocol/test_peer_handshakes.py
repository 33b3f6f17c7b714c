"""Handshakes of one peer: what is lost, late, doubled or re-ordered, both beginning at once, giving up."""

from itertools import pairwise

import pytest

from tests.unit.protocol.pairs import (
    DELAY,
    create_pair,
    create_session,
    current_of,
    hold,
    indices_of,
    let_pass,
    peer_of,
)
from tunnel.config.patch import DevicePatch, PeerPatch
from tunnel.keys import PresharedKey
from tunnel.protocol.events import HandshakeCompleted, HandshakeGaveUp, HandshakeUnanswered
from tunnel.protocol.timers import Timer
from tunnel.wire.messages import MessageType

INITIATION = MessageType.HANDSHAKE_INITIATION
RESPONSE = MessageType.HANDSHAKE_RESPONSE
DATA = MessageType.TRANSPORT_DATA
PSK = PresharedKey(b"k" * 32)


def test_the_first_packet_begins_a_handshake_and_arrives_with_its_end() -> None:
    network, left, right = create_pair()
    began = network.clock.now()
    left.send_to(right, b"hello")
    network.run_until(lambda: right.received == [b"hello"])
    assert network.clock.now() == pytest.approx(began + 3 * DELAY)
    assert (len(left.sent), len(right.sent)) == (2, 1)


def test_both_sides_report_the_handshake_with_their_role_and_the_endpoint() -> None:
    _, left, right = create_session()
    assert left.events == [HandshakeCompleted(right.public_key, right.endpoint, as_initiator=True)]
    assert right.events == [HandshakeCompleted(left.public_key, left.endpoint, as_initiator=False)]


def test_the_initiator_confirms_at_once_even_with_nothing_to_send() -> None:
    network, left, right = create_pair(keepalive=25)
    network.run(1)
    assert [len(datagram) for datagram in left.sent_of(DATA)] == [32]
    assert current_of(right, left).remote_index == current_of(left, right).local_index


def test_the_responder_does_not_send_before_the_session_is_confirmed() -> None:
    network, left, right = create_pair()
    left.send_to(right, b"hello")
    hold(network, DATA)
    network.run(1)
    right.send_to(left, b"early")
    assert peer_of(right, left).keypairs.next is not None
    assert right.sent_of(DATA) == []


def test_what_the_responder_staged_leaves_when_the_session_is_confirmed() -> None:
    network, left, right = create_pair()
    left.send_to(right, b"hello")
    held = hold(network, DATA)
    network.run(1)
    right.send_to(left, b"early")
    let_pass(network)
    network.inject(*held[0])
    network.run(1)
    assert left.received == [b"early"]


@pytest.mark.parametrize("kind", [INITIATION, RESPONSE])
def test_a_lost_handshake_message_costs_one_rekey_timeout(kind: MessageType) -> None:
    network, left, right = create_pair()
    began = network.clock.now()
    hold(network, kind)
    left.send_to(right, b"hello")
    network.run(4.9)
    let_pass(network)
    network.run_until(lambda: right.received == [b"hello"])
    assert 5 <= network.clock.now() - began <= 5.334 + 3 * DELAY


def test_a_lost_confirmation_is_made_good_by_the_next_packet() -> None:
    network, left, right = create_pair()
    hold(network, DATA)
    left.send_to(right, b"lost")
    network.run(1)
    let_pass(network)
    left.send_to(right, b"not lost")
    network.run(1)
    assert right.received == [b"not lost"]
    assert len(left.sent_of(INITIATION)) == 1


def test_retransmissions_have_jitter_and_a_new_index_each() -> None:
    network, left, right = create_pair()
    hold(network)
    left.send_to(right, b"hello")
    network.run(60)
    times = left.times_of(INITIATION)
    gaps = [after - before for before, after in pairwise(times)]
    assert all(5 <= gap <= 5.334 for gap in gaps)
    assert len(set(gaps)) == len(gaps)
    assert len({datagram[4:8] for datagram in left.sent_of(INITIATION)}) == len(times)


def test_only_one_initiation_is_pending_at_a_time() -> None:
    network, left, right = create_pair()
    hold(network)
    left.send_to(right, b"hello")
    network.run(30)
    assert indices_of(left) == 1


def test_traffic_does_not_hasten_retransmission() -> None:
    network, left, right = create_pair()
    hold(network)
    for _ in range(40):
        left.send_to(right, b"hello")
        network.run(0.1)
    assert len(left.sent_of(INITIATION)) == 1


def test_each_unanswered_initiation_is_reported_with_how_many_there_were() -> None:
    network, left, right = create_pair()
    hold(network)
    left.send_to(right, b"hello")
    network.run(17)
    assert left.events == [HandshakeUnanswered(right.public_key, attempts) for attempts in (1, 2, 3)]


def test_after_ninety_seconds_we_give_up() -> None:
    network, left, right = create_pair()
    hold(network)
    left.send_to(right, b"one", b"two")
    began = network.clock.now()
    network.run_until(lambda: bool(left.events_of(HandshakeGaveUp)), 110)
    assert 90 <= network.clock.now() - began <= 102
    assert left.events_of(HandshakeGaveUp) == [HandshakeGaveUp(right.public_key, staged=2)]
    assert left.drops() == {"handshake_gave_up": 2}


def test_after_giving_up_we_are_silent() -> None:
    network, left, right = create_pair()
    hold(network)
    left.send_to(right, b"hello")
    network.run(110)
    left.sent.clear()
    network.run(10_000)
    assert left.sent == []
    assert indices_of(left) == 0


def test_new_traffic_begins_anew_after_giving_up() -> None:
    network, left, right = create_pair()
    hold(network)
    left.send_to(right, b"lost")
    network.run(110)
    let_pass(network)
    left.send_to(right, b"hello")
    network.run(1)
    assert right.received == [b"hello"]


def test_traffic_that_goes_on_keeps_us_trying() -> None:
    """As in the kernel: attempts are counted from the last packet that wanted a session."""
    network, left, right = create_pair()
    hold(network)
    for _ in range(300):
        left.send_to(right, b"hello")
        network.run(0.7)
    assert left.events_of(HandshakeGaveUp) == []
    assert len(left.sent_of(INITIATION)) >= 210 // 5.4


def test_persistent_keepalive_goes_on_after_giving_up() -> None:
    network, left, right = create_pair(keepalive=25)
    hold(network)
    network.run(300)
    assert len(left.events_of(HandshakeGaveUp)) >= 2
    let_pass(network)
    network.run(35)
    assert len(left.events_of(HandshakeCompleted)) == 1
    assert left.drops() == {}, "a keepalive that was never sent is no lost packet"
    assert right.drops() == {}


def test_a_late_response_to_the_pending_initiation_is_good() -> None:
    network, left, right = create_pair()
    held = hold(network, RESPONSE)
    left.send_to(right, b"hello")
    network.run(4)
    let_pass(network)
    network.inject(*held[0])
    network.run(0.1)
    assert right.received == [b"hello"]


def test_a_response_to_an_older_initiation_is_ignored() -> None:
    network, left, right = create_pair()
    held = hold(network, RESPONSE)
    left.send_to(right, b"hello")
    network.run(6)
    let_pass(network)
    network.inject(*held[0])
    network.run(0.1)
    assert left.drops() == {"unexpected_response": 1}
    assert peer_of(left, right).keypairs.current is None
    network.inject(*held[1])
    network.run(0.1)
    assert right.received == [b"hello"]


def test_a_response_that_comes_twice_is_good_once() -> None:
    network, left, right = create_pair()
    held = hold(network, RESPONSE)
    left.send_to(right, b"hello")
    network.run(1)
    let_pass(network)
    for _ in range(2):
        network.inject(*held[0])
    network.run(1)
    assert right.received == [b"hello"]
    assert left.drops() == {"unexpected_response": 1}


def test_an_initiation_that_comes_twice_is_answered_once() -> None:
    network, left, right = create_pair()
    network.duplication = 1.0
    left.send_to(right, b"hello")
    network.run(1)
    assert len(right.sent_of(RESPONSE)) == 1
    assert right.received == [b"hello"]
    assert right.drops() == {"replayed_handshake": 1, "replayed": 1}


def test_an_older_initiation_that_arrives_later_is_refused() -> None:
    network, left, right = create_pair()
    held = hold(network, INITIATION)
    left.send_to(right, b"hello")
    network.run(6)
    let_pass(network)
    network.inject(*held[1])
    network.run(0.1)
    assert right.received == [b"hello"]
    network.inject(*held[0])
    network.run(0.1)
    assert right.drops() == {"replayed_handshake": 1}


def test_a_forged_response_leaves_the_pending_handshake_alone() -> None:
    network, left, right = create_pair()
    held = hold(network, RESPONSE)
    left.send_to(right, b"hello")
    network.run(0.1)
    let_pass(network)
    source, destination, response = held[0]
    forged = bytearray(response)
    forged[12] ^= 1
    generator = peer_of(right, left).handshakes._cookie
    network.inject(source, destination, generator.add_macs(bytes(forged), network.clock.now()))
    network.run(0.1)
    assert left.drops() == {"handshake_not_authentic": 1}
    network.inject(source, destination, response)
    network.run(0.1)
    assert right.received == [b"hello"]


def test_preshared_keys_that_agree_make_a_session() -> None:
    network, left, right = create_pair(psk=PSK)
    left.send_to(right, b"hello")
    network.run(1)
    assert right.received == [b"hello"]


def test_preshared_keys_that_differ_make_none() -> None:
    network, left, right = create_pair(psk=PSK)
    patch = PeerPatch(left.public_key, preshared_key=PresharedKey(b"K" * 32))
    right.device.apply(DevicePatch(peers=(patch,)), network.clock.now())
    left.send_to(right, b"hello")
    network.run(1)
    assert right.received == []
    assert left.drops() == {"handshake_not_authentic": 1}


def test_one_side_may_come_to_know_the_other_by_its_initiation() -> None:
    network, left, right = create_pair(right_knows_endpoint=False)
    left.send_to(right, b"hello")
    network.run(1)
    right.send_to(left, b"you too")
    network.run(1)
    assert (left.received, right.received) == ([b"you too"], [b"hello"])


def test_who_just_responded_does_not_initiate() -> None:
    """The session it answered with may be on its way; only when that did not come does it try itself."""
    network, left, right = create_pair()
    hold(network, RESPONSE, DATA)
    left.send_to(right, b"hello")
    network.run(0.1)
    right.send_to(left, b"you too")
    network.run(4)
    assert right.sent_of(INITIATION) == []
    let_pass(network)
    network.run(2)
    assert (left.received, right.received) == ([b"you too"], [b"hello"])
    assert right.events_of(HandshakeUnanswered) == [], "nothing that it sent went unanswered"


def test_who_responded_in_vain_initiates_after_the_rekey_timeout() -> None:
    """No later packet is needed to remember the one that waits."""
    network, left, right = create_pair()
    hold(network, RESPONSE)
    left.send_to(right, b"hello")
    network.run(0.1)
    let_pass(network)
    left.device.down(network.clock.now())
    right.send_to(left, b"where are you?")
    network.run(1)
    left.device.up(network.clock.now())
    network.run(4.5)
    assert left.received == [b"where are you?"]
    assert len(right.sent_of(INITIATION)) == 1


# ── the timers behind ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_completed_handshake_leaves_no_retransmission() -> None:
    _, left, right = create_session()
    assert not peer_of(left, right).timers.is_pending(Timer.RETRANSMIT)
    assert not peer_of(right, left).timers.is_pending(Timer.RETRANSMIT)


def test_silence_after_data_makes_a_new_handshake() -> None:
    network, left, right = create_session()
    hold(network)
    began = network.clock.now()
    left.send_to(right, b"hello?")
    network.run(20)
    assert 15 <= left.times_of(INITIATION)[0] - began <= 15.334


def test_silence_after_a_keepalive_means_nothing() -> None:
    network, left, _ = create_pair(keepalive=25)
    network.run(1)
    hold(network)
    network.run(100)
    assert len(left.sent_of(INITIATION)) == 1

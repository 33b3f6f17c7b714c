"""Both sides begin a handshake at once: neither waits, and they end up with one session."""

import pytest

from tests.unit.protocol.pairs import DELAY, create_pair, current_of, hold, indices_of, let_pass
from tunnel.wire.messages import MessageType

INITIATION = MessageType.HANDSHAKE_INITIATION


def test_both_may_begin_at_once_and_neither_waits() -> None:
    network, left, right = create_pair()
    left.send_to(right, b"from left")
    right.send_to(left, b"from right")
    network.run(4 * DELAY)
    assert (left.received, right.received) == ([b"from right"], [b"from left"])


def test_who_began_at_once_end_up_with_one_session() -> None:
    network, left, right = create_pair()
    left.send_to(right, b"from left")
    right.send_to(left, b"from right")
    network.run(1)
    ours, theirs = current_of(left, right), current_of(right, left)
    assert (ours.local_index, ours.remote_index) == (theirs.remote_index, theirs.local_index)
    assert ours.is_initiator != theirs.is_initiator


@pytest.mark.parametrize("silent", ["left", "right"])
def test_a_steady_flow_survives_the_rekey_after_both_began_at_once(silent: str) -> None:
    network, left, right = create_pair()
    left.send_to(right, b"from left")
    right.send_to(left, b"from right")
    network.run(119.9)
    sender, receiver = (right, left) if silent == "left" else (left, right)
    receiver.received.clear()
    for number in range(200):
        sender.send_to(receiver, b"%d" % number)
        if number % 10 == 0:
            receiver.send_to(sender, b"answer")
        network.run(0.002)
    network.run(1)
    assert receiver.received == [b"%d" % number for number in range(200)]
    assert (left.drops(), right.drops()) == ({}, {})


@pytest.mark.parametrize("lost", range(6))
def test_both_may_begin_at_once_and_lose_any_one_message(lost: int) -> None:
    network, left, right = create_pair()
    passed = []

    def passes(*datagram: object) -> bool:
        passed.append(datagram)
        return len(passed) != lost + 1

    network.filter = passes
    left.send_to(right, b"from left")
    right.send_to(left, b"from right")
    network.run(1)
    for number in range(3):
        left.send_to(right, b"left %d" % number)
        right.send_to(left, b"right %d" % number)
        network.run(20)
    assert {b"left 1", b"left 2"} <= set(right.received)
    assert {b"right 1", b"right 2"} <= set(left.received)


def test_once_confirmed_a_session_is_not_replaced_by_an_older_initiation_of_ours() -> None:
    network, left, right = create_pair()
    held = hold(network, INITIATION)
    left.send_to(right, b"from left")
    network.run(1)
    right.send_to(left, b"from right")
    let_pass(network)
    network.inject(*held[1])
    network.run(1)
    assert current_of(left, right).is_initiator is False
    assert indices_of(left) == 1, "the index of the initiation that was never answered is free again"

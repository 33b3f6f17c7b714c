"""Keypairs: how long one is good for, and how three of them rotate."""

import pytest

from tunnel.keys import PublicKey
from tunnel.noise.handshake import TransportKeys
from tunnel.protocol.constants import REJECT_AFTER_MESSAGES
from tunnel.protocol.host import Host
from tunnel.protocol.keypair import Keypair, Keypairs
from tunnel.protocol.peer import Peer

NOW = 100.0
PEER = Peer(PublicKey(b"p" * 32), Host(bytes, bytes))


def create_keypair(*, is_initiator: bool = True, now: float = NOW) -> Keypair:
    keys = TransportKeys(b"s" * 32, b"r" * 32)
    return Keypair(PEER, keys, local_index=0x1234, remote_index=0x5678, is_initiator=is_initiator, now=now)


def begun() -> Keypair:
    return create_keypair(is_initiator=True)


def answered() -> Keypair:
    return create_keypair(is_initiator=False)


def slots(keypairs: Keypairs) -> tuple[Keypair | None, Keypair | None, Keypair | None]:
    return keypairs.previous, keypairs.current, keypairs.next


# ── one keypair ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_keypair_may_send_and_receive() -> None:
    keypair = create_keypair()
    assert keypair.can_send(1, NOW)
    assert keypair.can_receive(NOW)


def test_a_keypair_is_rejected_from_180_seconds_on() -> None:
    keypair = create_keypair()
    assert keypair.can_send(1, NOW + 179.9)
    assert keypair.can_receive(NOW + 179.9)
    assert not keypair.can_send(1, NOW + 180)
    assert not keypair.can_receive(NOW + 180)


def test_the_last_counter_is_one_below_the_limit() -> None:
    keypair = create_keypair()
    keypair.send_counter = REJECT_AFTER_MESSAGES - 2
    assert keypair.can_send(2, NOW)
    assert not keypair.can_send(3, NOW)


def test_a_keypair_that_may_not_send_any_more_still_receives() -> None:
    keypair = create_keypair()
    keypair.send_counter = REJECT_AFTER_MESSAGES
    assert not keypair.can_send(1, NOW)
    assert keypair.can_receive(NOW)


def test_a_repr_shows_indices_and_no_key() -> None:
    assert repr(create_keypair()) == "Keypair(local_index=0x1234, remote_index=0x5678, keys redacted)"


# ── rotation ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_there_is_none_at_first() -> None:
    assert list(Keypairs()) == []


def test_the_first_that_we_began_is_current_at_once() -> None:
    keypairs, first = Keypairs(), begun()
    assert keypairs.add(first) == []
    assert slots(keypairs) == (None, first, None)


def test_the_first_that_we_answered_waits_as_next() -> None:
    keypairs, first = Keypairs(), answered()
    assert keypairs.add(first) == []
    assert slots(keypairs) == (None, None, first)


def test_beginning_again_keeps_the_one_before_and_forgets_the_one_before_that() -> None:
    keypairs, first, second, third = Keypairs(), begun(), begun(), begun()
    keypairs.add(first)
    assert keypairs.add(second) == []
    assert slots(keypairs) == (first, second, None)
    assert keypairs.add(third) == [first]
    assert slots(keypairs) == (second, third, None)


def test_beginning_with_an_unconfirmed_next_makes_that_previous_and_forgets_the_others() -> None:
    keypairs, first, second, third, fourth = Keypairs(), begun(), begun(), answered(), begun()
    keypairs.add(first)
    keypairs.add(second)
    keypairs.add(third)
    assert keypairs.add(fourth) == [second]
    assert slots(keypairs) == (third, fourth, None)


def test_answering_forgets_previous_and_keeps_current() -> None:
    keypairs, first, second, third = Keypairs(), begun(), begun(), answered()
    keypairs.add(first)
    keypairs.add(second)
    assert keypairs.add(third) == [first]
    assert slots(keypairs) == (None, second, third)


def test_answering_again_forgets_the_unconfirmed_next() -> None:
    keypairs, first, second, third = Keypairs(), begun(), answered(), answered()
    keypairs.add(first)
    keypairs.add(second)
    assert keypairs.add(third) == [second]
    assert slots(keypairs) == (None, first, third)


def test_confirming_slides_next_to_current_and_current_to_previous() -> None:
    keypairs, first, second = Keypairs(), begun(), answered()
    keypairs.add(first)
    keypairs.add(second)
    assert keypairs.confirm(second) == []
    assert slots(keypairs) == (first, second, None)


@pytest.mark.parametrize("which", ["previous", "current"])
def test_data_under_another_than_next_confirms_nothing(which: str) -> None:
    keypairs = Keypairs()
    for keypair in (begun(), begun()):
        keypairs.add(keypair)
    before = slots(keypairs)
    assert keypairs.confirm(getattr(keypairs, which)) is None
    assert slots(keypairs) == before


def test_a_keypair_is_confirmed_once() -> None:
    keypairs, first = Keypairs(), answered()
    keypairs.add(first)
    keypairs.confirm(first)
    assert keypairs.confirm(first) is None


def test_forgetting_lets_go_of_all_three() -> None:
    keypairs, first, second, third = Keypairs(), begun(), begun(), answered()
    keypairs.add(first)
    keypairs.add(second)
    keypairs.next = third
    assert keypairs.forget() == [first, second, third]
    assert list(keypairs) == []


# ── both began at once ───────────────────────────────────────────────────────────────────────────────────────────────


def begun_at_once(*, apart: float = 0.0) -> tuple[Keypairs, Keypair, Keypair]:
    """Theirs is previous and ours is current, derived so many seconds apart."""
    keypairs, theirs, ours = Keypairs(), answered(), create_keypair(now=NOW + apart)
    keypairs.add(theirs)
    keypairs.add(ours)
    return keypairs, theirs, ours


def test_data_under_the_one_that_shall_last_makes_it_current() -> None:
    keypairs, theirs, ours = begun_at_once()
    keypairs.prefer(theirs, ours=False)
    assert slots(keypairs) == (ours, theirs, None)


def test_data_under_the_other_changes_nothing() -> None:
    keypairs, theirs, ours = begun_at_once()
    keypairs.prefer(theirs, ours=True)
    assert slots(keypairs) == (theirs, ours, None)


def test_data_under_the_one_that_is_current_changes_nothing() -> None:
    keypairs, theirs, ours = begun_at_once()
    keypairs.prefer(ours, ours=True)
    assert slots(keypairs) == (theirs, ours, None)


def test_sessions_begun_one_after_the_other_are_not_swapped() -> None:
    keypairs, theirs, ours = begun_at_once(apart=5.0)
    keypairs.prefer(theirs, ours=False)
    assert slots(keypairs) == (theirs, ours, None)


def test_sessions_begun_by_the_same_side_are_not_swapped() -> None:
    keypairs, first, second = Keypairs(), begun(), begun()
    keypairs.add(first)
    keypairs.add(second)
    keypairs.prefer(first, ours=True)
    assert slots(keypairs) == (first, second, None)

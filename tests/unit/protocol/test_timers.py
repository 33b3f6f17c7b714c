"""The five timers: what sets each, what clears it, what it does when it is due."""

from math import inf

import pytest

from tunnel.protocol.constants import REKEY_TIMEOUT_JITTER
from tunnel.protocol.host import Host
from tunnel.protocol.timers import Timer, Timers

JITTER = 0.2
NOW = 100.0


def create_timers() -> Timers:
    return Timers(lambda: JITTER)


def test_nothing_is_pending_at_first() -> None:
    timers = create_timers()
    assert timers.deadline == inf
    assert timers.take_due(1e12) == []


def test_an_initiation_is_retransmitted_after_five_seconds_and_jitter() -> None:
    timers = create_timers()
    timers.handshake_initiated(NOW)
    assert timers.deadline == NOW + 5 + JITTER


def test_jitter_is_drawn_anew_for_every_retransmission() -> None:
    draws = iter([0.1, 0.3])
    timers = Timers(lambda: next(draws))
    timers.handshake_initiated(NOW)
    first = timers.deadline
    timers.handshake_initiated(NOW)
    assert (first, timers.deadline) == (NOW + 5.1, NOW + 5.3)


@pytest.mark.parametrize(("drawn", "jitter"), [(b"\x00\x00", 0.0), (b"\xff\xff", REKEY_TIMEOUT_JITTER)])
def test_jitter_goes_from_nothing_to_a_third_of_a_second(drawn: bytes, jitter: float) -> None:
    assert Host(lambda size: drawn[:size], bytes).jitter() == pytest.approx(jitter)


def test_a_completed_handshake_is_not_retransmitted() -> None:
    timers = create_timers()
    timers.handshake_initiated(NOW)
    timers.handshake_completed()
    assert timers.deadline == inf


def test_a_postponed_handshake_is_remembered() -> None:
    timers = create_timers()
    timers.handshake_postponed(NOW)
    assert timers.take_due(NOW + 5 + JITTER) == [Timer.RETRANSMIT]


def test_postponing_does_not_move_a_retransmission_that_is_pending() -> None:
    timers = create_timers()
    timers.handshake_initiated(NOW)
    timers.handshake_postponed(NOW + 3)
    assert timers.deadline == NOW + 5 + JITTER


def test_data_received_asks_for_a_keepalive_after_ten_seconds() -> None:
    timers = create_timers()
    timers.data_received(NOW)
    assert timers.take_due(NOW + 10) == [Timer.SEND_KEEPALIVE]


def test_anything_sent_makes_the_keepalive_needless() -> None:
    timers = create_timers()
    timers.data_received(NOW)
    timers.any_authenticated_packet_sent()
    assert timers.deadline == inf


def test_data_received_while_a_keepalive_is_pending_asks_for_one_more() -> None:
    timers = create_timers()
    timers.data_received(NOW)
    timers.data_received(NOW + 9)
    assert timers.take_due(NOW + 10) == [Timer.SEND_KEEPALIVE]
    timers.keepalive_due(NOW + 10)
    assert timers.deadline == NOW + 20


def test_one_more_keepalive_is_only_one() -> None:
    timers = create_timers()
    timers.data_received(NOW)
    timers.data_received(NOW + 9)
    for when in (NOW + 10, NOW + 20):
        assert timers.take_due(when) == [Timer.SEND_KEEPALIVE]
        timers.keepalive_due(when)
    assert timers.deadline == inf


def test_data_sent_wants_an_answer_within_keepalive_and_rekey_timeout() -> None:
    timers = create_timers()
    timers.data_sent(NOW)
    assert timers.take_due(NOW + 15 + JITTER) == [Timer.NEW_HANDSHAKE]


def test_more_data_does_not_give_the_answer_more_time() -> None:
    timers = create_timers()
    timers.data_sent(NOW)
    timers.data_sent(NOW + 14)
    assert timers.deadline == NOW + 15 + JITTER


def test_anything_received_is_an_answer() -> None:
    timers = create_timers()
    timers.data_sent(NOW)
    timers.any_authenticated_packet_received()
    assert timers.deadline == inf


def test_keys_are_zeroed_three_reject_times_after_the_session_was_derived() -> None:
    timers = create_timers()
    timers.session_derived(NOW)
    assert timers.take_due(NOW + 540) == [Timer.ZERO_KEYS]


def test_a_new_session_moves_the_zeroing() -> None:
    timers = create_timers()
    timers.session_derived(NOW)
    timers.session_derived(NOW + 120)
    assert timers.deadline == NOW + 660


def test_giving_up_leads_to_zeroing_too() -> None:
    timers = create_timers()
    timers.handshake_gave_up(NOW)
    assert timers.take_due(NOW + 540) == [Timer.ZERO_KEYS]


def test_giving_up_does_not_let_an_old_session_live_longer() -> None:
    timers = create_timers()
    timers.session_derived(NOW)
    timers.handshake_gave_up(NOW + 300)
    assert timers.deadline == NOW + 540


def test_giving_up_ends_the_wish_for_a_keepalive() -> None:
    timers = create_timers()
    timers.data_received(NOW)
    timers.handshake_gave_up(NOW)
    assert not timers.is_pending(Timer.SEND_KEEPALIVE)


def test_a_persistent_keepalive_follows_whatever_traversed() -> None:
    timers = create_timers()
    timers.persistent_keepalive_changed(25)
    timers.any_authenticated_packet_traversed(NOW)
    timers.any_authenticated_packet_traversed(NOW + 20)
    assert timers.take_due(NOW + 44) == []
    assert timers.take_due(NOW + 45) == [Timer.PERSISTENT_KEEPALIVE]


@pytest.mark.parametrize("now", [100.0, 100.1, 100.49, 100.5, 100.99])
def test_persistent_keepalives_of_many_peers_fall_together_and_never_late(now: float) -> None:
    timers = Timers(lambda: 0.0)
    timers.persistent_keepalive_changed(25)
    timers.any_authenticated_packet_traversed(now)
    assert timers.deadline in (125.0, 125.5)
    assert now + 24.5 < timers.deadline <= now + 25


def test_there_is_no_persistent_keepalive_unless_asked_for() -> None:
    timers = create_timers()
    timers.any_authenticated_packet_traversed(NOW)
    assert timers.deadline == inf


def test_a_persistent_keepalive_can_be_switched_off() -> None:
    timers = create_timers()
    timers.persistent_keepalive_changed(25)
    timers.any_authenticated_packet_traversed(NOW)
    timers.persistent_keepalive_changed(0)
    assert timers.deadline == inf


def test_a_timer_is_due_at_its_deadline_and_not_before() -> None:
    timers = create_timers()
    timers.data_received(NOW)
    assert timers.take_due(NOW + 9.999) == []
    assert timers.take_due(NOW + 10) == [Timer.SEND_KEEPALIVE]


def test_a_timer_is_taken_once() -> None:
    timers = create_timers()
    timers.data_received(NOW)
    timers.take_due(NOW + 10)
    assert timers.take_due(NOW + 10) == []


def test_timers_that_are_due_at_once_come_with_zeroing_first() -> None:
    timers = create_timers()
    timers.data_sent(NOW)
    timers.data_received(NOW)
    timers.handshake_initiated(NOW)
    timers.session_derived(NOW)
    timers.persistent_keepalive_changed(25)
    timers.any_authenticated_packet_traversed(NOW)
    timers.path_probed(NOW + 1)
    assert timers.take_due(NOW + 1000) == list(Timer)


def test_the_deadline_is_the_earliest() -> None:
    timers = create_timers()
    timers.session_derived(NOW)
    timers.data_received(NOW)
    timers.data_sent(NOW)
    assert timers.deadline == NOW + 10


def test_stopping_clears_everything_but_the_configuration() -> None:
    timers = create_timers()
    timers.persistent_keepalive_changed(25)
    timers.data_received(NOW)
    timers.data_received(NOW)
    timers.session_derived(NOW)
    timers.stop()
    assert timers.deadline == inf
    timers.keepalive_due(NOW)
    assert timers.deadline == inf
    assert timers.persistent_keepalive == 25

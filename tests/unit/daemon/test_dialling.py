"""Dialling as conversations with a clock in hand: who is asked when, who is taken, and what becomes of it."""

import math
from itertools import pairwise

import pytest

from tunnel.daemon.dialling import (
    COURTSHIP,
    GRACE,
    LOOKUP_INTERVAL,
    MAX_ADDRESSES,
    MAX_NAMES,
    PENALTY,
    ROUSING_INTERVAL,
    SLOW_AFTER,
    Dialling,
)
from tunnel.endpoint import Endpoint, EndpointName, Source
from tunnel.errors import ConfigError
from tunnel.keys import PublicKey

NAME = EndpointName("gw.example.com", 51820)
OTHER_NAME = EndpointName("gw2.example.com", 51820)
A = Endpoint("192.0.2.1", 51820)
B = Endpoint("2001:db8::2", 51820)
C = Endpoint("192.0.2.3", 51820)
KEY_A = PublicKey(bytes([1]) * 32)
KEY_B = PublicKey(bytes([2]) * 32)


def numeric(*endpoints: Endpoint, now: float = 0.0) -> Dialling:
    """One that dials these addresses, and has asked them."""
    dialling = Dialling([EndpointName(endpoint.host, endpoint.port) for endpoint in endpoints], now)
    assert dialling.expire(now) == list(endpoints)
    return dialling


def connected(*endpoints: Endpoint) -> Dialling:
    """Since 0.1, with `KEY_A` at the first."""
    dialling = numeric(*endpoints)
    dialling.taken(KEY_A, endpoints[0], 0.1)
    dialling.completed(KEY_A)
    return dialling


def asks(dialling: Dialling, start: float, end: float) -> list[float]:
    """When something was asked, from `start` to before `end`."""
    times = []
    while dialling.deadline < end:
        now = max(dialling.deadline, start)
        dialling.due_lookups(now)
        if dialling.expire(now):
            times.append(now)
    return times


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_names_are_looked_up_at_once_and_numeric_ones_never() -> None:
    dialling = Dialling([NAME, EndpointName("192.0.2.1", 51820), OTHER_NAME], 7.0)
    assert dialling.deadline == 7.0
    assert dialling.due_lookups(7.0) == [NAME, OTHER_NAME]
    assert dialling.due_lookups(8.0) == []


def test_names_written_twice_are_dialled_once() -> None:
    assert Dialling([NAME, NAME], 0.0).due_lookups(0.0) == [NAME]


def test_more_names_than_anybody_needs_are_refused() -> None:
    with pytest.raises(ConfigError, match="17 names to dial, at most 16"):
        Dialling([EndpointName(f"gw{number}.example.com", 51820) for number in range(MAX_NAMES + 1)], 0.0)


def test_look_ups_without_an_answer_are_repeated_ever_more_slowly_and_for_ever() -> None:
    dialling = Dialling([NAME], 0.0)
    delays, now = [], 0.0
    for _ in range(50):
        assert dialling.due_lookups(now) == [NAME]
        dialling.failed(NAME, now)
        delays.append(dialling.deadline - now)
        now = dialling.deadline
    assert delays[:7] == [1, 2, 4, 8, 16, 30, 30]
    assert set(delays[5:]) == {30}


def test_an_answer_makes_the_next_failure_the_first_again() -> None:
    dialling = Dialling([NAME], 0.0)
    for _ in range(5):
        dialling.failed(NAME, 0.0)
    dialling.found(NAME, [A], 1.0)
    dialling.failed(NAME, 20.0)
    assert dialling.due_lookups(21.0) == [NAME]


def test_a_look_up_that_found_nothing_has_failed() -> None:
    dialling = Dialling([NAME], 0.0)
    dialling.due_lookups(0.0)
    dialling.found(NAME, [], 0.5)
    assert dialling.due_lookups(1.5) == [NAME]
    assert dialling.names_without_address == (NAME,)


def test_names_are_looked_up_anew_when_nobody_was_there_for_15_seconds_and_every_15_seconds() -> None:
    dialling = Dialling([NAME], 0.0)
    looked_up = []
    for tenths in range(500):
        for name in dialling.due_lookups(tenths / 10):
            looked_up.append(tenths / 10)
            dialling.found(name, [A], tenths / 10)
    assert looked_up == [0, 15, 30, 45]


def test_a_peer_that_is_lost_late_gives_its_name_15_seconds_before_it_is_looked_up() -> None:
    dialling = Dialling([NAME], 0.0)
    dialling.due_lookups(0.0)
    dialling.found(NAME, [A], 0.0)
    dialling.taken(KEY_A, A, 0.1)
    dialling.completed(KEY_A)
    assert dialling.deadline == math.inf
    dialling.lost(KEY_A, 1000.0)
    assert dialling.due_lookups(1000.0 + LOOKUP_INTERVAL - 0.1) == []
    assert dialling.due_lookups(1000.0 + LOOKUP_INTERVAL) == [NAME]


def test_a_name_that_never_had_an_address_is_looked_up_while_another_is_connected() -> None:
    dialling = Dialling([NAME, EndpointName("192.0.2.1", 51820)], 0.0)
    dialling.due_lookups(0.0)
    dialling.taken(KEY_A, A, 0.1)
    dialling.completed(KEY_A)
    dialling.failed(NAME, 10.0)
    assert dialling.deadline == 11.0


def test_an_address_that_becomes_known_in_the_middle_of_a_round_is_asked_at_once() -> None:
    dialling = Dialling([NAME, EndpointName("192.0.2.1", 51820)], 0.0)
    dialling.due_lookups(0.0)
    dialling.expire(0.0)
    dialling.found(NAME, [B], 0.4)
    assert dialling.deadline == 0.4
    assert dialling.expire(0.4) == [B]
    assert dialling.expire(1.0) == [A]


def test_an_address_that_stays_keeps_its_turn() -> None:
    dialling = Dialling([NAME], 0.0)
    dialling.found(NAME, [A], 0.0)
    dialling.expire(0.0)
    dialling.found(NAME, [A, B], 0.5)
    assert dialling.expire(0.5) == [B]


def test_an_address_that_dns_has_no_more_is_neither_asked_nor_taken() -> None:
    dialling = Dialling([NAME], 0.0)
    dialling.found(NAME, [A], 0.0)
    dialling.expire(0.0)
    dialling.found(NAME, [B], 15.0)
    assert dialling.expire(15.0) == [B]
    assert not dialling.takes(A, 15.1)


def test_an_interface_that_came_back_with_another_index_is_followed() -> None:
    dialling = Dialling([NAME], 0.0)
    dialling.found(NAME, [Endpoint("fe80::1", 51820, scope_id=3)], 0.0)
    dialling.found(NAME, [Endpoint("fe80::1", 51820, scope_id=4)], 15.0)
    assert dialling.expire(15.0) == [Endpoint("fe80::1", 51820, scope_id=4)]


def test_old_addresses_are_asked_while_the_dns_is_down() -> None:
    dialling = Dialling([NAME], 0.0)
    dialling.found(NAME, [A], 0.0)
    dialling.failed(NAME, 15.0)
    assert dialling.expire(15.0) == [A]
    assert dialling.due_lookups(16.0) == [NAME]


def test_no_more_addresses_of_a_name_are_used_than_anybody_needs() -> None:
    dialling = Dialling([NAME], 0.0)
    dialling.found(NAME, [Endpoint(f"192.0.2.{number}", 51820) for number in range(100)], 0.0)
    assert len(dialling.expire(0.0)) == MAX_ADDRESSES


def test_an_address_of_two_names_is_asked_once_and_known_by_both() -> None:
    dialling = Dialling([NAME, OTHER_NAME], 0.0)
    dialling.found(NAME, [A, B], 0.0)
    dialling.found(OTHER_NAME, [A], 0.0)
    assert dialling.expire(0.0) == [A, B]
    assert dialling.names_at(A) == (NAME, OTHER_NAME)
    assert dialling.names_at(B) == (NAME,)
    assert dialling.names_at(C) == ()


def test_an_answer_is_recognised_whatever_address_of_ours_and_interface_it_came_to() -> None:
    name = EndpointName("fe80::1", 51820)
    dialling = Dialling([name], 0.0)
    answer = Endpoint("fe80::1", 51820, scope_id=3, source=Source("fe80::9", 3))
    assert dialling.names_at(answer) == (name,)
    assert dialling.takes(answer, 0.1)
    assert not dialling.takes(Endpoint("fe80::1", 51821), 0.1)


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_all_are_asked_at_once_again_after_1_2_and_4_seconds_and_then_every_5() -> None:
    dialling = Dialling([EndpointName(A.host, A.port), EndpointName(B.host, B.port)], 100.0)
    times = []
    while dialling.deadline < 128:
        times.append(dialling.deadline)
        assert dialling.expire(dialling.deadline) == [A, B]
    assert times == [100, 101, 103, 107, 112, 117, 122, 127]


def test_after_ten_minutes_without_an_answer_they_are_asked_every_15_seconds() -> None:
    times = asks(numeric(A), 0.0, 2000.0)
    assert {after - before for before, after in pairwise(times) if 7.0 <= before < SLOW_AFTER} == {5.0}
    assert {after - before for before, after in pairwise(times) if before >= SLOW_AFTER} == {15.0}


def test_an_answer_puts_off_slowing_down() -> None:
    dialling = numeric(A)
    asks(dialling, 0.0, SLOW_AFTER - 10.0)
    dialling.taken(KEY_A, A, SLOW_AFTER - 10.0)
    dialling.unanswered(KEY_A, SLOW_AFTER - 5.0)
    assert {after - before for before, after in pairwise(asks(dialling, 0.0, SLOW_AFTER + 500.0))} == {1, 2, 4, 5}


def test_ten_minutes_of_connection_are_no_reason_to_be_slow() -> None:
    dialling = connected(A)
    dialling.lost(KEY_A, 5000.0)
    assert {after - before for before, after in pairwise(asks(dialling, 0.0, 5500.0))} == {1, 2, 4, 5}


def test_a_late_caller_asks_once_for_all_that_it_missed() -> None:
    dialling = numeric(A)
    assert dialling.expire(5000.0) == [A]
    assert dialling.expire(5000.0) == []
    assert dialling.deadline > 5000.0


def test_who_is_roused_asks_at_once_although_it_had_slowed_down() -> None:
    dialling = numeric(A)
    last = asks(dialling, 0.0, 1000.0)[-1]
    dialling.roused(last + 6.0)
    times = asks(dialling, 0.0, last + 60.0)
    assert [time - last for time in times[:6]] == pytest.approx([6, 7, 9, 13, 18, 23])


def test_many_reasons_to_ask_at_once_are_one() -> None:
    dialling = numeric(A)
    asks(dialling, 0.0, 100.0)
    asked = 0
    for hundredths in range(10000, 20000):
        dialling.roused(hundredths / 100)
        asked += len(dialling.expire(hundredths / 100))
    assert asked <= 3 * 100 / ROUSING_INTERVAL


def test_who_is_roused_does_not_ask_within_a_second_of_the_last_time() -> None:
    dialling = numeric(A)
    dialling.roused(0.5)
    assert dialling.expire(0.9) == []
    assert dialling.expire(1.0) == [A]


def test_who_is_roused_looks_up_at_once_what_dns_did_not_know() -> None:
    dialling = Dialling([NAME, OTHER_NAME], 0.0)
    dialling.due_lookups(0.0)
    for _ in range(6):
        dialling.failed(NAME, 50.0)
    dialling.roused(60.0)
    assert dialling.due_lookups(60.0) == [NAME]  # the other one is still under way
    dialling.roused(70.0)
    assert dialling.due_lookups(70.0) == []


def test_who_is_roused_does_not_look_up_what_dns_has_just_said() -> None:
    dialling = Dialling([NAME], 0.0)
    dialling.found(NAME, [A], 20.0)
    dialling.roused(25.0)
    assert dialling.due_lookups(20.0 + LOOKUP_INTERVAL - 0.1) == []


@pytest.mark.parametrize("is_connected", [False, True])
def test_nothing_rouses_who_courts_or_is_connected(is_connected: bool) -> None:
    dialling = numeric(A)
    dialling.taken(KEY_A, A, 0.1)
    if is_connected:
        dialling.completed(KEY_A)
    before = dialling.deadline
    dialling.roused(2.0)
    assert dialling.deadline == before
    assert dialling.expire(2.0) == []


# ── the first one wins ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_answer_is_taken_and_the_others_are_ignored() -> None:
    dialling = numeric(A, B)
    assert dialling.takes(B, 0.1)
    assert dialling.taken(KEY_B, B, 0.1) is None
    assert not dialling.takes(A, 0.2)
    assert dialling.peer == KEY_B
    assert not dialling.is_connected
    assert dialling.expire(1.0) == []


def test_an_answer_from_where_we_do_not_dial_is_not_taken() -> None:
    assert not numeric(A).takes(B, 0.1)


def test_who_is_connected_is_silent() -> None:
    dialling = connected(A, B)
    assert dialling.is_connected
    assert not dialling.is_asking
    assert dialling.asked_since is None
    assert dialling.deadline == math.inf
    assert dialling.expire(1e6) == []
    assert not dialling.takes(A, 1e6)


def test_an_unanswered_courtship_leads_to_a_new_round_in_which_others_go_first() -> None:
    dialling = numeric(A, B)
    dialling.taken(KEY_A, A, 0.1)
    dialling.unanswered(KEY_A, 5.1)
    assert dialling.expire(5.1) == [A, B]
    assert not dialling.takes(A, 5.2)
    assert dialling.takes(B, 5.2)
    assert dialling.taken(KEY_B, B, 5.2) == KEY_A


def test_who_did_not_answer_is_taken_when_a_second_has_passed_without_a_better_one() -> None:
    dialling = numeric(A, B)
    dialling.taken(KEY_A, A, 0.1)
    dialling.unanswered(KEY_A, 5.1)
    assert not dialling.takes(A, 5.1 + GRACE - 0.01)
    assert dialling.takes(A, 5.1 + GRACE)


def test_who_did_not_answer_is_taken_at_once_when_there_is_no_other() -> None:
    dialling = numeric(A)
    dialling.taken(KEY_A, A, 0.1)
    dialling.unanswered(KEY_A, 5.1)
    assert dialling.takes(A, 5.2)


def test_a_penalty_ends() -> None:
    dialling = numeric(A, B)
    dialling.taken(KEY_A, A, 0.1)
    dialling.unanswered(KEY_A, 5.0)
    dialling.roused(5.0 + PENALTY - 0.5)
    assert not dialling.takes(A, 5.0 + PENALTY - 0.1)
    assert dialling.takes(A, 5.0 + PENALTY)


def test_a_courtship_of_which_nothing_is_heard_ends_by_itself() -> None:
    dialling = numeric(A, B)
    dialling.taken(KEY_A, A, 0.1)
    assert dialling.deadline == 0.1 + COURTSHIP
    assert dialling.expire(0.1 + COURTSHIP) == [A, B]
    assert not dialling.takes(A, 0.2 + COURTSHIP)


def test_a_late_answer_of_who_was_given_up_is_as_good_as_any_as_long_as_nobody_else_was_taken() -> None:
    dialling = numeric(A, B)
    dialling.taken(KEY_A, A, 0.1)
    dialling.unanswered(KEY_A, 5.1)
    assert dialling.peer == KEY_A
    dialling.completed(KEY_A)
    assert dialling.is_connected
    assert dialling.deadline == math.inf


def test_a_late_answer_of_who_has_been_replaced_changes_nothing() -> None:
    dialling = numeric(A, B)
    dialling.taken(KEY_A, A, 0.1)
    dialling.unanswered(KEY_A, 5.1)
    dialling.taken(KEY_B, B, 5.2)
    dialling.completed(KEY_A)
    dialling.unanswered(KEY_A, 6.0)
    dialling.lost(KEY_A, 7.0)
    assert dialling.peer == KEY_B
    assert not dialling.is_connected
    assert dialling.expire(7.0) == []


def test_more_news_that_the_one_given_up_is_silent_begin_no_more_rounds() -> None:
    dialling = numeric(A)
    dialling.taken(KEY_A, A, 0.1)
    dialling.unanswered(KEY_A, 5.0)
    assert asks(dialling, 5.0, 8.5) == [5.0, 6.0, 8.0]
    dialling.unanswered(KEY_A, 10.0)
    assert dialling.expire(10.0) == []
    assert dialling.deadline == 12.0


def test_a_refused_certificate_does_not_keep_others_from_being_taken() -> None:
    dialling = numeric(A, B)
    dialling.refused(A, 0.1)
    assert dialling.takes(B, 0.2)


def test_a_refused_certificate_keeps_nobody_out_who_is_alone() -> None:
    """It may have been a stranger's, who was faster than the host that we dial."""
    dialling = numeric(A)
    dialling.refused(A, 0.1)
    assert dialling.takes(A, 0.2)


def test_who_is_refused_does_not_keep_who_did_not_answer_waiting() -> None:
    dialling = numeric(A, B)
    dialling.refused(B, 0.1)
    dialling.taken(KEY_A, A, 0.2)
    dialling.unanswered(KEY_A, 5.2)
    assert dialling.takes(A, 5.3)


# ── fail-over ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_silence_while_connected_has_all_asked() -> None:
    dialling = connected(A, B)
    dialling.unanswered(KEY_A, 125.0)
    assert dialling.is_connected
    assert dialling.asked_since == 125.0
    assert dialling.expire(125.0) == [A, B]


def test_one_lost_datagram_does_not_move_us_to_another() -> None:
    dialling = connected(A, B)
    dialling.unanswered(KEY_A, 125.0)
    assert not dialling.takes(B, 125.1)
    assert dialling.takes(A, 125.2)
    assert dialling.taken(KEY_A, A, 125.2) is None
    dialling.completed(KEY_A)
    assert dialling.is_connected


def test_a_handshake_that_succeeds_after_all_ends_the_doubt() -> None:
    dialling = connected(A, B)
    dialling.unanswered(KEY_A, 125.0)
    dialling.completed(KEY_A)
    assert dialling.deadline == math.inf
    assert dialling.asked_since is None


def test_another_one_takes_the_place_of_who_stays_silent() -> None:
    dialling = connected(A, B)
    dialling.unanswered(KEY_A, 125.0)
    assert dialling.expire(125.0) == [A, B]
    assert dialling.expire(126.0) == [A, B]
    assert dialling.takes(B, 126.1)
    assert dialling.taken(KEY_B, B, 126.1) == KEY_A
    assert not dialling.is_connected
    dialling.completed(KEY_B)
    assert dialling.is_connected
    assert dialling.peer == KEY_B


def test_who_gives_its_certificate_but_no_session_does_not_hold_us_for_ever() -> None:
    dialling = connected(A, B)
    dialling.unanswered(KEY_A, 125.0)
    dialling.taken(KEY_A, A, 125.1)
    dialling.unanswered(KEY_A, 130.0)
    assert not dialling.is_connected
    assert not dialling.takes(A, 130.1)
    assert dialling.takes(B, 130.1)


def test_further_silence_while_in_doubt_begins_no_more_rounds() -> None:
    dialling = connected(A)
    dialling.unanswered(KEY_A, 125.0)
    assert asks(dialling, 125.0, 129.9) == [125.0, 126.0, 128.0]
    dialling.unanswered(KEY_A, 130.0)
    assert dialling.deadline == 132.0


def test_in_doubt_of_somebody_who_is_nowhere_to_be_asked_the_first_answer_is_taken() -> None:
    dialling = numeric(A, B)
    dialling.arrived(KEY_A)
    dialling.unanswered(KEY_A, 125.0)
    assert dialling.takes(B, 125.1)


def test_a_loss_has_all_asked_at_once_and_others_go_first() -> None:
    dialling = connected(A, B)
    dialling.lost(KEY_A, 50.0)
    assert dialling.peer is None
    assert not dialling.is_connected
    assert dialling.expire(50.0) == [A, B]
    assert not dialling.takes(A, 50.1)
    assert dialling.takes(B, 50.1)
    assert dialling.taken(KEY_B, B, 50.1) is None


def test_the_only_one_is_taken_back_at_once() -> None:
    dialling = connected(A)
    dialling.lost(KEY_A, 50.0)
    assert dialling.takes(A, 50.1)


def test_who_comes_and_goes_at_once_is_asked_once_a_second() -> None:
    dialling = numeric(A)
    times, now = [0.0], 0.0
    while now < 10.0:
        now += 0.01
        if dialling.expire(now):
            times.append(now)
            dialling.taken(KEY_A, A, now)
            dialling.completed(KEY_A)
            dialling.lost(KEY_A, now)
    assert all(after - before >= 0.99 for before, after in pairwise(times))


def test_a_session_forgives_an_unanswered_handshake() -> None:
    dialling = numeric(A, B)
    dialling.taken(KEY_A, A, 0.1)
    dialling.unanswered(KEY_A, 5.1)
    dialling.completed(KEY_A)
    dialling.unanswered(KEY_A, 12.0)
    assert dialling.takes(A, 12.1)
    assert not dialling.takes(B, 12.1)


# ── somebody comes by itself ─────────────────────────────────────────────────────────────────────────────────────────


def test_who_comes_by_itself_is_connected() -> None:
    dialling = numeric(A)
    assert dialling.arrived(KEY_A) is None
    assert dialling.is_connected
    assert dialling.peer == KEY_A
    assert dialling.deadline == math.inf


def test_the_loss_of_who_came_by_itself_has_all_asked() -> None:
    dialling = numeric(A)
    dialling.arrived(KEY_A)
    dialling.lost(KEY_A, 60.0)
    assert dialling.expire(60.0) == [A]


def test_who_comes_by_itself_takes_the_place_of_who_is_courted() -> None:
    dialling = numeric(A, B)
    dialling.taken(KEY_A, A, 0.1)
    assert dialling.arrived(KEY_B) == KEY_A
    assert dialling.peer == KEY_B
    assert dialling.is_connected


def test_nobody_else_is_blamed_for_the_loss_of_who_came_by_itself() -> None:
    dialling = numeric(A, B)
    dialling.taken(KEY_A, A, 0.1)
    dialling.arrived(KEY_B)
    dialling.lost(KEY_B, 60.0)
    assert dialling.takes(A, 60.1)


def test_two_hosts_that_court_each_other_are_connected_by_either_handshake() -> None:
    dialling = numeric(A)
    dialling.taken(KEY_A, A, 0.1)
    assert dialling.arrived(KEY_A) is None
    assert dialling.is_connected


def test_who_comes_by_itself_changes_nothing_while_another_is_connected() -> None:
    dialling = connected(A, B)
    assert dialling.arrived(KEY_B) is None
    assert dialling.peer == KEY_A


# ── facts for the log ────────────────────────────────────────────────────────────────────────────────────────────────


def test_since_when_we_ask_is_since_there_was_somebody() -> None:
    dialling = numeric(A, now=3.0)
    dialling.taken(KEY_A, A, 3.1)
    dialling.unanswered(KEY_A, 8.0)
    assert dialling.asked_since == 3.0
    dialling.completed(KEY_A)
    dialling.lost(KEY_A, 20.0)
    assert dialling.asked_since == 20.0


def test_names_without_an_address_are_known() -> None:
    dialling = Dialling([NAME, OTHER_NAME, EndpointName(A.host, A.port)], 0.0)
    dialling.found(NAME, [B], 0.1)
    assert dialling.names_without_address == (OTHER_NAME,)


def test_who_sent_its_certificate_and_nothing_after_it_is_known_for_a_while() -> None:
    dialling = numeric(A, B)
    assert dialling.unanswering(0.0) is None
    dialling.taken(KEY_A, A, 0.1)
    dialling.unanswered(KEY_A, 5.0)
    assert dialling.unanswering(5.0) == A
    assert dialling.unanswering(5.0 + PENALTY) is None


def test_who_is_lost_did_answer() -> None:
    dialling = numeric(A)
    dialling.taken(KEY_A, A, 0.1)
    dialling.unanswered(KEY_A, 5.0)
    dialling.completed(KEY_A)
    dialling.lost(KEY_A, 6.0)
    assert dialling.unanswering(6.1) is None

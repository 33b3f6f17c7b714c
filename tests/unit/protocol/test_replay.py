import sys
from typing import Any

import pytest

from tests.vectors import load
from tunnel.protocol.constants import REJECT_AFTER_MESSAGES
from tunnel.protocol.replay import WINDOW_SIZE, ReplayWindow

TABLE: dict[str, Any] = load("tables")["replay"]


def window(*counters: int) -> ReplayWindow:
    """A window that has accepted these."""
    result = ReplayWindow()
    for counter in counters:
        assert result.accept(counter)
    return result


def test_the_limits_are_those_of_the_kernel() -> None:
    assert TABLE["window_size"] == WINDOW_SIZE
    assert TABLE["reject_after_messages"] == REJECT_AFTER_MESSAGES


@pytest.mark.parametrize("sequence", TABLE["sequences"])
def test_every_counter_of_the_kernels_self_test_is_judged_alike(sequence: list[dict[str, Any]]) -> None:
    replay = ReplayWindow()
    for run in sequence:
        step = run["step"] or 1
        for counter in range(run["from"], run["to"] + step, step):
            assert replay.check(counter) is run["accept"], counter
            assert replay.accept(counter) is run["accept"], counter


def test_check_marks_nothing() -> None:
    replay = ReplayWindow()
    assert replay.check(5)
    assert replay.check(5)
    assert replay.accept(5)


def test_a_counter_is_accepted_once() -> None:
    replay = window(0, 1, 2)
    assert not any(replay.accept(counter) for counter in (0, 1, 2))


def test_the_oldest_counter_in_the_window_is_accepted() -> None:
    assert window(10_000).accept(10_000 - WINDOW_SIZE)


def test_a_counter_behind_the_window_is_refused() -> None:
    assert not window(10_000).accept(10_000 - WINDOW_SIZE - 1)


@pytest.mark.parametrize("jump", [1, 2, 64, 8127, 8128, 8129, 8191, 8192, 8193, 16384, 2**40])
@pytest.mark.parametrize("start", [0, 1, 8190, 8191, 8192, 12345])
def test_what_was_jumped_over_is_still_acceptable(start: int, jump: int) -> None:
    """Also where its slot in the ring was in use: all slots are, to begin with."""
    replay = window(*range(start + 1))
    assert replay.accept(start + jump)
    for counter in range(max(start + jump - WINDOW_SIZE, 0), start + jump):
        assert replay.accept(counter) is (counter > start)


def test_the_last_counter_is_one_below_the_limit() -> None:
    replay = ReplayWindow()
    assert replay.accept(REJECT_AFTER_MESSAGES - 1)
    assert not replay.accept(REJECT_AFTER_MESSAGES)


@pytest.mark.parametrize("counter", [REJECT_AFTER_MESSAGES, 2**64 - 1])
def test_a_counter_at_the_limit_leaves_the_window_where_it_was(counter: int) -> None:
    replay = window(7)
    assert not replay.check(counter)
    assert not replay.accept(counter)
    assert replay.accept(6)


def test_the_key_of_a_quiet_peer_takes_little_memory() -> None:
    assert sys.getsizeof(window(*range(200))._flags) < 1000

"""The fake clock, and that it can stand in for the real one."""

import time

import pytest

from tunnel.daemon.clock import Clock, SystemClock
from tunnel.testing.clock import FakeClock


def test_time_stands_still_until_it_is_moved() -> None:
    clock = FakeClock(now=5.0, unix=100.0)
    assert (clock.now(), clock.unix_ns()) == (5.0, 100 * 10**9)
    clock.advance(2.5)
    assert (clock.now(), clock.unix_ns()) == (7.5, 102_500_000_000)


def test_setting_the_wall_clock_does_not_move_now() -> None:
    clock = FakeClock(now=5.0, unix=100.0)
    clock.step_wall_clock(-40.0)
    assert (clock.now(), clock.unix_ns()) == (5.0, 60 * 10**9)


def test_boot_time_does_not_go_back() -> None:
    with pytest.raises(AssertionError):
        FakeClock().advance(-1.0)


@pytest.mark.parametrize("clock", [FakeClock(), SystemClock()])
def test_the_offset_leads_from_now_to_the_wall_clock(clock: Clock) -> None:
    assert clock.now() + clock.unix_offset() == pytest.approx(clock.unix_ns() / 1e9, abs=1.0)


def test_the_system_clock_counts_from_boot_with_suspend() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    now = SystemClock().now()
    assert before <= now <= time.clock_gettime(time.CLOCK_BOOTTIME)

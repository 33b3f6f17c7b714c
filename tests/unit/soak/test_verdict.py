"""What is taken for a leak, on fabricated readings."""

from dataclasses import replace

import pytest

from tests.soak.readings import COUNTS, MEBIBYTE, Reading
from tests.soak.verdict import Series, leaks, memory_rise

QUIET = Reading(40 * MEBIBYTE, descriptors=14, sockets=6, threads=2, routes=9, rules=6, tables=0)


def minutes(*readings: Reading) -> Series:
    return [(60.0 * number, reading) for number, reading in enumerate(readings)]


def with_memory(*mebibytes: float) -> Series:
    return minutes(*(replace(QUIET, memory=int(size * MEBIBYTE)) for size in mebibytes))


def test_a_host_that_stays_as_it_was_does_not_leak() -> None:
    assert leaks({"gw": minutes(*[QUIET] * 10)}) == []


def test_memory_that_rises_all_the_time_is_a_leak() -> None:
    (line,) = leaks({"gw": with_memory(*(40 + number for number in range(13)))})
    assert line == "gw: memory rises by 8.0 MiB in 8.0 minutes"


def test_memory_that_rises_while_it_warms_up_is_none() -> None:
    assert leaks({"gw": with_memory(40, 44, 48, 50, *[50] * 9)}) == []


def test_memory_that_goes_up_and_down_is_none() -> None:
    assert leaks({"gw": with_memory(*[40, 43] * 8)}) == []


def test_of_a_short_time_nothing_is_said_about_memory() -> None:
    assert memory_rise(with_memory(40, 50)) == 0.0


@pytest.mark.parametrize("what", COUNTS)
def test_one_more_of_anything_is_a_leak(what: str) -> None:
    more = replace(QUIET, **{what: getattr(QUIET, what) + 1})
    assert leaks({"gw": minutes(QUIET, more)}) == [
        f"gw: {what} grew from {getattr(QUIET, what)} to {getattr(more, what)}"
    ]
    assert leaks({"gw": minutes(QUIET, more, QUIET)}) == []
    assert leaks({"gw": minutes(more, QUIET)}) == []

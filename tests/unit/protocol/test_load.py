"""When we are under load, and for how long."""

from math import inf

from tunnel.protocol.constants import UNDER_LOAD_HANDSHAKES_PER_SECOND, UNDER_LOAD_QUEUED_HANDSHAKES
from tunnel.protocol.load import LoadMeter

NOW = 100.0


def test_we_are_not_under_load_at_first() -> None:
    meter = LoadMeter()
    assert not meter.is_under_load(NOW)
    assert meter.until == -inf


def test_a_long_queue_is_load() -> None:
    meter = LoadMeter()
    meter.arrived(UNDER_LOAD_QUEUED_HANDSHAKES - 1, NOW)
    assert not meter.is_under_load(NOW)
    meter.arrived(UNDER_LOAD_QUEUED_HANDSHAKES, NOW)
    assert meter.is_under_load(NOW)


def test_many_messages_in_one_second_are_load() -> None:
    meter = LoadMeter()
    for _ in range(UNDER_LOAD_HANDSHAKES_PER_SECOND):
        meter.arrived(0, NOW)
    assert not meter.is_under_load(NOW)
    meter.arrived(0, NOW + 0.99)
    assert meter.is_under_load(NOW + 0.99)


def test_as_many_in_two_seconds_are_not() -> None:
    meter = LoadMeter()
    for second in (0, 1):
        for _ in range(UNDER_LOAD_HANDSHAKES_PER_SECOND):
            meter.arrived(0, NOW + second)
    assert not meter.is_under_load(NOW + 1)


def test_load_lasts_for_a_second_after_its_cause() -> None:
    meter = LoadMeter()
    meter.arrived(UNDER_LOAD_QUEUED_HANDSHAKES, NOW)
    meter.arrived(0, NOW + 0.5)
    assert meter.is_under_load(NOW + 0.99)
    assert not meter.is_under_load(NOW + 1)


def test_a_cause_that_goes_on_prolongs_it() -> None:
    meter = LoadMeter()
    meter.arrived(UNDER_LOAD_QUEUED_HANDSHAKES, NOW)
    meter.arrived(UNDER_LOAD_QUEUED_HANDSHAKES, NOW + 0.9)
    assert meter.until == NOW + 1.9

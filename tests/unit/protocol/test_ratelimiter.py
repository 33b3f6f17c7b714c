from ipaddress import ip_address
from typing import Any

import pytest

from tests.vectors import load
from tunnel.protocol.ratelimiter import BURST, TOKENS_PER_SECOND, RateLimiter

TABLE: dict[str, Any] = load("tables")["ratelimiter"]

SOURCE = ip_address("192.0.2.1").packed


def drain(limiter: RateLimiter, source: bytes, now: float) -> int:
    """How many are allowed at once."""
    allowed = 0
    while limiter.allow(source, now):
        allowed += 1
    return allowed


def test_the_rate_is_that_of_the_kernel() -> None:
    assert (TABLE["packets_per_second"], TABLE["burst"]) == (TOKENS_PER_SECOND, BURST)


@pytest.mark.parametrize("source", ["192.0.2.1", "2001:db8::1"])
@pytest.mark.parametrize("start", [0.0, 1000.0, 228762.221])
def test_the_kernels_sequence_is_judged_alike(source: str, start: float) -> None:
    limiter = RateLimiter()
    waited = 0
    for step in TABLE["sequence"]:
        waited += step["wait_ms"]
        assert limiter.allow(ip_address(source).packed, start + waited / 1000) is step["allow"]


def test_a_burst_is_refilled_and_no_more() -> None:
    limiter = RateLimiter()
    assert drain(limiter, SOURCE, 0.0) == BURST
    assert drain(limiter, SOURCE, 3600.0) == BURST


def test_an_idle_bucket_that_was_not_collected_holds_a_burst_and_no_more() -> None:
    limiter = RateLimiter()
    assert limiter.allow(SOURCE, 1.0)
    assert drain(limiter, SOURCE, 1.9) == BURST


def test_the_long_run_rate_is_twenty_a_second() -> None:
    limiter = RateLimiter()
    allowed = sum(limiter.allow(SOURCE, moment / 1000) for moment in range(10_000))
    assert abs(allowed - (BURST + 10 * TOKENS_PER_SECOND)) <= 1


def test_being_refused_costs_nothing() -> None:
    limiter = RateLimiter()
    drain(limiter, SOURCE, 0.0)
    for moment in range(49):
        assert not limiter.allow(SOURCE, moment / 1000)
    assert limiter.allow(SOURCE, 0.05)


def test_ipv4_sources_are_told_apart_by_the_whole_address() -> None:
    limiter = RateLimiter()
    drain(limiter, SOURCE, 0.0)
    assert limiter.allow(ip_address("192.0.2.2").packed, 0.0)


def test_one_ipv6_network_of_64_bits_is_one_source() -> None:
    limiter = RateLimiter()
    drain(limiter, ip_address("2001:db8::1").packed, 0.0)
    assert not limiter.allow(ip_address("2001:db8::2:0:0:1").packed, 0.0)
    assert limiter.allow(ip_address("2001:db8:0:1::1").packed, 0.0)


def test_an_ipv4_address_is_not_an_ipv6_network() -> None:
    limiter = RateLimiter()
    drain(limiter, bytes(4), 0.0)
    assert limiter.allow(bytes(16), 0.0)


def test_new_sources_are_refused_when_the_table_is_full() -> None:
    limiter = RateLimiter(max_sources=2)
    assert limiter.allow(b"\0\0\0\1", 1.0)
    assert limiter.allow(b"\0\0\0\2", 1.0)
    assert not limiter.allow(b"\0\0\0\3", 1.0)
    assert limiter.allow(b"\0\0\0\1", 1.0)


def test_idle_sources_make_room() -> None:
    limiter = RateLimiter(max_sources=1)
    assert limiter.allow(b"\0\0\0\1", 1.0)
    assert limiter.allow(b"\0\0\0\2", 2.0)
    assert len(limiter) == 1


@pytest.mark.parametrize(("taken", "left"), [(5, 0), (4, 1), (1, 4)])
def test_a_source_that_is_not_idle_is_not_forgotten(taken: int, left: int) -> None:
    limiter = RateLimiter()
    for _ in range(taken):
        assert limiter.allow(SOURCE, 0.99)
    assert limiter.allow(b"\0\0\0\1", 1.0)
    assert drain(limiter, SOURCE, 1.0) == left

"""What ping prints, and what its times say together."""

import pytest

from tests.bench.latency import LatencyError, RoundTrips, parse_times, percentile, summarise

OUTPUT = """\
PING 10.0.0.2 (10.0.0.2) 56(84) bytes of data.
64 bytes from 10.0.0.2: icmp_seq=1 ttl=64 time=0.402 ms
64 bytes from 10.0.0.2: icmp_seq=3 ttl=64 time=12 ms

--- 10.0.0.2 ping statistics ---
3 packets transmitted, 2 received, 33.3333% packet loss, time 20ms
"""


def test_times_are_those_of_the_answers() -> None:
    assert parse_times(OUTPUT) == [0.402, 12.0]


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(value) for value in range(200, 0, -1)]
    assert percentile(values, 50) == 100.0
    assert percentile(values, 99) == 198.0
    assert percentile([7.0], 99) == 7.0


def test_a_summary_is_median_and_p99() -> None:
    assert summarise([1.0] * 98 + [5.0, 9.0]) == RoundTrips(1.0, 5.0)


def test_no_answer_at_all_is_an_error() -> None:
    with pytest.raises(LatencyError, match="no ping was answered"):
        summarise([])

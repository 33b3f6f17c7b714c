"""What iperf3 reports, cut down to what is read of it."""

import pytest

from tests.bench.iperf import Flood, IperfError, Transfer, parse_flood, parse_report, parse_transfer


def test_a_transfer_is_what_the_receiver_got() -> None:
    sent = {"bytes": 1100, "bits_per_second": 8800.0}
    received = {"bytes": 1000, "bits_per_second": 8000.0}
    assert parse_transfer({"end": {"sum_sent": sent, "sum_received": received}}) == Transfer(1000, 8000.0)


def test_both_directions_are_added() -> None:
    forth = {"bytes": 1000, "bits_per_second": 8000.0}
    back = {"bytes": 500, "bits_per_second": 4000.0}
    report = {"end": {"sum_received": forth, "sum_received_bidir_reverse": back}}
    assert parse_transfer(report) == Transfer(1500, 12000.0)


def test_a_flood_counts_what_the_receiver_never_heard_of_as_lost() -> None:
    sent = {"packets": 1000, "seconds": 2.0}
    received = {"packets": 900, "lost_packets": 100, "seconds": 2.1}
    flood = parse_flood({"end": {"sum_sent": sent, "sum_received": received}})
    assert flood == Flood(1000, 800, 2.0)
    assert flood.loss == pytest.approx(0.2)
    assert (flood.offered_rate, flood.delivered_rate) == (500.0, 400.0)


def test_a_flood_of_nothing_is_all_loss() -> None:
    assert Flood(0, 0, 1.0).loss == 1.0


def test_an_error_is_raised_in_the_words_of_iperf3() -> None:
    with pytest.raises(IperfError, match="unable to connect to server"):
        parse_report('{"start": {}, "error": "unable to connect to server"}')


def test_an_output_that_is_no_report_is_quoted() -> None:
    with pytest.raises(IperfError, match="Segmentation fault"):
        parse_report("Segmentation fault\n")

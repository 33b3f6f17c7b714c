"""Medians, ratios, and the file that they go to."""

import json

from tests.unit.bench.results_of import MACHINE, program, results_of


def test_a_median_is_of_the_rounds_that_have_the_value() -> None:
    measured = program("ours", {"tcp": 3.0}, {}, {"tcp": 100.0}, {"tcp": 2.0})
    assert measured.median("tcp") == 3.0
    assert measured.median("ping") is None


def test_a_ratio_is_of_medians() -> None:
    base, ours = program("base", {"tcp": 2.0}), program("ours", {"tcp": 3.0}, {"tcp": 5.0})
    assert results_of(base, ours).ratio(ours, "tcp") == 2.0


def test_there_is_no_ratio_without_two_values_to_compare() -> None:
    base, ours = program("base", {"udp-64": 0.0}), program("ours", {"udp-64": 3.0, "tcp": 5.0})
    results = results_of(base, ours)
    assert results.ratio(ours, "tcp") is None
    assert results.ratio(ours, "udp-64") is None
    assert results.ratio(base, "udp-64") is None
    assert results_of(ours).ratio(ours, "tcp") is None


def test_the_file_holds_machine_medians_ratios_rounds_and_what_went_wrong() -> None:
    base, ours = program("base", {"tcp": 3.0}), program("ours", {"tcp": 10.0}, {"tcp": 20.0})
    ours.failures.append("ping: no ping was answered")
    written = json.loads(results_of(base, ours, skipped={"Nebula": "not installed: nebula"}).to_json())
    assert written["machine"] == MACHINE
    assert written["date"] == "2020-01-02"
    assert written["quantities"]["tcp"]["unit"] == "Mbit/s"
    assert written["skipped"] == {"Nebula": "not installed: nebula"}
    assert written["programs"]["ours"] == {
        "title": "OURS",
        "version": "ours 1.0",
        "median": {"tcp": 15.0},
        "ratio": {"tcp": 5.0},
        "rounds": [{"tcp": 10.0}, {"tcp": 20.0}],
        "failures": ["ping: no ping was answered"],
    }

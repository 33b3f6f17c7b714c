"""The tables as a person reads them."""

import io

import pytest
from rich.console import Console

from tests.bench.report import format_ratio, format_value, render
from tests.bench.results import Results
from tests.unit.bench.results_of import program, results_of


def printed(results: Results) -> list[str]:
    paper = io.StringIO()
    Console(width=120, file=paper).print(render(results))
    return [" ".join(line.split()) for line in paper.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("value", "text"), [(0.05123, "0.0512"), (7.314, "7.31"), (99.94, "99.9"), (202.4, "202"), (1834.2, "1 834")]
)
def test_values_have_three_digits_or_all_before_the_point(value: float, text: str) -> None:
    assert format_value(value) == text


@pytest.mark.parametrize(("ratio", "text"), [(0.0019, "×0.002"), (0.214, "×0.21"), (3.53, "×3.5"), (12.3, "×12")])
def test_ratios_are_as_exact_as_they_deserve(ratio: float, text: str) -> None:
    assert format_ratio(ratio) == text


def test_a_row_has_the_value_and_the_ratio_to_the_baseline() -> None:
    lines = printed(results_of(program("base", {"tcp": 500.0}), program("ours", {"tcp": 1800.0})))
    assert "│ BASE │ 500 │" in lines
    assert "│ OURS │ 1 800 ×3.6 │" in lines


def test_what_was_not_measured_by_anyone_has_no_column() -> None:
    text = "\n".join(printed(results_of(program("base", {"tcp": 500.0}))))
    assert "1 stream" in text
    assert "4 streams" not in text
    assert "Round trip" not in text


def test_what_is_missing_or_failed_is_named() -> None:
    broken = program("ours", {"tcp": 1.0})
    broken.failures.append("udp-64: iperf3: unable to connect")
    lines = printed(results_of(broken, skipped={"tinc": "not installed: tincd"}))
    assert "skipped: tinc: not installed: tincd" in lines
    assert "failed: OURS: udp-64: iperf3: unable to connect" in lines


def test_the_targets_say_what_was_reached_and_what_missed() -> None:
    ours = program("tunnel", {"tcp": 2500.0, "ping": 0.9, "memory": 70.0})
    debian = program("wireguard-go", {"tcp": 500.0, "ping": 0.3})
    lines = printed(results_of(ours, debian))
    assert "│ TUNNEL │ TCP, 1 stream │ WIREGUARD-GO │ 5 │ ≥ 5 │ reached │" in lines
    assert "│ TUNNEL │ round trip, idle, median │ WIREGUARD-GO │ 3 │ ≤ 1.15 │ missed │" in lines
    assert "│ TUNNEL │ resident, MB │ │ 70 │ ≤ 60 │ missed │" in lines


def test_a_target_with_nothing_to_compare_is_not_mentioned() -> None:
    text = "\n".join(printed(results_of(program("tunnel", {"tcp": 2500.0}))))
    assert "Targets" not in text

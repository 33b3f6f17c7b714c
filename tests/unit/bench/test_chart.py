"""The picture: bars in proportion, text that survives XML."""

import xml.etree.ElementTree as ElementTree

from tests.bench.chart import LABEL_WIDTH, VALUE_WIDTH, WIDTH, draw
from tests.bench.results import Results
from tests.unit.bench.results_of import program, results_of

SVG = "{http://www.w3.org/2000/svg}"


def drawn(results: Results) -> ElementTree.Element:
    return ElementTree.fromstring(draw(results))


def words(picture: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in picture.iter(f"{SVG}text")]


def test_bars_are_as_long_as_their_values_and_the_longest_fills_the_width() -> None:
    picture = drawn(results_of(program("base", {"tcp": 500.0}), program("ours", {"tcp": 2000.0})))
    lengths = [float(bar.attrib["width"]) for bar in picture.iter(f"{SVG}rect")]
    full = WIDTH - LABEL_WIDTH - VALUE_WIDTH
    assert lengths == [full / 4, full]


def test_every_bar_has_its_name_number_and_ratio() -> None:
    text = words(drawn(results_of(program("base", {"tcp": 500.0}), program("ours", {"tcp": 2000.0}))))
    assert {"BASE", "OURS", "2 000 ×4.0"} <= set(text)


def test_ours_stands_out() -> None:
    picture = drawn(results_of(program("base", {"tcp": 1.0}), program("ours", {"tcp": 1.0}, is_ours=True)))
    assert [bar.attrib["class"] for bar in picture.iter(f"{SVG}rect")] == ["bar", "bar ours"]


def test_the_bare_cable_is_left_out() -> None:
    picture = drawn(results_of(program("base", {"tcp": 1.0}), program("none", {"tcp": 100.0})))
    assert "NONE" not in words(picture)


def test_a_panel_without_values_is_left_out() -> None:
    assert not any("CPU-seconds" in text for text in words(drawn(results_of(program("base", {"tcp": 1.0})))))


def test_all_zero_is_drawn_as_well() -> None:
    picture = drawn(results_of(program("base", {"udp-64": 0.0})))
    assert [bar.attrib["width"] for bar in picture.iter(f"{SVG}rect")] == ["0.0"]


def test_names_are_escaped_and_the_machine_is_named() -> None:
    assert any("Abacus <1>, 2 cores" in text for text in words(drawn(results_of(program("base", {"tcp": 1.0})))))


def test_everything_lies_inside_the_picture() -> None:
    picture = drawn(results_of(*(program(f"p{number}", {"tcp": 1.0, "tcp-cpu": 2.0}) for number in range(9))))
    height = float(picture.attrib["viewBox"].split()[3])
    assert all(float(element.attrib["y"]) < height for element in picture.iter() if "y" in element.attrib)

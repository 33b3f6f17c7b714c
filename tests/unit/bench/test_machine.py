"""Facts about the machine."""

from tests.bench.machine import machine_facts, value_of


def test_the_first_processor_names_the_model() -> None:
    cpuinfo = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Abacus: the 2nd\n\nprocessor\t: 1\nmodel name\t: Other\n"
    assert value_of("model name", cpuinfo) == "Abacus: the 2nd"


def test_a_fact_that_is_not_there_is_empty() -> None:
    assert value_of("model name", "processor\t: 0\n") == ""


def test_no_fact_about_this_machine_is_empty() -> None:
    assert all(machine_facts().values())

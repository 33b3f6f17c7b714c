"""What a process uses."""

import os
import subprocess
import sys
import time

from tests.bench.usage import cpu_seconds, parse_cpu_ticks, resident_bytes


def test_a_name_full_of_spaces_and_brackets_does_not_shift_the_fields() -> None:
    numbers = " ".join(str(number) for number in range(3, 53))
    assert parse_cpu_ticks(f"4711 (a ) b (c)) S {numbers[2:]}") == 14 + 15 + 16 + 17


def test_working_costs_cpu_time() -> None:
    before, began = cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() < began + 0.05:
        sum(range(10_000))
    assert cpu_seconds(os.getpid()) > before


def test_memory_is_at_least_what_we_hold() -> None:
    held = bytearray(b"x") * 20_000_000
    assert resident_bytes(os.getpid()) >= len(held)


def test_a_living_child_counts_for_its_parent() -> None:
    alone = resident_bytes(os.getpid())
    script = "held = b'x' * 30_000_000; print(flush=True); input()"
    command = (sys.executable, "-c", script)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        together = resident_bytes(os.getpid())
        child.communicate("\n")
    assert together > alone + 30_000_000

"""What a process costs, from /proc: CPU time and resident memory, with its threads and its living descendants."""

import os
from contextlib import suppress
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """User and system time so far, of children that have ended too; raise `OSError` if the process is gone."""
    return sum(map(_cpu_seconds, _family(pid)))


def resident_bytes(pid: int) -> int:
    """Memory that is in RAM now; pages that two processes of the family share count twice."""
    return sum(map(_resident_bytes, _family(pid)))


def parse_cpu_ticks(stat: str) -> int:
    """utime + stime + cutime + cstime of a line of /proc/PID/stat (proc(5)), whose second field may hold anything."""
    after_name = stat.rpartition(")")[2].split()
    return sum(map(int, after_name[11:15]))


def _family(pid: int) -> list[int]:
    family = [pid]
    for member in family:  # grows while we walk
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            with suppress(OSError):  # a thread that has just ended
                family.extend(map(int, children.read_text().split()))
    return family


def _cpu_seconds(pid: int) -> float:
    return parse_cpu_ticks(Path(f"/proc/{pid}/stat").read_text()) / os.sysconf("SC_CLK_TCK")


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

"""The facts about the machine that a number is worth nothing without."""

import os
import platform
from pathlib import Path

Facts = dict[str, str | int]


def machine_facts() -> Facts:
    """Processor, cores, memory in MB, kernel, distribution, Python."""
    return {
        "cpu": value_of("model name", Path("/proc/cpuinfo").read_text()) or platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 10**6,
        "kernel": platform.release(),
        "distribution": platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        "python": platform.python_version(),
    }


def value_of(key: str, cpuinfo: str) -> str:
    """The first value of `key` in /proc/cpuinfo; empty if there is none, as on some ARM machines."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""

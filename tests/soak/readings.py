"""What a host holds at one moment: memory and descriptors of its daemon, and what there is in its namespace.

    /proc/PID ─ resident memory, descriptors, sockets, threads ─┐
    ip, nft ─── routes, rules, tables ──────────────────────────┴─▶ Reading

A reading is taken between two troubles, so that nothing in it is passing by.
"""

import os
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

from tests.bench.usage import resident_bytes
from tunnel.testing.namespaces import Namespace

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Reading:
    """One host. Everything but `memory`, in bytes, is a number of things."""

    memory: int
    descriptors: int
    sockets: int
    threads: int
    routes: int
    rules: int
    tables: int

    @classmethod
    def take(cls, namespace: Namespace, pid: int) -> "Reading":
        """Of the host with this daemon; raise `OSError` if that is gone."""
        open_files = _open_files(pid)
        return cls(
            memory=resident_bytes(pid),
            descriptors=len(open_files),
            sockets=sum(target.startswith("socket:") for target in open_files),
            threads=len(os.listdir(f"/proc/{pid}/task")),
            routes=_lines(namespace, "route", "show", "table", "all"),
            rules=_lines(namespace, "rule"),
            tables=len(namespace.run("nft", "list", "tables").stdout.splitlines()),
        )

    def __str__(self) -> str:
        counts = (f"{getattr(self, name)} {name}" for name in COUNTS)
        return f"{self.memory / MEBIBYTE:.1f} MiB, {', '.join(counts)}"


COUNTS = tuple(field.name for field in fields(Reading) if field.name != "memory")
"""What may not grow at all."""


def _open_files(pid: int) -> list[str]:
    targets = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed while we look
            targets.append(os.readlink(entry))
    return targets


def _lines(namespace: Namespace, *what: str) -> int:
    return sum(len(namespace.ip(family, *what).splitlines()) for family in ("-4", "-6"))

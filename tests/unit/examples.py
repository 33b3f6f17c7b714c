"""Reads the values of docs/protocol-examples.md: what stands in its fenced blocks.

name = 0011 2233                 a value by itself
name:                            a value made of fields
  label      0011  # a remark
  label      22334455 66778899
             aabbccdd            a longer one goes on below
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from tests.properties.superpackets import ACK, CWR, PSH, Flow, Superpacket

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol-examples.md"

SUPERPACKET = Superpacket(Flow(flags=ACK | PSH | CWR), b"abcdefghABCDEFGH12345", 8)
PARTIAL = Superpacket(Flow(identification=9, flags=ACK | PSH), b"hello", 5)
"""The TCP packets in it; the second is a single one."""

Fields = dict[str, bytes]
"""Label -> bytes, in order. A value by itself is one field with an empty label."""

Layout = str
"""Fields as ``kind 1 | version 1 | padding n``: label and bytes; n is all that the others leave."""

V = TypeVar("V")

_HEX = r"(?P<hex>[0-9a-f]+(?: [0-9a-f]+)*)(?:  # .*)?"
_VALUE = re.compile(rf"(?P<name>\S[^=]*?) += {_HEX}")
_HEAD = re.compile(r"(?P<name>\S[^=]*):")
_FIELD = re.compile(rf"  (?P<label>\S.*?)  +{_HEX}")
_MORE = re.compile(rf" {{6,}}{_HEX}")


def read_examples(text: str) -> dict[str, Fields]:
    """Name -> value. Raise `ValueError` on a line in a fenced block that is none of the above, and on a name twice."""
    values: dict[str, Fields] = {}
    name, label = "", ""
    for line in _fenced_lines(text):
        if more := _MORE.fullmatch(line):
            values[name][label] += bytes.fromhex(more["hex"])
            continue
        if field := _FIELD.fullmatch(line):
            label = field["label"]
            _put(values[name], label, bytes.fromhex(field["hex"]))
        elif value := _VALUE.fullmatch(line):
            name, label = value["name"], ""
            _put(values, name, {label: bytes.fromhex(value["hex"])})
        elif head := _HEAD.fullmatch(line):
            name = head["name"]
            _put(values, name, {})
        else:
            raise ValueError(f"no example: {line!r}")
    return values


def lay_out(layout: Layout, value: bytes) -> Fields:
    """The fields of `value`, which has as many bytes as `layout` wants; a field of no bytes is left out."""
    sizes = {label: size for label, _, size in (field.rpartition(" ") for field in layout.split(" | "))}
    rest = len(value) - sum(int(size) for size in sizes.values() if size != "n")
    fields: Fields = {}
    start = 0
    for label, size in sizes.items():
        end = start + (rest if size == "n" else int(size))
        if end > start:
            fields[label] = value[start:end]
        start = end
    assert start == len(value), f"{len(value)} bytes for {layout}"
    return fields


def whole(fields: Fields) -> bytes:
    """All fields, one behind the other."""
    return b"".join(fields.values())


def _fenced_lines(text: str) -> Iterator[str]:
    is_inside = False
    for line in text.splitlines():
        if line.startswith("```"):
            is_inside = not is_inside
        elif is_inside and line:
            yield line


def _put(values: dict[str, V], name: str, value: V) -> None:
    if name in values:
        raise ValueError(f"twice: {name}")
    values[name] = value

"""The outer form of a wg-quick file: lines into sections of settings, every one with its line number.

The file is read twice in the original, by wg-quick(8) and then by wg(8), and the two split lines differently:

    both           ``#`` starts a comment wherever it stands, inside a hook too; section and key names in any case
    wg(8)          drops *all* white space from a line, so ``Listen Port = 51 820`` is port 51820
    wg-quick(8)    keeps the value of its own settings as it is written, but for white space around it

White space is what C calls so in the POSIX locale, and only a newline ends a line: Unicode's other separators belong to
the value. What a value means is not decided here.
"""

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from tunnel.errors import ConfigError
from tunnel.keys import hide_keys

WHITE_SPACE = " \t\v\f\r"
MAX_FILE_SIZE = 16 << 20
"""Bytes. A hundred thousand peers fit; a device node or a disk image given by mistake does not."""

HOOKS = ("PreUp", "PostUp", "PreDown", "PostDown")
SETTINGS = {
    "Interface": (
        *("PrivateKey", "ListenPort", "FwMark"),
        *("Address", "DNS", "MTU", "Table", "SaveConfig", *HOOKS),
        *("Offload", "Extensions"),  # our own
        *("Identity", "CA", "CRL", "Peer", "Allow", "MaxPeers"),  # our own: certificates
    ),
    "Peer": ("PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive"),
}
REPEATABLE = frozenset({"Address", "DNS", "AllowedIPs", "CA", "CRL", "Peer", "Allow", *HOOKS})
VERBATIM = frozenset({"Identity", "CA", "CRL", "Peer", "Allow"})
"""Paths and names: white space inside belongs to them, and to set them to nothing is a mistake."""
SECRET = frozenset({"PrivateKey", "PresharedKey"})
"""Their values are never quoted in an error."""

_SECTION_BY_KEY = {key: section for section, keys in SETTINGS.items() for key in keys}
_SECTION_BY_WORD = {name.lower(): name for name in SETTINGS}
_KEY_BY_WORD = {key.lower(): key for key in _SECTION_BY_KEY}
_QUOTABLE_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,23}", re.ASCII)
_QUOTABLE_SECTION = re.compile(r"\[[A-Za-z0-9_-]{0,15}\]?", re.ASCII)
_NO_WHITE_SPACE = {ord(character): None for character in WHITE_SPACE}
_ITEM_SEPARATORS = re.compile(f"[,{WHITE_SPACE}]+")

Value = TypeVar("Value")


def quote(text: str) -> str:
    """The text in quotes, without keys and control characters, and not longer than a line of a terminal.

    A private key is easily pasted on the wrong line, and an error easily into a ticket.
    """
    text = hide_keys(text)
    return repr(text if len(text) <= 60 else text[:59] + "…")


def compact(text: str) -> str:
    """The text without any white space, which is how wg(8) sees it."""
    return text.translate(_NO_WHITE_SPACE)


@dataclass(slots=True)
class Section:
    """One section while it is read: (value, line) by canonical key, in order."""

    name: str
    source: str
    line: int
    settings: dict[str, list[tuple[str, int]]] = field(default_factory=dict)

    def error(self, why: str, key: str = "", line: int = 0) -> ConfigError:
        """An error at `line`, else where `key` is set, else at the section's own line."""
        return ConfigError(why, source=self.source, line=line or self.line_of(key) or self.line, key=key)

    def line_of(self, key: str) -> int:
        """Where `key` is set first; 0: it is not."""
        return self.settings[key][0][1] if key in self.settings else 0

    def add(self, key: str, value: str, line: int) -> None:
        if key in self.settings and key not in REPEATABLE:
            raise self.error(f"set on line {self.line_of(key)} already", key, line)
        self.settings.setdefault(key, []).append((value, line))

    def scalar(self, key: str, parse: Callable[[str], Value], default: Value) -> Value:
        """What `parse` makes of the value without white space (but see `VERBATIM`); `default` if it is not set."""
        if key not in self.settings:
            return default
        ((value, line),) = self.settings[key]
        return self._parse(key, value, line, parse)

    def required(self, key: str, parse: Callable[[str], Value]) -> Value:
        if key not in self.settings:
            raise self.error(f"[{self.name}] has no {key}")
        ((value, line),) = self.settings[key]
        return self._parse(key, value, line, parse)

    def items(self, key: str, parse: Callable[[str], Value], *, by_space: bool = False) -> Iterator[tuple[Value, int]]:
        """(value, line) for each item of comma-separated lists; an empty list has none, an empty item is an error.

        One of `VERBATIM` has an empty item instead, which its parser refuses: ``Allow =`` is not to mean everybody.
        `by_space`: white space separates too and empty items are nothing, as in wg-quick(8)'s own settings.
        """
        for text, line in self.settings.get(key, ()):
            if not text and key not in VERBATIM:
                continue
            for item in filter(None, _ITEM_SEPARATORS.split(text)) if by_space else text.split(","):
                yield self._parse(key, item.strip(WHITE_SPACE), line, parse), line

    def lines(self, key: str) -> tuple[str, ...]:
        """The values as they stand, but for those that are empty."""
        return tuple(value for value, _ in self.settings.get(key, ()) if value)

    def _parse(self, key: str, value: str, line: int, parse: Callable[[str], Value]) -> Value:
        try:
            return parse(value if key in VERBATIM else compact(value))
        except ValueError as error:
            why = str(error) if key in SECRET else f"{quote(value)}: {error}"
            raise self.error(why, key, line) from None


def decode_quick(raw: bytes, source: str) -> str:
    """The text of a file. Raise `ConfigError` with the line of the first byte that is not UTF-8; a BOM is dropped."""
    if len(raw) > MAX_FILE_SIZE:
        raise ConfigError(f"longer than {MAX_FILE_SIZE >> 20} MiB: not a configuration file", source=source)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"byte {raw[error.start]:#04x} is not UTF-8", source=source, line=line) from None


def read_sections(text: str, source: str) -> list[Section]:
    """Every section in order, with canonical keys that belong there; no value is looked at.

    Raise `ConfigError` for text that is no such file.
    """
    if len(text) > MAX_FILE_SIZE:
        raise ConfigError(f"longer than {MAX_FILE_SIZE >> 20} MiB: not a configuration file", source=source)
    sections: list[Section] = []
    for number, line in enumerate(text.split("\n"), 1):
        if "\0" in line:
            raise ConfigError("a NUL byte: not a text file", source=source, line=number)
        content = line.partition("#")[0].strip(WHITE_SPACE)
        if not content:
            continue
        if content.startswith("["):
            sections.append(Section(_section_name(content, source, number), source, number))
        elif not sections:
            raise ConfigError("a setting before any [Interface] or [Peer]", source=source, line=number)
        else:
            key, value = _split_setting(content, sections[-1], number)
            sections[-1].add(key, value, number)
    return sections


def _section_name(header: str, source: str, line: int) -> str:
    """The canonical name. Only what looks like a section is quoted: it may be a line with a key, damaged."""
    word = compact(header)
    name = _SECTION_BY_WORD.get(word[1:-1].lower()) if word.endswith("]") else None
    if name is None:
        found = f"{quote(header)}: " if _QUOTABLE_SECTION.fullmatch(word) else ""
        raise ConfigError(f"{found}neither [Interface] nor [Peer]", source=source, line=line)
    return name


def _split_setting(content: str, section: Section, line: int) -> tuple[str, str]:
    """(canonical key, value). A line that is no setting is not quoted: it may be a key pasted into the wrong place."""
    written, equals, value = content.partition("=")
    name = compact(written)
    key = _KEY_BY_WORD.get(name.lower())
    if not equals or (key is None and not _QUOTABLE_KEY.fullmatch(name)):
        raise section.error("expected 'Key = value' or a section", line=line)
    if key is None:
        raise section.error(f"unknown setting{_nearest(name, section)}", name, line)
    if _SECTION_BY_KEY[key] != section.name:
        raise section.error(f"belongs in [{_SECTION_BY_KEY[key]}], not in [{section.name}]", key, line)
    return key, value.strip(WHITE_SPACE)


def _nearest(name: str, section: Section) -> str:
    """``; did you mean …?``, in this section only if it is close: AllowedIP is more like AllowedIPs than like Allow."""
    for keys, cutoff in ((SETTINGS[section.name], 0.8), (tuple(_SECTION_BY_KEY), 0.6)):
        matches = difflib.get_close_matches(name.lower(), [key.lower() for key in keys], n=1, cutoff=cutoff)
        if matches:
            return f"; did you mean {_KEY_BY_WORD[matches[0]]}?"
    return ""

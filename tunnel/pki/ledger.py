"""The ledger of a CA: what it has issued, so that no address is given away twice and every serial can be revoked.

A JSON text, kept beside the CA's key; nothing in it is secret, but losing it means that conflicts go unnoticed and that
the next revocation list forgets the revoked. Entries stay for good.

An *own* network (`--address`, `--route`) belongs to one name as long as its certificate is valid: another that overlaps
it is refused. A *transit* network is one whose hosts are reached through the holder without belonging to it, such as a
gateway's network of clients; it may overlap anything.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

from tunnel.config.patch import IPNetwork
from tunnel.errors import ConfigError
from tunnel.pki.validity import format_time

VERSION = 1

_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate. Times are Unix seconds; `revoked` is None while it is not."""

    serial: int
    name: str
    own: tuple[IPNetwork, ...]
    not_after: float
    transit: tuple[IPNetwork, ...] = ()
    revoked: float | None = None

    def is_valid(self, now: float) -> bool:
        return self.revoked is None and now <= self.not_after


@dataclass(frozen=True, slots=True)
class Conflict:
    """Somebody has what was asked for: `holder`, under a network that overlaps `wanted`."""

    wanted: IPNetwork
    taken: IPNetwork
    holder: Entry

    def __str__(self) -> str:
        until = f"until {format_time(self.holder.not_after)}"
        if self.wanted == self.taken:
            return f"{bare(self.wanted)} belongs to {self.holder.name} {until}"
        return f"{bare(self.wanted)} overlaps {bare(self.taken)}, which belongs to {self.holder.name} {until}"


@dataclass(frozen=True, slots=True)
class Ledger:
    """Entries in the order of issue; `crl_number` is that of the last revocation list (RFC 5280 section 5.2.3)."""

    entries: tuple[Entry, ...] = ()
    crl_number: int = 0

    def with_entry(self, entry: Entry) -> "Ledger":
        return replace(self, entries=(*self.entries, entry))

    def with_next_crl(self) -> "Ledger":
        return replace(self, crl_number=self.crl_number + 1)

    def with_revoked(self, serials: Iterable[int], now: float) -> "Ledger":
        """Those of `serials` that are not revoked yet are so from `now`."""
        chosen = set(serials)
        return replace(
            self,
            entries=tuple(
                replace(entry, revoked=now) if entry.serial in chosen and entry.revoked is None else entry
                for entry in self.entries
            ),
        )

    def find(self, serial: int) -> Entry | None:
        return next((entry for entry in self.entries if entry.serial == serial), None)

    def has(self, name: str) -> bool:
        """Whether that name ever had a certificate."""
        return any(entry.name == name for entry in self.entries)

    def valid_of(self, name: str, now: float) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.name == name and entry.is_valid(now))

    @property
    def revoked(self) -> Mapping[int, float]:
        """Serial -> since when, for the revocation list."""
        return {entry.serial: entry.revoked for entry in self.entries if entry.revoked is not None}


def find_conflict(ledger: Ledger, name: str, wanted: Sequence[IPNetwork], now: float) -> Conflict | None:
    """The first of `wanted` that overlaps what somebody else than `name` holds now."""
    holders = [entry for entry in ledger.entries if entry.name != name and entry.is_valid(now)]
    for network in wanted:
        for holder in holders:
            for taken in holder.own:
                if network.overlaps(taken):
                    return Conflict(network, taken, holder)
    return None


def bare(network: IPNetwork) -> str:
    """``10.0.0.1`` for a single address, ``10.0.0.0/8`` for more."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


# ---- as text ----------------------------------------------------------------------------------------------------


def format_ledger(ledger: Ledger) -> bytes:
    """JSON, one entry after the other, in words that a person can read and grep."""
    issued = [_pack(entry) for entry in ledger.entries]
    document = {"version": VERSION, "crl_number": ledger.crl_number, "issued": issued}
    return json.dumps(document, indent=1).encode() + b"\n"


def parse_ledger(raw: bytes, source: str) -> Ledger:
    """Raise `ConfigError` for anything that `format_ledger` would not have written."""
    try:
        document = json.loads(raw)
        if document["version"] != VERSION:
            raise ConfigError(f"version {document['version']!r} of the ledger is not known", source=source)
        crl_number = document["crl_number"]
        if type(crl_number) is not int or crl_number < 0:
            raise ValueError("not a number")
        return Ledger(tuple(_unpack(item) for item in document["issued"]), crl_number)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError("not the ledger of a CA", source=source) from None


def format_serial(serial: int) -> str:
    """Hexadecimal, as `openssl x509 -serial` prints it: whole bytes in capitals."""
    digits = f"{serial:X}"
    return digits.zfill(len(digits) + len(digits) % 2)


def _pack(entry: Entry) -> Mapping[str, Any]:
    return {
        "serial": format_serial(entry.serial),
        "name": entry.name,
        "own": [str(network) for network in entry.own],
        "transit": [str(network) for network in entry.transit],
        "not_after": _pack_time(entry.not_after),
        "revoked": None if entry.revoked is None else _pack_time(entry.revoked),
    }


def _unpack(item: Mapping[str, Any]) -> Entry:
    return Entry(
        serial=int(item["serial"], 16),
        name=str(item["name"]),
        own=_parse_networks(item["own"]),
        not_after=_parse_time(item["not_after"]),
        transit=_parse_networks(item["transit"]),
        revoked=None if item["revoked"] is None else _parse_time(item["revoked"]),
    )


def _parse_networks(texts: Sequence[str]) -> tuple[IPNetwork, ...]:
    return tuple(ip_network(str(text)) for text in texts)


def _pack_time(time: float) -> str:
    """``2027-02-20T12:00:00Z``."""
    return datetime.fromtimestamp(int(time), UTC).strftime(_TIME)


def _parse_time(text: str) -> float:
    return datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp()

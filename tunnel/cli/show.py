"""An interface's status in the words of people.

InterfaceStatus ─ describe ─▶ sections of (label, value) ─┬─ print_colours ─▶ a terminal
                                                          └─ plain_text ────▶ a pipe or a file, never wrapped
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tunnel.control.status import InterfaceStatus, PeerStatus

if TYPE_CHECKING:  # what is shown seldom is imported where it is
    from tunnel.errors import Reason

_DAY = 86400

RENEW_SOON = 7 * _DAY
RENEW_NOW = _DAY
"""Seconds that a certificate has left when it is time, and when it is high time."""

NOTHING = "no interface is up"

_UNITS = ((_DAY, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SOCKET_OFFLOADS = ("gso", "gro")
_SIZES = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


@dataclass(frozen=True, slots=True)
class Section:
    """An interface or one of its peers; a label that is empty continues the one above.

    `styles` are those of values that want attention, by label, as rich names them.
    """

    kind: str
    title: str
    rows: Sequence[tuple[str, str]]
    styles: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rate:
    """Bytes per second."""

    received: float
    sent: float


def describe(status: InterfaceStatus, now: float, rates: Mapping[str, Rate] | None = None) -> list[Section]:
    """The interface, then its peers, whoever talked last first. `now` is in seconds since 1970.

    `rates` are those of peers, by public key, for who has looked more than once.
    """
    rates = rates or {}
    peers = sorted(status.peers, key=lambda peer: -(peer.last_handshake or 0))
    return [
        Section(
            "interface",
            status.name,
            list(_interface_rows(status, now, sum_rates(rates.values()) if rates else None)),
            _styles(status.certificate_expires, now),
        ),
        *(
            Section(
                "peer",
                peer.name or peer.public_key,
                list(_peer_rows(peer, now, rates.get(peer.public_key))),
                _styles(peer.certificate_expires, now),
            )
            for peer in peers
        ),
    ]


def plain_text(sections: Iterable[Section]) -> str:
    """One label and value a line."""
    return "\n".join(_plain_lines(sections)).strip("\n")


def _plain_lines(sections: Iterable[Section]) -> Iterator[str]:
    for section in sections:
        yield ""
        yield f"{section.kind}: {section.title}"
        for label, value in section.rows:
            yield f"  {label + ':' if label else '':<16} {value}"


def print_colours(sections: Iterable[Section]) -> None:
    """On standard output, long values folded to the terminal's width."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for number, section in enumerate(sections):
        is_interface = section.kind == "interface"
        if number:
            console.print()
        title_style, indent = ("bold green", 2) if is_interface else ("bold yellow", 4)
        console.print(Padding(Text.assemble(f"{section.kind} ", (section.title, title_style)), (0, 0, 0, indent - 2)))
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", min_width=15, no_wrap=True)
        table.add_column(overflow="fold")
        for label, value in section.rows:
            table.add_row(Text(label), Text(value, section.styles.get(label, "")))
        console.print(Padding(table, (0, 0, 0, indent)))


def _interface_rows(status: InterfaceStatus, now: float, moving: Rate | None) -> Iterator[tuple[str, str]]:
    if status.identity is not None:
        yield "identity", status.identity
    yield from _certificate_rows(status.certificate_expires, now)
    yield "public key", status.public_key or "(none)"
    yield "listening port", _port(status)
    if status.dialling is not None:
        yield "dialling", status.dialling
    if status.fwmark:
        yield "fwmark", f"{status.fwmark:#x}"
    if status.mtu is not None:
        yield "mtu", str(status.mtu)
    if status.receive_buffer and status.send_buffer:  # 0: no socket is open while the interface is down
        yield "socket buffers", f"{size(status.receive_buffer)} receive, {size(status.send_buffer)} send"
    if status.send_offloads is not None and status.receive_offloads is not None:
        yield "offloads", offloads(status.send_offloads, status.receive_offloads)
    if status.pid is not None:
        yield "process", str(status.pid)
    if moving is not None:
        yield "rate", rate(moving)
    yield from _drop_rows(status.drops)
    yield from _refusal_rows(status.refusals)


def _port(status: InterfaceStatus) -> str:
    is_open = status.receive_buffer != 0  # None is unknown
    return f"{status.listen_port or '(none)'}{'' if is_open or not status.listen_port else ' (not open)'}"


def _peer_rows(peer: PeerStatus, now: float, moving: Rate | None) -> Iterator[tuple[str, str]]:
    if peer.name is not None:
        yield "public key", peer.public_key
    if peer.admitted is not None:
        yield "admitted", peer.admitted
    yield from _certificate_rows(peer.certificate_expires, now)
    endpoint = peer.endpoint or "(not known yet)"
    if peer.endpoint_name and peer.endpoint_name != peer.endpoint:
        endpoint += f"  (configured as {peer.endpoint_name})"
    yield "endpoint", endpoint
    yield "allowed ips", ", ".join(peer.allowed_ips) or "(none)"
    yield "handshake", "never" if peer.last_handshake is None else ago(now - peer.last_handshake)
    yield "transfer", f"{size(peer.rx_bytes)} received, {size(peer.tx_bytes)} sent"
    if moving is not None:
        yield "rate", rate(moving)
    if peer.path_mtu is not None:
        yield "path mtu", path_mtu(peer.path_mtu, peer.max_packet)
    if peer.persistent_keepalive:
        yield "keepalive", f"every {duration(peer.persistent_keepalive)}"
    if peer.has_preshared_key:
        yield "preshared key", "(hidden)"
    if peer.extensions:
        yield "extensions", ", ".join(peer.extensions)
    yield from _drop_rows(peer.drops)


def _certificate_rows(expires: float | None, now: float) -> Iterator[tuple[str, str]]:
    """``until 2027-02-20 (90 d left)``, the date as in UTC."""
    if expires is None:
        return
    left = expires - now
    rest = f"{duration(left if left < _DAY else left // _DAY * _DAY)} left" if left > 0 else f"expired {ago(-left)}"
    advice = ", renew it" if left <= RENEW_SOON else ""
    yield "certificate", f"until {time.strftime('%Y-%m-%d', time.gmtime(expires))} ({rest}{advice})"


def _styles(expires: float | None, now: float) -> dict[str, str]:
    if expires is None or expires - now > RENEW_SOON:
        return {}
    return {"certificate": "yellow" if expires - now > RENEW_NOW else "red"}


def _drop_rows(drops: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    if drops:
        from tunnel.protocol.stats import DropReason

        yield from _count_rows("dropped", drops, DropReason)


def _refusal_rows(refusals: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    if refusals:
        from tunnel.pki.problem import Problem

        yield from _count_rows("refused", refusals, Problem)


def _count_rows(label: str, counts: Mapping[str, int], reasons: "Iterable[Reason]") -> Iterator[tuple[str, str]]:
    """A reason that we do not know is one of a younger daemon's: its name has to do."""
    words = {reason.value: reason.words for reason in reasons}
    for number, (name, count) in enumerate(counts.items()):
        yield "" if number else label, f"{count} × {words.get(name, name.replace('_', ' '))}"


def offloads(sending: Sequence[str], receiving: Sequence[str]) -> str:
    """``send csum tso4 gso, receive csum tso4 gro``, the TUN's before the socket's; ``off`` is none at all."""
    directions = [
        " ".join((word, *sorted(names, key=lambda name: (name in _SOCKET_OFFLOADS, name))))
        for word, names in (("send", sending), ("receive", receiving))
        if names
    ]
    return ", ".join(directions) or "off"


def path_mtu(known: int, max_packet: int | None) -> str:
    """What is known to get through in one piece, and what that means if it is less than we need."""
    return str(known) if max_packet is None else f"{known}, packets over {max_packet} bytes are cut or refused"


def ago(seconds: float) -> str:
    """``12 s ago``; a time yet to come means that a clock was set back."""
    if seconds < -1:
        return "in the future (was the clock set back?)"
    return "now" if seconds < 1 else f"{duration(seconds)} ago"


def duration(seconds: float) -> str:
    """Its two largest units: ``2 h 5 min``, ``12 s``."""
    left = int(seconds)
    parts: list[str] = []
    for length, unit in _UNITS:
        count, left = divmod(left, length)
        parts += [f"{count} {unit}"] if count or parts else []
    return " ".join(part for part in parts[:2] if not part.startswith("0 ")) or "0 s"


def sum_rates(some: Iterable[Rate]) -> Rate:
    """Of all of them together."""
    all_of_them = list(some)
    return Rate(sum(one.received for one in all_of_them), sum(one.sent for one in all_of_them))


def rate(moving: Rate) -> str:
    """``1.21 MiB/s received, 0 B/s sent``."""
    return f"{speed(moving.received)} received, {speed(moving.sent)} sent"


def speed(count: float) -> str:
    """So many bytes per second."""
    return f"{size(count)}/s"


def size(count: float) -> str:
    """Bytes with three digits or so: ``148 B``, ``1.21 MiB``."""
    if count < 1024:
        return f"{count:.0f} B"
    power = 0
    while count >= 999.5 and power < len(_SIZES):
        count /= 1024
        power += 1
    return f"{count:.3g} {_SIZES[power - 1]}"

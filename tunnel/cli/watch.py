"""``tunnel status --watch``: look again and again, and show how fast it moves.

    take ──▶ Look ─┬─▶ rates: what two looks differ by, per second
                   │     │
                   └──▶ view ─┬─ a terminal: a table per interface, drawn in place
                              └─ a pipe or a file: every look in full, one behind the other

Counters are those of the daemon, and go back to zero with it or when a peer is added anew; then there is no rate until
the next look. The seconds in between are measured, because a busy daemon may take its time to answer.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from tunnel.cli import show
from tunnel.cli.show import Rate
from tunnel.control.status import InterfaceStatus, PeerStatus

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

_KEY_LETTERS = 12

Rates = Mapping[tuple[str, str], Rate]
"""(interface, public key) -> how fast it moves; whoever is not in it has been seen once only."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen, at `at` seconds of a monotonic clock and `unix_now` seconds since 1970."""

    at: float
    unix_now: float
    statuses: Sequence[InterfaceStatus]


def looks(
    take: Callable[[], Sequence[InterfaceStatus]],
    interval: float,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    unix_time: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[Look, Rates]]:
    """A look every `interval` seconds, without end."""
    before: Look | None = None
    while True:
        statuses = take()
        look = Look(monotonic(), unix_time(), statuses)
        yield look, rates(before, look)
        before = look
        sleep(max(0.0, look.at + interval - monotonic()))


def rates(before: Look | None, after: Look) -> Rates:
    """How fast everybody moved who is in both looks, and whose counters did not go back in between."""
    if before is None or after.at <= before.at:
        return {}
    seconds = after.at - before.at
    earlier = dict(_peers(before))
    moved = {}
    for key, peer in _peers(after):
        known = earlier.get(key)
        if known is not None and peer.rx_bytes >= known.rx_bytes and peer.tx_bytes >= known.tx_bytes:
            moved[key] = Rate((peer.rx_bytes - known.rx_bytes) / seconds, (peer.tx_bytes - known.tx_bytes) / seconds)
    return moved


def _peers(look: Look) -> Iterator[tuple[tuple[str, str], PeerStatus]]:
    for status in look.statuses:
        for peer in status.peers:
            yield (status.name, peer.public_key), peer


def print_plain(seen: Iterator[tuple[Look, Rates]]) -> None:
    """Every look as text, under a line that says when it was; for programs that read along, each is flushed."""
    for look, moved in seen:
        click.echo(f"--- {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(look.unix_now))}")
        sections = [part for one in look.statuses for part in show.describe(one, look.unix_now, _of(one, moved))]
        click.echo(f"{show.plain_text(sections) or show.NOTHING}\n")


def show_live(seen: Iterator[tuple[Look, Rates]]) -> None:
    """Draw in place until an exception (Ctrl-C) ends it; the terminal is then as it was before."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        for look, moved in seen:
            live.update(draw(look, moved, console), refresh=True)


def draw(look: Look, moved: Rates, console: "Console") -> "Group":
    """All interfaces, with as many peers of each as there are lines for on the console."""
    from rich.console import Group
    from rich.text import Text

    room = console.height - 2 - 4 * len(look.statuses)  # a title, a heading, a line for the rest, an empty one each
    parts: list[Text | Table] = []
    for status in look.statuses:
        share = max(1, room // len(look.statuses))
        peers = sorted(status.peers, key=lambda peer: -(peer.last_handshake or 0))
        parts += [_title(status, moved), _table(status, peers[:share], moved, look.unix_now)]
        parts.append(Text(f"and {len(peers) - share} more\n" if len(peers) > share else "", "dim"))
    hint = f"{time.strftime('%H:%M:%S', time.localtime(look.unix_now))}  Ctrl-C ends this"
    return Group(*(parts or [Text(f"{show.NOTHING}\n")]), Text(hint, "dim"))


def _of(status: InterfaceStatus, moved: Rates) -> dict[str, Rate]:
    """The rates of its peers, by public key."""
    return {key: rate for (interface, key), rate in moved.items() if interface == status.name}


def _title(status: InterfaceStatus, moved: Rates) -> "Text":
    from rich.text import Text

    known = _of(status, moved).values()
    moving = show.rate(show.sum_rates(known)) if known else "" if status.peers else "no peers"
    return Text.assemble("interface ", (status.name, "bold green"), f"   {moving}")


def _table(status: InterfaceStatus, peers: Sequence[PeerStatus], moved: Rates, unix_now: float) -> "Table":
    """Made for 80 columns: names and endpoints that are too long lose their end."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim", show_header=bool(peers))
    for heading, width in (("peer", 19), ("endpoint", 21), ("handshake", 15)):
        table.add_column(heading, no_wrap=True, overflow="ellipsis", max_width=width)
    for heading in ("received", "sent"):
        table.add_column(heading, no_wrap=True, justify="right", min_width=10)
    for peer in peers:
        speed = moved.get((status.name, peer.public_key))
        heard = "never" if peer.last_handshake is None else show.ago(unix_now - peer.last_handshake)
        table.add_row(
            Text(peer.name or f"{peer.public_key[:_KEY_LETTERS]}…", "bold yellow"),
            Text(peer.endpoint or "-"),
            Text(heard),
            *(Text("-" if count is None else show.speed(count)) for count in _both(speed)),
        )
    return table


def _both(speed: Rate | None) -> tuple[float | None, float | None]:
    return (None, None) if speed is None else (speed.received, speed.sent)

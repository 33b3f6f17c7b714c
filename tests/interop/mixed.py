"""A pair of different makes: ours and Debian's wireguard-go."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.netns.hosts import Host, Meeting, Program, open_pair
from tunnel.keys import PresharedKey

PRESHARED_KEY = PresharedKey(b"\x2a" * 32)


class Mixed(NamedTuple):
    """A pair of different makes."""

    ours: Host
    theirs: Host


def meet(initiator: str, *, over_ipv6: bool = False, keepalive: int = 0) -> Meeting:
    return Meeting("left" if initiator == "ours" else "right", over_ipv6, PRESHARED_KEY, keepalive)


@contextmanager
def open_mixed(directory: Path, meeting: Meeting) -> Iterator[Mixed]:
    with open_pair(directory, Program.TUNNEL, Program.WIREGUARD_GO, meeting) as (ours, theirs):
        yield Mixed(ours, theirs)

"""A path that becomes narrow while something flows, and does not say so: what is too long vanishes without a word.

How long connections stand still is bounded by when they send again what was lost (RFC 6298), which is why a test has
several of them, and printed: ``pytest -s -m '' tests/netns/test_black_hole.py``.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import send_tcp
from tests.netns.hosts import Meeting, Program
from tests.netns.narrow import NarrowPath, SteadyFlow, behind, narrow_path, neighbour
from tunnel.capture.packet_socket import PacketSocket
from tunnel.testing.namespaces import Namespace

pytestmark = pytest.mark.root

PATH_MTU = 1280
PATIENCE = 2.0
"""Seconds that no connection may stand still for."""

SETTLING = 1.0
"""Seconds in which flows begin, and the path is found to be wide."""

OUTSIDE = pytest.mark.parametrize("over_ipv6", [False, True], ids=["over-ipv4", "over-ipv6"])
PROGRAMS = pytest.mark.parametrize("program", [Program.TUNNEL, Program.WIREGUARD_GO], ids=["ours", "stock"])

Ways = dict[str, tuple[Namespace, Namespace, str]]
"""What flows: from where to where, and to which address."""


def known(path: NarrowPath) -> tuple[int | None, int | None]:
    """What the left end tells of the path."""
    (peer,) = path.left.status()["peers"]
    return peer["path_mtu"], peer["max_packet"]


def overhead(*, over_ipv6: bool) -> int:
    return (48 if over_ipv6 else 28) + 32


def fitting(program: Program, *, over_ipv6: bool) -> int:
    """The longest inner packet for which there is room in both directions: a stock peer pads to 16 bytes."""
    room = PATH_MTU - overhead(over_ipv6=over_ipv6)
    return room if program is Program.TUNNEL else room // 16 * 16


@contextmanager
def flowing(ways: Ways) -> Iterator[dict[str, SteadyFlow]]:
    """All of them at once, in full swing."""
    with ExitStack() as stack:
        flows = {name: stack.enter_context(SteadyFlow(*way)) for name, way in ways.items()}
        eventually(lambda: all(flow.has_moved for flow in flows.values()), "everything flows", 20)
        time.sleep(SETTLING)
        yield flows


def stand_still(path: NarrowPath, flows: dict[str, SteadyFlow], watched: float = 2 * PATIENCE) -> dict[str, float]:
    """Swallow what is too long, and see for how long each flow stands still, in so many seconds."""
    since = time.monotonic()
    path.swallow(PATH_MTU)
    time.sleep(watched)
    pauses = {name: flow.longest_pause(since) for name, flow in flows.items()}
    print(" ".join(f"{name} {pause:.2f} s" for name, pause in pauses.items()))
    return pauses


def between_ends(path: NarrowPath, program: Program) -> Ways:
    """What a stock peer sends mid-flow cannot be helped from here: it does not know."""
    ways: Ways = {}
    for family, words in enumerate(("IPv4", "IPv6")):
        ways[f"{words} there"] = (path.left.namespace, path.right.namespace, path.right.inner[family])
        if program is Program.TUNNEL:
            ways[f"{words} back"] = (path.right.namespace, path.left.namespace, path.left.inner[family])
    return ways


def test_a_flow_goes_on_within_two_seconds(tmp_path: Path) -> None:
    with narrow_path(tmp_path, Meeting()) as path:
        way = {"IPv4": (path.left.namespace, path.right.namespace, path.right.inner_ipv4)}
        with flowing(way) as flows:
            assert known(path) == (1480, None)
            assert max(stand_still(path, flows, PATIENCE + 0.2).values()) < PATIENCE
        assert known(path) == (PATH_MTU, PATH_MTU - 60)


@pytest.mark.slow
@OUTSIDE
@PROGRAMS
def test_flows_go_on_whatever_they_are(tmp_path: Path, program: Program, over_ipv6: bool) -> None:
    with (
        narrow_path(tmp_path, Meeting(over_ipv6=over_ipv6), right_program=program) as path,
        flowing(between_ends(path, program)) as flows,
    ):
        assert known(path) == (1420 + overhead(over_ipv6=over_ipv6), None)
        assert max(stand_still(path, flows).values()) < PATIENCE
        assert known(path) == (PATH_MTU, fitting(program, over_ipv6=over_ipv6))


@pytest.mark.slow
@OUTSIDE
def test_flows_that_are_forwarded_go_on_and_notice_nothing(tmp_path: Path, over_ipv6: bool) -> None:
    with (
        narrow_path(tmp_path, Meeting(over_ipv6=over_ipv6)) as path,
        neighbour(path.left) as left,
        neighbour(path.right) as right,
    ):
        ways: Ways = {}
        for family, words in enumerate(("IPv4", "IPv6")):
            ways[f"{words} there"] = (left, right, behind(path.right, family, 2))
            ways[f"{words} back"] = (right, left, behind(path.left, family, 2))
        with flowing(ways) as flows:
            assert max(stand_still(path, flows).values()) < PATIENCE
        assert known(path) == (PATH_MTU, PATH_MTU - overhead(over_ipv6=over_ipv6))
        assert not path.left.status()["peers"][0]["drops"]


@pytest.mark.slow
@PROGRAMS
def test_a_path_that_is_wide_again_is_used_in_full(tmp_path: Path, program: Program) -> None:
    """After a second, or after a minute if it was narrow for long: here it was not."""
    found = f"path_mtu={PATH_MTU} max_packet={fitting(program, over_ipv6=False)}"
    with (
        narrow_path(tmp_path, Meeting(), right_program=program) as path,
        flowing({"IPv4": (path.left.namespace, path.right.namespace, path.right.inner_ipv4)}),
    ):
        path.swallow(PATH_MTU)
        eventually(lambda: found in path.left.log_file.read_text(), "the path is found to be narrow", 20)
        path.let_pass()
        eventually(lambda: known(path) == (1480, None), "the path is found to be wide", 90)


@pytest.mark.slow
@PROGRAMS
@pytest.mark.parametrize("family", [0, 1], ids=["ipv4", "ipv6"])
def test_new_connections_agree_on_segments_that_fit(tmp_path: Path, program: Program, family: int) -> None:
    """Of a forwarded flow and in both directions, so that what a stock peer sends fits as well."""
    with (
        narrow_path(tmp_path, Meeting(), right_program=program) as path,
        neighbour(path.left) as left,
        neighbour(path.right) as right,
    ):
        path.swallow(PATH_MTU)
        with SteadyFlow(path.left.namespace, path.right.namespace, path.right.inner_ipv4):
            eventually(lambda: known(path)[0] == PATH_MTU, "the path is found to be narrow", 20)
        for client, server, to in ((left, right, path.right), (right, left, path.left)):
            with client.enter():
                client_tap = PacketSocket("eth0")
            with server.enter():
                server_tap = PacketSocket("eth0")
            with client_tap, server_tap:
                send_tcp(client, server, behind(to, family, 2), 200_000)
                asked, answered = _segment_size(server_tap), _segment_size(client_tap)
            assert asked == answered == fitting(program, over_ipv6=False) - (60 if family else 40)


def _segment_size(tap: PacketSocket) -> int:
    """The MSS in the SYN, or SYN-ACK, that came in."""
    while (captured := tap.receive()) is not None:
        packet = captured.frame[14:]
        start, protocol = (20, packet[9]) if packet[0] >> 4 == 4 else (40, packet[6])
        if protocol == socket.IPPROTO_TCP and not captured.is_outgoing and packet[start + 13] & 2:
            assert packet[start + 20 : start + 22] == b"\x02\x04"
            return int.from_bytes(packet[start + 22 : start + 24], "big")
    raise AssertionError("no SYN was seen")

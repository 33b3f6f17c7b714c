"""``Offload`` in either direction by itself: what a daemon shares with the kernel, from the start and ever after."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import send_tcp
from tests.netns.hosts import BIN, Host, Program, open_host, open_pair

pytestmark = pytest.mark.root

TUN = ["csum", "tso4", "tso6", "uso4", "uso6"]
SENDING, RECEIVING = sorted([*TUN, "gso"]), sorted([*TUN, "gro"])

DIRECTIONS: list[object] = [
    ("send", SENDING, []),
    pytest.param("auto", SENDING, RECEIVING, marks=pytest.mark.slow),
    pytest.param("off", [], [], marks=pytest.mark.slow),
    pytest.param("receive", [], RECEIVING, marks=pytest.mark.slow),
]

Offloads = tuple[list[str], list[str]]


def offloads_of(host: Host) -> Offloads:
    status = host.status()
    return status["send_offloads"], status["receive_offloads"]


def is_up_with(host: Host, expected: Offloads) -> bool:
    """Whether a socket is open, and everything is as it should be."""
    return host.status()["receive_buffer"] > 0 and offloads_of(host) == expected


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with open_host(tmp_path, "offload") as host:
        yield host


@pytest.mark.parametrize(("offload", "sending", "receiving"), DIRECTIONS)
def test_a_file_says_in_which_direction_even_after_the_port_and_the_link_changed(
    host: Host, offload: str, sending: list[str], receiving: list[str]
) -> None:
    host.settings = (f"Offload = {offload}",)
    host.up()
    assert offloads_of(host) == (sending, receiving)
    host.wg("set", host.interface, "listen-port", "51999")
    assert offloads_of(host) == (sending, receiving)
    host.namespace.ip("link", "set", host.interface, "down")
    eventually(lambda: host.status()["receive_buffer"] == 0, "the socket is closed")
    host.namespace.ip("link", "set", host.interface, "up")
    eventually(lambda: is_up_with(host, (sending, receiving)), "the socket is as it was")


def test_it_is_shown_to_people_on_one_line(host: Host) -> None:
    host.settings = ("Offload = send",)
    host.up()
    shown = host.tunnel("status", host.interface).stdout
    assert "  offloads:        send csum tso4 tso6 uso4 uso6 gso\n" in shown


@pytest.mark.parametrize(("offload", "sending", "receiving"), DIRECTIONS)
def test_a_bare_interface_keeps_its_options_in_the_background(
    host: Host, offload: str, sending: list[str], receiving: list[str]
) -> None:
    host.program = Program.TUNNEL_WG
    host.namespace.run(str(BIN / "tunnel-wg"), "--offload", offload.upper(), host.interface)
    host.namespace.ip("link", "set", host.interface, "up")
    eventually(lambda: is_up_with(host, (sending, receiving)), "the interface is as it was asked for")


def test_a_bare_interface_is_told_of_extensions_in_the_background_too(host: Host) -> None:
    host.program = Program.TUNNEL_WG
    host.namespace.run(str(BIN / "tunnel-wg"), "--extensions", "off", host.interface)
    command = Path(f"/proc/{host.status()['pid']}/cmdline").read_text()
    assert "\0--extensions\0off\0" in command


@pytest.mark.slow
def test_hosts_with_opposite_directions_get_along(tmp_path: Path) -> None:
    with open_pair(tmp_path, settings=("Offload = send",)) as (left, right):
        right.tunnel("down", right.interface)
        right.settings = ("Offload = receive",)
        right.up()
        for near, far in ((left, right), (right, left)):
            for address in far.inner:
                send_tcp(near.namespace, far.namespace, address, 1_000_000)

"""Ours with Debian's wireguard-go when something changes: a key, an address, the session's age."""

import time
from pathlib import Path

import pytest

from tests.interop.mixed import meet, open_mixed
from tests.netns.eventually import eventually
from tests.netns.flows import connect_to, datagram_socket, is_reachable, listen
from tests.netns.hosts import CABLE, PORT, Host, Program
from tunnel.keys import PresharedKey

pytestmark = pytest.mark.root

REKEY_AFTER_TIME = 120
ACROSS_REKEY = 130


def test_another_preshared_key_keeps_them_apart(tmp_path: Path) -> None:
    with open_mixed(tmp_path, meet("ours")) as mixed:
        mixed.theirs.wg(
            *("set", mixed.theirs.interface, "peer", str(mixed.ours.public_key), "preshared-key", "/dev/stdin"),
            stdin=PresharedKey(b"\1" * 32).to_base64(),
        )
        assert not is_reachable(mixed.ours.namespace, mixed.theirs.inner_ipv4)
        assert mixed.ours.dump(mixed.theirs).latest_handshake == "0"


def move(host: Host) -> str:
    """Give `host` another outer address, as when a laptop changes networks; return it."""
    address = f"192.0.2.{100 + host.number}"
    host.namespace.ip("address", "delete", f"{host.outer_ipv4}/24", "dev", CABLE)
    host.namespace.ip("address", "add", f"{address}/24", "dev", CABLE)
    if host.program is Program.WIREGUARD_GO:
        # It goes on to use the address that is gone, until its socket is opened anew.
        host.wg("set", host.interface, "listen-port", str(PORT + 1))
    return address


@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_a_flow_survives_a_change_of_the_outer_address(tmp_path: Path, who: str) -> None:
    with open_mixed(tmp_path, meet(who)) as mixed:
        roamer, stayer = mixed if who == "ours" else reversed(mixed)
        with listen(stayer.namespace, stayer.inner_ipv4) as listener:
            near, far = connect_to(roamer.namespace, listener)
        with near, far:
            near.sendall(b"from home")
            assert far.recv(100) == b"from home"
            address = move(roamer)
            near.sendall(b"from abroad")
            assert far.recv(100) == b"from abroad"
            assert stayer.dump(roamer).endpoint.startswith(f"{address}:")
            far.sendall(b"welcome")
            assert near.recv(100) == b"welcome"


@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_persistent_keepalive_shakes_hands_and_goes_on_without_traffic(tmp_path: Path, who: str) -> None:
    with open_mixed(tmp_path, meet(who, keepalive=1)) as mixed:
        sender, receiver = mixed if who == "ours" else reversed(mixed)
        eventually(lambda: int(receiver.dump(sender).latest_handshake), "they shake hands by themselves")
        before = int(receiver.dump(sender).received)
        eventually(lambda: int(receiver.dump(sender).received) >= before + 2 * 32, "two more keepalives arrive")


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("who", ["ours", "theirs"])
def test_a_flow_survives_the_rekey_after_two_minutes(tmp_path: Path, who: str) -> None:
    with open_mixed(tmp_path, meet(who)) as mixed:
        begins, waits = mixed if who == "ours" else reversed(mixed)
        with (
            datagram_socket(begins.namespace, begins.inner_ipv4) as near,
            datagram_socket(waits.namespace, waits.inner_ipv4) as far,
        ):

            def exchange() -> int:
                """A datagram there and back; return when the latest handshake was."""
                near.sendto(b"there", far.getsockname())
                received, source = far.recvfrom(100)
                far.sendto(received, source)
                assert near.recv(100) == b"there"
                return int(waits.dump(begins).latest_handshake)

            first = exchange()
            started = time.monotonic()
            eventually(lambda: exchange() and time.monotonic() >= started + ACROSS_REKEY, "the flow goes on", 140)
            assert exchange() >= first + REKEY_AFTER_TIME

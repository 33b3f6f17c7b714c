"""Debian's wg-quick(8) with `tunnel-wg` as its userspace implementation, and wireguard-go at the other end."""

from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import ping, send_tcp
from tests.netns.hosts import BIN, SOCKETS, Host, Meeting, Program, introduce
from tunnel.keys import PresharedKey
from tunnel.testing.namespaces import CommandError, Namespace, connect

pytestmark = pytest.mark.root


def wg_quick(host: Host, *arguments: str) -> CompletedProcess[str]:
    ours = f"WG_QUICK_USERSPACE_IMPLEMENTATION={BIN / 'tunnel-wg'}"
    return host.namespace.run("env", ours, "wg-quick", *arguments)


def kernel_has_wireguard(namespace: Namespace) -> bool:
    try:
        namespace.ip("link", "add", "probe", "type", "wireguard")
    except CommandError:
        return False
    namespace.ip("link", "delete", "probe")
    return True


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """A host whose interface is not up yet, and one with wireguard-go that waits for it."""
    with Namespace("quick") as namespace, Namespace("stock") as peer_namespace:
        if kernel_has_wireguard(namespace):
            pytest.skip("wg-quick prefers the kernel's WireGuard, which is there")
        quick = Host(namespace, "quick", 1, Program.TUNNEL_WG, tmp_path, mtu=1380)
        stock = Host(peer_namespace, "stock", 2, Program.WIREGUARD_GO, tmp_path)
        connect(quick.port, stock.port)
        introduce(quick, stock, Meeting("left", preshared_key=PresharedKey(b"\5" * 32)))
        stock.up()
        quick.write_config()
        yield quick, stock


def test_up_gives_a_working_tunnel_and_down_leaves_nothing(pair: tuple[Host, Host]) -> None:
    quick, stock = pair
    wg_quick(quick, "up", str(quick.config_file))
    for address in stock.inner:
        ping(quick.namespace, address)
        send_tcp(quick.namespace, stock.namespace, address, 200_000)
    assert "mtu 1380" in quick.namespace.ip("link", "show", quick.interface)

    wg_quick(quick, "down", str(quick.config_file))
    assert quick.interface not in quick.namespace.links()
    eventually(lambda: not quick.namespace.processes(), "the process has ended")
    assert not (SOCKETS / f"{quick.interface}.sock").exists()
    assert stock.inner_ipv4 not in quick.namespace.ip("route", "show", "table", "all")


def test_it_can_go_up_again_after_down(pair: tuple[Host, Host]) -> None:
    quick, stock = pair
    for _ in range(2):
        wg_quick(quick, "up", str(quick.config_file))
        ping(quick.namespace, stock.inner_ipv4, count=1)
        wg_quick(quick, "down", str(quick.config_file))


def test_save_writes_what_is_running(pair: tuple[Host, Host]) -> None:
    quick, stock = pair
    wg_quick(quick, "up", str(quick.config_file))
    quick.wg("set", quick.interface, "peer", str(stock.public_key), "persistent-keepalive", "33")
    wg_quick(quick, "save", str(quick.config_file))
    assert "PersistentKeepalive = 33" in quick.config_file.read_text()

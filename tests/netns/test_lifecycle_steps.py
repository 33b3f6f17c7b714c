"""The steps around an interface (`tunnel.daemon.lifecycle`) on a real TUN and a real routing table."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from tunnel.config.model import Hooks, InterfaceConfig, PeerConfig, RouteTable, TunnelConfig
from tunnel.daemon.lifecycle import Lifecycle
from tunnel.endpoint import Endpoint
from tunnel.errors import HookError, NetlinkError
from tunnel.keys import PrivateKey
from tunnel.netlink.link import Netlink
from tunnel.testing.namespaces import Namespace, Port, connect
from tunnel.tun.attach import QUEUE_LENGTH
from tunnel.tun.device import TunDevice

pytestmark = pytest.mark.root

NAME = "steps0"
ENDPOINT = Endpoint("192.0.2.2", 51820)
ADDRESSES = ("10.9.0.1/24", "fd09::1/64")
ALLOWED_IPS = ("10.9.0.2/32", "10.20.0.0/16", "10.20.30.0/24", "fd20::/48")


def config(
    addresses: tuple[str, ...] = ADDRESSES,
    allowed_ips: tuple[str, ...] = ALLOWED_IPS,
    *,
    mtu: int | None = None,
    table: RouteTable | int = RouteTable.AUTO,
    hooks: Hooks = Hooks(),  # noqa: B008 - frozen
) -> TunnelConfig:
    interface = InterfaceConfig(
        PrivateKey(bytes([1]) * 32), addresses=tuple(map(ip_interface, addresses)), mtu=mtu, table=table, hooks=hooks
    )
    peer = PeerConfig(PrivateKey(bytes([2]) * 32).public_key, allowed_ips=tuple(map(ip_network, allowed_ips)))
    return TunnelConfig(interface, (peer,))


@pytest.fixture
def host() -> Iterator[Namespace]:
    """A host whose cable carries IP packets of 1400 bytes; this thread is in it."""
    with Namespace("steps") as namespace, Namespace("steps-peer") as peer:
        connect(Port(namespace, "eth0", ("192.0.2.1/24",)), Port(peer, "eth0", ("192.0.2.2/24",)), mtu=1400)
        with namespace.enter():
            yield namespace


@asynccontextmanager
async def up(config: TunnelConfig) -> AsyncIterator[int]:
    """As the daemon does it: look, make the interface, bring it up."""
    async with Netlink() as netlink:
        device: TunDevice | None = None

        def remove() -> None:
            assert device is not None
            device.close()

        lifecycle = Lifecycle(NAME, config, netlink, remove)
        await lifecycle.check()
        device = TunDevice.create(NAME)
        try:
            async with lifecycle.up([ENDPOINT]) as mtu:
                yield mtu
        finally:
            device.close()


def state(host: Namespace) -> list[str]:
    """All links, addresses and routes."""
    commands = ("-o link show", "-o address show", "-4 route show table all", "-6 route show table all")
    return [line.partition(" valid_lft")[0] for text in commands for line in host.ip(*text.split()).splitlines()]


def routes(host: Namespace, *selector: str) -> set[str]:
    """The destinations routed into the interface."""
    lines = [line for v in ("-4", "-6") for line in host.ip(v, "route", "show", "dev", NAME, *selector).splitlines()]
    return {line.split()[0] for line in lines}


async def test_addresses_mtu_queue_and_routes_are_as_configured(host: Namespace) -> None:
    async with up(config()) as mtu:
        link = host.ip("-o", "link", "show", NAME)
        addresses = host.ip("-o", "address", "show", "dev", NAME)
        assert mtu == 1400 - 80
        assert f"mtu {mtu} " in link
        assert f"qlen {QUEUE_LENGTH}" in link
        assert "UP" in link
        assert all(address in addresses for address in ADDRESSES)
        assert routes(host) == {"10.9.0.0/24", "10.20.0.0/16", "10.20.30.0/24", "fd09::/64", "fd20::/48"}


async def test_there_is_no_address_that_nobody_asked_for(host: Namespace) -> None:
    async with up(config()):
        assert "fe80::" not in host.ip("-o", "address", "show", "dev", NAME)


async def test_afterwards_nothing_is_left(host: Namespace) -> None:
    before = state(host)
    async with up(config()):
        assert state(host) != before
    assert state(host) == before


async def test_a_table_of_its_own_gets_every_route(host: Namespace) -> None:
    async with up(config(table=77)):
        assert routes(host, "table", "77") == set(ALLOWED_IPS) - {"10.9.0.2/32"} | {"10.9.0.2"}
        assert routes(host) == {"10.9.0.0/24", "fd09::/64"}


async def test_with_the_table_off_no_route_is_added(host: Namespace) -> None:
    async with up(config(table=RouteTable.OFF)):
        assert routes(host) == {"10.9.0.0/24", "fd09::/64"}


async def test_a_given_mtu_is_taken(host: Namespace) -> None:
    async with up(config(mtu=9000)):
        assert "mtu 9000 " in host.ip("-o", "link", "show", NAME)


async def test_an_address_that_is_taken_changes_nothing(host: Namespace) -> None:
    before = state(host)
    with pytest.raises(NetlinkError, match=r"192\.0\.2\.1.*eth0"):
        async with up(config(("192.0.2.1/32",))):
            pytest.fail("it is not up")
    assert state(host) == before


async def test_a_route_that_is_taken_changes_nothing(host: Namespace) -> None:
    host.ip("route", "add", "10.20.0.0/16", "via", "192.0.2.2")
    before = state(host)
    with pytest.raises(NetlinkError, match=r"10\.20\.0\.0/16.*eth0"):
        async with up(config()):
            pytest.fail("it is not up")
    assert state(host) == before


async def test_a_route_that_is_taken_at_the_last_moment_is_left_alone(host: Namespace) -> None:
    hooks = Hooks(pre_up=("ip route add 10.20.0.0/16 via 192.0.2.2",))
    with pytest.raises(NetlinkError, match=r"10\.20\.0\.0/16"):
        async with up(config(hooks=hooks)):
            pytest.fail("it is not up")
    assert NAME not in host.links()
    assert "via 192.0.2.2 dev eth0" in host.ip("route", "show", "10.20.0.0/16")


async def test_hooks_see_what_they_expect(host: Namespace, tmp_path: Path) -> None:
    def note(phase: str) -> tuple[str]:
        return (f"echo {phase} $(ip -o -4 address show dev %i | wc -l) >>{tmp_path}/notes",)

    gone = (f"! ip link show %i 2>/dev/null; echo gone >>{tmp_path}/notes",)
    hooks = Hooks(note("pre-up"), note("post-up"), note("pre-down"), gone)
    async with up(config(hooks=hooks)):
        pass
    assert (tmp_path / "notes").read_text().splitlines() == ["pre-up 0", "post-up 1", "pre-down 1", "gone"]


async def test_a_failing_post_up_leaves_nothing(host: Namespace) -> None:
    before = state(host)
    with pytest.raises(HookError, match="PostUp 'exit 9'"):
        async with up(config(hooks=Hooks(post_up=("exit 9",)))):
            pytest.fail("it is not up")
    assert state(host) == before

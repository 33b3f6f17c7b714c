"""Upkeep on a fake kernel: what is put back, what is only said, and what is not even that."""

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_interface, ip_network

import pytest

from tunnel.config.model import InterfaceConfig, IPInterface, PeerConfig, RouteTable, TunnelConfig
from tunnel.config.patch import IPNetwork
from tunnel.daemon.upkeep import MAIN_TABLE, SETTLE, Missing, Route, Upkeep
from tunnel.errors import NetlinkError
from tunnel.keys import PrivateKey

PEER = PrivateKey(bytes([2]) * 32).public_key
ADDRESSES = ("10.0.0.1/24", "fd00::1/64")
CONNECTED = ("10.0.0.0/24", "fd00::/64")
ALLOWED = ("10.8.0.0/16", "fd08::/48")


def configured(
    *allowed_ips: str, addresses: Sequence[str] = ADDRESSES, table: RouteTable | int = RouteTable.AUTO
) -> TunnelConfig:
    interface = InterfaceConfig(PrivateKey(bytes([1]) * 32), addresses=tuple(map(ip_interface, addresses)), table=table)
    return TunnelConfig(interface, (PeerConfig(PEER, allowed_ips=tuple(map(ip_network, allowed_ips))),))


def route(network: str, table: int = MAIN_TABLE) -> Route:
    return table, ip_network(network)


class FakeKernel:
    """Satisfies `Links`: an interface with all that it should have. What begins with `fails_at` is refused."""

    def __init__(self, config: TunnelConfig) -> None:
        self.held = list(config.interface.addresses)
        table = config.interface.table if isinstance(config.interface.table, int) else MAIN_TABLE
        self.routes = {(table, network) for peer in config.peers for network in peer.allowed_ips}
        self.routes |= {(MAIN_TABLE, address.network) for address in self.held}
        self.others: dict[IPNetwork, str] = {}
        self.script: list[str] = []
        self.looked_for: list[IPNetwork] = []
        self.fails_at = "never"
        self.error = errno.EPERM

    def lose(self, *addresses_and_routes: str) -> None:
        for text in addresses_and_routes:
            self.held = [address for address in self.held if str(address) != text]
            self.routes = {route for route in self.routes if str(route[1]) != text}

    def _change(self, line: str) -> None:
        if line.startswith(self.fails_at):
            raise NetlinkError(f"cannot {line}", self.error)
        self.script.append(line)

    async def addresses_of(self, index: int) -> Sequence[IPInterface]:
        return self.held

    async def add_address(self, index: int, address: IPInterface) -> None:
        self._change(f"add address {address}")
        self.held.append(address)
        self.routes.add((MAIN_TABLE, address.network))

    async def delete_address(self, index: int, address: IPInterface) -> None:
        self._change(f"delete address {address}")

    async def missing_routes(self, index: int, networks: Sequence[IPNetwork], table: int | None) -> list[IPNetwork]:
        self.looked_for += networks
        return [network for network in networks if (table, network) not in self.routes]

    async def route_holders(self, networks: Sequence[IPNetwork], table: int | None) -> Mapping[IPNetwork, str]:
        return {network: self.others[network] for network in networks if network in self.others}

    async def add_route(self, index: int, network: IPNetwork, table: int | None) -> None:
        self._change(f"add route {network} table {table}")
        self.routes.add((table or MAIN_TABLE, network))

    async def add_connected_route(self, index: int, address: IPInterface) -> None:
        self._change(f"add route of {address}")
        self.routes.add((MAIN_TABLE, address.network))

    async def delete_routes(self, index: int, networks: Iterable[IPNetwork], table: int | None) -> None:
        self._change(f"delete routes {', '.join(map(str, networks))} table {table}")


class FakePeerRoutes:
    """Satisfies `PeerRoutes`."""

    def __init__(self, *networks: str) -> None:
        self.present: Collection[IPNetwork] = set(map(ip_network, networks))
        self.again: list[IPNetwork] = []

    def add_again(self, networks: Collection[IPNetwork]) -> None:
        self.again += networks


class Scene:
    def __init__(self, config: TunnelConfig, peer_routes: FakePeerRoutes | None) -> None:
        self.config = config
        self.kernel = FakeKernel(config)
        self.kernel.routes |= {(MAIN_TABLE, network) for network in (peer_routes.present if peer_routes else ())}
        self.slept: list[float] = []
        self.upkeep = Upkeep("wg0", 7, self.kernel, lambda: self.config, peer_routes, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def settle(self) -> None:
        """Let everything that is due be done."""
        for _ in range(30):
            await asyncio.sleep(0)

    async def addresses_changed(self) -> None:
        """The kernel tells what there is."""
        self.upkeep.addresses_changed(self.kernel.held)
        await self.settle()

    async def routes_removed(self, *networks: str, table: int = MAIN_TABLE) -> None:
        self.kernel.lose(*networks)
        self.upkeep.routes_removed({route(network, table) for network in networks})
        await self.settle()

    async def flap(self) -> None:
        """``ip link set down`` takes all routes, and IPv6 addresses."""
        self.upkeep.link_changed(is_up=False)
        self.kernel.held = [address for address in self.kernel.held if address.version == 4]
        self.kernel.routes = {(MAIN_TABLE, address.network) for address in self.kernel.held}
        await self.addresses_changed()
        self.upkeep.link_changed(is_up=True)
        await self.settle()


@asynccontextmanager
async def open_scene(
    config: TunnelConfig | None = None, peer_routes: FakePeerRoutes | None = None
) -> AsyncIterator[Scene]:
    scene = Scene(config or configured(*ALLOWED), peer_routes)
    await scene.upkeep.begin()
    scene.kernel.looked_for.clear()
    task = asyncio.create_task(scene.upkeep.run())
    yield scene
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


# ---- the link was down --------------------------------------------------------------------------------------------


async def test_what_went_with_the_link_comes_back_with_it(caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as scene:
        await scene.flap()
    assert scene.kernel.script == [
        "add address fd00::1/64",
        "add route fd08::/48 table 254",
        "add route 10.8.0.0/16 table 254",
    ]
    assert said(caplog) == ["the link is up again, put back: address fd00::1/64, routes fd08::/48, 10.8.0.0/16"]
    assert scene.slept == []


async def test_routes_come_back_into_the_table_that_they_were_in() -> None:
    async with open_scene(configured("10.0.0.0/24", "0.0.0.0/0", addresses=["10.0.0.1/24"], table=77)) as scene:
        await scene.flap()
    assert scene.kernel.script == ["add route 10.0.0.0/24 table 77", "add route 0.0.0.0/0 table 77"]


async def test_what_came_by_a_reload_comes_back_with_the_link() -> None:
    async with open_scene() as scene:
        scene.config = configured("10.9.0.0/16", addresses=["10.0.0.1/24"])
        await scene.flap()
    assert scene.kernel.script == ["add route 10.9.0.0/16 table 254"]


async def test_the_link_comes_up_while_something_is_changed() -> None:
    async with open_scene() as scene:
        async with scene.upkeep.lock:
            await scene.flap()
            assert scene.kernel.script == []
        await scene.settle()
    assert len(scene.kernel.script) == 3


async def test_what_is_taken_meanwhile_is_said_and_the_rest_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as scene:
        scene.kernel.others[ip_network("10.8.0.0/16")] = "eth0"
        scene.kernel.fails_at = "add address"
        await scene.flap()
    assert scene.kernel.script == ["add route fd08::/48 table 254"]
    assert said(caplog) == [
        "not put back when the link came up: cannot add address fd00::1/64",
        "not put back when the link came up: there is a route to 10.8.0.0/16 already, by eth0",
    ]


async def test_a_loss_that_is_told_of_before_the_link_s_is_not_missed(caplog: pytest.LogCaptureFixture) -> None:
    """Routes and links are watched on two sockets."""
    async with open_scene() as scene:
        asleep = asyncio.Event()
        scene.upkeep._sleep = lambda seconds: asleep.wait()
        await scene.routes_removed("fd08::/48")
        async with scene.upkeep.lock:
            asleep.set()
            await scene.settle()
            await scene.flap()
        await scene.settle()
    assert len(said(caplog)) == 1
    assert "put back" in said(caplog)[0]


async def test_of_a_link_that_goes_down_again_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as scene:
        scene.kernel.fails_at, scene.kernel.error = "add route", errno.ENETDOWN
        await scene.flap()
    assert said(caplog) == []


async def test_a_kernel_that_cannot_be_asked_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    class Deaf(FakeKernel):
        async def addresses_of(self, index: int) -> Sequence[IPInterface]:
            raise NetlinkError("cannot read addresses: No buffer space available")

    async with open_scene() as scene:
        hearing, scene.kernel = scene.kernel, Deaf(scene.config)
        scene.upkeep._links = scene.kernel
        await scene.flap()
        scene.upkeep._links = scene.kernel = hearing
        await scene.flap()
    assert said(caplog)[0] == "cannot read addresses: No buffer space available"
    assert "put back" in said(caplog)[1]


# ---- somebody takes something away --------------------------------------------------------------------------------


async def test_an_address_that_somebody_takes_is_said_once_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as scene:
        scene.kernel.lose("10.0.0.1/24", "10.0.0.0/24", "10.8.0.0/16")
        await scene.addresses_changed()
        await scene.addresses_changed()
    assert scene.kernel.script == []
    assert scene.slept == [SETTLE]
    assert said(caplog) == [
        "somebody has removed address 10.0.0.1/24, route 10.8.0.0/16 from wg0; to put them back: tunnel reload wg0"
    ]
    assert caplog.records[0].levelno == logging.WARNING


async def test_what_came_back_and_is_taken_again_is_said_again(caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as scene:
        for _ in range(2):
            scene.kernel.held = []
            await scene.addresses_changed()
            scene.kernel.held = [ip_interface(text) for text in ADDRESSES]
            await scene.addresses_changed()
        for _ in range(2):
            await scene.routes_removed("fd08::/48")
    assert len(said(caplog)) == 4


async def test_a_route_is_looked_for_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as scene:
        await scene.routes_removed("10.8.0.0/16")
        await scene.routes_removed("10.0.0.0/24")
    assert scene.kernel.looked_for == [ip_network("10.8.0.0/16"), ip_network("10.0.0.0/24")]
    assert said(caplog) == [
        "somebody has removed route 10.8.0.0/16 from wg0; to put it back: tunnel reload wg0",
        "somebody has removed route 10.0.0.0/24 from wg0; to put it back: tunnel reload wg0",
    ]


async def test_when_changes_were_missed_everything_is_looked_for(caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as scene:
        scene.kernel.lose("fd08::/48")
        scene.upkeep.routes_unknown()
        await scene.settle()
    assert "route fd08::/48" in said(caplog)[0]


async def test_what_is_not_ours_is_nobody_s_loss(caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as scene:
        await scene.routes_removed("10.77.0.0/16")
        await scene.routes_removed("10.8.0.0/16", table=4711)
        scene.upkeep.addresses_changed([*scene.kernel.held, ip_interface("10.77.0.1/24")])
        await scene.addresses_changed()
    assert said(caplog) == []
    assert scene.slept == []


async def test_what_is_replaced_is_not_missed(caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as scene:
        scene.upkeep.addresses_changed([])
        scene.upkeep.routes_removed({route("10.8.0.0/16")})
        await scene.settle()
    assert scene.slept == [SETTLE]
    assert said(caplog) == []


async def test_what_we_take_ourselves_is_not_missed(caplog: pytest.LogCaptureFixture) -> None:
    """Half way the old configuration is still the valid one; what counts is the end."""
    async with open_scene() as scene:
        async with scene.upkeep.lock:
            await scene.routes_removed("10.8.0.0/16", "fd08::/48")
            scene.kernel.lose("fd00::1/64")
            await scene.addresses_changed()
            scene.config = configured(addresses=["10.0.0.1/24"])
        await scene.settle()
        scene.upkeep.end()
        scene.kernel.held = []
        await scene.addresses_changed()
    assert said(caplog) == []


async def test_while_the_link_is_down_nothing_is_missed(caplog: pytest.LogCaptureFixture) -> None:
    async with open_scene() as scene:
        scene.upkeep.link_changed(is_up=False)
        await scene.routes_removed("10.8.0.0/16")
        assert not await scene.upkeep.missing(scene.config)
    assert said(caplog) == []


async def test_what_hooks_have_taken_is_neither_missed_nor_put_back(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene(configured(*ALLOWED), None)
    scene.kernel.lose("10.8.0.0/16", "fd00::1/64")
    await scene.upkeep.begin()
    task = asyncio.create_task(scene.upkeep.run())
    await scene.addresses_changed()
    await scene.flap()
    task.cancel()
    assert scene.kernel.script == ["add route fd08::/48 table 254"]
    assert len(said(caplog)) == 1


async def test_many_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    networks = [f"10.{number}.0.0/16" for number in range(10, 20)]
    async with open_scene(configured(*networks)) as scene:
        await scene.routes_removed(*networks)
    assert said(caplog) == [
        "somebody has removed routes 10.10.0.0/16, 10.11.0.0/16, 10.12.0.0/16, 10.13.0.0/16 and 6 more from wg0; "
        "to put them back: tunnel reload wg0"
    ]


# ---- putting it back ----------------------------------------------------------------------------------------------


async def test_each_is_put_back_as_it_was() -> None:
    async with open_scene() as scene:
        scene.kernel.lose("fd00::1/64", "fd00::/64", "10.0.0.0/24", "10.8.0.0/16")
        missing = await scene.upkeep.missing(scene.config)
        assert missing.lines() == [
            "+ address fd00::1/64 (was missing)",
            "+ route 10.8.0.0/16 (was missing)",
            "+ route 10.0.0.0/24 (was missing)",
        ]
        await scene.upkeep.restore(missing, scene.config)
        assert not await scene.upkeep.missing(scene.config)
    assert scene.kernel.script == [
        "add address fd00::1/64",
        "add route of 10.0.0.1/24",
        "add route 10.8.0.0/16 table 254",
    ]


async def test_the_first_refusal_is_raised_and_what_was_done_can_be_undone() -> None:
    async with open_scene() as scene:
        scene.kernel.lose("fd00::1/64", "10.8.0.0/16")
        scene.kernel.others[ip_network("10.8.0.0/16")] = "eth0"
        missing = await scene.upkeep.missing(scene.config)
        with pytest.raises(NetlinkError, match=r"there is a route to 10\.8\.0\.0/16 already, by eth0"):
            await scene.upkeep.restore(missing, scene.config)
        scene.kernel.script.clear()
        await scene.upkeep.withdraw(missing)
    assert scene.kernel.script == ["delete address fd00::1/64", "delete routes 10.8.0.0/16 table 254"]


async def test_routes_of_peers_that_come_and_go_are_noticed_here_and_put_back_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    peer_routes = FakePeerRoutes("10.70.0.0/16", "10.71.0.0/16")
    async with open_scene(peer_routes=peer_routes) as scene:
        await scene.routes_removed("10.70.0.0/16")
        assert "route 10.70.0.0/16" in said(caplog)[0]
        missing = await scene.upkeep.missing(scene.config)
        await scene.upkeep.restore(missing, scene.config)
    assert missing == Missing(routes=(route("10.70.0.0/16"),))
    assert peer_routes.again == [ip_network("10.70.0.0/16")]
    assert scene.kernel.script == []

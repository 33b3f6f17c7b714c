"""The steps around the interface, on a fake netlink that writes down what was asked of it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from tunnel.config.model import Hooks, InterfaceConfig, IPInterface, PeerConfig, RouteTable, TunnelConfig
from tunnel.config.patch import IPNetwork
from tunnel.config.routing import wanted_routes
from tunnel.daemon.lifecycle import Lifecycle, inner_mtu
from tunnel.endpoint import Endpoint
from tunnel.errors import HookError, NetlinkError
from tunnel.keys import PrivateKey
from tunnel.protocol.host import DEFAULT_MTU
from tunnel.tun.attach import QUEUE_LENGTH

PEER = PrivateKey(bytes([2]) * 32).public_key
ENDPOINT = Endpoint("192.0.2.1", 51820)


def config(
    *allowed_ips: str,
    addresses: tuple[str, ...] = ("10.9.0.1/24",),
    mtu: int | None = None,
    table: RouteTable | int = RouteTable.AUTO,
    hooks: Hooks = Hooks(),  # noqa: B008 - frozen
) -> TunnelConfig:
    interface = InterfaceConfig(
        PrivateKey(bytes([1]) * 32),
        addresses=tuple(ip_interface(address) for address in addresses),
        mtu=mtu,
        table=table,
        hooks=hooks,
    )
    return TunnelConfig(interface, (PeerConfig(PEER, allowed_ips=tuple(map(ip_network, allowed_ips))),))


class FakeLinks:
    """Satisfies `Links`. `script` has one line per change; a line that starts with `fails_at` raises instead."""

    def __init__(self, fails_at: str = "never") -> None:
        self.script: list[str] = []
        self.addresses: dict[str, str] = {}
        self.routes: dict[str, str] = {}
        self.mtus: dict[str, int] = {ENDPOINT.host: 1500}
        self.index: int | None = 7
        self.fails_at = fails_at

    def _change(self, line: str) -> None:
        if line.startswith(self.fails_at):
            raise NetlinkError(f"refused: {line}")
        self.script.append(line)

    async def link_index(self, name: str) -> int | None:
        return self.index

    async def set_link(
        self, index: int, *, mtu: int | None = None, txqueuelen: int | None = None, is_up: bool | None = None
    ) -> None:
        self._change(f"link {index} mtu {mtu} queue {txqueuelen} up {is_up}")

    async def leave_link_local_off(self, index: int) -> None:
        pass

    async def add_address(self, index: int, address: IPInterface) -> None:
        self._change(f"address {address}")

    async def address_holder(self, address: IPInterface) -> str | None:
        return self.addresses.get(str(address.ip))

    async def add_routes(self, index: int, networks: Sequence[IPNetwork], table: int | None) -> None:
        for network in networks:
            self._change(f"route {network} table {table}")

    async def route_holders(self, networks: Sequence[IPNetwork], table: int | None) -> dict[IPNetwork, str]:
        return {network: holder for network in networks if (holder := self.routes.get(f"{network} {table}"))}

    async def route_mtus(self, endpoints: Iterable[Endpoint], fwmark: int) -> list[int]:
        return [self.mtus[endpoint.host] for endpoint in endpoints if endpoint.host in self.mtus]


def lifecycle(config: TunnelConfig, links: FakeLinks) -> Lifecycle:
    def remove() -> None:
        links.script.append("removed")

    return Lifecycle("wg0", config, links, remove)


def noting(path: Path) -> Callable[[str], str]:
    """A hook that writes a word to a file."""
    return lambda word: f"echo {word} >>{path}"


async def test_up_and_down_take_their_steps_in_order() -> None:
    links = FakeLinks()
    async with lifecycle(config("10.20.0.0/16"), links).up([ENDPOINT]) as mtu:
        links.script.append("serving")
    assert mtu == 1420
    assert links.script == [
        "address 10.9.0.1/24",
        f"link 7 mtu 1420 queue {QUEUE_LENGTH} up True",
        "route 10.20.0.0/16 table None",
        "serving",
        "removed",
    ]


async def test_hooks_run_in_their_places(tmp_path: Path) -> None:
    note = noting(tmp_path / "notes")
    hooks = Hooks((note("%i-pre-up"),), (note("post-up"),), (note("pre-down"),), (note("post-down"),))
    async with lifecycle(config(hooks=hooks), FakeLinks()).up([]):
        (tmp_path / "notes").open("a").write("serving\n")
    assert (tmp_path / "notes").read_text().split() == ["wg0-pre-up", "post-up", "serving", "pre-down", "post-down"]


async def test_the_interface_goes_between_pre_down_and_post_down(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    hooks = Hooks(pre_down=(noting(notes)("pre-down"),), post_down=(noting(notes)("post-down"),))

    def remove() -> None:
        notes.open("a").write("removed\n")

    async with Lifecycle("wg0", config(hooks=hooks), FakeLinks(), remove).up([]):
        pass
    assert notes.read_text().split() == ["pre-down", "removed", "post-down"]


async def test_a_failing_pre_down_does_not_keep_the_interface(tmp_path: Path) -> None:
    links = FakeLinks()
    hooks = Hooks(pre_down=("exit 1",), post_down=(f"touch {tmp_path}/post-down",))
    async with lifecycle(config(hooks=hooks), links).up([]):
        pass
    assert links.script[-1] == "removed"
    assert (tmp_path / "post-down").exists()


@pytest.mark.parametrize("step", ["address", "link", "route"])
async def test_a_refusal_in_the_middle_takes_the_interface_away(step: str) -> None:
    links = FakeLinks(fails_at=step)
    with pytest.raises(NetlinkError, match=f"refused: {step}"):
        async with lifecycle(config("10.20.0.0/16"), links).up([]):
            pytest.fail("it is not up")
    assert links.script[-1] == "removed"


async def test_a_failing_post_up_takes_everything_away(tmp_path: Path) -> None:
    links = FakeLinks()
    note = noting(tmp_path / "notes")
    hooks = Hooks(post_up=("exit 4",), pre_down=(note("pre-down"),), post_down=(note("post-down"),))
    with pytest.raises(HookError, match="PostUp 'exit 4': exit status 4"):
        async with lifecycle(config(hooks=hooks), links).up([]):
            pytest.fail("it is not up")
    assert links.script[-1] == "removed"
    assert (tmp_path / "notes").read_text().split() == ["pre-down", "post-down"]


async def test_a_failing_pre_up_comes_before_any_change() -> None:
    links = FakeLinks()
    with pytest.raises(HookError):
        async with lifecycle(config(hooks=Hooks(pre_up=("exit 1",))), links).up([]):
            pytest.fail("it is not up")
    assert links.script == ["removed"]


async def test_a_refusal_before_any_hook_ran_runs_none_on_the_way_back(tmp_path: Path) -> None:
    hooks = Hooks(post_up=("true",), pre_down=(f"touch {tmp_path}/a",), post_down=(f"touch {tmp_path}/b",))
    with pytest.raises(NetlinkError):
        async with lifecycle(config(hooks=hooks), FakeLinks(fails_at="address")).up([]):
            pytest.fail("it is not up")
    assert list(tmp_path.iterdir()) == []


async def test_a_refusal_after_pre_up_ran_is_cleaned_up_by_post_down(tmp_path: Path) -> None:
    hooks = Hooks(pre_up=("true",), post_down=(f"touch {tmp_path}/cleaned",))
    with pytest.raises(NetlinkError):
        async with lifecycle(config(hooks=hooks), FakeLinks(fails_at="address")).up([]):
            pytest.fail("it is not up")
    assert (tmp_path / "cleaned").exists()


async def test_being_cancelled_takes_everything_away(tmp_path: Path) -> None:
    links = FakeLinks()
    is_up = asyncio.Event()

    async def serve() -> None:
        async with lifecycle(config(hooks=Hooks(post_down=(f"touch {tmp_path}/post-down",))), links).up([]):
            is_up.set()
            await asyncio.Event().wait()

    serving = asyncio.create_task(serve())
    await is_up.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert links.script[-1] == "removed"
    assert (tmp_path / "post-down").exists()


async def test_an_interface_that_is_gone_is_said_to_be() -> None:
    links = FakeLinks()
    links.index = None
    with pytest.raises(NetlinkError, match="wg0: the interface is gone"):
        async with lifecycle(config(), links).up([]):
            pytest.fail("it is not up")


async def test_a_free_address_and_route_pass_the_check_without_a_change() -> None:
    links = FakeLinks()
    await lifecycle(config("10.20.0.0/16"), links).check()
    assert links.script == []


async def test_an_address_that_is_taken_fails_the_check() -> None:
    links = FakeLinks()
    links.addresses["10.9.0.1"] = "eth0"
    with pytest.raises(NetlinkError, match=r"wg0: address 10\.9\.0\.1 is taken by eth0"):
        await lifecycle(config(), links).check()


@pytest.mark.parametrize("table", [RouteTable.AUTO, 77])
async def test_a_route_that_is_taken_fails_the_check(table: RouteTable | int) -> None:
    links = FakeLinks()
    links.routes[f"10.20.0.0/16 {table if isinstance(table, int) else None}"] = "eth0"
    with pytest.raises(NetlinkError, match=r"wg0: there is a route to 10\.20\.0\.0/16 already, by eth0"):
        await lifecycle(config("10.20.0.0/16", table=table), links).check()


async def test_with_the_table_off_a_taken_route_is_no_matter() -> None:
    links = FakeLinks()
    links.routes["10.20.0.0/16 None"] = "eth0"
    await lifecycle(config("10.20.0.0/16", table=RouteTable.OFF), links).check()


async def test_an_mtu_that_is_given_is_taken() -> None:
    links = FakeLinks()
    async with lifecycle(config(mtu=9000), links).up([ENDPOINT]) as mtu:
        pass
    assert mtu == 9000
    assert f"link 7 mtu 9000 queue {QUEUE_LENGTH} up True" in links.script


def test_without_a_known_route_the_mtu_is_that_of_ethernet_less_the_overhead() -> None:
    assert inner_mtu([], has_ipv6=True) == DEFAULT_MTU == 1420


def test_the_smallest_route_counts() -> None:
    assert inner_mtu([9000, 1500, 65536], has_ipv6=True) == 1420


@pytest.mark.parametrize(("has_ipv6", "mtu"), [(True, 1280), (False, 1220)])
def test_the_mtu_is_large_enough_for_the_inner_protocol(has_ipv6: bool, mtu: int) -> None:
    assert inner_mtu([1300], has_ipv6=has_ipv6) == mtu


async def test_an_ipv6_allowed_ip_keeps_the_mtu_at_1280() -> None:
    links = FakeLinks()
    links.mtus[ENDPOINT.host] = 1300
    async with lifecycle(config("2001:db8::/32"), links).up([ENDPOINT]) as mtu:
        pass
    assert mtu == 1280


def test_routes_come_longest_first_and_once() -> None:
    routes = wanted_routes(config("10.0.0.0/8", "10.20.0.0/16", "10.20.1.1/32", "10.0.0.0/8", "2001:db8::/64"))
    assert [str(route) for route in routes] == ["2001:db8::/64", "10.20.1.1/32", "10.20.0.0/16", "10.0.0.0/8"]


def test_what_the_interface_reaches_by_itself_needs_no_route() -> None:
    assert wanted_routes(config("10.9.0.2/32", "10.9.0.0/24")) == []


def test_a_network_around_our_own_needs_a_route() -> None:
    assert wanted_routes(config("10.9.0.0/16")) == [ip_network("10.9.0.0/16")]


def test_another_table_gets_every_route() -> None:
    assert wanted_routes(config("10.9.0.2/32", table=77)) == [ip_network("10.9.0.2/32")]


def test_with_the_table_off_there_are_no_routes() -> None:
    assert wanted_routes(config("10.20.0.0/16", table=RouteTable.OFF)) == []

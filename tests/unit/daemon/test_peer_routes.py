"""Routes that follow a wanted set: the choice from arguments only, and the task on a fake routing table."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel.config.model import RouteTable
from tunnel.config.patch import IPNetwork
from tunnel.daemon.peer_routes import RETRY, PeerRoutes, RouteChoice
from tunnel.endpoint import Endpoint
from tunnel.errors import NetlinkError
from tunnel.keys import PrivateKey, PublicKey
from tunnel.testing.clock import FakeClock

ALICE, BOB, CAROL = (PrivateKey(bytes([number]) * 32).public_key for number in (1, 2, 3))
MAIN, OWN = 254, 51820


def owned(**networks: str) -> dict[IPNetwork, PublicKey]:
    """`owned(alice="10.1.0.0/16 fd00::/64")`"""
    keys = {"alice": ALICE, "bob": BOB, "carol": CAROL}
    return {ip_network(network): keys[who] for who, text in networks.items() for network in text.split()}


def at(**hosts: str) -> dict[PublicKey, Endpoint]:
    """`at(alice="192.0.2.1")`"""
    keys = {"alice": ALICE, "bob": BOB, "carol": CAROL}
    return {keys[who]: Endpoint(host, 51820) for who, host in hosts.items()}


# --- which networks may be routed


def choose(
    networks: Mapping[IPNetwork, PublicKey],
    endpoints: Mapping[PublicKey, Endpoint] | None = None,
    table: RouteTable | int = RouteTable.AUTO,
    static: Mapping[IPNetwork, PublicKey | None] | None = None,
    fwmark: int = 0,
) -> list[str]:
    """What is left of `networks`."""
    routable, _ = RouteChoice(table, static or {}).choose(networks, endpoints or {}, fwmark)
    return sorted(map(str, routable))


def test_what_is_wanted_is_routed() -> None:
    networks = owned(alice="10.1.0.0/16 fd01::/64", bob="10.9.0.2/32")
    assert choose(networks, at(alice="203.0.113.1", bob="2001:db8::2")) == ["10.1.0.0/16", "10.9.0.2/32", "fd01::/64"]


@pytest.mark.parametrize("table", [RouteTable.AUTO, MAIN])
def test_a_default_route_is_left_out_of_a_table_that_is_consulted(table: RouteTable | int) -> None:
    assert choose(owned(alice="0.0.0.0/0 ::/0 10.1.0.0/16"), table=table) == ["10.1.0.0/16"]


def test_a_table_of_its_own_takes_a_default_route() -> None:
    assert choose(owned(alice="0.0.0.0/0"), table=OWN) == ["0.0.0.0/0"]


def test_without_a_table_nothing_is_routed() -> None:
    choice = RouteChoice(RouteTable.OFF, {})
    assert choice.choose(owned(alice="10.1.0.0/16 0.0.0.0/0"), {}, 0) == (set(), {})


def test_what_is_static_is_not_ours() -> None:
    networks = owned(alice="10.1.0.0/16 10.2.0.0/16")
    assert choose(networks, static={ip_network("10.1.0.0/16"): BOB}) == ["10.2.0.0/16"]


@pytest.mark.parametrize("host", ["10.1.2.3", "fd01::3"])
def test_a_network_that_its_peer_is_reached_in_is_left_out(host: str) -> None:
    networks = owned(alice="10.1.0.0/16 fd01::/64 10.2.0.0/16")
    inside = "10.1.0.0/16" if "." in host else "fd01::/64"
    assert choose(networks, at(alice=host)) == sorted({"10.1.0.0/16", "fd01::/64", "10.2.0.0/16"} - {inside})


def test_the_first_and_the_last_address_are_inside_and_their_neighbours_are_not() -> None:
    network = owned(alice="10.1.0.0/16")
    hosts = ["10.0.255.255", "10.1.0.0", "10.1.255.255", "10.2.0.0"]
    assert [bool(choose(network, at(alice=host))) for host in hosts] == [True, False, False, True]


def test_without_the_longest_the_next_would_loop_so_it_is_left_out_too() -> None:
    networks = owned(alice="10.1.2.0/24 10.1.0.0/16 10.0.0.0/8 10.9.0.0/16")
    assert choose(networks, at(alice="10.1.2.3")) == ["10.9.0.0/16"]


def test_a_peer_in_the_network_of_another_is_nested_and_takes_no_route_away() -> None:
    networks = owned(alice="10.1.0.0/16", bob="10.9.0.2/32")
    assert choose(networks, at(alice="203.0.113.1", bob="10.1.2.3")) == ["10.1.0.0/16", "10.9.0.2/32"]


def test_a_peer_without_an_endpoint_can_carry_others() -> None:
    assert choose(owned(alice="10.1.0.0/16"), at(bob="10.1.2.3")) == ["10.1.0.0/16"]


def test_a_longer_network_of_somebody_who_is_outside_carries_the_datagrams() -> None:
    networks = owned(alice="10.0.0.0/8", bob="10.1.0.0/16")
    assert choose(networks, at(alice="10.1.2.3", bob="203.0.113.2")) == ["10.0.0.0/8", "10.1.0.0/16"]


def test_two_that_are_reached_through_each_other_are_both_left_out() -> None:
    networks = owned(alice="10.1.0.0/16 10.9.0.1/32", bob="10.2.0.0/16 10.9.0.2/32")
    assert choose(networks, at(alice="10.2.0.1", bob="10.1.0.1")) == ["10.9.0.1/32", "10.9.0.2/32"]


def test_a_circle_of_three_is_left_out_and_who_is_carried_by_it_is_not() -> None:
    dave = PrivateKey(bytes([4]) * 32).public_key
    networks = owned(alice="10.1.0.0/16", bob="10.2.0.0/16", carol="10.3.0.0/16") | {ip_network("10.4.0.0/16"): dave}
    endpoints = at(alice="10.2.0.1", bob="10.3.0.1", carol="10.1.0.1") | {dave: Endpoint("10.1.0.9", 1)}
    assert choose(networks, endpoints) == ["10.4.0.0/16"]


def test_a_circle_through_a_hand_configured_peer_is_broken_where_we_may() -> None:
    static = {ip_network("10.2.0.0/16"): BOB}
    assert choose(owned(alice="10.1.0.0/16"), at(alice="10.2.0.1", bob="10.1.0.1"), static=static) == []


def test_a_circle_that_is_all_static_is_not_our_business() -> None:
    choice = RouteChoice(RouteTable.AUTO, {ip_network("10.1.0.0/16"): BOB})
    assert choice.choose(owned(alice="10.2.0.0/16"), at(bob="10.1.0.1"), 0) == ({ip_network("10.2.0.0/16")}, {})


def test_what_only_leads_to_a_circle_is_not_left_out() -> None:
    networks = owned(alice="10.1.0.0/16", bob="10.2.0.0/16")
    assert choose(networks, at(carol="10.2.0.1", bob="10.1.0.1", alice="10.1.0.2")) == ["10.2.0.0/16"]


def test_a_longer_static_network_carries_the_datagrams() -> None:
    for owner in (BOB, None):
        static = {ip_network("10.1.2.0/24"): owner}
        assert choose(owned(alice="10.1.0.0/16"), at(alice="10.1.2.3"), static=static) == ["10.1.0.0/16"]


@pytest.mark.parametrize(("table", "fwmark"), [(OWN, 0), (RouteTable.AUTO, 1)], ids=["table", "fwmark"])
def test_who_has_thought_about_it_gets_every_route(table: RouteTable | int, fwmark: int) -> None:
    assert choose(owned(alice="10.1.0.0/16"), at(alice="10.1.2.3"), table, fwmark=fwmark) == ["10.1.0.0/16"]


def test_a_choice_follows_what_changes() -> None:
    choice = RouteChoice(RouteTable.AUTO, {})
    steps: list[tuple[dict[IPNetwork, PublicKey], dict[PublicKey, Endpoint], str]] = [
        (owned(alice="10.1.0.0/16 0.0.0.0/0"), at(alice="203.0.113.1"), "10.1.0.0/16"),
        (owned(alice="10.1.0.0/16", bob="10.1.2.0/24"), at(alice="10.1.2.3"), "10.1.0.0/16 10.1.2.0/24"),
        (owned(alice="10.1.0.0/16 10.1.2.0/24"), at(alice="10.1.2.3"), ""),  # it changed hands
        (owned(alice="10.1.2.0/24"), at(alice="10.1.3.3"), "10.1.2.0/24"),
        ({}, at(alice="10.1.2.3"), ""),
        (owned(bob="10.1.0.0/16"), at(alice="10.1.2.3"), "10.1.0.0/16"),
    ]
    for networks, endpoints, expected in steps:
        routable, left_out = choice.choose(networks, endpoints, 0)
        assert routable == set(map(ip_network, expected.split()))
        assert left_out.keys() == networks.keys() - routable


_NETWORKS = [ip_network(text) for text in ("10.0.0.0/14", "10.1.0.0/16", "10.2.0.0/16", "10.2.2.0/24", "10.3.0.0/16")]
_PEERS = st.sampled_from([ALICE, BOB, CAROL])
_OWNERS = st.dictionaries(st.sampled_from(_NETWORKS), _PEERS)
_PLACES = st.dictionaries(_PEERS, st.sampled_from(["10.0.0.1", "10.1.0.1", "10.2.0.1", "10.2.2.1", "10.3.0.1"]))


@given(st.lists(st.tuples(_OWNERS, _PLACES), min_size=1, max_size=4))
def test_no_datagram_ever_comes_back_to_the_peer_that_it_is_for(
    rounds: list[tuple[dict[IPNetwork, PublicKey], dict[PublicKey, str]]],
) -> None:
    choice = RouteChoice(RouteTable.AUTO, {})
    for networks, places in rounds:
        routable, left_out = choice.choose(networks, {peer: Endpoint(host, 1) for peer, host in places.items()}, 0)
        assert routable | left_out.keys() == networks.keys()
        assert not any(_comes_back(peer, routable, networks, places) for peer in places)
        assert all(
            any(_comes_back(peer, {*routable, network}, networks, places) for peer in places)
            for network in left_out
            if len(left_out) == 1
        )


def _comes_back(
    peer: PublicKey, routed: Iterable[IPNetwork], owners: Mapping[IPNetwork, PublicKey], places: Mapping[PublicKey, str]
) -> bool:
    hop = peer
    for _ in range(3):
        address = ip_address(places[hop]) if hop in places else None
        matches = [network for network in routed if address is not None and address in network]
        if not matches:
            return False
        hop = owners[max(matches, key=lambda network: network.prefixlen)]
        if hop == peer:
            return True
    return False


def test_what_is_left_out_has_its_reason() -> None:
    _, left_out = RouteChoice(RouteTable.AUTO, {}).choose(owned(alice="10.1.0.0/16 0.0.0.0/0"), at(alice="10.1.2.3"), 0)
    assert left_out == {
        ip_network("0.0.0.0/0"): "why=a default route needs a Table of its own",
        ip_network("10.1.0.0/16"): f"peer={ALICE.short} endpoint=10.1.2.3:51820 why=inside, so datagrams to it would "
        "loop: leave it out of the certificate, or set FwMark or Table = off",
    }


# --- the kernel's table


class FakeTable:
    """Satisfies `Links`: holders by network, and one line per change. What is in `refusing` cannot be changed."""

    def __init__(self) -> None:
        self.holders: dict[str, str] = {}
        self.script: list[str] = []
        self.refusing: dict[str, str] = {}
        self.on_change: Callable[[], object] = lambda: None

    def of(self, name: str) -> set[str]:
        return {network for network, holder in self.holders.items() if holder == name}

    def _change(self, line: str, network: IPNetwork, table: int | None) -> None:
        if (why := self.refusing.get(str(network))) is not None:
            self.script.append(f"refused {network}")
            self.on_change()
            raise NetlinkError(why)
        self.script.append(f"{line} {network}" + (f" table {table}" if table else ""))

    async def route_holders(self, networks: Sequence[IPNetwork], table: int | None) -> dict[IPNetwork, str]:
        if "all" in self.refusing:
            raise NetlinkError(self.refusing["all"])
        return {network: self.holders[str(network)] for network in networks if str(network) in self.holders}

    async def add_route(self, index: int, network: IPNetwork, table: int | None) -> None:
        assert str(network) not in self.holders
        self._change("add", network, table)
        self.holders[str(network)] = "wg0"
        self.on_change()

    async def delete_routes(self, index: int, networks: Iterable[IPNetwork], table: int | None) -> None:
        for network in networks:
            self._change("delete", network, table)
            self.holders.pop(str(network), None)


class Bench:
    """Routes that are kept in a fake table."""

    def __init__(self, table: RouteTable | int) -> None:
        self.clock = FakeClock()
        self.table = FakeTable()
        self.routes = PeerRoutes(self.table, self.clock, "wg0", 7, table, {ip_network("10.255.0.0/16"): BOB})

    async def want(self, endpoints: Mapping[PublicKey, Endpoint] | None = None, **networks: str) -> list[str]:
        """What is done about it."""
        self.routes.want(owned(**networks), endpoints or {})
        return await self.settled()

    async def settled(self) -> list[str]:
        """What has been done since the last time."""
        for _ in range(10):
            await asyncio.sleep(0)
        done, self.table.script[:] = self.table.script[:], []
        return done


@asynccontextmanager
async def running(table: RouteTable | int = RouteTable.AUTO) -> AsyncIterator[Bench]:
    bench = Bench(table)
    bench.routes.link_changed(True)
    task = asyncio.create_task(bench.routes.run())
    try:
        yield bench
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_routes_are_added_longest_prefix_first() -> None:
    async with running() as bench:
        done = await bench.want(alice="10.0.0.0/8 10.1.2.0/24", bob="10.1.0.0/16")
        assert done == ["add 10.1.2.0/24", "add 10.1.0.0/16", "add 10.0.0.0/8"]


async def test_only_the_difference_is_applied_deletions_first() -> None:
    async with running() as bench:
        await bench.want(alice="10.1.0.0/16 10.2.0.0/16")
        assert await bench.want(alice="10.2.0.0/16", bob="10.3.0.0/24") == ["delete 10.1.0.0/16", "add 10.3.0.0/24"]
        assert sorted(await bench.want()) == ["delete 10.2.0.0/16", "delete 10.3.0.0/24"]


async def test_the_same_again_changes_nothing() -> None:
    async with running() as bench:
        await bench.want(alice="10.1.0.0/16")
        assert await bench.want(alice="10.1.0.0/16") == []
        assert await bench.want(bob="10.1.0.0/16") == []


async def test_the_table_is_the_one_asked_for() -> None:
    async with running(OWN) as bench:
        assert await bench.want(alice="0.0.0.0/0") == ["add 0.0.0.0/0 table 51820"]
        assert await bench.want() == ["delete 0.0.0.0/0 table 51820"]


async def test_of_several_wanted_sets_the_newest_wins() -> None:
    async with running() as bench:
        bench.routes.want(owned(alice="10.1.0.0/16"), {})
        assert await bench.want(alice="10.2.0.0/16") == ["add 10.2.0.0/16"]


async def test_what_is_wanted_no_more_while_a_round_is_under_way_is_not_added() -> None:
    async with running() as bench:
        bench.table.on_change = lambda: bench.routes.want(owned(alice="10.1.0.0/24"), {})
        assert await bench.want(alice="10.1.0.0/24 10.2.0.0/16") == ["add 10.1.0.0/24"]


async def test_a_route_of_somebody_else_is_left_alone_and_said(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        bench.table.holders["10.1.0.0/16"] = "eth0"
        assert await bench.want(alice="10.1.0.0/16", bob="10.2.0.0/16") == ["add 10.2.0.0/16"]
        assert await bench.want(bob="10.2.0.0/16") == []
        assert bench.table.of("eth0") == {"10.1.0.0/16"}
    assert caplog.messages == ["route not added network=10.1.0.0/16 taken by=eth0"]


async def test_a_route_into_our_interface_that_is_there_already_is_fine(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        bench.table.holders["10.1.0.0/16"] = "wg0"
        assert await bench.want(alice="10.1.0.0/16") == []
        assert await bench.want() == ["delete 10.1.0.0/16"]
    assert caplog.messages == []


async def test_a_refusal_is_one_line_and_the_others_are_added(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        bench.table.refusing["fd01::/64"] = "cannot add route fd01::/64 to wg0: IPv6 is disabled there"
        assert await bench.want(alice="fd01::/64 10.1.0.0/16") == ["refused fd01::/64", "add 10.1.0.0/16"]
    why = "cannot add route fd01::/64 to wg0: IPv6 is disabled there"
    assert caplog.messages == [f"route not added network=fd01::/64 why={why}"]


async def test_a_table_that_cannot_be_read_is_one_line_per_network(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        bench.table.refusing["all"] = "cannot read routing table 254"
        assert await bench.want(alice="10.1.0.0/24 10.2.0.0/16") == []
    assert caplog.messages == [
        f"route not added network={network} why=cannot read routing table 254"
        for network in ("10.1.0.0/24", "10.2.0.0/16")
    ]


async def test_what_was_refused_is_tried_again_after_a_while_and_not_before() -> None:
    async with running() as bench:
        bench.table.holders["10.1.0.0/16"] = "eth0"
        await bench.want(alice="10.1.0.0/16")
        bench.table.holders.clear()
        bench.clock.advance(RETRY - 1)
        assert await bench.want(alice="10.1.0.0/16", bob="10.2.0.0/16") == ["add 10.2.0.0/16"]
        bench.clock.advance(1)
        assert await bench.want(alice="10.1.0.0/16", bob="10.2.0.0/16") == ["add 10.1.0.0/16"]


async def test_what_was_refused_is_tried_again_by_itself() -> None:
    def let_time_pass() -> None:
        if len(bench.table.script) == 2:
            bench.clock.advance(RETRY)
            bench.table.refusing.clear()

    async with running() as bench:
        bench.table.refusing = {"10.1.0.0/24": "busy", "10.2.0.0/16": "busy"}
        bench.table.on_change = let_time_pass
        done = await bench.want(alice="10.1.0.0/24 10.2.0.0/16")
        assert done == ["refused 10.1.0.0/24", "refused 10.2.0.0/16", "add 10.1.0.0/24", "add 10.2.0.0/16"]


async def test_what_was_refused_is_forgotten_with_who_wanted_it() -> None:
    async with running() as bench:
        bench.table.holders["10.1.0.0/16"] = "eth0"
        await bench.want(alice="10.1.0.0/16")
        await bench.want()
        bench.table.holders.clear()
        assert await bench.want(alice="10.1.0.0/16") == ["add 10.1.0.0/16"]


async def test_a_route_that_cannot_be_deleted_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        await bench.want(alice="10.1.0.0/16")
        bench.table.refusing["10.1.0.0/16"] = "no"
        assert await bench.want() == ["refused 10.1.0.0/16"]
        bench.table.refusing.clear()
        assert await bench.want() == []
        bench.clock.advance(RETRY)
        assert await bench.want() == ["delete 10.1.0.0/16"]
    assert caplog.messages == ["route not deleted network=10.1.0.0/16 why=no"]


async def test_a_peer_that_moves_into_its_own_network_loses_the_route_and_gets_it_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as bench:
        assert await bench.want(at(alice="203.0.113.1"), alice="10.1.0.0/16") == ["add 10.1.0.0/16"]
        assert await bench.want(at(alice="10.1.2.3"), alice="10.1.0.0/16") == ["delete 10.1.0.0/16"]
        assert await bench.want(at(alice="203.0.113.1"), alice="10.1.0.0/16") == ["add 10.1.0.0/16"]
    (line,) = caplog.messages
    assert line.startswith(f"route not added network=10.1.0.0/16 peer={ALICE.short} endpoint=10.1.2.3:51820 why=inside")


async def test_static_routes_are_never_touched() -> None:
    async with running() as bench:
        bench.table.holders["10.255.0.0/16"] = "wg0"
        assert await bench.want(alice="10.255.0.0/16") == []
        assert await bench.want() == []


async def test_when_the_link_comes_up_again_all_routes_are_added_again(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        await bench.want(alice="10.1.0.0/16 10.2.0.0/24")
        bench.table.holders.clear()  # as the kernel does
        bench.routes.link_changed(False)
        assert await bench.want(alice="10.1.0.0/16 10.2.0.0/24", bob="10.3.0.0/32") == []
        bench.routes.link_changed(True)
        assert await bench.settled() == ["add 10.3.0.0/32", "add 10.2.0.0/24", "add 10.1.0.0/16"]
    assert caplog.messages == []


async def test_before_the_link_is_up_nothing_is_tried(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(RouteTable.AUTO)
    task = asyncio.create_task(bench.routes.run())
    assert await bench.want(alice="10.1.0.0/16") == []
    bench.routes.link_changed(True)
    assert await bench.settled() == ["add 10.1.0.0/16"]
    task.cancel()
    assert caplog.messages == []


async def test_what_was_refused_is_tried_again_when_the_link_comes_up() -> None:
    async with running() as bench:
        bench.table.holders["10.1.0.0/16"] = "eth0"
        await bench.want(alice="10.1.0.0/16")
        bench.table.holders.clear()
        bench.routes.link_changed(False)
        bench.routes.link_changed(True)
        assert await bench.settled() == ["add 10.1.0.0/16"]


async def test_a_link_that_stays_up_is_no_reason_to_begin_anew() -> None:
    async with running() as bench:
        await bench.want(alice="10.1.0.0/16")
        bench.table.holders.clear()
        bench.routes.link_changed(True)
        assert await bench.settled() == []


async def test_a_link_that_flaps_while_routes_are_added_has_them_all_in_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def flap() -> None:
        bench.table.on_change = lambda: None
        bench.table.holders.clear()
        bench.routes.link_changed(False)
        bench.routes.link_changed(True)

    async with running() as bench:
        bench.table.on_change = flap
        await bench.want(alice="10.1.0.0/24 10.2.0.0/16")
        assert bench.table.of("wg0") == {"10.1.0.0/24", "10.2.0.0/16"}
    assert caplog.messages == []


async def test_a_refusal_because_the_link_went_down_is_neither_said_nor_remembered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def go_down() -> None:
        bench.table.refusing.clear()
        bench.routes.link_changed(False)

    async with running() as bench:
        bench.table.refusing["10.1.0.0/16"] = "Device for nexthop is not up"
        bench.table.on_change = go_down
        assert await bench.want(alice="10.1.0.0/16") == ["refused 10.1.0.0/16"]
        bench.table.on_change = lambda: None
        bench.routes.link_changed(True)
        assert await bench.settled() == ["add 10.1.0.0/16"]
    assert caplog.messages == []


# --- another configuration


async def test_a_network_that_becomes_static_is_ours_no_more() -> None:
    async with running() as bench:
        await bench.want(alice="10.1.0.0/16 10.2.0.0/16")
        bench.routes.configure({ip_network("10.1.0.0/16"): BOB})
        assert await bench.settled() == []
        assert await bench.want() == ["delete 10.2.0.0/16"]


async def test_a_network_that_is_static_no_more_is_added_for_who_claims_it() -> None:
    async with running() as bench:
        assert await bench.want(alice="10.255.0.0/16") == []
        bench.routes.configure({})
        assert await bench.settled() == ["add 10.255.0.0/16"]


async def test_routes_that_went_with_an_address_are_added_again() -> None:
    async with running() as bench:
        await bench.want(alice="10.1.0.0/16 10.2.0.0/16")
        del bench.table.holders["10.1.0.0/16"]
        bench.routes.configure({})
        assert await bench.settled() == ["add 10.1.0.0/16"]
        assert bench.table.of("wg0") == {"10.1.0.0/16", "10.2.0.0/16"}


async def test_a_table_that_cannot_be_looked_at_is_said_and_nothing_is_forgotten(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as bench:
        await bench.want(alice="10.1.0.0/16")
        bench.table.refusing["all"] = "no answer"
        bench.routes.configure({})
        assert await bench.settled() == []
        assert caplog.messages == ["routes not looked at why=no answer"]
        bench.table.refusing.clear()
        assert await bench.want() == ["delete 10.1.0.0/16"]

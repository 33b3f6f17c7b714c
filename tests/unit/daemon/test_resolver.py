"""Endpoints by name: the decisions as a conversation with a clock in hand, and the thin part that asks DNS."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from tunnel.config.model import InterfaceConfig, PeerConfig, TunnelConfig
from tunnel.config.patch import DevicePatch, PeerPatch
from tunnel.daemon.resolver import LEAST_INTERVAL, EndpointChoice, Resolver
from tunnel.endpoint import Endpoint, EndpointName, Source
from tunnel.keys import PrivateKey, PublicKey
from tunnel.protocol.constants import REJECT_AFTER_TIME
from tunnel.protocol.events import HandshakeCompleted, HandshakeUnanswered, PeerRoamed
from tunnel.testing.clock import FakeClock

NAME = EndpointName("vpn.example.com", 51820)
FIRST = Endpoint("2001:db8::1", 51820)
SECOND = Endpoint("192.0.2.1", 51820)
THIRD = Endpoint("192.0.2.2", 51820)
ELSEWHERE = Endpoint("198.51.100.9", 4711)


def resolved(*addresses: Endpoint, now: float = 0.0) -> EndpointChoice:
    choice = EndpointChoice(NAME, now)
    choice.begin_lookup()
    choice.found(addresses, now)
    return choice


def test_the_first_look_up_is_due_at_once() -> None:
    assert EndpointChoice(NAME, 7.0).lookup_at == 7.0


def test_nothing_is_due_while_a_look_up_is_under_way() -> None:
    choice = EndpointChoice(NAME, 0.0)
    choice.begin_lookup()
    choice.unanswered(1, 3.0)
    assert choice.lookup_at == math.inf


def test_the_first_address_found_is_chosen() -> None:
    assert EndpointChoice(NAME, 0.0).found([FIRST, SECOND], 0.1) == FIRST


def test_look_ups_without_an_answer_are_repeated_ever_more_slowly_and_for_ever() -> None:
    choice = EndpointChoice(NAME, 0.0)
    delays = []
    now = 0.0
    for _ in range(100):
        choice.begin_lookup()
        choice.failed(now)
        delays.append(choice.lookup_at - now)
        now = choice.lookup_at
    assert delays[:7] == [1, 2, 4, 8, 16, 30, 30]
    assert set(delays[5:]) == {30}


def test_an_answer_makes_the_next_failure_the_first_again() -> None:
    choice = EndpointChoice(NAME, 0.0)
    for _ in range(5):
        choice.failed(0.0)
    choice.found([FIRST], 0.0)
    choice.failed(100.0)
    assert choice.lookup_at == 101.0


def test_an_unanswered_handshake_leads_to_the_next_address() -> None:
    assert resolved(FIRST, SECOND).unanswered(1, 5.0) == SECOND


def test_the_name_is_looked_up_anew_when_all_addresses_were_tried() -> None:
    choice = resolved(FIRST, SECOND)
    choice.unanswered(1, 15.0)
    choice.unanswered(2, 20.0)
    assert choice.lookup_at == math.inf
    choice.unanswered(3, 25.0)
    assert choice.lookup_at == 25.0


def test_news_of_the_handshake_that_was_under_way_is_no_news_of_the_new_address() -> None:
    choice = resolved(FIRST, SECOND, THIRD)
    moves = [choice.unanswered(attempts, 5.0 * attempts) for attempts in range(1, 5)]
    assert moves == [SECOND, None, THIRD, None]


def test_a_dead_peer_is_not_looked_up_at_every_handshake() -> None:
    choice = resolved(FIRST, now=100.0)
    choice.unanswered(1, 105.0)
    assert choice.lookup_at == 100.0 + LEAST_INTERVAL


def test_an_address_that_is_in_use_already_is_not_set_again() -> None:
    choice = resolved(FIRST)
    assert choice.found([FIRST], 30.0) is None


def test_a_changed_address_is_found_when_the_peer_is_silent() -> None:
    choice = resolved(FIRST)
    choice.unanswered(1, 20.0)
    choice.begin_lookup()
    assert choice.found([SECOND], 20.1) == SECOND


def test_old_addresses_are_tried_in_turn_while_the_dns_is_down() -> None:
    choice = resolved(FIRST, SECOND)
    for attempts in (1, 2, 3):
        choice.unanswered(attempts, 5.0 * attempts)
    choice.begin_lookup()
    choice.failed(15.1)
    assert choice.unanswered(4, 20.0) == FIRST


def test_one_lost_handshake_does_not_end_what_works() -> None:
    choice = resolved(FIRST, SECOND)
    choice.completed(FIRST, 1.0)
    assert choice.unanswered(1, 126.0) is None
    assert choice.unanswered(2, 131.0) == SECOND


def test_a_roamed_peer_stays_where_it_is_while_its_session_lives() -> None:
    choice = resolved(FIRST, SECOND)
    choice.completed(FIRST, 1.0)
    choice.roamed(ELSEWHERE)
    assert [choice.unanswered(attempts, 130.0 + 5 * attempts) for attempts in range(1, 10)] == [None] * 9


def test_a_roamed_peer_whose_session_is_over_is_looked_for_at_its_name() -> None:
    choice = resolved(FIRST, SECOND)
    choice.completed(ELSEWHERE, 1.0)
    assert choice.unanswered(20, 1.0 + REJECT_AFTER_TIME) == SECOND


def test_a_roamed_peer_whose_session_is_over_is_sent_back_to_an_unchanged_name() -> None:
    choice = resolved(FIRST)
    choice.completed(ELSEWHERE, 1.0)
    choice.unanswered(20, 200.0)
    choice.begin_lookup()
    assert choice.found([FIRST], 200.1) == FIRST


def test_a_late_answer_does_not_override_the_peer_that_came_to_us() -> None:
    choice = EndpointChoice(NAME, 0.0)
    choice.begin_lookup()
    choice.completed(ELSEWHERE, 1.0)
    assert choice.found([FIRST], 2.0) is None


def test_another_address_of_ours_on_the_same_path_is_not_roaming() -> None:
    choice = resolved(FIRST, SECOND)
    choice.completed(Endpoint(FIRST.host, FIRST.port, source=Source("2001:db8::2", 3)), 1.0)
    assert choice.unanswered(2, 130.0) == SECOND


ALICE = PrivateKey(bytes([1]) * 32).public_key
BOB = PrivateKey(bytes([2]) * 32).public_key


def config(**names: str) -> TunnelConfig:
    """`config(alice="vpn.example.com:1")`"""
    keys = {"alice": ALICE, "bob": BOB}
    peers = tuple(PeerConfig(keys[who], endpoint=EndpointName.parse(name)) for who, name in names.items())
    return TunnelConfig(InterfaceConfig(PrivateKey(bytes([9]) * 32)), peers)


class FakeDns:
    """Answers when the test says so: a list of addresses, or an error."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[tuple[EndpointName, asyncio.Future[Sequence[Endpoint]]]] = asyncio.Queue()

    async def look_up(self, name: EndpointName) -> Sequence[Endpoint]:
        answer: asyncio.Future[Sequence[Endpoint]] = asyncio.get_running_loop().create_future()
        await self.asked.put((name, answer))
        return await answer

    async def answer(self, *addresses: Endpoint) -> EndpointName:
        """Wait for the next question, answer it, and let the resolver take note."""
        name, future = await asyncio.wait_for(self.asked.get(), 5)
        future.set_result(addresses)
        for _ in range(3):
            await asyncio.sleep(0)
        return name


class Bench:
    """A running resolver between a fake DNS and a list of what it delivered."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.dns = FakeDns()
        self.delivered: list[DevicePatch] = []
        self.resolver = Resolver(self.clock, self.delivered.append, self.dns.look_up)

    @property
    def endpoints(self) -> list[tuple[PublicKey, Endpoint | None]]:
        return [(peer.public_key, peer.endpoint) for patch in self.delivered for peer in patch.peers]


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    bench = Bench()
    task = asyncio.create_task(bench.resolver.run())
    try:
        yield bench
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_what_a_name_resolves_to_is_delivered_as_an_update() -> None:
    async with running() as bench:
        bench.resolver.configure(config(alice="vpn.example.com:51820"))
        assert await bench.dns.answer(FIRST, SECOND) == NAME
        assert bench.delivered == [DevicePatch(peers=(PeerPatch(ALICE, update_only=True, endpoint=FIRST),))]


async def test_a_numeric_endpoint_is_none_of_our_business() -> None:
    async with running() as bench:
        bench.resolver.configure(config(alice="192.0.2.1:1", bob="vpn.example.com:51820"))
        await bench.dns.answer(FIRST)
        assert bench.endpoints == [(BOB, FIRST)]


async def test_an_unanswered_handshake_is_followed_by_the_next_address() -> None:
    async with running() as bench:
        bench.resolver.configure(config(alice="vpn.example.com:51820"))
        await bench.dns.answer(FIRST, SECOND)
        bench.resolver.observe(HandshakeUnanswered(ALICE, 1))
        assert bench.endpoints == [(ALICE, FIRST), (ALICE, SECOND)]


async def test_a_look_up_is_repeated_after_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as bench:
        bench.resolver.configure(config(alice="vpn.example.com:51820"))
        await bench.dns.answer()
        bench.clock.advance(1.0)
        bench.resolver.observe(HandshakeUnanswered(ALICE, 1))
        await bench.dns.answer(FIRST)
        assert bench.endpoints == [(ALICE, FIRST)]
        assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_setting_the_endpoint_by_hand_takes_the_name_away() -> None:
    async with running() as bench:
        bench.resolver.configure(config(alice="vpn.example.com:51820"))
        await bench.dns.answer(FIRST, SECOND)
        bench.resolver.forget(DevicePatch(peers=(PeerPatch(ALICE, endpoint=ELSEWHERE),)))
        bench.resolver.observe(HandshakeUnanswered(ALICE, 3))
        assert bench.endpoints == [(ALICE, FIRST)]


@pytest.mark.parametrize(
    "patch", [DevicePatch(replace_peers=True), DevicePatch(peers=(PeerPatch(ALICE, remove=True),))], ids=["all", "one"]
)
async def test_an_answer_for_a_removed_peer_is_ignored(patch: DevicePatch) -> None:
    async with running() as bench:
        bench.resolver.configure(config(alice="vpn.example.com:51820"))
        question = await bench.dns.asked.get()
        bench.resolver.forget(patch)
        bench.dns.asked.put_nowait(question)
        await bench.dns.answer(FIRST)
        assert bench.delivered == []


async def test_a_patch_that_leaves_the_endpoint_alone_leaves_the_name() -> None:
    async with running() as bench:
        bench.resolver.configure(config(alice="vpn.example.com:51820"))
        bench.resolver.forget(DevicePatch(peers=(PeerPatch(ALICE, persistent_keepalive=25),)))
        await bench.dns.answer(FIRST)
        assert bench.endpoints == [(ALICE, FIRST)]


async def test_configuring_the_same_name_again_does_not_look_it_up_again() -> None:
    async with running() as bench:
        bench.resolver.configure(config(alice="vpn.example.com:51820"))
        await bench.dns.answer(FIRST, SECOND)
        bench.resolver.configure(config(alice="vpn.example.com:51820"))
        bench.resolver.observe(HandshakeUnanswered(ALICE, 1))
        assert bench.endpoints == [(ALICE, FIRST), (ALICE, SECOND)]
        assert bench.dns.asked.empty()


async def test_the_session_of_a_roamed_peer_is_respected() -> None:
    async with running() as bench:
        bench.resolver.configure(config(alice="vpn.example.com:51820"))
        await bench.dns.answer(FIRST, SECOND)
        bench.resolver.observe(HandshakeCompleted(ALICE, FIRST, as_initiator=True))
        bench.resolver.observe(PeerRoamed(ALICE, FIRST, ELSEWHERE))
        bench.clock.advance(130.0)
        bench.resolver.observe(HandshakeUnanswered(ALICE, 5))
        assert bench.endpoints == [(ALICE, FIRST)]


async def test_where_names_led_to_is_told() -> None:
    async with running() as bench:
        bench.resolver.configure(config(alice="vpn.example.com:51820", bob="bob.example.com:1"))
        await bench.dns.answer(FIRST, SECOND)
        assert bench.resolver.resolved() == {ALICE: FIRST}


async def test_events_of_peers_without_a_name_are_ignored() -> None:
    async with running() as bench:
        for event in (HandshakeUnanswered(BOB, 1), HandshakeCompleted(BOB, FIRST, True), PeerRoamed(BOB, None, FIRST)):
            bench.resolver.observe(event)
        assert bench.delivered == []


async def test_first_answers_waits_for_every_name() -> None:
    async with running() as bench:
        bench.resolver.configure(config(alice="vpn.example.com:51820", bob="bob.example.com:1"))
        waiting = asyncio.create_task(bench.resolver.first_answers(timeout=30.0))
        await bench.dns.answer(FIRST)
        assert not waiting.done()
        await bench.dns.answer()
        await asyncio.wait_for(waiting, 5)


async def test_first_answers_gives_up_on_a_silent_dns() -> None:
    async with running() as bench:
        bench.resolver.configure(config(alice="vpn.example.com:51820"))
        await bench.resolver.first_answers(timeout=0.0)
        assert bench.delivered == []

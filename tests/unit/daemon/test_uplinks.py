"""Who is told that we have moved, when, and how often."""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from tunnel.daemon.uplinks import ASKED_AT_ONCE, DELAYS, Uplinks
from tunnel.endpoint import Endpoint
from tunnel.keys import PrivateKey, PublicKey
from tunnel.testing.clock import FakeClock

A, B, C = (PrivateKey(bytes([number]) * 32).public_key for number in (1, 2, 3))


class FakeDevice:
    """Satisfies `Device`; all its peers have sessions but those in `silent`."""

    def __init__(self, *peers: PublicKey) -> None:
        self.peers = {peer: Endpoint("192.0.2.1", 1000 + number) for number, peer in enumerate(peers)}
        self.silent: set[PublicKey] = set()
        self.announced: list[list[PublicKey]] = []

    def endpoints(self) -> Mapping[PublicKey, Endpoint]:
        return self.peers

    def has_session(self, public_key: PublicKey, now: float) -> bool:
        return public_key not in self.silent

    def announce(self, public_keys: Sequence[PublicKey], now: float) -> None:
        self.announced.append(list(public_keys))


class Scene:
    def __init__(self, *peers: PublicKey) -> None:
        self.device = FakeDevice(*peers)
        self.moved: set[PublicKey] = set()
        self.asked: list[Endpoint] = []
        self.slept: list[float] = []
        self.turns = 0
        self.during: dict[int, PublicKey] = {}
        """The number of a sleep -> who is heard again meanwhile."""
        self.uplinks = Uplinks(self.device, FakeClock(), self._has_moved, self._turn, self._sleep)

    def _has_moved(self, endpoint: Endpoint) -> bool:
        self.asked.append(endpoint)
        return endpoint in {self.device.peers[peer] for peer in self.moved}

    def _turn(self) -> None:
        self.turns += 1

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.moved.discard(self.during.get(len(self.slept), C))
        await asyncio.sleep(0)

    async def change(self) -> None:
        self.uplinks.changed()
        for _ in range(50):
            await asyncio.sleep(0)


@asynccontextmanager
async def open_scene(*peers: PublicKey) -> AsyncIterator[Scene]:
    scene = Scene(*peers)
    task = asyncio.create_task(scene.uplinks.run())
    await asyncio.sleep(0)
    yield scene
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_nobody_is_asked_about_while_nothing_changes() -> None:
    async with open_scene(A) as scene:
        for _ in range(10):
            await asyncio.sleep(0)
    assert (scene.asked, scene.slept) == ([], [])


async def test_who_is_reached_as_before_is_not_told() -> None:
    async with open_scene(A, B) as scene:
        await scene.change()
    assert len(scene.asked) == 2
    assert scene.device.announced == []
    assert scene.slept == [DELAYS[0]]
    assert scene.turns == 0


async def test_who_is_reached_from_elsewhere_is_told_until_he_is_heard() -> None:
    async with open_scene(A, B, C) as scene:
        scene.moved = {A, B}
        scene.during = {2: A, 3: B}
        await scene.change()
    assert scene.device.announced == [[A, B], [B]]
    assert scene.turns == 2
    assert scene.slept == list(DELAYS[:3])


async def test_who_is_never_heard_is_told_a_few_times(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with open_scene(A) as scene:
        scene.moved = {A}
        await scene.change()
    assert scene.device.announced == [[A]] * len(DELAYS)
    assert [record.getMessage() for record in caplog.records] == [f"this host has another way out: telling {A.short}"]


async def test_another_change_begins_anew() -> None:
    async with open_scene(A) as scene:
        scene.moved = {A}
        scene.uplinks.changed()
        while len(scene.slept) < 2:
            await asyncio.sleep(0)
        await scene.change()
    assert scene.slept == [*DELAYS[:2], *DELAYS]
    assert len(scene.device.announced) == len(scene.slept)


async def test_without_a_session_nobody_is_told() -> None:
    async with open_scene(A) as scene:
        scene.moved = scene.device.silent = {A}
        await scene.change()
    assert scene.device.announced == []


async def test_among_many_the_loop_is_given_back() -> None:
    peers = [PublicKey(number.to_bytes(32, "big")) for number in range(3 * ASKED_AT_ONCE)]
    async with open_scene(*peers) as scene:
        scene.uplinks.changed()
        lengths = []
        while len(scene.asked) < len(peers):
            await asyncio.sleep(0)
            lengths.append(len(scene.asked))
    assert ASKED_AT_ONCE in lengths

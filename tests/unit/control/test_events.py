"""What is told to whom, and what listening costs those who do not read."""

import asyncio
import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control.handler import RecordingHandler, ask, serving
from tunnel.control.events import CAPACITY, EventFeed
from tunnel.control.uapi_socket import ControlSocket, Limits
from tunnel.endpoint import Endpoint
from tunnel.keys import PublicKey
from tunnel.pki.problem import Problem

PEER = PublicKey(bytes([7] * 32))
UNIX_NOW = 1_700_000_000.25


def _feed() -> EventFeed:
    return EventFeed("wg0", lambda: UNIX_NOW)


@contextlib.asynccontextmanager
async def _telling(feed: EventFeed, directory: Path, limits: Limits | None = None) -> Any:
    control = ControlSocket("wg0", RecordingHandler(), directory, limits, feed)
    await control.open()
    try:
        yield control
    finally:
        await control.close()


@contextlib.asynccontextmanager
async def _client(directory: Path) -> Any:
    """A connection that has been told that it listens."""
    reader, writer = await asyncio.open_unix_connection(directory / "wg0.sock")
    try:
        async with asyncio.timeout(10):
            writer.write(b"events=1\n\n")
            assert await reader.readuntil(b"\n\n") == b"errno=0\n\n"
            assert json.loads(await reader.readline())["event"] == "listening"
            yield reader, writer
    finally:
        writer.close()


# ---- the feed ---------------------------------------------------------------------------------------------------


async def test_an_event_is_one_line_of_json_with_time_and_interface() -> None:
    feed = _feed()
    with feed.listening() as listener:
        await listener.heard()
        feed.tell("roamed", peer=PEER, name=None, endpoint=Endpoint("192.0.2.1", 1), before=None)
        assert (await listener.heard()).splitlines() == [
            '{"version":1,"time":"2023-11-14T22:13:20.250Z","interface":"wg0","event":"roamed","peer":'
            f'"{PEER}","name":null,"endpoint":"192.0.2.1:1","before":null}}'
        ]


async def test_reasons_are_told_by_their_names_and_words_stay_on_one_line() -> None:
    feed = _feed()
    with feed.listening() as listener:
        await listener.heard()
        feed.tell("refused", peer=None, dialled_as=None, endpoint=None, reason=Problem.EXPIRED, why="a\nb\u2028")
        line = await listener.heard()
    assert len(line.splitlines()) == 1
    assert json.loads(line)["reason"] == "expired"


async def test_who_comes_later_does_not_hear_what_was() -> None:
    feed = _feed()
    feed.tell("under_load", is_under_load=True)
    with feed.listening() as listener:
        assert '"listening"' in await listener.heard()
        feed.tell("under_load", is_under_load=False)
        assert json.loads(await listener.heard())["is_under_load"] is False


def test_while_nobody_listens_nothing_is_put_into_words() -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise AssertionError("was asked for its words")

    feed = _feed()
    feed.tell("under_load", is_under_load=Unspeakable())
    assert not feed.is_heard


def test_the_first_of_several_who_listen_is_announced() -> None:
    feed, begun = _feed(), []
    feed.on_first = lambda: begun.append(feed.is_heard)
    with feed.listening(), feed.listening():
        pass
    assert begun == [False]


async def test_a_listener_that_does_not_hear_is_bounded_and_ended() -> None:
    feed = _feed()
    with feed.listening() as deaf, feed.listening() as other:
        await other.heard()
        for _ in range(CAPACITY):
            feed.tell("under_load", is_under_load=True)
        assert await deaf.heard() == ""
        assert await deaf.heard() == ""
        assert (await other.heard()).count("\n") == CAPACITY


# ---- the control socket -----------------------------------------------------------------------------------------


async def test_clients_hear_what_happens_as_it_happens(tmp_path: Path) -> None:
    feed = _feed()
    async with _telling(feed, tmp_path), _client(tmp_path) as (first, _), _client(tmp_path) as (second, _):
        feed.tell("under_load", is_under_load=True)
        for reader in (first, second):
            assert json.loads(await reader.readline())["is_under_load"] is True


async def test_a_client_that_hangs_up_is_forgotten(tmp_path: Path) -> None:
    feed = _feed()
    async with _telling(feed, tmp_path):
        async with _client(tmp_path):
            assert feed.is_heard
        async with asyncio.timeout(10):
            while feed.is_heard:
                await asyncio.sleep(0)


async def test_a_client_that_asks_for_more_is_hung_up_on(tmp_path: Path) -> None:
    async with _telling(_feed(), tmp_path), _client(tmp_path) as (reader, writer):
        writer.write(b"status=1\n\n")
        with contextlib.suppress(ConnectionResetError):  # what we sent was not read
            assert await reader.read() == b""


async def test_a_client_that_does_not_read_is_cut_off(tmp_path: Path) -> None:
    feed = _feed()
    async with _telling(feed, tmp_path, Limits(answer_seconds=0.05)):
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.setblocking(False)
            deaf.connect(str(tmp_path / "wg0.sock"))
            deaf.send(b"events=1\n\n")
            async with asyncio.timeout(10):
                while not feed.is_heard:
                    await asyncio.sleep(0)
                while feed.is_heard:
                    feed.tell("under_load", is_under_load=True)
                    await asyncio.sleep(0)


async def test_listeners_give_way_to_those_who_ask(tmp_path: Path) -> None:
    async with _telling(_feed(), tmp_path, Limits(clients=2)), _client(tmp_path), _client(tmp_path):
        assert (await ask(tmp_path, b"get=1\n\n")).endswith(b"errno=0\n\n")


async def test_listeners_stay_as_long_as_there_are_others_who_say_nothing(tmp_path: Path) -> None:
    feed = _feed()
    async with _telling(feed, tmp_path, Limits(clients=2)), _client(tmp_path), asyncio.timeout(10):
        for _ in range(3):
            reader, writer = await asyncio.open_unix_connection(tmp_path / "wg0.sock")
            assert (await ask(tmp_path, b"get=1\n\n")).endswith(b"errno=0\n\n")
            assert await reader.read() == b""
            writer.close()
        assert feed.is_heard


async def test_events_take_nothing_more(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path):
        assert b"errno=22\n\n" in await ask(tmp_path, b"events=1\nall=1\n\n")


async def test_closing_hangs_up_on_listeners(tmp_path: Path) -> None:
    async with _telling(_feed(), tmp_path) as control, _client(tmp_path) as (reader, _):
        await control.close()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""


def test_an_event_without_one_of_its_members_is_a_bug() -> None:
    feed = _feed()
    with feed.listening(), pytest.raises(AssertionError, match="under_load"):
        feed.tell("under_load")

"""The system's resolver answers as it does for the host, and cannot keep the process from ending."""

import asyncio
import subprocess
import sys
from ipaddress import ip_address
from threading import Event

import pytest

from tunnel.daemon.dns import AT_ONCE, SystemDns
from tunnel.endpoint import Endpoint, EndpointName

NAME = EndpointName("vpn.example.com", 7)
ADDRESS = (2, 2, 17, "", ("192.0.2.1", 7))


async def test_addresses_and_zones_are_looked_up_without_dns() -> None:
    assert await SystemDns()(EndpointName("fe80::1%lo", 7)) == (Endpoint("fe80::1", 7, 1),)


async def test_names_are_looked_up_as_the_host_does() -> None:
    found = await SystemDns()(EndpointName("localhost", 7))
    assert found
    assert all(ip_address(endpoint.host).is_loopback for endpoint in found)


async def test_a_name_that_cannot_be_a_name_is_an_os_error() -> None:
    with pytest.raises(OSError, match="not a valid DNS name"):
        await SystemDns()(EndpointName("ä" * 300, 7))


async def test_a_refusal_is_an_os_error() -> None:
    def refuse(*_: object, **__: object) -> list[tuple[object, ...]]:
        raise OSError(-2, "Name or service not known")

    with pytest.raises(OSError, match="Name or service not known"):
        await SystemDns(refuse)(NAME)


async def test_no_answer_is_an_os_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunnel.daemon.dns.LOOKUP_TIMEOUT", 0.01)
    answered = Event()

    def wait(*_: object, **__: object) -> list[tuple[object, ...]]:
        answered.wait()
        return []

    with pytest.raises(OSError, match="no answer in time"):
        await SystemDns(wait)(NAME)
    answered.set()


async def test_silent_servers_hold_up_only_so_many_questions_until_they_answer() -> None:
    answered, asked = Event(), []

    def wait(*_: object, **__: object) -> list[tuple[object, ...]]:
        asked.append(1)
        answered.wait()
        return [ADDRESS]

    dns = SystemDns(wait)
    abandoned = [asyncio.ensure_future(dns(NAME)) for _ in range(AT_ONCE)]
    waiting = asyncio.ensure_future(dns(NAME))
    while len(asked) < AT_ONCE:
        await asyncio.sleep(0)
    for question in abandoned:
        question.cancel()
    await asyncio.gather(*abandoned, return_exceptions=True)
    assert not waiting.done()
    answered.set()
    assert await waiting == (Endpoint("192.0.2.1", 7),)
    assert len(asked) == AT_ONCE + 1


def test_a_process_ends_while_a_question_is_unanswered() -> None:
    code = (
        "import asyncio, threading, uvloop\n"
        "from tunnel.daemon.dns import SystemDns\n"
        "from tunnel.endpoint import EndpointName\n"
        "async def main():\n"
        "    asked = asyncio.Event()\n"
        "    loop = asyncio.get_running_loop()\n"
        "    def ask(*_, **__):\n"
        "        loop.call_soon_threadsafe(asked.set)\n"
        "        threading.Event().wait()\n"
        "    question = asyncio.ensure_future(SystemDns(ask)(EndpointName('vpn.example.com', 7)))\n"
        "    await asked.wait()\n"
        "with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:\n"
        "    runner.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")

import logging

import pytest

from tests.unit.protocol.pairs import create_pair
from tunnel.control.events import Listener
from tunnel.daemon.key_log import KeyLog
from tunnel.keys import PresharedKey
from tunnel.testing.network import Network, SimulatedHost

PSK = PresharedKey(b"k" * 32)


def handshake(network: Network, left: SimulatedHost, right: SimulatedHost) -> None:
    left.send_to(right, b"hello")
    network.run(1)


async def names_heard(listener: Listener) -> list[str]:
    return [line.partition("=")[0] for line in (await listener.heard()).split("\n")]


async def test_who_listens_hears_the_lines_of_a_handshake_and_an_empty_one() -> None:
    network, left, right = create_pair(psk=PSK)
    with KeyLog("wg0", left.device).listening() as listener:
        handshake(network, left, right)
        assert await names_heard(listener) == [
            "REMOTE_STATIC_PUBLIC_KEY",
            "LOCAL_EPHEMERAL_PRIVATE_KEY",
            "PRESHARED_KEY",
            "",
            "",
        ]


async def test_no_preshared_key_is_no_line() -> None:
    network, left, right = create_pair()
    with KeyLog("wg0", left.device).listening() as listener:
        handshake(network, left, right)
        assert "PRESHARED_KEY" not in await names_heard(listener)


def test_the_device_tells_nobody_before_and_after() -> None:
    _, left, _ = create_pair()
    keys = KeyLog("wg0", left.device)
    assert left.device.key_log is None
    with keys.listening():
        with keys.listening():
            pass
        assert left.device.key_log is not None
    assert left.device.key_log is None


def test_beginning_and_end_are_in_the_log_and_no_key_is(caplog: pytest.LogCaptureFixture) -> None:
    network, left, right = create_pair(psk=PSK)
    with caplog.at_level(logging.DEBUG), KeyLog("wg0", left.device).listening():
        handshake(network, left, right)
    assert [(record.levelno, record.message) for record in caplog.records] == [
        (logging.WARNING, "SECRETS of wg0 are being recorded: its keys are told to tunnel capture --keys"),
        (logging.WARNING, "secrets of wg0: a recording has ended, 0 go on"),
    ]

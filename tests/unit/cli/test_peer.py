import asyncio
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest
from click.testing import Result

from tests.unit.cli.invoking import error_of, invoke
from tests.unit.control.handler import PEER, PRIVATE_KEY, RecordingHandler, serving
from tunnel.config.patch import AllowedIPChange, PeerPatch
from tunnel.endpoint import Endpoint
from tunnel.keys import PresharedKey

NETWORK = ip_network("10.0.0.3/32")
PSK = PresharedKey(bytes([5]) * 32)


@pytest.fixture
def handler() -> RecordingHandler:
    """One peer, that has 10.9.0.0/16."""
    handler = RecordingHandler()
    handler.peers = (replace(handler.peers[0], allowed_ips=(ip_network("10.9.0.0/16"),)),)
    return handler


async def peer(handler: RecordingHandler, directory: Path, *arguments: str) -> Result:
    async with serving(handler, directory):
        return await asyncio.to_thread(invoke, "peer", *arguments, directory=directory)


async def test_a_peer_is_added_with_all_that_is_said_of_it(handler: RecordingHandler, tmp_path: Path) -> None:
    file = tmp_path / "psk"
    file.write_text(PSK.to_base64() + "\n")
    options = (
        f"--endpoint [2001:db8::1]:5 --allowed-ips 10.0.0.3/32,fd00::/64 --keepalive 25 --preshared-key-file {file}"
    )
    result = await peer(handler, tmp_path, "add", "wg0", str(PEER), *options.split())
    assert (result.exit_code, result.output) == (0, "")
    (patch,) = handler.patches
    assert patch.peers == (
        PeerPatch(
            PEER,
            preshared_key=PSK,
            endpoint=Endpoint("2001:db8::1", 5),
            persistent_keepalive=25,
            replace_allowed_ips=True,
            allowed_ips=(AllowedIPChange(NETWORK), AllowedIPChange(ip_network("fd00::/64"))),
        ),
    )


async def test_a_peer_is_removed(handler: RecordingHandler, tmp_path: Path) -> None:
    known = handler.peers[0].public_key
    result = await peer(handler, tmp_path, "remove", "wg0", str(known))
    assert (result.exit_code, result.output) == (0, "")
    assert handler.patches[0].peers == (PeerPatch(known, remove=True),)


OWN = str(PRIVATE_KEY.public_key)
KNOWN = str(RecordingHandler().peers[0].public_key)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (f"add wg0 {OWN}", f"wg0: '{OWN}': our own public key; we cannot be our own peer"),
        (f"add wg0 {KNOWN}", f"wg0: '{KNOWN}' is a peer already"),
        (
            f"add wg0 {PEER} --allowed-ips 10.8.0.0/16,10.9.0.0/16",
            f"wg0: 10.9.0.0/16 belongs to the peer {KNOWN} already",
        ),
        (f"remove wg0 {PEER}", f"wg0: '{PEER}' is no peer"),
        (f"add wg0 {PEER} --allowed-ips 10.0.0.0/33", "--allowed-ips: '10.0.0.0/33': prefix longer than 32"),
        (f"add wg0 {PEER} --allowed-ips ,", "--allowed-ips: '': nothing between two commas"),
        (f"add wg0 {PEER} --endpoint nowhere", "--endpoint: 'nowhere': expected host:port"),
        (f"add wg0 {PEER} --keepalive often", "--keepalive: 'often': not a number"),
        (f"add wg0 {PEER} --preshared-key-file /absent", "/absent: No such file or directory"),
    ],
)
async def test_what_does_not_fit_is_refused_in_one_line(
    handler: RecordingHandler, tmp_path: Path, arguments: str, why: str
) -> None:
    assert error_of(await peer(handler, tmp_path, *arguments.split())) == why
    assert handler.patches == []


async def test_a_bad_key_is_not_quoted(handler: RecordingHandler, tmp_path: Path) -> None:
    secret = PRIVATE_KEY.to_base64()[:-2]
    message = error_of(await peer(handler, tmp_path, "add", "wg0", secret))
    assert message.startswith("KEY: ")
    assert secret not in message
    file = tmp_path / "psk"
    file.write_text(secret)
    message = error_of(await peer(handler, tmp_path, "add", "wg0", str(PEER), "--preshared-key-file", str(file)))
    assert message.startswith(f"{file}: ")
    assert secret not in message


def test_nothing_under_that_name_is_said(tmp_path: Path) -> None:
    assert error_of(invoke("peer", "add", "wg0", str(PEER), directory=tmp_path)) == "nothing runs as wg0"

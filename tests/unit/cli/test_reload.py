import asyncio
from pathlib import Path

import pytest

from tests.unit.cli.foreign import foreign_daemon
from tests.unit.cli.invoking import error_of, invoke
from tests.unit.control.handler import RecordingHandler, answering, serving
from tunnel.control.reload_request import ReloadRequest
from tunnel.errors import ConfigError


@pytest.mark.parametrize("target", ["wg0", "./some/wg0.conf"])
async def test_the_process_reads_again_and_nothing_is_said(tmp_path: Path, target: str) -> None:
    handler = RecordingHandler()
    async with serving(handler, tmp_path):
        result = await asyncio.to_thread(invoke, "reload", target, directory=tmp_path)
    assert (result.exit_code, result.output) == (0, "")
    assert handler.reloads == [ReloadRequest()]


async def test_what_is_wrong_is_said_as_the_process_says_it(tmp_path: Path) -> None:
    handler = RecordingHandler()
    handler.refusal = ConfigError("certificate expired", source="/etc/tunnel/identity.pem")
    async with serving(handler, tmp_path):
        result = await asyncio.to_thread(invoke, "reload", "wg0", directory=tmp_path)
    assert error_of(result) == "/etc/tunnel/identity.pem: certificate expired"


def test_a_process_from_before_an_upgrade_does_not_know_it(tmp_path: Path) -> None:
    with answering(tmp_path, b"errno=-71\n\n"):
        message = error_of(invoke("reload", "wg0", directory=tmp_path))
    assert message == "the process that runs wg0 does not know reload: restart it"


def test_another_implementation_does_not_know_it(tmp_path: Path) -> None:
    with foreign_daemon(tmp_path):
        message = error_of(invoke("reload", "wg0", directory=tmp_path))
    assert message == "the process that runs wg0 does not know reload: restart it"


def test_nothing_under_that_name_is_said(tmp_path: Path) -> None:
    assert error_of(invoke("reload", "wg0", directory=tmp_path)) == "nothing runs as wg0"


async def test_a_dry_run_prints_what_would_change(tmp_path: Path) -> None:
    handler = RecordingHandler()
    handler.changes = ["~ port 1 → 2", "+ route 10.0.0.0/8"]
    async with serving(handler, tmp_path):
        result = await asyncio.to_thread(invoke, "reload", "wg0", "--dry-run", "--confirm", "60s", directory=tmp_path)
    assert result.output == "~ port 1 → 2\n+ route 10.0.0.0/8\n"
    assert handler.reloads == [ReloadRequest(dry_run=True, confirm=60)]


def test_seconds_that_are_none_are_said_before_anybody_is_asked(tmp_path: Path) -> None:
    message = error_of(invoke("reload", "wg0", "--confirm", "soon", directory=tmp_path))
    assert message == "--confirm: 'soon': not a number of seconds from 1 to 86400"


@pytest.mark.parametrize("command", ["confirm", "save"])
async def test_what_follows_a_change_is_asked_for(tmp_path: Path, command: str) -> None:
    handler = RecordingHandler()
    async with serving(handler, tmp_path):
        assert (await asyncio.to_thread(invoke, command, "wg0", directory=tmp_path)).output == ""
        handler.refusal = ConfigError("no", source="wg0.conf")
        refused = await asyncio.to_thread(invoke, command, "wg0", directory=tmp_path)
    assert error_of(refused) == "wg0.conf: no"
    assert handler.calls == [command]

import asyncio
import errno
import os
import socket
from pathlib import Path

import pytest

from tests.unit.control.handler import RecordingHandler, answering, serving
from tunnel.control.uapi_client import ControlClient, daemon_pid, is_answered, list_interfaces, request
from tunnel.errors import ControlError


async def test_an_answer_comes_without_its_errno(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path):
        answer = await asyncio.to_thread(request, "wg0", "status=1\n\n", directory=tmp_path)
    assert answer == RecordingHandler().status().to_json() + "\n"


async def test_one_client_may_ask_several_times(tmp_path: Path) -> None:
    def ask_twice() -> list[str]:
        with ControlClient.connect("wg0", tmp_path) as client:
            return [client.request("get=1\n\n"), client.request("get=1\n\n")]

    async with serving(RecordingHandler(), tmp_path):
        first, second = await asyncio.to_thread(ask_twice)
    assert first == second != ""


async def test_the_listener_is_known_by_its_pid(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path):
        assert daemon_pid("wg0", tmp_path) == os.getpid()


@pytest.mark.parametrize("sign", ["", "-"])
def test_an_errno_of_either_sign_is_raised(tmp_path: Path, sign: str) -> None:
    with answering(tmp_path, f"errno={sign}{errno.EADDRINUSE}\n\n".encode()), pytest.raises(ControlError) as refused:
        request("wg0", "set=1\n\n", directory=tmp_path)
    assert refused.value.errno == errno.EADDRINUSE


def test_what_was_wrong_is_said_if_the_answer_says_it(tmp_path: Path) -> None:
    answer = "error=me.pem: für heute: errno=0 und Schluss\nerrno=22\n\n".encode()
    with answering(tmp_path, answer), pytest.raises(ControlError) as refused:
        request("wg0", "reload=1\n\n", directory=tmp_path)
    assert str(refused.value) == "me.pem: für heute: errno=0 und Schluss"
    assert refused.value.errno == errno.EINVAL


def test_an_answer_does_not_get_at_the_terminal(tmp_path: Path) -> None:
    with answering(tmp_path, b"error=\x1b[2J\xff\nmore\nerrno=22\n\n"), pytest.raises(ControlError) as refused:
        request("wg0", "reload=1\n\n", directory=tmp_path)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("answer", [b"", b"hello\n\n", b"errno=\n\n", b"errno=x\n\n", b"\xff\xfe\n\n"])
def test_what_is_no_answer_is_a_protocol_error(tmp_path: Path, answer: bytes) -> None:
    with answering(tmp_path, answer), pytest.raises(ControlError, match="does not understand") as refused:
        request("wg0", "status=1\n\n", directory=tmp_path)
    assert refused.value.errno == errno.EPROTO


def test_nobody_under_that_name_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="nothing runs as wg0") as refused:
        request("wg0", "get=1\n\n", directory=tmp_path)
    assert refused.value.errno == errno.ENOENT


def test_a_process_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stuck:
        stuck.bind(str(tmp_path / "wg0.sock"))
        stuck.listen()
        with pytest.raises(ControlError, match="does not answer") as refused:
            request("wg0", "get=1\n\n", timeout=0.01, directory=tmp_path)
    assert refused.value.errno == errno.ETIMEDOUT


def test_a_process_too_busy_to_accept_is_still_alive(tmp_path: Path) -> None:
    path = tmp_path / "wg0.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        assert is_answered(path)


def test_only_sockets_that_are_answered_are_listed(tmp_path: Path) -> None:
    (tmp_path / "file.sock").touch()
    with socket.socket(socket.AF_UNIX) as live, socket.socket(socket.AF_UNIX) as other:
        live.bind(str(tmp_path / "wg1.sock"))
        other.bind(str(tmp_path / "wg0.sock"))
        live.listen()
        other.listen()
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(tmp_path / "dead.sock"))
        assert list_interfaces(tmp_path) == ["wg0", "wg1"]


def test_no_directory_means_no_interfaces(tmp_path: Path) -> None:
    assert list_interfaces(tmp_path / "absent") == []

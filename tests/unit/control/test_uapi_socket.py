import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from tests.unit.control.handler import PEER, PRIVATE_KEY, RecordingHandler, ask, serving
from tunnel.control.reload_request import ReloadRequest
from tunnel.control.status import InterfaceStatus
from tunnel.control.uapi_client import request
from tunnel.control.uapi_socket import SHORT_REQUEST, ControlSocket, Limits
from tunnel.errors import ConfigError, ControlError, NetlinkError, UdpSocketError

SET_PEER = f"set=1\npublic_key={PEER.to_hex()}\nallowed_ip=10.0.0.0/24\n\n".encode()
LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, uvloop.new_event_loop]


# ---- requests ---------------------------------------------------------------------------------------------------


async def test_get_is_answered_with_the_device(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path):
        answer = await ask(tmp_path, b"get=1\n\n")
    assert answer.startswith(f"private_key={PRIVATE_KEY.to_hex()}\nlisten_port=51820\n".encode())
    assert answer.endswith(b"\nerrno=0\n\n")


async def test_set_is_applied_and_answered(tmp_path: Path) -> None:
    handler = RecordingHandler()
    async with serving(handler, tmp_path):
        assert await ask(tmp_path, SET_PEER) == b"errno=0\n\n"
    assert [patch.peers[0].public_key for patch in handler.patches] == [PEER]


async def test_an_empty_set_changes_nothing_and_succeeds(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path):
        assert await ask(tmp_path, b"set=1\n\n") == b"errno=0\n\n"


async def test_status_is_answered_with_one_line_of_json(tmp_path: Path) -> None:
    handler = RecordingHandler()
    async with serving(handler, tmp_path):
        line, rest = (await ask(tmp_path, b"status=1\n\n")).decode().split("\n", 1)
    assert InterfaceStatus.from_json(line) == handler.status()
    assert rest == "errno=0\n\n"


async def test_a_connection_carries_several_requests(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path):
        answers = await ask(tmp_path, SET_PEER, b"get=1\n\n", SET_PEER)
    assert answers.count(b"errno=0\n\n") == 3


async def test_requests_sent_at_once_are_answered_in_order(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path):
        assert await ask(tmp_path, b"set=1\n\nstatus=1\n\n", b"") == (
            b"errno=0\n\n" + RecordingHandler().status().to_json().encode() + b"\nerrno=0\n\n"
        )


async def test_a_request_may_come_in_pieces(tmp_path: Path) -> None:
    handler = RecordingHandler()
    async with serving(handler, tmp_path):
        reader, writer = await asyncio.open_unix_connection(tmp_path / "wg0.sock")
        for byte in SET_PEER:
            writer.write(bytes([byte]))
            await writer.drain()
        assert await reader.readuntil(b"\n\n") == b"errno=0\n\n"
        writer.close()
    assert len(handler.patches) == 1


async def test_ten_thousand_peers_are_set_and_told(tmp_path: Path) -> None:
    peers = b"".join(
        b"public_key=%064x\nreplace_allowed_ips=true\nallowed_ip=10.%d.%d.0/24\n" % (number, number >> 8, number & 255)
        for number in range(1, 10001)
    )
    handler = RecordingHandler(peers=10000)
    async with serving(handler, tmp_path):
        assert await ask(tmp_path, b"set=1\n" + peers + b"\n") == b"errno=0\n\n"
        assert (await ask(tmp_path, b"get=1\n\n")).count(b"public_key=") == 10000
    assert len(handler.patches[0].peers) == 10000


# ---- what is refused --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "number"),
    [
        (b"set=1\nlisten_port=70000\n\n", errno.EINVAL),
        (b"set=1\nno equals sign\n\n", errno.EPROTO),
        (b"set=1\nlisten_port=\xb2\n\n", errno.EINVAL),
        (b"\n\n", errno.EPROTO),
        (b"frobnicate=1\n\n", errno.EPROTO),
        (b"GET / HTTP/1.1\r\n", errno.EPROTO),
    ],
)
async def test_what_is_wrong_gets_a_negative_errno(tmp_path: Path, request_: bytes, number: int) -> None:
    handler = RecordingHandler()
    async with serving(handler, tmp_path):
        assert await ask(tmp_path, request_) == f"errno=-{number}\n\n".encode()
    assert not handler.patches


async def test_a_get_with_a_body_gets_a_positive_errno(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path):
        assert await ask(tmp_path, b"get=1\nlisten_port=1\n\n") == f"errno={errno.EINVAL}\n\n".encode()


async def test_a_set_that_is_cut_off_is_not_applied(tmp_path: Path) -> None:
    handler = RecordingHandler()
    async with serving(handler, tmp_path):
        answer = await ask(tmp_path, SET_PEER[:-1], half_close=True)
    assert answer == f"errno=-{errno.EPROTO}\n\n".encode()
    assert not handler.patches


async def test_a_request_that_is_too_long_is_refused(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path, Limits(request_size=1000)):
        answer = await ask(tmp_path, b"set=1\n" + b"listen_port=1\n" * 200)
    assert answer == f"errno=-{errno.EMSGSIZE}\n\n".encode()


@pytest.mark.parametrize(
    ("refusal", "number"),
    [
        (UdpSocketError("port 51820 is taken", errno.EADDRINUSE), errno.EADDRINUSE),
        (UdpSocketError("refused by no kernel"), errno.EIO),
        (ConfigError("impossible"), errno.EINVAL),
        (AssertionError("a bug"), errno.EIO),
    ],
)
async def test_a_patch_that_the_daemon_refuses_gets_its_errno(tmp_path: Path, refusal: Exception, number: int) -> None:
    handler = RecordingHandler()
    handler.refusal = refusal
    async with serving(handler, tmp_path):
        assert await ask(tmp_path, SET_PEER) == f"errno=-{number}\n\n".encode()
        handler.refusal = None
        assert await ask(tmp_path, SET_PEER) == b"errno=0\n\n"


async def test_reload_is_done_and_answered(tmp_path: Path) -> None:
    handler = RecordingHandler()
    async with serving(handler, tmp_path):
        assert await ask(tmp_path, b"reload=1\n\n") == b"errno=0\n\n"
    assert handler.reloads == [ReloadRequest()]


@pytest.mark.parametrize(
    ("refusal", "answer"),
    [
        (ConfigError("expired", source="me.pem"), "error=me.pem: expired\nerrno=22\n\n"),
        (ConfigError("expired", source="m\n\ne.pem\udcff"), "error=m e.pem\\udcff: expired\nerrno=22\n\n"),
        (NetlinkError("no room for a route", errno.ENOSPC), "error=no room for a route\nerrno=28\n\n"),
        (AssertionError("a bug"), "errno=5\n\n"),
    ],
    ids=["of a file", "of a file with a strange name", "of the kernel", "by a bug"],
)
async def test_a_reload_that_is_refused_says_why_in_one_line(tmp_path: Path, refusal: Exception, answer: str) -> None:
    handler = RecordingHandler()
    handler.refusal = refusal
    async with serving(handler, tmp_path):
        assert await ask(tmp_path, b"reload=1\n\n") == answer.encode()
        handler.refusal = None
        assert await ask(tmp_path, b"reload=1\n\n") == b"errno=0\n\n"


async def test_a_reload_takes_what_is_asked_for_and_answers_a_line_for_each_change(tmp_path: Path) -> None:
    handler = RecordingHandler()
    handler.changes = ["~ port 1 → 2", "+ peer x"]
    async with serving(handler, tmp_path):
        answer = await ask(tmp_path, b"reload=1\ndry_run=true\nconfirm=60\n\n")
    assert answer.decode() == "change=~ port 1 → 2\nchange=+ peer x\nerrno=0\n\n"
    assert handler.reloads == [ReloadRequest(dry_run=True, confirm=60)]


@pytest.mark.parametrize("operation", ["confirm", "save"])
async def test_what_follows_a_change_is_done_or_refused_in_one_line(tmp_path: Path, operation: str) -> None:
    handler = RecordingHandler()
    request = f"{operation}=1\n\n".encode()
    async with serving(handler, tmp_path):
        assert await ask(tmp_path, request) == b"errno=0\n\n"
        assert await ask(tmp_path, f"{operation}=1\nx=1\n\n".encode()) == f"errno={errno.EINVAL}\n\n".encode()
        handler.refusal = ConfigError("no", source="wg0.conf")
        assert await ask(tmp_path, request) == b"error=wg0.conf: no\nerrno=22\n\n"
    assert handler.calls == [operation]


async def test_a_reload_takes_nothing_unknown(tmp_path: Path) -> None:
    handler = RecordingHandler()
    async with serving(handler, tmp_path):
        assert await ask(tmp_path, b"reload=1\nforce=true\n\n") == f"errno={errno.EINVAL}\n\n".encode()
    assert handler.reloads == []


async def test_a_reload_waits_for_the_patch_that_is_being_applied(tmp_path: Path) -> None:
    handler = RecordingHandler()
    handler.hold = asyncio.Event()
    async with serving(handler, tmp_path):
        patching = asyncio.create_task(ask(tmp_path, SET_PEER))
        await handler.applying.wait()
        reloading = asyncio.create_task(ask(tmp_path, b"reload=1\n\n"))
        await ask(tmp_path, b"status=1\n\n")  # that of another caller, and yet answered after ours was taken up
        assert handler.reloads == []
        handler.hold.set()
        assert list(await asyncio.gather(patching, reloading)) == [b"errno=0\n\n"] * 2
    assert handler.reloads == [ReloadRequest()]


# ---- callers that misbehave -------------------------------------------------------------------------------------


async def test_a_client_that_never_finishes_is_cut_off(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path, Limits(request_seconds=0.01)):
        assert await ask(tmp_path, b"set=1\nlisten_") == b""


async def test_a_client_that_never_reads_is_cut_off(tmp_path: Path) -> None:
    async def ask_and_ask(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"get=1\n\n" * 1000)
            await writer.drain()

    async with serving(RecordingHandler(peers=2000), tmp_path, Limits(answer_seconds=0.01)):
        _, writer = await asyncio.open_unix_connection(tmp_path / "wg0.sock", limit=1)
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(ask_and_ask(writer), timeout=10)


async def test_of_too_many_clients_the_one_silent_for_longest_has_to_go(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path, Limits(clients=2)):
        path = tmp_path / "wg0.sock"
        first, second, third = [await asyncio.open_unix_connection(path) for _ in range(3)]
        async with asyncio.timeout(10):
            assert await first[0].read() == b""
        for reader, writer in (second, third):
            writer.write(b"set=1\n\n")
            assert await reader.readuntil(b"\n\n") == b"errno=0\n\n"
        for _, writer in (first, second, third):
            writer.close()


async def test_two_hundred_clients_at_once_are_all_served(tmp_path: Path) -> None:
    requests = (SET_PEER, b"get=1\n\n", b"status=1\n\n")
    async with serving(RecordingHandler(), tmp_path):
        idle = [await asyncio.open_unix_connection(tmp_path / "wg0.sock") for _ in range(50)]
        answers = await asyncio.gather(*(ask(tmp_path, requests[number % 3]) for number in range(200)))
        for _, writer in idle:
            writer.close()
    assert all(answer.endswith(b"errno=0\n\n") for answer in answers)


async def test_few_long_requests_are_read_at_a_time_and_short_ones_beside_them(tmp_path: Path) -> None:
    """Who never finishes a long one must not cost more than the memory of a few."""
    long = b"set=1\n" + b"listen_port=1\n" * 100_000
    async with serving(RecordingHandler(), tmp_path, Limits(long_requests=1)), asyncio.timeout(10):
        path = tmp_path / "wg0.sock"
        (_, first), (reader, second) = [await asyncio.open_unix_connection(path) for _ in range(2)]
        first.write(long)
        await first.drain()
        second.write(long + b"\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await second.drain()
        assert await ask(tmp_path, SET_PEER) == b"errno=0\n\n"
        first.close()
        assert await reader.readuntil(b"\n\n") == b"errno=0\n\n"
        second.close()


@pytest.mark.parametrize("size", [SHORT_REQUEST - 1, SHORT_REQUEST, SHORT_REQUEST + 1, 3 * SHORT_REQUEST])
async def test_what_follows_a_long_request_is_a_request_of_its_own(tmp_path: Path, size: int) -> None:
    lines = b"listen_port=1\n" * size
    long = lines[-size:].partition(b"\n")[2]
    async with serving(RecordingHandler(), tmp_path):
        answers = await ask(tmp_path, b"set=1\n" + long + b"\nset=1\n\n", b"")
    assert answers == b"errno=0\n\n" * 2


async def test_a_client_whose_patch_is_being_applied_stays(tmp_path: Path) -> None:
    handler = RecordingHandler()
    handler.hold = asyncio.Event()
    async with serving(handler, tmp_path, Limits(clients=1)):
        path = tmp_path / "wg0.sock"
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(SET_PEER)
        await handler.applying.wait()
        late_reader, late_writer = await asyncio.open_unix_connection(path)
        async with asyncio.timeout(10):
            assert await late_reader.read() == b""
            handler.hold.set()
            assert await reader.readuntil(b"\n\n") == b"errno=0\n\n"
        writer.close()
        late_writer.close()


async def test_patches_of_two_callers_never_overlap(tmp_path: Path) -> None:
    class Overlap(RecordingHandler):
        inside = 0

        async def apply(self, patch: object) -> None:
            assert self.inside == 0
            self.inside += 1
            for _ in range(10):
                await asyncio.sleep(0)
            self.inside -= 1

    async with serving(Overlap(), tmp_path):
        answers = await asyncio.gather(*(ask(tmp_path, SET_PEER) for _ in range(5)))
    assert answers == [b"errno=0\n\n"] * 5


# ---- the file ---------------------------------------------------------------------------------------------------


async def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path) as control:
        mode = control.path.stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert mode & 0o077 == 0


async def test_the_umask_is_as_before(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        async with serving(RecordingHandler(), tmp_path):
            assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


async def test_the_directory_is_made(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path / "run" / "wireguard") as control:
        assert control.path.is_socket()


async def test_a_file_that_nobody_answers_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / "wg0.sock"))
    async with serving(RecordingHandler(), tmp_path):
        assert await ask(tmp_path, b"set=1\n\n") == b"errno=0\n\n"


async def test_a_live_one_is_left_alone_and_named(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path):
        with pytest.raises(ControlError, match=f"wg0 is already run by process {os.getpid()}") as refused:
            await ControlSocket("wg0", RecordingHandler(), tmp_path).open()
        assert refused.value.errno == errno.EADDRINUSE
        assert await ask(tmp_path, b"set=1\n\n") == b"errno=0\n\n"


async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "wg0.sock").write_text("precious")
    with pytest.raises(ControlError, match="is not a socket"):
        await ControlSocket("wg0", RecordingHandler(), tmp_path).open()
    assert (tmp_path / "wg0.sock").read_text() == "precious"


async def test_a_directory_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "else")
    for name in ("file", "link"):
        with pytest.raises(ControlError, match=f"/{name} is in the way: it is not a directory"):
            await ControlSocket("wg0", RecordingHandler(), tmp_path / name).open()
    with pytest.raises(ControlError, match=r"wg0\.sock: Not a directory") as refused:
        await ControlSocket("wg0", RecordingHandler(), tmp_path / "file" / "below").open()
    assert refused.value.errno == errno.ENOTDIR


async def test_closing_removes_the_file_and_hangs_up(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path) as control:
        reader, writer = await asyncio.open_unix_connection(control.path)
        writer.write(b"set=1\n\n")
        await reader.readuntil(b"\n\n")
        await control.close()
        assert await reader.read() == b""
        assert not control.path.exists()
        writer.close()


async def test_closing_leaves_the_file_of_a_successor(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path) as control:
        control.path.unlink()
        async with serving(RecordingHandler(), tmp_path):
            await control.close()
            assert await ask(tmp_path, b"set=1\n\n") == b"errno=0\n\n"


# ---- another name -----------------------------------------------------------------------------------------------


async def test_a_renamed_socket_goes_on_under_its_new_name_alone(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path) as control, asyncio.timeout(10):
        watcher = asyncio.create_task(control.wait_unlinked())
        await asyncio.sleep(0)
        control.rename("office")
        assert [path.name for path in tmp_path.iterdir()] == ["office.sock"]
        async with serving(RecordingHandler(), tmp_path):  # somebody else may have the old name
            assert not watcher.done()
            control.path.unlink()
            await watcher


async def test_a_renamed_socket_is_removed_in_the_end(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path) as control:
        control.rename("office")
        assert stat.S_IMODE(control.path.stat().st_mode) & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


async def test_what_a_killed_process_left_is_not_in_the_way(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / "office.sock"))
    async with serving(RecordingHandler(), tmp_path) as control:
        control.rename("office")
        assert (await asyncio.to_thread(request, "office", "set=1\n\n", directory=tmp_path)) == ""


async def test_where_the_new_name_is_taken_the_old_one_stays(tmp_path: Path) -> None:
    other = ControlSocket("office", RecordingHandler(), tmp_path)
    await other.open()
    (tmp_path / "file.sock").write_text("precious")
    async with serving(RecordingHandler(), tmp_path) as control:
        for name, why in (("office", "interface office is already run by process"), ("file", "not a socket")):
            with pytest.raises(ControlError, match=rf"{why}.*; its control socket stays {control.path}"):
                control.rename(name)
            assert control.name == "wg0"
        assert await ask(tmp_path, b"set=1\n\n") == b"errno=0\n\n"
    await other.close()
    assert [path.name for path in tmp_path.iterdir()] == ["file.sock"]


async def test_back_to_the_name_that_the_socket_still_has_nothing_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "office.sock").write_text("precious")
    async with serving(RecordingHandler(), tmp_path) as control:
        with pytest.raises(ControlError, match="not a socket"):
            control.rename("office")
        control.rename("wg0")
        assert await ask(tmp_path, b"set=1\n\n") == b"errno=0\n\n"


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.touch()
    other.rename(path)


@pytest.mark.parametrize("new_loop", LOOPS)
@pytest.mark.parametrize("take_away", [Path.unlink, lambda path: path.rename(path.with_name("x")), _replace])
def test_a_file_taken_away_is_noticed(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop], take_away: Callable[[Path], object]
) -> None:
    async def notice() -> None:
        async with serving(RecordingHandler(), tmp_path) as control, asyncio.timeout(10):
            watcher = asyncio.create_task(control.wait_unlinked())
            for number in range(3):  # what happens to other files is nothing to it
                (tmp_path / f"wg{number}.conf").touch()
                (tmp_path / f"wg{number}.conf").unlink()
                assert await ask(tmp_path, b"set=1\n\n") == b"errno=0\n\n"
            assert not watcher.done()
            take_away(control.path)
            await watcher

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(notice())


async def test_a_file_taken_away_before_anybody_watched_is_noticed(tmp_path: Path) -> None:
    async with serving(RecordingHandler(), tmp_path) as control, asyncio.timeout(10):
        control.path.unlink()
        await control.wait_unlinked()

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Timer
from typing import Any

from tests.unit.cli.fake_daemon import fake_daemon
from tests.unit.cli.foreign import foreign_daemon
from tests.unit.cli.invoking import REPOSITORY, error_of, invoke
from tunnel.cli.events import INTERVAL
from tunnel.control.events import EVENTS_VERSION, KINDS

CODE = (
    "import sys; from pathlib import Path; from tunnel.cli.commands import tunnel\n"
    "from tunnel.cli.places import Places\n"
    "sys.exit(tunnel.main(['events', *sys.argv[2:]], obj=Places(Path(sys.argv[1])), standalone_mode=False))"
)


@contextmanager
def listening(directory: Path, *names: str) -> Iterator["subprocess.Popen[str]"]:
    """``tunnel events`` with the sockets in `directory`; it is gone afterwards."""
    command, pipe = [sys.executable, "-c", CODE, str(directory), *names], subprocess.PIPE
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=pipe, stderr=pipe, text=True) as process:
        deadline = Timer(30, process.kill)  # what is waited for and never comes must not be waited for for ever
        deadline.start()
        try:
            yield process
        finally:
            deadline.cancel()
            process.kill()


def next_event(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    event: dict[str, Any] = json.loads(process.stdout.readline())
    return event


def next_complaint(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    return process.stderr.readline()


def test_a_line_says_that_we_listen_and_the_end_of_the_interface_that_was_named_ends_us(tmp_path: Path) -> None:
    with fake_daemon(tmp_path) as daemon, listening(tmp_path, "wg0") as events:
        line = next_event(events)
        daemon.send_signal(signal.SIGTERM)
        _, errors = events.communicate(timeout=20)
    assert (line["version"], line["interface"], line["event"]) == (1, "wg0", "listening")
    assert "wg0: its process has ended, or has hung up on us" in errors


def test_interfaces_that_come_later_are_listened_to_and_one_that_goes_is_said(tmp_path: Path) -> None:
    with listening(tmp_path) as events:
        assert next_complaint(events) == "no interface is up yet\n"
        for _ in range(2):
            with fake_daemon(tmp_path):
                assert next_event(events)["event"] == "listening"
            assert next_complaint(events) == "wg0: its process has ended, or has hung up on us\n"
        assert events.poll() is None


def test_a_process_that_hangs_up_on_us_and_runs_on_ends_us(tmp_path: Path) -> None:
    """Else two that are too many would take turns for ever."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "wg0.sock"))
        server.listen()
        with listening(tmp_path) as events:
            while True:
                connection, _ = server.accept()  # the first ones only look whether somebody answers
                with connection:
                    if connection.recv(100) == b"events=1\n\n":
                        connection.sendall(b'errno=0\n\n{"event":"listening"}\n')
                        break
            assert events.wait(20) != 0


def test_an_interface_that_is_renamed_is_not_listened_to_twice(tmp_path: Path) -> None:
    with fake_daemon(tmp_path) as daemon, listening(tmp_path) as events:
        next_event(events)
        (tmp_path / "wg0.sock").rename(tmp_path / "office.sock")
        with suppress(subprocess.TimeoutExpired):
            events.wait(4 * INTERVAL)
        daemon.kill()
        next_complaint(events)
        events.kill()
        assert events.stdout is not None
        assert events.stdout.read() == ""


def test_an_interface_that_is_named_has_to_be_there(tmp_path: Path) -> None:
    assert error_of(invoke("events", "wg0", directory=tmp_path)) == "nothing runs as wg0"


def test_another_implementation_does_not_tell(tmp_path: Path) -> None:
    with foreign_daemon(tmp_path):
        assert "does not understand the request" in error_of(invoke("events", "wg0", directory=tmp_path))


def test_another_implementation_is_asked_once(tmp_path: Path) -> None:
    asked = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "wg0.sock"))
        server.listen()
        with listening(tmp_path), suppress(TimeoutError):
            server.settimeout(20)
            while True:
                connection, _ = server.accept()
                with connection:
                    asked.append(connection.recv(100))
                server.settimeout(3 * INTERVAL)
    assert asked == [b"", b"events=1\n\n"]


def test_every_event_is_documented_with_its_members() -> None:
    text = (REPOSITORY / "docs" / "status.md").read_text().split("\n## Events\n", 1)[1].split("\n### ", 1)[0]
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    documented = {row[1].strip().strip("`"): tuple(row[2].replace("`", "").replace(",", " ").split()) for row in rows}
    assert documented == dict(KINDS)


def test_every_member_of_events_is_documented() -> None:
    text = (REPOSITORY / "docs" / "status.md").read_text().split("\n### Members of events\n", 1)[1].split("\n## ", 1)[0]
    documented = {line.split("|")[1].strip().strip("`") for line in text.splitlines() if line.startswith("| `")}
    assert {"version", "time", "interface", "event", *(name for kind in KINDS.values() for name in kind)} == documented
    assert f"of this form: {EVENTS_VERSION} |" in text

import json
from pathlib import Path

from tests.unit.cli.fake_daemon import fake_daemon
from tests.unit.cli.foreign import SNAPSHOT, foreign_daemon
from tests.unit.cli.invoking import error_of, invoke
from tests.unit.control.handler import RecordingHandler


def test_no_interface_is_said_and_is_no_failure(tmp_path: Path) -> None:
    result = invoke("status", directory=tmp_path)
    assert (result.exit_code, result.output) == (0, "no interface is up\n")


def test_no_interface_is_an_empty_list_for_programs(tmp_path: Path) -> None:
    assert json.loads(invoke("status", "--json", directory=tmp_path).output) == []


def test_an_interface_is_shown_in_words(tmp_path: Path) -> None:
    with fake_daemon(tmp_path):
        output = invoke("status", directory=tmp_path).output
    assert output.startswith("interface: wg0\n")
    assert "3 × data received twice or too late" in output


def test_an_interface_is_shown_by_name(tmp_path: Path) -> None:
    with fake_daemon(tmp_path):
        assert invoke("status", "wg0", directory=tmp_path).output == invoke("status", directory=tmp_path).output


def test_programs_get_what_the_daemon_says(tmp_path: Path) -> None:
    with fake_daemon(tmp_path):
        shown = json.loads(invoke("status", "--json", directory=tmp_path).output)
    assert shown == [json.loads(RecordingHandler().status().to_json())]


def test_another_implementation_is_shown_with_what_it_tells(tmp_path: Path) -> None:
    with foreign_daemon(tmp_path):
        (shown,) = json.loads(invoke("status", "wg0", "--json", directory=tmp_path).output)
    assert SNAPSHOT.private_key is not None
    assert shown["public_key"] == str(SNAPSHOT.private_key.public_key)
    assert (shown["listen_port"], shown["mtu"], shown["pid"]) == (12345, None, None)
    assert shown["peers"][0]["rx_bytes"] == 2048


def test_a_name_that_nobody_runs_is_refused(tmp_path: Path) -> None:
    assert error_of(invoke("status", "wg0", directory=tmp_path)) == "nothing runs as wg0"


def test_a_name_cannot_leave_the_directory(tmp_path: Path) -> None:
    assert "is no interface name" in error_of(invoke("status", "../wg0", directory=tmp_path))

import socket
from pathlib import Path

from tests.unit.cli.fake_daemon import fake_daemon
from tests.unit.cli.foreign import foreign_daemon
from tests.unit.cli.invoking import error_of, invoke


def test_the_process_ends_and_its_socket_is_gone(tmp_path: Path) -> None:
    with fake_daemon(tmp_path) as process:
        result = invoke("down", "wg0", directory=tmp_path)
        assert (result.exit_code, result.output) == (0, "")
        assert process.wait(timeout=10) == 0
    assert not (tmp_path / "wg0.sock").exists()


def test_a_file_name_means_its_interface(tmp_path: Path) -> None:
    with fake_daemon(tmp_path) as process:
        assert invoke("down", "./some/wg0.conf", directory=tmp_path).exit_code == 0
        assert process.wait(timeout=10) == 0


def test_a_process_that_does_not_end_is_not_waited_for_without_end(tmp_path: Path) -> None:
    with fake_daemon(tmp_path, "stubborn") as process:
        message = error_of(invoke("down", "--timeout", "0.01", "wg0", directory=tmp_path))
        assert message == f"wg0: process {process.pid} was asked to end but still runs after 0.01 s; see its log"


def test_nothing_under_that_name_is_said(tmp_path: Path) -> None:
    assert error_of(invoke("down", "wg0", directory=tmp_path)) == "nothing runs as wg0"


def test_a_socket_left_by_a_killed_process_is_nothing_running(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / "wg0.sock"))
    assert error_of(invoke("down", "wg0", directory=tmp_path)) == "nothing runs as wg0"


def test_a_process_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    with foreign_daemon(tmp_path):
        message = error_of(invoke("down", "wg0", directory=tmp_path))
    assert message == "wg0 is run by another program, not by tunnel; to end it: ip link delete wg0"

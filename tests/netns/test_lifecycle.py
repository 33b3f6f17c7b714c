"""However an interface ends, nothing of it is left, and it can be brought up again."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import ping
from tests.netns.hosts import BIN, SOCKETS, Host, PeerSection, Program, open_host, open_pair
from tests.netns.landscape import survey
from tunnel.keys import PrivateKey

pytestmark = pytest.mark.root

OTHER = PrivateKey(b"\3" * 32).public_key


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with open_host(tmp_path, "life") as host:
        host.peers.append(PeerSection(OTHER, ("10.60.0.0/16", "fd60::/64"), "192.0.2.2:51820"))
        host.write_config()
        yield host


def add_settings(host: Host, *lines: str) -> None:
    """Put settings into the ``[Interface]`` section."""
    text = host.config_file.read_text().replace("[Interface]", "\n".join(("[Interface]", *lines)))
    host.config_file.write_text(text)


def daemon_pid(host: Host) -> int:
    pid: int = host.status()["pid"]
    return pid


def unlink_socket(host: Host) -> None:
    (SOCKETS / f"{host.interface}.sock").unlink()


ENDINGS: dict[str, Callable[[Host], object]] = {
    "tunnel down, by file": lambda host: host.tunnel("down", str(host.config_file)),
    "tunnel down, from outside": lambda host: subprocess.run([BIN / "tunnel", "down", host.interface], check=True),
    "SIGTERM": lambda host: os.kill(daemon_pid(host), signal.SIGTERM),
    "SIGINT": lambda host: os.kill(daemon_pid(host), signal.SIGINT),
    "interface deleted": lambda host: host.namespace.ip("link", "delete", host.interface),
    "socket deleted": unlink_socket,
}


@pytest.mark.parametrize("end", list(ENDINGS.values()), ids=list(ENDINGS))
def test_every_ending_leaves_nothing(host: Host, end: Callable[[Host], object]) -> None:
    before = survey(host.namespace, host.interface)
    host.tunnel_up()
    assert survey(host.namespace, host.interface) != before
    end(host)
    eventually(lambda: survey(host.namespace, host.interface) == before, "everything is as before")


def test_down_returns_when_everything_is_gone(host: Host) -> None:
    before = survey(host.namespace, host.interface)
    host.tunnel_up()
    host.tunnel("down", host.interface)
    assert survey(host.namespace, host.interface) == before


def test_in_the_foreground_ctrl_c_ends_it_and_leaves_nothing(host: Host) -> None:
    before = survey(host.namespace, host.interface)
    process = host.namespace.popen(str(BIN / "tunnel"), "up", str(host.config_file), log=host.log_file)
    eventually(lambda: "10.60.0.0/16" in host.namespace.ip("route"), "the interface is up")
    process.send_signal(signal.SIGINT)
    assert process.wait(5) in (0, 130)
    assert survey(host.namespace, host.interface) == before
    assert "Traceback" not in host.log_file.read_text()


def test_after_kill_nine_nothing_but_the_socket_file_is_left_and_up_works(host: Host) -> None:
    before = survey(host.namespace, host.interface)
    host.tunnel_up()
    os.kill(daemon_pid(host), signal.SIGKILL)
    eventually(lambda: host.interface not in host.namespace.links(), "the interface is gone")
    host.tunnel_up()
    assert host.status()["peers"]
    host.tunnel("down", host.interface)
    assert survey(host.namespace, host.interface) == before


@pytest.mark.slow
def test_a_tunnel_works_again_after_either_side_was_killed(tmp_path: Path) -> None:
    with open_pair(tmp_path) as (left, right):
        ping(left.namespace, right.inner_ipv4)
        os.kill(daemon_pid(left), signal.SIGKILL)
        eventually(lambda: left.interface not in left.namespace.links(), "the interface is gone")
        left.tunnel_up()
        ping(left.namespace, right.inner_ipv4)


def test_in_the_background_a_file_given_as_stderr_gets_the_log(host: Host) -> None:
    host.tunnel_up()
    host.tunnel("down", host.interface)
    assert f"interface {host.interface} is up" in host.log_file.read_text()


@pytest.mark.parametrize("is_deleted", [True, False])
def test_the_log_tells_whether_somebody_deleted_the_interface(host: Host, is_deleted: bool) -> None:
    host.tunnel_up()
    if is_deleted:
        host.namespace.ip("link", "delete", host.interface)
    else:
        host.tunnel("down", host.interface)
    eventually(lambda: f"interface {host.interface} is gone" in host.log_file.read_text(), "it has ended")
    assert ("was deleted" in host.log_file.read_text()) == is_deleted


def test_hooks_run_in_order_with_the_name_of_the_interface(host: Host, tmp_path: Path) -> None:
    told = tmp_path / "told"
    phases = ("PreUp", "PostUp", "PreDown", "PostDown")
    add_settings(host, *(f"{phase} = echo {phase} %i >> {told}" for phase in phases))
    host.tunnel_up()
    assert told.read_text().splitlines() == [f"{phase} {host.interface}" for phase in phases[:2]]
    host.tunnel("down", host.interface)
    assert told.read_text().splitlines() == [f"{phase} {host.interface}" for phase in phases]


def test_save_config_writes_what_was_running(host: Host) -> None:
    add_settings(host, "SaveConfig = true")
    host.tunnel_up()
    host.wg("set", host.interface, "peer", str(OTHER), "persistent-keepalive", "19")
    host.tunnel("down", host.interface)
    assert "PersistentKeepalive = 19" in host.config_file.read_text()
    assert host.config_file.stat().st_mode & 0o777 == 0o600


def test_save_config_writes_through_a_link(host: Host) -> None:
    add_settings(host, "SaveConfig = true")
    elsewhere = host.config_file.rename(host.directory / "elsewhere")
    host.config_file.symlink_to(elsewhere)
    host.tunnel_up()
    host.wg("set", host.interface, "peer", str(OTHER), "persistent-keepalive", "19")
    host.tunnel("down", host.interface)
    assert host.config_file.is_symlink()
    assert "PersistentKeepalive = 19" in elsewhere.read_text()


def test_no_routes_with_table_off(host: Host) -> None:
    add_settings(host, "Table = off")
    host.tunnel_up()
    assert "10.60.0.0/16" not in host.namespace.ip("route", "show", "table", "all")


def test_routes_in_the_table_that_the_file_names(host: Host) -> None:
    add_settings(host, "Table = 1234")
    host.tunnel_up()
    assert "10.60.0.0/16" in host.namespace.ip("route", "show", "table", "1234")
    assert "10.60.0.0/16" not in host.namespace.ip("route")


def test_only_root_may_ask_the_daemon(host: Host, as_nobody: tuple[str, ...]) -> None:
    host.tunnel_up()
    refused = host.namespace.run(*as_nobody, str(BIN / "tunnel"), "status", host.interface, check=False)
    assert refused.returncode == 1
    assert "only root" in refused.stderr


@pytest.mark.parametrize("in_foreground", [True, False])
def test_the_bare_interface_ends_with_its_socket_and_leaves_nothing(tmp_path: Path, in_foreground: bool) -> None:
    with open_host(tmp_path, "bare", Program.TUNNEL_WG) as host:
        before = survey(host.namespace, host.interface)
        if in_foreground:
            host.start_daemon()
        else:
            host.namespace.run(str(BIN / "tunnel-wg"), host.interface)
            assert host.interface in host.namespace.links()
        unlink_socket(host)
        eventually(lambda: survey(host.namespace, host.interface) == before, "everything is as before")

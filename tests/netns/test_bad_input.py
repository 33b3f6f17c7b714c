"""`tunnel up` with something wrong: one line that says what, the exit status of a failure, and nothing changed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.netns.conftest import NOBODY
from tests.netns.flows import datagram_socket
from tests.netns.hosts import BIN, CABLE, PORT, Host, PeerSection, Program, open_host
from tests.netns.landscape import survey
from tunnel.cli.ending import CONFIG, FAILED
from tunnel.keys import PrivateKey
from tunnel.testing.namespaces import run_command

pytestmark = pytest.mark.root

BEHIND_PEER = "10.60.0.0/16"


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with open_host(tmp_path, "bad") as host:
        peer = PrivateKey(b"\3" * 32).public_key
        host.peers.append(PeerSection(peer, (BEHIND_PEER, "fd60::/64"), "192.0.2.2:51820"))
        host.write_config()
        yield host


def refuse(host: Host, *wrapper: str, target: Path | None = None, flags: tuple[str, ...] = ()) -> str:
    """``tunnel up FILE`` (run by `wrapper`) must fail as promised; return what it said, without ``tunnel: ``."""
    before = survey(host.namespace, host.interface)
    command = (str(BIN / "tunnel"), "up", *flags, str(target or host.config_file))
    done = host.namespace.run(*wrapper, *command, check=False)
    assert done.returncode in (FAILED, CONFIG), done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("tunnel: ")
    assert survey(host.namespace, host.interface) == before
    return line.removeprefix("tunnel: ")


def take_name(host: Host) -> None:
    """There is an interface of that name already."""
    host.namespace.ip("link", "add", host.interface, "type", "bridge")


def test_in_the_background_the_same_line_comes_out(host: Host) -> None:
    take_name(host)
    in_foreground = refuse(host)
    assert refuse(host, flags=("-d",)) == in_foreground


def test_a_taken_name_is_refused(host: Host) -> None:
    take_name(host)
    assert host.interface in refuse(host)


def test_an_interface_that_is_up_already_is_refused_and_goes_on(host: Host) -> None:
    host.tunnel_up()
    assert host.interface in refuse(host)
    assert str(host.public_key) in host.wg("show", host.interface).stdout


def taken_port(host: Host, address: str) -> AbstractContextManager[object]:
    return datagram_socket(host.namespace, address, PORT)


@pytest.mark.parametrize("address", ["0.0.0.0", "::1"])
def test_a_taken_port_is_refused(host: Host, address: str) -> None:
    with taken_port(host, address):
        assert str(PORT) in refuse(host)


@pytest.mark.parametrize("version", [4, 6])
def test_a_taken_address_is_refused_and_names_who_has_it(host: Host, version: int) -> None:
    address = f"{host.inner_ipv4}/24" if version == 4 else f"{host.inner_ipv6}/64"
    host.namespace.ip("address", "add", address, "dev", CABLE, *(("nodad",) if version == 6 else ()))
    line = refuse(host)
    assert address.partition("/")[0] in line
    assert CABLE in line


@pytest.mark.parametrize("network", [BEHIND_PEER, "fd60::/64"])
def test_a_taken_route_is_refused_and_names_who_has_it(host: Host, network: str) -> None:
    host.namespace.ip("route", "add", network, "dev", CABLE)
    line = refuse(host)
    assert network in line
    assert CABLE in line


def test_a_route_that_is_wider_or_narrower_is_left_alone(host: Host) -> None:
    host.namespace.ip("route", "add", "10.0.0.0/8", "dev", CABLE)
    host.namespace.ip("route", "add", "10.60.7.0/24", "dev", CABLE)
    host.tunnel_up()
    routes = host.namespace.ip("route")
    assert f"10.0.0.0/8 dev {CABLE}" in routes
    assert f"10.60.7.0/24 dev {CABLE}" in routes
    assert f"{BEHIND_PEER} dev {host.interface}" in routes


def test_without_capabilities_the_line_says_that_root_is_needed(host: Host) -> None:
    line = refuse(host, "setpriv", "--bounding-set=-all", "--inh-caps=-all")
    assert "root" in line


def test_as_an_ordinary_user_the_line_says_that_root_is_needed(host: Host, as_nobody: tuple[str, ...]) -> None:
    with TemporaryDirectory() as directory:
        own_file = shutil.copy(host.config_file, directory)
        for path in (directory, own_file):
            os.chown(path, NOBODY, NOBODY)
        assert "root" in refuse(host, *as_nobody, target=Path(own_file))


def test_without_a_tun_device_the_line_names_it(host: Host) -> None:
    hide = 'mount -t tmpfs none /dev/net && exec "$@"'
    line = refuse(host, "unshare", "-m", "sh", "-c", hide, "sh")
    assert "/dev/net/tun" in line


BAD_FILES = {
    "wrong key": ("PrivateKey = ", "PrivateKey = x", "2", "PrivateKey"),
    "wrong prefix": ("AllowedIPs = 10.60.0.0/16", "AllowedIPs = 10.60.0.0/33", "8", "10.60.0.0/33"),
    "wrong port": ("ListenPort = 51820", "ListenPort = 518200", "3", "518200"),
    "unknown setting": ("ListenPort", "ListenPrt", "3", "ListenPort"),
}


@pytest.mark.parametrize(("good", "bad", "line", "what"), list(BAD_FILES.values()), ids=list(BAD_FILES))
def test_a_bad_file_is_refused_with_the_line_and_what_is_wrong(
    host: Host, good: str, bad: str, line: str, what: str
) -> None:
    host.config_file.write_text(host.config_file.read_text().replace(good, bad))
    said = refuse(host)
    assert said.startswith(f"{host.config_file}:{line}: ")
    assert what in said


def test_a_peer_that_is_there_twice_is_refused(host: Host) -> None:
    host.peers.append(host.peers[0])
    host.write_config()
    assert str(host.peers[0].public_key) in refuse(host)


def test_a_file_that_everybody_can_read_is_refused(host: Host) -> None:
    host.directory.chmod(0o755)
    host.config_file.chmod(0o644)
    assert "chmod 600" in refuse(host)


def test_a_file_that_is_not_there_is_refused(host: Host) -> None:
    assert "nosuch.conf" in refuse(host, target=host.directory / "nosuch.conf")


def test_a_failing_hook_is_named_and_everything_is_undone(host: Host) -> None:
    text = host.config_file.read_text().replace("[Interface]", "[Interface]\nPostUp = false")
    host.config_file.write_text(text)
    assert "PostUp" in refuse(host, flags=("-d",))


def test_the_demo_without_root_is_refused_in_one_line(as_nobody: tuple[str, ...]) -> None:
    done = run_command(*as_nobody, str(BIN / "tunnel"), "demo", check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "root" in line


def test_tunnel_wg_refuses_a_taken_name(host: Host) -> None:
    take_name(host)
    before = survey(host.namespace, host.interface)
    done = host.namespace.run(str(BIN / "tunnel-wg"), host.interface, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert survey(host.namespace, host.interface) == before


def test_datagrams_of_any_content_get_no_answer_and_are_counted(host: Host) -> None:
    assert host.program is Program.TUNNEL
    host.tunnel_up()
    contents = [b"", b"x", b"\1\0\0\0", *(bytes([kind, 0, 0, 0]) + bytes(144) for kind in range(6)), b"\4" * 1400]
    with datagram_socket(host.namespace, host.outer_ipv4) as stranger:
        stranger.settimeout(0.2)
        for content in contents:
            stranger.sendto(content, (host.outer_ipv4, PORT))
        with pytest.raises(TimeoutError):
            stranger.recv(1500)
    drops = host.status()["drops"]
    assert drops["malformed_datagram"] + drops["wrong_mac1"] + drops["no_such_index"] == len(contents)

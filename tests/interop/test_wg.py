"""Debian's wg(8) against an interface of `tunnel up` and one of `tunnel-wg`: the same answers, the same errors."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import datagram_socket
from tests.netns.hosts import PORT, SOCKETS, Host, Program, open_host
from tunnel.keys import PrivateKey, PublicKey

pytestmark = pytest.mark.root


def new_key() -> PublicKey:
    return PrivateKey.generate(os.urandom).public_key


ALICE, BOB = new_key(), new_key()


@pytest.fixture(scope="module", params=[Program.TUNNEL, Program.TUNNEL_WG], ids=lambda program: program.value)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with open_host(tmp_path_factory.mktemp("wg"), "wg", request.param) as host:
        host.up()
        yield host


@pytest.fixture
def host(running: Host) -> Host:
    """As it was made: no peer, the port and the key of its file."""
    running.wg("setconf", running.interface, "/dev/stdin", stdin=running.config(for_wg=True))
    return running


def show(host: Host, what: str) -> str:
    return host.wg("show", host.interface, what).stdout.strip()


def set_peer(host: Host, key: PublicKey, *settings: str, stdin: str | None = None) -> None:
    host.wg("set", host.interface, "peer", str(key), *settings, stdin=stdin)


def allowed_ips(host: Host) -> dict[str, set[str]]:
    """Peer → its allowed IPs."""
    lines = (line.split() for line in show(host, "allowed-ips").splitlines())
    return {key: set(networks) - {"(none)"} for key, *networks in lines}


def ask(host: Host, request: str) -> int:
    """The errno that the control socket answers to the raw text of a ``set``."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(str(SOCKETS / f"{host.interface}.sock"))
        connection.sendall(request.encode())
        return abs(int(connection.recv(4096).decode().removeprefix("errno=")))


def test_show_names_interface_key_and_port(host: Host) -> None:
    shown = host.wg("show", host.interface).stdout
    assert f"interface: {host.interface}" in shown
    assert f"public key: {host.public_key}" in shown
    assert f"listening port: {PORT}" in shown
    assert host.interface in host.wg("show", "interfaces").stdout.split()


def test_everything_that_is_set_is_shown(host: Host) -> None:
    preshared_key = "A" * 42 + "E="
    settings = ("endpoint", "192.0.2.9:1234", "persistent-keepalive", "25", "allowed-ips", "10.1.0.0/16,fd01::/64")
    set_peer(host, ALICE, "preshared-key", "/dev/stdin", *settings, stdin=preshared_key)
    expected = (str(ALICE), preshared_key, "192.0.2.9:1234", "10.1.0.0/16,fd01::/64", "0")
    line = host.wg("show", host.interface, "dump").stdout.splitlines()[1].split("\t")
    assert tuple(line[:5]) == expected
    assert line[7] == "25"


def test_an_ipv6_endpoint_is_shown_in_brackets(host: Host) -> None:
    set_peer(host, ALICE, "endpoint", "[2001:db8::9]:1234")
    assert show(host, "endpoints") == f"{ALICE}\t[2001:db8::9]:1234"


def test_showconf_gives_back_what_setconf_took(host: Host) -> None:
    set_peer(host, ALICE, "endpoint", "192.0.2.9:1234", "allowed-ips", "10.1.0.0/16", "persistent-keepalive", "21")
    set_peer(host, BOB, "allowed-ips", "fd02::/64")
    saved = host.wg("showconf", host.interface).stdout
    set_peer(host, ALICE, "remove")
    host.wg("setconf", host.interface, "/dev/stdin", stdin=saved)
    assert host.wg("showconf", host.interface).stdout == saved
    assert str(ALICE) in saved


def test_setconf_replaces_the_peers(host: Host) -> None:
    set_peer(host, ALICE, "allowed-ips", "10.1.0.0/16")
    added = f"[Peer]\nPublicKey = {BOB}\nAllowedIPs = 10.2.0.0/16\n"
    host.wg("setconf", host.interface, "/dev/stdin", stdin=host.config(for_wg=True) + added)
    assert allowed_ips(host) == {str(BOB): {"10.2.0.0/16"}}


def test_addconf_adds_to_the_peers(host: Host) -> None:
    set_peer(host, ALICE, "allowed-ips", "10.1.0.0/16")
    added = f"[Peer]\nPublicKey = {BOB}\nAllowedIPs = 10.2.0.0/16\n"
    host.wg("addconf", host.interface, "/dev/stdin", stdin=added)
    assert allowed_ips(host) == {str(ALICE): {"10.1.0.0/16"}, str(BOB): {"10.2.0.0/16"}}


def test_syncconf_changes_only_what_differs(host: Host, tmp_path: Path) -> None:
    set_peer(host, ALICE, "allowed-ips", "10.1.0.0/16", "persistent-keepalive", "7")
    set_peer(host, BOB, "allowed-ips", "10.2.0.0/16")
    wanted = tmp_path / "wanted.conf"
    peer = f"[Peer]\nPublicKey = {ALICE}\nAllowedIPs = 10.3.0.0/16\nPersistentKeepalive = 7\n"
    wanted.write_text(host.config(for_wg=True) + peer)
    host.wg("syncconf", host.interface, str(wanted))
    assert allowed_ips(host) == {str(ALICE): {"10.3.0.0/16"}}
    assert show(host, "persistent-keepalive") == f"{ALICE}\t7"
    assert show(host, "listen-port") == str(PORT)


def test_a_removed_peer_is_gone(host: Host) -> None:
    set_peer(host, ALICE)
    set_peer(host, BOB)
    set_peer(host, ALICE, "remove")
    assert show(host, "peers") == str(BOB)


def test_an_allowed_ip_moves_to_who_claims_it_last(host: Host) -> None:
    set_peer(host, ALICE, "allowed-ips", "10.1.0.0/16,10.2.0.0/16")
    set_peer(host, BOB, "allowed-ips", "10.2.0.0/16")
    assert allowed_ips(host) == {str(ALICE): {"10.1.0.0/16"}, str(BOB): {"10.2.0.0/16"}}


def test_setting_allowed_ips_replaces_those_before(host: Host) -> None:
    set_peer(host, ALICE, "allowed-ips", "10.1.0.0/16")
    set_peer(host, ALICE, "allowed-ips", "10.2.0.0/16")
    assert allowed_ips(host) == {str(ALICE): {"10.2.0.0/16"}}


def test_an_update_only_peer_that_is_not_there_is_not_made(host: Host) -> None:
    request = f"set=1\npublic_key={ALICE.to_hex()}\nupdate_only=true\npersistent_keepalive_interval=5\n\n"
    assert ask(host, request) == 0
    assert show(host, "peers") == ""


def test_an_update_only_peer_that_is_there_is_updated(host: Host) -> None:
    set_peer(host, ALICE)
    request = f"set=1\npublic_key={ALICE.to_hex()}\nupdate_only=true\npersistent_keepalive_interval=5\n\n"
    assert ask(host, request) == 0
    assert show(host, "persistent-keepalive") == f"{ALICE}\t5"


def test_our_own_key_is_no_peer(host: Host) -> None:
    set_peer(host, host.public_key, "allowed-ips", "10.1.0.0/16")
    assert show(host, "peers") == ""


def test_port_and_mark_can_be_changed_while_running(host: Host) -> None:
    host.wg("set", host.interface, "listen-port", "51999", "fwmark", "0x2a")
    assert show(host, "listen-port") == "51999"
    assert show(host, "fwmark") == "0x2a"
    assert ":51999 " in host.namespace.run("ss", "-lun").stdout
    assert f":{PORT} " not in host.namespace.run("ss", "-lun").stdout
    host.wg("set", host.interface, "fwmark", "0")
    assert show(host, "fwmark") == "off"


def test_a_taken_port_is_refused_and_nothing_changes(host: Host) -> None:
    with datagram_socket(host.namespace, "0.0.0.0", 51998):
        refused = host.wg("set", host.interface, "listen-port", "51998", check=False)
    assert refused.returncode != 0
    assert os.strerror(errno.EADDRINUSE) in refused.stderr
    assert show(host, "listen-port") == str(PORT)


def test_an_interface_whose_port_was_taken_listens_on_the_next_one_it_is_given(host: Host) -> None:
    host.namespace.ip("link", "set", host.interface, "down")
    eventually(lambda: f":{PORT} " not in host.namespace.run("ss", "-lun").stdout, "the port is free")
    with datagram_socket(host.namespace, "0.0.0.0", PORT):
        host.namespace.ip("link", "set", host.interface, "up")
        eventually(lambda: "deaf" in host.log_file.read_text(), "the daemon has found it taken")
        host.wg("set", host.interface, "listen-port", "51997")
        assert ":51997 " in host.namespace.run("ss", "-lun").stdout


BAD_REQUESTS = {
    "port no number": "listen_port=no",
    "port too high": "listen_port=65536",
    "key too short": "private_key=ab",
    "unknown setting": "nonsense=1",
    "endpoint of nobody": "endpoint=192.0.2.1:1",
    "public key too short": f"public_key={'0' * 63}",
    "prefix too long": f"public_key={ALICE.to_hex()}\nallowed_ip=10.0.0.0/33",
    "endpoint by name": f"public_key={ALICE.to_hex()}\nendpoint=host:1",
    "good before bad": "fwmark=7\nlisten_port=x",
}


@pytest.mark.parametrize("settings", list(BAD_REQUESTS.values()), ids=list(BAD_REQUESTS))
def test_bad_input_is_answered_with_its_errno_and_changes_nothing(host: Host, settings: str) -> None:
    before = host.wg("showconf", host.interface).stdout
    assert ask(host, f"set=1\n{settings}\n\n") == errno.EINVAL
    assert host.wg("showconf", host.interface).stdout == before

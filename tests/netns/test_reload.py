"""Another configuration for an interface that runs: who stays does not notice, what is refused has changed nothing."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import ping
from tests.netns.hosts import BIN, Host, PeerSection, open_host, open_pair
from tests.netns.landscape import survey
from tests.netns.members import Member, Office, RunningStream, open_site
from tunnel.keys import PrivateKey, PublicKey
from tunnel.testing.namespaces import run_command

TAKEN = 51999

pytestmark = pytest.mark.root

NEW, GONE = (PrivateKey(bytes([number]) * 32).public_key for number in (3, 4))


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    with open_pair(tmp_path) as hosts:
        yield hosts


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with open_host(tmp_path, "reload") as host:
        host.peers.append(PeerSection(GONE, ("10.60.0.0/16",), "192.0.2.2:51820"))
        host.write_config()
        host.tunnel_up()
        yield host


def refused(host: Host, *options: str) -> str:
    result = host.tunnel("reload", host.interface, *options, check=False)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    return result.stderr


def routes(host: Host) -> str:
    return str(host.namespace.ip("route"))


def test_who_stays_loses_no_packet_and_keeps_the_session(pair: tuple[Host, Host]) -> None:
    left, right = pair
    left.namespace.run("ping", "-c", "1", right.inner_ipv4)
    before = left.dump(right).latest_handshake
    stream = RunningStream(left.namespace, right.namespace, right.inner_ipv4)
    flood = left.namespace.popen(
        *("ping", "-q", "-i", "0.002", "-c", "1000", "-w", "10", right.inner_ipv4), log=left.directory / "ping"
    )
    with stream:
        for number in range(5):
            left.peers[1:] = [PeerSection(NEW, (f"10.70.{number}.0/24", f"fd70:{number}::/64"), "192.0.2.9:51820")]
            left.settings = (f"Address = 10.51.0.{number}/32", f"MTU = {1400 - number}")
            left.write_config()
            left.tunnel("reload", left.interface)
            assert f"10.70.{number}.0/24" in routes(left)
            assert f"10.70.{number - 1}.0/24" not in routes(left)
    assert flood.wait(15) == 0
    assert " 0% packet loss" in (left.directory / "ping").read_text()
    assert stream.received == stream.sent
    assert left.dump(right).latest_handshake == before


@pytest.mark.slow
def test_a_port_changes_under_a_session(pair: tuple[Host, Host]) -> None:
    left, right = pair
    left.namespace.run("ping", "-c", "1", right.inner_ipv4)
    before = left.dump(right).latest_handshake
    left.config_file.write_text(left.config().replace("ListenPort = 51820", "ListenPort = 51999"))
    assert left.tunnel("reload", left.interface).stdout == "~ port 51820 → 51999\n"
    left.namespace.run("ping", "-c", "3", "-i", "0.05", "-w", "3", right.inner_ipv4)
    assert right.dump(left).endpoint.endswith(":51999")
    assert left.dump(right).latest_handshake == before


@pytest.mark.slow
def test_a_new_peer_works(pair: tuple[Host, Host]) -> None:
    """The right one is unknown to the left, until it is in the file."""
    left, right = pair
    left.tunnel("peer", "remove", left.interface, str(right.public_key))
    assert left.namespace.run("ping", "-c", "1", "-W", "0.2", right.inner_ipv4, check=False).returncode
    said = left.tunnel("reload", left.interface).stdout
    assert said == f"+ peer {right.public_key.short} {right.inner_ipv4}/32, {right.inner_ipv6}/128\n"
    left.namespace.run("ping", "-c", "1", "-w", "5", right.inner_ipv4)


@pytest.mark.slow
def test_a_peer_that_is_not_in_the_file_any_more_is_gone_with_its_route(host: Host) -> None:
    assert "10.60.0.0/16" in routes(host)
    host.peers.clear()
    host.write_config()
    said = host.tunnel("reload", host.interface).stdout
    assert said == f"- peer {GONE.short} 10.60.0.0/16\n- route 10.60.0.0/16\n"
    assert "10.60.0.0/16" not in routes(host)
    assert host.status()["peers"] == []
    assert host.tunnel("reload", host.interface).stdout == "nothing to change\n"


@pytest.mark.slow
def test_a_dry_run_says_the_same_and_changes_nothing(host: Host) -> None:
    before = survey(host.namespace, host.interface)
    host.peers.clear()
    host.write_config()
    said = host.tunnel("reload", host.interface, "--dry-run").stdout
    assert survey(host.namespace, host.interface) == before
    assert host.tunnel("reload", host.interface).stdout == said


@pytest.mark.slow
def test_addresses_change_and_take_nothing_with_them(host: Host) -> None:
    """The kernel deletes the other addresses of a network, and all routes, with an address; ours are put back."""
    host.settings = ("Address = 10.9.0.1/24, 10.9.0.2/24",)
    host.write_config()
    host.tunnel("reload", host.interface)
    text = host.config_file.read_text().replace("Address = 10.9.0.1/24, 10.9.0.2/24", "Address = 10.9.0.2/24")
    host.config_file.write_text(text.replace(f"Address = {host.inner_ipv4}/32, {host.inner_ipv6}/128\n", ""))
    host.tunnel("reload", host.interface)
    addresses = host.namespace.ip("address", "show", "dev", host.interface)
    assert "10.9.0.2/24" in addresses
    assert "10.9.0.1" not in addresses
    assert host.inner_ipv6 not in addresses
    assert "10.60.0.0/16" in routes(host)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("10.60.0.0/16", "10.60.0.0/33", ".conf:8: AllowedIPs: '10.60.0.0/33': prefix longer than 32\n"),
        ("ListenPort = 51820", "Table = off", "Table: needs a restart (tunnel down, tunnel up)"),
        ("10.50.0.1/32", "192.0.2.1/32", "address 192.0.2.1 is taken by eth0"),
        ("10.60.0.0/16", "2001:db8::/64", "there is a route to 2001:db8::/64 already, by eth0"),
    ],
    ids=["bad line", "restart", "address", "route"],
)
def test_what_is_refused_has_changed_nothing(host: Host, old: str, new: str, why: str) -> None:
    before = survey(host.namespace, host.interface), host.wg("showconf", host.interface).stdout
    host.config_file.write_text(host.config_file.read_text().replace(old, new))
    assert why in refused(host)
    assert (survey(host.namespace, host.interface), host.wg("showconf", host.interface).stdout) == before


@pytest.mark.slow
def test_a_port_that_is_taken_is_refused(host: Host) -> None:
    code = f"import socket, time; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', {TAKEN})); time.sleep(60)"
    occupant = host.namespace.popen(sys.executable, "-c", code, log=host.directory / "occupant")
    eventually(lambda: f":{TAKEN} " in host.namespace.run("ss", "-Hlun").stdout, "the port is taken")
    host.peers.clear()
    host.config_file.write_text(host.config().replace("ListenPort = 51820", f"ListenPort = {TAKEN}"))
    assert str(TAKEN) in refused(host)
    assert host.status()["peers"]
    occupant.kill()
    occupant.wait()


@pytest.mark.slow
def test_a_file_that_everybody_can_read_changes_nothing(host: Host) -> None:
    host.peers.clear()
    host.write_config()
    host.config_file.chmod(0o644)
    host.directory.chmod(0o755)
    assert "chmod 600" in refused(host)
    assert host.status()["peers"]


def test_what_the_kernel_refuses_half_way_is_undone(host: Host) -> None:
    """A port was moved, an address added; then comes an IPv6 address on a host that wants none."""
    host.namespace.run("sh", "-c", f"echo 1 >/proc/sys/net/ipv6/conf/{host.interface}/disable_ipv6")
    before = survey(host.namespace, host.interface), host.wg("showconf", host.interface).stdout
    text = host.config_file.read_text().replace("ListenPort = 51820", "ListenPort = 51999")
    host.config_file.write_text(text.replace("[Peer]", "Address = 10.9.0.1/24, fd99::1/64\n\n[Peer]"))
    why = refused(host)
    assert "cannot add address fd99::1/64" in why
    assert "all is as before" in why
    assert (survey(host.namespace, host.interface), host.wg("showconf", host.interface).stdout) == before


def test_what_is_not_confirmed_goes_back(host: Host) -> None:
    before = survey(host.namespace, host.interface), host.wg("showconf", host.interface).stdout
    host.peers[:] = [PeerSection(NEW, ("10.70.0.0/16",))]
    host.write_config()
    said = host.tunnel("reload", host.interface, "--confirm", "1s").stdout
    assert said.endswith(f"\nback again in 1 s, unless: tunnel confirm {host.interface}\n")
    assert "10.70.0.0/16" in routes(host)
    assert f"waits for `tunnel confirm {host.interface}`" in refused(host)
    eventually(lambda: "10.60.0.0/16" in routes(host), "what ran before is back")
    eventually(lambda: host.wg("showconf", host.interface).stdout == before[1], "the peer is back")
    assert survey(host.namespace, host.interface) == before[0]
    assert host.tunnel("confirm", host.interface, check=False).returncode == 1


@pytest.mark.slow
def test_what_is_confirmed_stays(host: Host) -> None:
    host.peers.clear()
    host.write_config()
    host.tunnel("reload", host.interface, "--confirm", "1")
    host.tunnel("confirm", host.interface)
    time.sleep(1.2)  # what is tested is that nothing happens
    assert host.status()["peers"] == []
    assert "10.60.0.0/16" not in routes(host)


@pytest.mark.slow
def test_going_down_does_not_wait_for_a_confirmation(host: Host) -> None:
    host.peers.clear()
    host.write_config()
    host.tunnel("reload", host.interface, "--confirm", "60s")
    host.tunnel("down", host.interface)
    assert host.interface not in host.namespace.links()


@pytest.mark.slow
def test_a_peer_that_is_added_and_saved_is_in_the_file_and_gets_its_route_by_reload(host: Host) -> None:
    text = host.config_file.read_text().replace("[Peer]", "# the other office\n[Peer]")
    host.config_file.write_text(text)
    host.tunnel("peer", "add", host.interface, str(NEW), "--allowed-ips", "10.70.0.0/16", "--keepalive", "25")
    assert "10.70.0.0/16" not in routes(host)
    host.tunnel("save", host.interface)
    added = f"\n[Peer]\nPublicKey = {NEW}\nAllowedIPs = 10.70.0.0/16\nPersistentKeepalive = 25\n"
    assert host.config_file.read_text() == text + added
    assert host.config_file.stat().st_mode & 0o777 == 0o600
    assert host.tunnel("reload", host.interface).stdout == "+ route 10.70.0.0/16\n"
    host.tunnel("peer", "remove", host.interface, str(NEW))
    host.tunnel("save", host.interface)
    assert host.config_file.read_text() == text


@pytest.mark.slow
def test_beside_an_identity_its_own_settings_need_a_restart(tmp_path: Path) -> None:
    office = Office(tmp_path)
    office.issue_gateway("gw", 1)
    with open_host(tmp_path, "identity") as host:
        peer = PeerSection(GONE, ("10.60.0.0/16",), "192.0.2.2:51820").to_text()
        text = f"[Interface]\nIdentity = {tmp_path}/gw.pem\nMTU = 1300\n\n{peer}"
        host.config_file.touch(mode=0o600)
        host.config_file.write_text(text)
        host.tunnel_up()
        assert host.tunnel("reload", host.interface).stdout == "nothing to change\n"
        host.config_file.write_text(text.replace("1300", "1310").replace("192.0.2.2:", "192.0.2.3:"))
        said = host.tunnel("reload", host.interface).stdout
        assert said == f"~ mtu 1300 → 1310\n~ peer {GONE.short} endpoint 192.0.2.2:51820 → 192.0.2.3:51820\n"
        host.config_file.write_text(text.replace("MTU", "Allow = laptop-*\nMTU"))
        assert "Allow: needs a restart" in refused(host)
        host.config_file.write_text(text)
        (tmp_path / "gw.pem").write_text("no identity")
        assert "gw.pem" in refused(host)
        assert "1310" in host.namespace.ip("link", "show", host.interface)
        assert "Identity" in host.tunnel("save", host.interface, check=False).stderr


@pytest.fixture
def members(tmp_path: Path) -> Iterator[tuple[Member, Member]]:
    """A gateway from a file, and a client with a network behind it, in touch."""
    with open_site(tmp_path, "rl") as site:
        gateway, client = site.gateway("gw", 1), site.client("laptop", 2, issue=("--route=10.80.0.0/16",))
        write_file(gateway)
        gateway.namespace.run(str(BIN / "tunnel"), "up", str(file_of(gateway)), "-d")
        client.up()
        ping(client.namespace, gateway.inner_ipv4)
        yield gateway, client


def file_of(member: Member) -> Path:
    return member.identity.parent / f"{member.interface}.conf"


def write_file(member: Member, settings: str = "", peer: PeerSection | None = None) -> None:
    file = file_of(member)
    file.touch(mode=0o600)
    sections = [f"[Interface]\nIdentity = {member.identity}\n{settings}"] + ([peer.to_text()] if peer else [])
    file.write_text("\n\n".join(sections))


@pytest.mark.slow
def test_beside_an_identity_addresses_and_peers_change_and_members_do_not_notice(
    members: tuple[Member, Member],
) -> None:
    gateway, client = members
    (before,) = gateway.status()["peers"]
    stream = RunningStream(client.namespace, gateway.namespace, gateway.inner_ipv4)
    with stream:
        for number in range(4):
            write_file(gateway, f"Address = 10.51.0.{number}/32", PeerSection(NEW, (f"10.70.{number}.0/24",)))
            said = gateway.tunnel("reload", gateway.interface).stdout
            assert f"+ address 10.51.0.{number}/32" in said
            assert f"+ route 10.70.{number}.0/24" in said
            assert {f"10.70.{number}.0/24", "10.80.0.0/16"} <= gateway.routes
            assert f"10.51.0.{number}/32" in gateway.addresses
            assert not {f"10.70.{number - 1}.0/24", f"10.51.0.{number - 1}/32"} & (gateway.routes | gateway.addresses)
        write_file(gateway)
        assert "- peer" in gateway.tunnel("reload", gateway.interface).stdout
    assert stream.received == stream.sent
    (after,) = gateway.status()["peers"]
    assert after["last_handshake"] == pytest.approx(before["last_handshake"], abs=0.1)


@pytest.mark.slow
def test_who_is_configured_goes_before_a_member_and_what_is_not_confirmed_goes_back(
    members: tuple[Member, Member],
) -> None:
    gateway, client = members
    write_file(gateway, peer=PeerSection(NEW, ("10.80.0.0/16",)))
    gateway.tunnel("reload", gateway.interface, "--confirm", "2s")
    eventually(lambda: gateway.peers == set(), "the member is removed")
    ping_fails = client.namespace.run("ping", "-c1", "-W1", gateway.inner_ipv4, check=False)
    assert ping_fails.returncode
    eventually(lambda: "laptop" in gateway.peers, "the network is free again, and the member back", 30)
    eventually(lambda: "10.80.0.0/16" in gateway.routes, "its network is routed")


def certify_anew(member: Member, *options: str) -> str:
    """The identity file of a host that keeps its key, with another certificate."""
    folder, key = member.identity.parent, member.status()["public_key"]
    for command in (
        ("revoke", member.label),
        ("issue", member.label, f"--public-key={key}", "-o", "new.pem", *options),
    ):
        run_command("env", f"--chdir={folder}", str(BIN / "tunnel"), "cert", *command)
    beginning = "-----BEGIN CERTIFICATE-----"
    private, *_ = member.identity.read_text().partition(beginning)
    certificates = "".join((folder / "new.pem").read_text().partition(beginning)[1:])
    return private + certificates


@pytest.mark.slow
def test_a_certificate_with_other_addresses_is_taken_by_a_reload(members: tuple[Member, Member]) -> None:
    gateway, client = members
    options = (
        "--address=10.9.0.1",
        "--address=10.9.0.100",
        "--transit=10.9.0.0/24",
        "--server",
        "--dns=gw.example.com",
    )
    gateway.identity.write_text(certify_anew(gateway, *options))
    assert "10.9.0.100/32" not in gateway.addresses
    stream = RunningStream(client.namespace, gateway.namespace, gateway.inner_ipv4)
    with stream:
        said = gateway.tunnel("reload", gateway.interface).stdout
        assert said == f"- address {gateway.inner_ipv6}/128\n+ address 10.9.0.100/32\n"
    assert stream.received == stream.sent
    assert gateway.addresses == {"10.9.0.1/32", "10.9.0.100/32"}
    assert "10.80.0.0/16" in gateway.routes
    ping(client.namespace, "10.9.0.100")


@pytest.mark.slow
def test_a_member_that_is_configured_from_now_on_keeps_its_session(members: tuple[Member, Member]) -> None:
    gateway, client = members
    (before,) = gateway.status()["peers"]
    key = PublicKey.from_base64(before["public_key"])
    stream = RunningStream(client.namespace, gateway.namespace, gateway.inner_ipv4)
    with stream:
        write_file(gateway, peer=PeerSection(key, (f"{client.inner_ipv4}/32", "10.81.0.0/16")))
        gateway.tunnel("reload", gateway.interface)
    assert stream.received == stream.sent
    (after,) = gateway.status()["peers"]
    assert after["last_handshake"] == pytest.approx(before["last_handshake"], abs=0.1)
    assert after["name"] is None
    assert after["allowed_ips"] == [f"{client.inner_ipv4}/32", "10.81.0.0/16"]
    assert "10.81.0.0/16" in gateway.routes
    eventually(lambda: "10.80.0.0/16" not in gateway.routes, "what only its certificate says is routed no more")

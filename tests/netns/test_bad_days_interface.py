"""Bad days of an interface: its link goes down, it is renamed or deleted, somebody takes what it needs, or the host
gets another uplink."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import ping
from tests.netns.hosts import (
    BIN,
    PORT,
    SOCKETS,
    Host,
    Meeting,
    PeerSection,
    Program,
    interface_name,
    introduce,
    open_host,
    open_pair,
)
from tests.netns.landscape import survey
from tests.netns.members import Member, RunningStream, dns_name, open_site
from tests.netns.uplinks import add_second, move, prefer_second, unplug, wire
from tunnel.keys import PrivateKey
from tunnel.testing.namespaces import Namespace

pytestmark = pytest.mark.root

OTHER = PrivateKey(b"\3" * 32).public_key


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with open_host(tmp_path, "badday") as host:
        host.peers.append(PeerSection(OTHER, ("10.60.0.0/16", "fd60::/64"), "192.0.2.2:51820"))
        host.settings = ("Address = 10.52.0.1/24",)
        yield host


def flap(host: Host) -> None:
    host.namespace.ip("link", "set", host.interface, "down")
    host.namespace.ip("link", "set", host.interface, "up")


def lines(host: Host, *words: str) -> list[str]:
    """Those in its log that have all these words."""
    return [line for line in host.log_file.read_text().splitlines() if all(word in line for word in words)]


def says(host: Host, *words: str) -> str:
    """Wait for a line with all these words: the last one."""
    return eventually(lambda: lines(host, *words), f"{' … '.join(words)} in\n{host.log_file.read_text()}")[-1]


# ---- the link goes down and comes back ---------------------------------------------------------------------------


def test_when_the_link_comes_back_so_does_all_that_went_with_it(tmp_path: Path) -> None:
    settings = ("Address = 10.52.0.1/24", "MTU = 1390", f"PostUp = echo %i >>{tmp_path}/hooks")
    with open_pair(tmp_path, settings=settings) as (left, right):
        before = survey(left.namespace, left.interface)
        hooks = (tmp_path / "hooks").read_text()
        ping(left.namespace, right.inner_ipv6)
        flap(left)
        eventually(lambda: survey(left.namespace, left.interface) == before, "everything is as before")
        ping(left.namespace, right.inner_ipv4)
        ping(left.namespace, right.inner_ipv6)
        assert "fd50::1/128" in says(left, "the link is up again")
        assert not lines(left, "warning")
        assert (tmp_path / "hooks").read_text() == hooks


@pytest.mark.slow
def test_what_a_reload_has_changed_comes_back_as_changed_also_if_the_link_was_down_meanwhile(host: Host) -> None:
    host.up()
    flap(host)
    host.namespace.ip("link", "set", host.interface, "down")
    host.peers[0] = PeerSection(OTHER, ("10.61.0.0/16", "fd61::/64"), "192.0.2.2:51820")
    host.write_config()
    host.tunnel("reload", host.interface)
    host.namespace.ip("link", "set", host.interface, "up")
    eventually(lambda: "10.61.0.0/16" in host.namespace.ip("route"), "the new route is there")
    eventually(lambda: "fd61::/64" in host.namespace.ip("-6", "route"), "the new route is there")
    assert "10.60.0.0/16" not in host.namespace.ip("route")


@pytest.mark.slow
def test_routes_in_a_table_of_their_own_come_back_into_it(host: Host) -> None:
    host.peers[0] = PeerSection(OTHER, ("0.0.0.0/0", "::/0"), "192.0.2.2:51820")
    host.settings = ("Table = 4711",)
    host.up()
    before = survey(host.namespace, host.interface)
    assert "default" in host.namespace.ip("route", "show", "table", "4711")
    flap(host)
    eventually(lambda: survey(host.namespace, host.interface) == before, "everything is as before")


@pytest.mark.slow
def test_of_a_bare_interface_nothing_is_put_back_as_with_kernel_wireguard(tmp_path: Path) -> None:
    with open_host(tmp_path, "barebad", Program.TUNNEL_WG) as host:
        host.peers.append(PeerSection(OTHER, ("10.60.0.0/16",), "192.0.2.2:51820"))
        host.up()
        flap(host)
        eventually(lambda: host.status()["listen_port"], "it is up")
        assert "10.60.0.0/16" not in host.namespace.ip("route")
        assert host.inner_ipv6 not in host.namespace.ip("address")
        assert not lines(host, "put back")


@pytest.mark.slow
def test_members_have_their_addresses_and_routes_back(tmp_path: Path) -> None:
    with open_site(tmp_path, "flap") as site:
        gateway, client = site.gateway("gw", 1), site.client("laptop", 2)
        gateway.up()
        client.up()
        before = client.routes, client.addresses, gateway.addresses
        for member in (client, gateway):
            member.namespace.ip("link", "set", member.interface, "down")
            member.namespace.ip("link", "set", member.interface, "up")
        eventually(lambda: (client.routes, client.addresses, gateway.addresses) == before, "all is as before", 20)
        ping(client.namespace, gateway.inner_ipv6)
        client.namespace.ip("route", "delete", "10.9.0.0/24", "dev", client.interface)
        assert "route 10.9.0.0/24" in client.says("somebody has removed")
        assert client.tunnel("reload", client.interface).stdout == "+ route 10.9.0.0/24 (was missing)\n"
        eventually(lambda: (client.routes, client.addresses, gateway.addresses) == before, "all is as before")


# ---- somebody takes an address or a route ------------------------------------------------------------------------


def test_what_somebody_takes_is_said_in_one_line_and_put_back_by_a_reload(host: Host) -> None:
    host.up()
    before = survey(host.namespace, host.interface)
    for command in (
        ("address", "flush", "dev", host.interface),
        ("-6", "route", "delete", "fd60::/64", "dev", host.interface),
    ):
        host.namespace.ip(*command)
    line = says(host, "warning: somebody has removed addresses 10.50.0.1/32, fd50::1/128, 10.52.0.1/24")
    assert "routes fd60::/64, 10.60.0.0/16 from" in line
    assert line.endswith(f"to put them back: tunnel reload {host.interface}")
    assert host.tunnel("reload", host.interface).stdout.count("(was missing)\n") == 5
    assert survey(host.namespace, host.interface) == before
    assert host.tunnel("reload", host.interface).stdout == "nothing to change\n"
    host.tunnel("down", host.interface)
    assert len(lines(host, "warning")) == 1


@pytest.mark.slow
def test_the_route_of_an_address_is_ours_too(host: Host) -> None:
    host.up()
    host.namespace.ip("route", "delete", "10.52.0.0/24", "dev", host.interface)
    says(host, "somebody has removed route 10.52.0.0/24")
    assert host.tunnel("reload", host.interface, "--dry-run").stdout == "+ route 10.52.0.0/24 (was missing)\n"
    host.tunnel("reload", host.interface)
    route = f"10.52.0.0/24 dev {host.interface} proto kernel scope link src 10.52.0.1"
    assert route in host.namespace.ip("route")


@pytest.mark.slow
def test_what_hooks_take_is_meant(host: Host) -> None:
    host.settings += (
        "PostUp = ip route del 10.60.0.0/16",
        f"PreDown = ip address del {host.inner_ipv4}/32 dev %i; sleep 1",
    )
    host.up()
    assert host.tunnel("reload", host.interface).stdout == "nothing to change\n"
    flap(host)
    says(host, "the link is up again")
    assert "10.60.0.0/16" not in host.namespace.ip("route")
    host.tunnel("down", host.interface)
    assert not lines(host, "warning")


@pytest.mark.slow
def test_changes_of_our_own_are_nobody_s_loss(host: Host) -> None:
    """With the first address of a network the kernel takes the others, which come back."""
    host.settings = ("Address = 10.53.0.1/24, 10.53.0.2/24",)
    host.up()
    host.settings = ("Address = 10.53.0.2/24",)
    host.peers[0] = PeerSection(OTHER, ("10.60.0.0/16",), "192.0.2.2:51820")
    host.write_config()
    host.tunnel("reload", host.interface)
    host.namespace.ip("address", "add", "10.77.0.1/24", "dev", host.interface)
    host.namespace.ip("address", "delete", "10.77.0.1/24", "dev", host.interface)
    host.namespace.ip("route", "delete", "10.60.0.0/16")
    says(host, "somebody has removed route 10.60.0.0/16")
    assert len(lines(host, "warning")) == 1


# ---- renamed under us --------------------------------------------------------------------------------------------


def rename(host: Host, name: str, old: str = "") -> None:
    for change in (("down",), ("name", name)):
        host.namespace.ip("link", "set", old or host.interface, *change)
    host.namespace.ip("link", "set", name, "up")


def test_everything_follows_an_interface_that_is_renamed(host: Host, tmp_path: Path) -> None:
    new = interface_name("office")
    host.settings += (f"PostDown = echo %i >{tmp_path}/told",)
    before = survey(host.namespace, host.interface)
    host.up()
    routes = host.namespace.ip("route")
    rename(host, new)
    assert host.interface not in says(host, f"interface {host.interface} is called {new} now").split(" info:")[0]
    eventually((SOCKETS / f"{new}.sock").exists, "the control socket has the new name")
    assert not (SOCKETS / f"{host.interface}.sock").exists()
    eventually(lambda: host.namespace.ip("route") == routes.replace(host.interface, new), "the routes are back")
    assert json.loads(host.tunnel("status", new, "--json").stdout)[0]["name"] == new
    assert f"interface: {new}" in host.wg("show", new).stdout
    assert host.tunnel("reload", new).stdout == "nothing to change\n"
    assert new in host.tunnel("why", "10.60.0.1", check=False).stdout
    host.namespace.ip("route", "delete", "10.60.0.0/16")
    assert f" {new} warning:" in says(host, f"from {new}; to put it back: tunnel reload {new}")
    host.tunnel("down", new)
    assert (tmp_path / "told").read_text() == f"{new}\n"
    assert survey(host.namespace, host.interface) == before
    assert not (SOCKETS / f"{new}.sock").exists()


@pytest.mark.slow
def test_the_old_name_is_free_for_another_and_the_events_go_on(host: Host, tmp_path: Path) -> None:
    new = interface_name("office")
    host.up()
    told = tmp_path / "events"
    listener = host.namespace.popen(str(BIN / "tunnel"), "events", host.interface, log=told)
    eventually(lambda: '"listening"' in told.read_text(), "somebody listens", 10)
    rename(host, new)
    line = eventually(lambda: [line for line in told.read_text().splitlines() if "renamed" in line], "it is told")[0]
    event = json.loads(line)
    assert (event["interface"], event["event"], event["before"]) == (new, "interface_renamed", host.interface)
    with Namespace("another") as namespace:
        another = Host(namespace, host.label, 3, Program.TUNNEL_WG, tmp_path / "another")
        another.directory.mkdir()
        another.start_daemon()
        assert another.status()["name"] == host.interface
        assert host.namespace.run(str(BIN / "tunnel"), "status", new).stdout
        (SOCKETS / f"{host.interface}.sock").unlink()
        eventually(lambda: host.interface not in namespace.links(), "the other one is gone")
    assert listener.poll() is None
    host.tunnel("down", new)
    assert listener.wait(5) == 1


@pytest.mark.slow
def test_a_bare_interface_is_followed_too_and_back_again(tmp_path: Path) -> None:
    new = interface_name("office")
    with open_host(tmp_path, "bareren", Program.TUNNEL_WG) as host:
        host.up()
        rename(host, new)
        eventually(lambda: new in host.wg("show", "interfaces").stdout, "wg knows the new name")
        rename(host, host.interface, old=new)
        eventually(lambda: host.interface in host.wg("show", "interfaces").stdout, "wg knows the old name")
        (SOCKETS / f"{host.interface}.sock").unlink()
        eventually(lambda: not host.namespace.links()[1:], "it is gone")


@pytest.mark.slow
def test_where_a_socket_of_the_new_name_is_in_the_way_the_old_one_stays(host: Host) -> None:
    new = interface_name("office")
    host.up()
    with open_host(host.directory, "office") as other:
        other.up()
        rename(host, new)
        line = says(host, "warning", f"interface {new} is already run by process")
        assert line.endswith(f"; its control socket stays {SOCKETS}/{host.interface}.sock")
        assert json.loads(host.tunnel("status", host.interface, "--json").stdout)[0]["name"] == new
        host.tunnel("down", host.interface)
        assert other.status()["name"] == new
    assert not (SOCKETS / f"{host.interface}.sock").exists()


# ---- deleted under us --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_interface_that_is_deleted_leaves_no_routes_rules_or_sockets(host: Host) -> None:
    host.peers[0] = PeerSection(OTHER, ("0.0.0.0/0", "::/0"), "192.0.2.2:51820")
    host.settings = (
        "FwMark = 51820",
        "Table = 51820",
        "PostUp = ip rule add not fwmark 51820 table 51820; ip -6 rule add not fwmark 51820 table 51820",
        "PostDown = ip rule del not fwmark 51820 table 51820; ip -6 rule del not fwmark 51820 table 51820",
    )
    before = survey(host.namespace, host.interface)
    host.up()
    assert survey(host.namespace, host.interface).rules != before.rules
    host.namespace.ip("link", "delete", host.interface)
    eventually(lambda: survey(host.namespace, host.interface) == before, "everything is as before")
    assert lines(host, "was deleted")
    assert not lines(host, "warning") + lines(host, "error") + lines(host, "Traceback")
    assert not (SOCKETS / f"{host.interface}.sock").exists()


# ---- the host gets another uplink --------------------------------------------------------------------------------

STANDSTILL = 5.0
"""Seconds; it is a quarter of a second on an idle machine, and was 27 before peers were told."""


@contextmanager
def travelling(directory: Path, far: Program, *, over_ipv6: bool = False) -> Iterator[tuple[Host, Host]]:
    """A configured peer with two uplinks, and another one far away who is told nothing of where it is."""
    with ExitStack() as stack:
        namespaces = [stack.enter_context(Namespace(f"travel-{label}")) for label in ("near", "router", "far")]
        wire(*namespaces)
        gateway = Host(namespaces[2], "trvfar", 1, far, directory)
        traveller = Host(namespaces[0], "trvnear", 2, Program.TUNNEL, directory)
        introduce(traveller, gateway, Meeting("left", over_ipv6=over_ipv6))
        yield traveller, gateway


def stands_still(traveller: Host | Member, gateway: Host | Member, change: Callable[[Namespace], None]) -> float:
    """Seconds without data in a download while the uplink changes; who downloads sends only when something arrives."""
    ping(traveller.namespace, gateway.inner_ipv4, count=1)
    with RunningStream(gateway.namespace, traveller.namespace, traveller.inner_ipv4) as stream:
        eventually(lambda: stream.received > 200_000, "the stream runs", 20)
        change(traveller.namespace)
        before = stream.received
        eventually(lambda: stream.received > before + 500_000, "the stream goes on", 60)
    assert stream.received == stream.sent
    print(f"{change.__name__}: {stream.silence:.2f} s")
    return stream.silence


@pytest.mark.slow
@pytest.mark.parametrize("change", [move, unplug, prefer_second])
def test_a_flow_to_a_configured_peer_goes_on_over_another_uplink(
    tmp_path: Path, change: Callable[[Namespace], None]
) -> None:
    with travelling(tmp_path, Program.TUNNEL) as (traveller, gateway):
        if change is unplug:
            add_second(traveller.namespace, metric=500)
        gateway.up()
        traveller.up()
        assert stands_still(traveller, gateway, change) < STANDSTILL
        assert gateway.dump(traveller).endpoint == f"203.0.113.2:{PORT}"
        assert len(lines(traveller, "this host has another way out: telling")) <= 1  # none if it was heard at once
        assert len(lines(traveller, "handshake completed")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("far", [Program.TUNNEL, Program.WIREGUARD_GO])
def test_a_flow_goes_on_over_another_uplink_with_ipv6_and_towards_others(tmp_path: Path, far: Program) -> None:
    with travelling(tmp_path, far, over_ipv6=True) as (traveller, gateway):
        gateway.up()
        traveller.up()
        assert stands_still(traveller, gateway, move) < STANDSTILL
        assert gateway.dump(traveller).endpoint == f"[2001:db8:b::2]:{PORT}"


@pytest.mark.slow
@pytest.mark.parametrize("change", [move, unplug])
def test_a_flow_of_a_member_that_dials_goes_on_over_another_uplink(
    tmp_path: Path, change: Callable[[Namespace], None]
) -> None:
    with open_site(tmp_path, "trav") as site, Namespace("trav-router") as router:
        gateway = site.add("gw", 1, site.office.issue_gateway("gw", 1))
        traveller = site.add("laptop", 2, site.office.issue_client("laptop", 2), f"--peer={dns_name('gw')}")
        wire(traveller.namespace, router, gateway.namespace)
        if change is unplug:
            add_second(traveller.namespace, metric=500)
        gateway.up()
        traveller.up()
        assert stands_still(traveller, gateway, change) < STANDSTILL
        assert traveller.status()["refusals"] == {}

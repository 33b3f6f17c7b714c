"""Real faults, each made on a pair that works, and what doctor calls them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns.examined import examine, firewall, follow, trying, verdict
from tests.netns.flows import is_reachable, ping
from tests.netns.hosts import PORT, Host, Meeting, Program, open_host, open_pair
from tunnel.keys import PrivateKey
from tunnel.testing.namespaces import Namespace, Port, connect

pytestmark = pytest.mark.root

Pair = tuple[Host, Host]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with open_pair(tmp_path) as hosts:
        yield hosts


@contextmanager
def network_behind(right: Host, left: Host) -> Iterator[str]:
    """A host behind right, that left may reach through it; its address."""
    with Namespace("behind") as behind:
        connect(Port(right.namespace, "lan0", ("10.50.2.1/24",)), Port(behind, "eth0", ("10.50.2.5/24",)))
        behind.ip("route", "add", "default", "via", "10.50.2.1")
        allowed = f"{right.inner_ipv4}/32,10.50.2.0/24"
        left.wg("set", left.interface, "peer", str(right.public_key), "allowed-ips", allowed)
        left.namespace.ip("route", "add", "10.50.2.0/24", "dev", left.interface)
        yield "10.50.2.5"


def reset_session(host: Host, peer: Host) -> None:
    """Forget the session, keep everything else."""
    host.tunnel("down", host.interface)
    host.up()


def test_nothing_is_wrong_with_a_pair_that_works(pair: Pair) -> None:
    for host in pair:
        document = examine(host)
        assert document["healthy"], document
        assert document["verdict"] is None


def test_an_interface_that_is_not_up_is_named_and_its_remedy_mends_it(pair: Pair) -> None:
    left, _ = pair
    left.tunnel("down", left.interface)
    assert f"tunnel up {left.config_file} -d" in verdict(left)


@pytest.mark.slow
def test_a_missing_route_to_the_endpoint_is_named(pair: Pair) -> None:
    left, _ = pair
    left.namespace.ip("address", "flush", "dev", "eth0")
    text = verdict(left)
    assert text.startswith("there is no route to its endpoint")
    assert "network is unreachable" in text


def test_a_route_into_the_tunnel_that_was_deleted_is_named_and_put_back(pair: Pair) -> None:
    left, right = pair
    left.namespace.ip("route", "delete", f"{right.inner_ipv4}/32", "dev", left.interface)
    text = verdict(left)
    assert text.startswith(f"there is no route to {right.inner_ipv4}/32")
    follow(left, text)
    ping(left.namespace, right.inner_ipv4)


@pytest.mark.slow
def test_a_file_that_everybody_may_read_is_named(pair: Pair) -> None:
    left, _ = pair
    left.config_file.chmod(0o644)
    left.directory.chmod(0o755)
    text = verdict(left)
    assert text.startswith("the configuration cannot be used")
    assert text.endswith(f"chmod 600 {left.config_file}")


@pytest.mark.slow
def test_a_name_that_does_not_resolve_is_named(tmp_path: Path) -> None:
    with open_pair(tmp_path) as (left, _):
        left.tunnel("down", left.interface)
        left.peers[0].endpoint = f"gateway.invalid:{PORT}"
        left.up()
        assert verdict(left).startswith("the name gateway.invalid does not resolve")


@pytest.mark.slow
def test_a_rule_that_stops_what_we_send_is_named_and_excepted(pair: Pair) -> None:
    left, right = pair
    firewall(left, "output", "oif lo accept", f"udp dport {PORT} counter drop")
    reset_session(left, right)
    text = verdict(left)
    assert text.startswith("our own firewall stops what we send")
    assert "chain inet f c" in text
    follow(left, text)
    ping(left.namespace, right.inner_ipv4)


@pytest.mark.slow
def test_a_policy_that_stops_what_is_sent_to_us_is_named_and_excepted(pair: Pair) -> None:
    left, right = pair
    firewall(right, "input", "iif lo accept", "ip protocol icmp accept", policy="drop")
    reset_session(right, left)
    text = verdict(right)
    assert text.startswith("our own firewall stops what it sends")
    follow(right, text)
    reset_session(left, right)
    ping(left.namespace, right.inner_ipv4)


@pytest.mark.slow
def test_a_wrong_port_is_named(tmp_path: Path) -> None:
    with open_pair(tmp_path) as (left, right):
        left.wg("set", left.interface, "peer", str(right.public_key), "endpoint", f"{right.outer_ipv4}:51999")
        left.tunnel("down", left.interface)
        left.peers[0].endpoint = f"{right.outer_ipv4}:51999"
        left.up()
        assert verdict(left).startswith("nobody listens at its endpoint")


@pytest.mark.slow
def test_an_endpoint_that_is_switched_off_is_named(pair: Pair) -> None:
    left, right = pair
    right.namespace.ip("address", "flush", "dev", "eth0")
    reset_session(left, right)
    assert verdict(left).startswith("its endpoint cannot be reached")


@pytest.mark.slow
def test_a_wrong_key_for_the_far_end_is_unanswered_here_and_named_there(tmp_path: Path) -> None:
    with open_pair(tmp_path) as (left, right):
        left.tunnel("down", left.interface)
        right.tunnel("down", right.interface)
        left.peers[0].public_key = PrivateKey(b"\1" * 32).public_key
        right.up()
        left.up()
        assert verdict(left).startswith("it does not answer our handshakes")
        with trying(left, "ping", "-c1", "-W1", right.inner_ipv4):
            text = verdict(right)
        assert text.startswith("somebody has a wrong public key for us")
        assert str(right.public_key) in text


@pytest.mark.slow
def test_a_key_that_the_far_end_does_not_have_is_named_there(tmp_path: Path) -> None:
    with open_pair(tmp_path) as (left, right):
        left.tunnel("down", left.interface)
        right.tunnel("down", right.interface)
        right.peers[0].public_key = PrivateKey(b"\1" * 32).public_key
        right.up()
        left.up()
        with trying(left, "ping", "-c1", "-W1", right.inner_ipv4):
            assert verdict(right).startswith("somebody knocks whose public key we do not have")


@pytest.mark.slow
def test_preshared_keys_that_differ_are_named(pair: Pair) -> None:
    left, right = pair
    key = "A" * 42 + "E="
    left.tunnel("down", left.interface)
    left.up()
    left.wg("set", left.interface, "peer", str(right.public_key), "preshared-key", "/dev/stdin", stdin=key)
    assert verdict(left).startswith("the preshared keys differ")


@pytest.mark.slow
def test_allowed_ips_that_miss_an_address_are_named_where_they_are(pair: Pair) -> None:
    left, right = pair
    ping(left.namespace, right.inner_ipv4)
    left.namespace.ip("address", "add", "10.77.0.1/32", "dev", left.interface)
    with trying(left, "ping", "-c1", "-W1", "-I", "10.77.0.1", right.inner_ipv4):
        text = verdict(right)
    assert text.startswith("its packets are refused: its allowed IPs here miss an address")


@pytest.mark.slow
def test_a_route_that_is_shadowed_is_named_with_who_does_it(pair: Pair) -> None:
    left, right = pair
    left.wg("set", left.interface, "peer", str(right.public_key), "allowed-ips", "10.60.0.0/24")
    left.namespace.ip("route", "add", "10.60.0.0/24", "dev", left.interface, "metric", "100")
    left.namespace.ip("route", "add", "10.60.0.0/24", "dev", "eth0")
    text = verdict(left)
    assert text.startswith("the route to 10.60.0.0/24 is shadowed")
    assert "leave by eth0" in text


@pytest.mark.slow
def test_replies_that_the_reverse_path_filter_eats_are_named(tmp_path: Path) -> None:
    with open_pair(tmp_path, settings=("Table = off",)) as (left, right):
        right.namespace.ip("route", "add", left.inner_ipv4, "dev", right.interface)
        left.namespace.ip("route", "add", "default", "via", right.outer_ipv4)
        left.namespace.run("sysctl", "-qw", f"net.ipv4.conf.{left.interface}.rp_filter=1")
        text = verdict(left)
        assert text.startswith("the kernel throws away what comes out of the tunnel")
        follow(left, text)
        assert is_reachable(left.namespace, right.inner_ipv4) or examine(left)["verdict"] is None


@pytest.mark.slow
def test_answers_that_policy_routing_with_a_mark_loses_are_named_and_let_in(tmp_path: Path) -> None:
    with open_pair(tmp_path) as (left, right):
        left.tunnel("down", left.interface)
        left.settings = ("FwMark = 0xca6c", "Table = 51820")
        left.peers[0].allowed_ips = ("0.0.0.0/0",)
        left.namespace.ip("rule", "add", "not", "fwmark", "0xca6c", "table", "51820")
        left.namespace.run("sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1")
        left.up()
        text = verdict(left)
        assert text.startswith("the kernel throws its answers away")
        follow(left, text)
        ping(left.namespace, right.inner_ipv4)


@pytest.mark.slow
def test_a_gateway_that_does_not_forward_is_named_and_mended(pair: Pair) -> None:
    left, right = pair
    with network_behind(right, left) as address:
        with trying(left, "ping", "-c1", "-W1", address):
            text = verdict(right)
        assert text.startswith("this host does not forward IPv4")
        follow(right, text)
        ping(left.namespace, address)


@pytest.mark.slow
def test_a_rule_that_stops_what_is_forwarded_is_named_and_excepted(pair: Pair) -> None:
    left, right = pair
    right.namespace.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    firewall(right, "forward", f'iifname "{right.interface}" counter drop')
    with network_behind(right, left) as address:
        with trying(left, "ping", "-c1", "-W1", address):
            text = verdict(right)
        assert text.startswith("our own firewall stops what is forwarded")
        follow(right, text)
        ping(left.namespace, address)


@pytest.mark.slow
def test_an_interface_that_was_switched_off_is_named(pair: Pair) -> None:
    left, _ = pair
    left.namespace.ip("link", "set", left.interface, "down")
    text = verdict(left)
    assert text.startswith("the interface is down")


@pytest.mark.slow
def test_an_address_that_was_taken_away_is_named_and_given_back(pair: Pair) -> None:
    left, right = pair
    left.namespace.ip("address", "delete", f"{left.inner_ipv4}/32", "dev", left.interface)
    text = verdict(left)
    assert text.startswith(f"the address {left.inner_ipv4} is missing")
    assert f"tunnel reload {left.interface}" in text  # routes have gone with it
    follow(left, text)
    ping(left.namespace, right.inner_ipv4)


@pytest.mark.slow
def test_a_path_that_swallows_large_datagrams_is_said_with_what_is_done_about_it(pair: Pair) -> None:
    left, right = pair
    firewall(right, "prerouting", f"iifname eth0 udp dport {PORT} udp length > 1350 drop")
    document = examine(left)
    assert document["healthy"]
    found = document["verdict"]
    assert found["what"] == "the path is narrower than the interface"
    assert "1370 bytes get through" in found["why"]
    follow(left, found["remedy"])
    assert examine(left)["verdict"] is None


@pytest.mark.slow
def test_large_packets_that_are_lost_inside_are_named_with_what_fits(pair: Pair) -> None:
    left, right = pair
    firewall(right, "input", f'iifname "{right.interface}" ip length > 1350 drop')
    text = verdict(left)
    assert text.startswith("large packets are lost on the way")
    follow(left, text)
    assert "large packets" not in str(examine(left)["verdict"])


@pytest.mark.slow
def test_an_answer_that_our_firewall_stops_inside_is_named_and_let_in(pair: Pair) -> None:
    left, right = pair
    firewall(left, "input", f'iifname "{left.interface}" drop')
    text = verdict(left)
    assert text.startswith("our own firewall stops what comes out of the tunnel")
    follow(left, text)
    ping(left.namespace, right.inner_ipv4)


@pytest.mark.slow
def test_a_far_end_that_drops_pings_is_a_doubt_and_no_fault(pair: Pair) -> None:
    left, right = pair
    firewall(right, "input", "ip protocol icmp drop")
    found = examine(left)["verdict"]
    assert found["severity"] == "doubt"
    assert found["what"] == "the handshake is fine, but nothing answers inside"


@pytest.mark.slow
def test_one_key_on_two_interfaces_is_named(tmp_path: Path, pair: Pair) -> None:
    left, _ = pair
    with open_host(tmp_path, "twin") as twin:
        twin.private_key = left.private_key
        twin.peers = left.peers
        twin.up()
        assert verdict(left).startswith("two interfaces use one private key")


@pytest.mark.slow
def test_a_pair_with_a_stock_implementation_at_the_far_end_is_healthy(tmp_path: Path) -> None:
    with open_pair(tmp_path, right=Program.WIREGUARD_GO, meeting=Meeting(initiator="both")) as hosts:
        for host in hosts:
            if host.program is Program.TUNNEL:
                assert examine(host)["healthy"]
            else:
                done = host.tunnel("doctor", host.interface, check=False)
                assert done.returncode == 0, done.stdout


def test_why_names_route_and_peer_and_ends_with_what_stops_a_packet(pair: Pair) -> None:
    left, right = pair
    ping(left.namespace, right.inner_ipv4)
    done = left.tunnel("why", right.inner_ipv4)
    assert done.stdout.startswith(f"{right.inner_ipv4}: leaves by {left.interface} from {left.inner_ipv4}\n")
    for words in ("in table main", "32766: from all lookup main", str(right.public_key), "nothing that we know of"):
        assert words in done.stdout
    left.namespace.ip("route", "delete", f"{right.inner_ipv4}/32", "dev", left.interface)
    done = left.tunnel("why", right.inner_ipv4, check=False)
    assert done.returncode == 1
    assert f"it would have to leave by {left.interface}" in done.stdout

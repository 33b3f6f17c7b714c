"""A gateway and three clients that know each other by certificates alone: routes, status, and how each of them ends."""

import os
import signal
from collections.abc import Callable, Iterator
from itertools import permutations

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import ping, send_tcp
from tests.netns.landscape import survey
from tests.netns.members import NETWORKS, Member, Site, open_site

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def star(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Member, list[Member]]]:
    with open_site(tmp_path_factory.mktemp("star"), "star") as site:
        gateway = site.gateway("gw", 1)
        clients = [site.client(label, number) for number, label in enumerate(("one", "two", "three"), 2)]
        for member in (gateway, *clients):
            member.up()
        yield gateway, clients


def everybody(clients: list[Member]) -> set[str]:
    """The addresses of the clients, as the kernel shows routes to them."""
    return {address for client in clients for address in client.inner}


def test_every_client_reaches_the_gateway_and_every_other_client(star: tuple[Member, list[Member]]) -> None:
    gateway, clients = star
    for here, there in permutations([gateway, *clients], 2):
        for address in there.inner:
            ping(here.namespace, address, count=2)


def test_a_tcp_flow_crosses_the_gateway(star: tuple[Member, list[Member]]) -> None:
    _, (one, two, _) = star
    for address in two.inner:
        send_tcp(one.namespace, two.namespace, address, 1_000_000)


def test_addresses_are_those_of_the_own_certificate_and_routes_those_of_the_others(
    star: tuple[Member, list[Member]],
) -> None:
    gateway, clients = star
    for member in (gateway, *clients):
        assert member.addresses == {f"{member.inner_ipv4}/32", f"{member.inner_ipv6}/128"}
    assert gateway.routes == everybody(clients)
    for client in clients:
        assert client.routes == {*gateway.inner, *NETWORKS}


def test_the_status_tells_who_is_there_why_and_until_when(star: tuple[Member, list[Member]]) -> None:
    gateway, (one, *_) = star
    status = gateway.status()
    assert status["identity"] == "gw"
    assert {peer["name"]: peer["admitted"] for peer in status["peers"]} == dict.fromkeys(
        ("one", "two", "three"), "vouched for by 'tunnel CA'"
    )
    (peer,) = one.status()["peers"]
    assert (peer["name"], peer["admitted"]) == ("gw", "dialled as gw.example.com:51820")
    assert peer["certificate_expires"] == status["certificate_expires"]
    assert peer["persistent_keepalive"] == 25


def test_people_read_names_instead_of_keys(star: tuple[Member, list[Member]]) -> None:
    gateway, _ = star
    shown = gateway.tunnel("status", gateway.interface).stdout
    for line in ("  identity:        gw", "peer: one", "  admitted:        vouched for by 'tunnel CA'"):
        assert f"{line}\n" in shown


def test_a_client_that_goes_takes_its_routes_at_the_gateway_with_it(star: tuple[Member, list[Member]]) -> None:
    gateway, clients = star
    leaving, *others = clients
    leaving.down()
    eventually(lambda: gateway.routes == everybody(others), "its routes are gone")
    assert gateway.peers == {other.label for other in others}
    leaving.up()
    assert gateway.routes == everybody(clients)
    ping(leaving.namespace, others[0].inner_ipv4, count=1)


def test_a_client_that_was_killed_comes_back_with_a_second_start(star: tuple[Member, list[Member]]) -> None:
    gateway, (one, two, _) = star
    two.kill()
    two.up()
    for address in (gateway.inner_ipv4, one.inner_ipv6):
        ping(two.namespace, address, count=1)
    assert gateway.peers == {"one", "two", "three"}


@pytest.mark.slow
def test_a_gateway_that_was_killed_is_found_again_by_everybody(star: tuple[Member, list[Member]]) -> None:
    gateway, clients = star
    gateway.kill()
    gateway.up()
    pings = [
        client.namespace.popen("ping", "-n", "-c1", "-i0.5", "-w40", gateway.inner_ipv4, log=client.log_file)
        for client in clients
    ]
    assert [process.wait(45) for process in pings] == [0, 0, 0]
    ping(clients[0].namespace, clients[1].inner_ipv4, count=1)


def send_signal(number: signal.Signals) -> Callable[[Member], None]:
    return lambda member: os.kill(member.pid, number)


def delete_interface(member: Member) -> None:
    member.namespace.ip("link", "delete", member.interface)


ENDINGS = (
    pytest.param(Member.down, id="tunnel down"),
    pytest.param(delete_interface, id="interface deleted", marks=pytest.mark.slow),
    pytest.param(send_signal(signal.SIGTERM), id="SIGTERM", marks=pytest.mark.slow),
    pytest.param(send_signal(signal.SIGINT), id="SIGINT", marks=pytest.mark.slow),
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(tmp_path_factory.mktemp("pair"), "pair") as site:
        site.gateway("gw", 1)
        site.client("laptop", 2)
        yield site


@pytest.mark.parametrize("end", ENDINGS)
def test_after_every_ending_nothing_is_left_at_either_side(pair: Site, end: Callable[[Member], object]) -> None:
    members = [pair.members["gw"], pair.members["laptop"]]
    before = [survey(member.namespace, member.interface) for member in members]
    for member in members:
        member.up()
    for member in members:
        end(member)
    for member, landscape in zip(members, before, strict=True):

        def is_as_before(member: Member = member, landscape: object = landscape) -> bool:
            return survey(member.namespace, member.interface) == landscape

        eventually(is_as_before, f"everything at {member.label} is as before")


@pytest.mark.slow
def test_after_kill_nine_only_the_socket_file_is_left_and_the_next_start_takes_it(pair: Site) -> None:
    gateway = pair.members["gw"]
    before = survey(gateway.namespace, gateway.interface)
    gateway.up()
    gateway.kill()
    left = survey(gateway.namespace, gateway.interface)
    assert left.control_sockets == {f"{gateway.interface}.sock"}
    gateway.up()
    gateway.down()
    assert survey(gateway.namespace, gateway.interface) == before


def test_the_log_has_one_line_for_each_who_comes(star: tuple[Member, list[Member]]) -> None:
    gateway, _ = star
    gateway.says("peer admitted", "name=one", "authority='tunnel CA'", "until=")

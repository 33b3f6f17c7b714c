"""Two peers of ours, over either outer family, with traffic of either inner family."""

from collections.abc import Iterator

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import is_reachable, ping, send_tcp
from tests.netns.hosts import Host, Meeting, open_pair
from tunnel.keys import PresharedKey

pytestmark = pytest.mark.root

Pair = tuple[Host, Host]


@pytest.fixture(scope="module", params=[False, True], ids=["over-ipv4", "over-ipv6"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    meeting = Meeting(over_ipv6=request.param, preshared_key=PresharedKey(b"\7" * 32))
    with open_pair(tmp_path_factory.mktemp("pair"), meeting=meeting) as hosts:
        yield hosts


def test_the_initiator_reaches_the_responder(pair: Pair) -> None:
    left, right = pair
    for address in right.inner:
        ping(left.namespace, address)


def test_the_responder_learns_the_endpoint_and_reaches_the_initiator(pair: Pair) -> None:
    left, right = pair
    ping(left.namespace, right.inner_ipv4)
    for address in left.inner:
        ping(right.namespace, address)
    assert right.dump(left).endpoint in (left.endpoint(), left.endpoint(over_ipv6=True))


def test_status_tells_of_the_handshake_and_the_bytes(pair: Pair) -> None:
    left, right = pair
    send_tcp(left.namespace, right.namespace, right.inner_ipv4, 100_000)
    status = left.status()
    (peer,) = status["peers"]
    assert peer["public_key"] == str(right.public_key)
    assert peer["last_handshake"] > 0
    assert peer["rx_bytes"] > 100_000
    assert peer["tx_bytes"] > 100_000
    assert peer["has_preshared_key"]


def test_status_for_people_names_the_peer(pair: Pair) -> None:
    left, right = pair
    assert str(right.public_key) in left.tunnel("status", left.interface).stdout


def test_the_interface_has_the_addresses_and_an_mtu_that_fits_the_cable(pair: Pair) -> None:
    left, right = pair
    shown = left.namespace.ip("address", "show", left.interface)
    assert left.inner_ipv4 in shown
    assert left.inner_ipv6 in shown
    assert "mtu 1420" in shown or "mtu 1440" in shown
    assert left.interface in left.namespace.ip("-6", "route", "get", right.inner_ipv6)


def test_a_wrong_preshared_key_lets_nothing_through(pair: Pair) -> None:
    left, right = pair
    ping(left.namespace, right.inner_ipv4)
    left.wg("set", left.interface, "peer", str(right.public_key), "preshared-key", "/dev/stdin", stdin="A" * 43 + "=")
    right.wg("set", right.interface, "peer", str(left.public_key), "remove")
    assert not is_reachable(left.namespace, right.inner_ipv4)
    eventually(lambda: right.status()["drops"], "the handshakes are counted as drops")

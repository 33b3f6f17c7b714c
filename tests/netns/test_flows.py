"""TCP, UDP and ICMP, small and large, through tunnels with every MTU that people have, and every kind of offload."""

from collections.abc import Iterator

import pytest

from tests.netns.flows import ping, send_tcp, send_udp
from tests.netns.hosts import Host, open_pair

pytestmark = pytest.mark.root

Pair = tuple[Host, Host]
OUTER_OVERHEAD = 80
"""IPv6, UDP and message 4 around a packet."""
SMALL, LARGE = 100, 2_000_000


TUNNELS = [(1420, "auto"), (9000, "auto"), (1420, "off")]
MORE_TUNNELS = [(1280, "auto"), (1420, "send"), (1420, "receive")]


@pytest.fixture(
    scope="module",
    params=[*TUNNELS, *(pytest.param(tunnel, marks=pytest.mark.slow) for tunnel in MORE_TUNNELS)],
    ids=lambda tunnel: f"{tunnel[0]}-{tunnel[1]}",
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    mtu, offload = request.param
    directory = tmp_path_factory.mktemp("flows")
    settings = (f"Offload = {offload}",)
    with open_pair(directory, mtu=mtu, cable_mtu=max(1500, mtu + OUTER_OVERHEAD), settings=settings) as hosts:
        yield hosts


@pytest.fixture(params=[0, 1], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> int:
    index: int = request.param
    return index


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_tcp_flow_arrives_whole(pair: Pair, family: int, size: int) -> None:
    left, right = pair
    send_tcp(left.namespace, right.namespace, right.inner[family], size)


def test_datagrams_from_empty_to_fragmented_arrive_whole(pair: Pair, family: int) -> None:
    left, right = pair
    assert left.mtu is not None
    headers = (28, 48)[family]
    sizes = [0, 1, 17, SMALL, left.mtu - headers - 1, left.mtu - headers, left.mtu - headers + 1, 8_000, 40_000]
    send_udp(left.namespace, left.inner[family], right.namespace, right.inner[family], sizes)


@pytest.mark.parametrize("size", [0, SMALL, 20_000])
def test_every_ping_is_answered(pair: Pair, family: int, size: int) -> None:
    left, right = pair
    ping(left.namespace, right.inner[family], size=size, count=5)


def test_the_longest_packet_that_fits_passes_unfragmented(pair: Pair, family: int) -> None:
    left, right = pair
    assert left.mtu is not None
    size = left.mtu - (28, 48)[family]
    command = ("ping", "-n", "-c1", "-W2", "-M", "do", "-s", str(size), right.inner[family])
    assert "1 received" in left.namespace.run(*command).stdout

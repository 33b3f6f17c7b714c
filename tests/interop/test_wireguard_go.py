"""Ours with Debian's wireguard-go: either begins, over either family, with and without a preshared key."""

from collections.abc import Iterator

import pytest

from tests.interop.mixed import Mixed, meet, open_mixed
from tests.netns.flows import ping, send_tcp, send_udp
from tests.netns.hosts import Meeting

pytestmark = pytest.mark.root

MEETINGS = {
    "we-begin-over-ipv4": meet("ours"),
    "they-begin-over-ipv4": meet("theirs"),
    "we-begin-over-ipv6": meet("ours", over_ipv6=True),
    "they-begin-over-ipv6": meet("theirs", over_ipv6=True),
    "both-begin-without-preshared-key": Meeting("both"),
}


@pytest.fixture(scope="module", params=list(MEETINGS.values()), ids=list(MEETINGS))
def mixed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixed]:
    with open_mixed(tmp_path_factory.mktemp("mixed"), request.param) as mixed:
        yield mixed


def first_contact(mixed: Mixed) -> None:
    """The side that knows the endpoint speaks first."""
    begins, waits = mixed if mixed.ours.peers[0].endpoint else reversed(mixed)
    ping(begins.namespace, waits.inner_ipv4, count=1)


def test_pings_are_answered_both_ways_over_both_families(mixed: Mixed) -> None:
    first_contact(mixed)
    for here, there in (mixed, reversed(mixed)):
        for address in there.inner:
            ping(here.namespace, address)
            ping(here.namespace, address, size=20_000)


def test_tcp_arrives_whole_both_ways(mixed: Mixed) -> None:
    first_contact(mixed)
    for here, there in (mixed, reversed(mixed)):
        for address in there.inner:
            send_tcp(here.namespace, there.namespace, address, 1_000_000)


def test_udp_arrives_whole_both_ways(mixed: Mixed) -> None:
    first_contact(mixed)
    for here, there in (mixed, reversed(mixed)):
        for near, far in zip(here.inner, there.inner, strict=True):
            send_udp(here.namespace, near, there.namespace, far, [0, 1, 1000, 1372, 1392, 8000])


def test_both_sides_tell_of_the_handshake(mixed: Mixed) -> None:
    first_contact(mixed)
    assert int(mixed.theirs.dump(mixed.ours).latest_handshake) > 0
    assert int(mixed.ours.dump(mixed.theirs).latest_handshake) > 0

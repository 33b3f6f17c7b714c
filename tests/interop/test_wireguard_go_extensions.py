"""Ours with its extensions on, which is how it starts, and Debian's wireguard-go: on the cable there is only WireGuard.

What we send is recorded before anybody opens it, while packets of all sizes go both ways and either side is restarted.
Type and size tell a control frame from a packet also when it is sealed: padded it has 16 bytes, and no IP packet fits
in so few. What wireguard-go found inside is in its log.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.interop.mixed import Mixed, open_mixed
from tests.interop.wiretap import Wiretap
from tests.netns.eventually import eventually
from tests.netns.flows import ping, send_tcp, send_udp
from tests.netns.hosts import Host, Meeting, open_pair
from tunnel.protocol.host import DEFAULT_MTU
from tunnel.protocol.path_mtu import SMALL_PROBE
from tunnel.protocol.probing import OUTER_HEADERS
from tunnel.wire.messages import (
    COOKIE_REPLY_SIZE,
    INITIATION_SIZE,
    PADDING,
    RESPONSE_SIZE,
    TRANSPORT_OVERHEAD,
    MessageType,
)

pytestmark = pytest.mark.root

SIZES = {
    MessageType.HANDSHAKE_INITIATION: INITIATION_SIZE,
    MessageType.HANDSHAKE_RESPONSE: RESPONSE_SIZE,
    MessageType.COOKIE_REPLY: COOKIE_REPLY_SIZE,
}
CONTROL_SIZE = TRANSPORT_OVERHEAD + PADDING
COMPLAINTS = ("unknown", "invalid", "Failed", "disallowed", "Could not", "ERROR")
BOTH_KNOW = Meeting("both")


class Recorded(NamedTuple):
    """A conversation: what we sent, and what wireguard-go had to say."""

    sent: list[bytes]
    log: str
    extensions: list[str]


def exchange(here: Host, there: Host) -> None:
    """Packets of all kinds and sizes, both ways; `here` speaks first."""
    ping(here.namespace, there.inner_ipv4)
    for near, far in ((here, there), (there, here)):
        for size in (0, 1, 15, 16, 1372, 1392):
            ping(near.namespace, far.inner_ipv4, size=size, count=1)
        for near_address, far_address in zip(near.inner, far.inner, strict=True):
            send_tcp(near.namespace, far.namespace, far_address, 300_000)
            send_udp(near.namespace, near_address, far.namespace, far_address, [0, 1, 3, 4, 5, 1000, 1372, 1392, 8000])


def restart_ours(mixed: Mixed) -> None:
    """Whoever is like us would be told."""
    mixed.ours.tunnel("down", mixed.ours.interface)
    mixed.ours.tunnel_up()


def restart_theirs(mixed: Mixed) -> None:
    """As far as sessions go: peers are removed, and added again."""
    mixed.theirs.wg("setconf", mixed.theirs.interface, "/dev/stdin", stdin=mixed.theirs.config(for_wg=True))


def rekey(mixed: Mixed) -> None:
    """Both sides begin once, and then once more."""
    exchange(*mixed)
    restart_ours(mixed)
    exchange(*mixed)
    restart_theirs(mixed)
    exchange(mixed.theirs, mixed.ours)
    restart_theirs(mixed)
    exchange(mixed.theirs, mixed.ours)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOG_LEVEL", "verbose")
        with open_mixed(tmp_path_factory.mktemp("stock"), BOTH_KNOW) as mixed, Wiretap(mixed.ours.namespace) as tap:
            rekey(mixed)
            (peer,) = mixed.ours.status()["peers"]
            return Recorded(tap.take(), mixed.theirs.log_file.read_text(), peer["extensions"])


def of_type(recorded: Recorded, kind: MessageType) -> list[bytes]:
    return [datagram for datagram in recorded.sent if datagram[0] == kind]


def test_there_were_handshakes_that_either_side_began(recorded: Recorded) -> None:
    assert len(of_type(recorded, MessageType.HANDSHAKE_INITIATION)) >= 2
    assert len(of_type(recorded, MessageType.HANDSHAKE_RESPONSE)) >= 2
    assert len(of_type(recorded, MessageType.TRANSPORT_DATA)) > 1000


def test_all_that_leaves_us_is_one_of_the_four_messages(recorded: Recorded) -> None:
    types = Counter(datagram[:4].hex() for datagram in recorded.sent)
    assert types.keys() <= {"01000000", "02000000", "03000000", "04000000"}


def test_handshake_messages_have_their_sizes(recorded: Recorded) -> None:
    for kind, size in SIZES.items():
        assert {len(datagram) for datagram in of_type(recorded, kind)} <= {size}


def test_data_is_padded_as_ever(recorded: Recorded) -> None:
    """To a multiple of 16, but not beyond the MTU; only probes are as long as what they ask about."""
    contents = {len(datagram) - TRANSPORT_OVERHEAD for datagram in of_type(recorded, MessageType.TRANSPORT_DATA)}
    probe = SMALL_PROBE - OUTER_HEADERS[4] - TRANSPORT_OVERHEAD
    assert [size for size in contents if size % PADDING and size not in (DEFAULT_MTU, probe)] == []
    assert {32, 48, DEFAULT_MTU} <= contents


def test_no_message_4_is_of_the_size_of_a_control_frame(recorded: Recorded) -> None:
    sizes = Counter(len(datagram) for datagram in of_type(recorded, MessageType.TRANSPORT_DATA))
    assert sizes[CONTROL_SIZE] == 0


def test_wireguard_go_finds_nothing_wrong_with_any_of_it(recorded: Recorded) -> None:
    assert "Received handshake initiation" in recorded.log, "it is verbose"
    assert [line for line in recorded.log.splitlines() if any(word in line for word in COMPLAINTS)] == []


def test_our_status_says_that_no_extension_is_in_use(recorded: Recorded) -> None:
    assert recorded.extensions == []


def test_two_of_us_are_heard_to_use_extensions_by_the_same_means(tmp_path: Path) -> None:
    """Else the tests above would say nothing."""
    with open_pair(tmp_path) as (left, right), Wiretap(left.namespace) as tap:
        ping(left.namespace, right.inner_ipv4)
        eventually(lambda: left.status()["peers"][0]["extensions"], "they have found out about each other")
        exchange(left, right)
        left.tunnel("down", left.interface)
        sent = tap.take()
    sizes = Counter(len(datagram) for datagram in sent if datagram[0] == MessageType.TRANSPORT_DATA)
    assert sizes[CONTROL_SIZE] >= 2, "hello, close, and answers to probes"
    assert Counter(datagram[0] for datagram in sent)[MessageType.EXTENDED_DATA] > 100

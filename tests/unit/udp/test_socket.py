"""UDP over loopback, without privileges."""

import errno
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from tunnel.config.model import Offload
from tunnel.endpoint import Endpoint, Source
from tunnel.errors import UdpSocketError
from tunnel.udp.offload import SOL_UDP, UDP_GRO
from tunnel.udp.receiver import MAX_ORIGINS
from tunnel.udp.sender import MAX_PATHS
from tunnel.udp.socket import UdpSocket
from tunnel.wire.train import Train

LOOPBACK = ["127.0.0.1", "::1"]
Opener = Callable[..., UdpSocket]


@pytest.fixture
def opened() -> Iterator[Opener]:
    """`UdpSocket.open` whose sockets are closed in the end."""
    sockets: list[UdpSocket] = []

    def open_socket(port: int = 0, **options: object) -> UdpSocket:
        sockets.append(UdpSocket.open(port, **options))  # type: ignore[arg-type]
        return sockets[-1]

    yield open_socket
    for sock in sockets:
        sock.close()


def single(payload: bytes) -> Train:
    return Train.single(memoryview(bytearray(payload)))


def descriptor(sock: UdpSocket, host: str) -> int:
    return sock.filenos()[":" in host]


def receive(sock: UdpSocket, host: str, room: int = 1 << 20) -> list[tuple[bytes, Endpoint]]:
    """Datagram by datagram, what one call brings."""
    arena = memoryview(bytearray(room))
    return [
        (bytes(datagram), endpoint)
        for train, endpoint in sock.receive(descriptor(sock, host), arena)
        for datagram in train.datagrams()
    ]


def without(family: socket.AddressFamily) -> Callable[[socket.AddressFamily, socket.SocketKind], socket.socket]:
    """A host whose kernel lacks one address family."""

    def create(asked: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
        if asked == family:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return socket.socket(asked, kind)

    return create


def test_port_zero_becomes_one_port_for_both_families(opened: Opener) -> None:
    sock = opened(0)
    assert sock.port > 0
    bound = [socket.socket(fileno=os.dup(fileno)) for fileno in sock.filenos()]
    assert [(end.family, end.getsockname()[1]) for end in bound] == [
        (socket.AF_INET, sock.port),
        (socket.AF_INET6, sock.port),
    ]
    for end in bound:
        end.close()


def test_port_zero_is_tried_again_when_the_other_family_has_it_taken(opened: Opener) -> None:
    tried: list[int] = []

    class Unlucky(socket.socket):
        def bind(self, address: object) -> None:
            assert isinstance(address, tuple)
            if self.family == socket.AF_INET6:
                tried.append(address[1])
                if len(tried) < 3:
                    raise OSError(errno.EADDRINUSE, "taken")
            super().bind(address)

    assert opened(0, create=Unlucky).port == tried[-1]
    assert len(tried) == 3


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_port_that_one_family_has_taken_is_refused_with_its_number(opened: Opener, family: int) -> None:
    other = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    other.bind(("", 0))
    port = other.getsockname()[1]
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(UdpSocketError, match=f"cannot listen on UDP port {port}: another program has it") as refused:
        opened(port)
    assert refused.value.errno == errno.EADDRINUSE
    assert len(os.listdir("/proc/self/fd")) == before
    other.close()


@pytest.mark.parametrize(("missing", "left"), [(socket.AF_INET, "::1"), (socket.AF_INET6, "127.0.0.1")])
def test_a_host_with_one_family_uses_that(opened: Opener, missing: socket.AddressFamily, left: str) -> None:
    sock = opened(0, create=without(missing))
    (only,) = sock.filenos()
    assert sock.send([(single(b"hello"), Endpoint(left, sock.port))]) == 1
    assert [bytes(train.buffer) for train, _ in sock.receive(only, memoryview(bytearray(65535)))] == [b"hello"]


def test_a_datagram_for_a_family_that_the_host_lacks_is_unsent(opened: Opener) -> None:
    sock = opened(0, create=without(socket.AF_INET6))
    there = Endpoint("127.0.0.1", sock.port)
    batch = [(single(b"a"), there), (single(b"b"), Endpoint("::1", 9)), (single(b"c"), there)]
    assert sock.send(batch) == 3
    assert sock.unsent == 1
    assert [payload for payload, _ in receive(sock, "127.0.0.1")] == [b"a", b"c"]


def test_a_host_without_any_family_is_refused(opened: Opener) -> None:
    def create(family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
        raise OSError(errno.EAFNOSUPPORT, "unsupported")

    with pytest.raises(UdpSocketError, match="neither IPv4 nor IPv6"):
        opened(0, create=create)


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_datagram_says_where_it_is_from_and_where_it_came_to(opened: Opener, host: str) -> None:
    here, there = opened(), opened()
    assert there.send([(single(b"hello"), Endpoint(host, here.port))]) == 1
    loopback = Source(host, socket.if_nametoindex("lo"))
    assert receive(here, host) == [(b"hello", Endpoint(host, there.port, 0, loopback))]


def test_an_answer_leaves_from_the_address_that_was_asked(opened: Opener) -> None:
    here, there = opened(), opened()
    there.send([(single(b"question"), Endpoint("127.7.7.7", here.port))])
    ((_, origin),) = receive(here, "127.0.0.1")
    here.send([(single(b"answer"), origin)])
    ((_, answered),) = receive(there, "127.0.0.1")
    assert answered.host == "127.7.7.7"


@pytest.mark.parametrize("address", ["192.0.2.123", "2001:db8::123", "ff02::1"])
def test_a_source_that_is_not_ours_is_left_to_the_kernel(opened: Opener, address: str) -> None:
    here, there = opened(), opened()
    host = "::1" if ":" in address else "127.0.0.1"
    endpoint = Endpoint(host, there.port, 0, Source(address, 1))
    assert here.send([(single(b"one"), endpoint), (single(b"two"), endpoint)]) == 2
    assert [(payload, origin.host) for payload, origin in receive(there, host)] == [(b"one", host), (b"two", host)]
    assert here.unsent == 0


def test_without_routing_to_ask_a_source_that_is_not_ours_is_still_survived() -> None:
    ends = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) for _ in range(2)]
    for end in ends:
        end.bind(("127.0.0.1", 0))
    here, there = UdpSocket([ends[0]]), UdpSocket([ends[1]])
    endpoint = Endpoint("127.0.0.1", there.port, 0, Source("192.0.2.123", 1))
    assert here.send([(single(b"one"), endpoint), (single(b"two"), endpoint)]) == 2
    assert [payload for payload, _ in receive(there, "")] == [b"one", b"two"]
    assert here.unsent == 0
    here.close()
    there.close()


def test_datagrams_of_one_flow_share_their_endpoint(opened: Opener) -> None:
    here, there = opened(), opened()
    there.send([(single(b"x"), Endpoint("127.0.0.1", here.port))] * 2)
    (_, first), (_, second) = receive(here, "127.0.0.1")
    assert first is second


def test_a_flood_of_origins_is_not_remembered_for_ever(opened: Opener) -> None:
    here, there = opened(), opened()
    for number in range(max(MAX_ORIGINS, MAX_PATHS) + 10):
        target = Endpoint(f"127.1.{number >> 8}.{number & 255}", here.port)
        there.send([(single(b"x"), target)])
        ((_, origin),) = receive(here, "127.0.0.1")
        assert origin.source is not None
        assert origin.source.address == target.host
    assert len(here._receiver._endpoints) <= MAX_ORIGINS
    assert len(there._sender._paths) <= MAX_PATHS


def test_a_datagram_longer_than_its_arena_is_skipped_and_counted(opened: Opener) -> None:
    sock = opened()
    there = Endpoint("127.0.0.1", sock.port)
    sock.send([(single(bytes(101)), there), (single(bytes(100)), there)])
    ((train, _),) = sock.receive(descriptor(sock, there.host), memoryview(bytearray(100)))
    assert len(train.buffer) == 100
    assert sock.truncated == 1


def test_what_may_not_fit_the_rest_of_the_arena_waits(opened: Opener) -> None:
    sock = opened()
    sock.send([(single(bytes([n])), Endpoint("::1", sock.port)) for n in range(5)])
    assert [payload[0] for payload, _ in receive(sock, "::1", 65535 + 2)] == [0, 1, 2]
    assert [payload[0] for payload, _ in receive(sock, "::1", 65535 + 2)] == [3, 4]
    assert receive(sock, "::1", 65535 + 2) == []


def test_thousands_of_datagrams_wait_in_the_buffer_in_order(opened: Opener) -> None:
    sock = opened()
    count = min(2000, sock.receive_buffer // 2048)
    batch = [(single(n.to_bytes(2)), Endpoint("127.0.0.1", sock.port)) for n in range(count)]
    assert sock.send(batch) == count
    numbers: list[int] = []
    while received := receive(sock, "127.0.0.1"):
        numbers += [int.from_bytes(payload) for payload, _ in received]
    assert numbers == list(range(count))


@pytest.mark.parametrize(("host", "limit"), [("127.0.0.1", 65507), ("::1", 65527)])
def test_the_longest_datagram_passes_and_a_longer_one_is_unsent(opened: Opener, host: str, limit: int) -> None:
    sock = opened()
    there = Endpoint(host, sock.port)
    assert sock.send([(single(bytes(limit + 1)), there), (single(bytes(limit)), there)]) == 2
    assert sock.unsent == 1
    assert [len(payload) for payload, _ in receive(sock, host)] == [limit]


@pytest.mark.parametrize("host", LOOPBACK)
def test_a_closed_port_on_the_other_side_is_no_error_for_either_direction(opened: Opener, host: str) -> None:
    sock, gone = opened(), opened()
    gone.close()
    for _ in range(3):
        assert sock.send([(single(b"anyone?"), Endpoint(host, gone.port))] * 2) == 2
        assert receive(sock, host) == []
    assert sock.send([(single(b"me"), Endpoint(host, sock.port))]) == 1
    assert [payload for payload, _ in receive(sock, host)] == [b"me"]


@pytest.mark.parametrize(
    "endpoint", [Endpoint("255.255.255.255", 9), Endpoint("127.0.0.1", 0), Endpoint("fe80::1", 9, scope_id=1 << 30)]
)
def test_an_endpoint_that_cannot_be_is_unsent_and_the_others_are_sent(opened: Opener, endpoint: Endpoint) -> None:
    sock = opened()
    assert sock.send([(single(b"lost"), endpoint), (single(b"kept"), Endpoint("127.0.0.1", sock.port))]) == 2
    assert sock.unsent == 1
    assert [payload for payload, _ in receive(sock, "127.0.0.1")] == [b"kept"]


def test_each_family_has_its_own_descriptor_to_wait_on(opened: Opener) -> None:
    sock = opened()
    towards = [sock.fileno_towards(Endpoint(host, 9)) for host in LOOPBACK]
    assert towards == list(sock.filenos())


def test_there_is_a_descriptor_to_wait_on_for_a_family_that_the_host_lacks(opened: Opener) -> None:
    sock = opened(0, create=without(socket.AF_INET6))
    assert sock.fileno_towards(Endpoint("::1", 9)) == sock.filenos()[0]


def test_probes_that_cannot_be_sent_are_lost_and_not_counted(opened: Opener) -> None:
    sock = opened(0, create=without(socket.AF_INET6))
    nowhere = [Endpoint("::1", 9), Endpoint("255.255.255.255", 9), Endpoint("127.0.0.1", 0)]
    for endpoint in nowhere:
        sock.send_probe(memoryview(b"lost"), endpoint)
    sock.send_probe(memoryview(b"kept"), Endpoint("127.0.0.1", sock.port))
    assert [payload for payload, _ in receive(sock, "127.0.0.1")] == [b"kept"]
    sock.close()
    sock.send_probe(memoryview(b"lost"), Endpoint("127.0.0.1", sock.port))
    assert sock.unsent == 0


def test_no_mark_needs_no_privilege(opened: Opener) -> None:
    sock = opened(fwmark=0)
    sock.set_fwmark(0)


@pytest.mark.parametrize("offload", [Offload.AUTO, Offload.OFF])
def test_sockets_that_somebody_else_has_bound_are_as_good_as_our_own(opened: Opener, offload: Offload) -> None:
    own, other = opened(offload=offload), opened(offload=Offload.AUTO)
    dumb = [socket.socket(fileno=os.dup(fileno)) for fileno in other.filenos()]
    port = other.port
    if offload is Offload.AUTO:  # as systemd binds them: without any option
        other.close()
        for sock in dumb:
            sock.close()
        dumb = [bind_plainly(socket.AF_INET, port), bind_plainly(socket.AF_INET6, port)]
    adopted = UdpSocket.adopt(dumb, offload=offload)
    assert adopted.port == port
    assert adopted.receive_offloads == own.receive_offloads
    assert adopted.receive_buffer == own.receive_buffer
    for sock in dumb:  # not what it was set to before
        assert sock.getsockopt(SOL_UDP, UDP_GRO) == bool(own.receive_offloads)
    for host in LOOPBACK:
        own.send([(single(b"hello"), Endpoint(host, port))])
        ((payload, endpoint),) = receive(adopted, host)
        assert payload == b"hello"
        assert endpoint.source is not None, "it is known which of our addresses was meant"
        assert endpoint.port == own.port
    adopted.close()


def bind_plainly(family: socket.AddressFamily, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(("", port))
    return sock


def test_buffers_are_reported_as_they_were_granted(opened: Opener) -> None:
    sock = opened()
    end = socket.socket(fileno=os.dup(sock.filenos()[0]))
    assert 2 * sock.receive_buffer == end.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    assert 2 * sock.send_buffer == end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    end.close()


def test_closing_again_is_harmless_and_frees_the_port(opened: Opener) -> None:
    sock = opened()
    sock.close()
    sock.close()
    assert opened(sock.port).port == sock.port

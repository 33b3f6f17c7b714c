"""UDP between two namespaces: where datagrams leave from, and what becomes of them when the network breaks."""

import errno
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tunnel.endpoint import Endpoint, Source
from tunnel.testing.namespaces import Namespace, Port, connect
from tunnel.udp.sender import GSO_PAUSE
from tunnel.udp.socket import UdpSocket
from tunnel.wire.train import Train

pytestmark = pytest.mark.root

HERE, THERE = "192.0.2.1", "192.0.2.2"
HERE6, THERE6 = "2001:db8::1", "2001:db8::2"
PAIRS = [(HERE, THERE), (HERE6, THERE6)]


class Wire:
    """Two hosts on one cable, a UDP socket on each: `here` and `there`."""

    def __init__(self, left: Namespace, right: Namespace) -> None:
        self.left, self.right = left, right
        connect(Port(left, "eth0", (f"{HERE}/24", f"{HERE6}/64")), Port(right, "eth0", (f"{THERE}/24", f"{THERE6}/64")))
        with left.enter():
            self.here = UdpSocket.open(0)
        with right.enter():
            self.there = UdpSocket.open(0)

    def index(self, host: Namespace, interface: str) -> int:
        with host.enter():
            return socket.if_nametoindex(interface)

    def ask(self, host: str, payload: bytes = b"question") -> Endpoint:
        """Send one from there to our address `host`; return what here takes for its origin."""
        assert self.there.send([(single(payload), Endpoint(host, self.here.port))]) == 1
        return arrived(self.here, host)[1]

    def answer(self, endpoint: Endpoint) -> Endpoint:
        """Send one back from here; return what there takes for its origin."""
        assert self.here.send([(single(b"answer"), endpoint)]) == 1
        return arrived(self.there, endpoint.host)[1]

    def close(self) -> None:
        self.here.close()
        self.there.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Namespace("here") as left, Namespace("there") as right:
        wire = Wire(left, right)
        yield wire
        wire.close()


def descriptor(sock: UdpSocket, host: str) -> int:
    return sock.filenos()[":" in host]


def single(payload: bytes) -> Train:
    return Train.single(memoryview(bytearray(payload)))


def train(count: int, size: int = 1452, last: int = 300) -> Train:
    """Of random bytes."""
    return Train(memoryview(bytearray(os.urandom((count - 1) * size + last))), count, size, last)


def payloads(trains: list[Train]) -> list[bytes]:
    return [bytes(datagram) for train in trains for datagram in train.datagrams()]


def wait_readable(fileno: int, seconds: float = 3) -> bool:
    return bool(select.select([fileno], [], [], seconds)[0])


def arrived(sock: UdpSocket, host: str) -> tuple[bytes, Endpoint]:
    """The next datagram, waited for."""
    room = memoryview(bytearray(65535))
    assert wait_readable(descriptor(sock, host)), "nothing arrived"
    ((train, endpoint),) = sock.receive(descriptor(sock, host), room)
    return bytes(train.buffer), endpoint


def all_arrived(sock: UdpSocket, host: str, size: int) -> list[Train]:
    """The next `size` bytes, waited for, in the pieces in which the kernel gives them."""
    trains: list[Train] = []
    while sum(len(train.buffer) for train in trains) < size:
        assert wait_readable(descriptor(sock, host)), "not all has arrived"
        room = memoryview(bytearray(65535))  # for no more than one piece
        trains += [train for train, _ in sock.receive(descriptor(sock, host), room)]
    return trains


def add_second_address(wire: Wire, second: str) -> str:
    """Give eth0 another address, which nothing is sent from unless told to; return it with its prefix length."""
    address = f"{second}/24" if "." in second else f"{second}/64"
    at_once = () if "." in second else ("nodad", "preferred_lft", "0")
    wire.left.ip("address", "add", address, "dev", "eth0", *at_once)
    return address


@pytest.mark.parametrize("second", ["192.0.2.77", "2001:db8::77"])
def test_an_answer_leaves_from_the_second_address_when_that_was_asked(wire: Wire, second: str) -> None:
    add_second_address(wire, second)
    asked = wire.ask(second)
    assert asked.source == Source(second, wire.index(wire.left, "eth0"))
    assert wire.answer(asked).host == second


@pytest.mark.parametrize(("own", "second"), [(HERE, "192.0.2.77"), (HERE6, "2001:db8::77")])
def test_when_the_sticky_address_is_removed_another_is_used_and_nothing_is_lost(
    wire: Wire, own: str, second: str
) -> None:
    address = add_second_address(wire, second)
    asked = wire.ask(second)
    assert wire.answer(asked).host == second
    wire.left.ip("address", "delete", address, "dev", "eth0")
    assert wire.answer(asked).host == own
    assert wire.here.unsent == 0


def test_a_sticky_address_that_returns_is_used_again(wire: Wire) -> None:
    wire.left.ip("address", "add", "192.0.2.77/24", "dev", "eth0")
    asked = wire.ask("192.0.2.77")
    wire.left.ip("address", "delete", "192.0.2.77/24", "dev", "eth0")
    assert wire.answer(asked).host == HERE
    wire.left.ip("address", "add", "192.0.2.77/24", "dev", "eth0")
    assert wire.answer(asked).host == "192.0.2.77"


def test_the_source_is_given_up_when_the_route_moves_to_another_interface(wire: Wire) -> None:
    far = "203.0.113.9"
    connect(Port(wire.left, "eth1", ("198.51.100.1/24",)), Port(wire.right, "eth1", ("198.51.100.2/24",)))
    wire.right.ip("address", "add", f"{far}/32", "dev", "lo")
    wire.left.ip("route", "add", f"{far}/32", "via", THERE, "dev", "eth0", "metric", "20")
    reached = Endpoint(far, wire.there.port, 0, Source(HERE, wire.index(wire.left, "eth0")))
    assert wire.answer(reached).host == HERE
    assert not wire.here.has_moved(reached)
    wire.left.ip("route", "add", f"{far}/32", "via", "198.51.100.2", "dev", "eth1", "metric", "10")
    assert wire.here.has_moved(reached)
    assert not wire.here.has_moved(replace(reached, source=None))
    assert wire.answer(reached).host == "198.51.100.1"
    wire.left.ip("route", "delete", f"{far}/32", "dev", "eth1")
    assert wire.answer(reached).host == HERE


def test_link_local_addresses_answer_on_the_link_they_came_from(wire: Wire) -> None:
    connect(Port(wire.left, "eth1", ("fe80::a1/64",)), Port(wire.right, "eth1", ("fe80::a2/64",)))
    index, away = wire.index(wire.left, "eth1"), wire.index(wire.right, "eth1")
    asked_at = Endpoint("fe80::a1", wire.here.port, scope_id=away)
    assert wire.there.send([(single(b"question"), asked_at)]) == 1
    _, origin = arrived(wire.here, "::")
    assert origin == Endpoint("fe80::a2", wire.there.port, index, Source("fe80::a1", index))
    assert wire.answer(origin).host == "fe80::a1"


@pytest.mark.parametrize(("here", "there"), PAIRS)
def test_without_a_route_datagrams_are_unsent_until_it_is_back(wire: Wire, here: str, there: str) -> None:
    asked = wire.ask(here)
    wire.left.ip("link", "set", "eth0", "down")
    assert wire.here.send([(single(b"lost"), asked), (single(b"lost"), asked)]) == 2
    assert wire.here.unsent == 2
    wire.left.ip("link", "set", "eth0", "up")
    if ":" in here:
        wire.left.ip("address", "add", f"{here}/64", "dev", "eth0", "nodad")  # went with the link, as IPv6 does
    assert wire.answer(asked).host == here


def test_an_unreachable_host_behind_a_router_raises_nothing(wire: Wire) -> None:
    wire.left.ip("route", "add", "203.0.113.0/24", "via", THERE)
    wire.right.ip("route", "add", "unreachable", "203.0.113.0/24")
    wire.right.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    with wire.left.enter():
        icmp = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    for _ in range(2):
        assert wire.here.send([(single(b"lost"), Endpoint("203.0.113.9", 9))]) == 1
        assert wait_readable(icmp.fileno()), "no ICMP error came back"
        icmp.recv(1000)
        assert wire.here.receive(wire.here.filenos()[0], memoryview(bytearray(9))) == []
    assert wire.here.unsent == 0
    icmp.close()


def test_a_firewall_that_forbids_sending_is_unsent(wire: Wire) -> None:
    wire.left.run("nft", "add table inet t; add chain inet t o { type filter hook output priority 0; }")
    wire.left.run("nft", "add rule inet t o udp dport 9 drop")
    assert wire.here.send([(single(b"lost"), Endpoint(THERE, 9))]) == 1
    assert wire.here.unsent == 1


@pytest.mark.parametrize("there", [THERE, THERE6])
@pytest.mark.parametrize("size", [1472, 8972, 65507])
def test_datagrams_larger_than_the_mtu_are_fragmented_and_arrive_whole(wire: Wire, there: str, size: int) -> None:
    payload = bytes(index * 7 & 255 for index in range(size))
    assert wire.here.send([(single(payload), Endpoint(there, wire.there.port))]) == 1
    assert arrived(wire.there, there)[0] == payload


@pytest.mark.parametrize("there", [THERE, THERE6])
def test_an_mtu_of_nine_thousand_carries_nine_thousand(wire: Wire, there: str) -> None:
    for host in (wire.left, wire.right):
        host.ip("link", "set", "eth0", "mtu", "9000")
    payload = bytes(9000 - (48 if ":" in there else 28))
    assert wire.here.send([(single(payload), Endpoint(there, wire.there.port))]) == 1
    assert arrived(wire.there, there)[0] == payload


def test_routers_may_fragment_what_we_send(wire: Wire) -> None:
    with wire.right.enter():
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    assert wire.here.send([(single(bytes(1400)), Endpoint(THERE, wire.there.port))]) == 1
    assert wait_readable(tap.fileno())
    header = tap.recv(20)
    assert header[9] == socket.IPPROTO_UDP
    assert not header[6] & 0x40, "the don't-fragment bit is set"
    tap.close()


# --- probes


class Tap:
    """What leaves a host, or comes to it: the IP packets on its cable."""

    def __init__(self, namespace: Namespace) -> None:
        with namespace.enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))

    def next_udp(self) -> bytes:
        """The next packet, waited for, that is UDP or a fragment."""
        while wait_readable(self._socket.fileno()):
            packet, (_, protocol, *_) = self._socket.recvfrom(65535)
            if protocol == 0x0800 and packet[9] == socket.IPPROTO_UDP:
                return packet
            if protocol == 0x86DD and packet[6] in (socket.IPPROTO_UDP, socket.IPPROTO_FRAGMENT):
                return packet
        raise AssertionError("nothing was seen on the cable")

    def close(self) -> None:
        self._socket.close()


def is_whole(packet: bytes) -> bool:
    """Of a packet on the cable: whether it is one that no router may cut."""
    return packet[6] & 0x40 != 0 if packet[0] >> 4 == 4 else packet[6] == socket.IPPROTO_UDP


def probe(wire: Wire, there: str, size: int) -> None:
    wire.here.send_probe(memoryview(bytearray(size)), Endpoint(there, wire.there.port))


@pytest.mark.parametrize(("there", "size"), [(THERE, 1472), (THERE6, 1452)])
def test_a_probe_goes_whole_even_where_the_kernel_knows_of_a_narrow_path(wire: Wire, there: str, size: int) -> None:
    narrow = "203.0.113.9" if "." in there else "2001:db8:9::9"
    wire.right.ip("address", "add", narrow, "dev", "lo")
    wire.left.ip("route", "add", narrow, "via", there, "mtu", "1280")
    tap = Tap(wire.right)
    probe(wire, narrow, size)
    seen = tap.next_udp()
    assert is_whole(seen)
    assert len(seen) == 1500
    assert len(arrived(wire.there, there)[0]) == size
    tap.close()


@pytest.mark.parametrize(("there", "size"), [(THERE, 1473), (THERE6, 1453)])
def test_a_probe_larger_than_the_link_is_lost_silently(wire: Wire, there: str, size: int) -> None:
    probe(wire, there, size)
    probe(wire, there, 100)
    assert len(arrived(wire.there, there)[0]) == 100
    assert wire.here.unsent == 0


@pytest.mark.parametrize(("there", "sizes"), [(THERE, (500, 1473)), (THERE6, (500, 1453))])
def test_what_follows_a_probe_may_be_cut_as_ever_even_if_the_probe_was_refused(
    wire: Wire, there: str, sizes: tuple[int, ...]
) -> None:
    for size in sizes:
        probe(wire, there, size)
        if size == 500:
            assert len(arrived(wire.there, there)[0]) == size
        tap = Tap(wire.right)
        payload = os.urandom(3000)
        assert wire.here.send([(single(payload), Endpoint(there, wire.there.port))]) == 1
        assert not is_whole(tap.next_udp())
        assert arrived(wire.there, there)[0] == payload
        tap.close()


@pytest.mark.parametrize(("here", "there"), PAIRS)
def test_a_probe_leaves_from_the_address_that_was_asked(wire: Wire, here: str, there: str) -> None:
    second = "2001:db8::77" if ":" in there else "192.0.2.77"
    add_second_address(wire, second)
    asked = wire.ask(second)
    wire.here.send_probe(memoryview(bytearray(b"probe")), asked)
    assert arrived(wire.there, there)[1].host == second


def test_a_full_send_buffer_ends_the_batch_and_the_rest_follows(wire: Wire) -> None:
    wire.left.run(
        "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "400mbit", "burst", "20kb", "limit", "100mb"
    )
    count = 2 * wire.here.send_buffer // 9000
    batch = [(single(bytes(8000)), Endpoint(THERE, wire.there.port))] * count
    done = wire.here.send(batch)
    assert 0 < done < count
    (first, *_) = wire.here.filenos()
    while done < count:
        assert select.select([], [first], [], 3)[1], "the socket never becomes writable again"
        done += wire.here.send(batch[done:])
    assert wire.here.unsent == 0


# --- trains


@pytest.mark.parametrize("there", [THERE, THERE6])
def test_a_train_crosses_the_wire_whole(wire: Wire, there: str) -> None:
    sent = train(44)
    assert wire.here.send([(sent, Endpoint(there, wire.there.port))]) == 1
    (received,) = all_arrived(wire.there, there, len(sent.buffer))
    assert received == sent


@pytest.mark.parametrize("there", [THERE, THERE6])
def test_a_train_leaves_from_the_address_that_was_asked(wire: Wire, there: str) -> None:
    second = "2001:db8::77" if ":" in there else "192.0.2.77"
    add_second_address(wire, second)
    asked = wire.ask(second)
    sent = train(10)
    assert wire.here.send([(sent, asked)]) == 1
    payload, origin = arrived(wire.there, there)
    assert payload == bytes(sent.buffer)
    assert origin.host == second


@pytest.mark.parametrize(("own", "there"), PAIRS)
def test_a_train_whose_source_is_removed_leaves_from_another_address(wire: Wire, own: str, there: str) -> None:
    second = "2001:db8::77" if ":" in there else "192.0.2.77"
    address = add_second_address(wire, second)
    asked = wire.ask(second)
    wire.left.ip("address", "delete", address, "dev", "eth0")
    sent = train(10)
    assert wire.here.send([(sent, asked)]) == 1
    payload, origin = arrived(wire.there, there)
    assert (payload, origin.host) == (bytes(sent.buffer), own)


def test_a_route_with_an_mtu_of_1280_is_served_in_fragments_and_the_others_are_not(wire: Wire) -> None:
    narrow = "2001:db8::9"
    wire.right.ip("address", "add", f"{narrow}/64", "dev", "eth0", "nodad")
    wire.left.ip("route", "add", f"{narrow}/128", "dev", "eth0", "mtu", "1280")
    sent = [train(10) for _ in range(4)]
    towards = [Endpoint(host, wire.there.port) for host in (THERE6, narrow, narrow, THERE6)]
    assert wire.here.send(list(zip(sent, towards, strict=True))) == 4
    received = all_arrived(wire.there, THERE6, sum(len(each.buffer) for each in sent))
    assert payloads(received) == payloads(sent)
    assert [each.count for each in received] == [10, *[1] * 20, 10]
    assert wire.here.send_offloads == {"gso"}
    assert wire.here.unsent == 0


@pytest.mark.parametrize("there", [THERE, THERE6])
def test_an_interface_that_becomes_narrow_is_served_in_fragments_until_it_is_wide_again(wire: Wire, there: str) -> None:
    to = Endpoint(there, wire.there.port)
    counts = []
    for mtu in ("1500", "1400", "1500"):
        wire.left.ip("link", "set", "eth0", "mtu", mtu)
        sent = [train(3) for _ in range(GSO_PAUSE + 1)]
        assert wire.here.send([(each, to) for each in sent]) == len(sent)
        received = all_arrived(wire.there, there, sum(len(each.buffer) for each in sent))
        assert payloads(received) == payloads(sent)
        counts.append({each.count for each in received})
    assert counts == [{3}, {1}, {3}]
    assert wire.here.unsent == 0


def test_a_wire_without_segmentation_carries_trains_as_datagrams(wire: Wire) -> None:
    wire.left.ip("link", "set", "eth0", "gso_max_size", "3000")
    sent = train(44)
    assert wire.here.send([(sent, Endpoint(THERE, wire.there.port))]) == 1
    received = all_arrived(wire.there, THERE, len(sent.buffer))
    assert payloads(received) == payloads([sent])
    assert max(each.count for each in received) <= 2


def test_a_full_send_buffer_ends_the_trains_and_the_rest_follows(wire: Wire) -> None:
    wire.left.run(
        "tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "400mbit", "burst", "70kb", "limit", "100mb"
    )
    sent = train(44)
    batch = [(sent, Endpoint(THERE, wire.there.port))] * (3 * wire.here.send_buffer // len(sent.buffer))
    done = wire.here.send(batch)
    assert 0 < done < len(batch)
    (first, *_) = wire.here.filenos()
    while done < len(batch):
        assert select.select([], [first], [], 3)[1], "the socket never becomes writable again"
        done += wire.here.send(batch[done:])
    assert wire.here.unsent == 0
    assert wire.here.send_offloads == {"gso"}


# --- marks and privileges


def test_the_mark_chooses_the_route_and_may_change(wire: Wire) -> None:
    wire.left.ip("rule", "add", "fwmark", "0x1234", "unreachable")
    there = Endpoint(THERE, wire.there.port)
    wire.here.set_fwmark(0x1234)
    assert wire.here.send([(single(b"lost"), there)]) == 1
    assert wire.here.unsent == 1
    wire.here.set_fwmark(0)
    assert wire.here.send([(single(b"kept"), there)]) == 1
    assert arrived(wire.there, THERE)[0] == b"kept"


def test_a_mark_of_32_bits_is_taken_from_the_start(wire: Wire) -> None:
    wire.left.ip("rule", "add", "fwmark", "0xfffffffe", "unreachable")
    with wire.left.enter():
        marked = UdpSocket.open(0, 0xFFFFFFFE)
    assert marked.send([(single(b"lost"), Endpoint(THERE, wire.there.port))]) == 1
    assert marked.unsent == 1
    marked.close()


def test_where_ipv6_is_disabled_ipv4_works_and_ipv6_is_unsent(wire: Wire) -> None:
    wire.left.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
    with wire.left.enter():
        sock = UdpSocket.open(0)
    batch = [(single(b"lost"), Endpoint(THERE6, 9)), (single(b"kept"), Endpoint(THERE, wire.there.port))]
    assert sock.send(batch) == 2
    assert sock.unsent == 1
    assert arrived(wire.there, THERE)[0] == b"kept"
    sock.close()


def run_bounded(wire: Wire, expression: str) -> str:
    """What `expression` prints as root without capabilities over the network."""
    script = f"from tunnel.udp.socket import *\ntry: print({expression})\nexcept Exception as e: print(e.errno, e)"
    bounded = ("setpriv", "--bounding-set=-net_admin,-net_raw,-net_bind_service", sys.executable, "-c", script)
    done = subprocess.run(wire.left.command(*bounded), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_without_the_capability_a_mark_is_refused_in_one_line(wire: Wire) -> None:
    said = run_bounded(wire, "UdpSocket.open(0, 51820)")
    assert said == f"{errno.EPERM} cannot set the firewall mark 0xca6c: not permitted: CAP_NET_ADMIN is needed"


def test_without_the_capability_a_privileged_port_is_refused_in_one_line(wire: Wire) -> None:
    said = run_bounded(wire, "UdpSocket.open(53)")
    assert said.startswith(f"{errno.EACCES} cannot listen on UDP port 53: not permitted: start it as root")


def test_without_the_capability_buffers_are_what_the_host_allows(wire: Wire) -> None:
    with open("/proc/sys/net/core/rmem_max") as receive, open("/proc/sys/net/core/wmem_max") as send:
        allowed = [min(7 << 20, int(limit.read())) for limit in (receive, send)]
    assert run_bounded(wire, "[(s := UdpSocket.open(0)).receive_buffer, s.send_buffer]") == str(allowed)

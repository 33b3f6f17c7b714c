"""Paths that are narrow, become so, and are not so any more; peers like us are asked one way, stock peers by pings."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_interface, ip_network

import pytest

from tests.properties.superpackets import ACK, UDP, Flow, Superpacket
from tests.unit.protocol.pairs import peer_of
from tunnel.config.patch import AllowedIPChange, DevicePatch, PeerPatch
from tunnel.config.snapshot import PeerSnapshot
from tunnel.endpoint import Endpoint
from tunnel.protocol.events import PathMtuChanged
from tunnel.protocol.timers import Timer
from tunnel.protocol.transport import MAX_PACKET
from tunnel.testing.network import Network, SimulatedHost, ipv4_packet
from tunnel.wire import ip
from tunnel.wire.control import pack_probe_ack
from tunnel.wire.icmp import Echo, pack_echo_reply, parse_echo_request, parse_too_big
from tunnel.wire.virtio import VIRTIO_HEADER_SIZE

MTU = 1420
TICK = 0.05
SYN = 2
V4, V6 = Flow(flags=ACK), Flow(6, flags=ACK)
BOTH_INSIDE = pytest.mark.parametrize("flow", [V4, V6], ids=["ipv4-inside", "ipv6-inside"])
BOTH_OUTSIDE = pytest.mark.parametrize("is_ipv6", [False, True], ids=["ipv4-outside", "ipv6-outside"])


def create_hosts(*, is_ipv6: bool = False, loss: float = 0.0) -> tuple[Network, SimulatedHost, SimulatedHost]:
    """Two with addresses of both families inside, whose kernels answer pings; IPv4 or IPv6 outside."""
    network = Network(loss=loss)
    hosts = network.host(), network.host()
    for number, host in enumerate(hosts, 1):
        if is_ipv6:
            host.endpoint = Endpoint(f"2001:db8::{number}", 51820)
        host.answers_pings = True
        host.device.addresses = [ip_interface(f"{host.address}/24"), ip_interface(f"fd00::{number}/64")]
    left, right = hosts
    left.connect(right)
    for number, (host, other) in enumerate([(right, left), (left, right)], 1):
        allowed = (AllowedIPChange(ip_network(f"fd00::{number}")),)
        patch = DevicePatch(peers=(PeerPatch(other.public_key, allowed_ips=allowed),))
        host.device.apply(patch, network.clock.now())
    return network, left, right


def full_packet(flow: Flow = V4) -> bytes:
    """Data of TCP, as long as the interface lets it be."""
    return flow.packet(bytes(MTU - flow.header))


def stream(
    network: Network,
    sender: SimulatedHost,
    seconds: float,
    flow: Flow = V4,
    until: Callable[[], bool] = lambda: False,
) -> float:
    """Large data from `sender`, 20 packets of TCP a second that may not be fragmented; returns how long it took."""
    began = network.clock.now()
    while network.clock.now() - began < seconds - TICK / 2 and not until():
        sender.send_packets(full_packet(flow))
        network.run(TICK)
    return network.clock.now() - began


def known(host: SimulatedHost) -> PeerSnapshot:
    """What it knows of its only peer."""
    (peer,) = host.device.snapshot(0).peers
    return peer


def longest(host: SimulatedHost, other: SimulatedHost, room: int) -> int:
    """The longest packet for which there is so much room both ways: whoever is not like us pads what it sends."""
    keypair = peer_of(host, other).keypairs.current
    assert keypair is not None
    return room if keypair.takes is not None else room // 16 * 16


def settled(host: SimulatedHost, path_mtu: int) -> Callable[[], bool]:
    return lambda: bool(host.events_of(PathMtuChanged)) and host.events_of(PathMtuChanged)[-1].path_mtu == path_mtu


def packets(host: SimulatedHost) -> list[bytes]:
    return [frame[VIRTIO_HEADER_SIZE:] for frame in host.frames]


# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@BOTH_OUTSIDE
def test_a_path_that_is_wide_enough_is_asked_twice_a_second_beside_large_data(is_ipv6: bool) -> None:
    network, left, right = create_hosts(is_ipv6=is_ipv6)
    stream(network, left, 20)
    full = MTU + 32 + (48 if is_ipv6 else 28)
    assert {size for _, size in left.probes[2:]} == {full}
    assert 35 <= len(left.probes) <= 44
    assert (known(left).path_mtu, known(left).max_packet) == (full, None)
    assert left.events_of(PathMtuChanged) == []
    assert right.probes == [], "who only receives need not ask"


def test_nothing_is_asked_when_idle_or_beside_small_data() -> None:
    network, left, right = create_hosts()
    stream(network, left, 2)
    left.probes.clear()
    for _ in range(200):
        left.send_to(right, b"small", bytes(400))
        network.run(1)
    network.run(1000)
    assert left.probes == right.probes == []


@BOTH_INSIDE
def test_nobody_but_us_sees_a_probe_or_its_answer(flow: Flow) -> None:
    network, left, right = create_hosts()
    network.narrow(left, right, 1300)
    stream(network, left, 5, flow)
    assert left.received == []
    assert {packet[9] if packet[0] >> 4 == 4 else packet[6] for packet in packets(right)} == {6}
    assert left.drops() == right.drops() == {}


def test_a_lost_probe_is_no_data_sent_and_no_keepalive() -> None:
    network, left, right = create_hosts()
    left.send_to(right, b"first")
    network.run(1)
    right.send_to(left, b"and back")
    network.run(1)
    peer = peer_of(left, right)
    assert peer.timers.is_pending(Timer.SEND_KEEPALIVE)
    keypair, before = peer.keypairs.current, peer.path.tx_bytes
    assert keypair is not None
    peer.probes.data_sent(MTU, peer, keypair, network.clock.now())
    assert peer.timers.is_pending(Timer.SEND_KEEPALIVE)
    assert not peer.timers.is_pending(Timer.NEW_HANDSHAKE)
    assert peer.path.tx_bytes > before


def test_many_busy_peers_are_asked_as_often_as_a_few() -> None:
    network = Network()
    hub = network.host()
    spokes = [network.host() for _ in range(20)]
    for host in (hub, *spokes):
        host.answers_pings = True
        host.device.addresses = [ip_interface(f"{host.address}/24")]
    for spoke in spokes:
        hub.connect(spoke)
    for _ in range(60):
        hub.send_packets(*(ipv4_packet(hub.address, spoke.address, bytes(1200)) for spoke in spokes))
        network.run(TICK)
    assert 50 <= len([size for _, size in hub.probes if size > 1000]) <= 61
    assert [peer.path_mtu for peer in hub.device.snapshot(0).peers] == [1480] * 20, "everybody had a turn"


def test_who_moves_all_the_time_leaves_the_others_their_turns() -> None:
    network = Network()
    hub, restless, other = (network.host() for _ in range(3))
    for host in (hub, restless, other):
        host.answers_pings = True
        host.device.addresses = [ip_interface(f"{host.address}/24")]
    for spoke in (restless, other):
        hub.connect(spoke)
        spoke.connect(hub)
    restless.send_to(hub, b"here I am")
    network.run(1)
    for number in range(300):
        restless.endpoint = replace(restless.endpoint, port=1024 + number)
        restless.send_to(hub, b"here I am")
        network.run(0.002)
        hub.send_packets(ipv4_packet(hub.address, restless.address, bytes(1200)))
    asked = len([size for _, size in hub.probes if size > 1000])
    assert asked <= 0.6 * 20 + 1
    for _ in range(20):
        hub.send_packets(ipv4_packet(hub.address, other.address, bytes(1200)))
        network.run(TICK)
    assert [peer.path_mtu for peer in hub.device.snapshot(0).peers if peer.public_key == other.public_key] == [1480]


# ── narrow paths ─────────────────────────────────────────────────────────────────────────────────────────────────────


@BOTH_INSIDE
@BOTH_OUTSIDE
def test_a_path_that_is_narrow_from_the_start_is_usable_within_a_second(flow: Flow, is_ipv6: bool) -> None:
    network, left, right = create_hosts(is_ipv6=is_ipv6)
    network.narrow(left, right, 1333)
    assert stream(network, left, 3, flow, until=lambda: bool(right.frames)) < 1
    stream(network, left, 3, flow, until=settled(left, 1333))
    limit = longest(left, right, 1333 - 32 - (48 if is_ipv6 else 28))
    assert (known(left).path_mtu, known(left).max_packet) == (1333, limit)
    assert left.events_of(PathMtuChanged) == [PathMtuChanged(right.public_key, 1333, limit)]
    network.run(1)
    right.frames.clear()
    stream(network, left, 1, flow)
    network.run(1)
    assert sum(len(packet) for packet in packets(right)) >= 20 * MTU, "all of it arrives"


@BOTH_INSIDE
@BOTH_OUTSIDE
def test_a_path_that_shrinks_in_the_middle_of_a_flow_is_usable_again_within_a_second(flow: Flow, is_ipv6: bool) -> None:
    network, left, right = create_hosts(is_ipv6=is_ipv6)
    stream(network, left, 5, flow)
    network.narrow(left, right, 1280)
    network.run(0.05)
    right.frames.clear()
    assert stream(network, left, 3, flow, until=lambda: bool(right.frames)) < 1
    stream(network, left, 3, flow, until=settled(left, 1280))
    assert known(left).path_mtu == 1280


def test_superpackets_go_through_a_narrow_path() -> None:
    network, left, right = create_hosts()
    network.narrow(left, right, 1400)
    stream(network, left, 3, until=settled(left, 1400))
    network.run(1)
    right.frames.clear()
    left.send_superpacket(right, Superpacket(V4, bytes(20_000), MTU - 40).frame())
    network.run(1)
    assert sum(len(packet) - 40 for packet in packets(right)) >= 20_000 - 40


def test_a_path_that_widens_is_used_again() -> None:
    network, left, right = create_hosts()
    network.narrow(left, right, 1300)
    stream(network, left, 20)
    assert known(left).path_mtu == 1300
    network.narrow(left, right, 1450)
    stream(network, left, 70, until=settled(left, 1450))
    assert known(left).path_mtu == 1450
    network.narrow(left, right, 1500)
    stream(network, left, 70, until=settled(left, 1480))
    assert (known(left).path_mtu, known(left).max_packet) == (1480, None)


def test_each_direction_has_a_width_of_its_own() -> None:
    network, left, right = create_hosts()
    network.narrow(left, right, 1300)
    back = replace(V4, ports=(50000, 443))
    for _ in range(60):
        left.send_packets(full_packet())
        right.send_packets(ipv4_packet(right.address, left.address, back.packet(bytes(MTU - 60))[20:]))
        network.run(TICK)
    assert (known(left).path_mtu, known(right).path_mtu) == (1300, 1480)


def test_loss_makes_no_path_narrow_for_long() -> None:
    """Thirty per cent each way: half of the probes seem lost."""
    network, left, right = create_hosts()
    stream(network, left, 2)
    network.loss = 0.3
    narrow = 0.0
    for _ in range(40):
        stream(network, left, 1, until=lambda: peer_of(left, right).limit < MAX_PACKET)
        narrow += stream(network, left, 5, until=lambda: peer_of(left, right).limit == MAX_PACKET)
    assert narrow < 20
    network.loss = 0
    stream(network, left, 5)
    assert known(left).max_packet is None


def test_a_peer_that_moves_is_on_another_path() -> None:
    network, left, right = create_hosts()
    network.narrow(left, right, 1300)
    stream(network, left, 3, until=settled(left, 1300))
    right.endpoint = replace(right.endpoint, host="192.0.2.77")
    right.send_to(left, b"here I am")
    network.run(0.1)
    assert (known(left).path_mtu, peer_of(left, right).limit) == (None, MAX_PACKET)
    stream(network, left, 1)
    assert (known(left).path_mtu, known(left).max_packet) == (1480, None)
    assert left.events_of(PathMtuChanged)[-1] == PathMtuChanged(right.public_key, 1480, MTU)


def test_a_rekey_changes_nothing() -> None:
    network, left, right = create_hosts()
    network.narrow(left, right, 1300)
    stream(network, left, 3, until=settled(left, 1300))
    network.run(600)
    left.send_packets(full_packet())
    network.run(0.1)
    assert known(left).path_mtu == 1300
    assert sum(map(len, packets(right)[-2:])) >= MTU, "cut, though it waited for the handshake"


def test_another_mtu_of_the_interface_asks_for_other_sizes() -> None:
    network, left, right = create_hosts()
    network.narrow(left, right, 1450)
    stream(network, left, 3, until=settled(left, 1450))
    left.device.mtu = 1380
    assert known(left).path_mtu is None
    left.send_packets(V4.packet(bytes(1340)))
    network.run(1)
    assert (known(left).path_mtu, known(left).max_packet) == (1440, None)


def test_large_data_is_seen_among_small_data() -> None:
    network, left, right = create_hosts()
    stream(network, left, 5)
    network.run(2)
    network.narrow(left, right, 1280)
    for number in range(200):
        left.send_packets(V4.packet(b""), *[full_packet()] * (number == 103))
        network.run(0.01)
    assert known(left).path_mtu == 1280


@BOTH_INSIDE
def test_a_path_that_shrinks_is_narrow_before_what_was_lost_is_sent_again_for_the_second_time(flow: Flow) -> None:
    """RFC 6298: after 0.3 s, which is early for 100 ms of round trip, and after twice as long."""
    network, left, right = create_hosts()
    stream(network, left, 5, flow)
    network.narrow(left, right, 1280)
    left.send_packets(full_packet(flow))
    right.frames.clear()
    for wait in (0.3, 0.6):
        network.run(wait)
        assert right.frames == []
        left.send_packets(full_packet(flow))
    network.run(0.1)
    assert sum(map(len, packets(right))) >= MTU


def test_who_has_still_to_say_that_he_is_like_us_is_asked_as_soon_as_he_has() -> None:
    network, left, right = create_hosts()
    left.device.addresses = ()
    stream(network, left, 1)
    assert known(left).path_mtu == (None if right.offered is None else 1480), "nobody else can be asked from nowhere"


def test_who_has_sent_large_data_is_asked_once_more_and_not_again() -> None:
    network, left, _ = create_hosts()
    stream(network, left, 5)
    network.run(0.4)
    asked = len(left.probes)
    network.run(60)
    assert len(left.probes) <= asked + 1


# ── peers that say nothing, or too much ──────────────────────────────────────────────────────────────────────────────


def test_a_stock_peer_that_answers_no_pings_is_left_as_it_is() -> None:
    network, left, right = create_hosts()
    right.device.offered = right.offered = None
    right.answers_pings = False
    network.fragments = True
    network.narrow(left, right, 1300)
    stream(network, left, 60)
    assert peer_of(left, right).limit == MAX_PACKET
    assert sum(len(packet) == MTU for packet in packets(right)) >= 59 / TICK, "as fragments, as before"
    assert len(left.probes) <= 2 * 7


@pytest.mark.parametrize(
    ("allowed", "address", "pinged"),
    [
        ("192.168.1.0/24 10.0.0.0/24 10.0.0.9/32", "10.0.0.2/24", "10.0.0.9"),
        ("192.168.1.0/24 10.0.0.0/24", "10.0.0.2/24", "10.0.0.1"),
        ("0.0.0.0/0", "10.0.0.2/24", "10.0.0.1"),
        ("192.168.0.0/16 192.168.1.0/24", "10.0.0.2/32", "192.168.1.1"),
        ("0.0.0.0/1 128.0.0.0/1", "10.0.0.2/32", None),
    ],
)
def test_a_stock_peer_is_pinged_where_it_is_most_likely_itself(allowed: str, address: str, pinged: str | None) -> None:
    network, left, right = create_hosts()
    left.device.offered = left.offered = None
    left.answers_pings = False
    changes = tuple(AllowedIPChange(ip_network(each)) for each in allowed.split())
    patch = PeerPatch(left.public_key, replace_allowed_ips=True, allowed_ips=changes)
    right.device.apply(DevicePatch(peers=(patch,)), network.clock.now())
    right.device.addresses = [ip_interface(address)]
    inside = IPv4Network(allowed.split()[0])
    right.send_packets(ipv4_packet(right.address, inside[3], bytes(1300)))
    network.run(0.1)
    pings = [ping for packet in packets(left) if (ping := parse_echo_request(packet))]
    assert {str(ip_address(ping.destination)) for ping in pings} == ({pinged} if pinged else set())


def test_a_peer_that_answers_what_it_never_got_hurts_only_itself() -> None:
    network, left, right = create_hosts()
    other = network.host()
    other.answers_pings = True
    other.device.addresses = [ip_interface(f"{other.address}/24")]
    left.connect(other)
    network.narrow(left, right, 1300)
    network.narrow(left, other, 1300)
    flow = replace(V4, ports=(1, 2))
    for _ in range(100):
        left.send_packets(full_packet(), ipv4_packet(left.address, other.address, flow.packet(bytes(1360))[20:]))
        if (keypair := peer_of(right, left).keypairs.current) is not None and keypair.takes is not None:
            for number in range(40):
                peer_of(right, left).control.send(keypair, pack_probe_ack(number), network.clock.now())
            network.flush(right)
        network.run(TICK)
    sizes = [peer.path_mtu for peer in left.device.snapshot(0).peers]
    assert sizes[1] == 1300
    assert sizes[0] in (1300, 1480)
    assert left.device._peers.deadline > network.clock.now()


def test_answers_to_nothing_change_nothing() -> None:
    network, left, right = create_hosts()
    network.narrow(left, right, 1300)
    stream(network, left, 3, until=settled(left, 1300))
    network.run(10)
    keypair = peer_of(right, left).keypairs.current
    assert keypair is not None
    for number in range(1000, 1100):
        peer_of(right, left).control.send(keypair, pack_probe_ack(number), network.clock.now())
    network.flush(right)
    network.run(1)
    assert known(left).path_mtu == 1300
    assert left.drops() == {"unexpected_control": 100}


@pytest.mark.parametrize("strange", ["identifier", "number", "source", "unasked"])
def test_an_echo_reply_that_is_not_for_us_goes_to_the_interface(strange: str) -> None:
    network, left, right = create_hosts()
    right.device.offered = right.offered = None
    right.answers_pings = False
    stream(network, left, 0.1)
    asked = next(request for packet in packets(right) if (request := parse_echo_request(packet)))
    right.frames.clear()
    reply = asked.answer
    match strange:
        case "identifier":
            reply = reply._replace(identifier=reply.identifier ^ 1)
        case "number":
            reply = reply._replace(number=reply.number ^ 0x8000)
        case "source":
            right_too = AllowedIPChange(ip_network("10.0.0.9"))
            patch = PeerPatch(right.public_key, allowed_ips=(right_too,))
            left.device.apply(DevicePatch(peers=(patch,)), network.clock.now())
            reply = reply._replace(source=bytes([10, 0, 0, 9]))
        case "unasked":
            network.run(20)
            left.send_to(right, b"to purge" + bytes(1000))
            reply = Echo(reply.source, reply.destination, reply.identifier, 60000)
    right.send_packets(pack_echo_reply(reply))
    network.run(0.02)
    assert len(left.received) == 1


# ── what does not fit ────────────────────────────────────────────────────────────────────────────────────────────────


def narrowed(path_mtu: int = 1300, *, is_ipv6: bool = False) -> tuple[Network, SimulatedHost, SimulatedHost]:
    """A session whose narrow path is known on both sides, and in which all is quiet."""
    network, left, right = create_hosts(is_ipv6=is_ipv6)
    network.narrow(left, right, path_mtu)
    stream(network, left, 3, until=settled(left, path_mtu))
    network.run(0.2)
    left.frames.clear()
    right.frames.clear()
    return network, left, right


@BOTH_INSIDE
def test_the_sender_of_what_does_not_fit_is_told_by_where_it_was_going_to(flow: Flow) -> None:
    network, left, right = narrowed(1400)
    packet = replace(flow, protocol=UDP).packet(bytes(1372))
    left.send_packets(packet)
    network.run(0.1)
    assert right.frames == []
    (error,) = packets(left)
    too_big = parse_too_big(error)
    assert too_big is not None
    assert too_big[:3] == (*reversed(flow.addresses), longest(left, right, 1340))
    assert packet.startswith(too_big.quoted)
    assert left.drops() == {"path_too_narrow": 1}


def test_ipv6_is_never_told_less_than_1280_and_has_so_much_as_fragments_outside() -> None:
    network, left, right = narrowed(1300)
    udp = replace(V6, protocol=UDP)
    left.send_packets(udp.packet(bytes(1300)))
    network.run(0.1)
    too_big = parse_too_big(packets(left)[0])
    assert too_big is not None
    assert too_big.mtu == 1280
    network.fragments = True
    left.send_packets(udp.packet(bytes(1280 - 48)))
    network.run(0.1)
    assert packets(right) == [udp.packet(bytes(1280 - 48))]


def test_ipv4_that_may_be_fragmented_is() -> None:
    network, left, right = narrowed(1300)
    packet = Flow(protocol=UDP, fragment_field=0).packet(bytes(range(256)) * 5)
    left.send_packets(packet)
    network.run(0.1)
    fragments = packets(right)
    assert len(fragments) == 2
    assert b"".join(fragment[20 : ip.total_length(fragment)] for fragment in fragments) == packet[20:]
    assert left.frames == []
    assert left.drops() == {}


def test_a_flood_of_what_does_not_fit_is_told_about_now_and_then() -> None:
    network, left, _ = narrowed(1400)
    for _ in range(100):
        left.send_packets(*[replace(V4, protocol=UDP).packet(bytes(1372))] * 10)
        network.run(0.01)
    assert 5 <= len(packets(left)) <= 26
    assert left.drops() == {"path_too_narrow": 1000}


# ── MSS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def syn(flow: Flow, mss: int) -> Flow:
    return replace(flow, flags=SYN, options=b"\2\4" + mss.to_bytes(2, "big"))


@BOTH_INSIDE
@pytest.mark.parametrize("count", [1, 5])
def test_connections_begin_with_what_fits_the_interface(flow: Flow, count: int) -> None:
    network, left, right = create_hosts()
    left.send_packets(*[syn(flow, 1460).packet(b"")] * count)
    network.run(1)
    expected = syn(flow, MTU - flow.transport - 20).packet(b"")
    assert packets(right) == [expected] * count


@BOTH_INSIDE
@pytest.mark.parametrize("count", [1, 5])
def test_connections_begin_with_what_fits_the_path_in_both_directions(flow: Flow, count: int) -> None:
    network, left, right = narrowed(1300)
    limit = longest(left, right, 1300 - 60)
    expected = syn(flow, limit - flow.transport - 20)
    left.send_packets(*[syn(flow, 1460).packet(b"")] * count)
    network.run(0.1)
    assert packets(right) == [expected.packet(b"")] * count
    turned = syn(flow, 1460).packet(b"")
    source, destination = (slice(12, 16), slice(16, 20)) if flow.version == 4 else (slice(8, 24), slice(24, 40))
    back = bytearray(turned)
    back[source], back[destination] = turned[destination], turned[source]
    right.send_packets(*[bytes(back)] * count)
    network.run(0.1)
    assert {packet[-2:] for packet in packets(left)} == {(limit - flow.transport - 20).to_bytes(2, "big")}
    assert len(packets(left)) == count


@BOTH_INSIDE
def test_a_partial_checksum_stays_the_sum_of_the_pseudo_header(flow: Flow) -> None:
    network, left, right = create_hosts()
    left.send_to(right, b"first")
    network.run(1)
    right.frames.clear()
    left.send_partial(*[syn(flow, 1460).packet(b"", is_partial=True)] * 4)
    network.run(0.1)
    expected = syn(flow, MTU - flow.transport - 20)
    is_partial = known(left).extensions != ()
    assert packets(right) == [expected.packet(b"", is_partial=is_partial)] * 4

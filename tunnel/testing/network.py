"""Many devices on a network that loses, delays, doubles, re-orders, translates and is narrow, on a clock of its own.

The sans-IO core makes this exact: no socket, no task, no sleep. Two hours of rekeying take milliseconds, and a run
with the same seed is the same run.

    network = Network(seed=1, loss=0.3)
    left, right = network.host(), network.host()
    left.connect(right)
    left.send_to(right, b"hello")
    network.run(10)
    assert right.received == [b"hello"]
"""

import heapq
import random
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, ip_network
from itertools import count
from math import inf
from typing import TYPE_CHECKING, TypeVar

from tunnel.config.patch import AllowedIPChange, DevicePatch, PeerPatch
from tunnel.daemon.oversized import OversizedPackets
from tunnel.endpoint import Endpoint
from tunnel.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey
from tunnel.offload.coalesce import Coalescer
from tunnel.offload.segment import Segmenter
from tunnel.offload.slices import Slicer
from tunnel.protocol.device import Device
from tunnel.protocol.events import Event
from tunnel.protocol.probing import OUTER_HEADERS
from tunnel.protocol.transport import SLOT_OVERHEAD
from tunnel.testing.clock import FakeClock
from tunnel.testing.nat import Nat
from tunnel.wire import ip
from tunnel.wire.control import Capability
from tunnel.wire.icmp import pack_echo_reply, parse_echo_request
from tunnel.wire.messages import TRANSPORT_HEADER_SIZE, Buffer, ExtendedFlag, MessageType, message_type
from tunnel.wire.tai64n import NO_STAMP, next_stamp
from tunnel.wire.train import Train
from tunnel.wire.virtio import VIRTIO_HEADER_SIZE

if TYPE_CHECKING:
    from tunnel.daemon.membership import Membership

_ARENA_SIZE = 256 * 1024

E = TypeVar("E", bound=Event)


def ipv4_packet(source: IPv4Address, destination: IPv4Address, payload: bytes) -> bytes:
    """A whole IPv4 packet of protocol 253 (RFC 3692, for experiments); its checksum is left zero."""
    length = ip.IPV4_HEADER_SIZE + len(payload)
    return b"\x45\x00%b\x00\x00\x00\x00\x40\xfd\x00\x00%b%b%b" % (
        length.to_bytes(2, "big"),
        source.packed,
        destination.packed,
        payload,
    )


class SimulatedHost:
    """A device with an outer endpoint and one inner address; keeps what it received and what happened to it."""

    def __init__(
        self, network: "Network", number: int, private_key: PrivateKey, offered: Capability | None = None
    ) -> None:
        self.network = network
        self.offered = offered
        """What it takes beyond plain WireGuard, from its next start on; None: it is plain WireGuard."""
        self.private_key = private_key
        self.public_key = private_key.public_key
        self.endpoint = Endpoint(f"192.0.2.{number}", 51820)
        self.nat: Nat | None = None
        """The box that stands between this host and the network, if any."""
        self.address = IPv4Address("10.0.0.0") + number
        self.received: list[bytes] = []
        """Payloads in the order they came out of the tunnel."""
        self.frames: list[bytes] = []
        """The same as frames for a TUN device, virtio header included: here superpackets are superpackets."""
        self.answers_pings = False
        """Whether its kernel does, those to `Device.addresses`; they are not in `received` then."""
        self.sent: list[tuple[float, Endpoint, bytes]] = []
        """Every datagram that left it: when, where to, what."""
        self.probes: list[tuple[float, int]] = []
        """Those among them that find out about a path: when, and the size of the outer IP packet."""
        self.events: list[Event] = []
        self.last_stamp = NO_STAMP
        """What is on disk: `restart` keeps it, a test may take it away."""
        self.membership: Membership | None = None
        """What it does about others with certificates, if it has one (`tunnel.testing.members`)."""
        self._segmenter, self._slicer, self._coalescer = Segmenter(), Slicer(), Coalescer()
        self.device = self._start()

    def connect(
        self,
        other: "SimulatedHost",
        *,
        psk: PresharedKey = NO_PRESHARED_KEY,
        keepalive: int = 0,
        other_knows_endpoint: bool = True,
    ) -> None:
        """Make the two peers of each other; `keepalive` seconds on this side."""
        self.add_peer(other, psk=psk, keepalive=keepalive)
        other.add_peer(self, psk=psk, knows_endpoint=other_knows_endpoint)

    def add_peer(
        self,
        other: "SimulatedHost",
        *,
        psk: PresharedKey = NO_PRESHARED_KEY,
        keepalive: int = 0,
        knows_endpoint: bool = True,
    ) -> None:
        patch = PeerPatch(
            other.public_key,
            preshared_key=psk,
            endpoint=other.endpoint if knows_endpoint else None,
            persistent_keepalive=keepalive,
            allowed_ips=(AllowedIPChange(ip_network(other.address)),),
        )
        self.device.apply(DevicePatch(peers=(patch,)), self.network.clock.now())
        self.network.flush(self)

    def remove_peer(self, other: "SimulatedHost") -> None:
        patch = PeerPatch(other.public_key, remove=True)
        self.device.apply(DevicePatch(peers=(patch,)), self.network.clock.now())
        self.network.flush(self)

    def send_to(self, other: "SimulatedHost", *payloads: bytes) -> None:
        """Let packets come out of this host's kernel, towards the other's inner address, as one batch."""
        self.send_packets(*(ipv4_packet(self.address, other.address, payload) for payload in payloads))

    def send_packets(self, *packets: bytes) -> None:
        """The same for whole packets of any content."""
        self._send(packets)

    def _send(self, packets: Sequence[bytes], flags: Sequence[int] = ()) -> None:
        slots = []
        for packet in packets:
            slot = memoryview(bytearray(len(packet) + SLOT_OVERHEAD))
            slot[TRANSPORT_HEADER_SIZE : TRANSPORT_HEADER_SIZE + len(packet)] = packet
            slots.append(slot)
        self.device.send(slots, [len(packet) for packet in packets], self.network.clock.now(), flags)
        self.network.flush(self)

    def send_partial(self, *packets: bytes) -> None:
        """Let TCP or UDP packets come out of this host's kernel whose checksum is the pseudo-header's sum so far."""
        self._send(packets, [ExtendedFlag.PARTIAL] * len(packets))

    def send_superpacket(self, other: "SimulatedHost", frame: bytes) -> None:
        """Let a superpacket come out of this host's kernel, virtio header included: in slices, if `other` takes them.

        It must be of a protocol whose slices are taken, if there is an extension at all.
        """
        now = self.network.clock.now()
        peer = self.device.route(memoryview(frame)[VIRTIO_HEADER_SIZE:])
        assert peer is not None
        arena = memoryview(bytearray(_ARENA_SIZE))
        cut = self._segmenter.segment(memoryview(frame), arena, self.device.mtu, peer.limit)
        if peer.takes(now) is not None:
            cut = self._slicer.slice(memoryview(frame), arena, peer.limit)
        assert isinstance(cut, list)
        for outbound in cut:
            self.device.send_train(peer, outbound, now)
        self.network.flush(self)

    @property
    def deadline(self) -> float:
        """When it has something to do next."""
        return self.device.deadline if self.membership is None else min(self.device.deadline, self.membership.deadline)

    def restart(self) -> None:
        """Lose everything but the private key and the stamp on disk; peers are to be added again."""
        self.membership = None
        self.device = self._start()
        if self not in self.network.hosts:
            self.network.hosts.append(self)

    def crash(self) -> None:
        """Power fails: it neither hears nor says anything until `restart`."""
        self.network.hosts.remove(self)

    def coalesce(self, trains: list[Train]) -> list[list[Buffer]]:
        """What its kernel gets of opened trains."""
        return self._coalescer.coalesce(trains)

    def drops(self) -> dict[str, int]:
        """Name of the reason -> count, of what occurred."""
        return dict(self.device.snapshot(0).drops)

    def events_of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def sent_of(self, kind: MessageType) -> list[bytes]:
        return [datagram for _, _, datagram in self.sent if message_type(datagram) == kind]

    def times_of(self, kind: MessageType) -> list[float]:
        """When those were sent."""
        return [when for when, _, datagram in self.sent if message_type(datagram) == kind]

    def _start(self) -> Device:
        device = Device(self.network.random.randbytes, self._stamp)
        now = self.network.clock.now()
        device.offered = self.offered
        device.apply(DevicePatch(private_key=self.private_key), now)
        device.up(now)
        self._oversized = OversizedPackets(device)
        return device

    def take_datagrams(self) -> list[tuple[Train, Endpoint]]:
        """What to send now, what was too big for the path included, in the way that the daemon deals with it."""
        datagrams = _copies(self.device.take_datagrams())
        self._oversized.gather()
        while self._oversized:
            self._oversized.send_next(self.network.clock.now())
            datagrams += _copies(self.device.take_datagrams())
        return datagrams

    def _stamp(self) -> bytes:
        self.last_stamp = next_stamp(self.last_stamp, self.network.clock.unix_ns())
        return self.last_stamp


class Network:
    """Carries datagrams between hosts. `loss` and `duplication` are probabilities, `delay` a range in seconds.

    `path_mtus` are the narrow paths, see `narrow`. What does not fit vanishes without a word if it must not be
    fragmented, and also if nothing is: that is `fragments`.

    A wide `delay` range re-orders. `filter` may be set to see every datagram and drop those it returns False for:
    from where, as seen outside of any NAT, to where, and what. `offered` is what its hosts take beyond plain WireGuard,
    unless they are told otherwise. `names` is DNS: what is missing there cannot be resolved just now.
    """

    offered: Capability | None = None

    def __init__(
        self,
        seed: int = 0,
        *,
        loss: float = 0.0,
        duplication: float = 0.0,
        delay: tuple[float, float] = (0.01, 0.01),
    ) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a simulation, and it must repeat itself
        self.clock = FakeClock()
        self.loss = loss
        self.duplication = duplication
        self.delay = delay
        self.filter: Callable[[Endpoint, Endpoint, bytes], bool] = lambda source, destination, datagram: True
        self.hosts: list[SimulatedHost] = []
        self.nats: list[Nat] = []
        self.names: dict[str, list[Endpoint]] = {}
        self.path_mtus: dict[tuple[str, str], int] = {}
        self.fragments = False
        self._in_flight: list[tuple[float, int, Endpoint, Endpoint, bytes]] = []
        self._tickets = count()

    def host(self) -> SimulatedHost:
        """A new host with a key, an outer and an inner address of its own."""
        key = PrivateKey.generate(self.random.randbytes)
        host = SimulatedHost(self, len(self.hosts) + 1, key, self.offered)
        self.hosts.append(host)
        return host

    def narrow(self, sender: SimulatedHost, receiver: SimulatedHost, path_mtu: int) -> None:
        """From now on outer IP packets of up to so many bytes get from the one to the other; not the other way."""
        self.path_mtus[sender.endpoint.host, receiver.endpoint.host] = path_mtu

    def nat(self, idle: float = 30.0) -> Nat:
        """A new box with an outside address of its own, for a host's `nat`."""
        nat = Nat(f"198.51.100.{len(self.nats) + 1}", idle)
        self.nats.append(nat)
        return nat

    def run(self, seconds: float) -> None:
        """Let that much time pass, with everything that happens in it."""
        end = self.clock.now() + seconds
        while (moment := self._next_moment()) <= end:
            self.clock.advance(max(0.0, moment - self.clock.now()))
            self._happen()
        self.clock.advance(end - self.clock.now())

    def run_until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Let time pass until `condition` holds; fail after `seconds`."""
        end = self.clock.now() + seconds
        while not condition():
            moment = self._next_moment()
            assert moment <= end, f"still not so after {seconds} s"
            self.clock.advance(max(0.0, moment - self.clock.now()))
            self._happen()

    def inject(self, source: Endpoint, destination: Endpoint, datagram: bytes) -> None:
        """Let anybody send anything, past loss and filter."""
        heapq.heappush(self._in_flight, (self.clock.now(), next(self._tickets), source, destination, datagram))

    def flush(self, host: SimulatedHost) -> None:
        """Carry off what the host's device made."""
        datagrams = host.take_datagrams()
        pings = []
        for frame in map(b"".join, host.coalesce(host.device.take_packets())):
            packet = frame[VIRTIO_HEADER_SIZE:]
            ping = parse_echo_request(packet) if host.answers_pings else None
            if ping is not None and ping.destination in [address.ip.packed for address in host.device.addresses]:
                pings.append(pack_echo_reply(ping.answer))
                continue
            host.frames.append(frame)
            header = ip.IPV4_HEADER_SIZE if ip.version(packet) == 4 else ip.IPV6_HEADER_SIZE
            host.received.append(packet[header : ip.total_length(packet)])
        for event in host.device.take_events():
            host.events.append(event)
            if host.membership is not None:
                host.membership.observe(event, self.clock.now())
        for train, destination in datagrams:
            for datagram in train.datagrams():
                self._send(host, destination, bytes(datagram), may_be_fragmented=self.fragments)
        for probe, destination in host.device.take_probes():
            host.probes.append((self.clock.now(), _outer_size(probe, destination)))
            self._send(host, destination, bytes(probe), may_be_fragmented=False)
        if pings:
            host.send_packets(*pings)

    def _send(self, host: SimulatedHost, destination: Endpoint, datagram: bytes, *, may_be_fragmented: bool) -> None:
        now = self.clock.now()
        host.sent.append((now, destination, datagram))
        path_mtu = self.path_mtus.get((host.endpoint.host, destination.host), inf)
        if _outer_size(datagram, destination) > path_mtu and not may_be_fragmented:
            return
        source = host.nat.outbound(host.endpoint, destination, now) if host.nat else host.endpoint
        if not self.filter(source, destination, datagram):
            return
        copies = 2 if self.random.random() < self.duplication else 1
        for _ in range(copies):
            if self.random.random() >= self.loss:
                arrival = now + self.random.uniform(*self.delay)
                heapq.heappush(self._in_flight, (arrival, next(self._tickets), source, destination, datagram))

    def _next_moment(self) -> float:
        arrival = self._in_flight[0][0] if self._in_flight else inf
        return min(arrival, *(host.deadline for host in self.hosts), inf)

    def _happen(self) -> None:
        now = self.clock.now()
        while self._in_flight and self._in_flight[0][0] <= now:
            _, _, source, destination, datagram = heapq.heappop(self._in_flight)
            host = self._host_at(destination, source)
            if host is not None:
                host.device.receive([Train.single(memoryview(bytearray(datagram)))], [source], now)
                self.flush(host)
        for host in self.hosts:
            if host.device.deadline <= now:
                host.device.expire(now)
                self.flush(host)
            if host.membership is not None and host.membership.deadline <= now:
                self._look_up(host.membership, now)
                host.membership.expire(now)
                self.flush(host)

    def _look_up(self, membership: "Membership", now: float) -> None:
        """DNS answers at once, or not at all."""
        for name in membership.dialling.due_lookups(now):
            if name.host in self.names:
                membership.dialling.found(name, self.names[name.host], now)
            else:
                membership.dialling.failed(name, now)

    def _host_at(self, destination: Endpoint, source: Endpoint) -> SimulatedHost | None:
        """Who gets what `source` sent there: nobody, if no host is there or its NAT does not let it in."""
        behind = next((nat for nat in self.nats if nat.address == destination.host), None)
        inside = behind.inbound(destination.port, source, self.clock.now()) if behind else destination
        if inside is None:
            return None
        there = (inside.host, inside.port)
        return next((host for host in self.hosts if host.nat is behind and _place(host.endpoint) == there), None)


def _copies(datagrams: list[tuple[Train, Endpoint]]) -> list[tuple[Train, Endpoint]]:
    """Since their memory is used again."""
    return [
        (Train(memoryview(bytearray(train.buffer)), train.count, train.size, train.last), endpoint)
        for train, endpoint in datagrams
    ]


def _outer_size(datagram: Buffer, destination: Endpoint) -> int:
    """With IP and UDP header, in bytes."""
    return len(datagram) + OUTER_HEADERS[6 if destination.is_ipv6 else 4]


def _place(endpoint: Endpoint) -> tuple[str, int]:
    return endpoint.host, endpoint.port

"""What it costs to seal, to open, and to shake hands, in microseconds.

    python -m tests.bench.protocol

A train is one TCP superpacket's worth, 44 packets of 1420 bytes, as the device gets it and gives it; beside it stands
what the AEAD alone takes of that. The best of many short runs, as in `tests.bench.offload`.
"""

import random
from collections import deque
from collections.abc import Callable
from ipaddress import IPv4Address, ip_network
from itertools import count, repeat
from time import perf_counter

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from rich.console import Console
from rich.table import Table

from tests.bench.offload import microseconds
from tunnel.config.patch import AllowedIPChange, DevicePatch, PeerPatch
from tunnel.endpoint import Endpoint
from tunnel.keys import NO_PRESHARED_KEY, PrivateKey
from tunnel.noise.handshake import Initiator, Responder, compute_static_shared
from tunnel.protocol.device import Device
from tunnel.protocol.transport import SLOT_OVERHEAD
from tunnel.testing.network import ipv4_packet
from tunnel.wire.control import Capability
from tunnel.wire.messages import TAG_SIZE, TRANSPORT_HEADER_SIZE, TRANSPORT_OVERHEAD
from tunnel.wire.train import Outbound, Train

PACKETS, LENGTH = 44, 1420
SIZE = LENGTH + TRANSPORT_OVERHEAD
SMALL = 84
"""Bytes of the packet of a ping."""
ALL = Capability(sum(Capability))

_ONE, _OTHER = Endpoint("192.0.2.1", 51820), Endpoint("192.0.2.2", 51820)
_INNER, _OTHER_INNER = IPv4Address("10.0.0.1"), IPv4Address("10.0.0.2")


class Pair:
    """Two devices with a session between them; `offered` by both."""

    def __init__(self, offered: Capability | None) -> None:
        rng = random.Random(1).randbytes
        keys = [PrivateKey.generate(rng) for _ in range(2)]
        stamps = count(1)
        self.left, self.right = (Device(rng, lambda: (next(stamps) << 24).to_bytes(12, "big")) for _ in keys)
        ends = [(self.left, keys[0], keys[1], _OTHER, _OTHER_INNER), (self.right, keys[1], keys[0], _ONE, _INNER)]
        for device, own, other, endpoint, address in ends:
            device.offered = offered
            peer = PeerPatch(other.public_key, endpoint=endpoint, allowed_ips=(AllowedIPChange(ip_network(address)),))
            device.apply(DevicePatch(private_key=own, peers=(peer,)), 0.0)
            device.up(0.0)
        self.packet = ipv4_packet(_INNER, _OTHER_INNER, bytes(LENGTH - 20))
        self.send_small()
        for _ in range(4):
            self.carry(self.left, self.right, _ONE)
            self.carry(self.right, self.left, _OTHER)

    def carry(self, sender: Device, receiver: Device, source: Endpoint) -> None:
        for train, _ in sender.take_datagrams():
            copy = Train(memoryview(bytearray(train.buffer)), train.count, train.size, train.last)
            receiver.receive([copy], [source], 0.0)
            receiver.expire(0.0)
            receiver.take_packets()

    def outbound(self) -> Outbound:
        row = bytes(TRANSPORT_HEADER_SIZE) + self.packet + bytes(TAG_SIZE)
        return Outbound(Train(memoryview(bytearray(row * PACKETS)), PACKETS, SIZE, SIZE), LENGTH, LENGTH)

    def send(self, outbound: Outbound) -> None:
        peer = self.left.route(memoryview(self.packet))
        assert peer is not None
        self.left.send_train(peer, outbound, 0.0)

    def send_small(self) -> None:
        slot = memoryview(bytearray(SMALL + SLOT_OVERHEAD))
        packet = ipv4_packet(_INNER, _OTHER_INNER, bytes(SMALL - 20))
        slot[TRANSPORT_HEADER_SIZE : TRANSPORT_HEADER_SIZE + SMALL] = packet
        self.left.send([slot], [SMALL], 0.0)

    def sealed(self, number: int, send: Callable[[], None]) -> list[Train]:
        """As they come from the network; each can be opened once, and all lie in the same place as in the daemon."""
        trains = []
        for _ in range(number):
            send()
            ((train, _),) = self.left.take_datagrams()
            trains.append(Train(memoryview(bytearray(train.buffer)), train.count, train.size, train.last))
        return trains


def measure_data(offered: Capability | None) -> tuple[float, ...]:
    """Seal and open a train; seal and open one small packet."""
    pair = Pair(offered)
    outbound = pair.outbound()

    def seal() -> None:
        pair.send(outbound)
        pair.left.take_datagrams()

    def seal_small() -> None:
        pair.send_small()
        pair.left.take_datagrams()

    figures = []
    for seal_one, send in ((seal, lambda: pair.send(pair.outbound())), (seal_small, pair.send_small)):
        figures.append(microseconds(seal_one))
        trains = pair.sealed(2000, send)
        place = Train(trains[0].buffer, trains[0].count, trains[0].size, trains[0].last)
        contents = [bytes(train.buffer) for train in trains]
        figures.append(_microseconds_to_open(pair.right, place, contents))
    return tuple(figures)


def _microseconds_to_open(device: Device, place: Train, contents: list[bytes]) -> float:
    """Each is copied into the same memory first, as the socket would, which is not counted."""
    best = 1e9
    for content in contents:
        place.buffer[:] = content
        began = perf_counter()
        device.receive([place], [_ONE], 0.0)
        device.take_packets()
        best = min(best, perf_counter() - began)
    return best * 1e6


def measure_aead(kind: type[AESGCM | ChaCha20Poly1305]) -> float:
    """Sealing the packets of a train, and nothing else."""
    aead = kind(bytes(32))
    memory = memoryview(bytearray(SIZE * PACKETS))
    starts = range(TRANSPORT_HEADER_SIZE, len(memory), SIZE)
    packets = [memory[start : start + LENGTH] for start in starts]
    bodies = [memory[start : start + LENGTH + TAG_SIZE] for start in starts]
    nonces = [bytes(12)] * PACKETS
    return microseconds(lambda: deque(map(aead.encrypt_into, nonces, packets, repeat(None), bodies), maxlen=0))


def measure_handshake() -> tuple[float, float]:
    """The initiator's half and the responder's, without MACs and cookies."""
    rng = random.Random(1).randbytes
    ours, theirs, ephemeral = (PrivateKey.generate(rng) for _ in range(3))
    shared = compute_static_shared(ours, theirs.public_key)
    assert shared is not None
    responder = Responder(theirs)

    def initiate() -> tuple[Initiator, bytes, bytes, bytes]:
        initiator = Initiator(ours, theirs.public_key, NO_PRESHARED_KEY, PrivateKey.generate(rng), static_shared=shared)
        return initiator, *initiator.create_initiation(bytes(12))

    initiator, first, static, timestamp = initiate()

    def respond() -> tuple[bytes, bytes]:
        incoming = responder.consume_initiation(first, static)
        assert incoming is not None
        assert incoming.consume_timestamp(shared, timestamp) is not None
        answer, nothing, _ = incoming.create_response(ephemeral, NO_PRESHARED_KEY)
        return answer, nothing

    answer = respond()
    begun, finished = microseconds(initiate), microseconds(lambda: initiator.consume_response(*answer))
    return begun + finished, microseconds(respond)


def main() -> None:
    table = Table("µs", "seal train", "AEAD alone", "open train", "seal one of 84 bytes", "open it")
    rows: dict[str, tuple[Capability | None, type[AESGCM | ChaCha20Poly1305]]] = {
        "message 4, ChaCha20-Poly1305": (None, ChaCha20Poly1305),
        "message 5, ChaCha20-Poly1305": (ALL & ~Capability.AES_256_GCM, ChaCha20Poly1305),
        "message 5, AES-256-GCM": (ALL, AESGCM),
    }
    for name, (offered, kind) in rows.items():
        seal, open_, *small = measure_data(offered)
        table.add_row(name, *(f"{figure:.1f}" for figure in (seal, measure_aead(kind), open_, *small)))
    console = Console()
    console.print(table)
    initiator, responder = measure_handshake()
    console.print(f"handshake: initiator {initiator:.0f} µs, responder {responder:.0f} µs")


if __name__ == "__main__":
    main()

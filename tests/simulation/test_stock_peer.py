"""A stock peer opens everything that one of us sends it: there is a whole packet or nothing, and zeros after it."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.properties.superpackets import PSH, UDP, Flow, Superpacket
from tunnel.endpoint import Endpoint
from tunnel.protocol.events import HandshakeCompleted
from tunnel.protocol.keypair import Keypair
from tunnel.testing.network import Network, SimulatedHost
from tunnel.wire import ip
from tunnel.wire.control import Capability
from tunnel.wire.messages import TRANSPORT_HEADER, TRANSPORT_HEADER_SIZE, MessageType, message_type

ALL = Capability(sum(Capability))
SECONDS = 1000
FLOWS = Flow(flags=Flow.flags | PSH), Flow(protocol=UDP)


@pytest.fixture(autouse=True)
def offered() -> None:
    """One host has extensions and the other one not, once is enough."""


def create_hosts(network: Network) -> tuple[SimulatedHost, SimulatedHost]:
    """One of us, and one that is plain WireGuard; they know each other."""
    network.offered = ALL
    ours = network.host()
    network.offered = None
    stock = network.host()
    ours.connect(stock)
    return ours, stock


class StockPeer:
    """Opens what `host`, which has no extensions, is sent, before it is lost or doubled on the way."""

    def __init__(self, network: Network, host: SimulatedHost) -> None:
        self.host = host
        self.contents: list[bytes] = []
        self.types: Counter[int] = Counter()
        network.filter = self._see

    def _see(self, source: Endpoint, destination: Endpoint, datagram: bytes) -> bool:
        if destination == self.host.endpoint:
            kind = message_type(datagram)
            self.types[kind] += 1
            if kind == MessageType.TRANSPORT_DATA:
                self.contents += self._open(datagram)
        return True

    def _open(self, datagram: bytes) -> Iterator[bytes]:
        _, receiver, counter = TRANSPORT_HEADER.unpack_from(datagram)
        keypair = self.host.device._host.indices.lookup(receiver)
        if isinstance(keypair, Keypair):  # else the session is forgotten, and nobody can open it any more
            nonce = bytes(4) + counter.to_bytes(8, "little")
            yield keypair.opener.decrypt(nonce, datagram[TRANSPORT_HEADER_SIZE:], None)


def talk(network: Network, ours: SimulatedHost, stock: SimulatedHost) -> None:
    """Packets of all kinds, and silence in which sessions grow old: a second, and sometimes more, after each."""
    rng = random.Random(1)
    for second in range(SECONDS):
        flow = FLOWS[second % 2]
        match rng.randrange(8):
            case 0:
                ours.send_to(stock, *[rng.randbytes(rng.randrange(1380)) for _ in range(rng.randrange(9))])
            case 1:
                ours.send_superpacket(stock, Superpacket(flow, rng.randbytes(rng.randrange(1, 9000)), 1368).frame())
            case 2:
                ours.send_partial(flow.packet(rng.randbytes(rng.randrange(1380)), is_partial=True))
            case 3 | 4:
                stock.send_to(ours, b"and back")
            case 5:
                network.run(rng.choice([0, 15, 200]))
        network.run(1)


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_a_stock_peer_gets_packets_and_keepalives_and_nothing_else(loss: float) -> None:
    network = Network(loss=loss, duplication=loss)
    ours, stock = create_hosts(network)
    seen = StockPeer(network, stock)
    talk(network, ours, stock)
    assert seen.types.keys() <= {1, 2, 4}, "the whole type word: reserved bytes are zero"
    lengths = [ip.total_length(content) if content else 0 for content in seen.contents]
    for content, length in zip(seen.contents, lengths, strict=True):
        assert length is not None, "a whole packet, or nothing"
        assert content[length:] == bytes(min(-length % 16, ours.device.mtu - length))
    assert lengths.count(0) > 10, "keepalives are among them"
    assert len(lengths) > 1000
    assert len({event.as_initiator for event in ours.events_of(HandshakeCompleted)}) == 2, "and either side began"


def test_a_stock_peer_counts_nothing_that_it_could_not_use() -> None:
    network = Network()
    ours, stock = create_hosts(network)
    talk(network, ours, stock)
    ours.device.down(network.clock.now())
    network.flush(ours)
    network.run(1)
    assert stock.drops() == {}

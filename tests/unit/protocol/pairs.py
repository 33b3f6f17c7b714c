"""Two hosts of the simulated network, as most conversations in these tests need them."""

from tunnel.endpoint import Endpoint
from tunnel.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey
from tunnel.noise.handshake import Initiator
from tunnel.protocol.cookie import CookieGenerator
from tunnel.protocol.keypair import Keypair
from tunnel.protocol.peer import Peer
from tunnel.testing.network import Network, SimulatedHost
from tunnel.wire.messages import Initiation, MessageType, message_type, pack_initiation

DELAY = 0.01
"""Seconds that a datagram takes, each way."""


def create_pair(
    *, psk: PresharedKey = NO_PRESHARED_KEY, keepalive: int = 0, right_knows_endpoint: bool = True
) -> tuple[Network, SimulatedHost, SimulatedHost]:
    """Two hosts that know each other and have not talked."""
    network = Network(delay=(DELAY, DELAY))
    left, right = network.host(), network.host()
    left.connect(right, psk=psk, keepalive=keepalive, other_knows_endpoint=right_knows_endpoint)
    return network, left, right


def create_session() -> tuple[Network, SimulatedHost, SimulatedHost]:
    """The same after a handshake that the left one began, 20 ms ago, and confirmed with a packet that has arrived."""
    network, left, right = create_pair()
    left.send_to(right, b"first")
    network.run_until(lambda: right.received == [b"first"])
    left.sent.clear()
    right.sent.clear()
    right.received.clear()
    return network, left, right


def peer_of(host: SimulatedHost, other: SimulatedHost) -> Peer:
    """What `host` knows of `other`."""
    return host.device._peers[other.public_key]


def current_of(host: SimulatedHost, other: SimulatedHost) -> Keypair:
    keypair = peer_of(host, other).keypairs.current
    assert keypair is not None
    return keypair


def indices_of(host: SimulatedHost) -> int:
    """How many receiver indices the host has given away."""
    return len(host.device._host.indices)


Held = list[tuple[Endpoint, Endpoint, bytes]]
"""Datagrams that were taken off the network: from where, to where, what. `Network.inject` puts one back."""


def hold(network: Network, *kinds: MessageType) -> Held:
    """From now on, take messages of these kinds (all, if none is named) off the network into the list returned."""
    held: Held = []

    def passes(source: Endpoint, destination: Endpoint, datagram: bytes) -> bool:
        if kinds and message_type(datagram) not in kinds:
            return True
        held.append((source, destination, datagram))
        return False

    network.filter = passes
    return held


def let_pass(network: Network) -> None:
    """Take nothing off the network any more."""
    network.filter = lambda source, destination, datagram: True


def initiation(private_key: PrivateKey, to: PublicKey, *, number: int = 1, sender: int = 7) -> bytes:
    """An authentic message 1 with a right MAC1, whose timestamp grows with `number`."""
    ephemeral = PrivateKey(number.to_bytes(32, "big"))
    initiator = Initiator(private_key, to, NO_PRESHARED_KEY, ephemeral)
    message = Initiation(sender, *initiator.create_initiation(number.to_bytes(12, "big")))
    return CookieGenerator(to).add_macs(pack_initiation(message), 0.0)

"""Two hosts of the simulated network, as most conversations in these tests need them."""

from tunnel.keys import NO_PRESHARED_KEY, PresharedKey
from tunnel.protocol.keypair import Keypair
from tunnel.protocol.peer import Peer
from tunnel.testing.network import Network, SimulatedHost

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

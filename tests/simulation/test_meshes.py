"""Up to fifty devices that all know each other, and networks that go mad and get well again."""

from itertools import combinations, permutations

import pytest

from tests.fuzz.consistency import assert_consistent
from tunnel.endpoint import Endpoint
from tunnel.testing.network import Network, SimulatedHost


def create_mesh(network: Network, size: int) -> list[SimulatedHost]:
    hosts = [network.host() for _ in range(size)]
    for left, right in combinations(hosts, 2):
        left.connect(right)
    return hosts


def name_of(sender: SimulatedHost, receiver: SimulatedHost, number: int = 0) -> bytes:
    return f"{sender.address} to {receiver.address}, {number}".encode()


def assert_one_session_each(hosts: list[SimulatedHost]) -> None:
    """Every two agree on the session that they send under."""
    for left, right in combinations(hosts, 2):
        ours = left.device._peers[right.public_key].keypairs.current
        theirs = right.device._peers[left.public_key].keypairs.current
        assert ours is not None
        assert theirs is not None
        assert (ours.local_index, ours.remote_index) == (theirs.remote_index, theirs.local_index)


@pytest.mark.slow
def test_fifty_devices_in_a_full_mesh_all_begin_at_once() -> None:
    """1225 sessions, each begun from both sides: every packet arrives and every two agree on one session."""
    network = Network(seed=50)
    hosts = create_mesh(network, 50)
    for sender, receiver in permutations(hosts, 2):
        sender.send_to(receiver, name_of(sender, receiver))
    network.run(1)
    for receiver in hosts:
        assert sorted(receiver.received) == sorted(name_of(host, receiver) for host in hosts if host is not receiver)
        assert receiver.drops() == {}
    assert_one_session_each(hosts)


@pytest.mark.parametrize("seed", range(3))
def test_a_small_mesh_begins_at_once_on_a_network_that_reorders(seed: int) -> None:
    network = Network(seed, delay=(0.001, 0.4))
    hosts = create_mesh(network, 8)
    for sender, receiver in permutations(hosts, 2):
        sender.send_to(receiver, name_of(sender, receiver))
    network.run(3)
    for receiver in hosts:
        assert sorted(receiver.received) == sorted(name_of(host, receiver) for host in hosts if host is not receiver)
    for sender, receiver in permutations(hosts, 2):
        sender.send_to(receiver, name_of(sender, receiver))
    network.run(1)
    assert_one_session_each(hosts)


def go_mad(network: Network, hosts: list[SimulatedHost], steps: int) -> None:
    """Loss, duplication, re-ordering, restarts, pauses and a roaming host, as the seed has it.

    Only one roams: two that both moved unheard have lost each other, as any two peers would.
    """
    random = network.random
    network.loss, network.duplication, network.delay = 0.3, 0.1, (0.01, 1.0)
    for step in range(steps):
        sender, receiver = random.sample(hosts, 2)
        sender.send_to(receiver, b"step %d" % step)
        match random.randrange(20):
            case 0:
                hosts[0].endpoint = Endpoint(f"203.0.113.{random.randrange(256)}", random.randrange(1, 65536))
            case 1:
                sender.restart()
                for other in hosts:
                    if other is not sender:
                        sender.add_peer(other)
            case 2:
                network.clock.step_wall_clock(random.uniform(-1000, 1000))
        network.run(random.choice([0.0, 0.1, 1.0, 6.0, 30.0]))
        for host in hosts:
            assert_consistent(host.device)


def get_well(network: Network, hosts: list[SimulatedHost]) -> None:
    network.loss, network.duplication, network.delay = 0.0, 0.0, (0.01, 0.01)
    network.run(2)
    for _ in range(30):
        for sender, receiver in permutations(hosts, 2):
            sender.send_to(receiver, b"are you there?")
        network.run(1)


def recover(seed: int, size: int, steps: int) -> None:
    """After any of that, and half a minute of a good network, not one packet is lost for five minutes."""
    network = Network(seed)
    hosts = create_mesh(network, size)
    go_mad(network, hosts, steps)
    get_well(network, hosts)
    for host in hosts:
        host.received.clear()
    for number in range(300):
        for sender, receiver in permutations(hosts, 2):
            sender.send_to(receiver, name_of(sender, receiver, number))
        network.run(1)
    for receiver in hosts:
        senders = [host for host in hosts if host is not receiver]
        assert sorted(receiver.received) == sorted(name_of(host, receiver, n) for host in senders for n in range(300))


@pytest.mark.parametrize("seed", range(4))
def test_three_devices_recover_from_anything(seed: int) -> None:
    recover(seed, size=3, steps=60)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 120))
def test_six_devices_recover_from_anything(seed: int) -> None:
    recover(seed, size=6, steps=200)

"""A network with an authority, gateways and clients, for tests of members; and what is true of all of them."""

from ipaddress import ip_address, ip_network
from typing import Any

from tunnel.config.patch import IPNetwork
from tunnel.pki.authority import Authority
from tunnel.pki.ipblocks import IPAddress
from tunnel.testing.members import Member, enrol, found_authority
from tunnel.testing.network import Network, SimulatedHost

GATEWAY = 1
TRANSIT = "10.9.0.0/24"


class Site:
    """Hosts in 10.9.0.0/24; a gateway is dialled by its own name, a client is called after its address."""

    def __init__(self, seed: int = 0, *, loss: float = 0.0) -> None:
        self.network = Network(seed, loss=loss)
        self.authority = found_authority(self.network)
        self.members: list[Member] = []

    def gateway(self, name: str = "gw", number: int = GATEWAY, **options: Any) -> Member:
        """One that can be dialled, with everybody behind it."""
        options = {"routes": [TRANSIT], "dns_names": [name], "addresses": [f"10.9.0.{number}"]} | options
        gateway = self.member(name, is_server=True, **options)
        self.network.names[name] = [gateway.host.endpoint]
        return gateway

    def client(self, number: int = 2, **options: Any) -> Member:
        """One that dials `gw`, unless `peers` says otherwise."""
        options = {"peers": ["gw"], "addresses": [f"10.9.0.{number}"]} | options
        return self.member(options.pop("name", f"client{number}"), **options)

    def member(self, name: str, *, authority: Authority | None = None, **options: Any) -> Member:
        host = options.pop("host", None) or self.network.host()
        member = enrol(host, authority or self.authority, name, **options)
        self.members.append(member)
        return member

    @staticmethod
    def addresses(*texts: str) -> tuple[IPAddress, ...]:
        return tuple(map(ip_address, texts))

    @staticmethod
    def networks(*texts: str) -> tuple[IPNetwork, ...]:
        return tuple(map(ip_network, texts))

    def connect(self, *clients: Member, gateway: Member, seconds: float = 60.0) -> None:
        """Let time pass until all have a session with the gateway, and it with them."""

        def is_connected() -> bool:
            return all(one.has_session(gateway) and gateway.has_session(one) for one in clients)

        self.network.run_until(is_connected, seconds)

    def check(self) -> None:
        """What is to be true at every moment of every member that runs."""
        for member in self.members:
            if member.host in self.network.hosts:
                check(member)


def check(member: Member) -> None:
    """Its device has the peers that were admitted, with the networks of their certificates, and those configured."""
    peers = {peer.public_key: set(peer.allowed_ips) for peer in member.host.device.snapshot(0).peers}
    admitted = {one.public_key: set(one.networks) for one in member.membership._admission}
    networks = [network for own in admitted.values() for network in own]
    assert len(networks) == len(set(networks)), f"{member.name} has two peers with one network"
    assert {key: own for key, own in peers.items() if key in admitted} == admitted, member.name
    configured = set(peers) - set(admitted)
    assert configured <= member.configured, f"{member.name} has peers that nobody made"


def exchange(site: Site, left: Member, right: Member, seconds: float = 1.0) -> bool:
    """Whether a packet each way arrives."""
    network = site.network
    there, back = f"there {network.clock.now()}".encode(), f"back {network.clock.now()}".encode()
    left.host.send_to(right.host, there)
    network.run(seconds)
    right.host.send_to(left.host, back)
    network.run(seconds)
    return there in right.host.received and back in left.host.received


class Flow:
    """A packet each second, each way, and which of them were lost."""

    def __init__(self, site: Site, *pairs: tuple[Member, Member]) -> None:
        self.site = site
        self.pairs = pairs
        self.sent = 0

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.sent += 1
            for left, right in self.pairs:
                left.host.send_to(right.host, b"%b %d" % (left.name.encode(), self.sent))
                right.host.send_to(left.host, b"%b to %b %d" % (right.name.encode(), left.name.encode(), self.sent))
            self.site.network.run(1)
            self.site.check()

    @property
    def lost(self) -> int:
        return sum(self._missing(*pair) for pair in self.pairs)

    def _missing(self, left: Member, right: Member) -> int:
        there = {b"%b %d" % (left.name.encode(), number) for number in range(1, self.sent + 1)}
        back = {
            b"%b to %b %d" % (right.name.encode(), left.name.encode(), number) for number in range(1, self.sent + 1)
        }
        return len(there - set(right.host.received)) + len(back - set(left.host.received))


def plain_peers(member: Member, other: SimulatedHost) -> None:
    """Make the two peers of each other by hand, beside whatever certificates do."""
    other.connect(member.host)
    member.configured.add(other.public_key)

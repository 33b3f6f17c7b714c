"""Everything at once, from a seed: loss, restarts, renewals, revocations, moves. In the end all is as it should be."""

import random
from collections.abc import Callable

import pytest

from tests.simulation.member_sites import Site, check, exchange
from tunnel.endpoint import Endpoint
from tunnel.testing.members import Member, revoke

STEPS = 120
STEP = 5.0
"""Ten minutes in all."""

REST = 400.0
"""Seconds without loss in which everybody must have found each other again, the silent too."""


class Chaos:
    """Two gateways with one network and five clients, to whom things happen."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.site = Site(seed)
        self.gateways = [self.site.gateway("gw1", 1), self.site.gateway("gw2", 254)]
        self.clients = [self.site.client(number, peers=["gw1", "gw2"]) for number in range(2, 7)]
        self.revoked: list[Member] = []
        self.places = 0
        self.lists = 0

    @property
    def good(self) -> list[Member]:
        return [client for client in self.clients if client not in self.revoked]

    def step(self) -> None:
        deeds: list[Callable[[], None]] = [self.change_loss, self.restart, self.crash_or_start, self.renew, self.move]
        deeds += [self.talk, self.talk, self.revoke]
        self.random.choice(deeds)()
        for _ in range(5):
            self.site.network.run(STEP / 5)
            self.site.check()

    def change_loss(self) -> None:
        self.site.network.loss = self.random.choice([0.0, 0.05, 0.2, 0.5])

    def restart(self) -> None:
        self.random.choice(self.site.members).restart()

    def crash_or_start(self) -> None:
        member = self.random.choice(self.site.members)
        if member.host in self.site.network.hosts:
            self.random.choice([member.crash, member.stop])()
        else:
            member.restart()

    def renew(self) -> None:
        member = self.random.choice([*self.gateways, *self.good])
        if member.host in self.site.network.hosts:
            member.renew(self.site.authority)

    def move(self) -> None:
        member = self.random.choice(self.site.members)
        self.places += 1
        member.host.endpoint = Endpoint(f"203.0.113.{self.places}", 1000 + self.places)
        if member in self.gateways:
            self.site.network.names[member.name] = [member.host.endpoint]

    def talk(self) -> None:
        for client in self.clients:
            for gateway in self.gateways:
                if client.host in self.site.network.hosts:
                    client.host.send_to(gateway.host, b"hello")

    def revoke(self) -> None:
        """At most two; the list reaches gateways that run, the others when they start."""
        if len(self.revoked) == 2 or self.random.random() < 0.7:
            return
        self.revoked.append(self.random.choice(self.good))
        self.lists += 1
        crl = revoke(self.site.network, self.site.authority, *self.revoked, number=self.lists)
        for gateway in self.gateways:
            if gateway.host not in self.site.network.hosts:
                gateway.restart()
            gateway.trust(self.site.authority, crls=[crl])

    def settle(self) -> None:
        self.site.network.loss = 0.0
        for member in self.site.members:
            if member.host not in self.site.network.hosts:
                member.restart()
        self.site.network.run(REST)


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 40))])
def test_after_any_disorder_everybody_is_connected_who_should_be_and_nobody_else(seed: int) -> None:
    chaos = Chaos(seed)
    for _ in range(STEPS):
        chaos.step()
    chaos.settle()
    for client in chaos.good:
        (name,) = client.peers
        (gateway,) = [one for one in chaos.gateways if one.name == name]
        assert exchange(chaos.site, client, gateway), f"{client.name} does not reach {name}"
    for client in chaos.revoked:
        assert not any(gateway.has_session(client) for gateway in chaos.gateways), client.name
        assert not any(client.name in gateway.peers for gateway in chaos.gateways), client.name
    for member in chaos.site.members:
        check(member)
        assert len(member.host.device._host.indices) <= 4 * 5

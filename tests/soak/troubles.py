"""What happens to a network that runs, one after the other and round again; after each, who was troubled is back."""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import count

from tests.netns.eventually import eventually
from tests.netns.hosts import BIN, CABLE, SOCKETS, PeerSection
from tests.netns.members import Member
from tests.soak.network import Network
from tunnel.keys import PrivateKey

GUESTS = 5
"""Peers that come and go at a time."""

CALLERS = 20
"""Of the control socket at a time."""


class Troubles:
    """`all` are the methods to call in turn; each raises `AssertionError` or `CommandError` if it was not got over."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._numbers = count(1)
        self.all: tuple[Callable[[], None], ...] = (
            self.reload,
            self.renew,
            self.revoke_and_rejoin,
            self.add_and_remove_peers,
            self.roam,
            self.unplug_the_cable,
            self.set_the_link_down_and_up,
            self.call_the_control_socket,
            self.restart_a_client,
            self.kill_a_client,
        )

    def reload(self) -> None:
        """With another peer and another keepalive; then back."""
        network = self._network
        gateway, guest = network.gateway, guests(1)[0]
        (route,) = guest.allowed_ips
        for more, keepalive in (((guest,), 25), ((), 0)):
            network.configure_gateway(*more, keepalive=keepalive)
            gateway.tunnel("reload", gateway.interface)
            assert (route in gateway.namespace.ip("route")) == bool(more), f"the route to {route}"

    def renew(self) -> None:
        """Gateway and laptop."""
        network = self._network
        for member in network.steady:
            before = member.status()["certificate_expires"]
            network.office.cert("renew", member.identity.name, f"--days={91 + next(self._numbers) % 100}")
            self._wait(partial(self._has_another, member, before), f"{member.label} has renewed")

    def revoke_and_rejoin(self) -> None:
        network = self._network
        tablet, gateway = network.tablet, network.gateway
        network.office.cert("revoke", tablet.label)
        network.office.spread_crl(network.gateway_crl)
        self._wait(lambda: tablet.label not in gateway.peers, "the tablet is out")
        tablet.down()
        tablet.identity.unlink()
        network.office.issue_client(tablet.label, tablet.number)
        tablet.up()
        network.is_back(tablet, "with a new certificate")

    def add_and_remove_peers(self) -> None:
        """By ``wg set``; they are called, and nobody is there."""
        gateway = self._network.gateway
        peers = guests(GUESTS)
        for peer in peers:
            keepalive = ("endpoint", "192.0.2.200:51820", "persistent-keepalive", "1")
            allowed = ("allowed-ips", ",".join(peer.allowed_ips))
            gateway.wg("set", gateway.interface, "peer", str(peer.public_key), *allowed, *keepalive)
        for peer in peers:
            gateway.wg("set", gateway.interface, "peer", str(peer.public_key), "remove")

    def roam(self) -> None:
        """The phone has another address outside for a while."""
        phone = self._network.phone
        own, other = phone.outer_ipv4, "192.0.2.77"
        for before, after in ((own, other), (other, own)):
            phone.namespace.ip("address", "delete", f"{before}/24", "dev", CABLE)
            phone.namespace.ip("address", "add", f"{after}/24", "dev", CABLE)
            self._wait(partial(self._is_at, phone, after), f"the gateway knows the phone at {after}")

    def unplug_the_cable(self) -> None:
        laptop = self._network.laptop
        laptop.namespace.ip("link", "set", CABLE, "down")
        laptop.namespace.ip("link", "set", CABLE, "up")
        laptop.namespace.ip("address", "add", f"{laptop.outer_ipv6}/64", "dev", CABLE, "nodad")
        self._network.is_back(laptop, "with its cable")

    def set_the_link_down_and_up(self) -> None:
        phone = self._network.phone
        phone.namespace.ip("link", "set", phone.interface, "down")
        phone.namespace.ip("link", "set", phone.interface, "up")
        self._network.is_back(phone, "with its link")

    def call_the_control_socket(self) -> None:
        """Callers that are served, that hang up half-way, that say nothing; one that listens, and is killed."""
        gateway = self._network.gateway
        listener = gateway.namespace.popen(str(BIN / "tunnel"), "events", gateway.interface, log=gateway.log_file)
        with ExitStack() as stack:
            for number in range(CALLERS):
                caller = stack.enter_context(socket.socket(socket.AF_UNIX))
                caller.settimeout(10)
                caller.connect(str(SOCKETS / f"{gateway.interface}.sock"))
                caller.sendall((b"get=1\n\n", b"get=1\n", b"set=1\nnonsense=", b"")[number % 4])
                if number % 4 == 0:
                    assert caller.recv(1 << 16).startswith(b"private_key="), "an answer"
        assert gateway.status()["name"] == gateway.interface
        assert gateway.interface in gateway.wg("show").stdout
        listener.kill()
        listener.wait(5)

    def restart_a_client(self) -> None:
        phone = self._network.phone
        phone.down()
        phone.up()
        self._network.is_back(phone, "after a restart")

    def kill_a_client(self) -> None:
        phone = self._network.phone
        os.kill(phone.pid, signal.SIGKILL)
        eventually(lambda: phone.interface not in phone.namespace.links(), "its interface is gone")
        phone.up()
        self._network.is_back(phone, "after it was killed")

    def _is_at(self, member: Member, address: str) -> bool:
        peers = self._network.gateway.status()["peers"]
        endpoints = (peer["endpoint"] or "" for peer in peers if peer["name"] == member.label)
        return next(endpoints, "").startswith(f"{address}:")

    def _has_another(self, member: Member, expiry: float) -> bool:
        """Another certificate than the one that ends then."""
        return bool(member.status()["certificate_expires"] != expiry)

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        eventually(condition, what, 30)


def guests(count: int) -> list[PeerSection]:
    """Peers whom nobody knows."""
    keys = (PrivateKey.generate(os.urandom).public_key for _ in range(count))
    return [PeerSection(key, (f"10.61.{number}.0/24",)) for number, key in enumerate(keys)]

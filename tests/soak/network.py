"""A gateway with certificates, three clients of it, and a stock peer; and what runs between them all the time.

    laptop ── a TCP stream ─────────────▶ ┌─────────┐
    laptop ── ping, through the gateway ─ │ gateway │ ─▶ phone
    phone ─── numbered UDP ─────────────▶ │         │
    tablet    comes, is revoked, and       └─────────┘ ◀── numbered UDP ── wireguard-go
              comes again

Gateway and laptop run from the beginning to the end; it is they who are read. The others are what happens to them.
"""

import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.netns.eventually import eventually
from tests.netns.flows import is_reachable
from tests.netns.hosts import BIN, Host, PeerSection, Program
from tests.netns.landscape import Landscape, survey
from tests.netns.members import LEASE, NETWORKS, Member, Office, Site, open_site
from tests.netns.running import HashedStream, NumberedDatagrams
from tunnel.pki.store import parse_identity_file
from tunnel.testing.namespaces import Namespace

BACK = 60.0
"""Seconds in which everybody has to be back after any trouble."""


class RunningEcho:
    """``ping`` without an end, which is asked now and then how much came back."""

    def __init__(self, client: Namespace, address: str, log: Path) -> None:
        self._log = log
        log.write_text("")
        self._process = client.popen("ping", "-n", "-q", "-i", "0.1", address, log=log)

    def counts(self) -> tuple[int, int]:
        """Requests that were sent, and those that were answered."""
        before = self._log.read_text()
        self._process.send_signal(signal.SIGQUIT)
        eventually(lambda: len(self._log.read_text()) > len(before), "ping tells its numbers")
        answered, sent = re.findall(r"(\d+)/(\d+) packets", self._log.read_text())[-1]
        return int(sent), int(answered)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(5)


@dataclass(slots=True)
class Traffic:
    """All that runs, from when the context is entered."""

    stream: HashedStream
    datagrams: dict[str, NumberedDatagrams]
    echo: RunningEcho
    _before: dict[str, int] = field(default_factory=dict)

    def arrived(self) -> dict[str, int]:
        """How much has come so far, of each flow."""
        counts = {name: one.arrived for name, one in self.datagrams.items()}
        return counts | {"TCP": self.stream.received, "ping": self.echo.counts()[1]}

    def standing_still(self) -> list[str]:
        """The flows of which nothing has come since this was asked last."""
        before, self._before = self._before, self.arrived()
        return [name for name, count in self._before.items() if count == before.get(name, 0)]

    def __str__(self) -> str:
        sent, answered = self.echo.counts()
        lost = [f"{name} {one.lost} of {one.sent} lost" for name, one in self.datagrams.items()]
        return f"TCP {self.stream.received / 1e6:.1f} MB, {', '.join(lost)}, ping {sent - answered} of {sent} lost"


@dataclass(slots=True)
class Network:
    """All hosts, up. `before` is what each namespace was like when nothing ran in it."""

    site: Site
    gateway: Member
    laptop: Member
    phone: Member
    tablet: Member
    stock: Host
    before: dict[str, Landscape]

    @property
    def office(self) -> Office:
        return self.site.office

    @property
    def steady(self) -> tuple[Member, Member]:
        """Those whose daemons run from beginning to end."""
        return self.gateway, self.laptop

    @property
    def gateway_file(self) -> Path:
        return self.office.directory / f"{self.gateway.interface}.conf"

    @property
    def gateway_crl(self) -> Path:
        return self.office.directory / "gateway-crl.pem"

    def configure_gateway(self, *more: PeerSection, keepalive: int = 0) -> None:
        """Write its file: the stock peer, with that keepalive, and `more`."""
        stock = PeerSection(self.stock.public_key, (f"{self.stock.inner_ipv4}/32",), persistent_keepalive=keepalive)
        peers = "\n".join(peer.to_text() for peer in (stock, *more))
        self.gateway_file.touch(mode=0o600)
        interface = f"[Interface]\nIdentity = {self.gateway.identity}\nCRL = {self.gateway_crl}\n"
        self.gateway_file.write_text(f"{interface}\n{peers}")

    def start_gateway(self) -> None:
        command = (str(BIN / "tunnel"), "up", str(self.gateway_file), "-d")
        started = self.gateway.namespace.popen(*command, log=self.gateway.log_file)
        assert started.wait(LEASE) == 0, self.gateway.log

    def is_back(self, client: Member | Host, what: str) -> None:
        """Wait until it reaches the gateway."""
        inside = self.gateway.inner_ipv4
        eventually(lambda: is_reachable(client.namespace, inside), f"{client.label} reaches the gateway {what}", BACK)

    def left_over(self) -> list[str]:
        """One line for each way in which a namespace is not as it was; everybody is down."""
        after = {label: survey(host.namespace, host.interface) for label, host in self._hosts().items()}
        return [
            f"{label}: {name} are not as they were: {_difference(was, now)}"
            for label in after
            for name in Landscape.__slots__
            if (was := getattr(self.before[label], name)) != (now := getattr(after[label], name))
        ]

    def take_down(self) -> None:
        for member in (self.tablet, self.phone, self.laptop, self.gateway):
            member.tunnel("down", member.interface, check=False)
        self.stock.namespace.ip("link", "delete", self.stock.interface)
        eventually(lambda: not self.stock.namespace.processes(), "wireguard-go has ended")

    def remember(self) -> None:
        self.before = {label: survey(host.namespace, host.interface) for label, host in self._hosts().items()}

    def _hosts(self) -> dict[str, Member | Host]:
        members = (self.gateway, self.laptop, self.phone, self.tablet)
        return {member.label: member for member in members} | {"stock": self.stock}


def _difference(before: object, after: object) -> str:
    """The lines that only one of them has."""
    was, now = (str(one).splitlines() for one in (before, after))
    return "; ".join(
        [f"- {line}" for line in was if line not in now] + [f"+ {line}" for line in now if line not in was]
    )


@contextmanager
def open_network(directory: Path) -> Iterator[Network]:
    with open_site(directory, "soak") as site:
        site.office.cert("crl")
        gateway = site.gateway("gw", 1)
        laptop, phone, tablet = (site.client(label, number) for number, label in enumerate(CLIENTS, 2))
        stock = add_stock_peer(site, gateway)
        network = Network(site, gateway, laptop, phone, tablet, stock, {})
        network.remember()
        site.office.spread_crl(network.gateway_crl)
        network.configure_gateway()
        network.start_gateway()
        for client in (laptop, phone, tablet):
            client.up()
        stock.up()
        for each in (laptop, phone, tablet, stock):
            network.is_back(each, "at first")
        yield network


CLIENTS = ("laptop", "phone", "tablet")


def add_stock_peer(site: Site, gateway: Member) -> Host:
    namespace = site.stack.enter_context(Namespace("soak-stock"))
    stock = Host(namespace, "soakgo", 9, Program.WIREGUARD_GO, site.office.directory)
    site.lan.attach(stock.port)
    key = parse_identity_file(gateway.identity.read_bytes(), None, str(gateway.identity)).private_key.public_key
    stock.peers.append(PeerSection(key, (NETWORKS[0],), f"{gateway.outer_ipv4}:51820"))
    return stock


@contextmanager
def open_traffic(network: Network) -> Iterator[Traffic]:
    gateway, laptop, phone, stock = network.gateway, network.laptop, network.phone, network.stock
    inside = gateway.inner_ipv4
    with ExitStack() as stack:
        stream = stack.enter_context(HashedStream(laptop.namespace, gateway.namespace, inside, pause=0.05))
        datagrams = {
            each.label: stack.enter_context(
                NumberedDatagrams(each.namespace, each.inner_ipv4, gateway.namespace, inside, interval=0.02)
            )
            for each in (phone, stock)
        }
        echo = RunningEcho(laptop.namespace, phone.inner_ipv4, network.office.directory / "echo")
        stack.callback(echo.stop)
        yield Traffic(stream, datagrams, echo)

"""Certificates: how long it takes to join, and what it costs to be flooded by those who may not.

    gateway 192.0.2.2, the daemon under test ── veth ── 192.0.2.1: a laptop, and whoever sends the flood

A flood comes from the address of the laptop, which is the worst case for it: what limits handshakes by source limits
the laptop too. Each kind costs its sender something else to make:

    junk           1200 bytes that look like message 18: anybody
    requests       message 16: somebody who has seen the certificate of the authority
    initiations    message 18 from a key of nobody, with a right MAC1: somebody who knows the gateway's key too
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import click
from cryptography import x509
from rich.console import Console

from tests.bench import usage
from tests.bench.scale import Figure, render, say, timed
from tests.bench.topology import Host, two_hosts
from tests.netns.hosts import BIN
from tunnel.control.uapi_client import daemon_pid
from tunnel.keys import NO_PRESHARED_KEY, PrivateKey, PublicKey
from tunnel.noise.handshake import CERTIFIED, Initiator
from tunnel.pki.issuer import authority_hash
from tunnel.pki.store import Identity, parse_identity_file
from tunnel.protocol.cookie import CookieGenerator
from tunnel.protocol.credentials import AuthorityId
from tunnel.testing.namespaces import reap, unwinding
from tunnel.wire.certified import (
    CERTIFIED_SIZE,
    INITIATION_CHAIN_SIZE,
    CertificateRequest,
    CertifiedInitiation,
    pack_certificate_request,
    pack_certified_initiation,
    pack_chain,
)
from tunnel.wire.messages import MessageType
from tunnel.wire.tai64n import NO_STAMP, next_stamp

PORT = 51820
JOINS = 5
FORGED = 512
"""Different messages of a flood, which are sent over and over."""

BATCH = 20
"""Messages between two looks at the clock."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", default=5, show_default=True, type=click.IntRange(1), help="Of one flood.")
@click.option("--rate", default=5000, show_default=True, type=click.IntRange(1), help="Messages a second.")
def certificates(seconds: int, rate: int) -> None:
    """Measure joins and floods, in network namespaces of this machine."""
    if os.geteuid() != 0:
        raise click.ClickException("the benchmark makes network namespaces and interfaces: run it as root")
    reap()
    suffix = str(os.getpid() % 100000)
    with (
        unwinding(),
        tempfile.TemporaryDirectory(prefix="certificates-") as directory,
        two_hosts(Path(directory), suffix) as (laptop, gateway),
    ):
        site = Site(laptop, gateway, Path(directory))
        figures = [*site.joins(), *site.floods(seconds, rate)]
    Console(width=None if sys.stdout.isatty() else 110).print(render(figures, "Certificates"))


class Site:
    """An authority, a gateway and a laptop."""

    def __init__(self, laptop: Host, gateway: Host, directory: Path) -> None:
        self._laptop = laptop
        self._gateway = gateway
        self._directory = directory

    def joins(self) -> Iterator[Figure]:
        """What a new user waits for."""
        say("from nothing to a ping")
        issued = timed(self._issue)
        with self._running(self._gateway) as up:
            yield Figure("issue", "a CA and two identities, three commands", "s", issued)
            yield Figure("up", "gateway: `tunnel up -d`, the whole process", "s", up)
            joins = [self._join() for _ in range(JOINS)]
            yield Figure("join", "laptop: `tunnel up -d --peer` and a ping", "s", statistics.median(joins), 1)
            yield self._ping()

    def floods(self, seconds: int, rate: int) -> Iterator[Figure]:
        """Of each kind: CPU, memory, and how long the laptop takes meanwhile."""
        for kind, forge in (("junk", self._junk), ("requests", self._requests), ("initiations", self._initiations)):
            say(f"{rate} {kind} a second")
            messages = forge()
            with self._running(self._gateway):
                pid = daemon_pid(self._gateway.interface)
                self._join()
                before = usage.resident_bytes(pid)
                with self._flood(messages, rate) as sent:
                    began, cpu = time.monotonic(), usage.cpu_seconds(pid)
                    join = self._join()
                    time.sleep(max(0.0, seconds - (time.monotonic() - began)))
                    took, cost = time.monotonic() - began, usage.cpu_seconds(pid) - cpu
                    count = sent()
                grown = (usage.resident_bytes(pid) - before) / 1e6
            yield Figure(f"{kind}_rate", f"{kind} sent", "1/s", count / took)
            yield Figure(f"{kind}_cpu", f"{kind}: of a core", "%", 100 * cost / took)
            yield Figure(f"{kind}_cost", f"{kind}: each", "µs", 1e6 * cost / max(count, 1))
            yield Figure(f"{kind}_memory", f"{kind}: memory grew by", "MB", grown)
            yield Figure(f"{kind}_join", f"{kind}: a laptop joins and pings", "s", join)

    # ── hosts ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _issue(self) -> None:
        self._tunnel("cert", "ca")
        names = ("--server", "--dns", self._gateway.outer)
        self._tunnel("cert", "issue", "gateway", "--address", self._gateway.inner, *names)
        self._tunnel("cert", "issue", "laptop", "--address", self._laptop.inner)

    def _tunnel(self, *arguments: str) -> None:
        subprocess.run([BIN / "tunnel", *arguments], cwd=self._directory, check=True, capture_output=True)

    def _up(self, host: Host, *options: str) -> None:
        name = "laptop" if host is self._laptop else "gateway"
        identity = f"--identity={self._directory / name}.pem"
        host.namespace.run(str(BIN / "tunnel"), "up", "-d", host.interface, identity, *options)

    @contextmanager
    def _running(self, host: Host, *options: str) -> Iterator[float]:
        """Yields how long it took to come up."""
        took = timed(lambda: self._up(host, *options))
        try:
            yield took
        finally:
            host.namespace.run(str(BIN / "tunnel"), "down", host.interface)

    def _join(self) -> float:
        began = time.monotonic()
        with self._running(self._laptop, f"--peer={self._gateway.outer}"):
            self._laptop.namespace.run("ping", "-c1", "-W5", self._gateway.inner)
            return time.monotonic() - began

    def _ping(self) -> Figure:
        with self._running(self._laptop, f"--peer={self._gateway.outer}"):
            replies = self._laptop.namespace.run("ping", "-c", "5", "-i", "0.2", "-q", self._gateway.inner).stdout
        return Figure("ping", "ping through it", "ms", float(replies.rpartition("= ")[2].split("/")[1]))

    # ── floods ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _junk(self) -> list[bytes]:
        head = MessageType.CERTIFIED_INITIATION.to_bytes(4, "little")
        return [head + os.urandom(CERTIFIED_SIZE - len(head)) for _ in range(FORGED)]

    def _requests(self) -> list[bytes]:
        authority = AuthorityId(authority_hash(self._authority()))
        packed = (pack_certificate_request(CertificateRequest(number, os.urandom(32))) for number in range(FORGED))
        return [CookieGenerator(authority).add_macs(message, 0.0) for message in packed]

    def _initiations(self) -> list[bytes]:
        gateway = self._identity("gateway").private_key.public_key
        return [self._initiation(gateway, number) for number in range(FORGED)]

    def _initiation(self, gateway: PublicKey, number: int) -> bytes:
        key, ephemeral = (PrivateKey.generate(os.urandom) for _ in range(2))
        initiator = Initiator(key, gateway, NO_PRESHARED_KEY, ephemeral, protocol=CERTIFIED)
        chain = pack_chain(self._identity("laptop").chain, INITIATION_CHAIN_SIZE)
        payload = next_stamp(NO_STAMP, time.time_ns()) + chain
        packed = pack_certified_initiation(CertifiedInitiation(number, *initiator.create_initiation(payload)))
        return CookieGenerator(gateway).add_macs(packed, 0.0)

    @contextmanager
    def _flood(self, messages: list[bytes], rate: int) -> Iterator[Callable[[], int]]:
        """Send them over and over; yields how many have gone out so far."""
        with self._laptop.namespace.enter():
            outlet = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        outlet.connect((self._gateway.outer, PORT))
        count, is_over = 0, Event()

        def send() -> None:
            nonlocal count
            began = time.monotonic()
            while not is_over.is_set():
                for number in range(count, count + BATCH):
                    outlet.send(messages[number % len(messages)])
                count += BATCH
                time.sleep(max(0.0, began + count / rate - time.monotonic()))

        sender = Thread(target=send)
        sender.start()
        try:
            yield lambda: count
        finally:
            is_over.set()
            sender.join()
            outlet.close()

    def _identity(self, name: str) -> Identity:
        return parse_identity_file((self._directory / f"{name}.pem").read_bytes(), None, name)

    def _authority(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self._directory / "ca" / "ca.pem").read_bytes())


if __name__ == "__main__":
    certificates()

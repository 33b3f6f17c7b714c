"""A path between two hosts that is narrower than both believe, or becomes so while something flows.

    left ── 1500 ── near router ── 1500, or less ── far router ── 1500 ── right

A link that is narrow from the start makes routers cut what may be cut, and say so of the rest. `NarrowPath.swallow` is
worse, and common: what is too long vanishes there without a word.
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.netns.flows import connect_to, listen, ping
from tests.netns.hosts import Host, Meeting, Program, introduce
from tunnel.testing.namespaces import Namespace, Port, connect

PACE = 0.005
CHUNK = 20_000
"""Bytes that a flow sends every `PACE` seconds: enough to be in full packets, and for eight flows beside each other."""


@dataclass(frozen=True, slots=True)
class NarrowPath:
    """Two hosts, both up, and what is between them."""

    left: Host
    near: Namespace
    far: Namespace
    right: Host

    @property
    def namespaces(self) -> tuple[Namespace, ...]:
        return self.left.namespace, self.near, self.far, self.right.namespace

    def swallow(self, longest: int) -> None:
        """From now on IP packets longer than this vanish between the routers, in both directions, without a word."""
        self.let_pass()
        self.near.run(
            "nft",
            "add table inet narrow; add chain inet narrow forward { type filter hook forward priority 0; };"
            f"add rule inet narrow forward meta length > {longest} drop",
        )

    def let_pass(self) -> None:
        """From now on they do not."""
        self.near.run("nft", "add table inet narrow; delete table inet narrow")

    def fragments(self) -> int:
        """How many were made on the way until now, of both IP versions, outside of the tunnel and inside."""
        lines = [line for each in self.namespaces for line in each.run("nstat", "-asz").stdout.splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith(("IpFragCreates", "Ip6FragCreates")))


@contextmanager
def narrow_path(
    directory: Path,
    meeting: Meeting,
    link_mtu: int = 1500,
    right_program: Program = Program.TUNNEL,
    settings: tuple[str, ...] = (),
) -> Iterator[NarrowPath]:
    """Such a path, and hosts that have not sent anything large yet."""
    with ExitStack() as stack:
        near, far, *ends = (stack.enter_context(Namespace(label)) for label in ("near", "far", "left", "right"))
        left, right = (
            Host(namespace, label, number, program, directory, settings=settings)
            for number, (label, namespace, program) in enumerate(
                zip(("left", "right"), ends, (Program.TUNNEL, right_program), strict=True), 1
            )
        )
        _attach(left, near)
        _attach(right, far)
        _join(near, far, left, right, link_mtu)
        introduce(left, right, meeting)
        for host, peer in ((left, right), (right, left)):
            host.peers[0].allowed_ips += (behind(peer, 0, 0) + "/24", behind(peer, 1, 0) + "/64")
        right.up()
        left.up()
        ping(left.namespace, right.inner_ipv4, count=1)
        yield NarrowPath(left, near, far, right)


def behind(host: Host, family: int, number: int) -> str:
    """An address, IPv4 (0) or IPv6 (1), of the network that is routed behind a host; number 1 is the host itself."""
    return f"10.60.{host.number}.{number}" if family == 0 else f"fd60:{host.number}::{number}"


@contextmanager
def neighbour(host: Host) -> Iterator[Namespace]:
    """A host behind `host`, which forwards for it: number 2 in the network there."""
    with Namespace(f"behind-{host.label}") as inside:
        addresses = [(behind(host, 0, number) + "/24", behind(host, 1, number) + "/64") for number in (1, 2)]
        connect(Port(host.namespace, "inside", addresses[0]), Port(inside, "eth0", addresses[1]))
        host.namespace.ip("address", "add", "fe80::1/64", "dev", "inside", "nodad")  # as in `_attach`
        _forward(host.namespace)
        inside.ip("route", "add", "default", "via", behind(host, 0, 1))
        inside.ip("route", "add", "default", "via", behind(host, 1, 1))
        yield inside


class SteadyFlow:
    """A TCP connection over which bytes flow, some every few milliseconds, while the context lasts."""

    def __init__(self, client: Namespace, server: Namespace, address: str) -> None:
        """From `client`, which connects, to `address` in `server`."""
        with listen(server, address) as listener:
            self._near, self._far = connect_to(client, listener)
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        self._arrivals: list[float] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_over.set()
        for end in (self._near, self._far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._near, self._far):
            end.close()

    @property
    def has_moved(self) -> bool:
        return bool(self._arrivals)

    def longest_pause(self, since: float) -> float:
        """For how long nothing arrived, at the most, after `since` (a monotonic time) until now."""
        arrivals = self._arrivals[:]
        before = [at for at in arrivals if at < since][-1:]
        moments = [*before, *(at for at in arrivals if at >= since), time.monotonic()]
        return max(after - earlier for earlier, after in pairwise(moments))

    def _send(self) -> None:
        chunk = bytes(CHUNK)
        with suppress(OSError):  # it stood still for longer than its timeout, which the test will find
            while not self._is_over.wait(PACE):
                self._near.sendall(chunk)

    def _receive(self) -> None:
        with suppress(OSError):
            while self._far.recv(1 << 16):
                self._arrivals.append(time.monotonic())


def _no_delay(address: str) -> tuple[str, ...]:
    """Without duplicate address detection an IPv6 address is of use at once instead of a second later."""
    return ("nodad",) if ":" in address else ()


def _attach(host: Host, router: Namespace) -> None:
    """A cable of 1500 bytes between the two, and the host's way to everywhere."""
    connect(Port(host.namespace, "eth0"), Port(router, "host"))
    # What leaves the host is cut into datagrams there, as by a network card: routers see them one by one.
    host.namespace.ip("link", "set", "eth0", "gso_max_segs", "1")
    for address, gateway in ((host.outer_ipv4, "192.0.2.254"), (host.outer_ipv6, "2001:db8::254")):
        host.namespace.ip("address", "add", address, "dev", "eth0", *_no_delay(address))
        host.namespace.ip("route", "add", gateway, "dev", "eth0")
        host.namespace.ip("route", "add", "default", "via", gateway)
        router.ip("address", "add", gateway, "dev", "host", *_no_delay(gateway))
        router.ip("route", "add", address, "dev", "host")
    router.ip("address", "add", "fe80::254/64", "dev", "host", "nodad")  # what a router asks for neighbours with


def _join(near: Namespace, far: Namespace, left: Host, right: Host, mtu: int) -> None:
    """The cable between two routers, and what lies behind it."""
    connect(Port(near, "narrow"), Port(far, "narrow"), mtu=mtu)
    for router, own, other, beyond in ((near, 1, 2, right), (far, 2, 1, left)):
        for prefix, length, address in (
            ("198.51.100.", 24, beyond.outer_ipv4),
            ("2001:db8:1::", 64, beyond.outer_ipv6),
        ):
            router.ip("address", "add", f"{prefix}{own}/{length}", "dev", "narrow", *_no_delay(prefix))
            router.ip("route", "add", address, "via", f"{prefix}{other}")
        router.ip("address", "add", f"fe80::{own}/64", "dev", "narrow", "nodad")
        _forward(router)


def _forward(router: Namespace) -> None:
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        router.run("sh", "-c", f"echo 1 > /proc/sys/net/{switch}")

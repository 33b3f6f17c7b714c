"""Two pipelines, joined by sockets in memory, on whatever event loop runs."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_network
from itertools import count
from typing import Any

from tests.properties.superpackets import TCP, UDP, Flow, Superpacket
from tunnel.config.patch import AllowedIPChange, DevicePatch, PeerPatch
from tunnel.daemon.clock import Clock
from tunnel.daemon.pipeline import Pipeline
from tunnel.errors import TunDeviceError
from tunnel.keys import PrivateKey
from tunnel.protocol.device import Device
from tunnel.protocol.events import Event
from tunnel.testing.clock import FakeClock
from tunnel.testing.memory import ALL_OFFLOADS, MemoryTun, MemoryUdp
from tunnel.wire.control import Capability
from tunnel.wire.virtio import PLAIN

HELLO = Flow(protocol=UDP).packet(b"hello")
"""From the left one to the right one."""


@dataclass(frozen=True)
class Backward(Flow):
    """From the right one to the left one."""

    @property
    def addresses(self) -> tuple[bytes, bytes]:
        source, destination = super().addresses
        return destination, source


def packet(number: int, length: int = 40, flow: Flow | None = None) -> bytes:
    """One that tells its number, and that nothing joins with its neighbours: their ports differ."""
    flow = replace(flow or Flow(protocol=UDP), ports=(number % 65536, 9), identification=number)
    return flow.packet(number.to_bytes(4, "big") * (length // 4))


def superpacket(size: int = 60_000, segment: int = 1300, flow: Flow | None = None) -> bytes:
    """The frame of one; its payload has no two segments alike."""
    payload = b"".join(number.to_bytes(4, "big") for number in range(-(-size // 4)))[:size]
    return Superpacket(flow or Flow(protocol=TCP), payload, segment).frame()


class FakeTimeLoop(asyncio.SelectorEventLoop):
    """Its timers go by a clock that the test moves; counts them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.timers = 0
        super().__init__()

    def time(self) -> float:
        return self.clock.now()

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, **options: Any
    ) -> asyncio.TimerHandle:
        self.timers += 1
        return super().call_at(when, callback, *args, **options)


class Side:
    """A device between a TUN and a socket; keeps its events and why it ended."""

    offered: Capability | None = None
    """What it takes beyond plain WireGuard."""

    def __init__(self, number: int, udp: MemoryUdp, clock: Clock, offloads: frozenset[str]) -> None:
        self.randbytes = random.Random(number).randbytes
        self.private_key = PrivateKey.generate(self.randbytes)
        self.addresses = ip_network(f"10.0.0.{number}"), ip_network(f"fd00::{number}")
        self.udp = udp
        self.tun = MemoryTun(receive_offloads=offloads)
        self.events: list[Event] = []
        self.ends: list[TunDeviceError] = []
        stamps = count(1)
        self.device = Device(self.randbytes, lambda: next(stamps).to_bytes(12, "big"))
        self.device.offered = self.offered
        self.device.apply(DevicePatch(private_key=self.private_key), clock.now())
        self.device.up(clock.now())
        self.pipeline = Pipeline(
            self.device, self.tun, clock, on_event=self.events.append, on_gone=self.ends.append
        )  # nothing runs yet
        self._clock = clock

    def add_peer(self, other: "Side") -> None:
        allowed = tuple(AllowedIPChange(network) for network in other.addresses)
        peer = PeerPatch(other.private_key.public_key, endpoint=other.udp.endpoint, allowed_ips=allowed)
        self.device.apply(DevicePatch(peers=(peer,)), self._clock.now())

    def start(self) -> None:
        self.pipeline.start()
        self.pipeline.use_socket(self.udp)

    def drops(self) -> dict[str, int]:
        return dict(self.device.snapshot(0).drops)

    @property
    def packets(self) -> list[bytes]:
        """What was written into the TUN, where only whole packets were."""
        assert all(frame.startswith(PLAIN) for frame in self.tun.written)
        return [frame[len(PLAIN) :] for frame in self.tun.written]

    def forget(self) -> None:
        """What was seen so far does not count."""
        self.tun.written.clear()
        self.udp.sent.clear()
        self.tun.reads = 0

    def is_watched(self) -> bool:
        """Whether the loop still watches a descriptor of ours; from now on it does not."""
        loop = asyncio.get_running_loop()
        descriptors = (self.tun.fileno(), *self.udp.filenos())
        removed = [remove(number) for number in descriptors for remove in (loop.remove_reader, loop.remove_writer)]
        return any(removed)


@asynccontextmanager
async def pair(clock: Clock | None = None, offloads: frozenset[str] = ALL_OFFLOADS) -> AsyncIterator[tuple[Side, Side]]:
    """Two that know each other and run, but have not talked; `offloads` are those of the right one."""
    clock = clock or FakeClock()
    one, other = MemoryUdp.pair()
    left, right = Side(1, one, clock, ALL_OFFLOADS), Side(2, other, clock, offloads)
    left.add_peer(right)
    right.add_peer(left)
    try:
        left.start()
        right.start()
        yield left, right
    finally:
        for side in (left, right):
            side.pipeline.stop()
            side.tun.close()
            side.udp.close()


@asynccontextmanager
async def session(
    clock: Clock | None = None, offloads: frozenset[str] = ALL_OFFLOADS
) -> AsyncIterator[tuple[Side, Side]]:
    """The same when a first packet has arrived, and nothing is on its way."""
    async with pair(clock, offloads) as (left, right):
        left.tun.queue_packets(HELLO)
        await until(lambda: right.tun.written == [PLAIN + HELLO])
        await settle()
        left.forget()
        right.forget()
        yield left, right


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it is so."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("still not so")


async def settle() -> None:
    """Let the loop turn until whatever can happen now has happened."""
    for _ in range(30):
        await asyncio.sleep(0)

"""The packets of one interface: its TUN device, its UDP port, and the device of the core between them.

    running:   TUN, made or taken over ─▶ … ─▶ keys forgotten ─▶ TUN away, or left to systemd ─▶ port closed
    configure: port opened ─▶ device
    link up:   port listens ─▶ sessions may begin            no port: deaf, and tried again
    link down: sessions end, and peers like us are told ─▶ port closed

The kernel's word on the interface is law: when its link comes up the sockets open and sessions may begin, when it goes
down they close and all keys are forgotten, as with the kernel's own WireGuard. So ``ip link``, wg-quick and `tunnel up`
all drive the same thing. What is configured, by whom and why, is not known here: see `tunnel.daemon.control_plane`.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager

from tunnel.config.model import Offload
from tunnel.config.patch import DevicePatch
from tunnel.daemon.capabilities import find_offer
from tunnel.daemon.clock import Clock
from tunnel.daemon.handover import Handover, leave
from tunnel.daemon.log import RateLimited
from tunnel.daemon.pipeline import Pipeline
from tunnel.daemon.stamp import Stamper
from tunnel.daemon.systemd import Notifier
from tunnel.daemon.udp_port import UdpPort
from tunnel.endpoint import Endpoint
from tunnel.errors import TunDeviceError, UdpSocketError
from tunnel.netlink.link import LinkEvent
from tunnel.protocol.device import Device
from tunnel.protocol.events import Event
from tunnel.tun.device import TunDevice

DEAF_RETRY = 2.0
DEAF_REMIND = 600.0
"""Seconds from one attempt to have the UDP port to the next, and from one log line about that to the next."""

_log = logging.getLogger(__name__)


class DataPlane:
    """Of the interface `name`. `device` is there from the start; everything else needs `running` to be entered.

    After any call to `device` its packets wait for `turn`, and so they do after `change`.
    """

    def __init__(self, name: str, clock: Clock, offload: Offload, handover: Handover, *, has_extensions: bool) -> None:
        self._name = name
        self._clock = clock
        self._offload = offload
        self._handover = handover
        self._has_extensions = has_extensions
        self._stamper = Stamper(clock)
        self.device = Device(os.urandom, self._stamper)
        self._lines = RateLimited(_log, clock)
        self._link_up = asyncio.Event()
        self._deaf: asyncio.TimerHandle | None = None
        self._heir: Notifier | None = None
        self._was_left = False
        self._on_link: Callable[[bool], None]
        self._tun: TunDevice
        self._pipeline: Pipeline
        self._port: UdpPort

    @contextmanager
    def running(
        self,
        *,
        on_event: Callable[[Event], None],
        on_link: Callable[[bool], None],
        on_gone: Callable[[TunDeviceError], None],
    ) -> Iterator[None]:
        """The interface, with its packets being moved; on exit it is gone, or left, and the port is closed.

        `on_event` gets every event of the device; `on_link` is told when sessions may begin, maybe more than once, and
        before all of them end; `on_gone` is called once when somebody has deleted the interface. Raise `TunDeviceError`
        if there cannot be such an interface.
        """
        self._on_link = on_link
        self._tun = self._handover.take_tun(self._name, self._offload) or TunDevice.create(self._name, self._offload)
        if self._has_extensions:
            self.device.offered = find_offer(self._tun.receive_offloads)
        self._pipeline = Pipeline(self.device, self._tun, self._clock, on_event=on_event, on_gone=on_gone)
        self._port = UdpPort(self._pipeline, self._offload, self._handover)
        try:
            self._pipeline.start()
            yield
        finally:
            self.remove()
            self._port.close()
            self._stamper.close()

    def leave_to(self, heir: Notifier) -> None:
        """Somebody may be about to start us again: `remove` leaves the interface and its port for that one."""
        self._heir = heir

    def remove(self) -> None:
        """Make the interface go away, or leave it. Harmless when repeated; `running` does it at the latest."""
        self._give_up_listening()
        self.device.down(self._clock.now())
        self._pipeline.turn()  # peers like us are told
        self._pipeline.stop()
        if self._heir is not None and not self._was_left:
            self._was_left = leave(self._heir, self._tun.fileno(), self._port.to_leave())
        self._tun.close()

    # ── how it is ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        """Somebody has renamed the interface."""
        self._name = self._tun.name = name

    @property
    def is_moving(self) -> bool:
        """Packets are being moved."""
        return self._pipeline.is_running

    @property
    def is_link_up(self) -> bool:
        return self._link_up.is_set()

    @property
    def was_left(self) -> bool:
        """The interface was not removed: somebody keeps it for who comes after us."""
        return self._was_left

    @property
    def listen_port(self) -> int:
        """Where we listen, or would."""
        return self.device.listen_port if self._port.number is None else self._port.number

    @property
    def buffers(self) -> tuple[int, int]:
        """Bytes that the kernel grants for receiving and for sending; 0 without a socket."""
        return self._port.buffers

    @property
    def send_offloads(self) -> Set[str]:
        """Of the interface and of the port."""
        return self._tun.send_offloads.union(self._port.send_offloads)

    @property
    def receive_offloads(self) -> Set[str]:
        return self._tun.receive_offloads.union(self._port.receive_offloads)

    def has_moved(self, endpoint: Endpoint) -> bool:
        """Whether what goes to the endpoint leaves from elsewhere than what comes from there has come to."""
        return self._port.has_moved(endpoint)

    # ── what it is to do ─────────────────────────────────────────────────────────────────────────────────────────

    def turn(self) -> None:
        """Carry off what the device made."""
        self._pipeline.turn()

    def configure(self, patch: DevicePatch) -> None:
        """Have a port before the link is up, and `patch`; raise `UdpSocketError`, with nothing changed."""
        self._port.open(patch.listen_port or 0, patch.fwmark or 0)
        self.change(patch)

    def move_socket(self, patch: DevicePatch) -> None:
        """Take port and mark of `patch`, before `change`; raise `UdpSocketError`, with nothing changed."""
        self._port.move(patch, self.device.fwmark, is_link_up=self._link_up.is_set())

    def change(self, patch: DevicePatch) -> None:
        """Apply `patch`; cannot fail."""
        if patch.private_key is not None:
            self._stamper.use(None if patch.private_key.is_zero else patch.private_key.public_key)
        now = self._clock.now()
        self.device.apply(patch, now)
        if self._port.number is not None:
            self.device.listen_port = self._port.number
            if self._link_up.is_set():
                self.device.up(now)
                self._on_link(True)

    # ── the link ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def wait_for_link(self) -> None:
        """Until it is up."""
        await self._link_up.wait()

    def link_changed(self, event: LinkEvent) -> None:
        """The interface is like this now."""
        self.device.mtu = event.mtu
        self.device.addresses = event.addresses
        if event.is_up and not self._link_up.is_set():
            self._link_up.set()
            self._listen()
        elif self._link_up.is_set() and not event.is_up:
            self._link_up.clear()
            self._on_link(False)
            self.device.down(self._clock.now())
            self._pipeline.turn()  # peers like us are told
            self._port.close()
        self._pipeline.turn()

    def _listen(self) -> None:
        """The link is up."""
        if self._port.number is None:
            try:
                self._port.open(self.device.listen_port, self.device.fwmark)
            except UdpSocketError as error:
                line = f"interface {self._name} is up, but deaf, trying on: {error}"
                self._lines.log(logging.ERROR, "deaf", line, DEAF_REMIND)
                self._try_again()
                return
            self.device.listen_port = self.listen_port
        self._port.listen()
        self.device.up(self._clock.now())
        self._on_link(True)

    def _try_again(self) -> None:
        """Who has our port may leave it, and descriptors may be free again."""
        self._give_up_listening()
        self._deaf = asyncio.get_running_loop().call_later(DEAF_RETRY, self._listen_again)

    def _give_up_listening(self) -> None:
        if self._deaf is not None:
            self._deaf.cancel()
            self._deaf = None

    def _listen_again(self) -> None:
        if self._link_up.is_set() and self._port.number is None:
            self._listen()
            self._pipeline.turn()

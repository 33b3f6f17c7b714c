"""The way of a packet: both loops between the TUN device, the protocol machine and the UDP socket.

    TUN ──read──▶ slots ──Device.send──────▶ sealed in place ──▶ UDP
    TUN ◀─write── packets ◀─Device.receive── opened in place ◀── UDP ──receive──▶ buffers

Each readable descriptor gets one batch, then the loop goes on: neither direction, nor the timers, nor the control
socket can starve another. The buffers are made once and are ours; what the device made of them is carried off before
the turn ends. Only when the kernel's send buffer is full do sealed datagrams stay in their slots, and then nothing more
is read from the TUN until they are gone: the kernel's own queue is where packets should wait.
"""

import asyncio
from collections.abc import Callable
from math import inf

from tunnel.daemon.clock import Clock
from tunnel.daemon.ports import DatagramSocket, PacketDevice
from tunnel.endpoint import Endpoint
from tunnel.errors import TunDeviceError
from tunnel.protocol.device import Device
from tunnel.protocol.events import Event
from tunnel.protocol.stats import DropReason
from tunnel.protocol.transport import SLOT_OVERHEAD
from tunnel.wire.messages import TRANSPORT_HEADER_SIZE

BATCH = 64
"""Packets or datagrams per turn: large enough to spread the cost of a turn, small enough to take well under 2 ms."""

MAX_PACKET_SIZE = 65535
MAX_UNSENT = 1024
"""Datagrams that wait for room in the send buffer; handshake messages beyond them are lost."""

_STRIDE = -(-(MAX_PACKET_SIZE + SLOT_OVERHEAD) // 4096) * 4096 + 4096 // BATCH
"""Not a multiple of the page size: the used parts of all slots would share the same few cache sets."""


class Pipeline:
    """Moves packets on the running loop, between `start` and `stop`, through the socket given to `use_socket`.

    `on_event` gets every event of the device; `on_gone` is called once, from the loop, when the TUN device went away.
    """

    def __init__(
        self,
        device: Device,
        tun: PacketDevice,
        clock: Clock,
        *,
        on_event: Callable[[Event], None],
        on_gone: Callable[[TunDeviceError], None],
    ) -> None:
        self._device = device
        self._tun = tun
        self._clock = clock
        self._on_event = on_event
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._socket: DatagramSocket | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = inf
        self._is_reading_tun = False
        self._unsent: list[tuple[memoryview, Endpoint]] = []
        self._waiting_on = -1
        self._slots = _arena()
        self._bodies = [slot[TRANSPORT_HEADER_SIZE:][:MAX_PACKET_SIZE] for slot in self._slots]
        self._buffers = _arena()

    def start(self) -> None:
        self._read_tun(True)

    def stop(self) -> None:
        """Let go of descriptors and timers. Harmless when repeated."""
        self.use_socket(None)
        self._read_tun(False)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
            self._alarm_at = inf

    def use_socket(self, datagram_socket: DatagramSocket | None) -> None:
        """From now on send and receive here; the one before is not closed, what waited for it is lost."""
        if self._socket is not None:
            for fileno in self._socket.filenos():
                self._loop.remove_reader(fileno)
            self._stop_waiting()
            self._unsent.clear()
        self._socket = datagram_socket
        if datagram_socket is not None:
            for fileno in datagram_socket.filenos():
                self._loop.add_reader(fileno, self._receive, fileno)

    def turn(self) -> None:
        """Carry off what the device made, and see when it wants to be called next; after any call to the device."""
        self._carry_off(self._clock.now())

    def _send(self) -> None:
        """The TUN is readable."""
        try:
            lengths = self._tun.read(self._bodies)
        except TunDeviceError as error:
            self._gone(error)
            return
        now = self._clock.now()
        if lengths:
            self._device.send(self._slots, lengths, now)
        self._carry_off(now)

    def _receive(self, fileno: int) -> None:
        """A socket is readable."""
        assert self._socket is not None
        received = self._socket.receive(fileno, self._buffers)
        now = self._clock.now()
        if received:
            datagrams = [buffer[:length] for buffer, (length, _) in zip(self._buffers, received, strict=False)]
            self._device.receive(datagrams, [endpoint for _, endpoint in received], now)
        self._carry_off(now)

    def _carry_off(self, now: float) -> None:
        device = self._device
        if device.deadline <= now:
            device.expire(now)
        packets = device.take_packets()
        if packets:
            try:
                device.count_drop(DropReason.TUN_REFUSED, self._tun.write(packets))
            except TunDeviceError as error:
                self._gone(error)
                return
        datagrams = device.take_datagrams()
        if datagrams:
            self._transmit(datagrams)
        for event in device.take_events():
            self._on_event(event)
        self._set_alarm(device.deadline, now)

    def _transmit(self, datagrams: list[tuple[memoryview, Endpoint]]) -> None:
        if self._socket is None:
            self._device.count_drop(DropReason.UNREACHABLE, len(datagrams))
            return
        if self._unsent:
            room = MAX_UNSENT - len(self._unsent)
            self._unsent += datagrams[:room]
            self._device.count_drop(DropReason.UNREACHABLE, len(datagrams[room:]))
            return
        refused_before = self._socket.unsent
        done = self._socket.send(datagrams)
        self._device.count_drop(DropReason.UNREACHABLE, self._socket.unsent - refused_before)
        if done < len(datagrams):
            self._unsent = datagrams[done:]
            self._wait_until_writable()

    def _wait_until_writable(self) -> None:
        """The slots are still in use: nothing is read into them until the rest is sent."""
        assert self._socket is not None
        self._read_tun(False)
        self._waiting_on = self._socket.fileno_towards(self._unsent[0][1])
        self._loop.add_writer(self._waiting_on, self._transmit_rest)

    def _transmit_rest(self) -> None:
        rest = self._unsent
        self._stop_waiting()
        self._unsent = []
        self._transmit(rest)

    def _stop_waiting(self) -> None:
        if self._waiting_on >= 0:
            self._loop.remove_writer(self._waiting_on)
            self._waiting_on = -1
            self._read_tun(True)

    def _read_tun(self, is_wanted: bool) -> None:
        if is_wanted and not self._is_reading_tun:
            self._loop.add_reader(self._tun.fileno(), self._send)
        elif self._is_reading_tun and not is_wanted:
            self._loop.remove_reader(self._tun.fileno())
        self._is_reading_tun = is_wanted

    def _set_alarm(self, deadline: float, now: float) -> None:
        """Wake at `deadline`; one that moved back is found out when the alarm goes off, and set again."""
        if deadline >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = deadline
        self._alarm = self._loop.call_later(max(0.0, deadline - now), self._alarm_rang)

    def _alarm_rang(self) -> None:
        self._alarm = None
        self._alarm_at = inf
        self._carry_off(self._clock.now())

    def _gone(self, error: TunDeviceError) -> None:
        self.stop()
        self._on_gone(error)


def _arena() -> list[memoryview]:
    """`BATCH` slots, each for the largest packet; memory that is never touched costs nothing."""
    memory = memoryview(bytearray(BATCH * _STRIDE))
    return [memory[start : start + _STRIDE] for start in range(0, len(memory), _STRIDE)]

"""The way of a packet: both loops between the TUN device, the protocol machine and the UDP socket.

    TUN ──read──▶ frame ──Segmenter──▶ train ──Device.send_train──▶ sealed in place ──one send──▶ UDP
                        or Slicer
    TUN ◀─writev─ frame ◀──Coalescer── train ◀──Device.receive───── opened in place ◀─one read─── UDP

A frame is a superpacket of up to 64 KB, or a single packet; single packets are gathered and sealed in bursts. A peer
that takes slices gets superpackets as they are, in pieces; others get the packets that a network card would send. Each
readable descriptor gets one turn, then the loop goes on: neither direction, nor the timers, nor the control socket can
starve another. The buffers are made once and are ours; what was made of them is carried off before they are used again.
Only when the kernel's send buffer is full do sealed trains stay where they are, and then nothing more is read from the
TUN until they are gone: the kernel's own queue is where packets should wait.

Where the path to a peer is known to be narrow, superpackets are cut into packets that fit it; what came as a single
packet, or may not be cut, goes another way (tunnel.daemon.oversized).
"""

import asyncio
from collections.abc import Callable, Set
from math import inf

from tunnel.daemon.clock import Clock
from tunnel.daemon.oversized import OversizedPackets
from tunnel.daemon.ports import DatagramSocket, PacketDevice
from tunnel.endpoint import Endpoint
from tunnel.errors import TunDeviceError
from tunnel.offload.coalesce import Coalescer
from tunnel.offload.flow import TCP, UDP, Refusal
from tunnel.offload.segment import Segmenter, complete_checksum
from tunnel.offload.slices import Slicer
from tunnel.protocol.device import Device
from tunnel.protocol.events import Event
from tunnel.protocol.stats import DropReason
from tunnel.protocol.transport import SLOT_OVERHEAD
from tunnel.wire.control import Capability
from tunnel.wire.messages import TRANSPORT_HEADER_SIZE, TRANSPORT_OVERHEAD, ExtendedFlag
from tunnel.wire.train import MAX_TRAIN_BYTES, MAX_TRAIN_COUNT, Outbound, Train
from tunnel.wire.virtio import (
    GSO_ECN,
    VIRTIO_HEADER_SIZE,
    GsoType,
    has_checksum_in_place,
    is_superpacket,
    needs_checksum,
)

BURST = 64
"""Frames in one turn; the single packets among them are sealed in one go."""

TURN_BYTES = 512 * 1024
"""Bytes of frames in one turn: large enough to spread its cost, small enough to take about 2 ms."""

RECEIVE_BYTES = 6 * 65536
"""Room for what is received in one turn."""

MAX_FRAME_SIZE = VIRTIO_HEADER_SIZE + 65535
MAX_UNSENT = 1024
"""Trains that wait for room in the send buffer; handshake messages beyond them are lost."""

_ARENA_SIZE = 256 * 1024
"""For the packets of one superpacket, each with its own header: four times as much as came in."""

_LONG_HEADERS = 72

_PARTIAL = int(ExtendedFlag.PARTIAL)
_SLICES_OF = {
    int(GsoType.TCPV4): int(Capability.TCP_SLICES),
    int(GsoType.TCPV6): int(Capability.TCP_SLICES),
    int(GsoType.UDP_L4): int(Capability.UDP_SLICES),
}
"""GSO type -> what a peer must take, to get such a superpacket in slices."""

_FRAME_START = TRANSPORT_HEADER_SIZE - VIRTIO_HEADER_SIZE
"""A frame is read so that its packet lies where it can be sealed."""


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
        self._is_running = False
        self._is_reading_tun = False
        self._unsent: list[tuple[Train, Endpoint]] = []
        self._waiting_on = -1
        self._segmenter = Segmenter()
        self._slicer = Slicer()
        self._oversized = OversizedPackets(device)
        self._coalescer = Coalescer(_joinable(tun.receive_offloads))
        self._arena = memoryview(bytearray(_ARENA_SIZE))
        self._slots = _buffers(BURST, TRANSPORT_HEADER_SIZE + MAX_FRAME_SIZE + SLOT_OVERHEAD)
        self._frames = [[slot[_FRAME_START:][:MAX_FRAME_SIZE]] for slot in self._slots]
        self._received = memoryview(bytearray(RECEIVE_BYTES))

    @property
    def is_running(self) -> bool:
        """Between `start` and `stop`; not any more when the TUN device went away."""
        return self._is_running

    def start(self) -> None:
        self._is_running = True
        self._watch_tun()

    def stop(self) -> None:
        """Let go of descriptors and timers. Harmless when repeated."""
        self._is_running = False
        self.use_socket(None)
        self._watch_tun()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
            self._alarm_at = inf

    def use_socket(self, datagram_socket: DatagramSocket | None) -> None:
        """From now on send and receive here; the one before is not closed, what waited for it is lost, and counted."""
        if self._socket is not None:
            for fileno in self._socket.filenos():
                self._loop.remove_reader(fileno)
            self._stop_waiting()
            self._unreachable(self._unsent)
            self._unsent = []
            self._oversized.clear()
        self._socket = datagram_socket
        if datagram_socket is not None:
            for fileno in datagram_socket.filenos():
                self._loop.add_reader(fileno, self._receive, fileno)

    def turn(self) -> None:
        """Carry off what the device made, and see when it wants to be called next; after any call to the device."""
        self._carry_off(self._clock.now())

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _send(self) -> None:
        """The TUN is readable."""
        now = self._clock.now()
        lengths: list[int] = []
        flags: list[int] = []
        left = TURN_BYTES
        try:
            for _ in range(BURST):
                if left <= 0 or self._waiting_on >= 0:
                    break
                (frame,) = self._frames[len(lengths)]
                read = self._tun.read(self._frames[len(lengths)])
                if not read:
                    break
                left -= read[0]
                if is_superpacket(frame):
                    self._send_burst(lengths, flags, now)
                    self._send_superpacket(frame[: read[0]], now)
                    lengths, flags = [], []
                elif not needs_checksum(frame):
                    lengths.append(read[0] - VIRTIO_HEADER_SIZE)
                    flags.append(0)
                elif (flag := self._look_at_checksum(frame[: read[0]])) is not None:
                    lengths.append(read[0] - VIRTIO_HEADER_SIZE)
                    flags.append(flag)
        except TunDeviceError as error:
            self._gone(error)
            return
        self._send_burst(lengths, flags, now)
        self._carry_off(now)

    def _send_burst(self, lengths: list[int], flags: list[int], now: float) -> None:
        """Single packets, which lie in the first slots."""
        if lengths:
            self._device.send(self._slots, lengths, now, flags if any(flags) else ())
            self._transmit(self._device.take_datagrams())
            self._send_oversized(now)

    def _send_superpacket(self, frame: memoryview, now: float) -> None:
        peer = self._device.route(frame[VIRTIO_HEADER_SIZE:])
        if peer is None:
            return
        outbounds = self._cut(frame, peer.takes(now), peer.limit)
        if outbounds is Refusal.TOO_BIG_FOR_PATH:
            self._send_one_by_one(frame, now)
            return
        if not isinstance(outbounds, list):
            self._device.count_drop(DropReason.MALFORMED_PACKET)
            return
        for outbound in outbounds:
            self._device.send_train(peer, outbound, now)
        self._transmit(self._device.take_datagrams())

    def _cut(self, frame: memoryview, takes: int | None, longest: int) -> list[Outbound] | Refusal:
        """Into slices, if the peer takes them and the superpacket is like most; else into packets."""
        if takes is None:
            return self._segmenter.segment(frame, self._arena, self._device.mtu, longest)
        if takes & _SLICES_OF.get(frame[1] & ~GSO_ECN, 0):
            slices = self._slicer.slice(frame, self._arena, longest)
            if isinstance(slices, list):
                return slices
        return self._segmenter.segment(frame, self._arena, 0, longest)

    def _send_one_by_one(self, frame: memoryview, now: float) -> None:
        """A superpacket whose packets are too long for the path, and stay as long: they are single packets from now.

        They wait for their turn, as what was sealed before may still lie where `Device.send` seals the next.
        """
        outbounds = self._segmenter.segment(frame, self._arena, self._device.mtu)
        if not isinstance(outbounds, list):
            self._device.count_drop(DropReason.TOO_BIG)  # long extension headers before many small segments
            return
        for outbound in outbounds:
            self._oversized.add(*outbound.slots())
        self._send_oversized(now)

    def _send_oversized(self, now: float) -> None:
        """Packets that do not fit the path: while the send buffer is full they stay where they are, as all do then."""
        self._oversized.gather()
        while self._oversized and self._waiting_on < 0:
            self._oversized.send_next(now)
            self._transmit(self._device.take_datagrams())

    def _look_at_checksum(self, frame: memoryview) -> int | None:
        """The kernel left a checksum to us: see whether the peer may have it so, else fill it in; None: malformed."""
        if has_checksum_in_place(frame):
            return _PARTIAL
        if complete_checksum(frame):
            return 0
        self._device.count_drop(DropReason.MALFORMED_PACKET)
        return None

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _receive(self, fileno: int) -> None:
        """A socket is readable."""
        assert self._socket is not None
        received = self._socket.receive(fileno, self._received)
        now = self._clock.now()
        if received:
            self._device.receive([train for train, _ in received], [endpoint for _, endpoint in received], now)
        self._carry_off(now)

    def _write(self, trains: list[Train]) -> None:
        malformed_before = self._coalescer.malformed
        frames = self._coalescer.coalesce(trains)
        self._device.count_drop(DropReason.MALFORMED_PACKET, self._coalescer.malformed - malformed_before)
        self._device.count_drop(DropReason.TUN_REFUSED, self._tun.write(frames))

    # ── both ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _carry_off(self, now: float) -> None:
        device = self._device
        if device.deadline <= now:
            device.expire(now)
        datagrams = device.take_datagrams()
        if datagrams:
            self._transmit(datagrams)
        self._send_oversized(now)
        packets = device.take_packets()  # after the datagrams, as a sender is told by a packet that one did not fit
        if packets:
            try:
                self._write(packets)
            except TunDeviceError as error:
                self._gone(error)
                return
        for probe, endpoint in device.take_probes():
            if self._socket is not None:
                self._socket.send_probe(probe, endpoint)
        for event in device.take_events():
            self._on_event(event)
        self._set_alarm(device.deadline, now)

    def _transmit(self, trains: list[tuple[Train, Endpoint]]) -> None:
        if self._socket is None:
            self._unreachable(trains)
            return
        if not self._unsent:
            refused_before = self._socket.unsent
            done = self._socket.send(trains)
            self._device.count_drop(DropReason.UNREACHABLE, self._socket.unsent - refused_before)
            if done == len(trains):
                return
            trains = trains[done:]
        room = MAX_UNSENT - len(self._unsent)
        self._unsent += trains[:room]
        self._unreachable(trains[room:])
        self._wait_until_writable()

    def _unreachable(self, trains: list[tuple[Train, Endpoint]]) -> None:
        self._device.count_drop(DropReason.UNREACHABLE, sum(train.count for train, _ in trains))

    def _wait_until_writable(self) -> None:
        """The buffers are still in use: nothing is read into them until the rest is sent."""
        assert self._socket is not None
        if self._waiting_on < 0:
            self._waiting_on = self._socket.fileno_towards(self._unsent[0][1])
            self._loop.add_writer(self._waiting_on, self._transmit_rest)
            self._watch_tun()

    def _transmit_rest(self) -> None:
        rest, self._unsent = self._unsent, []
        self._stop_waiting()
        self._transmit(rest)
        if self._oversized:
            self._carry_off(self._clock.now())

    def _stop_waiting(self) -> None:
        if self._waiting_on >= 0:
            self._loop.remove_writer(self._waiting_on)
            self._waiting_on = -1
            self._watch_tun()

    def _watch_tun(self) -> None:
        """Read it as long as we run and nothing waits to be sent."""
        is_wanted = self._is_running and self._waiting_on < 0
        if is_wanted and not self._is_reading_tun:
            self._loop.add_reader(self._tun.fileno(), self._send)
        elif self._is_reading_tun and not is_wanted:
            self._loop.remove_reader(self._tun.fileno())
        self._is_reading_tun = is_wanted

    def _set_alarm(self, deadline: float, now: float) -> None:
        """Wake at `deadline`; one that moved back is found out when the alarm goes off, and set again."""
        if deadline >= self._alarm_at or not self._is_running:
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
        if self._is_running:
            self.stop()
            self._on_gone(error)


def _joinable(offloads: Set[str]) -> list[int]:
    """The protocols of which the interface takes superpackets."""
    needed = {TCP: {"csum", "tso4", "tso6"}, UDP: {"csum", "uso4", "uso6"}}
    return [protocol for protocol, names in needed.items() if names <= offloads]


def superpacket_size(mtu: int) -> int:
    """The ``gso_max_size`` of the interface with which the packets of a superpacket fit one send: bytes.

    Headers as long as those of TCP over IPv6 with timestamps are assumed; shorter ones leave room for fewer packets.
    """
    count = max(1, min(MAX_TRAIN_COUNT, MAX_TRAIN_BYTES // (mtu + TRANSPORT_OVERHEAD)))
    return max(count * (mtu - _LONG_HEADERS) + _LONG_HEADERS, mtu)


def _buffers(count: int, size: int) -> list[memoryview]:
    """Memory that is never touched costs nothing; the odd stride keeps them from sharing the same few cache sets."""
    stride = -(-size // 4096) * 4096 + 64
    memory = memoryview(bytearray(count * stride))
    return [memory[start : start + size] for start in range(0, len(memory), stride)]

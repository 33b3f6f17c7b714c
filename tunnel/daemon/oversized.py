"""Packets from the interface that are longer than what gets to their peer in one piece.

    Device.take_oversized ─▶ one that carries TCP  ─▶ a superpacket of smaller segments ─▶ cut, and sent
                          ─▶ any other             ─▶ Peer.too_big: its sender is told, or it is fragmented

A TCP packet is cut as its own sender would have cut it, had it known: both ends notice nothing. This is for connections
that were there before the path was known, as the MSS of others fits already.
"""

from collections import deque
from collections.abc import Sequence

from tunnel.offload.segment import Segmenter
from tunnel.offload.superpacket import make_superpacket
from tunnel.protocol.device import Device
from tunnel.protocol.peer import Peer
from tunnel.protocol.stats import DropReason
from tunnel.wire.checksum import complete_checksum
from tunnel.wire.messages import TRANSPORT_HEADER_SIZE
from tunnel.wire.virtio import VIRTIO_HEADER_SIZE

_ARENA_SIZE = 256 * 1024
"""For the longest packet there is, in the smallest pieces that are worth it."""

_FRAME_START = TRANSPORT_HEADER_SIZE - VIRTIO_HEADER_SIZE


class OversizedPackets:
    """Those of `device` that have not been dealt with. They lie where they were read."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._waiting: deque[tuple[memoryview, int, int]] = deque()
        self._segmenter = Segmenter()
        self._arena = memoryview(bytearray(_ARENA_SIZE))

    def __len__(self) -> int:
        return len(self._waiting)

    def gather(self) -> None:
        """Those that the device has found by now."""
        for _, slot, length, flag in self._device.take_oversized():
            self._waiting.append((slot, length, flag))

    def add(self, slots: Sequence[memoryview], lengths: Sequence[int]) -> None:
        """Single packets, complete ones, some of which may fit after all."""
        self._waiting.extend((slot, length, 0) for slot, length in zip(slots, lengths, strict=True))

    def clear(self) -> None:
        """There is nowhere to send them to."""
        self._device.count_drop(DropReason.UNREACHABLE, len(self._waiting))
        self._waiting.clear()

    def send_next(self, now: float) -> None:
        """Deal with the first one. What the device makes of it must be sent before this is called again."""
        slot, length, flag = self._waiting.popleft()
        end = TRANSPORT_HEADER_SIZE + length
        packet = slot[TRANSPORT_HEADER_SIZE:end]
        peer = self._device.route(packet)  # once more: peers may have changed since then
        if peer is None:
            return
        longest = peer.limit
        if length <= longest:
            self._device.send([slot], [length], now, [flag])
        elif make_superpacket(slot[_FRAME_START:end], longest, is_partial=flag != 0):
            self._send_cut(peer, slot[_FRAME_START:end], longest, now)
        else:
            if flag:
                complete_checksum(packet)
            peer.too_big(packet, now)

    def _send_cut(self, peer: Peer, frame: memoryview, longest: int, now: float) -> None:
        """Always in whole packets: their checksums are made anew, and so stay wrong if they were."""
        mtu = self._device.mtu if peer.takes(now) is None else 0
        outbounds = self._segmenter.segment(frame, self._arena, mtu, longest)
        if not isinstance(outbounds, list):
            self._device.count_drop(DropReason.TOO_BIG)  # a very long packet, and hardly room for more than headers
            return
        for outbound in outbounds:
            self._device.send_train(peer, outbound, now)

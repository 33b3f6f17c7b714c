"""The MSS of connections through the tunnel: no larger than what goes whole to the peer (see `tunnel.wire.tcp`).

Both ways: what goes out says how large the packets are that the peer sends to us, what comes in how large those are
that our side sends to the peer. Of most trains one look at a few columns says that there is no SYN in it.
"""

from collections.abc import Sequence
from itertools import repeat

from tunnel.wire.messages import PADDING, TAG_SIZE, TRANSPORT_HEADER_SIZE, TRANSPORT_OVERHEAD, ExtendedFlag, MessageType
from tunnel.wire.tcp import MAX_SYN, MIN_SYN, clamp_mss, has_syn, is_syn
from tunnel.wire.train import Train

_LEAST = MIN_SYN + TRANSPORT_OVERHEAD
_MOST = MAX_SYN + PADDING + TRANSPORT_OVERHEAD
_EXTENDED = int(MessageType.EXTENDED_DATA)
_PARTIAL = int(ExtendedFlag.PARTIAL)


def clamp_slots(slots: Sequence[memoryview], lengths: Sequence[int], longest: int, flags: Sequence[int] = ()) -> None:
    """Of single packets that go out (see `tunnel.protocol.transport`)."""
    for slot, length, flag in zip(slots, lengths, flags or repeat(0), strict=False):
        if MIN_SYN <= length <= MAX_SYN:
            _clamp(slot[TRANSPORT_HEADER_SIZE : TRANSPORT_HEADER_SIZE + length], longest, flag & _PARTIAL)


def clamp_train(train: Train, longest: int, flag: int = 0) -> None:
    """Of all packets in a train that is not sealed yet, or has been opened; all with the same `flag`."""
    if train.count > 1 and _LEAST <= train.size <= _MOST:
        if has_syn(train.buffer[TRANSPORT_HEADER_SIZE:], train.size):
            for datagram in train.datagrams():
                _clamp(datagram[TRANSPORT_HEADER_SIZE:-TAG_SIZE], longest, flag & _PARTIAL)
    elif _LEAST <= train.last <= _MOST:
        _clamp(train.buffer[TRANSPORT_HEADER_SIZE - train.last : -TAG_SIZE], longest, flag & _PARTIAL)


def clamp_opened(train: Train, longest: int) -> None:
    """The same for one that was opened, and whose header says how its checksums are."""
    clamp_train(train, longest, train.buffer[1] if train.buffer[0] == _EXTENDED else 0)


def _clamp(packet: memoryview, longest: int, partial: int) -> None:
    if len(packet) >= MIN_SYN and is_syn(packet):
        clamp_mss(packet, longest, is_partial=partial != 0)

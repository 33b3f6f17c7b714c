"""The MSS of connections through the tunnel: no larger than what goes whole to the peer (see `tunnel.wire.tcp`).

Both ways: what goes out says how large the packets are that the peer sends to us, what comes in how large those are
that our side sends to the peer. Hardly a packet is a SYN, so most of this is about seeing that with few steps: by
length, then by the bytes that say TCP and SYN over IPv4 or IPv6, and of a train by such columns.
"""

from collections.abc import Sequence

from tunnel.wire.messages import PADDING, TAG_SIZE, TRANSPORT_HEADER_SIZE, TRANSPORT_OVERHEAD, ExtendedFlag, MessageType
from tunnel.wire.tcp import FLAGS_PLACES, MAX_SYN, MIN_SYN, PROTOCOL_PLACES, SYN, TCP, clamp_mss, has_syn, is_syn
from tunnel.wire.train import Train

MAX_SYN_DATAGRAM = MAX_SYN + PADDING - 1 + TRANSPORT_OVERHEAD
"""Bytes of the longest datagram that has a SYN in it."""

_MIN_SYN_DATAGRAM = MIN_SYN + TRANSPORT_OVERHEAD
_EXTENDED = int(MessageType.EXTENDED_DATA)
_PARTIAL = int(ExtendedFlag.PARTIAL)
_IPV4_PROTOCOL, _IPV6_PROTOCOL = (TRANSPORT_HEADER_SIZE + place for place in PROTOCOL_PLACES)
_IPV4_FLAGS, _IPV6_FLAGS = (TRANSPORT_HEADER_SIZE + place for place in FLAGS_PLACES)


def clamp_slots(slots: Sequence[memoryview], lengths: Sequence[int], longest: int, flags: Sequence[int] = ()) -> None:
    """Of single packets that go out (see `tunnel.protocol.transport`); `flags` is empty, or has an `ExtendedFlag` each.

    Afterwards no SYN makes its receiver send more than `longest` bytes.
    """
    for number, length in enumerate(lengths):
        if length <= MAX_SYN and length >= MIN_SYN:
            slot = slots[number]
            if (slot[_IPV4_PROTOCOL] == TCP and slot[_IPV4_FLAGS] & SYN) or (
                slot[_IPV6_PROTOCOL] == TCP and slot[_IPV6_FLAGS] & SYN
            ):
                packet = slot[TRANSPORT_HEADER_SIZE : TRANSPORT_HEADER_SIZE + length]
                _clamp(packet, longest, flags[number] if flags else 0)


def clamp_laid_out(train: Train, longest: int, flag: int = 0) -> None:
    """Of packets in a train that is to be sealed, all with the same `ExtendedFlag`."""
    if _MIN_SYN_DATAGRAM <= train.size <= MAX_SYN_DATAGRAM:
        _clamp_rows(train, longest, flag)


def may_have_syn(train: Train) -> bool:
    """Whether one is to be looked for in an opened train. The end of a train may be another packet than the rest."""
    if train.last > MAX_SYN_DATAGRAM:
        return False
    if train.count > 1 and train.size <= MAX_SYN_DATAGRAM:
        return train.size >= _MIN_SYN_DATAGRAM
    if train.last < _MIN_SYN_DATAGRAM:
        return False
    last = train.buffer if train.count == 1 else train.buffer[len(train.buffer) - train.last :]
    return bool(
        (last[_IPV4_PROTOCOL] == TCP and last[_IPV4_FLAGS] & SYN)
        or (last[_IPV6_PROTOCOL] == TCP and last[_IPV6_FLAGS] & SYN)
    )


def clamp_opened(train: Train, longest: int) -> None:
    """Of such a train, whose header says how its checksums are."""
    flag = train.buffer[1] if train.buffer[0] == _EXTENDED else 0
    if train.count > 1 and train.size <= MAX_SYN_DATAGRAM:
        _clamp_rows(train, longest, flag)
    else:
        _clamp(train.buffer[len(train.buffer) - train.last :][TRANSPORT_HEADER_SIZE:-TAG_SIZE], longest, flag)


def _clamp_rows(train: Train, longest: int, flag: int) -> None:
    if has_syn(train.buffer, TRANSPORT_HEADER_SIZE, train.size, train.count):
        for datagram in train.datagrams():
            _clamp(datagram[TRANSPORT_HEADER_SIZE:-TAG_SIZE], longest, flag)


def _clamp(packet: memoryview, longest: int, flag: int) -> None:
    if len(packet) >= MIN_SYN and is_syn(packet):
        clamp_mss(packet, longest, is_partial=flag & _PARTIAL != 0)

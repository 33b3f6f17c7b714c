"""Which of the packets that were opened go on to the interface (WireGuard paper, section 3: decrypted, then filtered).

    opened train ─▶ all packets whole, of one source      looked up once, goes on as it is        mostly so
                 ─▶ one by one ─▶ empty                   a keepalive
                                ─▶ control frame          to `frames`
                                ─▶ echo reply             to `PathProbes`, if it answers one of ours
                                ─▶ not whole              dropped
                                ─▶ packet ─ allowed IPs ─▶ host.packets

Whether slices are sound is seen where they are put together (`tunnel.offload.slices`).
"""

from typing import TYPE_CHECKING

from tunnel.protocol.clamping import MAX_SYN_DATAGRAM, clamp_opened, may_have_syn
from tunnel.protocol.host import Host
from tunnel.protocol.stats import DropReason
from tunnel.protocol.trains import has_one_source, has_uniform_packets
from tunnel.wire import ip
from tunnel.wire.control import is_control
from tunnel.wire.icmp import MAX_ECHO_SIZE
from tunnel.wire.messages import (
    PADDING,
    TAG_SIZE,
    TRANSPORT_HEADER_SIZE,
    TRANSPORT_OVERHEAD,
    ExtendedFlag,
    MessageType,
)
from tunnel.wire.train import Train

if TYPE_CHECKING:
    from tunnel.protocol.peer import Peer

_EXTENDED_DATA = int(MessageType.EXTENDED_DATA)
_SLICE = int(ExtendedFlag.SLICE)
_MAX_ECHO = TRANSPORT_OVERHEAD + MAX_ECHO_SIZE + PADDING - 1
"""Bytes of a datagram that may answer a probe; if only the end of a train is so short, it may."""


def hand_on(train: Train, peer: "Peer", host: Host, frames: list[memoryview], now: float) -> bool:
    """Give the packets whose source `peer` may use to the host; return whether any was more than a keepalive.

    Control frames, which count as keepalives, are appended to `frames`.
    """
    if train.count == 1:
        return _hand_on_single(train, peer, host, frames, now)
    is_for_probes = train.last <= _MAX_ECHO and peer.probes.awaits_echo(now)
    if not is_for_probes and _is_uniform(train):
        _hand_on_allowed(train, peer, host)
        return True
    has_data = [_hand_on_single(Train.single(datagram), peer, host, frames, now) for datagram in train.datagrams()]
    return any(has_data)


def _hand_on_single(single: Train, peer: "Peer", host: Host, frames: list[memoryview], now: float) -> bool:
    packet = single.buffer[TRANSPORT_HEADER_SIZE : single.size - TAG_SIZE]
    if not packet:
        return False
    if is_control(packet) and single.buffer[0] != _EXTENDED_DATA:
        frames.append(packet)
        return False
    if ip.total_length(packet) is None and not _is_sliced(single):
        peer.drops.count(DropReason.MALFORMED_PACKET)
    elif not (
        single.last <= _MAX_ECHO and peer.probes.awaits_echo(now) and peer.probes.consume_echo(packet, peer, now)
    ):
        _hand_on_allowed(single, peer, host)
    return True


def _hand_on_allowed(train: Train, peer: "Peer", host: Host) -> None:
    """All of one source."""
    source = ip.source(train.buffer[TRANSPORT_HEADER_SIZE : train.size - TAG_SIZE])
    if source and host.allowed_ips.lookup(source) is peer:
        if train.last <= MAX_SYN_DATAGRAM and may_have_syn(train):
            clamp_opened(train, min(host.mtu, peer.limit))
        host.packets.append(train)
    else:
        peer.drops.count(DropReason.SOURCE_NOT_ALLOWED, train.count)


def _is_uniform(train: Train) -> bool:
    """Whether it is enough to look at the first of its packets."""
    if _is_sliced(train):
        return has_one_source(train)
    first = train.buffer[TRANSPORT_HEADER_SIZE : train.size - TAG_SIZE]
    last = train.buffer[-train.last :][TRANSPORT_HEADER_SIZE:-TAG_SIZE]
    return has_uniform_packets(train) and None not in (ip.total_length(first), ip.total_length(last))


def _is_sliced(train: Train) -> bool:
    return train.buffer[0] == _EXTENDED_DATA and train.buffer[1] & _SLICE != 0

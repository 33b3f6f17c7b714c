"""What must hold of a device's tables between any two calls."""

from math import inf

from tunnel.protocol.constants import MAX_QUEUED_HANDSHAKES, MAX_STAGED_PACKETS
from tunnel.protocol.device import Device
from tunnel.protocol.enquiry import MAX_ENQUIRIES
from tunnel.protocol.path_mtu import LATE_TIME, LIKELY, LIKELY_LARGE, MIN_TIMEOUT
from tunnel.protocol.peer import Peer
from tunnel.protocol.timers import Timer
from tunnel.protocol.transport import MAX_PACKET

MAX_AWAITED = int(LATE_TIME / MIN_TIMEOUT) * (len(LIKELY + LIKELY_LARGE) + 4)
"""Probes, if every round is as large and as short as rounds can be."""

MAX_STALE_ENTRIES = 200
"""Per peer: a deadline that moved leaves its entry in the schedule until it comes up, at most 540 s later."""


def assert_consistent(device: Device) -> None:
    """Tables agree with the peers, every deadline will be noticed, and nothing has grown beyond its bound."""
    host, peers = device._host, list(device._peers.values())
    enquiries = list(device._certified._enquiries._by_place.values())
    assert host.indices._values == {
        **{index: owner for peer in peers for index, owner in indices_of(peer)},
        **{enquiry.local_index: enquiry for enquiry in enquiries},
    }
    assert len(enquiries) <= MAX_ENQUIRIES
    assert set(host.allowed_ips._networks) <= set(peers)
    entries = {(deadline, id(peer)) for deadline, _, peer in device._peers._schedule}
    for peer in peers:
        assert peer.scheduled <= peer.timers.deadline
        assert peer.scheduled == inf or (peer.scheduled, id(peer)) in entries
        assert len(peer._staged) <= MAX_STAGED_PACKETS
        assert_path_is_sound(peer)
    assert device.deadline <= min([inf, *(peer.timers.deadline for peer in peers)])
    assert {id(peer) for _, _, peer in device._peers._schedule} <= set(map(id, peers))
    assert len(device._peers._schedule) <= MAX_STALE_ENTRIES * len(peers)
    assert len(device._intake) <= MAX_QUEUED_HANDSHAKES


def assert_path_is_sound(peer: Peer) -> None:
    """The end of a round will be noticed; what is known lies within what was asked for, and so does the limit."""
    mtu = peer.path.mtu
    assert peer.timers._deadlines[Timer.PATH_PROBE] <= mtu.deadline
    assert mtu.is_settled == (mtu.deadline == inf)
    assert 0 <= mtu.size <= mtu.full
    assert mtu.limit == (mtu.max_packet if mtu.is_narrow else MAX_PACKET)
    assert len(mtu._awaited) <= MAX_AWAITED


def indices_of(peer: Peer) -> list[tuple[int, object]]:
    """The receiver indices that are in use for a peer, and what for."""
    pending = peer.handshakes.pending
    owners = [*peer.keypairs] if pending is None else [*peer.keypairs, pending]
    return [(owner.local_index, owner) for owner in owners]

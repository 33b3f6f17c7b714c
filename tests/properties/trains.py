"""Packets as they lie in opened trains, and streams of them as they come from the network."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import strategies as st

from tests.properties.superpackets import ACK, CWR, FIN, PSH, TCP, TIMESTAMPS, UDP, Flow, Superpacket
from tunnel.wire.train import Train

GARBAGE = bytes(range(1, 256))


def lay_out(packets: Sequence[bytes], size: int) -> Train:
    """One train of datagrams of `size` each but the last, with garbage in headers, padding and tags."""
    datagrams = []
    for number, packet in enumerate(packets):
        room = size if number < len(packets) - 1 else min(size, 32 + -(-len(packet) // 16) * 16)
        datagrams.append(GARBAGE[:16] + packet + GARBAGE[: room - 16 - len(packet)])
    buffer = bytearray(b"".join(datagrams))
    return Train(memoryview(buffer), len(packets), size if len(packets) > 1 else len(buffer), len(datagrams[-1]))


def trains_of(packets: Sequence[bytes], most: int = 64) -> list[Train]:
    """Neighbours whose datagrams are equally long in one train, as UDP_GRO gives them; a shorter one ends it."""
    trains: list[Train] = []
    pending: list[bytes] = []
    size = 0
    for packet in packets:
        padded = 32 + -(-len(packet) // 16) * 16
        if pending and (padded > size or len(pending) == most or 32 + -(-len(pending[-1]) // 16) * 16 < size):
            trains.append(lay_out(pending, size))
            pending = []
        if not pending:
            size = padded
        pending.append(packet)
    if pending:
        trains.append(lay_out(pending, size))
    return trains


@st.composite
def bursts(draw: st.DrawFn) -> list[bytes]:
    """Packets of two flows in turns: mostly in sequence, now and then with a gap, other headers, or damage."""
    flows = [draw(openings()) for _ in range(2)]
    packets: list[bytes] = []
    for _ in range(draw(st.integers(1, 6))):
        turn = draw(st.integers(0, 1))
        segment = draw(st.sampled_from([1, 33, 100]))
        payload = draw(st.binary(min_size=1, max_size=20)) * draw(st.integers(1, 60))
        flow = draw(changes(flows[turn]))
        cut = Superpacket(flow, payload, segment).packets()[:40]
        packets += cut
        flows[turn] = replace(
            flow,
            sequence=flow.sequence + min(len(payload), 40 * segment),
            identification=flow.identification + len(cut),
        )
    for _ in range(draw(st.integers(0, 2))):
        packets[draw(st.integers(0, len(packets) - 1))] = draw(damaged(packets))
    return packets


def openings() -> st.SearchStrategy[Flow]:
    return st.builds(
        Flow,
        version=st.sampled_from([4, 6]),
        protocol=st.sampled_from([TCP, UDP]),
        sequence=st.sampled_from([1, 2**32 - 300]),
        identification=st.sampled_from([1, 65530]),
        fragment_field=st.sampled_from([0, 0x4000]),
        options=st.sampled_from([b"", TIMESTAMPS]),
    )


@st.composite
def changes(draw: st.DrawFn, flow: Flow) -> Flow:
    change = draw(st.sampled_from(["none"] * 4 + ["ack", "ttl", "traffic class", "gap", "id", "flags", "options"]))
    return {
        "none": flow,
        "ack": replace(flow, acknowledgement=flow.acknowledgement + 1),
        "ttl": replace(flow, ttl=flow.ttl - 1),
        "traffic class": replace(flow, traffic_class=3),
        "gap": replace(flow, sequence=flow.sequence + 5),
        "id": replace(flow, identification=flow.identification + 1),
        "flags": replace(
            flow, flags=draw(st.sampled_from([ACK, 0, ACK | PSH, ACK | FIN, ACK | CWR, ACK | 2, ACK | 32]))
        ),
        "options": replace(flow, ip_options=b"\1\1\1\0", extensions=(0,)),
    }[change]


@st.composite
def damaged(draw: st.DrawFn, packets: list[bytes]) -> bytes:
    """One of them with a byte changed, cut short, or without its UDP checksum."""
    packet = bytearray(draw(st.sampled_from(packets)))
    place = draw(st.integers(0, len(packet) - 1) | st.sampled_from([10, 11, 13, 26, 27, 33, 36]))
    if draw(st.booleans()):
        packet[min(place, len(packet) - 1)] ^= draw(st.integers(1, 255))
    elif draw(st.booleans()):
        packet[26:28] = bytes(2)
    else:
        del packet[max(place, 1) :]
    return bytes(packet)

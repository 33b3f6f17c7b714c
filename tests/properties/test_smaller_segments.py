"""What does not fit the path: superpackets and single packets cut smaller, against packets made one by one."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.slices import Slice, slices_of
from tests.properties.superpackets import ACK, TCP, Flow, Superpacket, superpackets, word_sum
from tunnel.offload.flow import Refusal
from tunnel.offload.segment import Segmenter
from tunnel.offload.slices import Slicer
from tunnel.offload.superpacket import make_superpacket
from tunnel.wire.train import Outbound

ARENA = memoryview(bytearray(1 << 19))
"""Never cleared: what was there before must not matter."""

ROOM = st.integers(50, 100) | st.integers(500, 1460)
"""For payload, of the longest packet."""

FULL = superpackets().filter(lambda superpacket: len(superpacket.payload) > 0)


def packets_of(trains: list[Outbound] | Refusal) -> list[bytes]:
    """The packets in the order they would be sealed in; each has the room that sealing it takes, and no more."""
    assert isinstance(trains, list), trains
    packets = []
    for outbound in trains:
        for slot, length in zip(*outbound.slots(), strict=True):
            assert len(slot) == 32 + length
            packets.append(bytes(slot[16 : 16 + length]))
    return packets


def smaller(superpacket: Superpacket, longest: int) -> Superpacket | None:
    """What goes instead; None if it cannot."""
    room = longest - superpacket.flow.header
    if min(superpacket.segment, len(superpacket.payload)) <= room:
        return superpacket
    return replace(superpacket, segment=room) if superpacket.flow.protocol == TCP else None


@given(superpacket=FULL, room=ROOM)
def test_packets_are_as_if_the_kernel_had_asked_for_smaller_segments(superpacket: Superpacket, room: int) -> None:
    longest = room + superpacket.flow.header
    trains = Segmenter().segment(memoryview(bytearray(superpacket.frame())), ARENA, 0, longest)
    expected = smaller(superpacket, longest)
    if expected is None:
        assert trains is Refusal.TOO_BIG_FOR_PATH
        return
    packets = packets_of(trains)
    assert packets == expected.packets()
    assert max(map(len, packets)) <= longest


@given(superpacket=FULL, room=ROOM)
def test_slices_are_as_if_the_kernel_had_asked_for_smaller_segments(superpacket: Superpacket, room: int) -> None:
    longest = room + superpacket.flow.header
    trains = Slicer().slice(memoryview(bytearray(superpacket.frame())), ARENA, longest)
    expected = smaller(superpacket, longest)
    if expected is None:
        assert trains is Refusal.TOO_BIG_FOR_PATH
        return
    assert isinstance(trains, list)
    assert {outbound.segment for outbound in trains} == {expected.segment}
    slices = packets_of(trains)
    assert [Slice(content, content is slices[-1]) for content in slices] == slices_of(expected)


@given(
    superpacket=FULL.filter(lambda superpacket: superpacket.flow.protocol == TCP),
    room=ROOM,
    is_partial=st.booleans(),
    junk=st.binary(min_size=10, max_size=10),
)
def test_a_single_packet_is_cut_like_a_superpacket(
    superpacket: Superpacket, room: int, is_partial: bool, junk: bytes
) -> None:
    flow = superpacket.flow
    frame = memoryview(bytearray(junk + flow.packet(superpacket.payload, is_partial=is_partial)))
    longest = room + flow.header
    assert make_superpacket(frame, longest, is_partial=is_partial)
    packets = packets_of(Segmenter().segment(frame, ARENA, 0, longest))
    assert packets == replace(superpacket, segment=room).packets()


@given(payload=st.binary(min_size=2, max_size=300), error=st.integers(1, 0xFFFE), room=st.integers(1, 200))
def test_a_packet_that_was_damaged_before_is_cut_into_damaged_ones(payload: bytes, error: int, room: int) -> None:
    flow = Flow(flags=ACK)
    packet = bytearray(flow.packet(payload))
    checksum = (int.from_bytes(packet[36:38], "big") + error) % 0xFFFF
    packet[36:38] = checksum.to_bytes(2, "big")
    frame = memoryview(bytearray(10) + packet)
    assert make_superpacket(frame, 40 + room, is_partial=False)
    for piece in packets_of(Segmenter().segment(frame, ARENA, 0, 40 + room)):
        pseudo_header = piece[12:20] + bytes([0, TCP]) + (len(piece) - 20).to_bytes(2, "big")
        assert word_sum(piece[:20]) == 0xFFFF
        assert word_sum(pseudo_header + piece[20:]) != 0xFFFF

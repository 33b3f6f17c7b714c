"""Trains of message 5: partial checksums, and slices between packets."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tests.properties.slices import PARTIAL, cut, mark, partial_frame, slices_of, trains_of_slices
from tests.properties.superpackets import ACK, TIMESTAMPS, UDP, Flow, Superpacket
from tests.properties.trains import lay_out, trains_of
from tunnel.offload.coalesce import Coalescer
from tunnel.wire.train import Train


def partial_trains(packets: Sequence[bytes]) -> list[Train]:
    return [mark(train, PARTIAL) for train in trains_of(packets)]


def partial_singles(packets: Sequence[bytes]) -> list[Train]:
    return [mark(lay_out([packet], 9999), PARTIAL) for packet in packets]


Arrive = Callable[[Sequence[bytes]], list[Train]]


@pytest.fixture(params=[partial_trains, partial_singles], ids=["in trains", "one by one"])
def arrive(request: pytest.FixtureRequest) -> Arrive:
    """Packets come in both ways, and what becomes of them is the same."""
    way: Arrive = request.param
    return way


def joined(trains: Sequence[Train], *, malformed: int = 0) -> list[bytes]:
    coalescer = Coalescer()
    frames = [b"".join(frame) for frame in coalescer.coalesce(trains)]
    assert coalescer.malformed == malformed
    return frames


FLOWS = [Flow(options=TIMESTAMPS), Flow(version=6), Flow(protocol=UDP), Flow(version=6, protocol=UDP)]


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("tail", [0, 1, 999])
def test_partial_packets_of_a_flow_become_one_superpacket(flow: Flow, tail: int, arrive: Arrive) -> None:
    superpacket = Superpacket(flow, bytes(range(250)) * 40 + bytes(tail), 1000)
    assert joined(arrive(superpacket.packets(is_partial=True))) == [superpacket.frame()]


@pytest.mark.parametrize(
    "flow",
    [*FLOWS, Flow(flags=2), Flow(flags=ACK | 4), Flow(ip_options=b"\1" * 4), Flow(version=6, extensions=(0, 43))],
)
@pytest.mark.parametrize("payload", [b"", b"payload"])
def test_a_single_partial_packet_is_left_to_be_completed(flow: Flow, payload: bytes, arrive: Arrive) -> None:
    superpacket = Superpacket(flow, payload, 1000)
    assert joined(arrive(superpacket.packets(is_partial=True))) == [partial_frame(superpacket)]


@pytest.mark.parametrize("place", [10, 36])
def test_a_partial_packet_with_a_wrong_sum_stays_wrong(place: int, arrive: Arrive) -> None:
    """Joined to others, it would be given the right one."""
    packets = Superpacket(Flow(), bytes(8000), 1000).packets(is_partial=True)
    wrong = bytearray(packets[3])
    wrong[place] ^= 1
    frames = joined(arrive([*packets[:3], bytes(wrong), *packets[4:]]))
    assert [len(frame) for frame in frames] == [3050, 1050, 4050]
    assert frames[1][10:] == wrong


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x45",
        bytes(60),
        Flow(fragment_field=0x2000).packet(b"payload"),
        Flow().packet(bytes(40))[:-30],
        Flow(protocol=UDP).packet(b"payload")[:27],
    ],
)
def test_what_is_no_whole_tcp_or_udp_packet_is_dropped_and_counted(packet: bytes) -> None:
    whole = Superpacket(Flow(), b"payload", 1000)
    before, after = partial_singles(whole.packets(is_partial=True) * 2)
    frames = joined([before, mark(lay_out([packet], 9999), PARTIAL), after], malformed=1)
    assert frames == [partial_frame(whole)] * 2


def test_partial_packets_join_complete_ones_of_their_flow() -> None:
    superpacket = Superpacket(Flow(), bytes(10000), 1000)
    complete, partial = superpacket.packets()[:5], superpacket.packets(is_partial=True)[5:]
    assert joined([*trains_of(complete), *partial_trains(partial)]) == [superpacket.frame()]


def test_complete_packets_in_message_5_are_as_in_message_4(arrive: Arrive) -> None:
    packets = Superpacket(Flow(), bytes(5000), 1000).packets()
    trains = [mark(train, 8) for train in arrive(packets)]
    assert joined(trains) == [Superpacket(Flow(), bytes(5000), 1000).frame()]
    assert joined([mark(lay_out([packets[0]], 9999), 8)]) == [bytes(10) + packets[0]]


def test_only_the_flags_of_message_5_count() -> None:
    train = mark(lay_out([Flow().packet(b"payload")], 9999), PARTIAL)
    train.buffer[0] = 4
    assert joined([train]) == [bytes(10) + Flow().packet(b"payload")]


def test_slices_are_rebuilt_in_their_place_between_packets() -> None:
    before, sliced = Superpacket(Flow(), bytes(3000), 1000), Superpacket(Flow(ports=(1, 2)), bytes(5000), 1000)
    after = replace(before, flow=replace(before.flow, sequence=4000, identification=4))
    trains = [*trains_of(before.packets()), *trains_of_slices(slices_of(sliced), 1000), *trains_of(after.packets())]
    assert joined(trains) == [before.frame(), sliced.frame(), after.frame()]


def test_malformed_slices_and_packets_are_counted_together() -> None:
    (train,) = trains_of_slices(slices_of(Superpacket(Flow(), bytes(3000), 1000))[:2], 999)
    assert joined([train, *partial_singles([b"nothing"])], malformed=3) == []


def test_slices_of_a_protocol_that_the_interface_does_not_take_become_packets() -> None:
    superpacket = Superpacket(Flow(protocol=UDP), bytes(3000), 1000)
    frames = Coalescer((6,)).coalesce(trains_of_slices(slices_of(superpacket), 1000))
    assert [packet for frame in frames for packet in cut(b"".join(frame))] == superpacket.packets()
    assert len(frames) == 3

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tests.properties.superpackets import ACK, CWR, FIN, PSH, TCP, TIMESTAMPS, UDP, Flow, Superpacket
from tests.properties.trains import lay_out, trains_of
from tunnel.offload.coalesce import Coalescer
from tunnel.wire.train import Train

SIZE = 1000


def joined(trains: Sequence[Train], protocols: Sequence[int] = (TCP, UDP)) -> list[bytes]:
    return [b"".join(frame) for frame in Coalescer(protocols).coalesce(trains)]


def one_by_one(packets: Sequence[bytes]) -> list[Train]:
    return [lay_out([packet], 9999) for packet in packets]


@pytest.fixture(params=[trains_of, one_by_one], ids=["in trains", "one by one"])
def arrive(request: pytest.FixtureRequest) -> Callable[[Sequence[bytes]], list[Train]]:
    """Packets come in both ways, and what becomes of them is the same."""
    way: Callable[[Sequence[bytes]], list[Train]] = request.param
    return way


Arrive = Callable[[Sequence[bytes]], list[Train]]


def plain(packet: bytes) -> bytes:
    return bytes(10) + packet


def follow(flow: Flow, count: int = 8, size: int = SIZE) -> tuple[list[bytes], Flow]:
    """Packets of a flow, and the flow as it goes on."""
    packets = Superpacket(flow, bytes(count * size), size).packets()
    return packets, replace(flow, sequence=flow.sequence + count * size, identification=flow.identification + count)


FLOWS = [Flow(options=TIMESTAMPS), Flow(version=6), Flow(protocol=UDP), Flow(version=6, protocol=UDP)]


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("tail", [0, 1, 999])
def test_packets_of_a_flow_become_one_superpacket(flow: Flow, tail: int, arrive: Arrive) -> None:
    superpacket = Superpacket(flow, bytes(range(250)) * 40 + bytes(tail), SIZE)
    assert joined(arrive(superpacket.packets())) == [superpacket.frame()]


def test_a_single_packet_stays_as_it_is(arrive: Arrive) -> None:
    packet = Flow().packet(b"payload")
    assert joined(arrive([packet])) == [plain(packet)]


@pytest.mark.parametrize(
    "change",
    [
        {"acknowledgement": 78},
        {"window": 501},
        {"ttl": 63},
        {"traffic_class": 1},
        {"ports": (443, 50001)},
        {"options": TIMESTAMPS},
        {"sequence": 1001 + 8 * SIZE},
        {"fragment_field": 0},
        {"flags": ACK | 64},
    ],
)
def test_a_change_in_the_headers_begins_another_superpacket(change: dict[str, object], arrive: Arrive) -> None:
    before, flow = follow(Flow())
    changed = replace(flow, **change)  # type: ignore[arg-type]
    after, _ = follow(changed, 4)
    first = Superpacket(Flow(), bytes(8 * SIZE), SIZE).frame()
    second = Superpacket(changed, bytes(4 * SIZE), SIZE).frame()
    assert joined(arrive(before + after)) == [first, second]


def test_packets_as_long_but_laid_out_otherwise_begin_another_superpacket(arrive: Arrive) -> None:
    before, flow = follow(Flow(), 8, SIZE)
    changed = replace(flow, options=TIMESTAMPS)
    after, _ = follow(changed, 8, SIZE - len(TIMESTAMPS))
    assert joined(arrive(before + after)) == [
        Superpacket(Flow(), bytes(8 * SIZE), SIZE).frame(),
        Superpacket(changed, bytes(8 * (SIZE - len(TIMESTAMPS))), SIZE - len(TIMESTAMPS)).frame(),
    ]


@pytest.mark.parametrize("flags", [2, 4, 32, 0])
def test_syn_reset_urgent_and_no_acknowledgement_stay_single(flags: int, arrive: Arrive) -> None:
    packets, _ = follow(Flow(flags=flags | (ACK if flags else 0)))
    assert joined(arrive(packets)) == [plain(packet) for packet in packets]


@pytest.mark.parametrize("flags", [PSH, FIN, PSH | FIN])
def test_nothing_is_joined_after_push_or_fin(flags: int, arrive: Arrive) -> None:
    before, flow = follow(Flow(flags=ACK | flags))
    after, _ = follow(flow)
    assert joined(arrive(before + after)) == [
        Superpacket(Flow(flags=ACK | flags), bytes(8 * SIZE), SIZE).frame(),
        Superpacket(flow, bytes(8 * SIZE), SIZE).frame(),
    ]


def test_a_push_on_every_packet_keeps_them_single(arrive: Arrive) -> None:
    packets = [
        Flow(flags=ACK | PSH, sequence=SIZE * number, identification=number).packet(bytes(SIZE)) for number in range(8)
    ]
    assert joined(arrive(packets)) == [plain(packet) for packet in packets]


def test_a_packet_with_cwr_begins_another_superpacket(arrive: Arrive) -> None:
    before, flow = follow(Flow())
    after, _ = follow(replace(flow, flags=ACK | CWR))
    assert joined(arrive(before + after)) == [
        Superpacket(Flow(), bytes(8 * SIZE), SIZE).frame(),
        Superpacket(replace(flow, flags=ACK | CWR), bytes(8 * SIZE), SIZE).frame(),
    ]


def test_nothing_is_joined_after_a_shorter_packet(arrive: Arrive) -> None:
    superpacket = Superpacket(Flow(), bytes(4 * SIZE + 990), SIZE)
    after, _ = follow(Flow(sequence=1000 + 4 * SIZE + 990, identification=6))
    assert joined(arrive(superpacket.packets() + after))[0] == superpacket.frame()


def test_a_larger_packet_begins_another_superpacket(arrive: Arrive) -> None:
    before, flow = follow(Flow(), 5, 990)
    after, _ = follow(flow, 5, SIZE)
    assert joined(arrive(before + after)) == [
        Superpacket(Flow(), bytes(5 * 990), 990).frame(),
        Superpacket(flow, bytes(5 * SIZE), SIZE).frame(),
    ]


@pytest.mark.parametrize("place", [10, 26, 36, 45, 999])
@pytest.mark.parametrize("flow", [Flow(), Flow(protocol=UDP)])
def test_what_arrived_wrong_stays_wrong(flow: Flow, place: int, arrive: Arrive) -> None:
    packets, _ = follow(flow)
    wrong = bytearray(packets[3])
    wrong[place] ^= 0x10
    packets[3] = bytes(wrong)
    after = replace(flow, sequence=flow.sequence + 4 * SIZE, identification=flow.identification + 4)
    assert joined(arrive(packets)) == [
        Superpacket(flow, bytes(3 * SIZE), SIZE).frame(),
        plain(packets[3]),
        Superpacket(after, bytes(4 * SIZE), SIZE).frame(),
    ]


@pytest.mark.parametrize("version", [4, 6])
def test_udp_without_a_checksum_stays_single(version: int, arrive: Arrive) -> None:
    flow = Flow(version=version, protocol=UDP)
    packets = [packet[: flow.transport + 6] + bytes(2) + packet[flow.header :] for packet in follow(flow)[0]]
    assert joined(arrive(packets)) == [plain(packet) for packet in packets]


def test_acknowledgements_without_payload_stay_single(arrive: Arrive) -> None:
    packets = [Flow(identification=number).packet(b"") for number in range(8)]
    assert joined(arrive(packets)) == [plain(packet) for packet in packets]


@pytest.mark.parametrize("flow", [Flow(ip_options=b"\1\1\1\0"), Flow(version=6, extensions=(0,))])
def test_ip_options_and_extension_headers_stay_single(flow: Flow, arrive: Arrive) -> None:
    packets, _ = follow(flow)
    assert joined(arrive(packets)) == [plain(packet) for packet in packets]


@pytest.mark.parametrize("fragment_field", [0x2000, 0x2001, 1])
def test_fragments_stay_single(fragment_field: int, arrive: Arrive) -> None:
    packets, _ = follow(Flow(fragment_field=fragment_field))
    assert joined(arrive(packets)) == [plain(packet) for packet in packets]


def same_identification(flow: Flow) -> list[bytes]:
    return [replace(flow, sequence=1000 + SIZE * number).packet(bytes(SIZE)) for number in range(8)]


def test_identifications_mean_nothing_if_a_packet_may_not_be_fragmented(arrive: Arrive) -> None:
    assert joined(arrive(same_identification(Flow()))) == [Superpacket(Flow(), bytes(8 * SIZE), SIZE).frame()]


def test_identifications_must_count_if_a_packet_may_be_fragmented(arrive: Arrive) -> None:
    packets = same_identification(Flow(fragment_field=0))
    assert joined(arrive(packets)) == [plain(packet) for packet in packets]


def test_identifications_are_looked_at_by_flow(arrive: Arrive) -> None:
    before = same_identification(Flow())
    after = same_identification(Flow(fragment_field=0))
    assert joined(arrive(before + after)) == [
        Superpacket(Flow(), bytes(8 * SIZE), SIZE).frame(),
        *map(plain, after),
    ]


def test_a_superpacket_has_at_most_64_segments() -> None:
    packets, _ = follow(Flow(), 70, 100)
    lengths = [len(frame) - 50 for frame in joined(one_by_one(packets))]
    assert lengths == [6400, 600]


def test_a_superpacket_is_at_most_65535_bytes_long() -> None:
    packets, _ = follow(Flow(), 50, 1400)
    assert [len(frame) - 50 for frame in joined(trains_of(packets))] == [46 * 1400, 4 * 1400]


def test_trains_that_go_on_where_the_last_one_ended_are_joined() -> None:
    superpacket = Superpacket(Flow(), bytes(30 * SIZE), SIZE)
    assert joined(trains_of(superpacket.packets(), 10)) == [superpacket.frame()]


def test_the_order_of_packets_is_kept(arrive: Arrive) -> None:
    (mine, _), (other, _) = follow(Flow()), follow(Flow(ports=(1, 2)))
    frames = joined(arrive([mine[0], other[0], mine[1], other[1], mine[2]]))
    assert frames == [plain(packet) for packet in (mine[0], other[0], mine[1], other[1], mine[2])]


@pytest.mark.parametrize("protocol", [TCP, UDP])
def test_only_the_wanted_protocols_are_joined(protocol: int, arrive: Arrive) -> None:
    packets, _ = follow(Flow(protocol=protocol))
    others = {TCP, UDP} - {protocol}
    assert joined(arrive(packets), tuple(others)) == [plain(packet) for packet in packets]
    assert len(joined(arrive(packets), (protocol,))) == 1


def test_a_keepalive_is_left_out() -> None:
    packets, _ = follow(Flow())
    keepalive = Train.single(memoryview(bytearray(32)))
    assert len(joined([*trains_of(packets[:4]), keepalive, *trains_of(packets[4:])])) == 1


def test_what_is_no_packet_is_handed_on_as_it_lies() -> None:
    train = lay_out([b"\x90 not IP at all"], 9999)
    assert joined([train]) == [plain(bytes(train.buffer[16:-16]))]


def test_frames_are_views_of_the_train_and_the_train_is_left_alone() -> None:
    (train,) = trains_of(Superpacket(Flow(), bytes(7 * 999), 999).packets())
    before = bytes(train.buffer)
    ((head, *payloads),) = Coalescer().coalesce([train])
    assert len(head) == 50
    assert all(isinstance(payload, memoryview) and payload.obj is train.buffer.obj for payload in payloads)
    assert train.buffer == before

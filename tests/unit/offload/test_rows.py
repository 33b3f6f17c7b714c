from dataclasses import replace

import pytest

from tests.properties.superpackets import UDP, Flow, Superpacket
from tests.properties.trains import lay_out
from tunnel.offload.flow import parse_layout
from tunnel.offload.rows import MAX_PLANS, Rows, RowTables
from tunnel.wire.train import Train


def table_of(packets: list[bytes], tables: RowTables | None = None) -> Rows:
    train = lay_out(packets, 32 + -(-len(packets[0]) // 16) * 16)
    return find(tables or RowTables(), train, packets[0])


def find(tables: RowTables, train: Train, first: bytes) -> Rows:
    layout = parse_layout(memoryview(first))
    assert isinstance(layout, tuple)
    return tables.find(train, layout, len(first), train.count)


def packets_of(flow: Flow, size: int = 101, count: int = 6) -> list[bytes]:
    return Superpacket(flow, bytes(range(101)) * count, size).packets()[:count]


FLOWS = [Flow(), Flow(version=6), Flow(protocol=UDP), Flow(version=6, protocol=UDP)]


@pytest.mark.parametrize("flow", FLOWS)
def test_segments_of_a_superpacket_follow_each_other(flow: Flow) -> None:
    assert table_of(packets_of(flow)).breaks(1) == []


def test_sequence_and_identification_may_wrap_around() -> None:
    assert table_of(packets_of(Flow(sequence=2**32 - 250, identification=65533))).breaks(1) == []


def test_rows_that_do_not_follow_are_named() -> None:
    packets = packets_of(Flow())
    packets[2:4] = packets_of(Flow(ttl=9))[2:4]
    assert table_of(packets).breaks(1) == [2, 4]


def test_identifications_follow_by_the_given_step() -> None:
    packets = [replace(Flow(), sequence=1000 + 101 * number).packet(bytes(101)) for number in range(4)]
    assert table_of(packets).breaks(0) == []
    assert table_of(packets).breaks(1) == [1, 2, 3]


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("size", [97, 98, 99, 100, 101])
def test_whole_packets_are_not_damaged_whatever_lies_behind_them(flow: Flow, size: int) -> None:
    assert table_of(packets_of(flow, size)).damaged() == []


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("place", [-1, -4, -50, -101])
def test_damaged_rows_are_named(flow: Flow, place: int) -> None:
    packets = [bytearray(packet) for packet in packets_of(flow)]
    packets[1][place] ^= 1
    packets[4][place] ^= 0x80
    assert table_of([bytes(packet) for packet in packets]).damaged() == [1, 4]


@pytest.mark.parametrize("version", [4, 6])
def test_udp_without_a_checksum_counts_as_damaged(version: int) -> None:
    flow = Flow(version=version, protocol=UDP)
    rest = int.from_bytes(flow.packet(bytes(101))[flow.header - 2 : flow.header], "big")
    packet = flow.packet(rest.to_bytes(2, "big") + bytes(99))
    assert packet[flow.header - 2 : flow.header] == b"\xff\xff"  # as good as zero, but for what zero means here
    packets = [packet] * 4
    packets[2] = packet[: flow.header - 2] + bytes(2) + packet[flow.header :]
    assert table_of(packets).damaged() == [2]


def test_a_table_is_found_again_for_the_same_memory_only() -> None:
    tables, packets = RowTables(), packets_of(Flow())
    train, other = lay_out(packets, 176), lay_out(packets, 176)
    table = find(tables, train, packets[0])
    again = Train(memoryview(train.buffer.obj), train.count, train.size, train.last)
    assert find(tables, again, packets[0]) is table
    assert find(tables, other, packets[0]) is not table


def test_the_oldest_tables_go_first() -> None:
    tables, packets = RowTables(), packets_of(Flow())
    trains = [lay_out(packets, 176) for _ in range(MAX_PLANS + 1)]
    found = [find(tables, train, packets[0]) for train in trains]
    assert find(tables, trains[-1], packets[0]) is found[-1]
    assert find(tables, trains[0], packets[0]) is not found[0]

"""Which packets of a burst become a train, and where the trains lie."""

from collections.abc import Sequence

import pytest

from tests.properties.keypairs import MTU, create_keypairs, slots_with
from tunnel.protocol.burst import ARENA_SIZE, MAX_TRAINS, MIN_RUN, BurstArena, seal_burst
from tunnel.protocol.keypair import Keypair
from tunnel.protocol.trains import Nonces
from tunnel.protocol.transport import MAX_PACKET, open_in_place
from tunnel.wire.messages import TRANSPORT_HEADER, TRANSPORT_OVERHEAD
from tunnel.wire.train import MAX_TRAIN_BYTES, MAX_TRAIN_COUNT, Train


class Burst:
    """Packets of these lengths, each filled with its number from 1 on, sealed into `trains`."""

    def __init__(
        self, lengths: Sequence[int], *, arena: BurstArena | None = None, mtu: int = MTU, keypair: Keypair | None = None
    ) -> None:
        self.packets = [bytes([number % 256]) * length for number, length in enumerate(lengths, 1)]
        self.slots = slots_with(self.packets)
        keypair = keypair or create_keypairs()[0]
        self.trains = seal_burst(keypair, self.slots, lengths, mtu, arena or BurstArena(), Nonces())

    @property
    def counts(self) -> list[int]:
        return [train.count for train in self.trains]

    @property
    def counters(self) -> list[int]:
        datagrams = [datagram for train in self.trains for datagram in train.datagrams()]
        return [TRANSPORT_HEADER.unpack_from(datagram)[2] for datagram in datagrams]

    def opened(self) -> list[bytes]:
        """What the other end gets, without padding; the padding is zero."""
        _, theirs = create_keypairs()
        packets = []
        for train in self.trains:
            for datagram in train.datagrams():
                copy = memoryview(bytearray(datagram))
                assert open_in_place(theirs, TRANSPORT_HEADER.unpack_from(copy)[2], copy)
                packets.append(bytes(copy[16:-16]).rstrip(b"\0"))
        return packets

    def lies_in_its_slot(self, train: Train, number: int) -> bool:
        return train.buffer.obj is self.slots[number].obj


def test_equal_packets_are_one_train() -> None:
    burst = Burst([100] * 10)
    assert burst.counts == [10]
    assert burst.opened() == burst.packets


def test_packets_equally_long_when_padded_are_one_train() -> None:
    burst = Burst([17, 32, 20, 31])
    assert burst.counts == [4]
    assert burst.opened() == burst.packets


def test_another_padded_length_begins_another_train() -> None:
    burst = Burst([32, 32, 32, 33, 33, 33, 16, 16, 16])
    assert [(train.count, train.size) for train in burst.trains] == [(3, 64), (3, 80), (3, 48)]
    assert burst.opened() == burst.packets


def test_a_packet_between_two_runs_keeps_its_place() -> None:
    burst = Burst([32] * 4 + [500] + [32] * 4)
    assert burst.counts == [4, 1, 4]
    assert burst.opened() == burst.packets
    assert burst.counters == list(range(9))


def test_packets_padded_to_the_mtu_are_one_train() -> None:
    burst = Burst([1420, 1409, 1419])
    assert [(train.count, train.size) for train in burst.trains] == [(3, 1452)]
    assert burst.opened() == burst.packets


def test_packets_longer_than_the_mtu_are_not_cut() -> None:
    burst = Burst([1421, 1421, 1421, 1422])
    assert burst.counts == [3, 1]
    assert burst.opened() == burst.packets


@pytest.mark.parametrize("lengths", [[64], [64] * (MIN_RUN - 1), [64] * (MIN_RUN - 1) + [100]])
def test_too_few_are_sealed_where_they_are(lengths: list[int]) -> None:
    burst = Burst(lengths)
    assert burst.counts == [1] * len(lengths)
    assert all(burst.lies_in_its_slot(train, number) for number, train in enumerate(burst.trains))
    assert burst.opened() == burst.packets


def test_the_fewest_that_are_worth_it_are_a_train() -> None:
    assert Burst([64] * MIN_RUN).counts == [MIN_RUN]


def test_no_train_has_more_datagrams_than_one_send() -> None:
    burst = Burst([64] * (MAX_TRAIN_COUNT + 1))
    assert burst.counts == [MAX_TRAIN_COUNT, 1]
    assert burst.opened() == burst.packets


def test_no_train_has_more_bytes_than_one_send() -> None:
    burst = Burst([MTU] * 64)
    assert burst.counts == [45, 19]
    assert len(burst.trains[0].buffer) <= MAX_TRAIN_BYTES < len(burst.trains[0].buffer) + MTU + TRANSPORT_OVERHEAD
    assert burst.opened() == burst.packets


def test_packets_too_long_for_any_train_go_one_by_one() -> None:
    burst = Burst([MAX_PACKET, MAX_PACKET, MAX_PACKET, 64], mtu=65535)
    assert burst.counts == [1, 1, 1, 1]
    assert [len(packet) for packet in burst.opened()] == [MAX_PACKET, MAX_PACKET, MAX_PACKET, 64]


def test_slots_beyond_the_lengths_are_left_alone() -> None:
    slots = slots_with([b"x" * 64] * 6)
    keypair, _ = create_keypairs()
    (train,) = seal_burst(keypair, slots, [64] * 4, MTU, BurstArena(), Nonces())
    assert (train.count, keypair.send_counter) == (4, 4)


# ---- the arena --------------------------------------------------------------------------------------------------


def test_trains_of_one_arena_do_not_overlap() -> None:
    arena = BurstArena()
    keypair, _ = create_keypairs()
    bursts = [Burst([64] * 4, arena=arena, keypair=keypair), Burst([64] * 4, arena=arena, keypair=keypair)]
    assert [burst.opened() for burst in bursts] == [burst.packets for burst in bursts]
    assert bursts[1].counters == [4, 5, 6, 7]


def test_without_room_packets_are_sealed_where_they_are() -> None:
    arena = BurstArena()
    keypair, _ = create_keypairs()
    bursts = [Burst([MTU] * 45, arena=arena, keypair=keypair) for _ in range(5)]
    assert ARENA_SIZE // (45 * (MTU + TRANSPORT_OVERHEAD)) == 4
    assert [len(burst.trains) for burst in bursts] == [1, 1, 1, 1, 45]
    assert all(bursts[4].lies_in_its_slot(train, number) for number, train in enumerate(bursts[4].trains))
    assert [burst.opened() for burst in bursts] == [burst.packets for burst in bursts]
    assert bursts[4].counters == list(range(180, 225))


def test_the_last_byte_of_the_arena_is_used() -> None:
    arena = BurstArena()
    size = 1024 - TRANSPORT_OVERHEAD
    counts = [Burst([size] * 32, arena=arena).counts for _ in range(ARENA_SIZE // (32 * 1024) + 1)]
    assert counts == [[32]] * 8 + [[1] * 32]


def test_a_cleared_arena_has_room_again() -> None:
    arena = BurstArena()
    for _ in range(5):
        Burst([MTU] * 45, arena=arena)
    arena.clear()
    burst = Burst([MTU] * 45, arena=arena)
    assert burst.counts == [45]
    assert burst.opened() == burst.packets


def test_padding_is_zero_whatever_lay_there() -> None:
    arena = BurstArena()
    Burst([32] * 4, arena=arena)
    arena.clear()
    burst = Burst([17] * 4, arena=arena)
    assert burst.opened() == burst.packets


def test_the_same_shape_in_the_same_place_is_the_same_object() -> None:
    arena = BurstArena()
    first = Burst([64] * 4, arena=arena).trains[0]
    arena.clear()
    assert Burst([64] * 4, arena=arena).trains[0] is first


@pytest.mark.parametrize("lengths", [[64] * 5, [80] * 4, [64] * 3])
def test_another_shape_in_the_same_place_is_another_object(lengths: list[int]) -> None:
    arena = BurstArena()
    first = Burst([64] * 4, arena=arena).trains[0]
    arena.clear()
    burst = Burst(lengths, arena=arena)
    assert burst.trains[0] is not first
    assert burst.opened() == burst.packets


def test_the_same_shape_in_another_place_is_another_object() -> None:
    arena = BurstArena()
    first, second = (Burst([64] * 4, arena=arena).trains[0] for _ in range(2))
    assert first is not second


def test_few_shapes_are_remembered() -> None:
    arena = BurstArena()
    for number in range(2 * MAX_TRAINS):
        arena.clear()
        Burst([16 * (number % 80 + 1)] * (3 + number // 80), arena=arena)
        assert len(arena._trains) <= MAX_TRAINS

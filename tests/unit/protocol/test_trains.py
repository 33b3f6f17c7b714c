"""Trains that are opened as one, and those that have to be looked at datagram by datagram."""

from dataclasses import replace

import pytest

from tests.properties.keypairs import create_keypairs, sealed_train, unsealed_train
from tests.properties.superpackets import UDP, Flow
from tunnel.protocol.constants import REJECT_AFTER_MESSAGES
from tunnel.protocol.keypair import Keypair
from tunnel.protocol.trains import Nonces, has_one_receiver, has_uniform_packets, open_run
from tunnel.wire.messages import TRANSPORT_OVERHEAD
from tunnel.wire.train import MAX_TRAIN_COUNT, Train

PACKETS = [bytes([number]) * 32 for number in range(6)]


def packets_of(train: Train) -> list[bytes]:
    return [bytes(datagram[16:-16]) for datagram in train.datagrams()]


def unseen(keypair: Keypair, end: int) -> list[int]:
    """The counters before `end` that the replay window would still accept."""
    return [counter for counter in range(end) if keypair.replay.check(counter)]


# ---- opening ----------------------------------------------------------------------------------------------------


def test_a_run_is_opened_where_it_lies() -> None:
    ours, theirs = create_keypairs()
    train = sealed_train(ours, PACKETS)
    assert packets_of(train) != PACKETS
    assert open_run(theirs, train, Nonces()) == []
    assert packets_of(train) == PACKETS
    assert unseen(theirs, 8) == [6, 7]


def test_a_shorter_last_one_is_opened_too() -> None:
    ours, theirs = create_keypairs()
    train = sealed_train(ours, [*PACKETS, b"x" * 16])
    assert open_run(theirs, train, Nonces()) == []
    assert packets_of(train) == [*PACKETS, b"x" * 16]


def test_a_train_may_be_nothing_but_keepalives() -> None:
    ours, theirs = create_keypairs()
    train = sealed_train(ours, [b""] * 5)
    assert open_run(theirs, train, Nonces()) == []
    assert unseen(theirs, 6) == [5]


@pytest.mark.parametrize("wrong", [[0], [5], [2], [0, 5], [1, 2, 3], [0, 1, 2, 3, 4, 5]])
def test_the_positions_of_wrong_tags_are_told_and_the_others_opened(wrong: list[int]) -> None:
    ours, theirs = create_keypairs()
    train = sealed_train(ours, PACKETS)
    for position in wrong:
        train.datagrams()[position][-1] ^= 1
    assert open_run(theirs, train, Nonces()) == wrong
    opened = packets_of(train)
    assert all(opened[position] == PACKETS[position] for position in range(6) if position not in wrong)


@pytest.mark.parametrize("wrong", [[0], [5], [2], [0, 5], [1, 2, 3], [0, 1, 2, 3, 4, 5]])
def test_what_was_not_authentic_may_still_come(wrong: list[int]) -> None:
    ours, theirs = create_keypairs()
    train = sealed_train(ours, PACKETS)
    for position in wrong:
        train.datagrams()[position][20] ^= 0x80
    open_run(theirs, train, Nonces())
    assert unseen(theirs, 6) == wrong


def test_two_trains_one_behind_the_other_are_two_runs() -> None:
    ours, theirs = create_keypairs()
    trains = [sealed_train(ours, PACKETS), sealed_train(ours, PACKETS)]
    assert [open_run(theirs, train, Nonces()) for train in trains] == [[], []]
    assert unseen(theirs, 13) == [12]


def test_a_run_after_a_gap_leaves_the_gap_open() -> None:
    ours, theirs = create_keypairs()
    first = sealed_train(ours, PACKETS)
    open_run(theirs, sealed_train(ours, PACKETS), Nonces())
    assert unseen(theirs, 13) == [0, 1, 2, 3, 4, 5, 12]
    assert open_run(theirs, first, Nonces()) is None


# ---- not a run --------------------------------------------------------------------------------------------------


def test_a_train_that_comes_again_is_no_run() -> None:
    ours, theirs = create_keypairs()
    train = sealed_train(ours, PACKETS)
    again = Train(memoryview(bytearray(train.buffer)), train.count, train.size, train.last)
    assert open_run(theirs, train, Nonces()) == []
    assert_untouched(theirs, again, [6, 7])


def test_a_train_that_begins_with_the_greatest_counter_is_no_run() -> None:
    ours, theirs = create_keypairs()
    assert theirs.replay.accept(0)
    assert_untouched(theirs, sealed_train(ours, PACKETS), [1, 2, 3, 4, 5, 6, 7])


@pytest.mark.parametrize("position", [1, 3, 5])
@pytest.mark.parametrize("counter", [0, 7, 2**64 - 1])
def test_counters_that_do_not_follow_each_other_are_no_run(position: int, counter: int) -> None:
    ours, theirs = create_keypairs()
    train = sealed_train(ours, PACKETS)
    train.datagrams()[position][8:16] = counter.to_bytes(8, "little")
    assert_untouched(theirs, train, [0, 1, 2, 3, 4, 5, 6, 7])


def test_the_last_counters_before_the_limit_are_a_run() -> None:
    ours, theirs = create_keypairs(REJECT_AFTER_MESSAGES - 6)
    assert open_run(theirs, sealed_train(ours, PACKETS), Nonces()) == []


@pytest.mark.parametrize("first", [REJECT_AFTER_MESSAGES - 5, REJECT_AFTER_MESSAGES, 2**64 - 6])
def test_a_train_that_reaches_the_limit_is_no_run(first: int) -> None:
    ours, theirs = create_keypairs(first)
    assert_untouched(theirs, sealed_train(ours, PACKETS), [0, 1, 2, 3, 4, 5, 6, 7])


def test_counters_that_wrap_around_are_no_run() -> None:
    ours, theirs = create_keypairs()
    train = sealed_train(ours, PACKETS)
    for number, datagram in enumerate(train.datagrams()):
        datagram[8:16] = ((2**64 - 3 + number) % 2**64).to_bytes(8, "little")
    assert_untouched(theirs, train, [0, 1, 2, 3, 4, 5, 6, 7])


def test_more_datagrams_than_we_would_send_at_once_are_no_run() -> None:
    """A kernel that lets others send 128 at once hands them on like that."""
    ours, theirs = create_keypairs()
    halves = [sealed_train(ours, [b"x" * 16] * MAX_TRAIN_COUNT) for _ in range(2)]
    content = bytearray(b"".join(bytes(half.buffer) for half in halves))
    train = Train(memoryview(content), 2 * MAX_TRAIN_COUNT, halves[0].size, halves[0].last)
    assert_untouched(theirs, train, list(range(8)))


def assert_untouched(keypair: Keypair, train: Train, acceptable: list[int]) -> None:
    """It is no run, its bytes are as before, and of the counters below 8 these would still be accepted."""
    before = bytes(train.buffer)
    assert open_run(keypair, train, Nonces()) is None
    assert bytes(train.buffer) == before
    assert unseen(keypair, 8) == acceptable


# ---- receivers --------------------------------------------------------------------------------------------------


def test_a_train_of_one_session_has_one_receiver() -> None:
    ours, _ = create_keypairs(remote_index=0xFFFFFFFF)
    assert has_one_receiver(sealed_train(ours, PACKETS))


@pytest.mark.parametrize("position", [0, 3, 5])
@pytest.mark.parametrize("byte", range(8))
def test_another_type_or_index_anywhere_is_another_receiver(position: int, byte: int) -> None:
    train = sealed_train(create_keypairs()[0], PACKETS)
    train.datagrams()[position][byte] ^= 1
    assert not has_one_receiver(train)


def test_what_follows_the_index_is_no_receiver() -> None:
    train = sealed_train(create_keypairs()[0], PACKETS)
    train.datagrams()[3][8] ^= 1
    assert has_one_receiver(train)


# ---- packets ----------------------------------------------------------------------------------------------------


def inner(version: int, length: int = 100, **changed: int) -> bytes:
    return replace(Flow(version=version, protocol=UDP), **changed).packet(bytes(length))  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [4, 6])
def test_packets_of_one_flow_are_uniform(version: int) -> None:
    assert has_uniform_packets(unsealed_train([inner(version)] * 4))


@pytest.mark.parametrize("version", [4, 6])
def test_packets_are_uniform_if_only_the_last_is_shorter(version: int) -> None:
    assert has_uniform_packets(unsealed_train([*[inner(version)] * 4, inner(version, 50)]))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("position", [0, 1, 3])
def test_packets_of_differing_length_are_not_uniform(version: int, position: int) -> None:
    packets = [inner(version, 97)] * 5
    packets[position] = inner(version, 98)
    assert not has_uniform_packets(unsealed_train(packets))


@pytest.mark.parametrize("position", [0, 2, 4])
@pytest.mark.parametrize(("version", "place"), [(4, 12), (4, 15), (6, 8), (6, 16), (6, 23)])
def test_packets_from_another_source_are_not_uniform(version: int, place: int, position: int) -> None:
    packets = [bytearray(inner(version)) for _ in range(5)]
    packets[position][place] ^= 1
    assert not has_uniform_packets(unsealed_train([bytes(packet) for packet in packets]))


@pytest.mark.parametrize("position", [0, 2, 4])
@pytest.mark.parametrize(("one", "other"), [(4, 6), (6, 4)])
def test_packets_of_both_versions_are_not_uniform(one: int, other: int, position: int) -> None:
    packets = [inner(one, 100 if one == 6 else 120)] * 5
    packets[position] = inner(other, 100 if other == 6 else 120)
    assert not has_uniform_packets(unsealed_train(packets))


def test_packets_with_headers_of_differing_length_are_not_uniform() -> None:
    packets = [inner(4)] * 5
    packets[2] = b"\x46" + packets[2][1:]
    assert not has_uniform_packets(unsealed_train(packets))


@pytest.mark.parametrize(("version", "too_short"), [(4, 16), (6, 32)])
def test_packets_too_short_for_their_header_are_not_uniform(version: int, too_short: int) -> None:
    packet = inner(version)[:too_short]
    assert not has_uniform_packets(unsealed_train([packet] * 4))
    assert not has_uniform_packets(unsealed_train([*[inner(version)] * 4, packet]))


def test_keepalives_are_not_uniform_packets() -> None:
    train = unsealed_train([b""] * 4)
    assert train.size == TRANSPORT_OVERHEAD
    assert not has_uniform_packets(train)

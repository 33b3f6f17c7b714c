"""What is done to many datagrams at once against the same one by one."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.keypairs import create_keypairs, sealed_train, slots_with, unsealed_train
from tunnel.protocol.burst import BurstArena, seal_burst
from tunnel.protocol.constants import REJECT_AFTER_MESSAGES
from tunnel.protocol.replay import WINDOW_SIZE, ReplayWindow
from tunnel.protocol.trains import Nonces, open_run, seal_train
from tunnel.protocol.transport import open_in_place, seal
from tunnel.wire.train import MAX_TRAIN_COUNT

INDICES = st.integers(0, 2**32 - 1)
COUNTERS = st.integers(0, REJECT_AFTER_MESSAGES - MAX_TRAIN_COUNT) | st.just(REJECT_AFTER_MESSAGES - MAX_TRAIN_COUNT)


@st.composite
def equal_packets(draw: st.DrawFn) -> list[bytes]:
    """Of one length, but for a last one that is not longer."""
    length = draw(st.integers(0, 200))
    count = draw(st.integers(1, MAX_TRAIN_COUNT))
    last = draw(st.just(length) | st.integers(0, length))
    content = draw(st.binary(min_size=1, max_size=30))
    return [(bytes([number]) + content * 200)[:length] for number in range(count - 1)] + [(content * 200)[:last]]


def sealed_one_by_one(packets: Sequence[bytes], mtu: int, counter: int, index: int) -> list[bytes]:
    keypair, _ = create_keypairs(counter, index)
    return [bytes(datagram) for datagram in seal(keypair, slots_with(packets), list(map(len, packets)), mtu)]


@given(packets=equal_packets(), mtu=st.integers(0, 250), counter=COUNTERS, index=INDICES)
def test_a_train_is_sealed_as_its_packets_are(packets: list[bytes], mtu: int, counter: int, index: int) -> None:
    keypair, _ = create_keypairs(counter, index)
    train = unsealed_train(packets, mtu)
    seal_train(keypair, train, Nonces())
    assert list(map(bytes, train.datagrams())) == sealed_one_by_one(packets, mtu, counter, index)
    assert keypair.send_counter == counter + len(packets)


@given(
    lengths=st.lists(st.integers(0, 60) | st.sampled_from([16, 20, 400]), min_size=1, max_size=40),
    repeated=st.integers(1, 5),
    mtu=st.integers(0, 450),
    counter=COUNTERS,
)
def test_a_burst_is_sealed_as_its_packets_are(lengths: list[int], repeated: int, mtu: int, counter: int) -> None:
    keypair, _ = create_keypairs(counter)
    packets = [bytes([number % 251]) * length for number, length in enumerate(lengths * repeated)]
    trains = seal_burst(keypair, slots_with(packets), list(map(len, packets)), mtu, BurstArena(), Nonces())
    datagrams = [bytes(datagram) for train in trains for datagram in train.datagrams()]
    assert datagrams == sealed_one_by_one(packets, mtu, counter, 2)


@given(packets=equal_packets(), data=st.data())
def test_a_run_is_opened_as_its_datagrams_are(packets: list[bytes], data: st.DataObject) -> None:
    ours, theirs = create_keypairs()
    train = sealed_train(ours, packets)
    damaged = data.draw(st.sets(st.integers(0, train.count - 1)))
    for position in damaged:
        datagram = train.datagrams()[position]
        datagram[data.draw(st.integers(16, len(datagram) - 1))] ^= 1
    copies = [memoryview(bytearray(datagram)) for datagram in train.datagrams()]
    are_open = [open_in_place(theirs, counter, copy) for counter, copy in enumerate(copies)]
    assert open_run(theirs, train, Nonces()) == [position for position, is_open in enumerate(are_open) if not is_open]
    for is_open, datagram, copy in zip(are_open, train.datagrams(), copies, strict=True):
        assert not is_open or datagram[16:-16] == copy[16:-16]


RING = WINDOW_SIZE + 64
GAPS = st.integers(0, 3) | st.sampled_from([63, 64, WINDOW_SIZE, RING - 1, RING, RING + 1]) | st.integers(0, 3 * RING)


@settings(max_examples=50)
@given(
    start=st.integers(0, 2 * RING) | st.just(REJECT_AFTER_MESSAGES - 4 * RING),
    runs=st.lists(st.tuples(GAPS, st.integers(1, MAX_TRAIN_COUNT)), max_size=6),
)
def test_a_run_is_accepted_as_its_counters_are(start: int, runs: list[tuple[int, int]]) -> None:
    at_once, one_by_one = ReplayWindow(), ReplayWindow()
    for gap, count in runs:
        start += gap
        if start + count > REJECT_AFTER_MESSAGES:
            break
        at_once.accept_run(start, count)
        assert all(one_by_one.accept(counter) for counter in range(start, start + count))
        start += count
    around = range(max(start - RING - 70, 0), start + 3)
    assert [at_once.check(counter) for counter in around] == [one_by_one.check(counter) for counter in around]

"""Message 5, many at once, against one by one, and one by one against the AEAD itself."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.keypairs import create_keypairs, slots_with, unsealed_train
from tests.properties.test_trains import COUNTERS, INDICES, equal_packets
from tunnel.noise.handshake import TransportKeys
from tunnel.noise.primitives import kdf2
from tunnel.protocol.burst import BurstArena, seal_extended_burst
from tunnel.protocol.extension import LABEL, Extension
from tunnel.protocol.keypair import Keypair
from tunnel.protocol.opening import open_train
from tunnel.protocol.stats import DropReason, Drops
from tunnel.protocol.trains import Nonces, has_one_receiver, seal_extended_train, split_by_kind
from tunnel.protocol.transport import seal_extended
from tunnel.wire.control import Capability, Hello
from tunnel.wire.messages import ExtendedFlag
from tunnel.wire.train import Train

ALL = Capability(sum(Capability))
SLICE, LAST, PARTIAL, AES = map(int, ExtendedFlag)
ONE, OTHER = b"s" * 32, b"r" * 32
FLAGS = st.sampled_from([0, PARTIAL, SLICE])


def extended_pair(*, is_aes: bool = True, counter: int = 0, index: int = 2) -> tuple[Keypair, Keypair]:
    """Both have heard the other's hello."""
    ours, theirs = create_keypairs(counter, index)
    offered = ALL if is_aes else ALL & ~Capability.AES_256_GCM
    ours.extension = Extension(TransportKeys(ONE, OTHER), offered, is_initiator=True)
    theirs.extension = Extension(TransportKeys(OTHER, ONE), ALL, is_initiator=False)
    ours.extension.consume_hello(Hello(ALL, 1420))
    theirs.extension.consume_hello(Hello(offered, 1420))
    return ours, theirs


def sealed_one_by_one(
    packets: Sequence[bytes], flags: Sequence[int], *, is_aes: bool, counter: int = 0, index: int = 2
) -> list[bytes]:
    keypair, _ = extended_pair(is_aes=is_aes, counter=counter, index=index)
    return [bytes(sealed) for sealed in seal_extended(keypair, slots_with(packets), list(map(len, packets)), flags)]


def sealed_train(
    keypair: Keypair, packets: Sequence[bytes], flags: int = 0, segment: int = 0, *, is_end: bool = False
) -> Train:
    """In memory of its own, as it comes from the network."""
    train = unsealed_train(packets, 0)
    seal_extended_train(keypair, train, Nonces(), flags, segment=segment, is_end=is_end)
    return Train(memoryview(bytearray(train.buffer)), train.count, train.size, train.last)


def joined(datagrams: Sequence[bytes]) -> Train:
    """Datagrams of one length, but for a shorter last one, as they are received."""
    size = len(datagrams[0])
    return Train(memoryview(bytearray(b"".join(datagrams))), len(datagrams), size, len(datagrams[-1]))


@given(packet=st.binary(max_size=100), flags=FLAGS, is_aes=st.booleans(), counter=COUNTERS, index=INDICES)
def test_one_message_is_what_the_document_says(
    packet: bytes, flags: int, is_aes: bool, counter: int, index: int
) -> None:
    (datagram,) = sealed_one_by_one([packet], [flags], is_aes=is_aes, counter=counter, index=index)
    header = (
        bytes([5, flags | (AES if is_aes else 0), 0, 0]) + index.to_bytes(4, "little") + counter.to_bytes(8, "little")
    )
    chacha, aes = kdf2(ONE, LABEL)
    aead = AESGCM(aes) if is_aes else ChaCha20Poly1305(chacha)
    assert datagram == header + aead.encrypt(bytes(4) + counter.to_bytes(8, "little"), packet, header)


@given(packets=equal_packets(), flags=FLAGS, is_aes=st.booleans(), counter=COUNTERS, index=INDICES)
def test_a_train_is_sealed_as_its_packets_are(
    packets: list[bytes], flags: int, is_aes: bool, counter: int, index: int
) -> None:
    keypair, _ = extended_pair(is_aes=is_aes, counter=counter, index=index)
    train = unsealed_train(packets, 0)
    seal_extended_train(keypair, train, Nonces(), flags)
    alone = sealed_one_by_one(packets, [flags] * len(packets), is_aes=is_aes, counter=counter, index=index)
    assert list(map(bytes, train.datagrams())) == alone
    assert keypair.send_counter == counter + len(packets)


@given(packets=equal_packets(), segment=st.integers(1, 65535))
def test_slices_say_how_long_they_are_and_which_is_the_last(packets: list[bytes], segment: int) -> None:
    ours, theirs = extended_pair()
    train = sealed_train(ours, packets, SLICE, segment, is_end=True)
    headers = [bytes(datagram[:4]) for datagram in train.datagrams()]
    size = segment.to_bytes(2, "little")
    assert headers[:-1] == [bytes([5, SLICE | AES]) + size] * (len(packets) - 1)
    assert headers[-1] == bytes([5, SLICE | LAST | AES]) + size
    assert has_one_receiver(train)
    assert open_train(theirs, train, Nonces(), Drops().count) == [train]


@given(
    kinds=st.lists(st.tuples(st.integers(0, 60) | st.sampled_from([20, 400]), FLAGS), min_size=1, max_size=40),
    repeated=st.integers(1, 5),
    is_aes=st.booleans(),
)
def test_a_burst_is_sealed_as_its_packets_are(kinds: list[tuple[int, int]], repeated: int, is_aes: bool) -> None:
    keypair, _ = extended_pair(is_aes=is_aes)
    kinds = [kind for kind in kinds for _ in range(repeated)]
    packets = [bytes([number % 251]) * length for number, (length, _) in enumerate(kinds)]
    flags = [flag for _, flag in kinds]
    lengths = list(map(len, packets))
    trains = seal_extended_burst(keypair, slots_with(packets), lengths, flags, 1420, BurstArena(), Nonces())
    datagrams = [bytes(datagram) for train in trains for datagram in train.datagrams()]
    assert datagrams == sealed_one_by_one(packets, flags, is_aes=is_aes)


@given(packets=equal_packets(), data=st.data(), is_aes=st.booleans())
def test_whatever_is_lost_damaged_or_mixed_up_the_rest_is_opened(
    packets: list[bytes], data: st.DataObject, is_aes: bool
) -> None:
    """Of equal datagrams in any order, some of them twice, every sound one is opened, once, in the order they came."""
    packets = [packet for packet in packets if len(packet) == len(packets[0])]
    datagrams = sealed_one_by_one(packets, [0] * len(packets), is_aes=is_aes)
    positions = st.integers(0, len(datagrams) - 1)
    if data.draw(st.booleans()):
        missing = data.draw(st.sets(positions, max_size=len(datagrams) - 1))
        order = [position for position in range(len(datagrams)) if position not in missing]
    else:
        order = data.draw(st.lists(positions, min_size=1, max_size=64))
    damaged = data.draw(st.sets(st.sampled_from(range(len(order))), max_size=3))
    train = joined([datagrams[position] for position in order])
    for place in damaged:
        train.datagrams()[place][data.draw(st.integers(16, train.size - 1))] ^= 1
    _, theirs = extended_pair(is_aes=is_aes)
    drops = Drops()
    opened = open_train(theirs, train, Nonces(), drops.count)

    expected: list[int] = []
    for place, position in enumerate(order):
        if place not in damaged and position not in expected:
            expected.append(position)
    found = [bytes(datagram[16:-16]) for part in opened for datagram in part.datagrams()]
    assert found == [packets[position] for position in expected]
    refused = drops[DropReason.TAG_FAILED] + drops[DropReason.REPLAYED]
    assert refused == len(order) - len(expected)


@given(packets=equal_packets(), flags=st.integers(0, 255))
def test_flags_that_were_not_offered_are_not_opened(packets: list[bytes], flags: int) -> None:
    ours, theirs = extended_pair()
    assert theirs.extension is not None
    train = sealed_train(ours, packets, flags & ~AES)
    drops = Drops()
    opened = open_train(theirs, train, Nonces(), drops.count)
    if theirs.extension.accepts(flags | AES):
        assert opened == [train]
    else:
        assert opened == []
        assert drops.nonzero() == {"unexpected_extended": train.count}


@given(
    kinds=st.lists(
        st.tuples(st.sampled_from([0, PARTIAL, SLICE, SLICE | LAST]), st.booleans()), min_size=1, max_size=30
    ),
    indices=st.lists(st.sampled_from([2, 2, 2, 3]), min_size=30, max_size=30),
)
def test_a_train_of_several_kinds_is_parted_where_they_change(
    kinds: list[tuple[int, bool]], indices: list[int]
) -> None:
    """Message 4 and 5, packets and slices, for one receiver and another, as the kernel may join them."""
    datagrams = []
    for (flags, is_plain), index in zip(kinds, indices, strict=False):
        start = bytes([4, 0, 0, 0]) if is_plain else bytes([5, flags, 0, 0])
        datagrams.append(start + index.to_bytes(4, "little") + bytes(40))
    parts = split_by_kind(joined(datagrams))
    assert [bytes(datagram) for part in parts for datagram in part.datagrams()] == datagrams
    assert all(has_one_receiver(part) for part in parts)
    for first, second in pairwise(parts):
        both = joined([bytes(datagram) for part in (first, second) for datagram in part.datagrams()])
        assert not has_one_receiver(both)


@pytest.mark.parametrize("byte", [0, 2, 3, 4, 7])
@pytest.mark.parametrize("position", [0, 1, 4])
def test_datagrams_that_differ_in_more_than_last_are_no_train(byte: int, position: int) -> None:
    ours, _ = extended_pair()
    train = sealed_train(ours, [b"slice"] * 5, SLICE, 1000)
    assert has_one_receiver(train)
    train.datagrams()[position][byte] ^= 0x20
    assert not has_one_receiver(train)


@pytest.mark.parametrize(
    ("flag", "is_alike"), [(LAST, True), (PARTIAL, False), (AES, False), (SLICE, False), (16, False)]
)
@pytest.mark.parametrize("position", [0, 2, 4])
def test_only_the_last_slice_may_be_marked_within_a_train(flag: int, is_alike: bool, position: int) -> None:
    ours, _ = extended_pair()
    train = sealed_train(ours, [b"slice"] * 5, SLICE, 1000)
    train.datagrams()[position][1] ^= flag
    assert has_one_receiver(train) is is_alike

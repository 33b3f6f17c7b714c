"""Message 4: padding, counters, and that everything happens in place."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tunnel.keys import PublicKey
from tunnel.noise.handshake import TransportKeys
from tunnel.protocol.host import Host
from tunnel.protocol.keypair import Keypair
from tunnel.protocol.peer import Peer
from tunnel.protocol.transport import MAX_PACKET, SLOT_OVERHEAD, open_in_place, seal
from tunnel.wire.messages import padded_length

MTU = 1420
SENDING = b"s" * 32
RECEIVING = b"r" * 32
PEER = Peer(PublicKey(b"p" * 32), Host(bytes, bytes))


def create_keypairs() -> tuple[Keypair, Keypair]:
    """Both ends of one session."""
    ours, theirs = TransportKeys(SENDING, RECEIVING), TransportKeys(RECEIVING, SENDING)
    return (
        Keypair(PEER, ours, local_index=0x11111111, remote_index=0x22222222, is_initiator=True, now=0),
        Keypair(PEER, theirs, local_index=0x22222222, remote_index=0x11111111, is_initiator=False, now=0),
    )


def slot_with(packet: bytes, *, room: int = SLOT_OVERHEAD) -> memoryview:
    slot = memoryview(bytearray(b"\xee" * (len(packet) + room)))
    slot[16 : 16 + len(packet)] = packet
    return slot


def sealed(keypair: Keypair, packet: bytes, mtu: int = MTU) -> memoryview:
    (datagram,) = seal(keypair, [slot_with(packet)], [len(packet)], mtu)
    return datagram


def opened(keypair: Keypair, counter: int, datagram: memoryview) -> bytes | None:
    return bytes(datagram[16:-16]) if open_in_place(keypair, counter, datagram) else None


@pytest.mark.parametrize(
    ("length", "padded"),
    [(0, 0), (1, 16), (15, 16), (16, 16), (17, 32), (1408, 1408), (1409, 1420), (1419, 1420), (1420, 1420)],
)
def test_padding_goes_to_sixteen_but_not_past_the_mtu(length: int, padded: int) -> None:
    assert padded_length(length, MTU) == padded


def test_a_packet_longer_than_the_mtu_is_not_cut() -> None:
    assert padded_length(1500, MTU) == 1500


def test_a_datagram_is_laid_out_as_in_the_paper() -> None:
    keypair, _ = create_keypairs()
    keypair.send_counter = 0x0807060504030201
    datagram = bytes(sealed(keypair, b"hello"))
    assert datagram[:4] == b"\x04\0\0\0"
    assert datagram[4:8] == b"\x22\x22\x22\x22"
    assert datagram[8:16] == b"\x01\x02\x03\x04\x05\x06\x07\x08"
    nonce = bytes(4) + b"\x01\x02\x03\x04\x05\x06\x07\x08"
    assert ChaCha20Poly1305(SENDING).decrypt(nonce, datagram[16:], None) == b"hello" + bytes(11)


def test_a_keepalive_is_thirty_two_bytes() -> None:
    assert len(sealed(create_keypairs()[0], b"")) == 32


def test_padding_is_zero_whatever_was_in_the_slot() -> None:
    ours, theirs = create_keypairs()
    assert opened(theirs, 0, sealed(ours, b"x")) == b"x" + bytes(15)


def test_a_datagram_is_a_view_of_its_slot() -> None:
    keypair, _ = create_keypairs()
    slot = slot_with(b"packet")
    (datagram,) = seal(keypair, [slot], [6], MTU)
    assert datagram.obj is slot.obj
    assert slot[: len(datagram)] == datagram


def test_nothing_after_the_datagram_is_touched() -> None:
    keypair, _ = create_keypairs()
    slot = slot_with(bytes(20), room=100)
    (datagram,) = seal(keypair, [slot], [20], MTU)
    assert len(datagram) == 16 + 32 + 16
    assert set(slot[len(datagram) :]) == {0xEE}


def test_a_slot_of_the_promised_size_is_enough_for_every_length() -> None:
    ours, theirs = create_keypairs()
    for counter, length in enumerate(range(70)):
        packet = bytes(range(length))
        assert opened(theirs, counter, sealed(ours, packet)) == packet.ljust(padded_length(length, MTU), b"\0")


def test_a_packet_is_opened_where_it_lies() -> None:
    ours, theirs = create_keypairs()
    datagram = sealed(ours, b"0123456789abcdef")
    assert open_in_place(theirs, 0, datagram)
    assert bytes(datagram[16:32]) == b"0123456789abcdef"


def test_counters_are_consecutive_within_a_batch_and_across_batches() -> None:
    keypair, _ = create_keypairs()
    batches = [seal(keypair, [slot_with(b"x") for _ in range(3)], [1, 1, 1], MTU) for _ in range(2)]
    counters = [int.from_bytes(datagram[8:16], "little") for batch in batches for datagram in batch]
    assert counters == [0, 1, 2, 3, 4, 5]
    assert keypair.send_counter == 6


def test_slots_beyond_the_lengths_are_left_alone() -> None:
    keypair, _ = create_keypairs()
    spare = slot_with(b"untouched")
    assert len(seal(keypair, [slot_with(b"x"), spare], [1], MTU)) == 1
    assert (bytes(spare[16:25]), keypair.send_counter) == (b"untouched", 1)


@pytest.mark.parametrize("position", [16, 31, 32, 47])
def test_a_changed_byte_does_not_authenticate(position: int) -> None:
    ours, theirs = create_keypairs()
    datagram = sealed(ours, b"0123456789abcdef")
    datagram[position] ^= 1
    assert not open_in_place(theirs, 0, datagram)


def test_another_counter_does_not_authenticate() -> None:
    ours, theirs = create_keypairs()
    assert not open_in_place(theirs, 1, sealed(ours, b"hello"))


def test_our_own_datagram_does_not_authenticate_to_us() -> None:
    ours, _ = create_keypairs()
    assert not open_in_place(ours, 0, sealed(ours, b"hello"))


def test_a_datagram_that_is_only_a_tag_is_empty_or_not_authentic() -> None:
    ours, theirs = create_keypairs()
    assert opened(theirs, 0, sealed(ours, b"")) == b""
    assert not open_in_place(theirs, 1, memoryview(bytearray(32)))


@pytest.mark.parametrize("mtu", [1280, 9000, 65535])
def test_the_longest_packet_fits_an_ipv4_datagram_whatever_the_mtu(mtu: int) -> None:
    ours, _ = create_keypairs()
    assert len(sealed(ours, bytes(MAX_PACKET), mtu)) == 65535 - 20 - 8
    assert len(sealed(ours, bytes(MAX_PACKET - 1), mtu)) <= 65535 - 20 - 8

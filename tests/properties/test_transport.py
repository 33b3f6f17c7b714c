"""open(seal(packets)) == packets, for any batch; and nothing else opens."""

from hypothesis import given
from hypothesis import strategies as st

from tunnel.keys import PublicKey
from tunnel.noise.handshake import TransportKeys
from tunnel.protocol.host import Host
from tunnel.protocol.keypair import Keypair
from tunnel.protocol.peer import Peer
from tunnel.protocol.transport import SLOT_OVERHEAD, open_in_place, seal
from tunnel.wire.messages import PADDING, TRANSPORT_HEADER, TRANSPORT_OVERHEAD, MessageType, padded_length

PEER = Peer(PublicKey(b"p" * 32), Host(bytes, bytes))
KEYS = TransportKeys(b"s" * 32, b"r" * 32)

packets = st.lists(st.binary(max_size=300), min_size=1, max_size=8)
mtus = st.integers(0, 400)
counters = st.integers(0, 2**63)


def create_keypairs(counter: int) -> tuple[Keypair, Keypair]:
    ours = Keypair(PEER, KEYS, local_index=1, remote_index=2, is_initiator=True, now=0)
    theirs = Keypair(
        PEER, TransportKeys(KEYS.receive, KEYS.send), local_index=2, remote_index=1, is_initiator=False, now=0
    )
    ours.send_counter = counter
    return ours, theirs


def slots_with(batch: list[bytes]) -> list[memoryview]:
    return [memoryview(bytearray(b"\xee" * 16 + packet + b"\xee" * (SLOT_OVERHEAD - 16))) for packet in batch]


@given(packets, mtus, counters)
def test_what_was_sealed_opens_to_the_packets_and_zeros(batch: list[bytes], mtu: int, counter: int) -> None:
    ours, theirs = create_keypairs(counter)
    datagrams = seal(ours, slots_with(batch), [len(packet) for packet in batch], mtu)
    for expected, (packet, datagram) in enumerate(zip(batch, datagrams, strict=True), counter):
        kind, receiver, sent_counter = TRANSPORT_HEADER.unpack_from(datagram)
        assert (kind, receiver, sent_counter) == (MessageType.TRANSPORT_DATA, 2, expected)
        assert len(datagram) == TRANSPORT_OVERHEAD + padded_length(len(packet), mtu)
        assert open_in_place(theirs, sent_counter, datagram)
        assert bytes(datagram[16:-16]) == packet.ljust(padded_length(len(packet), mtu), b"\0")


@given(st.binary(max_size=100), st.data())
def test_no_changed_datagram_opens(packet: bytes, data: st.DataObject) -> None:
    ours, theirs = create_keypairs(0)
    (datagram,) = seal(ours, slots_with([packet]), [len(packet)], 1420)
    bit = data.draw(st.integers(16 * 8, len(datagram) * 8 - 1))
    datagram[bit // 8] ^= 1 << bit % 8
    assert not open_in_place(theirs, 0, datagram)


@given(st.integers(0, 70000), st.integers(0, 70000))
def test_padding_never_shortens_is_less_than_sixteen_and_stops_at_the_mtu(length: int, mtu: int) -> None:
    padded = padded_length(length, mtu)
    assert 0 <= padded - length < PADDING
    assert padded % PADDING == 0 or padded == max(length, mtu)
    assert padded <= max(length, mtu)

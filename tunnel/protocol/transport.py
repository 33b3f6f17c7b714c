"""Sealing and opening single packets in place: message 4 (WireGuard paper, section 5.4.6), and message 5 between us.

The buffers are the caller's, and each has the room that the message needs around the packet:

    slot      | 16 header | packet ... | padding | 16 tag |  room        the datagram is slot[: 32 + padded]
    datagram  | 16 header | sealed packet and padding | 16 tag |         the packet is datagram[16 : 16 + its length]

The nonce is four zero bytes and the counter, little endian. Of message 4 nothing is authenticated but the packet; of
message 5 (see `tunnel.protocol.extension`) the header is, too, and there is no padding.
"""

import struct
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag

from tunnel.protocol.keypair import Keypair
from tunnel.wire.messages import (
    PADDING,
    TAG_SIZE,
    TRANSPORT_HEADER,
    TRANSPORT_HEADER_SIZE,
    TRANSPORT_OVERHEAD,
    MessageType,
    padded_length,
)

SLOT_OVERHEAD = TRANSPORT_OVERHEAD + PADDING - 1
"""How much longer than the longest packet a slot must be."""

MAX_PACKET = 65535 - 20 - 8 - TRANSPORT_OVERHEAD
"""The longest packet, with its padding, that fits an IPv4 UDP datagram."""

_NONCE = struct.Struct("<4xQ")
_ZEROS = bytes(PADDING)
_EXTENDED = int(MessageType.EXTENDED_DATA)


def seal(keypair: Keypair, slots: Sequence[memoryview], lengths: Sequence[int], mtu: int) -> list[memoryview]:
    """Seal ``slots[i][16:16 + lengths[i]]`` in place with consecutive counters; return the datagrams, in order.

    The caller has checked `Keypair.can_send`. The datagrams are views of the slots.
    """
    padding_limit = min(mtu, MAX_PACKET)
    counter = keypair.send_counter
    keypair.send_counter += len(lengths)
    encrypt_into = keypair.sealer.encrypt_into
    receiver = keypair.remote_index
    datagrams = []
    for slot, length in zip(slots, lengths, strict=False):
        padded_end = TRANSPORT_HEADER_SIZE + padded_length(length, padding_limit)
        packet_end = TRANSPORT_HEADER_SIZE + length
        TRANSPORT_HEADER.pack_into(slot, 0, MessageType.TRANSPORT_DATA, receiver, counter)
        slot[packet_end:padded_end] = _ZEROS[: padded_end - packet_end]
        datagram = slot[: padded_end + TAG_SIZE]
        encrypt_into(
            _NONCE.pack(counter), slot[TRANSPORT_HEADER_SIZE:padded_end], None, datagram[TRANSPORT_HEADER_SIZE:]
        )
        datagrams.append(datagram)
        counter += 1
    return datagrams


def seal_extended(
    keypair: Keypair, slots: Sequence[memoryview], lengths: Sequence[int], flags: Sequence[int]
) -> list[memoryview]:
    """The same as message 5, each with its own `ExtendedFlag`; the caller has seen that `Keypair.takes` allows it."""
    extension = keypair.extension
    assert extension is not None
    assert extension.sealer is not None
    counter = keypair.send_counter
    keypair.send_counter += len(lengths)
    encrypt_into = extension.sealer.encrypt_into
    receiver = keypair.remote_index
    datagrams = []
    for slot, length, flag in zip(slots, lengths, flags, strict=False):
        end = TRANSPORT_HEADER_SIZE + length
        TRANSPORT_HEADER.pack_into(slot, 0, _EXTENDED | (flag | extension.flags) << 8, receiver, counter)
        datagram = slot[: end + TAG_SIZE]
        packet, body = slot[TRANSPORT_HEADER_SIZE:end], datagram[TRANSPORT_HEADER_SIZE:]
        encrypt_into(_NONCE.pack(counter), packet, slot[:TRANSPORT_HEADER_SIZE], body)
        datagrams.append(datagram)
        counter += 1
    return datagrams


def open_in_place(keypair: Keypair, counter: int, datagram: memoryview) -> bool:
    """Open what `seal` or `seal_extended` made: the packet, with its padding, is then ``datagram[16:-16]``.

    False: not authentic. The caller has seen that the `Extension` accepts what is extended.
    """
    packet = datagram[TRANSPORT_HEADER_SIZE : len(datagram) - TAG_SIZE]
    decrypt_into, header = keypair.opener.decrypt_into, None
    if datagram[0] == _EXTENDED:
        assert keypair.extension is not None
        decrypt_into, header = keypair.extension.opener(datagram[1]).decrypt_into, datagram[:TRANSPORT_HEADER_SIZE]
    try:
        decrypt_into(_NONCE.pack(counter), datagram[TRANSPORT_HEADER_SIZE:], header, packet)
    except InvalidTag:
        return False
    return True

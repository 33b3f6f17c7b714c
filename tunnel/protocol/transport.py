"""Transport data, message 4: sealing and opening packets in place (WireGuard paper, section 5.4.6).

The buffers are the caller's, and each has the room that the message needs around the packet:

    slot      | 16 header | packet ... | padding | 16 tag |  room        the datagram is slot[: 32 + padded]
    datagram  | 16 header | sealed packet and padding | 16 tag |         the packet is datagram[16 : 16 + its length]

The nonce is four zero bytes and the counter, little endian. Nothing is authenticated but the packet.
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


def open_in_place(keypair: Keypair, counter: int, datagram: memoryview) -> bool:
    """Open what `seal` made: the packet with its padding is then ``datagram[16:-16]``. False: not authentic."""
    packet = datagram[TRANSPORT_HEADER_SIZE : len(datagram) - TAG_SIZE]
    try:
        keypair.opener.decrypt_into(_NONCE.pack(counter), datagram[TRANSPORT_HEADER_SIZE:], None, packet)
    except InvalidTag:
        return False
    return True

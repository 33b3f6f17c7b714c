"""Slices as docs/protocol.md tells it, one at a time, and the trains that they arrive in.

The reference that `tunnel.offload.slices` is compared with: nothing here is shared with it.
"""

import struct
from collections.abc import Sequence
from typing import NamedTuple

from tests.properties.superpackets import CWR, FIN, PSH, ROUTED_TO, TCP, Superpacket, word_sum
from tunnel.wire.train import Train

EXTENDED_DATA = 5
SLICE, LAST, PARTIAL = 1, 2, 4


class Slice(NamedTuple):
    content: bytes
    is_last: bool


def slices_of(superpacket: Superpacket) -> list[Slice]:
    """Its headers before every piece of payload: where the IP length was the offset, the checksum for no length."""
    flow, payload, segment = superpacket.flow, superpacket.payload, superpacket.segment
    headers = bytearray(flow.packet(payload, is_partial=True)[: flow.header])
    source, destination = flow.addresses
    if flow.version == 6 and 43 in flow.extensions:
        destination = ROUTED_TO
    place = flow.transport + (16 if flow.protocol == TCP else 6)
    headers[place : place + 2] = word_sum(source + destination + bytes([0, flow.protocol])).to_bytes(2, "big")
    length_place = 2 if flow.version == 4 else 4
    slices = []
    for start in range(0, len(payload), segment):
        headers[length_place : length_place + 2] = start.to_bytes(2, "big")
        slices.append(Slice(bytes(headers) + payload[start : start + segment], start + segment >= len(payload)))
    return slices


def lay_out_slices(slices: Sequence[Slice], segment: int) -> Train:
    """One opened train; all are equally long, but the last may be shorter."""
    datagrams = []
    for counter, (content, is_last) in enumerate(slices):
        flags = SLICE | (LAST if is_last else 0)
        datagrams.append(struct.pack("<BBHIQ", EXTENDED_DATA, flags, segment, 7, counter) + content + b"\xa7" * 16)
    buffer = memoryview(bytearray(b"".join(datagrams)))
    return Train(buffer, len(datagrams), len(datagrams[0]), len(datagrams[-1]))


def trains_of_slices(slices: Sequence[Slice], segment: int, most: int = 64) -> list[Train]:
    """Neighbours that are equally long in one train, as UDP_GRO gives them; a shorter one ends it."""
    trains = []
    pending: list[Slice] = []
    for each in slices:
        if pending and not (
            len(pending) < most and len(each.content) <= len(pending[-1].content) == len(pending[0][0])
        ):
            trains.append(lay_out_slices(pending, segment))
            pending = []
        pending.append(each)
    return [*trains, lay_out_slices(pending, segment)] if pending else trains


def mark(train: Train, flags: int) -> Train:
    """Let it be a train of message 5."""
    for datagram in train.datagrams():
        datagram[:2] = bytes([EXTENDED_DATA, flags])
    return train


def partial_frame(superpacket: Superpacket) -> bytes:
    """The frame of the superpacket, as a single packet whose checksum is left to be completed."""
    flow = superpacket.flow
    virtio = struct.pack("<BBHHHH", 1, 0, 0, 0, flow.transport, 16 if flow.protocol == TCP else 6)
    return virtio + flow.packet(superpacket.payload, is_partial=True)


def cut(frame: bytes) -> list[bytes]:
    """The packets that a network card makes of a frame whose checksum is left to it."""
    _, _, _, gso_size, transport, offset = struct.unpack_from("<BBHHHH", frame)
    packet = frame[10:]
    header = transport + ((packet[transport + 12] >> 4) * 4 if offset == 16 else 8)
    (partial,) = struct.unpack_from(">H", packet, transport + offset)
    packets = []
    for start in range(header, max(len(packet), header + 1), gso_size or 65536):
        piece = bytearray(packet[:header] + packet[start : start + (gso_size or 65536)])
        number, is_end = (start - header) // (gso_size or 65536), start + (gso_size or 65536) >= len(packet)
        if piece[0] >> 4 == 4:
            identification = (int.from_bytes(piece[4:6], "big") + number) % 65536
            piece[2:6] = struct.pack(">HH", len(piece), identification)
            piece[10:12] = bytes(2)
            piece[10:12] = (0xFFFF - word_sum(bytes(piece[:transport]))).to_bytes(2, "big")
        else:
            piece[4:6] = (len(piece) - 40).to_bytes(2, "big")
        if offset == 16:
            sequence = int.from_bytes(piece[transport + 4 : transport + 8], "big") + start - header
            piece[transport + 4 : transport + 8] = (sequence % 2**32).to_bytes(4, "big")
            piece[transport + 13] &= ~(CWR if number else 0) & ~(0 if is_end else FIN | PSH)
        else:
            piece[transport + 4 : transport + 6] = (len(piece) - transport).to_bytes(2, "big")
        pseudo = (partial - (len(packet) - len(piece))) % 65535
        piece[transport + offset : transport + offset + 2] = pseudo.to_bytes(2, "big")
        checksum = 0xFFFF - word_sum(bytes(piece[transport:])) or 0xFFFF
        piece[transport + offset : transport + offset + 2] = checksum.to_bytes(2, "big")
        packets.append(bytes(piece))
    return packets

"""TCP and UDP packets built field by field, and segmentation as the RFCs tell it, one packet at a time.

The reference that the vector code of `tunnel.offload` is compared with: nothing here is shared with it.
"""

import struct
from dataclasses import dataclass, replace

from hypothesis import strategies as st

TCP, UDP = 6, 17
FIN, PSH, ACK, ECE, CWR = 1, 8, 16, 64, 128
ROUTED_TO = bytes.fromhex("fd00" + "00" * 13 + "99")
"""Where packets with a routing header go in the end."""


def word_sum(data: bytes) -> int:
    """RFC 1071, word by word with end-around carry."""
    if len(data) % 2:
        data += b"\0"
    total = 0
    for (word,) in struct.iter_unpack(">H", data):
        total += word
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass(frozen=True)
class Flow:
    """The headers of a packet, but for what depends on its payload."""

    version: int = 4
    protocol: int = TCP
    flags: int = ACK
    sequence: int = 1000
    identification: int = 1
    options: bytes = b""
    extensions: tuple[int, ...] = ()
    ip_options: bytes = b""
    traffic_class: int = 0
    ttl: int = 64
    fragment_field: int = 0x4000
    ports: tuple[int, int] = (443, 50000)
    acknowledgement: int = 77
    window: int = 500

    @property
    def transport(self) -> int:
        """Where the TCP or UDP header begins."""
        return 20 + len(self.ip_options) if self.version == 4 else 40 + 8 * len(self.extensions)

    @property
    def transport_size(self) -> int:
        return 20 + len(self.options) if self.protocol == TCP else 8

    @property
    def header(self) -> int:
        """Size of all headers."""
        return self.transport + self.transport_size

    @property
    def addresses(self) -> tuple[bytes, bytes]:
        if self.version == 4:
            return bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
        return bytes.fromhex("fd" + "00" * 14 + "01"), bytes.fromhex("fd" + "00" * 14 + "02")

    def packet(self, payload: bytes, *, is_partial: bool = False) -> bytes:
        """The whole packet. Partial: the checksum field has the sum of the pseudo-header only, as NEEDS_CSUM wants."""
        length = self.transport_size + len(payload)
        source, destination = self.addresses
        if self.version == 6 and 43 in self.extensions:
            destination = ROUTED_TO
        pseudo = word_sum(source + destination + struct.pack(">II", length, self.protocol))
        header = self._transport_header(length)
        total = word_sum(struct.pack(">H", pseudo) + header + payload)
        checksum = pseudo if is_partial else (0xFFFF - total or 0xFFFF)
        place = 16 if self.protocol == TCP else 6
        header = header[:place] + struct.pack(">H", checksum) + header[place + 2 :]
        return self._ip_header(length) + header + payload

    def _transport_header(self, length: int) -> bytes:
        if self.protocol == UDP:
            return struct.pack(">HHHH", *self.ports, length, 0)
        offset = (20 + len(self.options)) // 4 << 4
        fields = (self.sequence % 2**32, self.acknowledgement, offset, self.flags, self.window, 0, 0)
        return struct.pack(">HHIIBBHHH", *self.ports, *fields) + self.options

    def _ip_header(self, length: int) -> bytes:
        source, destination = self.addresses
        if self.version == 6:
            kinds = (*self.extensions, self.protocol)
            first = struct.pack(">IHBB", 6 << 28 | self.traffic_class << 20, self.transport - 40 + length, kinds[0], 64)
            extensions = b"".join(bytes([following, 0, 1, 4, 0, 0, 0, 0]) for following in kinds[1:])
            return first + source + destination + extensions
        version = 0x40 | (20 + len(self.ip_options)) // 4
        fields = (version, self.traffic_class, self.transport + length, self.identification % 65536)
        rest = (self.fragment_field, self.ttl, self.protocol)
        header = struct.pack(">BBHHHBBH", *fields, *rest, 0) + source + destination + self.ip_options
        return header[:10] + struct.pack(">H", 0xFFFF - word_sum(header)) + header[12:]


@dataclass(frozen=True)
class Superpacket:
    flow: Flow
    payload: bytes
    segment: int

    def frame(self) -> bytes:
        """With the virtio header that the kernel gives it."""
        flow = self.flow
        kind = 5 if flow.protocol == UDP else (1 if flow.version == 4 else 4)
        if flow.protocol == TCP and flow.flags & CWR:
            kind |= 0x80
        place = 16 if flow.protocol == TCP else 6
        virtio = struct.pack("<BBHHHH", 1, kind, flow.header, self.segment, flow.transport, place)
        return virtio + flow.packet(self.payload, is_partial=True)

    def packets(self, *, is_partial: bool = False) -> list[bytes]:
        """What a network card would send. Partial: if it left the checksums of TCP and UDP to others."""
        starts = range(0, max(len(self.payload), 1), self.segment)
        packets = []
        for number, start in enumerate(starts):
            flags = self.flow.flags
            if number:
                flags &= ~CWR
            if number < len(starts) - 1:
                flags &= ~(FIN | PSH)
            identification = self.flow.identification + number
            flow = replace(self.flow, sequence=self.flow.sequence + start, flags=flags, identification=identification)
            packets.append(flow.packet(self.payload[start : start + self.segment], is_partial=is_partial))
        return packets


TIMESTAMPS = bytes.fromhex("0101080a") + b"\1\2\3\4\5\6\7\x08"


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    version = draw(st.sampled_from([4, 6]))
    return Flow(
        version=version,
        protocol=draw(st.sampled_from([TCP, UDP])),
        flags=ACK | draw(st.sampled_from([0, PSH, FIN, FIN | PSH, CWR, CWR | PSH, ECE])),
        sequence=draw(st.sampled_from([0, 2**32 - 1, 2**32 - 3000]) | st.integers(0, 2**32 - 1)),
        identification=draw(st.sampled_from([0, 65535, 65530]) | st.integers(0, 65535)),
        options=draw(st.sampled_from([b"", TIMESTAMPS, TIMESTAMPS + TIMESTAMPS])),
        traffic_class=draw(st.integers(0, 255)),
        ttl=draw(st.integers(1, 255)),
        fragment_field=draw(st.sampled_from([0, 0x4000])),
        ports=draw(st.tuples(st.integers(0, 65535), st.integers(0, 65535))),
        acknowledgement=draw(st.integers(0, 2**32 - 1)),
        window=draw(st.integers(0, 65535)),
    )


@st.composite
def superpackets(draw: st.DrawFn, max_count: int = 70) -> Superpacket:
    """Of all sizes, odd ones and short tails among them; payloads that make carries are as likely as others."""
    flow = draw(flows())
    if draw(st.booleans()):
        extensions = draw(st.lists(st.sampled_from([0, 43, 60]), max_size=3).map(tuple))
        ip_options = draw(st.sampled_from([b"", b"\1\1\1\0", b"\1" * 40]))
        flow = replace(flow, extensions=extensions, ip_options=ip_options)
    segment = draw(st.integers(1, 40) | st.integers(500, 1500) | st.sampled_from([1368, 1400, 8948]))
    most = min(65535 - flow.header, segment * max_count)
    size = draw(st.integers(0, most) | st.integers(0, most // segment).map(lambda count: count * segment))
    filling = draw(
        st.sampled_from([b"\0", b"\xff", b"\xff\xfe", bytes(range(256))]) | st.binary(min_size=1, max_size=50)
    )
    payload = (filling * (size // len(filling) + 1))[:size]
    if draw(st.integers(0, 3)) == 0:  # let the IPv4 checksum wrap around
        (checksum,) = struct.unpack(">H", replace(flow, identification=0).packet(payload[:segment])[10:12])
        flow = replace(flow, identification=max(checksum - draw(st.integers(0, 5)), 0))
    return Superpacket(flow, payload, segment)

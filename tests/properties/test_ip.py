"""The scalar reading of an IP header against one that takes it apart bit by bit."""

from hypothesis import given
from hypothesis import strategies as st

from tunnel.wire import ip


def bits(packet: bytes, first: int, size: int) -> int:
    """The `size` bits from bit `first` on, as the RFCs draw them."""
    return int("".join(f"{byte:08b}" for byte in packet)[first : first + size], 2)


def reference(packet: bytes) -> tuple[int, bytes, bytes] | None:
    """(total length, source, destination); None if malformed."""
    if len(packet) >= 20 and bits(packet, 0, 4) == 4:
        header, total = bits(packet, 4, 4) * 4, bits(packet, 16, 16)
        is_whole = header >= 20 and total >= header and total <= len(packet)
        return (total, packet[12:16], packet[16:20]) if is_whole else None
    if len(packet) >= 40 and bits(packet, 0, 4) == 6:
        total = 40 + bits(packet, 32, 16)
        return (total, packet[8:24], packet[24:40]) if total <= len(packet) else None
    return None


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    """Garbage whose version, IHL and lengths are often about right."""
    packet = bytearray(draw(st.binary(max_size=120)))
    if len(packet) >= 6:
        packet[0] = draw(st.sampled_from([4, 6]) | st.integers(0, 15)) << 4 | draw(
            st.integers(4, 6) | st.integers(0, 15)
        )
        length = max(len(packet) + draw(st.integers(-2, 2)), 0)
        packet[2:4] = draw(st.sampled_from([length, 19, 20, 24])).to_bytes(2, "big")
        packet[4:6] = max(length - 40, 0).to_bytes(2, "big")
    return bytes(packet)


@given(packet=packets() | st.binary(max_size=80))
def test_a_packet_is_read_as_the_reference_reads_it(packet: bytes) -> None:
    expected = reference(packet)
    if expected is None:
        assert ip.total_length(packet) is None
    else:
        assert (ip.total_length(packet), ip.source(packet), ip.destination(packet)) == expected
        assert ip.version(packet) in (4, 6)


@given(packet=packets())
def test_addresses_of_anything_have_one_of_three_sizes(packet: bytes) -> None:
    view = memoryview(bytearray(packet))
    assert len(ip.source(view)) == len(ip.destination(view))
    assert len(ip.source(view)) in (0, 4, 16)

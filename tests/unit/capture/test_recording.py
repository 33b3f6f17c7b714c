import io
import socket
from collections import deque
from collections.abc import Callable, Iterator

import pytest

from tests.pcapng import parse_blocks
from tests.unit.capture.frames import OUTGOING, captured, ipv4_udp
from tunnel.capture.output import CaptureFile, CaptureLines, Side
from tunnel.capture.packet_socket import ARPHRD_LOOPBACK, CapturedFrame
from tunnel.capture.recording import Limits, Recording
from tunnel.wire.pcapng import Interface, LinkType, Packet, Secrets, Section

FIRST, SECOND, THIRD = (ipv4_udp(name) for name in (b"first", b"second", b"third"))


class FakeSocket:
    """Has the frames that it was given, and is always readable, so that nobody waits."""

    def __init__(self, *frames: CapturedFrame, lost: int = 0) -> None:
        self._frames = deque(frames)
        self._lost = lost
        self._end, self._other = socket.socketpair()
        self._other.send(b"\0")

    def fileno(self) -> int:
        return self._end.fileno()

    def receive(self) -> CapturedFrame | None:
        return self._frames.popleft() if self._frames else None

    def count_lost(self) -> int:
        return self._lost


class Notes:
    """Satisfies `Output`: what was written, in order."""

    def __init__(self) -> None:
        self.written: list[tuple[Side, bytes] | bytes] = []

    def write(self, side: Side, frame: CapturedFrame, packet: bytes) -> None:
        self.written.append((side, packet))

    def write_keys(self, lines: bytes) -> None:
        self.written.append(lines)

    def flush(self) -> None:
        pass


@pytest.fixture
def stream() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Where keys come from, and where they are told."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def always() -> bool:
    return True


def turns(number: int) -> Callable[[], bool]:
    """The interface is there when it is asked for so many times, and then gone."""
    answers = iter([True] * number + [False])
    return lambda: next(answers)


def test_packets_of_both_sides_are_written_in_the_order_of_time() -> None:
    inner = FakeSocket(captured(FIRST, nanoseconds=1), captured(THIRD, nanoseconds=3))
    outer = FakeSocket(captured(SECOND, nanoseconds=2))
    notes = Notes()
    recording = Recording({Side.OUTER: outer, Side.INNER: inner}, notes, Limits(packets=3), always)
    recording.run()
    assert notes.written == [(Side.INNER, FIRST), (Side.OUTER, SECOND), (Side.INNER, THIRD)]


def test_packets_wait_for_older_ones_that_were_not_yet_read() -> None:
    many = [captured(FIRST, nanoseconds=number) for number in range(2000)]
    notes = Notes()
    sockets = {Side.INNER: FakeSocket(*many), Side.OUTER: FakeSocket(captured(SECOND, nanoseconds=1500))}
    Recording(sockets, notes, Limits(packets=2001), always, hold=0).run()
    assert notes.written.index((Side.OUTER, SECOND)) == 1500


def test_it_ends_after_so_many_packets_even_within_a_train() -> None:
    outer = FakeSocket(captured(ipv4_udp(b"a" * 50), segment_size=10))
    notes = Notes()
    recording = Recording({Side.OUTER: outer}, notes, Limits(packets=3), always)
    recording.run()
    assert len(notes.written) == recording.count == 3


def test_inside_a_superpacket_stays_whole() -> None:
    notes = Notes()
    inner = FakeSocket(captured(ipv4_udp(b"a" * 50), segment_size=10))
    Recording({Side.INNER: inner}, notes, Limits(packets=1), always).run()
    assert notes.written == [(Side.INNER, ipv4_udp(b"a" * 50))]


def test_keys_are_written_before_packets_that_came_with_them(stream: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = stream
    theirs.send(b"A=1\nB=2\n\nC=3\n\nHALF=")
    notes = Notes()
    Recording({Side.OUTER: FakeSocket(captured(FIRST))}, notes, Limits(packets=1), always, ours).run()
    assert notes.written == [b"A=1\nB=2\nC=3\n", (Side.OUTER, FIRST)]


def test_keys_that_come_a_moment_later_are_written_first_too(stream: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = stream
    go_on = turns(2)

    def is_there() -> bool:
        if recording.count:  # the packet has been read
            theirs.send(b"A=1\n\n")
        return go_on()

    notes = Notes()
    recording = Recording({Side.OUTER: FakeSocket(captured(FIRST))}, notes, Limits(), is_there, ours)
    recording.run()
    assert notes.written[-1] == (Side.OUTER, FIRST)
    assert notes.written[0] == b"A=1\n"


def test_the_end_of_the_keys_does_not_end_the_capture(stream: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = stream
    theirs.close()
    notes = Notes()
    recording = Recording({Side.OUTER: FakeSocket(captured(FIRST))}, notes, Limits(packets=1), always, ours)
    recording.run()
    assert notes.written == [(Side.OUTER, FIRST)]
    assert recording.has_lost_keys


def test_what_goes_over_the_loopback_interface_is_written_once() -> None:
    frames = (captured(FIRST, hardware=ARPHRD_LOOPBACK, kind=kind) for kind in (OUTGOING, 0))
    notes = Notes()
    Recording({Side.OUTER: FakeSocket(*frames)}, notes, Limits(), turns(1)).run()
    assert notes.written == [(Side.OUTER, FIRST)]


def test_what_was_captured_is_written_when_the_interface_is_gone() -> None:
    notes = Notes()
    Recording({Side.INNER: FakeSocket(captured(FIRST))}, notes, Limits(), turns(1)).run()
    assert notes.written == [(Side.INNER, FIRST)]


def test_lost_packets_of_all_sockets_are_added_up() -> None:
    sockets = {Side.INNER: FakeSocket(lost=2), Side.OUTER: FakeSocket(lost=3)}
    assert Recording(sockets, Notes(), Limits(), always).count_lost() == 5


# ---- what is written --------------------------------------------------------------------------------------------


def test_a_file_has_an_interface_for_each_side_and_a_cooked_header_outside() -> None:
    file = io.BytesIO()
    output = CaptureFile(file, "wg0", [Side.INNER, Side.OUTER], "tunnel 1")
    output.write(Side.INNER, captured(FIRST), FIRST)
    output.write_keys(b"A=1\n")
    output.write(Side.OUTER, captured(SECOND), SECOND)
    section, inside, outside, first, keys, second = parse_blocks(file.getvalue())
    assert section == Section("tunnel 1")
    assert inside == Interface(LinkType.RAW, "wg0", "inner packets")
    assert outside == Interface(LinkType.LINUX_SLL2, "any", "outer datagrams of wg0")
    assert isinstance(keys, Secrets)
    assert isinstance(first, Packet)
    assert isinstance(second, Packet)
    assert (first.interface, first.data) == (0, FIRST)
    assert (second.interface, second.data[20:]) == (1, SECOND)


def test_lines_have_the_time_to_the_microsecond_and_no_keys() -> None:
    file = io.StringIO()
    output = CaptureLines(file)
    output.write_keys(b"A=1\n")
    output.write(Side.OUTER, captured(FIRST, nanoseconds=1_000_002_500, kind=OUTGOING), FIRST)
    assert (
        file.getvalue()[6:] == "01.000002 outer out eth0 10.0.0.1:51820 > 10.0.0.2:51821 unknown message 102, 5 bytes\n"
    )

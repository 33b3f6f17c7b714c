"""``tunnel capture`` on both ends of a tunnel, from before its first handshake; tshark reads what it wrote."""

import os
import shutil
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.hosts import BIN, CABLE, PORT, Host, Meeting, open_host, open_pair
from tests.pcapng import parse_blocks
from tunnel.capture.datagrams import split_datagrams
from tunnel.capture.output import Side
from tunnel.capture.packet_socket import PacketSocket
from tunnel.capture.port_filter import udp_port_filter
from tunnel.cli.ending import CONFIG
from tunnel.keys import PresharedKey
from tunnel.testing.namespaces import Namespace, Port, connect
from tunnel.wire.pcapng import Direction, Packet, Secrets

pytestmark = pytest.mark.root

UDP_SEGMENT = 103
ECHO_REQUEST, ECHO_REPLY = 8, 0
NUMBERS = {Side.INNER: 0, Side.OUTER: 1}


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was captured of a handshake and one ping from left to right."""

    left: Host
    right: Host
    opened: Path
    """By the left host, with keys."""
    answered: Path
    """By the right host, with keys."""
    lines: list[str]
    """By the left host, for the terminal."""

    def log(self, host: Host) -> str:
        """What the command said on stderr."""
        return _log_of(host).read_text()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    directory = tmp_path_factory.mktemp("capture")
    meeting = Meeting(preshared_key=PresharedKey(b"k" * 32))
    # Wireshark does not know message 5.
    with open_pair(directory, meeting=meeting, settings=("Extensions = off",)) as (left, right):
        files = {host.label: directory / f"{host.label}.pcapng" for host in (left, right)}
        lines = directory / "lines"
        running = [
            begin(left, _log_of(left), "--keys", "-w", str(files["left"])),
            begin(right, _log_of(right), "--keys", "-w", str(files["right"])),
            begin(left, lines),
        ]
        left.namespace.run("ping", "-c1", "-W5", right.inner_ipv4)
        for process in running:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0
        yield Recorded(left, right, files["left"], files["right"], lines.read_text().splitlines())


def _log_of(host: Host) -> Path:
    return host.directory / f"{host.label}-capture.log"


def begin(host: Host, log: Path, *arguments: str) -> subprocess.Popen[str]:
    """``tunnel capture``, which sees packets from when this returns."""
    process = host.namespace.popen(str(BIN / "tunnel"), "capture", host.interface, *arguments, log=log)
    eventually(lambda: "Ctrl-C ends it" in log.read_text() or process.poll() is not None, "it captures", 10)
    assert process.poll() is None, log.read_text()
    return process


def dissect(path: Path) -> list[tuple[str, str, str]]:
    """(interface number, WireGuard message type, ICMP type) of each packet, as Wireshark sees it."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed (Debian package tshark)")
    fields = ("frame.interface_id", "wg.type", "icmp.type")
    command = ["tshark", "-r", str(path), "-T", "fields", "-E", "separator=,"]
    for name in fields:
        command += ["-e", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    rows = [line.split(",") for line in done.stdout.splitlines()]
    return [(row[0], row[1], row[2]) for row in rows]


# ---- files ------------------------------------------------------------------------------------------------------


def test_wireshark_sees_the_ping_inside_and_the_handshake_outside(recorded: Recorded) -> None:
    rows = dissect(recorded.opened)
    inner = [icmp for number, _, icmp in rows if number == "0"]
    outer = [kind for number, kind, _ in rows if number == "1"]
    assert inner == ["8", "0"]
    assert outer[:2] == ["1", "2"]
    assert outer.count("4") >= 2


@pytest.mark.parametrize("who", ["initiator", "responder"])
def test_with_keys_wireshark_opens_what_is_sealed(recorded: Recorded, who: str) -> None:
    rows = dissect(recorded.opened if who == "initiator" else recorded.answered)
    assert [icmp for number, kind, icmp in rows if number == "1" and kind == "4" and icmp] == ["8", "0"]


def test_each_side_of_the_tunnel_is_an_interface_and_packets_have_a_direction(recorded: Recorded) -> None:
    packets = [block for block in parse_blocks(recorded.opened.read_bytes()) if isinstance(block, Packet)]
    inner = [packet for packet in packets if packet.interface == NUMBERS[Side.INNER]]
    assert [packet.direction for packet in inner] == [Direction.OUTBOUND, Direction.INBOUND]
    assert [packet.nanoseconds for packet in packets] == sorted(packet.nanoseconds for packet in packets)


def test_keys_stand_before_the_handshake_that_they_open(recorded: Recorded) -> None:
    blocks = list(parse_blocks(recorded.answered.read_bytes()))
    secrets = [at for at, block in enumerate(blocks) if isinstance(block, Secrets)]
    outer = [at for at, block in enumerate(blocks) if isinstance(block, Packet) and block.interface == 1]
    assert len(secrets) == 2
    assert max(secrets) < outer[0]


def test_a_file_is_for_nobody_else(recorded: Recorded) -> None:
    assert stat.S_IMODE(recorded.opened.stat().st_mode) == 0o600


def test_a_file_stays_unless_it_is_forced(recorded: Recorded) -> None:
    left, before = recorded.left, recorded.opened.read_bytes()
    done = left.tunnel("capture", left.interface, "-w", str(recorded.opened), check=False)
    assert done.returncode == CONFIG
    assert done.stderr == f"tunnel: {recorded.opened}: exists already; --force overwrites a file\n"
    assert recorded.opened.read_bytes() == before
    other = recorded.opened.with_suffix(".other")
    other.write_bytes(before)
    other.chmod(0o644)
    left.tunnel("capture", left.interface, "-w", str(other), "--force", "--seconds", "0.01")
    assert other.read_bytes() != before
    assert stat.S_IMODE(other.stat().st_mode) == 0o600


def test_a_warning_says_what_is_in_the_file(recorded: Recorded) -> None:
    assert f"WARNING: the private key of {recorded.left.interface} goes into {recorded.opened}" in recorded.log(
        recorded.left
    )


def test_the_log_of_the_interface_says_that_keys_are_told_and_holds_none(recorded: Recorded) -> None:
    log = recorded.left.log_file.read_text()
    assert f"SECRETS of {recorded.left.interface} are being recorded" in log
    assert "a recording has ended, 0 go on" in eventually(
        lambda: text if "has ended" in (text := recorded.left.log_file.read_text()) else "", "the end is in the log"
    )
    told = [block.data for block in parse_blocks(recorded.opened.read_bytes()) if isinstance(block, Secrets)]
    keys = [line.partition(b"=")[2].decode() for lines in told for line in lines.splitlines() if b"PRIVATE" in line]
    assert len(keys) == 2
    assert not any(key in log for key in keys)


# ---- lines ------------------------------------------------------------------------------------------------------


def test_without_a_file_there_is_a_line_for_each_packet(recorded: Recorded) -> None:
    said = "\n".join(recorded.lines)
    assert "inner out 10.50.0.1 > 10.50.0.2 ICMP echo request, 84 bytes" in said
    assert "inner in  10.50.0.2 > 10.50.0.1 ICMP echo reply, 84 bytes" in said
    assert f"outer out {CABLE} 192.0.2.1:{PORT} > 192.0.2.2:{PORT} handshake initiation, 148 bytes" in said
    assert "handshake response, 92 bytes" in said
    assert recorded.lines[-1].endswith(" packets captured, 0 lost")


def test_one_side_and_a_number_of_packets_can_be_chosen(recorded: Recorded) -> None:
    log = recorded.left.directory / "one"
    capture = begin(recorded.left, log, "--inner", "-c1")
    recorded.left.namespace.run("ping", "-c2", "-i0.2", recorded.right.inner_ipv4)
    assert capture.wait(10) == 0
    assert len([line for line in log.read_text().splitlines() if "inner out" in line]) == 1
    assert "1 packets captured" in log.read_text()


def test_standard_output_is_a_file_too(recorded: Recorded) -> None:
    command = ("ip", "netns", "exec", recorded.left.namespace.name, str(BIN / "tunnel"))
    arguments = ("capture", recorded.left.interface, "-w", "-", "--seconds", "0.01")
    done = subprocess.run([*command, *arguments], capture_output=True, timeout=20, check=True)
    assert len(list(parse_blocks(done.stdout))) == 3


@pytest.mark.slow
def test_it_ends_with_the_interface(tmp_path: Path) -> None:
    with open_host(tmp_path) as host:
        host.up()
        capture = begin(host, tmp_path / "log")
        host.tunnel("down", host.interface)
        assert capture.wait(10) == 0


# ---- refusals ---------------------------------------------------------------------------------------------------


def test_an_interface_that_is_not_there_is_one_line(recorded: Recorded) -> None:
    done = recorded.left.tunnel("capture", "absent", check=False)
    assert (done.returncode, done.stderr) == (1, "tunnel: there is no interface absent here\n")


def test_others_than_root_are_told_so(recorded: Recorded, as_nobody: tuple[str, ...]) -> None:
    done = recorded.left.namespace.run(*as_nobody, str(BIN / "tunnel"), "capture", recorded.left.interface, check=False)
    assert (done.returncode, done.stderr) == (1, "tunnel: only root may capture packets\n")


def test_a_disk_that_is_full_is_one_line(recorded: Recorded) -> None:
    left = recorded.left
    path = left.directory / "full"
    command = (str(BIN / "tunnel"), "capture", left.interface, "-w", str(path), "--seconds", "0.01")
    done = left.namespace.run("prlimit", "--fsize=10", *command, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"tunnel: {path}: File too large"
    assert "Traceback" not in done.stderr


# ---- sockets ----------------------------------------------------------------------------------------------------


def test_a_superpacket_is_captured_as_its_datagrams_and_other_ports_not_at_all() -> None:
    with Namespace("split-left") as left, Namespace("split-right") as right:
        connect(Port(left, CABLE, ("192.0.2.1/24",)), Port(right, CABLE, ("192.0.2.2/24",)))
        with left.enter():
            index = socket.if_nametoindex(CABLE)
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            wanted = PacketSocket(program=udp_port_filter(PORT, except_interface=index + 1000))
            unwanted = PacketSocket(program=udp_port_filter(PORT, except_interface=index))
        with sender, wanted, unwanted:
            sender.sendto(b"of another port", ("192.0.2.2", PORT + 1))
            sender.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 96)
            sender.sendto(os.urandom(96 * 9 + 10), ("192.0.2.2", PORT))
            frame = eventually(wanted.receive, "a frame is captured")
            assert frame is not None
            assert wanted.receive() is None
            assert unwanted.receive() is None
        packets = split_datagrams(frame.packet, frame.segment_size)
        assert [len(packet) for packet in packets] == [28 + 96] * 9 + [28 + 10]
        assert frame.is_outgoing
        assert frame.interface == CABLE

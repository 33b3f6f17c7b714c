"""Bad days of an interface that runs: too many callers, no descriptors, full disks, logs that nobody reads, a pause.

Each is made for real, with packets flowing through the tunnel. Whatever happens they go on flowing, what is said is a
line at the most, and when it is over nothing of it is left.
"""

import contextlib
import fcntl
import os
import re
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import datagram_socket, is_reachable, ping
from tests.netns.hosts import BIN, CABLE, SOCKETS, Host, PeerSection, open_host, open_pair
from tunnel.daemon.stamp import STATE_DIRECTORY
from tunnel.keys import PrivateKey
from tunnel.testing.namespaces import Namespace

pytestmark = [pytest.mark.root, pytest.mark.slow]

_TICKS = os.sysconf("SC_CLK_TCK")
_REPLY = re.compile(r"icmp_seq=(\d+) .*time=([\d.]+) ms(.*)")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    """Two hosts with a session, shared by all tests that leave it as it was."""
    with open_pair(tmp_path_factory.mktemp("pair")) as (left, right):
        ping(left.namespace, right.inner_ipv4)
        yield left, right
        assert "Traceback" not in left.log_file.read_text() + right.log_file.read_text()


@dataclass(frozen=True, slots=True)
class Daemon:
    """What the kernel knows of the process that runs an interface."""

    pid: int

    @classmethod
    def of(cls, host: Host) -> Self:
        return cls(host.status()["pid"])

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    @property
    def cpu_seconds(self) -> float:
        """User and system time so far (proc(5))."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def memory(self) -> int:
        """Bytes that are resident."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def limit_descriptors(self, number: int) -> int:
        """The soft limit from now on; returns the one before."""
        before, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (number, hard))
        return before

    def load(self, seconds: float) -> float:
        """The part of a core that it takes in the next `seconds`."""
        before = self.cpu_seconds
        time.sleep(seconds)
        return (self.cpu_seconds - before) / seconds


class Pinging:
    """Pings ten times a second, until the context is left; `replies` has (sequence number, milliseconds)."""

    def __init__(self, namespace: Namespace, address: str) -> None:
        self._process = namespace.popen("ping", "-n", "-i", "0.1", address)
        self.replies: list[tuple[int, float]] = []
        self.sent = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        output = self._process.communicate(timeout=10)[0]
        found = [match.groups() for match in _REPLY.finditer(output)]
        assert not [more for _, _, more in found if more], "an answer came twice"
        self.replies = [(int(number), float(milliseconds)) for number, milliseconds, _ in found]
        counted = re.search(r"(\d+) packets transmitted", output)
        assert counted is not None, output
        self.sent = int(counted[1])

    @property
    def lost(self) -> int:
        """How many had no answer, but for the last, which may have been on its way."""
        return self.sent - 1 - len([number for number, _ in self.replies if number < self.sent])


def caller(host: Host, request: bytes = b"") -> socket.socket:
    """A client of the control socket that says `request`, and waits for a while for what it is told."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(SOCKETS / f"{host.interface}.sock"))
    connection.sendall(request)
    return connection


def answer_of(connection: socket.socket) -> bytes:
    answer = b""
    while b"errno=0\n\n" not in answer:
        piece = connection.recv(1 << 16)
        assert piece, answer
        answer += piece
    return answer


# ---- callers ----------------------------------------------------------------------------------------------------


def test_two_hundred_callers_at_once_are_served_and_packets_flow(pair: tuple[Host, Host]) -> None:
    left, right = pair
    daemon = Daemon.of(left)
    descriptors, memory = daemon.descriptors, daemon.memory
    requests = (b"", b"events=1\n\n", b"status=1\n\n", b"get=1\n\n")
    with Pinging(left.namespace, right.inner_ipv4) as pinging, contextlib.ExitStack() as stack:
        callers = [(kind, stack.enter_context(caller(left, kind))) for kind in requests for _ in range(50)]
        for kind, connection in callers:
            if kind:
                answer_of(connection)
        assert daemon.descriptors >= descriptors + len(callers)
        assert str(right.public_key) in left.wg("show", left.interface).stdout
        assert left.tunnel("status", left.interface).returncode == 0
        grown = daemon.memory - memory
    assert grown < 30 << 20
    assert pinging.lost == 0
    assert max(milliseconds for _, milliseconds in pinging.replies) < 1000
    eventually(lambda: daemon.descriptors == descriptors, "the descriptors are closed")


def test_callers_that_send_for_ever_cost_bounded_memory_and_others_are_served(pair: tuple[Host, Host]) -> None:
    left, right = pair
    daemon = Daemon.of(left)
    descriptors, memory = daemon.descriptors, daemon.memory
    is_over = threading.Event()

    def send(begins: bytes, for_ever: bytes) -> None:
        while not is_over.is_set():
            with contextlib.suppress(OSError), caller(left, begins) as connection:
                while not is_over.is_set():
                    connection.sendall(for_ever)

    def begin() -> None:
        with contextlib.suppress(OSError), caller(left) as connection:
            connection.settimeout(5)
            connection.sendall(b"set=1\n" + b"listen_port=1\n" * 250_000)
            is_over.wait()

    kinds = [(b"", b"x" * 65536), (b"set=1\n", b"listen_port=1\n" * 4096), (b"events=1\n\n", b"x"), (b"", b"get=1\n\n")]
    senders = [threading.Thread(target=send, args=kind) for kind in kinds for _ in range(3)]
    senders += [threading.Thread(target=begin) for _ in range(40)]
    with Pinging(left.namespace, right.inner_ipv4) as pinging:
        for sender in senders:
            sender.start()
        try:
            time.sleep(2)
            assert left.tunnel("status", left.interface).returncode == 0
            grown = daemon.memory - memory
        finally:
            is_over.set()
            for sender in senders:
                sender.join()
    assert grown < 60 << 20
    assert pinging.lost == 0
    eventually(lambda: daemon.descriptors == descriptors, "the descriptors are closed")


# ---- descriptors ------------------------------------------------------------------------------------------------


def test_without_descriptors_packets_flow_callers_wait_and_one_line_says_so(pair: tuple[Host, Host]) -> None:
    left, right = pair
    daemon = Daemon.of(left)
    descriptors = daemon.descriptors
    one_left = max(map(int, os.listdir(f"/proc/{daemon.pid}/fd"))) + 1
    before = daemon.limit_descriptors(3)
    try:
        with contextlib.ExitStack() as stack, Pinging(left.namespace, right.inner_ipv4) as pinging:
            first = stack.enter_context(caller(left, b"status=1\n\n"))
            for _ in range(20):
                stack.enter_context(caller(left))
            os.kill(daemon.pid, signal.SIGHUP)
            assert daemon.load(2.0) < 0.3
            daemon.limit_descriptors(one_left)
            answer_of(first)
            assert left.tunnel("status", left.interface).returncode == 0, "of the others one had to go"
            assert daemon.descriptors <= one_left
    finally:
        daemon.limit_descriptors(before)
    assert pinging.lost == 0
    os.kill(daemon.pid, signal.SIGHUP)
    eventually(lambda: "were read again" in left.log_file.read_text(), "it reloads")
    assert left.tunnel("status", left.interface).returncode == 0
    log = left.log_file.read_text()
    assert log.count("callers have to wait: Too many open files") == 1
    assert len([line for line in log.splitlines() if "Too many open files; going on as before" in line]) <= 1
    eventually(lambda: daemon.descriptors == descriptors, "the descriptors are closed")


def test_a_link_that_comes_up_without_descriptors_is_deaf_until_there_are_some(pair: tuple[Host, Host]) -> None:
    left, right = pair
    daemon = Daemon.of(left)
    before = daemon.limit_descriptors(3)
    try:
        left.namespace.ip("link", "set", left.interface, "down")
        eventually(lambda: not left.namespace.run("ss", "-Hlun").stdout, "the port is closed")
        left.namespace.ip("link", "set", left.interface, "up")
        eventually(lambda: "deaf" in left.log_file.read_text(), "it has tried")
        time.sleep(2.5)  # and tries again
    finally:
        daemon.limit_descriptors(before)
    eventually(lambda: is_reachable(left.namespace, right.inner_ipv4), "packets flow again", 20)
    assert left.log_file.read_text().count("is up, but deaf, trying on: cannot listen on UDP port 51820: Too many") == 1


# ---- disks ------------------------------------------------------------------------------------------------------

FULL_DISKS = """\
mkdir -p {state}
mount -t tmpfs -o size=64k none {configs} && mount -t tmpfs -o size=64k none {state} || exit 1
cp {config} {configs}/{name}.conf
for place in {configs} {state}; do dd if=/dev/zero of=$place/fill bs=1k 2>/dev/null; done
{tunnel} up {configs}/{name}.conf 2>{log} &
until grep -q "is up" {log}; do sleep 0.05; done
wg set {name} peer {peer} persistent-keepalive 7
{tunnel} save {name}
mount -o remount,ro {configs} && mount -o remount,ro {state} || exit 1
{tunnel} save {name}
ls -A {configs} {state}
{tunnel} down {name}
cat {configs}/{name}.conf
"""
"""Everything that is kept is on disks that are full, and then cannot be written at all."""


def test_disks_that_are_full_or_read_only_cost_a_line_and_leave_no_half_of_a_file(tmp_path: Path) -> None:
    configs = tmp_path / "configs"
    configs.mkdir()
    with open_host(tmp_path, "disk") as host:
        peer = PrivateKey.generate(os.urandom).public_key
        host.peers.append(PeerSection(peer, ("10.60.0.0/16",), "192.0.2.2:51820", persistent_keepalive=1))
        host.write_config()
        script = FULL_DISKS.format(
            configs=configs,
            state=STATE_DIRECTORY,
            config=host.config_file,
            name=host.interface,
            tunnel=BIN / "tunnel",
            log=host.log_file,
            peer=peer,
        )
        done = host.namespace.run("unshare", "--mount", "sh", "-c", script)
        saving = f"tunnel: {configs}/{host.interface}.conf: cannot save the configuration: "
        assert done.stderr == f"{saving}No space left on device\n{saving}Read-only file system\n"
        assert done.stdout.split("[Interface]")[0].split() == [
            f"{configs}:",
            f"{host.interface}.conf",
            "fill",
            f"{STATE_DIRECTORY}:",
            "fill",
        ]
        assert "PersistentKeepalive = 1\n" in done.stdout
    log = host.log_file.read_text()
    assert log.count("No space left on device; a peer may refuse us after a restart") == 1
    assert "Traceback" not in log


# ---- logs -------------------------------------------------------------------------------------------------------


def test_a_log_that_nobody_reads_any_more_stops_nothing_and_says_later_what_is_missing(tmp_path: Path) -> None:
    """``tunnel up wg0 2>&1 | less``, or a terminal that was stopped with Ctrl-S."""
    with open_host(tmp_path, "unread") as host:
        host.write_config()
        process = host.namespace.popen(str(BIN / "tunnel"), "up", str(host.config_file))
        assert process.stderr is not None
        assert "is up" in process.stderr.readline()
        fcntl.fcntl(process.stderr, fcntl.F_SETPIPE_SZ, 4096)
        daemon = Daemon.of(host)
        for _ in range(100):
            os.kill(daemon.pid, signal.SIGHUP)
            with caller(host, b"status=1\n\n") as connection:
                answer_of(connection)
        os.set_blocking(process.stderr.fileno(), False)
        assert process.stderr.read().count("were read again") < 90
        os.set_blocking(process.stderr.fileno(), True)
        os.kill(daemon.pid, signal.SIGHUP)
        assert re.search(r"warning: \d+ lines could not be logged", process.stderr.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_a_journal_and_a_manager_that_are_gone_stop_nothing(tmp_path: Path) -> None:
    """What systemd gives us, stderr and $NOTIFY_SOCKET, with nobody at the other end any more."""
    ours, journal = socket.socketpair()
    with open_host(tmp_path, "alone") as host, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        host.write_config()
        stream = os.fstat(ours.fileno())
        environment = {
            **os.environ,
            "JOURNAL_STREAM": f"{stream.st_dev}:{stream.st_ino}",
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "200000",
        }
        command = host.namespace.command(str(BIN / "tunnel"), "up", str(host.config_file))
        with subprocess.Popen(command, stderr=ours.fileno(), env=environment, start_new_session=True) as process, ours:
            try:
                while manager.recv(1000) != b"WATCHDOG=1":
                    pass
                journal.close()
                manager.close()
                (tmp_path / "notify").unlink()
                daemon = Daemon.of(host)
                descriptors = daemon.descriptors
                for _ in range(5):
                    os.kill(daemon.pid, signal.SIGHUP)
                assert daemon.load(1.0) < 0.5
                assert daemon.descriptors == descriptors
                host.tunnel("down", host.interface)
                assert process.wait(10) == 0
            finally:
                process.terminate()


# ---- a pause ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [15])
def test_after_a_pause_packets_flow_at_once_and_nothing_comes_twice(pair: tuple[Host, Host], seconds: int) -> None:
    """A laptop that sleeps for the others, but not for its own clock; `tests.simulation` has those that do."""
    left, right = pair
    daemon = Daemon.of(left)
    with Pinging(left.namespace, right.inner_ipv4) as outwards, Pinging(right.namespace, left.inner_ipv4) as inwards:
        eventually(lambda: Daemon.of(left).cpu_seconds, "it runs")
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        before = daemon.cpu_seconds
        time.sleep(2)
        assert daemon.cpu_seconds - before < 1.0
    for pinging in (outwards, inwards):
        late = [number for number, milliseconds in pinging.replies if milliseconds > seconds * 1000]
        assert len(late) <= 5, "what was in flight when it stopped"
        assert pinging.replies[-1][0] >= pinging.sent - 1
        assert min(milliseconds for number, milliseconds in pinging.replies if number > pinging.sent - 10) < 1000
    log = left.log_file.read_text()
    assert log.count("handshake completed") <= 2
    assert left.status()["drops"] == {}


# ---- the network below ------------------------------------------------------------------------------------------

QUEUES = {
    "one that drops": ("tbf", "rate", "500kbit", "burst", "2kb", "limit", "3000"),
    "one that is long": ("tbf", "rate", "500kbit", "burst", "2kb", "limit", "100000000"),
}


@pytest.mark.parametrize("queue", list(QUEUES.values()), ids=list(QUEUES))
def test_a_network_card_that_cannot_keep_up_keeps_nobody_busy(pair: tuple[Host, Host], queue: tuple[str, ...]) -> None:
    left, right = pair
    daemon = Daemon.of(left)
    with datagram_socket(left.namespace, left.inner_ipv4) as sender:
        sender.setblocking(False)
        left.namespace.run("tc", "qdisc", "add", "dev", CABLE, "root", *queue)
        try:
            give_up = time.monotonic() + 2
            while time.monotonic() < give_up:
                with contextlib.suppress(OSError):  # its own queue is full
                    sender.sendto(bytes(1200), (right.inner_ipv4, 9))
            time.sleep(0.5)
            assert daemon.load(1.5) < 0.3
            assert left.tunnel("status", left.interface).returncode == 0
        finally:
            left.namespace.run("tc", "qdisc", "delete", "dev", CABLE, "root")
    eventually(lambda: is_reachable(left.namespace, right.inner_ipv4), "packets flow again", 20)

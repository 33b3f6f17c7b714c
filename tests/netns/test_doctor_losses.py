"""Real losses and damage inside a host, and what doctor calls them."""

import ctypes
import fcntl
import json
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns.examined import examine, firewall, trying, verdict
from tests.netns.flows import datagram_socket, ping
from tests.netns.hosts import BIN, CABLE, PORT, Host, interface_name, open_pair
from tunnel.keys import PrivateKey
from tunnel.testing.namespaces import Namespace, run_command
from tunnel.udp.binding import BUFFER_REQUEST

pytestmark = pytest.mark.root

Pair = tuple[Host, Host]

SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17
IPT_SO_GET_INFO = 64
RMEM_MAX = Path("/proc/sys/net/core/rmem_max")


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with open_pair(tmp_path) as hosts:
        yield hosts


@contextmanager
def repeating(step: Callable[[], object]) -> Iterator[None]:
    """`step` again and again beside the block."""
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def complete_checksums(namespace: Namespace, interface: str) -> None:
    """Have the kernel do it (``ethtool -K … tx off``), else a veth passes them on undone and nobody looks at them."""
    with namespace.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        value = ctypes.create_string_buffer(struct.pack("=II", ETHTOOL_STXCSUM, 0))
        fcntl.ioctl(any_socket, SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), ctypes.addressof(value)))


def make_legacy_table(namespace: Namespace, table: str) -> None:
    """As the first ``iptables-legacy -t TABLE -L`` does, which asks the kernel how large it is."""
    with namespace.enter(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as asking:
        info, size = ctypes.create_string_buffer(table.encode(), 84), ctypes.c_uint(84)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.getsockopt(asking.fileno(), socket.IPPROTO_IP, IPT_SO_GET_INFO, info, ctypes.byref(size)):
            pytest.skip(f"this kernel has no legacy iptables: {os.strerror(ctypes.get_errno())}")


@pytest.mark.slow
def test_a_buffer_that_the_host_does_not_grant_is_named(tmp_path: Path) -> None:
    """Root of a user namespace is nobody to the sysctls of the machine, as in a container without privileges."""
    if int(RMEM_MAX.read_text()) >= BUFFER_REQUEST:
        pytest.skip("this host grants everybody what we ask for")
    name = interface_name("small")
    file = tmp_path / f"{name}.conf"
    file.touch(0o600)
    key = PrivateKey.generate(os.urandom).to_base64()
    file.write_text(f"[Interface]\nPrivateKey = {key}\nAddress = 10.50.0.1/24\n")
    tunnel = BIN / "tunnel"
    script = f"{tunnel} up {file} -d >&2; {tunnel} doctor {file} --json; {tunnel} down {name} >&2"
    done = run_command("unshare", "--user", "--map-root-user", "--net", "sh", "-c", script, check=False)
    (document,) = json.loads(done.stdout)
    step = next(step for step in document["steps"] if step["step"] == "buffers and checksums")
    assert step["result"] == "noted", done
    assert f"has {RMEM_MAX.read_text().strip()} bytes" in step["findings"][0]["why"]
    assert "sysctl -w net.core.rmem_max=" in step["findings"][0]["remedy"]


@pytest.mark.slow
def test_datagrams_that_find_no_room_are_named(pair: Pair) -> None:
    """A process that does not get the CPU, which is stopped here for a moment again and again."""
    left, right = pair
    process = right.status()["pid"]
    with datagram_socket(left.namespace, left.outer_ipv4) as sender:

        def flood() -> None:
            os.kill(process, signal.SIGSTOP)
            try:
                for _ in range(40_000):
                    sender.sendto(b"?", (right.outer_ipv4, PORT))
            finally:
                os.kill(process, signal.SIGCONT)
            time.sleep(0.5)

        with repeating(flood):
            text = verdict(right)
    assert text.startswith("datagrams are lost on this host")
    assert text.endswith(f"top -p {process}")


@pytest.mark.slow
def test_a_queue_that_is_too_short_is_named(pair: Pair) -> None:
    left, right = pair
    ping(left.namespace, right.inner_ipv4)
    left.namespace.ip("link", "set", left.interface, "txqueuelen", "2")
    with datagram_socket(left.namespace, left.inner_ipv4) as sender:

        def burst() -> None:
            for _ in range(200):
                sender.sendto(bytes(1000), (right.inner_ipv4, 9))
            time.sleep(0.01)

        with repeating(burst):
            text = verdict(left)
    assert text.startswith("packets are lost before they enter the tunnel")
    assert "which holds 2" in text
    assert text.endswith(f"ip link set {left.interface} txqueuelen 1000")


@pytest.mark.slow
def test_checksums_that_are_wrong_are_named(pair: Pair) -> None:
    left, right = pair
    complete_checksums(left.namespace, CABLE)
    firewall(right, "prerouting", f"iifname {CABLE} udp dport {PORT} udp checksum set 0x1234")
    with trying(left, "ping", "-c1", "-W1", right.inner_ipv4):
        text = verdict(right)
    assert text.startswith("datagrams arrive damaged")
    assert "wrong UDP checksum" in text
    assert str(right.config_file) in text


@pytest.mark.slow
def test_data_that_is_changed_behind_its_checksum_is_named(pair: Pair) -> None:
    left, right = pair
    ping(left.namespace, right.inner_ipv4)
    data = "@th,64,8 { 4, 5 } udp length > 100 @th,512,32 set 0xdeadbeef"
    firewall(right, "prerouting", f"iifname {CABLE} udp dport {PORT} {data}")
    text = verdict(right)
    assert text.startswith("datagrams arrive damaged")
    assert "did not authenticate" in text


@pytest.mark.slow
def test_legacy_tables_are_named_where_an_answer_is_missing(pair: Pair) -> None:
    left, right = pair
    make_legacy_table(left.namespace, "filter")
    assert examine(left)["healthy"]
    firewall(right, "input", "ip protocol icmp drop")
    steps = {step["step"]: step for step in examine(left)["steps"]}
    (finding,) = steps["rules that are not read"]["findings"]
    assert "tables ip filter of legacy iptables" in finding["why"]
    assert finding["remedy"] == "iptables-legacy-save"

"""The namespaces that everything else here stands on."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tunnel.testing.namespaces import CommandError, Namespace, Port, Switch, connect, reap

pytestmark = pytest.mark.root


def test_two_namespaces_reach_each_other_over_ipv4_and_ipv6() -> None:
    with Namespace("left") as left, Namespace("right") as right:
        connect(
            Port(left, "eth0", ("192.0.2.1/24", "2001:db8::1/64")),
            Port(right, "eth0", ("192.0.2.2/24", "2001:db8::2/64")),
            mtu=1400,
        )
        left.run("ping", "-c1", "-W2", "192.0.2.2")
        left.run("ping", "-c1", "-W2", "2001:db8::2")
        assert "mtu 1400" in right.ip("link", "show", "eth0")


def test_hosts_on_a_switch_reach_each_other() -> None:
    with Switch("lan") as lan, Namespace("one") as one, Namespace("two") as two:
        lan.attach(Port(one, "eth0", ("192.0.2.1/24",)))
        lan.attach(Port(two, "eth0", ("192.0.2.2/24",)))
        one.run("ping", "-c1", "-W2", "192.0.2.2")


def test_entering_moves_the_thread_in_and_back() -> None:
    before = os.readlink("/proc/thread-self/ns/net")
    with Namespace("inside") as inside:
        with inside.enter():
            assert os.readlink("/proc/thread-self/ns/net") != before
            assert [name for _, name in socket.if_nameindex()] == ["lo"]
        assert os.readlink("/proc/thread-self/ns/net") == before


def test_processes_and_the_namespace_are_gone_after_an_exception() -> None:
    doomed = Namespace("doomed")
    started = []

    def fail_inside() -> None:
        with doomed:
            started.append(doomed.popen("sleep", "1000"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert started[0].poll() is not None
    assert not Path("/run/netns", doomed.name).exists()


def test_a_failing_command_says_what_failed_and_why() -> None:
    with Namespace("failing") as failing, pytest.raises(CommandError, match=r"ip -n \S+ link set nosuch up: .*nosuch"):
        failing.ip("link", "set", "nosuch", "up")


OWNER = """
import time
from tunnel.testing.namespaces import Namespace, unwinding
with unwinding(), Namespace("owned") as owned:
    owned.popen("sleep", "1000")
    print(owned.name, flush=True)
    time.sleep(1000)
"""


def start_owner() -> tuple[subprocess.Popen[str], Path]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert owner.stdout is not None
    return owner, Path("/run/netns", owner.stdout.readline().strip())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signalled_owner_leaves_nothing(number: signal.Signals) -> None:
    owner, namespace = start_owner()
    assert namespace.exists()
    owner.send_signal(number)
    owner.wait(10)
    assert not namespace.exists()


def test_what_a_killed_owner_left_is_reaped_but_not_what_has_an_owner() -> None:
    owner, namespace = start_owner()
    with Namespace("mine") as mine:
        owner.kill()
        owner.wait()
        reap()
        assert not namespace.exists()
        assert mine.name not in reap()
        assert Path("/run/netns", mine.name).exists()

"""`tunnel up` typed by root: what is left of root's rights, and that nothing is missing."""

import os
import signal
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import ping
from tests.netns.hosts import BIN, SOCKETS, Host, Program, open_host, open_pair
from tunnel.daemon.privileges import Right
from tunnel.daemon.stamp import STATE_DIRECTORY

pytestmark = pytest.mark.root


def capabilities(host: Host) -> set[tuple[str, str]]:
    """What any thread of the host's process has or could get, by the names of /proc/PID/status."""
    threads = Path(f"/proc/{host.status()['pid']}/task").iterdir()
    lines = [line for thread in threads for line in (thread / "status").read_text().splitlines()]
    pairs = (line.split(":\t") for line in lines if line.startswith(("Cap", "NoNewPrivs")))
    return {(name, value) for name, value in pairs}


def is_somebody_elses(directory: Path) -> bool:
    """As on a machine where the service is installed."""
    return directory.exists() and directory.stat().st_uid != os.geteuid()


FILES = 1 << Right.DAC_OVERRIDE if any(map(is_somebody_elses, (STATE_DIRECTORY, SOCKETS))) else 0
NOTHING, ADMIN = f"{0:016x}", f"{1 << Right.NET_ADMIN | FILES:016x}"
LITTLE = {
    *(("CapInh", NOTHING), ("CapPrm", ADMIN), ("CapEff", ADMIN), ("CapBnd", ADMIN), ("CapAmb", NOTHING)),
    ("NoNewPrivs", "1"),
}


def test_no_thread_of_it_can_more_than_set_up_the_network(tmp_path: Path) -> None:
    with open_host(tmp_path, "rights") as host:
        host.up()
        assert capabilities(host) == LITTLE


@pytest.mark.slow
def test_nothing_is_missing_for_what_it_does_later(tmp_path: Path) -> None:
    with open_pair(tmp_path) as (left, right):
        assert capabilities(left) == LITTLE
        left.namespace.ip("link", "set", left.interface, "down")
        left.namespace.ip("link", "set", left.interface, "up")
        text = left.config().replace("ListenPort = 51820", "ListenPort = 51999\nFwMark = 0x77")
        left.config_file.write_text(text.replace(f"{left.inner_ipv4}/32", f"{left.inner_ipv4}/24"))
        left.tunnel("reload", left.interface)
        left.tunnel("peer", "remove", left.interface, str(right.public_key))
        left.tunnel("save", left.interface)
        assert "[Peer]" not in left.config_file.read_text()
        left.config_file.write_text(text)
        left.tunnel("reload", left.interface)
        ping(left.namespace, right.inner_ipv4, count=1)
        assert capabilities(left) == LITTLE
        process = Path(f"/proc/{left.status()['pid']}")
        left.tunnel("down", left.interface)
        eventually(lambda: not process.exists(), "it has ended")
        assert left.interface not in left.namespace.links()


@pytest.mark.slow
def test_a_bare_interface_can_be_given_any_port(tmp_path: Path) -> None:
    with open_host(tmp_path, "rights", Program.TUNNEL_WG) as host:
        host.start_daemon()
        host.namespace.ip("link", "set", host.interface, "up")
        host.wg("set", host.interface, "listen-port", "53")
        assert ":53 " in host.namespace.run("ss", "-Hlun").stdout
        status = capabilities(host)
        wanted = f"{1 << Right.NET_ADMIN | 1 << Right.NET_BIND_SERVICE | FILES:016x}"
        assert {("CapPrm", wanted), ("CapBnd", wanted), ("NoNewPrivs", "1")} <= status


@pytest.mark.slow
def test_hooks_have_every_right_and_the_log_says_so(tmp_path: Path) -> None:
    with open_host(tmp_path, "rights") as host:
        host.settings = ("PostUp = grep CapEff /proc/self/status", "PostDown = grep CapEff /proc/self/status")
        host.write_config()
        process = host.namespace.popen(str(BIN / "tunnel"), "up", str(host.config_file), log=host.log_file)
        eventually(lambda: "hooks may need any right, so all are kept" in host.log_file.read_text(), "it is said", 20)
        full = Path("/proc/self/status").read_text().split("CapEff:\t")[1].split("\n")[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert f"PostUp: CapEff:\t{full}".replace("\t", " ") in host.log_file.read_text()
        assert f"PostDown: CapEff:\t{full}".replace("\t", " ") in host.log_file.read_text()

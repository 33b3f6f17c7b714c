"""The unit under systemd itself, which boots in namespaces of its own, on a copy of this machine's files that is thrown
away: an overlay whose upper layer is in memory."""

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tunnel.keys import PrivateKey
from tunnel.testing.namespaces import run_command

pytestmark = [pytest.mark.root, pytest.mark.slow]

SYSTEMD = Path("/lib/systemd/systemd")
CHECKOUT = Path(__file__).parents[2]

BOOT = r"""
mount -t tmpfs none "$1"
mkdir "$1"/upper "$1"/work "$1"/root
mount -t overlay -o lowerdir=/,upperdir="$1"/upper,workdir="$1"/work overlay "$1"/root
cd "$1"/root
mount -t proc proc proc
mount -t sysfs -o ro sys sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for directory in run tmp dev; do mount -t tmpfs -o mode=755 none $directory; done
mkdir -p dev/net dev/pts dev/shm opt/python opt/packages opt/checkout old
for device in null zero full random urandom tty net/tun; do
    touch dev/$device
    mount --bind /dev/$device dev/$device
done
mount --bind "$2" opt/python
mount --bind "$3" opt/packages
mount --bind "$4" opt/checkout
rm -rf etc/systemd/system/*.wants etc/tunnel var/lib/tunnel
cat > usr/local/bin/tunnel <<'END'
#!/bin/sh
export PYTHONPATH=/opt/packages:/opt/checkout LD_LIBRARY_PATH=/opt/python/lib
exec /opt/python/bin/python3 -BPm tunnel "$@"
END
chmod 755 usr/local/bin/tunnel
mkdir -p usr/local/lib/systemd/system usr/local/lib/sysusers.d usr/local/lib/tmpfiles.d
find opt/checkout/systemd -maxdepth 1 -name '*@.*' -type f -exec cp -t usr/local/lib/systemd/system {} +
cp opt/checkout/systemd/sysusers.d/* usr/local/lib/sysusers.d
cp opt/checkout/systemd/tmpfiles.d/* usr/local/lib/tmpfiles.d
mount --make-rslave .
pivot_root . old
umount -l old
mount --make-rshared /
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=basic.target --log-target=console --show-status=no
"""
"""For sh in namespaces: an empty directory, a Python, its packages, and our checkout."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What was booted; `process` is its systemd, as seen from outside."""

    process: int

    def type(self, command: str, *, check: bool = True, stdin: str | None = None) -> str:
        """What the command prints, and its errors after it."""
        enter = ("nsenter", "-t", str(self.process), "-m", "-p", "-n", "-u", "-i", "-C", "-r", "-w")
        path = "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        done = run_command(*enter, "sh", "-c", f"{path}; {command}", check=check, stdin=stdin)
        return done.stdout + done.stderr

    def write(self, path: str, text: str) -> None:
        """A file as root makes it, for root alone."""
        self.type(f"umask 077; mkdir -p {Path(path).parent}; cat > {path}", stdin=text)

    def unit(self, interface: str, name: str) -> str:
        """A property of the interface's unit."""
        return self.type(f"systemctl show --value -p {name} tunnel@{interface}").strip()

    def log(self, interface: str) -> str:
        return self.type(f"journalctl --no-pager -o cat -u tunnel@{interface}")

    def drop_in(self, interface: str, text: str) -> None:
        self.type(f"mkdir -p -m 755 /etc/systemd/system/tunnel@{interface}.service.d")
        self.write(f"/etc/systemd/system/tunnel@{interface}.service.d/test.conf", f"[Service]\n{text}")
        self.type("systemctl daemon-reload")


@pytest.fixture(scope="module")
def cgroup() -> Iterator[Path]:
    """A control group that systemd may take for all there is."""
    mounted = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    tree = next((Path(where) for _, where, kind, *_ in mounted if kind == "cgroup2"), None)
    if tree is None:
        pytest.skip("there is no cgroup2 tree")
    group = tree / "tunnel-test"
    group.mkdir(exist_ok=True)
    yield group
    eventually(lambda: "populated 0" in (group / "cgroup.events").read_text(), "all processes have ended")
    for path in sorted(group.rglob("*/"), reverse=True):
        if path.is_dir():
            path.rmdir()
    group.rmdir()


@pytest.fixture(scope="module")
def machine(cgroup: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if not SYSTEMD.exists() or shutil.which("nsenter") is None:
        pytest.skip("systemd is not installed")
    directory = tmp_path_factory.mktemp("boot")
    command = f'echo $$ > {cgroup}/cgroup.procs; exec unshare -mpnuiC --fork --kill-child sh -ec "$0" sh "$@"'
    where = (str(directory), sys.base_prefix, sysconfig.get_path("platlib"), str(CHECKOUT))
    with (directory.with_suffix(".log")).open("w") as log:
        shell = subprocess.Popen(["sh", "-ec", command, BOOT, *where], stdout=log, stderr=log, start_new_session=True)
    try:
        children = Path(f"/proc/{shell.pid}/task/{shell.pid}/children")
        eventually(lambda: children.read_text().strip(), "there is a first process")
        machine = Machine(int(children.read_text()))
        eventually(lambda: is_booted(machine), "it has booted", 30)
        yield machine
    finally:
        shell.kill()
        shell.wait()


def is_booted(machine: Machine) -> bool:
    try:
        program = Path(f"/proc/{machine.process}/comm").read_text()
    except FileNotFoundError:
        pytest.skip("systemd cannot be booted in namespaces here")
    return program == "systemd\n" and "running" in machine.type("systemctl is-system-running", check=False)


def config(number: int, *settings: str) -> str:
    """A file for the interface wgN, which is 10.9.N.1."""
    key = PrivateKey(bytes([number + 1]) * 32).to_base64()
    return "\n".join(("[Interface]", f"PrivateKey = {key}", f"Address = 10.9.{number}.1/24", *settings, ""))


def test_a_file_of_root_becomes_an_interface_of_an_ordinary_user(machine: Machine) -> None:
    machine.write("/etc/tunnel/wg0.conf", config(0))
    machine.type("systemctl start tunnel@wg0")
    assert "10.9.0.1" in machine.type("ip address show wg0")
    assert machine.unit("wg0", "StatusText") == "0 of 0 peers connected"
    assert machine.type(f"ps -o user= -p {machine.unit('wg0', 'MainPID')}").strip() == "tunnel"
    assert "interface: wg0" in machine.type("tunnel status wg0")
    assert "warning" not in machine.log("wg0")


def test_a_reload_reads_the_file_that_root_changed(machine: Machine) -> None:
    machine.write("/etc/tunnel/wg1.conf", config(1))
    machine.type("systemctl start tunnel@wg1")
    before = machine.unit("wg1", "MainPID")
    machine.write("/etc/tunnel/wg1.new", config(1, "ListenPort = 4444"))
    machine.type("mv /etc/tunnel/wg1.new /etc/tunnel/wg1.conf; systemctl reload tunnel@wg1")
    assert "listening port:  4444" in machine.type("tunnel status wg1")
    assert machine.unit("wg1", "MainPID") == before
    machine.type("systemctl stop tunnel@wg1")
    assert "wg1" not in machine.type("ip link")


def test_a_restart_keeps_the_interface_and_the_port_and_a_stop_does_not(machine: Machine) -> None:
    machine.write("/etc/tunnel/wg8.conf", config(8))
    machine.type("systemctl start tunnel@wg8; ip link set wg8 alias kept")
    shown = "ip -o address show wg8; tunnel status wg8 | grep port"
    before, process = machine.type(shown), machine.unit("wg8", "MainPID")
    machine.type("systemctl restart tunnel@wg8")
    assert machine.type(shown) == before
    assert "alias kept" in machine.type("ip link show wg8")
    assert machine.unit("wg8", "MainPID") != process
    assert machine.unit("wg8", "NFileDescriptorStore") == "0"
    machine.type("systemctl stop tunnel@wg8")
    assert "wg8" not in machine.type("ip link")
    machine.drop_in("wg8", "Restart=no\n")
    machine.type("systemctl start tunnel@wg8; systemctl restart tunnel@wg8; systemctl kill -s KILL tunnel@wg8")
    eventually(lambda: "wg8" not in machine.type("ip link"), "nothing is left of what was killed")


KNOCK = """python3 -c 'import socket; socket.socket(2, 2).sendto(bytes(148), ("127.0.0.1", 51820))'"""


def sockets_at_port(machine: Machine) -> int:
    """How many of them tunnel has."""
    return machine.type("ss -Hulpn sport = 51820").count("python3")


def test_the_first_datagram_starts_it_and_the_port_is_systemds(machine: Machine) -> None:
    machine.write("/etc/tunnel/wg9.conf", config(9))
    machine.type("ip link set lo up; systemctl start tunnel@wg9.socket")
    assert machine.unit("wg9", "ActiveState") == "inactive"
    machine.type(KNOCK)
    eventually(lambda: machine.unit("wg9", "ActiveState") == "active", "it was started", 30)
    assert is_listening(machine, "wg9", 51820)
    eventually(lambda: "1 × not a WireGuard message" in machine.type("tunnel status wg9"), "it was read")
    machine.type("ip link set wg9 down")
    eventually(lambda: sockets_at_port(machine) == 2, "ours are closed, and those that we were given are not")
    machine.type(f"{KNOCK}; ip link set wg9 up")
    eventually(lambda: sockets_at_port(machine) == 4, "ours are open again")
    machine.type(KNOCK)
    eventually(lambda: "2 × not a WireGuard message" in machine.type("tunnel status wg9"), "what came between is lost")
    machine.type("systemctl stop tunnel@wg9")
    assert "wg9" not in machine.type("ip link")
    assert "51820" in machine.type("ss -Hlun")


def test_a_datagram_that_cannot_be_answered_does_not_start_it_for_ever(machine: Machine) -> None:
    machine.write("/etc/tunnel/wg9.conf", config(9, "ListenPort = 4709"))
    machine.type(f"systemctl start tunnel@wg9.socket; {KNOCK}")
    failed = "systemctl is-failed tunnel@wg9.socket"
    eventually(lambda: machine.type(failed, check=False).strip() == "failed", "it is given up", 60)
    assert machine.unit("wg9", "ExecMainStatus") == "78"
    assert "tunnel@wg9.socket: port 51820, and ListenPort is 4709" in machine.log("wg9")
    machine.type("systemctl stop tunnel@wg9; systemctl reset-failed")


def test_a_process_that_hangs_is_replaced(machine: Machine) -> None:
    machine.write("/etc/tunnel/wg2.conf", config(2))
    machine.drop_in("wg2", "WatchdogSec=1\nRestartSec=0\n")
    machine.type("systemctl start tunnel@wg2; systemctl kill -s STOP --kill-whom=main tunnel@wg2")
    eventually(lambda: machine.unit("wg2", "NRestarts") == "1", "it was started again", 15)
    eventually(lambda: machine.unit("wg2", "ActiveState") == "active", "it is up again", 15)
    machine.type("tunnel down wg2")
    eventually(lambda: machine.unit("wg2", "ActiveState") == "inactive", "it stays down")


def is_listening(machine: Machine, interface: str, port: int) -> bool:
    return f"port:  {port}\n" in machine.type(f"tunnel status {interface}")


def test_a_mistake_in_the_file_is_not_tried_again_and_another_failure_is(machine: Machine) -> None:
    machine.drop_in("wg6", "RestartSec=0\n")
    machine.write("/etc/tunnel/wg6.conf", config(6, "ListenPort = many"))
    assert "failed" in machine.type("systemctl start tunnel@wg6", check=False)
    assert machine.unit("wg6", "ExecMainStatus") == "78"
    assert (machine.unit("wg6", "ActiveState"), machine.unit("wg6", "NRestarts")) == ("failed", "0")
    machine.write("/etc/tunnel/wg6.conf", config(6))
    machine.type("ip tuntap add wg6 mode tun; systemctl start --no-block tunnel@wg6")
    eventually(lambda: int(machine.unit("wg6", "NRestarts")) > 0, "it is tried again", 30)
    machine.type("ip link delete wg6; systemctl stop tunnel@wg6")


def test_a_file_that_changes_is_read_again_as_often_as_it_changes(machine: Machine) -> None:
    machine.write("/etc/tunnel/wg7.conf", config(7))
    machine.type("systemctl enable tunnel-reload@wg7.path; systemctl start tunnel@wg7")
    assert machine.type("systemctl is-active tunnel-reload@wg7.path").strip() == "active"
    before = machine.unit("wg7", "MainPID")
    for port in (4701, 4702):
        machine.write("/etc/tunnel/new", config(7, f"ListenPort = {port}"))
        machine.type("mv /etc/tunnel/new /etc/tunnel/wg7.conf")
        eventually(partial(is_listening, machine, "wg7", port), "it was reloaded", 30)
    machine.write("/etc/tunnel/wg7.conf", config(7, "ListenPort = many"))
    eventually(lambda: "ListenPort: 'many'" in machine.log("wg7"), "it says what is wrong", 30)
    assert is_listening(machine, "wg7", 4702)
    assert machine.unit("wg7", "MainPID") == before
    machine.type("systemctl stop tunnel@wg7")
    assert machine.type("systemctl is-active tunnel-reload@wg7.path", check=False).strip() == "inactive"


@pytest.mark.parametrize("end", ["tunnel down wg5", "systemctl stop tunnel@wg5"])
def test_hooks_on_the_way_down_may_take_longer_than_the_watchdog(machine: Machine, end: str) -> None:
    machine.write("/etc/tunnel/wg5.conf", config(5, "PreDown = sleep 2; echo went down in peace"))
    machine.drop_in("wg5", "WatchdogSec=1\n")
    machine.type("systemctl start tunnel@wg5")
    machine.type(end)
    eventually(lambda: machine.unit("wg5", "ActiveState") == "inactive", "it is down")
    assert machine.unit("wg5", "Result") == "success"
    assert "PreDown: went down in peace" in machine.log("wg5")


def test_a_file_that_only_root_gets_at_is_handed_over(machine: Machine) -> None:
    machine.write("/etc/wireguard/wg3.conf", config(3))
    machine.type("chmod 700 /etc/wireguard")
    machine.drop_in("wg3", "LoadCredential=wg3.conf:/etc/wireguard/wg3.conf\n")
    machine.type("systemctl start tunnel@wg3")
    assert "10.9.3.1" in machine.type("ip address show wg3")
    machine.type("systemctl stop tunnel@wg3")


def test_hooks_that_need_root_work_with_the_example(machine: Machine) -> None:
    hook = "PostUp = sysctl -w net.ipv4.conf.%i.rp_filter=0; id"
    machine.write("/etc/tunnel/wg4.conf", config(4, hook))
    example = (CHECKOUT / "systemd" / "tunnel@.service.d" / "hooks.conf.example").read_text()
    machine.type("systemctl start tunnel@wg4; systemctl stop tunnel@wg4", check=False)
    assert "permission denied" in machine.log("wg4")
    machine.drop_in("wg4", example)
    machine.type("systemctl start tunnel@wg4")
    assert "PostUp: uid=0(root)" in machine.log("wg4")
    assert machine.type("stat -c %U /var/lib/tunnel").strip() == "tunnel"
    machine.type("wg set wg4 fwmark 7; tunnel save wg4")
    assert machine.type("stat -c %U:%G /etc/tunnel/wg4.conf").strip() == "root:tunnel"
    assert "FwMark" in machine.type("cat /etc/tunnel/wg4.conf")
    machine.type("systemctl stop tunnel@wg4")

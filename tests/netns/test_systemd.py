"""As tunnel@.service runs it: an ordinary user with one capability, on a file system that cannot be written.

systemd itself is not needed. What it would do is done by hand, but for the filter of system calls: mounts, user and
group, capabilities, no new privileges, no memory that is both written and executed, and a socket that is told of it.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.netns.conftest import NOBODY
from tests.netns.eventually import eventually
from tests.netns.flows import connect_to, listen, ping
from tests.netns.hosts import BIN, Host, Meeting, PeerSection, Program, introduce, open_host
from tests.netns.landscape import survey
from tunnel.keys import PrivateKey
from tunnel.testing.namespaces import Namespace, connect

pytestmark = pytest.mark.root

CAP_NET_ADMIN = 1 << 12

CONFINE = f"""
mount -t tmpfs -o mode=1775,gid={NOBODY} none /run/wireguard
mount -t tmpfs none /var/lib
mkdir -m 700 /var/lib/tunnel
chown {NOBODY}:{NOBODY} /var/lib/tunnel
mount --bind "$1" /mnt
case "$2" in /root/*)
    mount --bind "$2" /srv
    mount -t tmpfs -o mode=755 none /root
    mkdir -p "$2"
    mount --move /srv "$2"
esac
mount -o remount,bind,ro /mnt
mount -o remount,bind,ro /
shift 2
unset STATE_DIRECTORY
exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --no-new-privs --bounding-set=-all,+net_admin \
    --inh-caps=-all,+net_admin --ambient-caps=-all,+net_admin "$@"
"""
"""For sh in a mount namespace: the directory that is to be /mnt, that of a Python that may be root's, and a command."""

START = """
import ctypes, fcntl, os, sys
ctypes.CDLL(None).prctl(65, 1, 0, 0, 0)
kept = [fcntl.fcntl(int(descriptor), fcntl.F_DUPFD, 100) for descriptor in sys.argv[1].split()]
os.closerange(3, 100)
for number, descriptor in enumerate(kept, 3):
    os.dup2(descriptor, number)
os.closerange(100, 200)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""
"""The last before us: PR_SET_MDWE, which kernels from 6.3 on have (systemd does the same with a filter), and what is
kept for us, from descriptor 3 on."""


@dataclass(slots=True)
class Service:
    """What systemd knows of a host's interface: its process, and what that has told."""

    host: Host
    listener: socket.socket
    messages: list[str] = field(default_factory=list)
    kept: list[tuple[str, int]] = field(default_factory=list)
    """The descriptor store: names and descriptors."""
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Type=notify: it is running when it says so."""
        self.host.directory.chmod(0o755)
        self.host.config_file.chmod(0o640)
        os.chown(self.host.config_file, 0, NOBODY)
        self.process = self.host.namespace.popen(
            *("unshare", "-m", "sh", "-ec", CONFINE, "sh", str(self.host.directory), sys.base_prefix),
            *("env", f"NOTIFY_SOCKET={self.listener.getsockname()}", "WATCHDOG_USEC=200000"),
            *(f"LISTEN_FDS={len(self.kept)}", f"LISTEN_FDNAMES={':'.join(name for name, _ in self.kept)}"),
            *(sys.executable, "-c", START, " ".join(str(descriptor) for _, descriptor in self.kept)),
            *(str(BIN / "tunnel"), "up", f"/mnt/{self.host.config_file.name}"),
            log=self.host.log_file,
            pass_fds=[descriptor for _, descriptor in self.kept],
        )
        ready = self.messages.count("READY=1")
        eventually(lambda: self.heard("READY=1") > ready, self.host.log_file.read_text(), 10)

    def stop(self) -> None:
        """What is stored then is kept until somebody forgets it."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        assert self.process.wait(5) == 0, self.log
        self.heard("STOPPING=1")

    def forget(self, name: str = "") -> None:
        """All descriptors of that name, or all."""
        for kept in [kept for kept in self.kept if name in (kept[0], "")]:
            os.close(kept[1])
            self.kept.remove(kept)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def heard(self, message: str) -> int:
        """How often it said so, so far."""
        assert self.process is not None
        assert self.process.poll() is None or message == "STOPPING=1", self.host.log_file.read_text()
        while True:
            try:
                heard, descriptors, *_ = socket.recv_fds(self.listener, 4096, 8)
            except BlockingIOError:
                return sum(message in one for one in self.messages)
            self.messages.append(heard.decode())
            variables = dict(line.split("=", 1) for line in self.messages[-1].splitlines())
            if "FDSTOREREMOVE" in variables:
                self.forget(variables["FDNAME"])
            self.kept += [(variables["FDNAME"], descriptor) for descriptor in descriptors]

    @property
    def log(self) -> str:
        return self.host.log_file.read_text()

    def credentials(self) -> dict[str, str]:
        """What /proc says of its process."""
        assert self.process is not None
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """What $NOTIFY_SOCKET names."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.setblocking(False)
        yield listener


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A path for the socket that every user gets at; pytest's own directories are for their owner only."""
    path = Path(f"/tmp/tunnel-notify-{os.getpid()}")
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture
def service(tmp_path: Path, outside: Path) -> Iterator[Service]:
    """Not yet started; `peer_of` gives it somebody to talk to."""
    if BIN.is_relative_to("/root"):
        pytest.skip("ordinary users cannot run what is below /root")
    with open_host(tmp_path, "unit") as host, listening(outside) as listener:
        service = Service(host, listener)
        yield service
        service.forget()


@contextmanager
def peer_of(host: Host, directory: Path) -> Iterator[Host]:
    """Another host, up, that knows `host` and is known to it."""
    with Namespace("unit-far") as namespace:
        peer = Host(namespace, "unit-far", 2, Program.TUNNEL, directory)
        host.namespace.ip("link", "delete", host.port.interface)
        connect(host.port, peer.port)
        introduce(host, peer, Meeting())
        peer.up()
        yield peer


@pytest.mark.slow
def test_with_one_capability_it_comes_up_talks_and_leaves_nothing(service: Service, tmp_path: Path) -> None:
    host = service.host
    with peer_of(host, tmp_path) as peer:
        before = survey(host.namespace, host.interface)
        host.write_config()
        service.start()
        ping(host.namespace, peer.inner_ipv4)
        status = service.credentials()
        assert set(status["Uid"].split()) == {str(NOBODY)}
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == CAP_NET_ADMIN
        assert status["NoNewPrivs"] == "1"
        eventually(lambda: service.heard("STATUS=1 of 1 peer connected, last handshake 20"), "the status is told", 8)
        service.stop()
        service.forget()  # as systemd does when it does not start us again
        assert survey(host.namespace, host.interface) == before
    assert service.heard("STOPPING=1") == 1
    assert service.messages.index("STATUS=0 of 1 peer connected") < service.messages.index("READY=1")
    assert "warning" not in service.log


def test_the_watchdog_is_fed_until_the_process_hangs(service: Service) -> None:
    service.host.write_config()
    service.start()
    eventually(lambda: service.heard("WATCHDOG=1") >= 3, "it is fed")
    service.signal(signal.SIGSTOP)
    fed = service.heard("WATCHDOG=1")
    assert len(select_for(service.listener, 0.5)) == 0
    service.signal(signal.SIGCONT)
    eventually(lambda: service.heard("WATCHDOG=1") > fed, "it is fed again")


def test_a_restart_keeps_interface_and_port_and_a_connection_goes_on(service: Service, tmp_path: Path) -> None:
    host = service.host
    host.settings = ("PostUp = ip route add 10.61.0.0/16 dev %i", "PostDown = echo went down")
    with peer_of(host, tmp_path) as peer:
        host.write_config()
        service.start()
        with listen(peer.namespace, peer.inner_ipv4) as listener:
            near, far = connect_to(host.namespace, listener)
        before = survey(host.namespace, host.interface)
        service.stop()
        assert [name for name, _ in service.kept] == ["stored-tun", "stored-udp", "stored-udp"]
        assert "PostDown: went down" in service.log
        near.sendall(b"sent while nobody is there")
        service.start()
        assert service.kept == []
        assert far.recv(100) == b"sent while nobody is there"
        assert survey(host.namespace, host.interface) == before
        far.sendall(b"and back")
        assert near.recv(100) == b"and back"
        near.close()
        far.close()
        service.signal(signal.SIGKILL)
        eventually(lambda: host.interface not in host.namespace.links(), "it is nobody else's any more")
    assert "warning" not in service.log


@pytest.mark.slow
def test_what_no_longer_fits_is_let_go(service: Service) -> None:
    host = service.host
    host.write_config()
    service.start()
    host.namespace.ip("address", "add", "10.66.0.1/24", "dev", host.interface)
    service.stop()
    host.namespace.ip("link", "set", host.interface, "down")
    host.namespace.ip("link", "set", host.interface, "name", "other")
    host.config_file.write_text(host.config().replace("ListenPort = 51820", "ListenPort = 51821"))
    service.start()
    assert "other" not in host.namespace.links()
    assert "10.66.0.1" not in host.namespace.ip("address")
    ports = host.namespace.run("ss", "-Hlun").stdout
    assert ":51821 " in ports
    assert ":51820 " not in ports
    service.stop()


def select_for(listener: socket.socket, seconds: float) -> list[str]:
    """What comes in that time."""
    listener.settimeout(seconds)
    try:
        return [listener.recv(4096).decode()]
    except TimeoutError:
        return []
    finally:
        listener.setblocking(False)


def test_a_certificate_is_read_again_on_sighup_and_systemd_is_told(service: Service, tmp_path: Path) -> None:
    host = service.host
    for command in ("ca", "issue unit --address 10.9.0.1 --server"):
        subprocess.run([BIN / "tunnel", "cert", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    os.chown(tmp_path / "unit.pem", 0, NOBODY)
    (tmp_path / "unit.pem").chmod(0o640)
    host.config_file.write_text("[Interface]\nIdentity = unit.pem\n")
    service.start()
    assert "10.9.0.1" in host.namespace.ip("address")
    service.signal(signal.SIGHUP)
    eventually(lambda: service.heard("RELOADING=1\nMONOTONIC_USEC="), "it says that it reloads")
    eventually(lambda: service.heard("READY=1") == 2, "it says that it has reloaded")
    service.signal(signal.SIGTERM)
    assert service.process is not None
    assert service.process.wait(5) == 0, service.log


@dataclass(frozen=True, slots=True)
class Typed:
    """``tunnel up`` in the foreground of a terminal."""

    host: Host
    process: int
    terminal: int

    @classmethod
    def start(cls, host: Host, *, with_nohup: bool) -> "Typed":
        host.write_config()
        command = host.namespace.command(str(BIN / "tunnel"), "up", str(host.config_file))
        process, terminal = os.forkpty()
        if process == 0:
            signal.signal(signal.SIGHUP, signal.SIG_IGN if with_nohup else signal.SIG_DFL)
            os.execvp(command[0], command)
        route = host.peers[0].allowed_ips[0]
        eventually(lambda: route in host.namespace.ip("route"), "the interface is up")
        return cls(host, process, terminal)


@pytest.fixture
def typing_host(tmp_path: Path) -> Iterator[Host]:
    with open_host(tmp_path, "tty") as host:
        host.peers.append(PeerSection(PrivateKey(b"\3" * 32).public_key, ("10.60.0.0/16",)))
        yield host


def test_a_terminal_that_is_closed_ends_it_and_leaves_nothing(typing_host: Host) -> None:
    before = survey(typing_host.namespace, typing_host.interface)
    typed = Typed.start(typing_host, with_nohup=False)
    os.close(typed.terminal)
    eventually(lambda: os.waitpid(typed.process, os.WNOHANG)[0], "it has ended")
    assert survey(typing_host.namespace, typing_host.interface) == before


def test_with_nohup_a_terminal_that_is_closed_does_not_end_it(typing_host: Host) -> None:
    typed = Typed.start(typing_host, with_nohup=True)
    os.close(typed.terminal)
    assert typing_host.status()["pid"] == typed.process  # it answers, so it has had the time to end
    os.kill(typed.process, signal.SIGTERM)
    eventually(lambda: os.waitpid(typed.process, os.WNOHANG)[0], "it has ended")
    assert typing_host.interface not in typing_host.namespace.links()

"""Hosts with certificates for tests, made with the commands that an administrator types.

    Office ─ tunnel cert ca, issue ─▶ NAME.pem ─▶ Member ─ tunnel up NAME --identity NAME.pem --peer … ─▶ interface
           └ tunnel cert crl, revoke ─▶ ca/crl.pem ──────────▲

    member n    outside 192.0.2.n, 2001:db8::n          inside 10.9.0.n, fd09::n

A gateway is dialled as ``NAME.example.com``, which ``/etc/hosts`` of each namespace knows (ip-netns(8): a file below
``/etc/netns`` takes its place).

What is tried is tried under running traffic, which tells how much was lost and for how long it stood still:

    with RunningPing(client, "10.9.0.1", log) as flow:
        …
    assert flow.lost == 0
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess
from types import TracebackType
from typing import Any, Self

from tests.netns.eventually import eventually
from tests.netns.flows import connect_to, listen
from tests.netns.hosts import BIN, SOCKETS, Numbered, interface_name
from tunnel.cli.ending import CONFIG, FAILED
from tunnel.pki.authority import Authority
from tunnel.pki.store import parse_authority
from tunnel.testing.namespaces import Namespace, Switch

NETNS_FILES = Path("/etc/netns")
NETWORKS = ("10.9.0.0/24", "fd09::/64")
"""Everybody's inside: what a gateway is the way to."""

LEASE = 30.0
"""Seconds that ``tunnel up -d`` may take."""


class Office:
    """Where certificates are issued: the folder in which an administrator types ``tunnel cert …``."""

    def __init__(self, directory: Path, *options: str) -> None:
        """`options` are those of ``tunnel cert ca``."""
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.cert("ca", *options)

    @property
    def authority(self) -> Path:
        return self.directory / "ca" / "ca.pem"

    @property
    def crl(self) -> Path:
        return self.directory / "ca" / "crl.pem"

    def cert(self, *arguments: str, check: bool = True) -> CompletedProcess[str]:
        """``tunnel cert …``."""
        done = subprocess.run(
            (str(BIN / "tunnel"), "cert", *arguments),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def keeper(self) -> Authority:
        """The CA itself, which signs what ``tunnel cert issue`` would not."""
        key = (self.directory / "ca" / "ca.key").read_bytes()
        return parse_authority(self.authority.read_bytes(), key, None, ("ca.pem", "ca.key"))

    def issue(self, name: str, *options: str) -> Path:
        """``tunnel cert issue NAME …``: the identity file."""
        self.cert("issue", name, *options)
        return self.directory / f"{name}.pem"

    def issue_client(self, name: str, number: int, *options: str) -> Path:
        return self.issue(name, *_addresses(number), *options)

    def issue_gateway(self, name: str, number: int, *options: str) -> Path:
        """Dialled as ``NAME.example.com``, and the way to everybody."""
        transit = (f"--transit={network}" for network in NETWORKS)
        return self.issue(name, *_addresses(number), *transit, "--server", "--dns", dns_name(name), *options)

    def spread_crl(self, to: Path) -> None:
        """Bring the revocation list to a host, in one step as every tool for that does."""
        temporary = to.with_suffix(".new")
        shutil.copy(self.crl, temporary)
        temporary.replace(to)


def dns_name(name: str) -> str:
    return f"{name}.example.com"


def _addresses(number: int) -> tuple[str, ...]:
    return f"--address=10.9.0.{number}", f"--address=fd09::{number}"


@dataclass(slots=True, eq=False)
class Member(Numbered):
    """`number` is in all its addresses; `options` are those of ``tunnel up`` beside the identity."""

    INNER = ("10.9.0", "fd09::")

    namespace: Namespace
    label: str
    interface: str
    number: int
    identity: Path
    options: tuple[str, ...] = ()
    names: dict[str, str] = field(default_factory=dict)

    @property
    def log_file(self) -> Path:
        return self.identity.parent / f"{self.interface}.log"

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    # ── names ────────────────────────────────────────────────────────────────────────────────────────────────────

    def know(self, names: Mapping[str, str]) -> None:
        """Put more lines into its ``/etc/hosts``, name -> address; also while something runs that has read it."""
        self.names |= names
        file = NETNS_FILES / self.namespace.name / "hosts"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{address} {name}\n" for name, address in self.names.items()))

    def remove_files(self) -> None:
        """Those that are not in a test's own folder: the names, and the socket that a killed process has left."""
        shutil.rmtree(NETNS_FILES / self.namespace.name, ignore_errors=True)
        with suppress(OSError):  # not there, or others have files in it
            NETNS_FILES.rmdir()
        (SOCKETS / f"{self.interface}.sock").unlink(missing_ok=True)

    # ── up and down ──────────────────────────────────────────────────────────────────────────────────────────────

    def command(self, *options: str) -> tuple[str, ...]:
        """``tunnel up NAME …``; `options` in place of its own."""
        chosen = options or self.options
        return (str(BIN / "tunnel"), "up", self.interface, f"--identity={self.identity}", *chosen)

    def up(self, *options: str) -> None:
        """``tunnel up NAME -d …``; what it says goes to the log file."""
        process = self.namespace.popen(*self.command(*options), "-d", log=self.log_file)
        assert process.wait(LEASE) == 0, self.log

    def start(self, *options: str) -> subprocess.Popen[str]:
        """``tunnel up NAME …`` in the foreground, without waiting for it."""
        return self.namespace.popen(*self.command(*options), log=self.log_file)

    @contextmanager
    def running(self, *options: str) -> Iterator[None]:
        """``tunnel up NAME …`` in the foreground, until the block is left; nothing is waited for."""
        process = self.start(*options)
        try:
            yield
        finally:
            process.terminate()
            process.wait(5)

    def refused(self, *options: str) -> str:
        """``tunnel up NAME …`` must fail with one line: what it said, without ``tunnel: ``."""
        done = self.namespace.run("setsid", "-w", *self.command(*options), check=False)  # without a terminal
        assert done.returncode in (FAILED, CONFIG), done.stderr
        assert done.stdout == ""
        (line,) = done.stderr.splitlines()
        assert line.startswith("tunnel: ")
        return line.removeprefix("tunnel: ")

    def down(self) -> None:
        self.tunnel("down", self.interface)

    def kill(self) -> None:
        """``kill -9``; it is gone when this returns."""
        os.kill(self.pid, signal.SIGKILL)
        eventually(lambda: self.interface not in self.namespace.links(), "the interface is gone")

    # ── what is there ────────────────────────────────────────────────────────────────────────────────────────────

    def tunnel(self, *arguments: str, check: bool = True) -> CompletedProcess[str]:
        """``tunnel …`` inside."""
        return self.namespace.run(str(BIN / "tunnel"), *arguments, check=check)

    def wg(self, *arguments: str, check: bool = True, stdin: str | None = None) -> CompletedProcess[str]:
        """``wg …`` inside."""
        return self.namespace.run("wg", *arguments, check=check, stdin=stdin)

    def status(self) -> dict[str, Any]:
        """``tunnel status NAME --json``."""
        (status,) = json.loads(self.tunnel("status", self.interface, "--json").stdout)
        assert isinstance(status, dict)
        return status

    @property
    def pid(self) -> int:
        pid: int = self.status()["pid"]
        return pid

    @property
    def peers(self) -> set[str]:
        """The names of those who are there by their certificates."""
        return {peer["name"] for peer in self.status()["peers"] if peer["name"]}

    @property
    def refusals(self) -> dict[str, int]:
        """Problem -> how often somebody was refused for it."""
        return dict(self.status()["refusals"])

    @property
    def routes(self) -> set[str]:
        """The networks that are routed into the interface, of both families."""
        shown = self.namespace.ip("route", "show", "dev", self.interface)
        shown += self.namespace.ip("-6", "route", "show", "dev", self.interface)
        return {line.split()[0] for line in shown.splitlines()} - set(self.inner)

    @property
    def addresses(self) -> set[str]:
        """Those of the interface, with their lengths."""
        return set(re.findall(r"inet6? (\S+)", self.namespace.ip("-o", "address", "show", "dev", self.interface)))

    def says(self, *words: str) -> str:
        """Wait for a line with all these words in its log: the line."""

        def found() -> str:
            return next((line for line in self.log.splitlines() if all(word in line for word in words)), "")

        return eventually(found, f"{self.label} says {' … '.join(words)}; it says:\n{self.log}", 20)


def forward(namespace: Namespace) -> None:
    """Let it pass on what is not for itself."""
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        namespace.run("sh", "-c", f"echo 1 > /proc/sys/net/{switch}")


@dataclass(slots=True)
class Site:
    """One office, one network outside, and whoever was put there.

    `tag` is at most four letters, unique in this process.
    """

    tag: str
    office: Office
    lan: Switch
    stack: ExitStack
    members: dict[str, Member] = field(default_factory=dict)

    def gateway(self, label: str, number: int, *options: str, issue: Iterable[str] = ()) -> Member:
        """One that is dialled, not yet up; `issue` are options of ``tunnel cert issue``."""
        member = self.put(label, number, self.office.issue_gateway(label, number, *issue), *options)
        forward(member.namespace)
        return member

    def client(self, label: str, number: int, *options: str, issue: Iterable[str] = ()) -> Member:
        """One that dials, the gateway ``gw`` if `options` do not say whom; not yet up."""
        identity = self.office.issue_client(label, number, *issue)
        return self.put(label, number, identity, *(options or (f"--peer={dns_name('gw')}",)))

    def put(self, label: str, number: int, identity: Path, *options: str) -> Member:
        """A host with that identity, attached to the network."""
        member = self.add(label, number, identity, *options)
        self.lan.attach(member.port)
        return member

    def add(self, label: str, number: int, identity: Path, *options: str) -> Member:
        """A host with that identity and without a cable; everybody knows everybody's name outside."""
        namespace = Namespace(f"{self.tag}-{label}")
        member = Member(namespace, label, interface_name(f"{self.tag}{number}"), number, identity, options)
        self.stack.callback(member.remove_files)  # when the namespace and its processes are gone
        self.stack.enter_context(namespace)
        self.members[label] = member
        for one in self.members.values():
            one.know({dns_name(other.label): other.outer_ipv4 for other in self.members.values()})
        return member


@contextmanager
def open_site(directory: Path, tag: str, *options: str) -> Iterator[Site]:
    """`options` are those of ``tunnel cert ca``."""
    with ExitStack() as stack:
        yield Site(tag, Office(directory, *options), stack.enter_context(Switch(f"{tag}-lan")), stack)


# ---- traffic that goes on while something happens -------------------------------------------------------------------

INTERVAL = 0.01
"""Seconds from one echo request to the next."""

CHUNK = 1 << 14


class RunningPing:
    """Echo requests from inside a namespace until the block is left; only then is the result there."""

    def __init__(self, client: Namespace, address: str, log: Path) -> None:
        self._client = client
        self._address = address
        self._log = log
        self.sent = 0
        self.answers: list[tuple[float, int]] = []
        """Unix seconds, sequence number."""

    def __enter__(self) -> Self:
        self._log.write_text("")
        interval = ("-i", f"{INTERVAL:g}", "-O", "-D")
        self._process = self._client.popen("ping", "-n", *interval, self._address, log=self._log)
        eventually(lambda: "time=" in self._log.read_text(), f"{self._address} answers", 10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(5)
        text = self._log.read_text()
        found = re.search(r"(\d+) packets transmitted", text)
        self.sent = int(found[1]) if found else 0
        self.answers = [(float(when), int(number)) for when, number in _ANSWER.findall(text)]

    def wait_for_more(self, count: int = 20, timeout: float = 60.0) -> None:
        """Until so many more answers have come."""
        wanted = self._count() + count
        eventually(lambda: self._count() >= wanted, f"{count} more answers of {self._address}", timeout)

    def _count(self) -> int:
        return self._log.read_text().count("time=")

    @property
    def lost(self) -> int:
        """Requests without an answer; the last one's may still have been on its way."""
        last = max(number for _, number in self.answers)
        return last - len({number for _, number in self.answers})

    @property
    def silence(self) -> float:
        """Seconds, the longest between two answers."""
        return max(later - earlier for (earlier, _), (later, _) in pairwise(self.answers))

    def silence_after(self, moment: float) -> float:
        """Seconds from then (Unix time) to the next answer."""
        return next(when for when, _ in self.answers if when > moment) - moment


_ANSWER = re.compile(r"\[([\d.]+)\] \d+ bytes from .*icmp_seq=(\d+) .*time=")


class RunningStream:
    """A TCP stream between two namespaces until the block is left, in pieces, about a megabyte a second."""

    PAUSE = 0.015

    def __init__(self, client: Namespace, server: Namespace, address: str) -> None:
        with listen(server, address) as listener:
            self._near, self._far = connect_to(client, listener)
        self._near.settimeout(60)
        self._far.settimeout(60)
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]
        self.sent = self.received = 0
        self.arrivals: list[float] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()
        self._near.close()
        self._far.close()

    @property
    def silence(self) -> float:
        """Seconds, the longest between two arrivals."""
        return max(later - earlier for earlier, later in pairwise(self.arrivals))

    def _send(self) -> None:
        while not self._is_over.wait(self.PAUSE):
            self._near.sendall(bytes(CHUNK))
            self.sent += CHUNK
        self._near.shutdown(1)

    def _receive(self) -> None:
        while piece := self._far.recv(1 << 16):
            self.received += len(piece)
            self.arrivals.append(time.monotonic())

"""Hosts of our own: network namespaces with veth pairs between them, gone whatever happens.

Everything is done with iproute2 as a person would type it, and nothing in the root namespace is touched: both ends of
a veth pair are made where they belong. A namespace is a context manager that takes its processes with it.

    with Namespace("left") as left, Namespace("right") as right:        ip netns add tunnel-4711-left …
        connect(Port(left, "eth0", ("192.0.2.1/24",)), Port(right, "eth0", ("192.0.2.2/24",)))
        left.run("ping", "-c1", "192.0.2.2")                            ip netns exec tunnel-4711-left ping …

The name carries the process id of its owner, so that what a ``kill -9`` left behind is recognised and removed by the
next run (`reap`). Ctrl-C during the removal waits until it is done; `unwinding` makes SIGTERM and SIGHUP leave through
the same doors as Ctrl-C.
"""

import ctypes
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from tunnel.errors import TunnelError

COMMAND_TIMEOUT = 30.0
"""Seconds after which a command is taken to hang."""

TERM_PATIENCE = 3.0
"""Seconds that a process in a namespace has between SIGTERM and SIGKILL."""

_OWNED_NAME = re.compile(r"tunnel-(\d+)-[a-z0-9-]+")
_CLONE_NEWNET = 0x40000000
_NETNS_DIRECTORY = Path("/run/netns")
_STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


class CommandError(TunnelError):
    """A command failed or hung; the text is the command and what it said last."""

    def __init__(self, command: Sequence[str], output: str) -> None:
        lines = output.strip().splitlines()
        super().__init__(f"{' '.join(command)}: {lines[-1] if lines else 'failed without a word'}")
        self.command = tuple(command)
        self.output = output


def run_command(
    *command: str, check: bool = True, stdin: str | None = None, timeout: float = COMMAND_TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Run to the end and return what it printed; raise `CommandError` on a timeout and, with `check`, on a failure."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, input=stdin, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as expired:
        raise CommandError(command, f"no answer within {expired.timeout:g} s") from None
    except OSError as error:
        raise CommandError(command, error.strerror or str(error)) from None
    if check and done.returncode != 0:
        raise CommandError(command, done.stdout + done.stderr)
    return done


class Namespace:
    """A network namespace with loopback up; leaving the context kills what runs in it and removes it."""

    def __init__(self, label: str) -> None:
        """`label`: lower-case letters, digits and dashes, unique within this process."""
        self.name = f"tunnel-{os.getpid()}-{label}"
        if not _OWNED_NAME.fullmatch(self.name):
            raise ValueError(f"'{label}' is no label for a namespace")
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def open(self) -> None:
        """Make it, for who calls `close` himself."""
        with uninterrupted():
            run_command("ip", "netns", "add", self.name)
            self.ip("link", "set", "lo", "up")

    def close(self) -> None:
        """Remove it and everything in it; harmless when repeated."""
        with uninterrupted():
            for process in self._processes:
                process.terminate()  # by itself: one just started may not have arrived inside yet
            _remove(self.name)
            for process in self._processes:
                process.kill()
                process.communicate()
            self._processes.clear()

    def command(self, *command: str) -> tuple[str, ...]:
        """What to type outside to run `command` inside."""
        return ("ip", "netns", "exec", self.name, *command)

    def run(
        self, *command: str, check: bool = True, stdin: str | None = None, timeout: float = COMMAND_TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """As `run_command`, inside."""
        return run_command(*self.command(*command), check=check, stdin=stdin, timeout=timeout)

    def popen(self, *command: str, log: Path | None = None, pass_fds: Collection[int] = ()) -> subprocess.Popen[str]:
        """Start `command` inside, with pipes, or with what it prints appended to `log`; it ends with the namespace.

        It has a session of its own, so that a Ctrl-C at the terminal reaches us alone and we decide the order.
        """
        start = partial(
            subprocess.Popen[str], self.command(*command), text=True, start_new_session=True, pass_fds=pass_fds
        )
        if log is None:
            process = start(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        else:
            with log.open("a") as output:
                process = start(stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self._processes.append(process)
        return process

    def ip(self, *arguments: str) -> str:
        """The output of ``ip -n NAME …``."""
        return run_command("ip", "-n", self.name, *arguments).stdout

    def links(self) -> list[str]:
        """The names of the interfaces inside, loopback left out."""
        names = (line.split(":")[1].strip().partition("@")[0] for line in self.ip("-o", "link").splitlines())
        return [name for name in names if name != "lo"]

    def processes(self) -> list[int]:
        """The process ids inside."""
        return _processes_in(self.name)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Run the calling thread inside: sockets made in the block belong to this namespace, also after it."""
        with open("/proc/thread-self/ns/net") as before, (_NETNS_DIRECTORY / self.name).open() as inside:
            _set_namespace(inside.fileno())
            try:
                yield
            finally:
                _set_namespace(before.fileno())

    def __repr__(self) -> str:
        return f"Namespace({self.name})"


class Switch(Namespace):
    """A namespace that is an Ethernet switch: a bridge to which any number of hosts are attached."""

    BRIDGE = "br0"

    def open(self) -> None:
        super().open()
        self.ip("link", "add", self.BRIDGE, "type", "bridge")
        self.ip("link", "set", self.BRIDGE, "up")

    def attach(self, host: "Port", mtu: int = 1500) -> None:
        """Plug the host's port into the switch."""
        number = len(self.links())
        connect(host, Port(self, f"port{number}"), mtu=mtu)
        self.ip("link", "set", f"port{number}", "master", self.BRIDGE)


@dataclass(frozen=True, slots=True)
class Port:
    """One end of a veth pair: an interface to be made in `namespace`, with addresses as ``192.0.2.1/24``."""

    namespace: Namespace
    interface: str
    addresses: tuple[str, ...] = ()


def connect(left: Port, right: Port, *, mtu: int = 1500) -> None:
    """Join two namespaces by a veth pair and bring it up; raise `CommandError` if a name or an address is taken."""
    ends = (left.interface, "mtu", str(mtu), "type", "veth", "peer", "name", right.interface, "mtu", str(mtu))
    left.namespace.ip("link", "add", *ends, "netns", right.namespace.name)
    for port in (left, right):
        # No link-local address: nothing is sent that nobody asked for, and captures show what matters.
        port.namespace.ip("link", "set", port.interface, "addrgenmode", "none", "up")
        for address in port.addresses:
            # Without duplicate address detection an IPv6 address is of use at once instead of a second later.
            no_delay = ("nodad",) if ":" in address else ()
            port.namespace.ip("address", "add", address, "dev", port.interface, *no_delay)


def reap() -> list[str]:
    """Remove the namespaces whose owner is dead, with the processes in them; return their names."""
    if not _NETNS_DIRECTORY.is_dir():
        return []
    removed = []
    for name in sorted(entry.name for entry in _NETNS_DIRECTORY.iterdir()):
        owner = _OWNED_NAME.fullmatch(name)
        if owner and not Path("/proc", owner[1]).exists():
            _remove(name)
            removed.append(name)
    return removed


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back signals that ask us to stop (and from the commands that we run) until the block is done."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def unwinding() -> Iterator[None]:
    """Within, SIGTERM and SIGHUP raise `SystemExit`, so that every context is left properly. Main thread only."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _remove(name: str) -> None:
    """End what runs inside, politely first: a daemon that gets SIGTERM removes its socket file."""
    if not (_NETNS_DIRECTORY / name).exists():
        return
    _signal_and_wait(_processes_in(name), signal.SIGTERM, TERM_PATIENCE)
    _signal_and_wait(_processes_in(name), signal.SIGKILL, TERM_PATIENCE)
    run_command("ip", "netns", "delete", name, check=False)


def _processes_in(name: str) -> list[int]:
    listed = run_command("ip", "netns", "pids", name, check=False).stdout
    return [int(line) for line in listed.split() if int(line) != os.getpid()]


def _signal_and_wait(processes: Sequence[int], number: signal.Signals, patience: float) -> None:
    """Signal all, then wait until all have ended or `patience` seconds are over."""
    waiting = select.poll()
    alive: set[int] = set()
    for process in processes:
        try:
            descriptor = os.pidfd_open(process)
        except ProcessLookupError:
            continue
        signal.pidfd_send_signal(descriptor, number)
        waiting.register(descriptor, select.POLLIN)
        alive.add(descriptor)
    give_up = time.monotonic() + patience
    while alive and (left := give_up - time.monotonic()) > 0:
        for descriptor, _ in waiting.poll(left * 1000):
            waiting.unregister(descriptor)
            os.close(descriptor)
            alive.discard(descriptor)
    for descriptor in alive:
        os.close(descriptor)


def _set_namespace(descriptor: int) -> None:
    """setns(2) for the calling thread; `os.setns` exists from Python 3.12 on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))

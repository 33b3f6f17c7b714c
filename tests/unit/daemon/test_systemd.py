"""What systemd hears, and when: on a socket of ours, by a clock that stands still."""

import os
import resource
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tunnel.config.snapshot import PeerSnapshot
from tunnel.daemon.systemd import (
    STATUS_INTERVAL,
    Notifier,
    StatusLine,
    Watchdog,
    describe_peers,
    is_reloaded_by_hangup,
)
from tunnel.keys import PublicKey

PID = 4711


class Manager:
    """The other end of $NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.setblocking(False)

    def notifier(self, **variables: str) -> Notifier:
        return Notifier.take_from({"NOTIFY_SOCKET": self.address, **variables}, PID)

    def heard(self) -> list[str]:
        """Everything since it was asked last."""
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify") if request.param == "path" else f"@tunnel-test-{os.getpid()}")
    yield manager
    manager.socket.close()


@dataclass(slots=True)
class Ringing:
    at: float
    ring: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass(slots=True)
class Timers:
    """An event loop's `call_later`; time passes in `pass_time`."""

    now: float = 0.0
    alarms: list[Ringing] = field(default_factory=list)

    def call_later(self, delay: float, ring: Callable[[], None]) -> Ringing:
        self.alarms.append(alarm := Ringing(self.now + delay, ring))
        return alarm

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [alarm for alarm in self.alarms if alarm.at <= end and not alarm.is_cancelled]:
            alarm = min(due, key=lambda alarm: alarm.at)
            self.alarms.remove(alarm)
            self.now = alarm.at
            alarm.ring()
        self.now = end


# ---- messages -------------------------------------------------------------------------------------------------------


def test_each_message_is_one_datagram(manager: Manager) -> None:
    notifier = manager.notifier()
    notifier.ready()
    notifier.status("1 of 2 peers connected")
    notifier.alive()
    notifier.stopping()
    assert manager.heard() == ["READY=1", "STATUS=1 of 2 peers connected", "WATCHDOG=1", "STOPPING=1"]


def test_a_reload_is_announced_with_its_time_in_microseconds(manager: Manager) -> None:
    Notifier(manager.notifier().address, monotonic_ns=lambda: 12_345_678).reloading()
    assert manager.heard() == ["RELOADING=1\nMONOTONIC_USEC=12345"]


def test_descriptors_are_handed_over_for_the_next_process(manager: Manager, tmp_path: Path) -> None:
    notifier = manager.notifier()
    with (tmp_path / "kept").open("w+") as file:
        file.write("kept")
        file.flush()
        notifier.store("stored-tun", [file.fileno()])
    message, (descriptor,), *_ = socket.recv_fds(manager.socket, 4096, 4)
    assert message == b"FDSTORE=1\nFDNAME=stored-tun\nFDPOLL=0"
    assert os.pread(descriptor, 10, 0) == b"kept"
    os.close(descriptor)
    notifier.store("stored-udp", [])
    notifier.forget("stored-tun")
    assert manager.heard() == ["FDSTOREREMOVE=1\nFDNAME=stored-tun"]


def test_the_watchdog_is_fed_when_descriptors_are_used_up(manager: Manager) -> None:
    notifier = manager.notifier()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
    try:
        notifier.alive()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert manager.heard() == ["WATCHDOG=1"]


def test_a_manager_that_is_started_again_is_told_again(tmp_path: Path) -> None:
    before = Manager(str(tmp_path / "notify"))
    notifier = before.notifier()
    before.socket.close()
    (tmp_path / "notify").unlink()
    notifier.alive()
    after = Manager(str(tmp_path / "notify"))
    notifier.alive()
    assert after.heard() == ["WATCHDOG=1"]
    after.socket.close()


def test_without_a_manager_nothing_is_done() -> None:
    notifier = Notifier.take_from({}, PID)
    notifier.ready()
    notifier.status("nobody hears it")
    assert notifier == Notifier()


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative/path", "/nowhere/notify", "@nobody", "/" * 200])
def test_a_manager_that_cannot_be_reached_is_no_failure(address: str) -> None:
    Notifier.take_from({"NOTIFY_SOCKET": address}, PID).ready()


def test_a_manager_that_does_not_listen_is_not_waited_for(manager: Manager) -> None:
    notifier = manager.notifier()
    for _ in range(2000):
        notifier.alive()
    assert 0 < len(manager.heard()) < 2000


def test_hooks_do_not_inherit_what_would_let_them_speak_for_us() -> None:
    environment = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    Notifier.take_from(environment, PID)
    assert environment == {"PATH": "/bin"}


# ---- watchdog -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "1500000", "WATCHDOG_PID": str(PID)}, 1.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "-5"}, 0.0),
        ({"WATCHDOG_USEC": "\N{SUPERSCRIPT TWO}"}, 0.0),
    ],
)
def test_how_often_the_watchdog_wants_to_hear_of_us(variables: dict[str, str], seconds: float) -> None:
    assert Notifier.take_from({"NOTIFY_SOCKET": "/run/notify", **variables}, PID).watchdog == seconds


def test_the_watchdog_is_fed_twice_in_its_time(manager: Manager) -> None:
    timers = Timers()
    Watchdog(manager.notifier(WATCHDOG_USEC="30000000"), timers.call_later, lambda: True).start()
    timers.pass_time(14.9)
    assert manager.heard() == []
    timers.pass_time(45.2)
    assert manager.heard() == ["WATCHDOG=1"] * 4


def test_a_loop_that_hangs_does_not_feed_the_watchdog(manager: Manager) -> None:
    timers = Timers()
    Watchdog(manager.notifier(WATCHDOG_USEC="30000000"), timers.call_later, lambda: True).start()
    timers.now += 1000  # nothing rings
    assert manager.heard() == []


def test_a_pipeline_that_has_stopped_does_not_feed_the_watchdog(manager: Manager) -> None:
    timers = Timers()
    is_running = True
    Watchdog(manager.notifier(WATCHDOG_USEC="2000000"), timers.call_later, lambda: is_running).start()
    timers.pass_time(1)
    is_running = False
    timers.pass_time(10)
    assert manager.heard() == ["WATCHDOG=1"]


def test_a_turn_that_fails_does_not_feed_the_watchdog_and_the_next_one_may(manager: Manager) -> None:
    timers = Timers()
    turns = iter([ZeroDivisionError(), None])

    def take_turn() -> bool:
        if error := next(turns):
            raise error
        return True

    Watchdog(manager.notifier(WATCHDOG_USEC="2000000"), timers.call_later, take_turn).start()
    with pytest.raises(ZeroDivisionError):
        timers.pass_time(1)
    assert manager.heard() == []
    timers.pass_time(1)
    assert manager.heard() == ["WATCHDOG=1"]


def test_nobody_is_fed_after_the_end(manager: Manager) -> None:
    timers = Timers()
    watchdog = Watchdog(manager.notifier(WATCHDOG_USEC="2000000"), timers.call_later, lambda: True)
    watchdog.start()
    watchdog.stop()
    watchdog.stop()
    timers.pass_time(10)
    assert manager.heard() == []


def test_without_a_watchdog_no_timer_runs(manager: Manager) -> None:
    timers = Timers()
    Watchdog(manager.notifier(), timers.call_later, lambda: True).start()
    assert timers.alarms == []


# ---- status ---------------------------------------------------------------------------------------------------------


def test_many_changes_are_told_once_and_not_at_once(manager: Manager) -> None:
    timers = Timers()
    told = iter(["one", "two"])
    line = StatusLine(manager.notifier(), timers.call_later, lambda: next(told))
    for _ in range(1000):
        line.changed()
    assert manager.heard() == []
    timers.pass_time(STATUS_INTERVAL)
    assert manager.heard() == ["STATUS=one"]
    line.changed()
    timers.pass_time(STATUS_INTERVAL)
    assert manager.heard() == ["STATUS=two"]


def test_what_is_no_news_is_not_told(manager: Manager) -> None:
    timers = Timers()
    line = StatusLine(manager.notifier(), timers.call_later, lambda: "as before")
    line.tell()
    line.changed()
    timers.pass_time(STATUS_INTERVAL)
    assert manager.heard() == ["STATUS=as before"]


def test_nothing_is_told_after_the_end(manager: Manager) -> None:
    timers = Timers()
    line = StatusLine(manager.notifier(), timers.call_later, lambda: "late")
    line.changed()
    line.stop()
    timers.pass_time(STATUS_INTERVAL)
    assert manager.heard() == []


def test_without_a_manager_nobody_counts_peers() -> None:
    timers = Timers()
    line = StatusLine(Notifier(), timers.call_later, lambda: pytest.fail("it was asked"))
    line.tell()
    line.changed()
    assert timers.alarms == []


def test_how_the_peers_are_in_one_line() -> None:
    some = PeerSnapshot(PublicKey(b"\1" * 32), last_handshake=1_800_000_000.9)
    other = PeerSnapshot(PublicKey(b"\2" * 32))
    assert describe_peers([], 0) == "0 of 0 peers connected"
    assert describe_peers([other], 0) == "0 of 1 peer connected"
    assert describe_peers([other, some], 1) == "1 of 2 peers connected, last handshake 2027-01-15 08:00:00 UTC"


# ---- SIGHUP ---------------------------------------------------------------------------------------------------------


def test_a_hang_up_is_a_reload_where_systemd_runs_us(tmp_path: Path) -> None:
    terminal = tmp_path / "tty"
    terminal.touch()
    assert is_reloaded_by_hangup(Notifier(b"/run/notify"), str(terminal))


def test_a_hang_up_is_a_reload_where_there_is_no_terminal(tmp_path: Path) -> None:
    assert is_reloaded_by_hangup(Notifier(), str(tmp_path / "none"))


def test_a_hang_up_is_the_end_where_a_terminal_was_closed(tmp_path: Path) -> None:
    terminal = tmp_path / "tty"
    terminal.touch()
    assert not is_reloaded_by_hangup(Notifier(), str(terminal))


def test_a_process_with_a_terminal_of_its_own_knows_it() -> None:
    child, side = os.forkpty()
    if child == 0:
        os._exit(10 + is_reloaded_by_hangup(Notifier()))
    _, status = os.waitpid(child, 0)
    os.close(side)
    assert os.waitstatus_to_exitcode(status) == 10

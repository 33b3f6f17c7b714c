"""Log lines: what they say, where they go, and how often."""

import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tunnel.daemon.log import SILENT, RateLimited, describe, level_from, rename_interface, set_up_logging
from tunnel.endpoint import Endpoint
from tunnel.errors import ConfigError
from tunnel.keys import PrivateKey
from tunnel.protocol.events import (
    Event,
    HandshakeCompleted,
    HandshakeGaveUp,
    HandshakeUnanswered,
    PathMtuChanged,
    PeerRoamed,
    SessionExpired,
    UnderLoad,
)
from tunnel.testing.clock import FakeClock

PEER = PrivateKey(bytes([1]) * 32).public_key
HERE = Endpoint("192.0.2.1", 51820)
THERE = Endpoint("2001:db8::1", 4711)

_log = logging.getLogger("tests.log")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back afterwards."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    logger.handlers = []
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers = handlers
    logger.setLevel(level)
    for library in ("asyncio", "pyroute2"):
        logging.getLogger(library).setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            HandshakeCompleted(PEER, HERE, as_initiator=True),
            f"handshake completed peer={PEER.short} endpoint=192.0.2.1:51820 role=initiator",
        ),
        (
            HandshakeCompleted(PEER, THERE, as_initiator=False),
            f"handshake completed peer={PEER.short} endpoint=[2001:db8::1]:4711 role=responder",
        ),
        (HandshakeUnanswered(PEER, 3), f"handshake unanswered peer={PEER.short} attempts=3"),
        (HandshakeGaveUp(PEER, 12), f"handshake given up peer={PEER.short} dropped=12"),
        (PeerRoamed(PEER, None, HERE), f"peer roamed peer={PEER.short} before=none endpoint=192.0.2.1:51820"),
        (SessionExpired(PEER), f"session expired peer={PEER.short}"),
        (PathMtuChanged(PEER, 1280, 1220), f"path mtu changed peer={PEER.short} path_mtu=1280 max_packet=1220"),
        (UnderLoad(True), "handshake load high: asking for cookies"),
        (UnderLoad(False), "handshake load normal again"),
    ],
)
def test_an_event_is_one_line_with_fields(event: Event, line: str) -> None:
    assert describe(event)[1] == line


def test_no_line_holds_a_whole_key() -> None:
    assert PEER.to_base64() not in describe(SessionExpired(PEER))[1]


def test_a_kind_is_printed_once_in_an_interval_and_then_counted(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    limited = RateLimited(_log, clock, interval=5.0)
    for _ in range(21):
        limited.log(logging.WARNING, "kind", "line")
        clock.advance(0.5)
    again = "line (and 9 more like it before)"
    assert [record.getMessage() for record in caplog.records] == ["line", again, again]


def test_kinds_do_not_silence_each_other(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    limited = RateLimited(_log, FakeClock())
    limited.event(HandshakeUnanswered(PEER, 1))
    limited.event(SessionExpired(PEER))
    limited.event(UnderLoad(True))
    assert len(caplog.records) == 3


def test_a_flood_of_kinds_is_bounded_in_memory_and_in_lines(caplog: pytest.LogCaptureFixture) -> None:
    limited = RateLimited(_log, FakeClock())
    for number in range(10 * RateLimited.MAX_KINDS):
        limited.log(logging.WARNING, f"kind {number}", "line")
    assert len(caplog.records) <= RateLimited.MAX_KINDS + 1


def test_kinds_that_are_over_make_room(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    limited = RateLimited(_log, clock)
    for number in range(2 * RateLimited.MAX_KINDS):
        limited.log(logging.WARNING, f"kind {number}", "line")
    clock.advance(5.0)
    caplog.clear()
    limited.log(logging.WARNING, "new", "line")
    limited.log(logging.WARNING, "newer", "line")
    assert len(caplog.records) == 2


def test_v_means_debug_whatever_the_environment_says() -> None:
    assert level_from(1, {"LOG_LEVEL": "error"}) == logging.DEBUG


@pytest.mark.parametrize(
    ("word", "level"),
    [("", logging.INFO), ("verbose", logging.DEBUG), ("ERROR", logging.ERROR), ("silent", SILENT)],
)
def test_log_level_is_a_word(word: str, level: int) -> None:
    assert level_from(0, {"LOG_LEVEL": word}) == level


def test_without_log_level_it_is_info() -> None:
    assert level_from(0, {}) == logging.INFO


def test_an_unknown_log_level_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="LOG_LEVEL: 'loud' is none of silent, error"):
        level_from(0, {"LOG_LEVEL": "loud"})


def test_in_the_foreground_lines_go_to_stderr(root: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("wg0", logging.INFO, to_syslog=False)
    logging.getLogger("tunnel.x").info("hello")
    logging.getLogger("tunnel.x").debug("hidden")
    assert capfd.readouterr().err.endswith(" wg0 info: hello\n")


def test_libraries_are_not_chatty(root: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("wg0", logging.DEBUG, to_syslog=False)
    logging.getLogger("pyroute2.netlink").debug("packet")
    assert capfd.readouterr().err == ""


def test_in_the_background_lines_go_to_syslog(root: logging.Logger, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        set_up_logging("wg0", logging.INFO, to_syslog=True, syslog_socket=tmp_path / "log")
        logging.getLogger("tunnel.x").warning("hello")
        assert daemon.recv(1000).rstrip(b"\0").decode() == "<28>tunnel[wg0]: hello"


def test_without_a_syslog_lines_go_to_stderr(
    root: logging.Logger, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    set_up_logging("wg0", logging.INFO, to_syslog=True, syslog_socket=tmp_path / "log")
    logging.getLogger("tunnel.x").info("hello")
    assert capfd.readouterr().err.endswith(" wg0 info: hello\n")


def test_a_syslog_that_went_away_is_no_traceback(
    root: logging.Logger, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        set_up_logging("wg0", logging.INFO, to_syslog=True, syslog_socket=tmp_path / "log")
    (tmp_path / "log").unlink()
    logging.getLogger("tunnel.x").info("hello")
    assert capfd.readouterr().err == ""


def test_lines_are_of_the_interface_as_it_is_called_now(
    root: logging.Logger, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    set_up_logging("wg0", logging.INFO, to_syslog=False)
    rename_interface("office")
    logging.getLogger("tunnel.x").info("hello")
    assert capfd.readouterr().err.endswith(" office info: hello\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(tmp_path / "log"))
        set_up_logging("wg0", logging.INFO, to_syslog=True, syslog_socket=tmp_path / "log")
        rename_interface("office")
        logging.getLogger("tunnel.x").warning("hello")
        assert daemon.recv(1000).rstrip(b"\0").decode() == "<28>tunnel[office]: hello"


def test_silent_prints_nothing(root: logging.Logger, capfd: pytest.CaptureFixture[str]) -> None:
    set_up_logging("wg0", SILENT, to_syslog=False)
    logging.getLogger("tunnel.x").critical("hello")
    assert capfd.readouterr().err == ""

"""Lines in the journal: a fake of its socket, and what comes when it is not there."""

import logging
import os
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tunnel.daemon.journal import JournalHandler, is_stderr_the_journal, line_fields
from tunnel.daemon.log import describe, rename_interface, set_up_logging
from tunnel.endpoint import Endpoint
from tunnel.keys import PrivateKey
from tunnel.protocol.events import HandshakeCompleted, PathMtuChanged, PeerRoamed

PEER = PrivateKey(bytes([1]) * 32).public_key
HERE = Endpoint("2001:db8::1", 51820)


def unpack(datagram: bytes) -> dict[str, str]:
    """Fields as systemd-journald reads them."""
    fields = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
        else:
            (size,) = struct.unpack_from("<Q", rest)
            name, value, rest = line, rest[8 : 8 + size], rest[8 + size :]
            assert rest.startswith(b"\n")
            rest = rest[1:]
        fields[name.decode()] = value.decode()
        datagram = rest
    return fields


class _Lines(logging.Handler):
    """The fallback, which keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class Journal:
    """A fake journald at `path`, and a logger that writes to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fallback = _Lines()
        self.logger = logging.Logger("tests.journal")
        self.logger.addHandler(JournalHandler("wg0", self.fallback, path))
        self._socket: socket.socket
        self.start()

    def start(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(str(self.path))

    def stop(self) -> None:
        self._socket.close()
        self.path.unlink()

    def read(self) -> dict[str, str]:
        return unpack(self._socket.recv(1 << 20))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "socket")
    yield journal
    journal.logger.handlers[0].close()
    journal.stop()


# ---- what is sent -----------------------------------------------------------------------------------------------


def test_a_line_is_sent_with_its_fields(journal: Journal) -> None:
    journal.logger.info(describe(HandshakeCompleted(PEER, HERE, as_initiator=True))[1])
    assert journal.read() == {
        "MESSAGE": f"handshake completed peer={PEER.short} endpoint=[2001:db8::1]:51820 role=initiator",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "tunnel",
        "TUNNEL_INTERFACE": "wg0",
        "TUNNEL_EVENT": "handshake_completed",
        "TUNNEL_PEER": PEER.short,
        "TUNNEL_ENDPOINT": "[2001:db8::1]:51820",
        "TUNNEL_ROLE": "initiator",
    }
    assert journal.fallback.lines == []


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.CRITICAL, "2"), (logging.ERROR, "3"), (logging.WARNING, "4"), (logging.INFO, "6"), (logging.DEBUG, "7")],
)
def test_levels_are_those_of_syslog(journal: Journal, level: int, priority: str) -> None:
    journal.logger.log(level, "hello")
    assert journal.read()["PRIORITY"] == priority


def test_a_traceback_is_one_message_of_many_lines(journal: Journal) -> None:
    try:
        raise ValueError("what\nis this")
    except ValueError:
        journal.logger.exception("ended")
    fields = journal.read()
    assert fields["MESSAGE"].startswith("ended\nTraceback")
    assert fields["MESSAGE"].endswith("ValueError: what\nis this")
    assert fields["PRIORITY"] == "3"


def test_a_line_feed_makes_no_field(journal: Journal) -> None:
    journal.logger.warning("peer refused why=%s", "x\nTUNNEL_PEER=forged")
    assert "TUNNEL_PEER" not in journal.read()


def test_what_is_no_text_is_sent_escaped(journal: Journal) -> None:
    journal.logger.warning("name \udcff")
    assert journal.read()["MESSAGE"] == "name \\udcff"


# ---- fields of lines --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("interface wg0 is up, port 51820, MTU 1420", {}),
        ("handshake load high: asking for cookies", {}),
        ("name not resolved, trying on name=gw why=x", {}),
        ("identity renewed name=gw until=2027-01-01", {"EVENT": "identity_renewed"}),
        (describe(PeerRoamed(PEER, None, HERE))[1], {"EVENT": "peer_roamed", "PEER": PEER.short, "BEFORE": "none"}),
        (describe(PathMtuChanged(PEER, 1280, 1220))[1], {"PATH_MTU": "1280", "MAX_PACKET": "1220"}),
    ],
)
def test_fields_are_those_of_the_line(line: str, fields: Mapping[str, str]) -> None:
    found = dict(line_fields(line))
    assert {f"TUNNEL_{name}": value for name, value in fields.items()}.items() <= found.items()
    assert bool(found) == bool(fields)


def test_what_is_behind_a_name_is_not_believed() -> None:
    line = f"peer admitted peer={PEER.short} name=x endpoint=192.0.2.66:1 authority=CA"
    assert dict(line_fields(line)) == {"TUNNEL_EVENT": "peer_admitted", "TUNNEL_PEER": PEER.short}


# ---- a journal that is not there --------------------------------------------------------------------------------


def test_without_the_journal_lines_go_where_they_went_before(journal: Journal) -> None:
    journal.stop()
    journal.logger.info("hello")
    assert journal.fallback.lines == ["hello"]
    journal.start()
    journal.logger.info("again")
    assert journal.read()["MESSAGE"] == "again"


def test_a_journal_that_does_not_read_is_not_waited_for(journal: Journal) -> None:
    for _ in range(10000):
        journal.logger.info("hello")
        if journal.fallback.lines:
            return
    pytest.fail("everything was sent")


def test_a_line_that_is_too_long_for_a_datagram_is_not_lost(journal: Journal) -> None:
    journal.logger.info("x" * (8 << 20))
    assert len(journal.fallback.lines) == 1


# ---- whether stderr is the journal ------------------------------------------------------------------------------


def _stream(descriptor: int) -> dict[str, str]:
    status = os.fstat(descriptor)
    return {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


def test_stderr_is_the_journal_if_device_and_inode_are_the_same(tmp_path: Path) -> None:
    with (tmp_path / "stream").open("w") as stream, (tmp_path / "log").open("w") as elsewhere:
        environment = _stream(stream.fileno())
        assert is_stderr_the_journal(environment, stream.fileno())
        assert not is_stderr_the_journal(environment, elsewhere.fileno())
        assert not is_stderr_the_journal({}, stream.fileno())
        assert not is_stderr_the_journal({"JOURNAL_STREAM": "rubbish"}, stream.fileno())
    assert not is_stderr_the_journal(environment, 9999)


@pytest.mark.parametrize("is_journal", [True, False])
def test_the_log_goes_to_the_journal_if_stderr_does(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], is_journal: bool
) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    environment = _stream(2) if is_journal else {}
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
            journald.bind(str(tmp_path / "socket"))
            journald.setblocking(False)
            set_up_logging(
                "wg0", logging.INFO, to_syslog=False, journal_socket=tmp_path / "socket", environment=environment
            )
            logging.getLogger("tunnel.x").info("hello")
            rename_interface("office")
            logging.getLogger("tunnel.x").info("hello")
            if is_journal:
                told = [unpack(journald.recv(1000)) for _ in range(2)]
                assert [(line["MESSAGE"], line["TUNNEL_INTERFACE"]) for line in told] == [
                    ("hello", "wg0"),
                    ("hello", "office"),
                ]
                journald.close()
                logging.getLogger("tunnel.x").info("into the fallback")
    finally:
        for handler in root.handlers:
            handler.close()
        root.handlers = handlers
        root.setLevel(level)
    sys.stderr.flush()
    said = capfd.readouterr().err
    assert ("hello" in said) == (not is_journal)
    assert ("office info: into the fallback" in said) == is_journal

"""Logs that cannot be written: lines are lost and counted, nothing waits, and nothing is raised."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tunnel.daemon.log_output import DescriptorHandler, SyslogHandler


@contextmanager
def logger_to(handler: logging.Handler) -> Iterator[logging.Logger]:
    logger = logging.Logger("tests.log_output")
    logger.addHandler(handler)
    yield logger
    handler.close()


@contextmanager
def open_pipe() -> Iterator[tuple[int, int]]:
    """Both ends; the reading one does not wait."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    try:
        yield reading, writing
    finally:
        for descriptor in (reading, writing):
            with suppress(OSError):  # the test has closed it
                os.close(descriptor)


def drain(reading: int) -> bytes:
    content = bytearray()
    try:
        while piece := os.read(reading, 1 << 16):
            content += piece
    except BlockingIOError:
        pass
    return bytes(content)


def test_a_reader_that_has_stopped_costs_lines_and_hears_how_many() -> None:
    with open_pipe() as (reading, writing), logger_to(DescriptorHandler(writing)) as logger:
        for _ in range(5000):
            logger.warning("%s", "x" * 99)
        read = drain(reading)
        logger.warning("again")
        lost = 5000 - read.count(b"\n")
        assert lost > 0
        assert drain(reading).decode() == f"{lost} lines could not be logged\nagain\n"


def test_a_terminal_that_nobody_reads_costs_lines_and_stays_as_it_was() -> None:
    """Were it waited for, this would be the end: so a child does it, and is waited for in its place."""
    code = (
        "import logging, os, sys; from tunnel.daemon.log_output import DescriptorHandler\n"
        "reading, writing = os.openpty()\n"
        "logger = logging.Logger('terminal'); logger.addHandler(DescriptorHandler(writing))\n"
        "for _ in range(5000): logger.warning('%s', 'x' * 90)\n"
        "assert os.get_blocking(writing)\n"
        "os.set_blocking(reading, False); got = b''\n"
        "try:\n"
        "    while True: got += os.read(reading, 65536)\n"
        "except BlockingIOError: pass\n"
        "logger.warning('again'); sys.stdout.buffer.write(os.read(reading, 65536))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.lstrip(b"\r\n").endswith(b" lines could not be logged\r\nagain\r\n"), done.stdout


def test_a_line_that_was_cut_is_ended_before_the_next_one() -> None:
    with open_pipe() as (reading, writing), logger_to(DescriptorHandler(writing)) as logger:
        logger.warning("%s", "x" * (1 << 20))
        drain(reading)
        logger.warning("again")
        assert drain(reading) == b"\n1 line could not be logged\nagain\n"


def test_a_line_longer_than_a_pipe_is_not_waited_for() -> None:
    with open_pipe() as (reading, writing), logger_to(DescriptorHandler(writing)) as logger:
        logger.warning("%s", "x" * (1 << 20))
        assert 0 < len(drain(reading)) < 1 << 20


def test_a_reader_that_is_gone_costs_lines_only(capfd: pytest.CaptureFixture[str]) -> None:
    with open_pipe() as (reading, writing), logger_to(DescriptorHandler(writing)) as logger:
        os.close(reading)
        logger.warning("hello")
    assert capfd.readouterr().err == ""


def test_a_closed_descriptor_costs_lines_only(capfd: pytest.CaptureFixture[str]) -> None:
    with open_pipe() as (_, writing), logger_to(DescriptorHandler(writing)) as logger:
        os.close(writing)
        logger.warning("hello")
    assert capfd.readouterr().err == ""


def test_a_full_disk_costs_lines_and_says_so_afterwards(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    with logger_to(DescriptorHandler(full)) as logger:
        logger.warning("hello")
        with (tmp_path / "log").open("wb") as file:
            os.dup2(file.fileno(), full)
        logger.warning("there is room")
        logger.warning("for more")
    os.close(full)
    assert (tmp_path / "log").read_text() == "1 line could not be logged\nthere is room\nfor more\n"
    assert capfd.readouterr().err == ""


def test_what_cannot_be_encoded_is_escaped() -> None:
    with open_pipe() as (reading, writing), logger_to(DescriptorHandler(writing)) as logger:
        logger.warning("peer \udcff")
        assert drain(reading) == b"peer \\udcff\n"


def test_a_syslog_that_hangs_is_not_waited_for_and_hears_how_many_were_lost(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon, logger_to(SyslogHandler(path)) as logger:
        daemon.bind(str(path))
        daemon.setblocking(False)
        for _ in range(5000):
            logger.warning("%s", "x" * 999)
        queued = 0
        while True:
            try:
                daemon.recv(2000)
            except BlockingIOError:
                break
            queued += 1
        assert queued < 5000
        logger.error("again")
        assert daemon.recv(2000) == f"<28>{5000 - queued} lines could not be logged\0".encode()
        assert daemon.recv(2000) == b"<27>again\0"


def test_a_syslog_that_is_started_again_gets_lines_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with logger_to(SyslogHandler(path)) as logger:
        logger.warning("nobody hears this")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(str(path))
            logger.info("hello")
            assert daemon.recv(2000) == b"<28>1 line could not be logged\0"
            assert daemon.recv(2000) == b"<30>hello\0"

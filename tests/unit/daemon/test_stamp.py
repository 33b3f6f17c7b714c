"""Stamps never go back: over calls, clock steps, restarts, and files in any condition."""

import logging
import os
from pathlib import Path

import pytest

from tunnel.daemon.stamp import RESERVED_AHEAD, SUSPICIOUSLY_FAR, Stamper
from tunnel.keys import PublicKey
from tunnel.testing.clock import FakeClock
from tunnel.wire.tai64n import pack_stamp

ALICE = PublicKey(bytes([1]) * 32)
BOB = PublicKey(bytes([2]) * 32)


def stamper(clock: FakeClock, directory: Path, identity: PublicKey = ALICE) -> Stamper:
    made = Stamper(clock, directory)
    made.use(identity)
    return made


def only_file(directory: Path) -> Path:
    (path,) = directory.iterdir()
    return path


def test_a_stamp_shows_the_wall_clock(tmp_path: Path) -> None:
    clock = FakeClock()
    assert stamper(clock, tmp_path)() == pack_stamp(clock.unix_ns())


def test_stamps_increase_while_the_clock_stands_still(tmp_path: Path) -> None:
    stamp = stamper(FakeClock(), tmp_path)
    stamps = [stamp() for _ in range(300)]
    assert stamps == sorted(set(stamps))


def test_stamps_increase_although_the_clock_is_set_back(tmp_path: Path) -> None:
    clock = FakeClock()
    stamp = stamper(clock, tmp_path)
    before = stamp()
    clock.step_wall_clock(-3600.0)
    assert stamp() > before


def test_a_crash_and_a_clock_that_starts_in_1970_do_not_bring_stamps_back(tmp_path: Path) -> None:
    clock = FakeClock()
    stamp = stamper(clock, tmp_path)
    for _ in range(5):
        last = stamp()
        clock.advance(RESERVED_AHEAD / 2)
    assert stamper(FakeClock(unix=0.0), tmp_path)() > last


def test_a_clean_end_gives_back_what_was_reserved(tmp_path: Path) -> None:
    clock = FakeClock()
    stamp = stamper(clock, tmp_path)
    stamp()
    stamp.close()
    clock.advance(1.0)
    assert stamper(clock, tmp_path)() == pack_stamp(clock.unix_ns())


def test_the_file_is_written_once_in_a_reservation(tmp_path: Path) -> None:
    clock = FakeClock()
    stamp = stamper(clock, tmp_path)
    stamp()
    written = only_file(tmp_path).stat().st_ino
    for _ in range(RESERVED_AHEAD - 1):
        clock.advance(1.0)
        stamp()
    assert only_file(tmp_path).stat().st_ino == written


def test_the_file_is_written_anew_after_the_reservation(tmp_path: Path) -> None:
    clock = FakeClock()
    stamp = stamper(clock, tmp_path)
    stamp()
    content = only_file(tmp_path).read_bytes()
    clock.advance(RESERVED_AHEAD + 1)
    stamp()
    assert only_file(tmp_path).read_bytes() != content


def test_crashing_in_a_loop_does_not_run_away_from_time(tmp_path: Path) -> None:
    clock = FakeClock()
    for _ in range(1000):
        last = stamper(clock, tmp_path)()
        clock.advance(1.5)
    assert last < pack_stamp(clock.unix_ns() + (RESERVED_AHEAD + 10) * 10**9)


def test_each_static_key_has_its_own_bound(tmp_path: Path) -> None:
    ahead = FakeClock(unix=2_000_000_000.0)
    stamper(ahead, tmp_path, ALICE)()
    clock = FakeClock()
    assert stamper(clock, tmp_path, BOB)() == pack_stamp(clock.unix_ns())


def test_the_directory_and_file_names_tell_nobody_who_we_are(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    stamper(FakeClock(), directory)()
    path = only_file(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_mode & 0o777 == 0o600
    assert ALICE.to_hex()[:8] not in path.name


def test_without_an_identity_nothing_is_written(tmp_path: Path) -> None:
    stamp = Stamper(FakeClock(), tmp_path / "state")
    assert stamp() < stamp()
    assert not (tmp_path / "state").exists()


def test_taking_up_another_identity_keeps_stamps_increasing_and_gives_back(tmp_path: Path) -> None:
    clock = FakeClock()
    stamp = stamper(clock, tmp_path, ALICE)
    first = stamp()
    stamp.use(BOB)
    assert stamp() > first
    clock.advance(1.0)
    assert stamper(clock, tmp_path, ALICE)() == pack_stamp(clock.unix_ns())


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 16, bytes(16), b"a" * 4096])
def test_a_corrupt_file_counts_as_of_the_time_it_was_written(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = stamper(FakeClock(), tmp_path)()
    path = only_file(tmp_path)
    path.write_bytes(content)
    os.utime(path, ns=(FakeClock().unix_ns(), FakeClock().unix_ns()))
    assert stamper(FakeClock(unix=0.0), tmp_path)() > last
    assert "corrupt" in caplog.text


def test_one_flipped_bit_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stamper(FakeClock(), tmp_path)()
    path = only_file(tmp_path)
    content = bytearray(path.read_bytes())
    content[3] ^= 0x40
    path.write_bytes(content)
    stamper(FakeClock(), tmp_path)
    assert "corrupt" in caplog.text


def test_a_bound_far_in_the_future_is_honoured_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wrong = FakeClock(unix=FakeClock().unix_ns() / 1e9 + SUSPICIOUSLY_FAR * 365)
    last = stamper(wrong, tmp_path)()
    assert stamper(FakeClock(), tmp_path)() > last
    assert "far future" in caplog.text


def test_a_directory_that_cannot_be_made_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "state").write_text("a file is in the way")
    clock = FakeClock()
    stamp = stamper(clock, tmp_path / "state")
    stamps = []
    for _ in range(10):
        stamps.append(stamp())
        clock.advance(RESERVED_AHEAD + 1)
    assert stamps == sorted(set(stamps))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_full_disk_leaves_the_old_bound(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    stamp = stamper(clock, tmp_path)
    stamp()
    path = only_file(tmp_path)
    content = path.read_bytes()
    path.with_suffix(".tmp").symlink_to("/dev/full")
    clock.advance(RESERVED_AHEAD + 1)
    stamp()
    assert only_file(tmp_path).read_bytes() == content
    assert "cannot write" in caplog.text


def test_a_file_that_cannot_be_read_is_no_reason_to_stop(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stamper(FakeClock(), tmp_path)()
    path = only_file(tmp_path)
    path.unlink()
    path.mkdir()
    stamp = stamper(FakeClock(), tmp_path)
    assert stamp() < stamp()
    assert "cannot read" in caplog.text

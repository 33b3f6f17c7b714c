from dataclasses import replace
from pathlib import Path

import pytest

from tunnel.config.quick import parse_quick
from tunnel.daemon.config_file import read_config, write_config
from tunnel.errors import ConfigError
from tunnel.keys import PrivateKey

TEXT = f"[Interface]\nPrivateKey = {PrivateKey(bytes([1]) * 32).to_base64()} # mine\nListenPort = 5\n"
CONFIG = parse_quick(TEXT, "")
MOVED = replace(CONFIG, interface=replace(CONFIG.interface, listen_port=6))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "wg0.conf"
    path.touch(mode=0o600)
    path.write_text(TEXT)
    return path


def test_what_was_written_is_read(path: Path) -> None:
    write_config(path, MOVED)
    assert read_config(path) == MOVED
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("before", "after"), [(0o640, 0o640), (0o644, 0o640), (0o400, 0o400)])
def test_who_could_read_the_file_still_can_but_for_everybody(path: Path, before: int, after: int) -> None:
    path.chmod(before)
    write_config(path, MOVED)
    assert path.stat().st_mode & 0o777 == after


def test_what_says_the_same_keeps_its_comments(path: Path) -> None:
    write_config(path, CONFIG)
    assert path.read_text() == TEXT


def test_a_file_that_is_gone_or_spoilt_is_written_anew(path: Path) -> None:
    for spoil in (path.unlink, lambda: path.write_text("no configuration")):
        spoil()
        write_config(path, MOVED)
        assert read_config(path) == MOVED


def test_a_link_stays_one(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.conf"
    link.symlink_to(path)
    write_config(link, MOVED)
    assert link.is_symlink()
    assert read_config(path) == MOVED


def test_a_file_that_cannot_be_written_stays_as_it_was(path: Path) -> None:
    folder = path.with_name("folder.conf")
    folder.mkdir()
    (folder / "x").touch()
    with pytest.raises(ConfigError, match=r"folder\.conf: cannot save the configuration: "):
        write_config(folder, MOVED)
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["folder.conf", "wg0.conf"]

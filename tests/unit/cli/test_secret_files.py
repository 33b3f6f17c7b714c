import os
from pathlib import Path

import pytest

from tunnel.cli.secret_files import prepared_file, write_file
from tunnel.errors import ConfigError


def test_a_file_is_there_when_it_is_published_and_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with prepared_file(path, b"new", 0o600, overwrite=False) as publish:
        assert not path.exists()
        publish()
        assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_a_file_that_is_never_published_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with prepared_file(path, b"new", 0o600, overwrite=True):
        pass
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_mode_is_what_was_asked_for_whatever_was_there_and_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(0o666)
    before = os.umask(0)
    try:
        write_file(path, b"new", 0o600, overwrite=True)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_to_nowhere_is_something_that_exists(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(ConfigError, match="link: exists already; --force overwrites it"):
        write_file(tmp_path / "link", b"new", 0o600, overwrite=False)

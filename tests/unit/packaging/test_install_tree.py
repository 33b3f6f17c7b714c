"""What install-tree puts somewhere, uninstall-tree takes away again, and nothing else."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PREFIX = "/usr/local"

Snapshot = dict[str, tuple[int, str]]


def run(script: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [str(REPOSITORY / "scripts" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def snapshot(root: Path) -> Snapshot:
    """Path -> mode, and what is in it or where it points."""
    return {
        str(path.relative_to(root)): (
            path.lstat().st_mode,
            os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else "",
        )
        for path in sorted(root.rglob("*"))
    }


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A little one of the same kind as build-tree makes."""
    tree = tmp_path / "tree"
    for path in ("lib/tunnel/bin/tunnel", "share/man/man8/tunnel.8.gz", "share/with space/a file"):
        file = tree / PREFIX[1:] / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
    (tree / "usr/local/bin").mkdir()
    (tree / "usr/local/bin/tunnel").symlink_to("../lib/tunnel/bin/tunnel")
    return tree


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A system that has something already."""
    root = tmp_path / "root"
    (root / "usr/local/bin").mkdir(parents=True)
    (root / "usr/local/bin/other").write_text("theirs")
    (root / "usr/local/share").mkdir()
    (root / "usr/local").chmod(0o2775)
    return root


def test_everything_is_installed(tree: Path, root: Path) -> None:
    assert run("install-tree", tree, root, PREFIX).returncode == 0
    assert snapshot(tree).keys() <= snapshot(root).keys()
    assert (root / "usr/local/bin/tunnel").read_text() == "lib/tunnel/bin/tunnel"


def test_the_system_is_the_same_after_uninstalling(tree: Path, root: Path) -> None:
    before = snapshot(root)
    run("install-tree", tree, root, PREFIX)
    assert run("uninstall-tree", root, PREFIX).returncode == 0
    assert snapshot(root) == before


def test_folders_that_were_there_keep_their_modes(tree: Path, root: Path) -> None:
    run("install-tree", tree, root, PREFIX)
    assert stat.S_IMODE((root / "usr/local").stat().st_mode) == 0o2775


def test_what_others_put_beside_it_stays(tree: Path, root: Path) -> None:
    run("install-tree", tree, root, PREFIX)
    (root / "usr/local/share/man/man8/other.8.gz").write_text("theirs")
    assert run("uninstall-tree", root, PREFIX).returncode == 0
    left = {path for path in snapshot(root) if "share" in path}
    assert left == {
        "usr/local/share",
        "usr/local/share/man",
        "usr/local/share/man/man8",
        "usr/local/share/man/man8/other.8.gz",
    }


def test_a_newer_tree_takes_the_place_of_the_older(tree: Path, root: Path) -> None:
    before = snapshot(root)
    run("install-tree", tree, root, PREFIX)
    (tree / "usr/local/share/man").rename(tree / "usr/local/share/new")
    assert run("install-tree", tree, root, PREFIX).returncode == 0
    assert not (root / "usr/local/share/man").exists()
    assert (root / "usr/local/share/new").exists()
    run("uninstall-tree", root, PREFIX)
    assert snapshot(root) == before


@pytest.mark.parametrize("is_upgrade", [False, True])
def test_files_of_others_are_not_overwritten_and_nothing_is_changed(tree: Path, root: Path, is_upgrade: bool) -> None:
    if is_upgrade:
        run("install-tree", tree, root, PREFIX)
        (tree / "usr/local/bin/new").touch()
    foreign = root / "usr/local/bin" / ("new" if is_upgrade else "tunnel")
    foreign.symlink_to("nowhere")
    before = snapshot(root)
    done = run("install-tree", tree, root, PREFIX)
    assert done.returncode == 1
    assert done.stderr == f"there already, and not from make install; remove it first:\n{foreign}\n"
    assert snapshot(root) == before


def test_half_an_installation_can_be_taken_back(tree: Path, root: Path) -> None:
    before = snapshot(root)
    run("install-tree", tree, root, PREFIX)
    (root / "usr/local/share/with space/a file").unlink()
    (root / "usr/local/share/with space").rmdir()
    assert run("uninstall-tree", root, PREFIX).returncode == 0
    assert snapshot(root) == before


def test_without_an_installation_nothing_is_removed(root: Path) -> None:
    before = snapshot(root)
    done = run("uninstall-tree", root, PREFIX)
    assert done.returncode == 1
    assert "nothing was installed with this PREFIX" in done.stderr
    assert snapshot(root) == before


@pytest.mark.parametrize("prefix", ["usr", "/", "/usr/", "/a b", "/$(id)", ""])
def test_a_prefix_that_no_first_line_of_a_script_can_hold_is_refused(tmp_path: Path, prefix: str) -> None:
    done = run("build-tree", "/usr/bin/false", prefix, tmp_path / "tree")
    assert done.returncode == 1
    assert "an absolute path" in done.stderr
    assert not (tmp_path / "tree").exists()

"""What `make install` and `make deb` install, built for real and tried: in a folder, and in a copy of this system."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.packaging.test_install_tree import REPOSITORY, snapshot
from tunnel import __version__

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PYTHON = "/usr/bin/python3"
NOT_SOURCES = (".git", ".venv", "build", "dist", "__pycache__", ".*_cache", ".hypothesis", "tests")

OF_USERS = {f"./etc/{name}" for name in (".pwd.lock", "group", "gshadow", "passwd", "shadow")}
"""The user of the service stays, as always in Debian: files may be left that are its."""

IN_A_COPY_OF_THIS_SYSTEM = """
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
mount --rbind /dev "$1/root/dev"
mount -t proc proc "$1/root/proc"
mount -t tmpfs tmpfs "$1/root/run"
cp "$2" "$1/root/tunnel.deb"
chroot "$1/root" sh -c '
    dpkg --force-depends -i /tunnel.deb >&2
    tunnel --version
    tunnel genkey | tunnel pubkey | wc -c
    dpkg --verify tunnel
    dpkg -P tunnel >&2
    rm /tunnel.deb
'
cd "$1/upper"
find . -type f | grep -v -e "^./var/lib/dpkg/" -e "^./var/log/" -e "^./var/cache/" -e "^./etc/[a-z]*-$" -e "^./tmp/"
"""
"""Prints what the commands print, and then every file that is other than before."""


def run(*command: object, folder: Path = REPOSITORY) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, so that nothing is built among them."""
    folder = tmp_path_factory.mktemp("build") / "clone"
    return Path(shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns(*NOT_SOURCES)))


@pytest.fixture(scope="module")
def prefix(clone: Path) -> Path:
    """Installed as by `make install`, but that the system is not told of it."""
    prefix = clone.parent / "prefix"
    run("scripts/build-tree", PYTHON, prefix, "build/tree", folder=clone)
    run("scripts/install-tree", "build/tree", "", prefix, folder=clone)
    return prefix


@pytest.fixture(scope="module")
def package(clone: Path) -> Path:
    if shutil.which("dpkg-deb") is None:
        pytest.skip("dpkg-deb is not installed")
    run("scripts/build-deb", PYTHON, folder=clone)
    (package,) = (clone / "dist").glob("*.deb")
    return package


def test_the_installed_commands_run_anywhere(prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "tunnel.py").write_text("raise SystemExit('shadowed')")
    assert run(prefix / "bin/tunnel", "--version", folder=tmp_path) == f"tunnel {__version__}\n"
    assert run(prefix / "bin/tunnel-wg", "--version", folder=tmp_path) == f"tunnel-wg {__version__}\n"


def test_an_installed_program_that_runs_writes_nothing_into_its_folder(prefix: Path, tmp_path: Path) -> None:
    before = {path: path.lstat().st_mtime_ns for path in prefix.rglob("*")}
    run(prefix / "bin/tunnel", "status", folder=tmp_path)
    run(prefix / "lib/tunnel/bin/python", "-c", "import tunnel.daemon.service", folder=tmp_path)
    assert {path: path.lstat().st_mtime_ns for path in prefix.rglob("*")} == before


def test_nothing_that_is_installed_remembers_where_it_was_built(prefix: Path, clone: Path) -> None:
    found = subprocess.run(["grep", "-rl", str(clone), str(prefix)], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_units_completions_and_pages_are_in_their_places(prefix: Path) -> None:
    for path in (
        *("share/man/man8/tunnel.8.gz", "share/man/man8/tunnel-wg.8.gz", "share/man/man5/tunnel.conf.5.gz"),
        *("share/bash-completion/completions/tunnel", "share/zsh/site-functions/_tunnel"),
        *("share/fish/vendor_completions.d/tunnel.fish", "lib/sysusers.d/tunnel.conf", "lib/tmpfiles.d/tunnel.conf"),
        *(f"lib/systemd/system/{unit.name}" for unit in (REPOSITORY / "systemd").glob("*@.*") if unit.is_file()),
    ):
        assert (prefix / path).stat().st_size > 0
    unit = (prefix / "lib/systemd/system/tunnel@.service").read_text()
    assert f"\nExecStart={prefix}/bin/tunnel up " in unit


def test_uninstalling_leaves_nothing(prefix: Path, clone: Path) -> None:
    run("scripts/install-tree", "build/tree", clone.parent / "other", prefix, folder=clone)
    run("scripts/uninstall-tree", clone.parent / "other", prefix, folder=clone)
    assert snapshot(clone.parent / "other") == {}


def test_the_package_says_what_it_is_and_needs(package: Path) -> None:
    control = run("dpkg-deb", "--field", package)
    assert f"Version: {__version__}\n" in control
    assert "Depends: python3 (>= 3." in control
    assert "@" not in control.replace("tunnel@localhost", "")


def test_everything_in_the_package_is_roots_and_nobody_else_may_change_it(package: Path) -> None:
    for line in run("dpkg-deb", "--contents", package).splitlines():
        mode, owner, *_ = line.split()
        assert owner == "root/root", line
        assert mode[0] == "l" or mode[5] == mode[8] == "-", line


@pytest.mark.root
def test_the_package_can_be_installed_used_and_purged_without_a_trace(package: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    command = ["unshare", "--mount", "--net", "sh", "-c", IN_A_COPY_OF_THIS_SYSTEM, "sh", tmp_path, package]
    version, length, *changed = run(*command).splitlines()
    assert (version, length) == (f"tunnel {__version__}", "45")
    assert set(changed) <= OF_USERS

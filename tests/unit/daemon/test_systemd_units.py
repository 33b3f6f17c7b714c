"""The units that are shipped, as the tools of systemd see them. Nothing is started, and systemd need not run."""

import pwd
import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[3] / "systemd"
UNIT = UNITS / "tunnel@.service"
EXAMPLE = UNITS / "tunnel@.service.d" / "hooks.conf.example"
MOST_EXPOSED = 2.5
"""Of 10, as ``systemd-analyze security`` counts."""


def run_tool(*command: str) -> str:
    """What it prints, warnings included; skips where the tool is not installed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (Debian: systemd)")
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The unit, beside the others, as they would be if all programs that they run were there."""
    for unit in UNITS.glob("*@.*"):
        if unit.is_file():
            text = re.sub(r"(?m)^(Exec\w+=[+-]*)[a-z-]+", r"\1/bin/true", unit.read_text())
            (tmp_path / unit.name.replace("@.", "@wg0.")).write_text(text)
    return tmp_path / "tunnel@wg0.service"


def with_example(unit: Path) -> Path:
    drop_in = unit.with_name(f"{unit.name}.d") / "hooks.conf"
    drop_in.parent.mkdir()
    shutil.copy(EXAMPLE, drop_in)
    return unit


def test_systemd_has_nothing_to_complain_about(installed: Path) -> None:
    units = sorted(map(str, installed.parent.iterdir()))
    assert installed.name in {Path(unit).name for unit in units}
    assert run_tool("systemd-analyze", "verify", *units) == ""


def test_systemd_has_nothing_to_complain_about_with_the_rights_of_hooks(installed: Path) -> None:
    assert run_tool("systemd-analyze", "verify", str(with_example(installed))) == ""


@pytest.mark.parametrize("name", ["tunnel@wg0.service", "tunnel-reload@wg0.service"])
def test_a_service_can_do_little_beyond_its_task(installed: Path, name: str) -> None:
    said = run_tool("systemd-analyze", "security", "--offline=true", "--no-pager", str(installed.with_name(name)))
    exposure = re.search(r"Overall exposure level for .*: ([0-9.]+)", said)
    assert exposure is not None, said
    assert float(exposure[1]) <= MOST_EXPOSED


@pytest.mark.root
def test_files_of_root_are_for_the_service_to_read_and_for_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "etc" / "tunnel").mkdir(parents=True)
    for name in ("wg0.conf", "identity.pem", "ca.key"):
        (tmp_path / "etc" / "tunnel" / name).touch(mode=0o600)
    stamp = tmp_path / "var" / "lib" / "tunnel" / "stamp"  # `tunnel up` ran as root before
    stamp.parent.mkdir(mode=0o700, parents=True)
    stamp.touch(mode=0o600)
    run_tool("systemd-sysusers", f"--root={tmp_path}", str(UNITS / "sysusers.d" / "tunnel.conf"))
    run_tool("systemd-tmpfiles", "--create", f"--root={tmp_path}", str(UNITS / "tmpfiles.d" / "tunnel.conf"))
    user, group = map(int, (tmp_path / "etc" / "passwd").read_text().split(":")[2:4])
    root = pwd.getpwnam("root").pw_uid
    assert {path.name: _who_may(path) for path in (tmp_path / "etc" / "tunnel").iterdir()} == {
        "wg0.conf": (0o640, root, group),
        "identity.pem": (0o640, root, group),
        "ca.key": (0o600, root, 0),
    }
    assert _who_may(tmp_path / "etc" / "tunnel") == (0o750, root, group)
    assert _who_may(tmp_path / "run" / "wireguard") == (0o1775, root, group)
    assert _who_may(stamp) == (0o600, user, group)


def _who_may(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid

"""Rights of root that are given up: in processes of their own, as they do not come back."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.netns.conftest import NOBODY
from tunnel.config.model import CertificateConfig, Hooks, InterfaceConfig, TunnelConfig
from tunnel.daemon.privileges import Right
from tunnel.keys import PrivateKey

pytestmark = pytest.mark.root

PLAIN = TunnelConfig(InterfaceConfig(PrivateKey(bytes(range(32)))))
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")

SHED = """
import sys, tunnel.daemon.privileges as privileges
from pathlib import *
from tunnel.config.model import *
from tunnel.keys import *
privileges.STATE_DIRECTORY, privileges.SOCKET_DIRECTORY = Path(sys.argv[1]), Path(sys.argv[2])
print("said", privileges.shed(eval(sys.argv[3]), eval(sys.argv[4])), sep=":")
print(open("/proc/self/status").read())
"""


def shed(config: TunnelConfig | None, path: Path | None, directory: Path, *before: str) -> dict[str, str]:
    """What /proc says of a process that has done it, and what it ``said``; state and sockets go to `directory`."""
    arguments = (str(directory), str(directory), _code(config), "None" if path is None else f"Path({str(path)!r})")
    done = subprocess.run([*before, sys.executable, "-c", SHED, *arguments], capture_output=True, text=True, check=True)
    return {name: value.strip() for name, _, value in (line.partition(":") for line in done.stdout.splitlines())}


def _code(config: TunnelConfig | None) -> str:
    """Keys do not show themselves; which it is makes no difference."""
    if config is None:
        return "None"
    interface = config.interface
    settings = f"listen_port={interface.listen_port}, hooks={interface.hooks!r}"
    if interface.certificates is not None:
        settings += f", certificates=CertificateConfig(Path({str(interface.certificates.identity)!r}))"
    return f"TunnelConfig(InterfaceConfig(PrivateKey(bytes(range(32))), {settings}))"


def interface(**changes: object) -> TunnelConfig:
    return replace(PLAIN, interface=replace(PLAIN.interface, **changes))  # type: ignore[arg-type]


def rights(status: dict[str, str]) -> set[int]:
    """What is permitted, in force, and can be had by running programs, which is all the same."""
    permitted, effective, bounding = (int(status[name], 16) for name in ("CapPrm", "CapEff", "CapBnd"))
    assert permitted == effective == bounding
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    return {number for number in range(64) if permitted >> number & 1}


def test_an_interface_keeps_what_it_takes_to_set_up_the_network(tmp_path: Path) -> None:
    path = tmp_path / "wg0.conf"
    path.touch(mode=0o600)
    status = shed(PLAIN, path, tmp_path)
    assert rights(status) == {Right.NET_ADMIN}
    assert status["said"] == ""
    assert status["Uid"].split() == ["0"] * 4


@pytest.mark.parametrize(("port", "is_kept"), [(1023, True), (1024, False)])
def test_a_port_below_1024_may_have_to_be_opened_again(tmp_path: Path, port: int, is_kept: bool) -> None:
    assert (Right.NET_BIND_SERVICE in rights(shed(interface(listen_port=port), None, tmp_path))) == is_kept


def test_a_bare_interface_may_be_given_any_port(tmp_path: Path) -> None:
    assert rights(shed(None, None, tmp_path)) == {Right.NET_ADMIN, Right.NET_BIND_SERVICE}


def test_where_files_are_somebody_elses_they_stay_within_reach(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for directory in (ours, theirs):
        directory.mkdir(mode=0o700)
        (directory / "wg0.conf").touch(mode=0o600)
    os.chown(theirs / "wg0.conf", NOBODY, NOBODY)
    kept = {Right.NET_ADMIN, Right.DAC_OVERRIDE}
    assert rights(shed(PLAIN, theirs / "wg0.conf", ours)) == kept | {Right.CHOWN}
    identity = interface(certificates=CertificateConfig(theirs / "wg0.conf"))
    assert rights(shed(identity, None, ours)) == kept
    os.chown(theirs, NOBODY, NOBODY)
    assert rights(shed(PLAIN, ours / "wg0.conf", theirs)) == kept
    assert rights(shed(PLAIN, theirs / "absent.conf", ours)) == kept, "it could not be saved"


def test_a_file_that_is_saved_stays_whose_it_is(tmp_path: Path) -> None:
    path = tmp_path / "wg0.conf"
    key = PrivateKey(bytes([1]) * 32).to_base64()
    path.touch(mode=0o640)
    path.write_text(f"[Interface]\nPrivateKey = {key}\n")
    os.chown(path, NOBODY, NOBODY)
    save = (
        "import sys; from pathlib import Path; from tunnel.daemon.config_file import read_config, write_config\n"
        "from tunnel.daemon.privileges import shed\n"
        "path = Path(sys.argv[1]); config = read_config(path); shed(config, path); write_config(path, config)"
    )
    before = path.stat()
    subprocess.run([sys.executable, "-c", save, str(path)], check=True)
    after = path.stat()
    assert before.st_ino != after.st_ino
    assert (after.st_uid, after.st_gid, after.st_mode) == (NOBODY, NOBODY, before.st_mode)


@pytest.mark.parametrize(("group", "is_kept"), [(0, False), (NOBODY, True)])
def test_only_a_file_that_is_not_ours_takes_the_right_to_give_it_away(
    tmp_path: Path, group: int, is_kept: bool
) -> None:
    path = tmp_path / "wg0.conf"
    path.touch(mode=0o640)
    os.chown(path, 0, group)
    assert (Right.CHOWN in rights(shed(PLAIN, path, tmp_path))) == is_kept


def test_hooks_keep_everything_and_it_is_said(tmp_path: Path) -> None:
    status = shed(interface(hooks=Hooks(post_down=("true",))), None, tmp_path)
    before = Path("/proc/self/status").read_text()
    assert all(f"{name}:\t{status[name]}\n" in before for name in SETS)
    assert status["NoNewPrivs"] == "0"
    assert status["said"] == "hooks may need any right, so all are kept"


def test_who_has_nothing_to_give_up_does_as_before(tmp_path: Path) -> None:
    nobody = ("setpriv", f"--reuid={NOBODY}", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all")
    status = shed(PLAIN, None, tmp_path, *nobody)
    assert rights(status) == set()
    assert status["said"] == ""


def test_without_the_right_to_shrink_the_bounding_set_the_rest_is_done(tmp_path: Path) -> None:
    status = shed(PLAIN, None, tmp_path, "setpriv", "--bounding-set=-setpcap")
    assert int(status["CapPrm"], 16) == int(status["CapEff"], 16) == 1 << Right.NET_ADMIN
    assert status["NoNewPrivs"] == "1"

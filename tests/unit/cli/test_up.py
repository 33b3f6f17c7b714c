from pathlib import Path

import pytest

from tests.unit.cli.invoking import error_of, invoke
from tunnel.keys import PrivateKey

GOOD = f"[Interface]\nPrivateKey = {PrivateKey(bytes(range(32))).to_base64()}\n"


def _write(directory: Path, text: str, mode: int = 0o600) -> Path:
    path = directory / "tunnel" / "wg0.conf"
    path.parent.mkdir()
    directory.chmod(0o755)
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_name_without_a_configuration_is_refused(tmp_path: Path) -> None:
    assert error_of(invoke("up", "wg0", directory=tmp_path)).startswith("wg0: no configuration: ")


def test_a_mistake_in_the_file_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD + "ListenPorts = 1\n")
    assert error_of(invoke("up", "wg0", directory=tmp_path)).startswith(f"{path}:3: ListenPorts: ")


def test_a_file_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD, mode=0o644)
    assert error_of(invoke("up", "wg0", directory=tmp_path)).endswith(f"chmod 600 {path}")


def test_an_impossible_name_is_refused(tmp_path: Path) -> None:
    assert "is no interface name" in error_of(invoke("up", "two words", directory=tmp_path))


def test_a_mistake_is_told_once_from_the_background_too(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = _write(tmp_path, GOOD + "ListenPort = 90000\n")
    result = invoke("up", "-d", str(path), directory=tmp_path)
    assert result.exit_code == 1
    assert result.output == ""
    error = capfd.readouterr().err
    assert error.startswith(f"tunnel: {path}:3: ListenPort: ")
    assert error.count("\n") == 1

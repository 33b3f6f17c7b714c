"""What systemd hands over stands in for what we may not read. Root may read everything: for it files are missing."""

from pathlib import Path

import pytest

from tunnel.cli.config_file import ConfigFile
from tunnel.daemon.identity import IdentityFiles, read_identity
from tunnel.daemon.service_credentials import stand_in
from tunnel.errors import ConfigError
from tunnel.keys import PrivateKey

KEY = f"PrivateKey = {PrivateKey(bytes(range(32))).to_base64()}"


@pytest.fixture
def handed(tmp_path: Path) -> Path:
    """The credentials directory."""
    directory = tmp_path / "credentials"
    directory.mkdir()
    return directory


@pytest.fixture
def environment(handed: Path) -> dict[str, str]:
    return {"CREDENTIALS_DIRECTORY": str(handed)}


def test_a_credential_stands_in_for_a_file_that_cannot_be_read(handed: Path, environment: dict[str, str]) -> None:
    (handed / "identity.pem").write_text("handed over")
    assert stand_in(Path("/nowhere/identity.pem"), environment) == handed / "identity.pem"


def test_a_file_that_can_be_read_is_read(handed: Path, environment: dict[str, str], tmp_path: Path) -> None:
    (handed / "identity.pem").write_text("old")
    (tmp_path / "identity.pem").write_text("renewed")
    assert stand_in(tmp_path / "identity.pem", environment) == tmp_path / "identity.pem"


@pytest.mark.parametrize("content", ["", "\n"])
def test_an_empty_credential_counts_as_none(handed: Path, environment: dict[str, str], content: str) -> None:
    (handed / "identity.pem").write_text(content)
    assert stand_in(Path("/nowhere/identity.pem"), environment) == Path("/nowhere/identity.pem")


def test_without_a_credential_the_file_itself_is_what_an_error_names(environment: dict[str, str]) -> None:
    assert stand_in(Path("/nowhere/identity.pem"), environment) == Path("/nowhere/identity.pem")
    assert stand_in(Path("/nowhere/identity.pem"), {}) == Path("/nowhere/identity.pem")


def test_an_identity_is_read_as_a_credential(handed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    (handed / "identity.pem").write_text("handed over")
    (handed / "identity.pem").chmod(0o400)
    identity = Path("/nowhere/identity.pem")
    IdentityFiles(identity).check_there()
    assert read_identity(identity) == b"handed over"
    with pytest.raises(ConfigError, match=r"^/nowhere/ca\.pem: no such file"):
        IdentityFiles(identity, (Path("/nowhere/ca.pem"),)).check_there()


def test_a_configuration_is_found_and_read_as_a_credential(handed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    (handed / "wg0.conf").write_text(f"[Interface]\n{KEY}\n")
    (handed / "wg0.conf").chmod(0o400)
    there = Path("/nowhere")
    file = ConfigFile.find("wg0", (there,))
    assert (file.name, file.path) == ("wg0", there / "wg0.conf")
    assert file.read().interface.private_key == PrivateKey(bytes(range(32)))


def test_paths_and_errors_are_those_of_the_file_that_was_handed_over(
    handed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    (handed / "wg0.conf").write_text("[Interface]\nIdentity = office.pem\n")
    (handed / "wg0.conf").chmod(0o400)
    file = ConfigFile.find("wg0", (Path("/nowhere"),))
    certificates = file.read().interface.certificates
    assert certificates is not None
    assert certificates.identity == Path("/nowhere/office.pem")
    (handed / "wg0.conf").chmod(0o600)
    (handed / "wg0.conf").write_text("[Interface]\nwrong\n")
    with pytest.raises(ConfigError, match=r"^/nowhere/wg0\.conf:2"):
        file.read()

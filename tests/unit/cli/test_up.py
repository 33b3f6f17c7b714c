import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.certifying import issue, passphrase_file
from tests.unit.cli.invoking import error_of, invoke, places_in
from tunnel.cli.config_file import ConfigFile
from tunnel.cli.ending import CONFIG
from tunnel.cli.identity_interface import IdentityInterface, IdentityOptions
from tunnel.cli.up import find_interface, find_passphrase
from tunnel.config.model import CertificateConfig, InterfaceConfig, TunnelConfig
from tunnel.errors import ConfigError
from tunnel.keys import NO_PRIVATE_KEY, PrivateKey

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
    assert result.exit_code == CONFIG
    assert result.output == ""
    error = capfd.readouterr().err
    assert error.startswith(f"tunnel: {path}:3: ListenPort: ")
    assert error.count("\n") == 1


# ---- certificates -----------------------------------------------------------------------------------------------


def _config(identity: str) -> TunnelConfig:
    return TunnelConfig(InterfaceConfig(NO_PRIVATE_KEY, certificates=CertificateConfig(Path(identity))))


def _issue_encrypted() -> str:
    """The file of an identity, under the passphrase of the file `secret`."""
    passphrase_file("secret", "six random words\n")
    issue("laptop", "--passphrase-file", "secret")
    return "laptop.pem"


def test_a_name_alone_means_a_configuration_whatever_identity_there_is(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD)
    (tmp_path / "tunnel" / "identity.pem").touch()
    assert find_interface("wg0", IdentityOptions(), places_in(tmp_path)) == ConfigFile("wg0", path)


def test_a_name_with_options_is_only_that_of_the_interface(tmp_path: Path) -> None:
    _write(tmp_path, GOOD)
    (tmp_path / "tunnel" / "identity.pem").touch()
    interface = find_interface("office", IdentityOptions(port="443"), places_in(tmp_path))
    assert isinstance(interface, IdentityInterface)
    assert interface.name == "office"


def test_options_do_not_silently_take_the_place_of_a_configuration_file(tmp_path: Path) -> None:
    file = _write(tmp_path, GOOD)
    with pytest.raises(ConfigError) as caught:
        find_interface("wg0", IdentityOptions(port="443"), places_in(tmp_path))
    why = "--port goes without a configuration file: put it in there, or choose another name"
    assert str(caught.value) == f"{file}: {why}"


def test_nothing_at_all_means_the_identity_of_the_host(tmp_path: Path) -> None:
    identity = tmp_path / "tunnel" / "identity.pem"
    identity.parent.mkdir()
    identity.touch()
    expected = IdentityInterface("tunnel0", _config(str(identity)))
    assert find_interface(None, IdentityOptions(), places_in(tmp_path)) == expected


def test_nothing_at_all_without_an_identity_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    assert error_of(invoke("up", directory=tmp_path)) == (
        "nothing to bring up: name a configuration (NAME or FILE), "
        f"or put an identity at {tmp_path}/tunnel/identity.pem"
    )


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--peer", "x:y", "port 'y' is not a number from 1 to 65535"),
        ("--identity", "", "empty"),
        ("--ca", "", "empty"),
        ("--crl", "", "empty"),
        ("--allow", "", "empty"),
        ("--max-peers", "many", "not a number"),
        ("--port", "https", "not a number"),
    ],
)
def test_each_option_is_read_and_refused_by_its_name(tmp_path: Path, option: str, value: str, why: str) -> None:
    (tmp_path / "tunnel").mkdir()
    (tmp_path / "tunnel" / "identity.pem").touch()
    assert error_of(invoke("up", f"{option}={value}", directory=tmp_path)) == f"{option}: '{value}': {why}"


def test_an_identity_that_is_not_there_is_refused(folder: Path) -> None:
    result = invoke("up", "--identity", "absent.pem", directory=folder)
    assert error_of(result) == f"{folder}/absent.pem: no such file: tunnel cert issue makes one"


def test_an_identity_that_everybody_can_read_is_refused(ca: Path) -> None:
    issue("laptop")
    ca.parent.chmod(0o755)
    Path("laptop.pem").chmod(0o644)
    assert error_of(invoke("up", "--identity", "laptop.pem")).endswith(f"chmod 600 {ca.parent}/laptop.pem")


def test_the_background_gets_the_options_with_absolute_paths(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    result = invoke("up", "-d", "--identity", "absent.pem", "--peer", "gw", directory=folder)
    assert result.exit_code == CONFIG
    assert capfd.readouterr().err == f"tunnel: {folder}/absent.pem: no such file: tunnel cert issue makes one\n"


def test_the_background_gets_the_passphrase_file_with_its_absolute_path(
    ca: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    identity = _issue_encrypted()
    result = invoke("up", "-d", "--identity", identity, "--passphrase-file", "absent")
    assert result.exit_code == CONFIG
    assert capfd.readouterr().err == f"tunnel: {ca.parent}/absent: No such file or directory\n"


@pytest.mark.usefixtures("ca")
def test_a_key_without_a_passphrase_needs_none() -> None:
    issue("laptop")
    assert find_passphrase(_config("laptop.pem"), None) is None


@pytest.mark.usefixtures("ca")
def test_a_passphrase_is_kept_for_a_key_that_may_be_replaced_by_an_encrypted_one() -> None:
    passphrase_file("secret", "six random words\n")
    issue("laptop")
    assert find_passphrase(_config("laptop.pem"), Path("secret")) == b"six random words"


@pytest.mark.usefixtures("ca")
def test_a_passphrase_comes_from_its_file() -> None:
    assert find_passphrase(_config(_issue_encrypted()), Path("secret")) == b"six random words"


def test_an_encrypted_key_in_the_background_needs_a_file(ca: Path, capfd: pytest.CaptureFixture[str]) -> None:
    identity = _issue_encrypted()
    assert invoke("up", "-d", "--identity", identity).exit_code == CONFIG
    assert capfd.readouterr().err == (
        f"tunnel: {ca.parent}/laptop.pem: its private key is encrypted; "
        "--passphrase-file FILE names the passphrase's file\n"
    )


def test_an_encrypted_key_of_a_configuration_file_needs_a_terminal_or_a_file(ca: Path) -> None:
    path = _write(ca.parent, f"[Interface]\nIdentity = ../{_issue_encrypted()}\n")
    assert error_of(invoke("up", str(path))) == (
        f"{path.parent}/../laptop.pem: its private key is encrypted; --passphrase-file FILE names the passphrase's file"
    )


@pytest.mark.usefixtures("ca")
def test_on_a_terminal_the_passphrase_is_asked_for() -> None:
    identity = _issue_encrypted()
    code = (
        "from pathlib import Path; from tunnel.cli.up import find_passphrase; from tunnel.config.model import *\n"
        "from tunnel.keys import NO_PRIVATE_KEY\n"
        f"certificates = CertificateConfig(Path({identity!r}))\n"
        "config = TunnelConfig(InterfaceConfig(NO_PRIVATE_KEY, certificates=certificates))\n"
        "print(find_passphrase(config, None))"
    )
    ours, terminal = os.openpty()
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code]
    with (
        open(ours, "wb", buffering=0) as keyboard,
        open(terminal) as stdin,
        subprocess.Popen(command, stdin=stdin, stdout=pipe, stderr=pipe, start_new_session=True) as process,
    ):
        assert process.stderr is not None
        prompt = b"Passphrase of laptop.pem: "
        assert process.stderr.read(len(prompt)) == prompt
        keyboard.write(b"typed\n")
        output, _ = process.communicate(timeout=20)
    assert output == b"b'typed'\n"


def test_a_passphrase_for_a_configuration_with_a_key_is_refused_without_reading_certificates(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD)
    code = (
        "import sys; from tunnel.cli import ending; from tunnel.cli.commands import tunnel\n"
        f"ending.run(tunnel, 'tunnel', ['up', {str(path)!r}, '--passphrase-file', '/secret'])\n"
        "sys.exit(' '.join(name for name in sys.modules if name.startswith('tunnel.pki')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr == "tunnel: --passphrase-file: the configuration has no Identity that it could unlock\n\n"


def test_the_help_is_there_before_anything_heavy_is() -> None:
    code = (
        "import sys; from tunnel.cli import ending; from tunnel.cli.commands import tunnel\n"
        "ending.run(tunnel, 'tunnel', ['up', '--help'])\n"
        "sys.exit(' '.join(name for name in ('cryptography', 'tunnel.config', 'tunnel.daemon') if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr == "\n"

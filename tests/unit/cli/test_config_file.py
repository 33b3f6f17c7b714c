from pathlib import Path

import pytest

from tunnel.cli.config_file import ConfigFile, check_name, interface_name
from tunnel.errors import ConfigError
from tunnel.keys import PrivateKey

TEXT = f"[Interface]\nPrivateKey = {PrivateKey(bytes(range(32))).to_base64()}\nListenPort = 51820\n"


def _write(path: Path, text: str | bytes = TEXT, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.parent.chmod(0o755)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(mode)
    return path


@pytest.mark.parametrize("name", ["wg0", "a", "A-b_c=d+e.f", "x" * 15])
def test_what_an_interface_may_be_called(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "x" * 16, "wg 0", "wg/0", "wg0\n", "wé", ".", "..", "wg:0"])
def test_what_an_interface_may_not_be_called(name: str) -> None:
    with pytest.raises(ConfigError, match="is no interface name"):
        check_name(name)


def test_a_name_is_looked_for_in_the_directories_in_order(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    wanted = _write(second / "wg0.conf")
    assert ConfigFile.find("wg0", (first, second)) == ConfigFile("wg0", wanted)
    wanted = _write(first / "wg0.conf")
    assert ConfigFile.find("wg0", (first, second)) == ConfigFile("wg0", wanted)


def test_a_name_without_a_file_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as missing:
        ConfigFile.find("wg0", (tmp_path / "a", tmp_path / "b"))
    assert str(missing.value) == f"wg0: no configuration: {tmp_path}/a/wg0.conf and {tmp_path}/b/wg0.conf not found"


def test_a_path_names_the_interface(tmp_path: Path) -> None:
    path = _write(tmp_path / "office.conf")
    assert ConfigFile.find(str(path), ()) == ConfigFile("office", path)


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path / "office.conf")
    monkeypatch.chdir(tmp_path)
    assert ConfigFile.find("./office.conf", ()).path == path
    assert ConfigFile.find("office.conf", ()).path == path


def test_a_name_that_ends_in_conf_may_still_be_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert interface_name("wg0.conf") == "wg0.conf"


def test_a_path_without_the_suffix_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path / "office.txt")
    with pytest.raises(ConfigError, match=r"has to end in \.conf"):
        ConfigFile.find(str(path), ())


def test_a_path_with_an_impossible_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'much-too-long-for-one' is no interface name"):
        ConfigFile.find(str(tmp_path / "much-too-long-for-one.conf"), ())


def test_a_file_is_read(tmp_path: Path) -> None:
    path = _write(tmp_path / "etc" / "wg0.conf")
    assert ConfigFile("wg0", path).read().interface.listen_port == 51820


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602])
def test_a_file_open_to_everybody_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = _write(tmp_path / "a dir" / "wg0.conf", mode=mode)
    with pytest.raises(ConfigError) as refused:
        ConfigFile("wg0", path).read()
    message = str(refused.value)
    assert message.startswith(f"{path}: may hold a private key")
    assert message.endswith(f": chmod 600 '{path}'")


def test_behind_a_link_the_files_own_directory_counts(tmp_path: Path) -> None:
    path = _write(tmp_path / "open" / "wg0.conf", mode=0o644)
    private = tmp_path / "private"
    private.mkdir(0o700)
    (private / "wg0.conf").symlink_to(path)
    with pytest.raises(ConfigError, match="may hold a private key"):
        ConfigFile("wg0", private / "wg0.conf").read()


def test_a_mistake_is_told_with_file_and_line(tmp_path: Path) -> None:
    path = _write(tmp_path / "etc" / "wg0.conf", TEXT.replace("51820", "90000"))
    with pytest.raises(ConfigError) as refused:
        ConfigFile("wg0", path).read()
    assert str(refused.value).startswith(f"{path}:3: ListenPort: ")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[Interface]\n\0"])
def test_what_is_not_text_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError, match=r"wg0\.conf:"):
        ConfigFile("wg0", _write(tmp_path / "etc" / "wg0.conf", content)).read()


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    (tmp_path / "wg0.conf").mkdir()
    with pytest.raises(ConfigError, match="Is a directory"):
        ConfigFile.find(str(tmp_path / "wg0.conf"), ()).read()

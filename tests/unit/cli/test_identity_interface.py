"""`tunnel up` by options, without a configuration file."""

from pathlib import Path

import pytest

from tunnel.cli.identity_interface import IdentityInterface, IdentityOptions
from tunnel.config.model import CertificateConfig, InterfaceConfig, TunnelConfig
from tunnel.endpoint import EndpointName
from tunnel.errors import ConfigError
from tunnel.keys import NO_PRIVATE_KEY


def find(options: IdentityOptions, target: str | None = None) -> IdentityInterface:
    """Where there is an identity by default, and it is readable."""
    return IdentityInterface.find(target, options, Path("/dev/null"))


def config(certificates: CertificateConfig, listen_port: int = 0) -> TunnelConfig:
    return TunnelConfig(InterfaceConfig(NO_PRIVATE_KEY, listen_port=listen_port, certificates=certificates))


def refusal_of(options: IdentityOptions, target: str | None = None) -> str:
    with pytest.raises(ConfigError) as refusal:
        find(options, target)
    return str(refusal.value)


def test_options_say_what_the_settings_of_a_file_say() -> None:
    options = IdentityOptions(
        peer=("gw.example.com", "[2001:db8::1]:443"),
        identity="/i.pem",
        ca=("/ca.pem", "/old, ca.pem"),
        crl=("/crl.pem",),
        allow=("laptop-*", "a,b"),
        max_peers="7",
        port="443",
    )
    certificates = CertificateConfig(
        identity=Path("/i.pem"),
        authorities=(Path("/ca.pem"), Path("/old, ca.pem")),
        crls=(Path("/crl.pem"),),
        peers=(EndpointName("gw.example.com", 51820), EndpointName("2001:db8::1", 443)),
        allow=("laptop-*", "a,b"),
        max_peers=7,
    )
    assert find(options, "wg0") == IdentityInterface("wg0", config(certificates, 443))


def test_an_identity_where_it_is_by_default_is_enough() -> None:
    assert find(IdentityOptions()) == IdentityInterface("tunnel0", config(CertificateConfig(Path("/dev/null"))))


def test_no_file_is_read_or_written() -> None:
    interface = find(IdentityOptions())
    assert interface.path is None
    assert interface.read() == interface.config


def test_paths_are_relative_to_where_the_command_was_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    certificates = find(IdentityOptions(identity="i.pem", ca=("ca.pem",), crl=("l.pem",))).config.interface.certificates
    assert certificates == CertificateConfig(tmp_path / "i.pem", (tmp_path / "ca.pem",), (tmp_path / "l.pem",))


def test_a_file_that_is_named_twice_counts_once() -> None:
    certificates = find(IdentityOptions(ca=("/a", "/a"), allow=("x", "x"))).config.interface.certificates
    assert certificates == CertificateConfig(Path("/dev/null"), (Path("/a"),), allow=("x",))


def test_the_command_line_for_the_background_comes_to_the_same_interface_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = IdentityOptions(("gw", "::1"), "i.pem", ("ca.pem",), ("a.pem", "b.pem"), ("-x", "y z"), "7", "443")
    assert find(options, "wg0").arguments() == [
        f"--identity={tmp_path}/i.pem",
        f"--ca={tmp_path}/ca.pem",
        f"--crl={tmp_path}/a.pem",
        f"--crl={tmp_path}/b.pem",
        "--peer=gw:51820",
        "--peer=[::1]:51820",
        "--allow=-x",
        "--allow=y z",
        "--max-peers=7",
        "--port=443",
        "wg0",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (IdentityOptions(peer=("x:y",)), "--peer: 'x:y': port 'y' is not a number from 1 to 65535"),
        (IdentityOptions(peer=("gw", "GW:51820")), "--peer: 'gw:51820': given twice"),
        (IdentityOptions(peer=("a,b",)), "--peer: 'a,b': not a host name"),
        (IdentityOptions(identity=""), "--identity: '': empty"),
        (IdentityOptions(ca=("",)), "--ca: '': empty"),
        (IdentityOptions(crl=("\x1b",)), "--crl: '\\x1b': unprintable characters in it"),
        (IdentityOptions(allow=(" ",)), "--allow: ' ': empty"),
        (IdentityOptions(max_peers="0"), "--max-peers: '0': not in 1–100000"),
        (IdentityOptions(port="65536"), "--port: '65536': not in 0–65535"),
    ],
)
def test_an_option_that_is_wrong_is_refused_by_its_name(options: IdentityOptions, message: str) -> None:
    assert refusal_of(options) == message


def test_an_option_that_is_empty_was_typed_all_the_same() -> None:
    assert IdentityOptions(identity="").first == "--identity"
    assert IdentityOptions().first == ""


def test_a_configuration_file_does_not_go_with_options() -> None:
    assert refusal_of(IdentityOptions(max_peers="5"), "./office.conf") == (
        "./office.conf: --max-peers goes with the name of an interface, not with a configuration file"
    )


def test_an_impossible_name_is_refused() -> None:
    assert "'two words' is no interface name" in refusal_of(IdentityOptions(peer=("gw",)), "two words")


def test_options_without_any_identity_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        IdentityInterface.find(None, IdentityOptions(peer=("gw",)), tmp_path / "identity.pem")
    assert str(refusal.value) == f"{tmp_path}/identity.pem: there is no identity; --identity FILE names another"


def test_neither_a_configuration_nor_an_identity_is_refused_with_both_ways_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refusal:
        IdentityInterface.find(None, IdentityOptions(), tmp_path / "identity.pem")
    assert str(refusal.value) == (
        f"nothing to bring up: name a configuration (NAME or FILE), or put an identity at {tmp_path}/identity.pem"
    )

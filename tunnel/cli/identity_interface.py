"""`tunnel up --peer host`: an interface from options and a certificate, without a configuration file.

    --peer HOST, --allow PATTERN, … ─ the parsers of the settings ─▶ TunnelConfig ─▶ run here
                                                                          └──▶ the same options again ─▶ background

Every option but ``--port`` (which is ``ListenPort``) is called as its setting in a file, takes what that takes, and is
repeated where that is a list. Paths are relative to where the command was typed. An identity alone is enough: whom it
is for, and under which addresses, stands in its certificate.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from tunnel.cli.config_file import check_name, is_path, may_be_there
from tunnel.config.model import DEFAULT_MAX_PEERS, CertificateConfig, InterfaceConfig, TunnelConfig
from tunnel.config.quick_sections import quote
from tunnel.config.values import parse_dialled_name, parse_max_peers, parse_path, parse_pattern, parse_port
from tunnel.endpoint import EndpointName
from tunnel.errors import ConfigError
from tunnel.keys import NO_PRIVATE_KEY

DEFAULT_NAME = "tunnel0"

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class IdentityOptions:
    """What was typed; `first` is the name of the first option that was, or empty."""

    peer: tuple[str, ...] = ()
    identity: str | None = None
    ca: tuple[str, ...] = ()
    crl: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    max_peers: str | None = None
    port: str | None = None

    @property
    def first(self) -> str:
        given = (field.name for field in fields(self) if getattr(self, field.name) not in ((), None))
        return next((f"--{name.replace('_', '-')}" for name in given), "")


@dataclass(frozen=True, slots=True)
class IdentityInterface:
    """An interface that no file describes, with absolute paths."""

    name: str
    config: TunnelConfig

    @classmethod
    def find(cls, target: str | None, options: IdentityOptions, default_identity: Path) -> "IdentityInterface":
        """Raise `ConfigError` for an option that is wrong, or if there is no identity where one is by default."""
        if target is not None and is_path(target):
            why = f"{options.first} goes with the name of an interface, not with a configuration file"
            raise ConfigError(why, source=target)
        name = DEFAULT_NAME if target is None else check_name(target)
        certificates = CertificateConfig(
            identity=_find_identity(options, default_identity),
            authorities=_several("--ca", parse_file, options.ca),
            crls=_several("--crl", parse_file, options.crl),
            peers=_parse_peers(options.peer),
            allow=_several("--allow", parse_pattern, options.allow),
            max_peers=_one("--max-peers", parse_max_peers, options.max_peers, DEFAULT_MAX_PEERS),
        )
        port = _one("--port", parse_port, options.port, 0)
        return cls(name, TunnelConfig(InterfaceConfig(NO_PRIVATE_KEY, listen_port=port, certificates=certificates)))

    @property
    def path(self) -> None:
        """There is no file."""
        return

    def read(self) -> TunnelConfig:
        return self.config

    def arguments(self) -> list[str]:
        """What makes `tunnel up` come to the same interface, wherever it is run."""
        interface = self.config.interface
        certificates = interface.certificates
        assert certificates is not None
        options = [
            ("--identity", [certificates.identity]),
            ("--ca", certificates.authorities),
            ("--crl", certificates.crls),
            ("--peer", certificates.peers),
            ("--allow", certificates.allow),
            ("--max-peers", [certificates.max_peers]),
            ("--port", [interface.listen_port]),
        ]
        return [*(f"{option}={value}" for option, values in options for value in values), self.name]


def parse_option(option: str, parse: Callable[[str], Value], text: str) -> Value:
    """Raise `ConfigError` that names the option."""
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"{quote(text)}: {error}", key=option) from None


def parse_file(text: str) -> Path:
    """Relative to where we stand, hence absolute."""
    return parse_path(text).absolute()


def _one(option: str, parse: Callable[[str], Value], text: str | None, default: Value) -> Value:
    return default if text is None else parse_option(option, parse, text)


def _several(option: str, parse: Callable[[str], Value], texts: tuple[str, ...]) -> tuple[Value, ...]:
    """What is given twice counts once."""
    return tuple(dict.fromkeys(parse_option(option, parse, text) for text in texts))


def _parse_peers(texts: tuple[str, ...]) -> tuple[EndpointName, ...]:
    peers: dict[EndpointName, None] = {}
    for text in texts:
        peer = parse_option("--peer", parse_dialled_name, text)
        if peer in peers:
            raise ConfigError(f"{quote(str(peer))}: given twice", key="--peer")
        peers[peer] = None
    return tuple(peers)


def _find_identity(options: IdentityOptions, default: Path) -> Path:
    if options.identity is not None:
        return parse_option("--identity", parse_file, options.identity)
    if may_be_there(default):
        return default
    if options.first:
        raise ConfigError("there is no identity; --identity FILE names another", source=str(default))
    raise ConfigError(f"nothing to bring up: name a configuration (NAME or FILE), or put an identity at {default}")

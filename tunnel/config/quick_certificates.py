"""The settings of [Interface] by which certificates take the place of keys. All are our own.

    Identity = identity.pem          in place of PrivateKey: the key, our certificate and its CA, in one file
    CA = old-ca.pem, new-ca.pem      more of those that we trust
    CRL = crl.pem                    what they have revoked
    Peer = gw.example.com, 192.0.2.1:443    alternatives to dial
    Allow = *.example.com, laptop    the names that may come; without it: any that the CA has given out
    MaxPeers = 1000                  how many may

All but Identity and MaxPeers are lists: on one line with commas, or on several. Paths are relative to the folder of the
file. What is in the files is not looked at here.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from tunnel.config.model import DEFAULT_MAX_PEERS, CertificateConfig
from tunnel.config.quick_sections import Section, quote, read_sections
from tunnel.config.values import parse_dialled_name, parse_max_peers, parse_path, parse_pattern
from tunnel.endpoint import EndpointName
from tunnel.errors import ConfigError

ONLY_WITH_IDENTITY = ("CA", "CRL", "Peer", "Allow", "MaxPeers")

Value = TypeVar("Value")


def read_certificates(section: Section) -> CertificateConfig | None:
    """None: there is a private key instead. Raise `ConfigError` unless there is one of the two."""
    _check_identity(section)
    folder = Path(section.source).parent

    def parse_file(text: str) -> Path:
        return folder / parse_path(text)

    identity = section.scalar("Identity", parse_file, None)
    if identity is None:
        return None
    return CertificateConfig(
        identity=identity,
        authorities=_items(section, "CA", parse_file),
        crls=_items(section, "CRL", parse_file),
        peers=tuple(_read_peers(section)),
        allow=_items(section, "Allow", parse_pattern),
        max_peers=section.scalar("MaxPeers", parse_max_peers, DEFAULT_MAX_PEERS),
    )


def format_certificates(certificates: CertificateConfig) -> Iterator[str]:
    """The lines, with paths as they are. Raise `ConfigError` for what a line cannot hold."""
    yield _line("Identity", str(certificates.identity))
    for key, values in (
        ("CA", certificates.authorities),
        ("CRL", certificates.crls),
        ("Peer", certificates.peers),
        ("Allow", certificates.allow),
    ):
        for value in values:
            yield _line(key, str(value))
    if certificates.max_peers != DEFAULT_MAX_PEERS:
        yield f"MaxPeers = {certificates.max_peers}"


def _check_identity(section: Section) -> None:
    key_line, identity_line = section.line_of("PrivateKey"), section.line_of("Identity")
    if key_line and identity_line:
        raise section.error(f"PrivateKey is set on line {key_line}; an identity has a key of its own", "Identity")
    if not key_line and not identity_line:
        raise section.error("[Interface] has neither PrivateKey nor Identity")
    for key in ONLY_WITH_IDENTITY:
        if key in section.settings and not identity_line:
            raise section.error("needs Identity in place of PrivateKey", key)


def _items(section: Section, key: str, parse: Callable[[str], Value]) -> tuple[Value, ...]:
    """What is listed twice counts once."""
    return tuple(dict.fromkeys(value for value, _ in section.items(key, parse)))


def _read_peers(section: Section) -> Iterator[EndpointName]:
    lines: dict[EndpointName, int] = {}
    for peer, line in section.items("Peer", parse_dialled_name):
        if peer in lines:
            raise section.error(f"{quote(str(peer))}: on line {lines[peer]} already", "Peer", line)
        lines[peer] = line
        yield peer


def _line(key: str, text: str) -> str:
    (section,) = read_sections(f"[Interface]\n{key} = {text.replace(chr(10), '#')}", "")
    read = [section.scalar(key, str, "")] if key == "Identity" else [item for item, _ in section.items(key, str)]
    if read != [text]:
        what = "'#', a line break" if key == "Identity" else "'#', a comma, a line break"
        raise ConfigError(f"a value with {what} or white space around it cannot be written", key=key)
    return f"{key} = {text}"

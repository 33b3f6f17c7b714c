"""What the commands of `tunnel cert` take: text into values, an error into one line that names its option."""

import os
import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any, TypeVar

import click

from tunnel.config.patch import IPNetwork
from tunnel.config.values import parse_address, parse_number, parse_prefix
from tunnel.daemon.identity import read_file
from tunnel.errors import ConfigError
from tunnel.keys import PublicKey
from tunnel.pki.store import parse_public_key

MAX_DAYS = 36500

Value = TypeVar("Value")
Decorator = Callable[[Callable[..., None]], Callable[..., None]]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"""What a file can be called by, and X.520 allows as a common name."""

_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DNS_NAME = re.compile(rf"(\*\.)?{_LABEL}(\.{_LABEL})*")
_NUMBERS = re.compile(r"[0-9.]+|.*:.*")


def parse_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("not 1 to 64 of a-z A-Z 0-9 . _ @ -, the first a letter or digit")
    return text


def parse_own_address(text: str) -> IPv4Address | IPv6Address:
    if "/" in text:
        prefix = parse_prefix(text)
        if prefix.network.prefixlen != prefix.max_prefixlen:
            raise ValueError("an address has no prefix length; --route is for networks")
        text = text.partition("/")[0]
    address = parse_address(text)
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise ValueError("not an address that a host can have in a tunnel")
    return address


def parse_network(text: str) -> IPNetwork:
    """A network proper: host bits are a slip of the pen, for a certificate is not easily taken back."""
    prefix = parse_prefix(text)
    if prefix.ip != prefix.network.network_address:
        raise ValueError(f"has bits behind its prefix; did you mean {prefix.network}?")
    return prefix.network


def parse_route(text: str) -> IPNetwork:
    network = parse_network(text)
    if network.prefixlen == network.max_prefixlen:
        raise ValueError("a single address; --address is for these")
    return network


def parse_outside(text: str) -> str | IPv4Address | IPv6Address:
    """What others dial: a DNS name, perhaps with a wildcard on the left, or an address."""
    if _NUMBERS.fullmatch(text):
        return parse_address(text)
    if not is_dns_name(text):
        raise ValueError("not a DNS name")
    return text.lower()


def is_dns_name(text: str) -> bool:
    return len(text) <= 253 and bool(_DNS_NAME.fullmatch(text))


def parse_days(text: str) -> int:
    return parse_number(text, 1, MAX_DAYS)


def parse_key_or_file(text: str) -> PublicKey:
    """A public key in base64, or a file with one in base64 or PEM; the reason never quotes it: it may be private."""
    if os.path.isfile(text):
        text = read_file(Path(text)).decode("ascii", "replace")
    elif text.startswith((".", "/")) or text.endswith((".pem", ".pub")):
        raise ValueError(f"{text}: no such file")
    key = parse_public_key(text)
    if key.is_zero:
        raise ValueError("the public key is all zeros")
    return key


def parsed(
    parse: Callable[[str], Value], *, quoted: bool = True
) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A click callback: what it was given, each piece through `parse`, whose reason becomes a `ConfigError`."""

    def callback(_context: click.Context, parameter: click.Parameter, given: Any) -> Any:
        label = parameter.opts[0] if isinstance(parameter, click.Option) else str(parameter.human_readable_name)
        if isinstance(given, tuple):
            return tuple(one(label, text) for text in given)
        return None if given is None else one(label, given)

    def one(label: str, text: str) -> Value:
        try:
            return parse(text)
        except ValueError as error:
            raise ConfigError(f"'{text}': {error}" if quoted else str(error), key=label) from None

    return callback


def several(option: str, parse: Callable[[str], object], text: str, metavar: str) -> Decorator:
    return click.option(option, multiple=True, callback=parsed(parse), metavar=metavar, help=text)


def days_option(default: int) -> Decorator:
    text = f"How long it is valid.  [default: {default}]"
    return click.option("--days", default=str(default), callback=parsed(parse_days), metavar="N", help=text)


def file_option(*names: str, help_text: str) -> Decorator:
    return click.option(*names, type=click.Path(path_type=Path), metavar="FILE", help=help_text)


ca_dir_option = click.option(
    "--ca-dir", type=click.Path(path_type=Path), metavar="DIR", default="ca", show_default=True, help="The CA's folder."
)
ca_passphrase_option = file_option("--ca-passphrase-file", help_text="Its first line unlocks the CA's key.")
passphrase_option = file_option("--passphrase-file", help_text="Its first line protects the new private key.")
ask_passphrase_option = click.option(
    "--passphrase", "ask_passphrase", is_flag=True, help="Ask on the terminal for a passphrase that protects it."
)
force_option = click.option("--force", is_flag=True, help="Overwrite a file that exists.")

"""The values that settings take, read from text: numbers, addresses with a prefix, and the few words wg(8) knows.

Every function returns a value or raises `ValueError` with the reason alone, such as ``prefix longer than 32``; whoever
calls knows the place and decides whether the text may be quoted (a key never is).
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from pathlib import Path
from typing import TypeVar

from tunnel.config.model import WIREGUARD_PORT, IPInterface, Offload, RouteTable
from tunnel.config.patch import MAX_PERSISTENT_KEEPALIVE, IPNetwork
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.keys import PrivateKey, PublicKey, hide_keys

MAX_PORT = 65535
MAX_FWMARK = 0xFFFF_FFFF
MAX_TABLE = 0xFFFF_FFFF
MIN_MTU = 576
"""What every IPv4 host accepts in one piece (RFC 791); a smaller number is a slip of the finger."""
MAX_MTU = 65535 - 20 - 8 - 32
"""The largest packet whose message 4 (32 bytes more) still fits a UDP datagram over IPv4 (28 bytes more)."""
MAX_PEERS = 100_000
"""That a certificate admits; every one of them costs memory."""

TABLES_BY_NAME = {"default": 253, "main": 254, "local": 255}
"""The names that ip-route(8) has without consulting rt_tables."""

_DOTTED_NUMBERS = re.compile(r"[0-9.]+")
_HOST_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
MAX_HOST_NAME = 253
"""Characters of a name in the DNS (RFC 1035 section 2.3.4), written with dots."""

Key = TypeVar("Key", PrivateKey, PublicKey)


def parse_number(text: str, low: int, high: int) -> int:
    """Decimal ASCII digits and nothing else: no sign, no space, no underscore."""
    if not text:
        raise ValueError("empty")
    if not (text.isascii() and text.isdigit()):
        raise ValueError("not a number")
    digits = text.lstrip("0") or "0"
    # int() of thousands of digits is quadratic, and CPython refuses it with a message of its own.
    if len(digits) > len(str(high)) or not low <= int(digits) <= high:
        raise ValueError(f"not in {low}–{high}")
    return int(digits)


def parse_number_or_hex(text: str, low: int, high: int) -> int:
    """As `parse_number`, or hexadecimal digits after ``0x``."""
    if not text.lower().startswith("0x"):
        return parse_number(text, low, high)
    digits = text[2:].lstrip("0") or text[2:3]
    if not digits or set(digits.lower()) - set("0123456789abcdef"):
        raise ValueError("not a hexadecimal number")
    if len(digits) > 16 or not low <= int(digits, 16) <= high:
        raise ValueError(f"not in {low:#x}–{high:#x}")
    return int(digits, 16)


def parse_port(text: str) -> int:
    """A port to listen on; 0 is any free one."""
    return parse_number(text, 0, MAX_PORT)


def parse_fwmark(text: str) -> int:
    return 0 if text.lower() == "off" else parse_number_or_hex(text, 0, MAX_FWMARK)


def parse_keepalive(text: str) -> int:
    """Seconds; 0 is off."""
    return 0 if text.lower() == "off" else parse_number(text, 0, MAX_PERSISTENT_KEEPALIVE)


def parse_mtu(text: str) -> int | None:
    """Bytes; empty is None, as in wg-quick(8): to be found out."""
    return parse_number(text, MIN_MTU, MAX_MTU) if text else None


def parse_table(text: str) -> RouteTable | int:
    """``auto`` (which empty means too), ``off``, a number, or one of the three tables that always have a name."""
    word = text.lower()
    if word in ("", "auto"):
        return RouteTable.AUTO
    if word == "off":
        return RouteTable.OFF
    if word in TABLES_BY_NAME:
        return TABLES_BY_NAME[word]
    if word[0].isalpha():
        raise ValueError("neither auto, off nor a table's number")
    return parse_number_or_hex(word, 1, MAX_TABLE)


def parse_truth(text: str) -> bool:
    word = text.lower()
    if word not in ("true", "false"):
        raise ValueError("neither true nor false")
    return word == "true"


def parse_offload(text: str) -> Offload:
    try:
        return Offload(text.lower())
    except ValueError:
        raise ValueError("neither auto, off, send nor receive") from None


def parse_extensions(text: str) -> bool:
    """``auto``: with peers that know them too; ``off``: with nobody."""
    word = text.lower()
    if word not in ("auto", "off"):
        raise ValueError("neither auto nor off")
    return word == "auto"


def parse_identity(parse: Callable[[str], Key]) -> Callable[[str], Key]:
    """The same parser, that refuses 32 zero bytes: they mean "no key", and nobody can be reached under them."""

    def parse_nonzero(text: str) -> Key:
        key = parse(text)
        if key.is_zero:
            raise ValueError(f"the {key.kind} is all zeros")
        return key

    return parse_nonzero


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """An address in the form that inet_pton(3) takes: four octets, or IPv6 without a zone."""
    if "%" in text:
        raise ValueError("a zone has no place here")
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError(f"not an {'IPv6' if ':' in text else 'IPv4'} address") from None


def parse_prefix(text: str) -> IPInterface:
    """``10.0.0.1/24`` with its host bits; without a length it is that one address. No netmasks, as in wg(8)."""
    host, slash, length = text.partition("/")
    address = parse_address(host)
    if not slash:
        return ip_interface(address)
    if not (length.isascii() and length.isdigit()):
        raise ValueError("the prefix length is not a number")
    if len(length) > 3 or int(length) > address.max_prefixlen:
        raise ValueError(f"prefix longer than {address.max_prefixlen}")
    return ip_interface((address, int(length)))


def parse_network(text: str) -> IPNetwork:
    """As `parse_prefix`, host bits masked away as the cryptokey routing table does."""
    return parse_prefix(text).network


def parse_listed_network(text: str) -> IPNetwork:
    """As `parse_network`, with the reasons that a list in a file needs."""
    if not text:
        raise ValueError("nothing between two commas")
    if text[0] in "+-":
        raise ValueError("+ and - change a running peer (wg set); a file lists what it has")
    return parse_network(text)


def parse_endpoint_name(text: str) -> EndpointName:
    """``host:port`` with a name or an address. Numbers and dots are an address: no resolver is asked for 10.0.0.256."""
    if "/" in text:
        raise ValueError("expected host:port, not a URL or a prefix")
    name = EndpointName.parse(text)
    if _DOTTED_NUMBERS.fullmatch(name.host):
        parse_address(name.host)
    return name


# ---- certificates -----------------------------------------------------------------------------------------------


def parse_path(text: str) -> Path:
    """A file, absolute or relative as it was written. A key that was pasted here would be shown as a missing file."""
    if not text:
        raise ValueError("empty")
    if hide_keys(text) != text:
        raise ValueError("a key, not a file")
    if not text.isprintable():
        raise ValueError("unprintable characters in it")
    return Path(text)


def parse_dialled_name(text: str) -> EndpointName:
    """Whom to dial: a name or an address, with a port or without.

    The name has to stand in a certificate, so it is ASCII (``xn--…``) and no zone is meant. It is told apart without
    case, and an address in any form: the result is lower case, or canonical.
    """
    if not text:
        raise ValueError("empty")
    if "/" in text:
        raise ValueError("expected host or host:port, not a URL or a prefix")
    name = _split_port(text)
    if ":" in name.host or _DOTTED_NUMBERS.fullmatch(name.host):
        return EndpointName(Endpoint.create(str(parse_address(name.host)), name.port).host, name.port)
    if len(name.host) > MAX_HOST_NAME or not _HOST_NAME.fullmatch(name.host):
        raise ValueError("not a host name")
    return EndpointName(name.host.lower(), name.port)


def _split_port(text: str) -> EndpointName:
    """The host and the port, `WIREGUARD_PORT` if there is none. Several colons without brackets are one address."""
    if text.startswith("[") and text.endswith("]"):
        return EndpointName.parse(f"{text}:{WIREGUARD_PORT}")
    if text.startswith("[") or text.count(":") == 1:
        return EndpointName.parse(text)
    return EndpointName(text, WIREGUARD_PORT)


def parse_pattern(text: str) -> str:
    """Of names in certificates, as `fnmatch.fnmatchcase` takes it."""
    if not text.strip():
        raise ValueError("empty")
    if not text.isprintable():
        raise ValueError("unprintable characters in it")
    return text


def parse_max_peers(text: str) -> int:
    return parse_number(text, 1, MAX_PEERS)

"""``tunnel peer``: a peer more or less, at once, for any implementation that has a control socket.

    get=1 ──▶ who is there? ─ refused if it does not fit ─▶ set=1 public_key=… ──▶ errno

What ``wg set`` does in silence is refused: to take a network from another peer, to remove who is not there.
"""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import click

from tunnel.cli.completion import files, running
from tunnel.cli.identity_interface import parse_option
from tunnel.cli.places import Places, pass_places
from tunnel.config.patch import IPNetwork
from tunnel.config.snapshot import DeviceSnapshot
from tunnel.config.uapi import parse_get
from tunnel.config.values import parse_endpoint_name, parse_keepalive, parse_listed_network
from tunnel.control.uapi_client import ControlClient
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.errors import ConfigError, TunnelError
from tunnel.keys import PresharedKey, PublicKey


@dataclass(frozen=True, slots=True)
class NewPeer:
    """What the options say, before anything is looked up."""

    key: PublicKey
    endpoint: EndpointName | None
    networks: tuple[IPNetwork, ...]
    keepalive: int | None
    preshared_key_file: Path | None

    @classmethod
    def parse(
        cls, key: str, endpoint: str | None, allowed_ips: str, keepalive: str | None, preshared_key_file: Path | None
    ) -> Self:
        """Raise `ConfigError`."""
        items = [item.strip() for item in allowed_ips.split(",")] if allowed_ips else []
        return cls(
            parse_key(key),
            parse_option("--endpoint", parse_endpoint_name, endpoint) if endpoint is not None else None,
            tuple(dict.fromkeys(parse_option("--allowed-ips", parse_listed_network, item) for item in items)),
            parse_option("--keepalive", parse_keepalive, keepalive) if keepalive is not None else None,
            preshared_key_file,
        )

    def request(self) -> str:
        """Raise `ConfigError` if the name has no address or there is no preshared key in the file."""
        lines = ["set=1", f"public_key={self.key.to_hex()}"]
        if self.preshared_key_file is not None:
            lines.append(f"preshared_key={read_preshared_key(self.preshared_key_file).to_hex()}")
        if self.endpoint is not None:
            lines.append(f"endpoint={resolve(self.endpoint)}")
        if self.keepalive is not None:
            lines.append(f"persistent_keepalive_interval={self.keepalive}")
        lines.append("replace_allowed_ips=true")
        lines += [f"allowed_ip={network}" for network in self.networks]
        return "\n".join(lines) + "\n\n"


@click.group(
    epilog="""\b
Examples:
  tunnel peer add wg0 xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg= --allowed-ips 10.0.0.3/32
  tunnel peer remove wg0 xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
"""
)
def peer() -> None:
    """Add a peer, or remove one, while the interface runs."""


@peer.command(
    epilog="""\b
Examples:
  tunnel peer add wg0 xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg= --allowed-ips 10.0.0.3/32
  tunnel peer add wg0 KEY --endpoint vpn.example.com:51820 --allowed-ips 10.0.0.0/24,fd00::/64 --keepalive 25
"""
)
@click.argument("name", shell_complete=running)
@click.argument("key")
@click.option("--endpoint", metavar="HOST:PORT", help="Where it is.")
@click.option("--allowed-ips", default="", metavar="LIST", help="What it may send and be sent.")
@click.option("--keepalive", metavar="SECONDS", help="Between signs of life.")
@click.option("--preshared-key-file", type=Path, metavar="FILE", shell_complete=files, help="Holds the preshared key.")
@pass_places
def add(places: Places, /, name: str, **options: Any) -> None:
    """Make KEY a peer of the interface NAME.

    It is gone when the interface ends, unless `tunnel save` follows. No route is added: networks outside of the
    interface's own need `tunnel save` and `tunnel reload`.
    """
    new = NewPeer.parse(**options)
    request = new.request()
    with ControlClient.connect(name, places.sockets) as client:
        check_new(name, new, parse_get(client.request("get=1\n\n")))
        client.request(request)


@peer.command(
    epilog="""\b
Example:
  tunnel peer remove wg0 xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
"""
)
@click.argument("name", shell_complete=running)
@click.argument("key")
@pass_places
def remove(places: Places, name: str, key: str) -> None:
    """Forget the peer KEY of the interface NAME, and its session, at once.

    It is back when the interface starts again, unless `tunnel save` follows.
    """
    public_key = parse_key(key)
    with ControlClient.connect(name, places.sockets) as client:
        if all(one.public_key != public_key for one in parse_get(client.request("get=1\n\n")).peers):
            raise TunnelError(f"{name}: '{public_key}' is no peer")
        client.request(f"set=1\npublic_key={public_key.to_hex()}\nremove=true\n\n")


def check_new(name: str, new: NewPeer, device: DeviceSnapshot) -> None:
    """Raise `TunnelError` if the peer does not fit beside what is there."""
    own = device.private_key
    if own is not None and not own.is_zero and own.public_key == new.key:
        raise TunnelError(f"{name}: '{new.key}': our own public key; we cannot be our own peer")
    for one in device.peers:
        if one.public_key == new.key:
            raise TunnelError(f"{name}: '{new.key}' is a peer already")
        for network in new.networks:
            if network in one.allowed_ips:
                raise TunnelError(f"{name}: {network} belongs to the peer {one.public_key} already")


def parse_key(text: str) -> PublicKey:
    """Raise `ConfigError`, which does not quote the text: it may be a private key."""
    try:
        return PublicKey.from_base64(text)
    except ValueError as error:
        raise ConfigError(str(error), key="KEY") from None


def read_preshared_key(path: Path) -> PresharedKey:
    """Raise `ConfigError`, which does not quote what is in the file."""
    try:
        return PresharedKey.from_base64(path.read_text("ascii").strip())
    except OSError as error:
        raise ConfigError(error.strerror or str(error), source=str(path)) from None
    except UnicodeDecodeError:
        raise ConfigError("not a preshared key", source=str(path)) from None
    except ValueError as error:
        raise ConfigError(str(error), source=str(path)) from None


def resolve(name: EndpointName) -> Endpoint:
    """The first address, in the order of the system. Raise `ConfigError` if there is none."""
    try:
        numeric = name.numeric()
        if numeric is not None:
            return numeric
        *_, address = socket.getaddrinfo(name.host, name.port, type=socket.SOCK_DGRAM)[0]
    except OSError as error:
        raise ConfigError(f"'{name}': {error.strerror}", key="--endpoint") from None
    scope_id = address[3] if len(address) == 4 else 0
    return Endpoint.create(str(address[0]).partition("%")[0], name.port, int(scope_id))

"""The hub that a crowd meets: a wg-quick file with many peers, and the real daemon that runs it.

inside the tunnel:  10.0.0.1 the one real client   10.0.0.2 the hub   10.64.0.1, 10.64.0.2 … the crowd
"""

import time
from dataclasses import dataclass
from ipaddress import IPv4Address

from tests.bench.crowd import NETWORK, deterministic_key, outer_address
from tests.bench.topology import MTU, Host
from tests.netns.hosts import BIN
from tunnel.control.uapi_client import daemon_pid

PORT = 51820
PERSISTENT_KEEPALIVE = 25
CLIENT_SEED = "the real client"

_FIRST_INNER = IPv4Address("10.64.0.0")


def inner_address(number: int) -> IPv4Address:
    return _FIRST_INNER + number


@dataclass(frozen=True, slots=True)
class Shape:
    """What a hub's file holds: `size` members, and the client besides.

    With `is_routed` no network of its own covers the members, so that each needs a route. With `has_endpoints` it is
    told where each is outside, and so is the first to speak.
    """

    size: int
    is_routed: bool = False
    has_endpoints: bool = False

    def config(self, seed: str, hub: Host, client: Host) -> str:
        """The wg-quick file."""
        network = 24 if self.is_routed else 8
        client_key = deterministic_key(CLIENT_SEED, 1).public_key
        sections = [
            f"[Interface]\nPrivateKey = {deterministic_key(seed, 0).to_base64()}\nListenPort = {PORT}\n"
            f"Address = {hub.inner}/{network}\n",
            f"[Peer]\nPublicKey = {client_key}\nAllowedIPs = {client.inner}/32\n",
            *(self._peer(seed, number) for number in range(1, self.size + 1)),
        ]
        return "\n".join(sections)

    def _peer(self, seed: str, number: int) -> str:
        lines = [
            "[Peer]",
            f"PublicKey = {deterministic_key(seed, number).public_key}",
            f"AllowedIPs = {inner_address(number)}/32",
            f"PersistentKeepalive = {PERSISTENT_KEEPALIVE}",
        ]
        if self.has_endpoints:
            lines.append(f"Endpoint = {outer_address(number)}:{PORT}")
        return "\n".join(lines) + "\n"


def client_config(seed: str, hub: Host, client: Host) -> str:
    """The wg-quick file of the one real client."""
    return (
        f"[Interface]\nPrivateKey = {deterministic_key(CLIENT_SEED, 1).to_base64()}\n"
        f"Address = {client.inner}/32\nMTU = {MTU}\n\n"
        f"[Peer]\nPublicKey = {deterministic_key(seed, 0).public_key}\nAllowedIPs = {hub.inner}/32\n"
        f"Endpoint = {hub.outer}:{PORT}\n"
    )


def let_reach_crowd(hub: Host, client: Host) -> None:
    """The crowd is behind the client's outer address."""
    hub.namespace.ip("route", "add", str(NETWORK), "via", client.outer)


def start(host: Host, config: str) -> float:
    """``tunnel up -d`` with this file; returns the seconds until it was ready."""
    file = host.directory / f"{host.interface}.conf"
    file.touch(mode=0o600)
    file.write_text(config)
    began = time.monotonic()
    host.namespace.run(str(BIN / "tunnel"), "up", "-d", str(file), timeout=120)
    return time.monotonic() - began


def stop(host: Host) -> None:
    """``tunnel down``."""
    host.namespace.run(str(BIN / "tunnel"), "down", host.interface)


def process(host: Host) -> int:
    """The id of the daemon that runs the host's interface."""
    return daemon_pid(host.interface)

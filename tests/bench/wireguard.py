"""Programs that take the place of wireguard-go: a bare interface, configured by ``wg`` and ``ip``."""

import os
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from tests.bench.topology import Host, await_made
from tunnel.keys import PrivateKey

PORT = 51820


@dataclass(frozen=True, slots=True)
class Implementation:
    """``command options... INTERFACE`` makes an interface and stays in the foreground."""

    command: tuple[str, ...]
    options: tuple[str, ...] = ("--foreground",)


def start(
    client_side: Implementation, server_side: Implementation, client: Host, server: Host
) -> tuple[Popen[str], Popen[str]]:
    """Two implementations, which may differ, as peers of each other."""
    client_key, server_key = (PrivateKey.generate(os.urandom) for _ in range(2))
    return (
        _start_end(client_side, client, client_key, server, server_key),
        _start_end(server_side, server, server_key, client, client_key),
    )


def _start_end(
    implementation: Implementation, own: Host, own_key: PrivateKey, other: Host, other_key: PrivateKey
) -> Popen[str]:
    process = own.start(*implementation.command, *implementation.options, own.interface)
    socket = Path(f"/var/run/wireguard/{own.interface}.sock")
    await_made(socket.exists, "its control socket", process)
    interface = ("private-key", "/dev/stdin", "listen-port", str(PORT))
    peer = ("peer", other_key.public_key.to_base64(), "allowed-ips", f"{other.inner}/32")
    endpoint = ("endpoint", f"{other.outer}:{PORT}")
    own.namespace.run("wg", "set", own.interface, *interface, *peer, *endpoint, stdin=own_key.to_base64())
    own.configure_interface(process)
    return process

"""Another implementation's control socket: it knows ``get`` and hangs up on everything else, as wireguard-go does."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from tunnel.config.snapshot import DeviceSnapshot, PeerSnapshot
from tunnel.config.uapi import format_get
from tunnel.keys import PrivateKey, PublicKey

SNAPSHOT = DeviceSnapshot(
    PrivateKey(bytes(range(32))), 12345, 0, (PeerSnapshot(PublicKey(bytes([7] * 32)), rx_bytes=2048),), {}
)


@contextmanager
def foreign_daemon(directory: Path) -> Iterator[None]:
    """Serves wg0 from a thread of this process."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # shut down
                return
            with connection:
                if connection.recv(1000) == b"get=1\n\n":
                    connection.sendall(f"{format_get(SNAPSHOT)}errno=0\n\n".encode())

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / "wg0.sock"))
        listener.listen()
        thread = Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()

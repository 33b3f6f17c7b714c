"""Traffic between two namespaces: a TCP, a UDP and an ICMP flow, each checked byte by byte.

The sockets are made inside the namespaces and used from here, so a flow costs no process. Each is bounded in time.
"""

import hashlib
import os
import re
import socket
import threading
from collections.abc import Sequence

from tunnel.testing.namespaces import Namespace

TIMEOUT = 10.0


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def listen(namespace: Namespace, address: str) -> socket.socket:
    """A TCP listener on any free port."""
    with namespace.enter():
        listener = socket.create_server((address, 0), family=_family(address))
    listener.settimeout(TIMEOUT)
    return listener


def connect_to(namespace: Namespace, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """A TCP connection from inside `namespace`: (its end, the listener's end)."""
    with namespace.enter():
        near = socket.create_connection(listener.getsockname()[:2], TIMEOUT)
    far, _ = listener.accept()
    far.settimeout(TIMEOUT)
    return near, far


def datagram_socket(namespace: Namespace, address: str, port: int = 0) -> socket.socket:
    """A UDP socket inside `namespace`, bound to `address`."""
    with namespace.enter():
        bound = socket.socket(_family(address), socket.SOCK_DGRAM)
        bound.bind((address, port))
    bound.settimeout(TIMEOUT)
    return bound


def send_tcp(client: Namespace, server: Namespace, address: str, size: int) -> None:
    """Send `size` random bytes to `address` in `server` and let them come back; both ways at once."""
    payload = os.urandom(size)
    with listen(server, address) as listener:
        near, far = connect_to(client, listener)
    with near, far:
        sender = threading.Thread(target=_send_all, args=(near, payload))
        echo = threading.Thread(target=_echo, args=(far,))
        sender.start()
        echo.start()
        returned = hashlib.sha256()
        while piece := near.recv(1 << 16):
            returned.update(piece)
        sender.join()
        echo.join()
    assert returned.digest() == hashlib.sha256(payload).digest()


def _send_all(connection: socket.socket, payload: bytes) -> None:
    connection.sendall(payload)
    connection.shutdown(socket.SHUT_WR)


def _echo(connection: socket.socket) -> None:
    while piece := connection.recv(1 << 16):
        connection.sendall(piece)
    connection.shutdown(socket.SHUT_WR)


def send_udp(client: Namespace, client_address: str, server: Namespace, address: str, sizes: Sequence[int]) -> None:
    """Send a datagram of each size to `address` in `server` and one back; what does not fit the MTU is fragmented."""
    with datagram_socket(client, client_address) as near, datagram_socket(server, address) as far:
        for size in sizes:
            payload = os.urandom(size)
            near.sendto(payload, far.getsockname())
            received, source = far.recvfrom(1 << 16)
            assert received == payload
            far.sendto(received, source)
            assert near.recv(1 << 16) == payload


def ping(client: Namespace, address: str, *, size: int = 56, count: int = 3) -> None:
    """`count` echo requests with `size` bytes of payload must be answered, within five seconds.

    If the answers are slow ping sends some more, and counts theirs too.
    """
    family = "-6" if ":" in address else "-4"
    command = ("ping", "-n", family, "-c", str(count), "-i", "0.01", "-s", str(size), "-w", "5", address)
    answered = client.run(*command).stdout
    received = re.search(r"(\d+) received", answered)
    assert received is not None, answered
    assert int(received[1]) >= count, answered


def is_reachable(client: Namespace, address: str) -> bool:
    """Whether a single ping is answered within a second."""
    family = "-6" if ":" in address else "-4"
    return client.run("ping", "-n", family, "-c1", "-W1", address, check=False).returncode == 0

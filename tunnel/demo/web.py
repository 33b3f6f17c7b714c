"""A web server in one namespace and a download from another: Python's own server, and a client that hashes."""

import hashlib
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunnel.errors import TunnelError
from tunnel.testing.namespaces import Namespace

WEB_PORT = 8080
_PIECE = 1 << 20
_STRIDES = 60
"""How often progress is told."""
_STALL = 10.0
"""Seconds without a byte after which a download has failed."""
_START = 10.0
"""Seconds that the server has to start."""


@dataclass(frozen=True, slots=True)
class Download:
    """A finished one."""

    size: int
    seconds: float
    sha256: str

    @property
    def megabits_per_second(self) -> float:
        return self.size * 8 / self.seconds / 1e6


def write_random_file(path: Path, size: int) -> str:
    """Fill `path` with `size` bytes that nothing can compress; return their SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, _PIECE):
            piece = os.urandom(min(_PIECE, size - start))
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def serve(namespace: Namespace, address: str, directory: Path, log: Path) -> subprocess.Popen[str]:
    """Start a web server for `directory` on `address`; it answers when this returns and ends with the namespace."""
    server = namespace.popen(
        sys.executable, "-m", "http.server", str(WEB_PORT), "--bind", address, "--directory", str(directory), log=log
    )
    give_up = time.monotonic() + _START
    while server.poll() is None and time.monotonic() < give_up:
        try:
            with namespace.enter():
                socket.create_connection((address, WEB_PORT), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return server
    raise TunnelError(f"the web server on {address} does not start: {log.read_text().strip()}")


def download(namespace: Namespace, address: str, file: str, progress: Callable[[int, int], None]) -> Download:
    """Get ``http://address/file`` from inside `namespace`; `progress` is told (bytes so far, of how many).

    Raise `TunnelError` when it stalls or the answer is not the whole file.
    """
    connection = http.client.HTTPConnection(address, WEB_PORT, timeout=_STALL)
    try:
        with namespace.enter():
            connection.connect()
        started = time.monotonic()
        connection.request("GET", f"/{file}")
        response = connection.getresponse()
        expected = int(response.headers["Content-Length"])
        digest, done = _receive(response, expected, progress)
    except (OSError, http.client.HTTPException) as error:
        raise TunnelError(f"http://{address}:{WEB_PORT}/{file}: {error or type(error).__name__}") from None
    finally:
        connection.close()
    if response.status != http.client.OK or done != expected:
        raise TunnelError(f"http://{address}:{WEB_PORT}/{file}: status {response.status}, {done} of {expected} bytes")
    return Download(done, time.monotonic() - started, digest)


def _receive(
    response: http.client.HTTPResponse, expected: int, progress: Callable[[int, int], None]
) -> tuple[str, int]:
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_PIECE))
    done = 0
    next_told = 0
    while received := response.readinto(buffer):
        digest.update(buffer[:received])
        done += received
        if done >= next_told:  # not more often, or drawing would be part of what is measured
            progress(done, expected)
            next_told = done + expected // _STRIDES
    return digest.hexdigest(), done

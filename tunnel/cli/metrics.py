"""``tunnel metrics``: an exporter for Prometheus, a process of its own that asks the control sockets.

    Prometheus ──GET /metrics──▶ exporter ──status=1──▶ the process of every interface

The interfaces' processes hold nothing for it, and a scrape costs them one status each. Each is asked anew for every
scrape, so interfaces may come and go. Whoever talks HTTP here is served for seconds, and a few at a time.
"""

import contextlib
import socket
import socketserver
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import click

from tunnel.cli.completion import running
from tunnel.cli.places import Places, pass_places
from tunnel.control.status import InterfaceStatus
from tunnel.control.uapi_client import is_answered, list_interfaces
from tunnel.endpoint import Endpoint
from tunnel.errors import ConfigError, ControlError, TunnelError

LISTEN = "127.0.0.1:9586"

SCRAPERS = 8
"""Connections that are served at once; Prometheus makes one."""

PATIENCE = 10.0
"""Seconds for a client to say more, or to read on."""

UNIX = "unix:"


@dataclass(frozen=True, slots=True)
class Exporter:
    """What is asked for every scrape: all interfaces, or `name`."""

    name: str | None
    directory: Path
    ask: Callable[[str, Path], InterfaceStatus]

    def collect(self) -> Iterator[Any]:
        """The families, as a `prometheus_client` registry wants them. Raise `ControlError` if we may not ask."""
        from tunnel.control.metrics import Metrics

        metrics = Metrics(time.time())
        for name in [self.name] if self.name else list_interfaces(self.directory):
            try:
                metrics.add(self.ask(name, self.directory))
            except ControlError:
                metrics.add_silent(name)
        yield from metrics.families()


@click.command(
    epilog=f"""\b
Examples:
  tunnel metrics                    all interfaces, on http://{LISTEN}/metrics
  tunnel metrics wg0 --listen '[::1]:9586'
  tunnel metrics --listen unix:/run/tunnel-metrics.sock
"""
)
@click.argument("name", required=False, shell_complete=running)
@click.option(
    "--listen",
    default=LISTEN,
    show_default=True,
    metavar="ADDRESS:PORT|unix:PATH",
    help="Where Prometheus asks; whoever reaches it may read.",
)
@pass_places
def metrics(places: Places, name: str | None, listen: str) -> None:
    """Tell Prometheus about all interfaces, or NAME, until Ctrl-C.

    docs/status.md lists the metrics, docs/grafana.json is a dashboard of them. It needs the Python package
    prometheus-client (the extra `metrics`).
    """
    from tunnel.cli.config_file import check_name
    from tunnel.cli.status import ask

    try:
        from prometheus_client import CollectorRegistry, make_wsgi_app
    except ImportError:
        remedy = f"{sys.executable} -m pip install prometheus-client"
        raise TunnelError(f"prometheus-client is not installed: {remedy}") from None

    if name is not None:
        check_name(name)
    exporter = Exporter(name, places.sockets, ask)
    list_interfaces(places.sockets)  # says now if we may not ask
    registry = CollectorRegistry()
    registry.register(exporter)
    with listening(listen) as server:
        server.set_app(make_wsgi_app(registry))
        click.echo(f"listening on {listen}", err=True)
        server.serve_forever()


@contextlib.contextmanager
def listening(where: str) -> "Iterator[Server]":
    """A server at ``ADDRESS:PORT`` or ``unix:PATH``. Raise `ConfigError`."""
    with _server(where) as server:
        try:
            yield server
        finally:
            if where.startswith(UNIX):
                Path(where.removeprefix(UNIX)).unlink(missing_ok=True)


def _server(where: str) -> "Server":
    try:
        if not where.startswith(UNIX):
            endpoint = Endpoint.parse(where)
            return Server((endpoint.host, endpoint.port), socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET)
        path = Path(where.removeprefix(UNIX))
        _remove_left_over(path)
        return Server(str(path), socket.AF_UNIX)
    except ValueError as error:
        raise ConfigError(f"'{where}': {error}", key="--listen") from None
    except OSError as error:
        raise ConfigError(f"'{where}': {error.strerror or error}", key="--listen") from None


def _remove_left_over(path: Path) -> None:
    """The socket of an exporter that was killed."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode) and not is_answered(path):
            path.unlink()


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is the library's
        """Nobody wants a line for every scrape."""


class Server(socketserver.ThreadingMixIn, WSGIServer):
    """WSGI over TCP or a Unix socket, for a few clients at once."""

    daemon_threads = True
    request_queue_size = 4 * SCRAPERS

    def __init__(self, address: tuple[str, int] | str, family: socket.AddressFamily) -> None:
        self.address_family = family
        self._free = BoundedSemaphore(SCRAPERS)
        super().__init__(address, _Handler)  # type: ignore[arg-type]  # a Unix socket's is a text

    def server_bind(self) -> None:
        """Without the look at DNS that the library takes."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()

    def get_request(self) -> tuple[socket.socket, Any]:
        """A client at a Unix socket has no address, and the library wants one."""
        request, address = super().get_request()
        return request, address or ("local", 0)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or was too slow."""

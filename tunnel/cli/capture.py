"""``tunnel capture``: the packets of an interface, before and after they are sealed, as tcpdump would show them.

A process of its own does it, so the one that runs the interface does not slow down; that one is asked for its port, and
with ``--keys`` for the keys of its handshakes from now on.
"""

import errno
import os
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from tunnel import __version__
from tunnel.cli.completion import running
from tunnel.cli.places import Places, pass_places
from tunnel.control.uapi_client import ControlClient
from tunnel.errors import ConfigError, ControlError, EdgeError, TunnelError

if TYPE_CHECKING:
    from tunnel.capture.output import Output, Side
    from tunnel.capture.packet_socket import PacketSocket
    from tunnel.capture.recording import Recording
    from tunnel.config.snapshot import DeviceSnapshot

STANDARD_OUTPUT = "-"

KEYS_WARNING = """\
tunnel: WARNING: the private key of {name} goes into {place}, and those of its handshakes from now on.
tunnel: Whoever has them reads this traffic, and can pose as this host. Delete them when you are done.
tunnel: Sessions begun before now stay closed until their next handshake, within two minutes."""


@click.command(
    epilog="""\b
Examples:
  tunnel capture wg0                          a line per packet, until Ctrl-C
  tunnel capture wg0 --outer -c 10            ten datagrams as the network sees them
  tunnel capture wg0 -w wg0.pcapng --seconds 60
  tunnel capture wg0 -w - | wireshark -k -i -
  tunnel capture wg0 --keys -w secret.pcapng  Wireshark opens what is sealed
\b
WARNING: with --keys the file holds the private key of the interface. Whoever
has it reads the traffic, and can pose as this host: never send it to anybody.
\b
Wireshark knows WireGuard (messages 1 to 4). Ours between two hosts that run
tunnel (5, 16 to 19) it does not, and --keys does not open them: to see
inside, set `Extensions = off` on one side and leave certificates out.
"""
)
@click.argument("name", shell_complete=running)
@click.option("--write", "-w", "target", metavar="FILE", help="Write a pcapng file (mode 0600); - is standard output.")
@click.option("--inner", is_flag=True, help="Only packets inside the tunnel.")
@click.option("--outer", is_flag=True, help="Only datagrams outside, from or to the interface's UDP port.")
@click.option("--count", "-c", type=click.IntRange(1), metavar="N", help="Stop after N packets.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), metavar="S", help="Stop after S seconds.")
@click.option("--keys", is_flag=True, help="Put the keys into the file too. See the warning below.")
@click.option("--force", is_flag=True, help="Overwrite FILE.")
@pass_places
def capture(
    places: Places,
    name: str,
    target: str | None,
    inner: bool,
    outer: bool,
    count: int | None,
    seconds: float | None,
    keys: bool,
    force: bool,
) -> None:
    """Show or record packets of interface NAME: inside, outside, or (as both are by default) together.

    Only root may. The process that runs the interface is not slowed down.
    """
    from tunnel.capture.output import Side
    from tunnel.capture.recording import Limits, Recording
    from tunnel.cli.config_file import check_name

    if keys and target is None:
        raise click.UsageError("--keys needs -w: keys are not for a terminal.")
    if target == STANDARD_OUTPUT and sys.stdout.isatty():
        raise click.UsageError("-w - needs a pipe or a file: packets are not for a terminal.")
    if os.geteuid() != 0:
        raise TunnelError("only root may capture packets")
    sides = [side for side, is_wanted in ((Side.INNER, inner), (Side.OUTER, outer)) if is_wanted] or list(Side)
    with ExitStack() as stack:
        index = _index(check_name(name))
        client = stack.enter_context(ControlClient.connect(name, places.sockets))
        device = _ask(client)
        sockets = {side: stack.enter_context(_open(side, name, index, device)) for side in sides}
        stream = stack.enter_context(_key_stream(client)) if keys else None
        output = stack.enter_context(_open_output(target, name, sides, force=force))
        if keys:
            click.echo(KEYS_WARNING.format(name=name, place=target), err=True)
            output.write_keys(_static_key(device))
        recording = Recording(sockets, output, Limits(count, seconds), lambda: _has_index(name, index), stream)
        _run(recording, name, target)
        if recording.has_lost_keys and _has_index(name, index):
            click.echo("tunnel: the keys of later handshakes are missing: nobody tells them any more", err=True)


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError:
        raise TunnelError(f"there is no interface {name} here") from None


def _has_index(name: str, index: int) -> bool:
    try:
        return socket.if_nametoindex(name) == index
    except OSError:
        return False


def _ask(client: ControlClient) -> "DeviceSnapshot":
    from tunnel.config.uapi import parse_get

    return parse_get(client.request("get=1\n\n"), socket.if_nametoindex)


def _open(side: "Side", name: str, index: int, device: "DeviceSnapshot") -> "PacketSocket":
    from tunnel.capture.output import Side
    from tunnel.capture.packet_socket import PacketSocket
    from tunnel.capture.port_filter import udp_port_filter

    if side is Side.INNER:
        return PacketSocket(name)
    if not device.listen_port:
        raise TunnelError(f"{name} has no UDP port yet: bring it up, or capture with --inner")
    return PacketSocket(program=udp_port_filter(device.listen_port, index))


@contextmanager
def _key_stream(client: ControlClient) -> Iterator[socket.socket]:
    """Lines of keys from now on. Raise `TunnelError` if whoever runs the interface does not tell them."""
    try:
        yield client.subscribe("keylog=1\n\n")
    except ControlError as error:
        if error.errno in (errno.EPROTO, errno.EOPNOTSUPP):
            why = "it is not one of ours, or was started before an upgrade"
            raise TunnelError(f"the process that runs {client.name} does not tell keys: {why}") from None
        raise


def _static_key(device: "DeviceSnapshot") -> bytes:
    from tunnel.wire.key_log import key_log_line

    return key_log_line("LOCAL_STATIC_PRIVATE_KEY", device.private_key.raw) if device.private_key else b""


# ---- where it goes ----------------------------------------------------------------------------------------------


@contextmanager
def _open_output(target: str | None, name: str, sides: "list[Side]", *, force: bool) -> "Iterator[Output]":
    from tunnel.capture.output import CaptureFile, CaptureLines

    if target is None:
        yield CaptureLines(sys.stdout)
        return
    try:
        with _open_file(target, force=force) as file:
            yield CaptureFile(file, name, sides, f"tunnel {__version__}")
    except BrokenPipeError:
        raise
    except OSError as error:  # closing writes too
        raise EdgeError(f"{target}: {error.strerror}", error.errno or 0) from None


@contextmanager
def _open_file(target: str, *, force: bool) -> Iterator[BinaryIO]:
    """Standard output, or a new file that only we may read. Raise `ConfigError`."""
    if target == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        return
    path = Path(target)
    try:
        if force and stat.S_ISREG(path.lstat().st_mode):
            path.unlink()  # others may have it open, or may read it
    except FileNotFoundError:
        pass
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise ConfigError("exists already; --force overwrites a file", source=target) from None
    except OSError as error:
        raise ConfigError(error.strerror or str(error), source=target) from None
    with open(descriptor, "wb") as file:
        yield file


# ---- beginning and end ------------------------------------------------------------------------------------------


def _run(recording: "Recording", name: str, target: str | None) -> None:
    """Until Ctrl-C or SIGTERM, or until it ends by itself; what was captured is written either way."""
    where = f" to {target}" if target not in (None, STANDARD_OUTPUT) else ""
    click.echo(f"tunnel: capturing {name}{where}; Ctrl-C ends it", err=True)
    with _stopping(recording.stop):
        recording.run()
    lost = recording.count_lost()
    click.echo(f"tunnel: {recording.count} packets captured, {lost} lost", err=True)


@contextmanager
def _stopping(stop: Callable[[], None]) -> Iterator[None]:
    before = {number: signal.signal(number, lambda *_: stop()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Descriptors that systemd hands to us at our start, and what we leave with it for the next one (sd_listen_fds(3)).

    tunnel@wg0.socket ──────── a UDP port ───────┐
                                                 ├─▶ LISTEN_FDS ─▶ us
    the process before us ─▶ FDSTORE=1 ─▶ store ─┘                  └─▶ SIGTERM: FDSTORE=1, for the process after us

**The socket unit** has bound the port, and keeps it whatever becomes of us; it may have started us because a datagram
came. It says where we listen, so a ``ListenPort`` must say the same or nothing.

**The descriptor store** makes a restart one in which the interface stays, with its index, addresses and routes, and
packets wait in its queue. What is in it is ours again from our start on, and systemd is told to forget it; so whatever
ends us but SIGTERM takes the interface along, as ever. After SIGTERM systemd either starts us again, or lets go of
everything, and the kernel takes the interface away. What does not fit the configuration any more is let go of.

Both come as descriptors from 3 on, told apart by their names.
"""

import logging
import os
import socket
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from tunnel.config.model import Offload
from tunnel.daemon.systemd import Notifier
from tunnel.errors import ConfigError
from tunnel.tun.attach import attached_to
from tunnel.tun.device import TunDevice

FIRST = 3
"""The number of the first descriptor."""

MOST = 64
"""Descriptors that we look at; more come from somebody who means something else."""

STORED_TUN = "stored-tun"
STORED_UDP = "stored-udp"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Handover:
    """What was handed to us and is not in use yet. `unit` is who listens for us, for messages."""

    activated: list[socket.socket] = field(default_factory=list)
    """At most one of each family, bound to one port; they stay here, what is used are copies."""
    unit: str = ""
    sockets: list[socket.socket] = field(default_factory=list)
    """The same, of the process before us."""
    tun: int | None = None
    """The interface of the process before us."""

    @classmethod
    def take_from(cls, environment: MutableMapping[str, str], pid: int, first: int = FIRST) -> "Handover":
        """What is for process `pid`, with the variables taken out of `environment`, as a hook gets none of it.

        Raise `ConfigError` for a socket unit that is no use to us.
        """
        count = environment.pop("LISTEN_FDS", "")
        names = environment.pop("LISTEN_FDNAMES", "").split(":")
        if environment.pop("LISTEN_PID", "") != str(pid) or not (count.isascii() and count.isdigit()):
            return cls()
        handover = cls()
        try:
            for number, descriptor in enumerate(range(first, first + min(int(count[:9]), MOST))):
                handover._take(descriptor, names[number] if number < len(names) else "")
            _check_port(handover.activated, handover.unit)
        except BaseException:
            handover.close()
            raise
        return handover

    def _take(self, descriptor: int, name: str) -> None:
        try:
            os.set_inheritable(descriptor, False)
        except OSError:
            raise ConfigError(f"descriptor {descriptor} is not open", source=name or "LISTEN_FDS") from None
        if name == STORED_TUN and self.tun is None:
            self.tun = descriptor
        elif name == STORED_TUN:  # the newest comes first; an older one is there if systemd did not hear us forget it
            os.close(descriptor)
        elif name == STORED_UDP:
            if (sock := _as_socket(descriptor)) is not None:
                self.sockets.append(sock)
        elif (sock := _as_socket(descriptor)) is not None:
            self.activated.append(sock)
            self.unit = name or "LISTEN_FDS"
        else:
            raise ConfigError("not a socket: tunnel needs ListenDatagram= and a port", source=name or "LISTEN_FDS")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_empty(self) -> bool:
        """The process before us has left nothing."""
        return self.tun is None and not self.sockets

    @property
    def port(self) -> int | None:
        """Where the socket unit listens; None: there is none."""
        return self.activated[0].getsockname()[1] if self.activated else None

    def check(self, listen_port: int) -> None:
        """Raise `ConfigError` if the file says `listen_port` and the socket unit another one."""
        if self.port is not None and listen_port not in (0, self.port):
            why = f"port {self.port}, and ListenPort is {listen_port}: make them the same, or leave ListenPort out"
            raise ConfigError(why, source=self.unit)

    @property
    def interface(self) -> str | None:
        """What the interface is called that the process before us has left; None: none, or it is not there any more."""
        return None if self.tun is None else attached_to(self.tun)

    def take_tun(self, name: str, offload: Offload) -> TunDevice | None:
        """The interface `name` as the process before us left it; None: it has left none that suits."""
        descriptor, self.tun = self.tun, None
        if descriptor is None:
            return None
        tun = TunDevice.adopt(descriptor, name, offload)
        if tun is None:
            os.close(descriptor)
        return tun

    def take_sockets(self, port: int) -> list[socket.socket]:
        """Sockets of `port` (0: any), if the process before us has left some that suit."""
        sockets, self.sockets = self.sockets, []
        try:
            _check_port(sockets, STORED_UDP)
            if sockets and port in (0, sockets[0].getsockname()[1]):
                return sockets
        except ConfigError as error:
            _log.debug("%s", error)
        for sock in sockets:
            sock.close()
        return []

    def let_go_of_interface(self) -> None:
        """Harmless when repeated."""
        if self.tun is not None:
            os.close(self.tun)
            self.tun = None

    def close(self) -> None:
        """Let go of all that was not taken. Harmless when repeated."""
        self.let_go_of_interface()
        for sock in (*self.activated, *self.sockets):
            sock.close()
        self.activated, self.sockets = [], []


def forget_stored(notifier: Notifier) -> None:
    """What was handed to us is ours alone: when we close it, it is gone."""
    notifier.forget(STORED_TUN)
    notifier.forget(STORED_UDP)


def leave(notifier: Notifier, tun: int, sockets: Sequence[int]) -> bool:
    """For the process after us; return whether anybody keeps it."""
    notifier.store(STORED_TUN, [tun])
    notifier.store(STORED_UDP, sockets)
    return bool(notifier.address)


def _as_socket(descriptor: int) -> socket.socket | None:
    """None, and it is closed, if it is something else."""
    try:
        return socket.socket(fileno=descriptor)
    except OSError:
        os.close(descriptor)
        return None


def _check_port(sockets: Sequence[socket.socket], source: str) -> None:
    """Raise `ConfigError` unless these are what a tunnel can use: see `tunnel.udp.socket.UdpSocket.adopt`."""
    ports = set()
    for sock in sockets:
        if sock.family not in (socket.AF_INET, socket.AF_INET6) or not _is_udp(sock):
            raise ConfigError("not a UDP socket: tunnel needs ListenDatagram= and a port", source=source)
        if sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
            raise ConfigError("one socket for IPv4 and IPv6: BindIPv6Only=ipv6-only is needed", source=source)
        ports.add(sock.getsockname()[1])
    if len({sock.family for sock in sockets}) < len(sockets) or len(ports) > 1:
        raise ConfigError("one port is needed, once for IPv4 and once for IPv6 at most", source=source)
    if 0 in ports:
        raise ConfigError("a UDP socket without a port", source=source)


def _is_udp(sock: socket.socket) -> bool:
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_UDP

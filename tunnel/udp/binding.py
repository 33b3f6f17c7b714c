"""Binding one UDP port for IPv4 and IPv6: two sockets with every option that a tunnel wants.

Two sockets, since an IPv6 socket that also speaks IPv4 would not give us IP_PKTINFO, and a host may lack either
family. Any free port is asked for by binding IPv4 to port 0 and IPv6 to what came out, again if that one is taken.
"""

import errno
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from tunnel.errors import UdpSocketError
from tunnel.udp.fragmentation import allow_fragments
from tunnel.udp.pktinfo import IP_PKTINFO

BUFFER_REQUEST = 7 << 20
"""Bytes of socket buffer that we ask for, each way: some 50 ms of a gigabit, while the loop does something else."""

SocketFactory = Callable[[socket.AddressFamily, socket.SocketKind], socket.socket]

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_FAMILY_MISSING = {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT}
_PORT_ATTEMPTS = 100

# Names that the socket module of Python 3.11 lacks.
_SO_SNDBUFFORCE = 32
_SO_RCVBUFFORCE = 33

_MARK = struct.Struct("=I")  # as a number, `setsockopt` would take it for signed and refuse the upper half


def bind_port(port: int, fwmark: int, create: SocketFactory = socket.socket) -> list[socket.socket]:
    """One or two non-blocking sockets, IPv4 first, on `port` or, for 0, on any that is free for both.

    Raise `UdpSocketError`, leaving nothing open, when the port is taken, privileged, or the mark not permitted.
    """
    for _ in range(_PORT_ATTEMPTS):
        try:
            sockets = _bind_families(port, fwmark, create)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port == 0:
                continue
            raise _bind_error(port, error) from None
        if not sockets:
            raise UdpSocketError("this host has neither IPv4 nor IPv6", errno.EAFNOSUPPORT)
        return sockets
    raise UdpSocketError("no UDP port is free for both IPv4 and IPv6", errno.EADDRINUSE)


def adopt_port(sockets: list[socket.socket], fwmark: int) -> None:
    """Set all that `bind_port` would have set on sockets that somebody else has bound; raise `UdpSocketError`."""
    try:
        for sock in sockets:
            _set_options(sock)
        marked = [sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) & 0xFFFFFFFF for sock in sockets]
    except OSError as error:
        raise UdpSocketError(f"cannot use a socket that was bound for us: {error.strerror}", error.errno or 0) from None
    if any(found != fwmark for found in marked):
        mark(sockets, fwmark)


def mark(sockets: list[socket.socket], fwmark: int) -> None:
    """Have the kernel mark what is sent; raise `UdpSocketError` (EPERM)."""
    for sock in sockets:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, _MARK.pack(fwmark))
        except OSError as error:
            why = "not permitted: CAP_NET_ADMIN is needed" if error.errno == errno.EPERM else error.strerror
            raise UdpSocketError(f"cannot set the firewall mark {fwmark:#x}: {why}", error.errno or 0) from None


def granted(sockets: list[socket.socket], option: int) -> int:
    """The smallest of the buffers that SO_RCVBUF or SO_SNDBUF stands for, in the unit of `BUFFER_REQUEST`.

    The kernel reports twice what it was asked for, the other half being for its own bookkeeping; we report one half.
    """
    return min(sock.getsockopt(socket.SOL_SOCKET, option) for sock in sockets) // 2


def _bind_families(port: int, fwmark: int, create: SocketFactory) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family in _FAMILIES:
            try:
                sock = create(family, socket.SOCK_DGRAM)
            except OSError as error:
                if error.errno in _FAMILY_MISSING:
                    continue
                raise
            sockets.append(sock)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            _set_options(sock)
            try:
                sock.bind(("", port))
            except OSError as error:
                if error.errno not in _FAMILY_MISSING:
                    raise
                sockets.remove(sock)
                sock.close()
            else:
                port = sock.getsockname()[1]
        if fwmark:
            mark(sockets, fwmark)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _set_options(sock: socket.socket) -> None:
    sock.setblocking(False)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    allow_fragments(sock)
    for force, polite in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        try:
            sock.setsockopt(socket.SOL_SOCKET, force, BUFFER_REQUEST)
        except PermissionError:
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, polite, BUFFER_REQUEST)  # cut to net.core.{r,w}mem_max


def _bind_error(port: int, error: OSError) -> UdpSocketError:
    if error.errno == errno.EADDRINUSE:
        why = "another program has it (see: ss -ulpn)"
    elif error.errno in {errno.EACCES, errno.EPERM}:
        why = "not permitted: start it as root or with CAP_NET_BIND_SERVICE"
    else:
        why = error.strerror or str(error)
    return UdpSocketError(f"cannot listen on UDP port {port}: {why}", error.errno or 0)

"""Packets that are sent to see what becomes of them: a knock outside the tunnel, and pings inside.

A **knock** is one empty UDP datagram to the peer's endpoint. Nobody answers it; but this host's firewall may forbid it
(EPERM), the kernel may know no way (ENETUNREACH), and the far host may say that nobody listens on that port
(ECONNREFUSED, by an ICMP message). Silence means nothing.

A **ping** goes into the interface by its name (SO_BINDTODEVICE), whatever the routes say: whether they are right is
another question. It also makes the process begin a handshake if there is no session. With DF set, its size tells how
much fits.
"""

import errno
import os
import select
import socket
import struct
import time
from typing import Self

from tunnel.wire.checksum import checksum_of, ones_complement_sum

KNOCKS = (0.5, 3.2)
"""Seconds to wait after each for an error; the kernel takes 3 to see that nobody has a neighbour's address (ARP)."""

PRECISION = 8
"""Bytes: how exactly the largest packet that comes back is looked for."""

_ECHO = struct.Struct(">BBHHH")  # type, code, checksum, identifier, sequence (RFC 792, RFC 4443 section 4.1)
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_HEADERS = {4: 20 + _ECHO.size, 6: 40 + _ECHO.size}
_IP_RECVERR, _IPV6_RECVERR = 11, 25  # else an unreachable host is no error (ip(7))
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE = 10, 23, 3


def knock(address: str, port: int, fwmark: int = 0) -> str:
    """The name of the error that it met (``ECONNREFUSED``), empty for silence."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as knocker:
            if family == socket.AF_INET6:
                knocker.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVERR, 1)
            else:
                knocker.setsockopt(socket.IPPROTO_IP, _IP_RECVERR, 1)
            if fwmark:
                knocker.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, fwmark)
            knocker.connect((address, port))
            errors = select.poll()
            errors.register(knocker, 0)  # errors are always told
            for patience in KNOCKS:
                knocker.send(b"")
                if errors.poll(patience * 1000):
                    return _name(knocker.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    except OSError as error:
        return _name(error.errno or 0)
    return ""


def _name(number: int) -> str:
    return errno.errorcode.get(number, "EIO")


class Pinger:
    """Pings one address through one interface. Raise `OSError` when made without the rights for it."""

    def __init__(self, interface: str, address: str) -> None:
        self._version = 6 if ":" in address else 4
        self._address = address
        self._identifier = int.from_bytes(os.urandom(2), "big")
        self._sequence = 0
        if self._version == 6:
            self._socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
            self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        else:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        self._socket.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ping(self, size: int, patience: float) -> bool:
        """Whether a packet of `size` bytes, IP header included, comes back within `patience` seconds."""
        self._sequence += 1
        try:
            self._socket.sendto(self._request(size), (self._address, 0))
        except OSError:
            time.sleep(patience)
            return False
        give_up = time.monotonic() + patience
        while (left := give_up - time.monotonic()) > 0:
            readable, _, _ = select.select([self._socket], [], [], left)
            if readable and self._is_reply(self._socket.recv(1 << 16)):
                return True
        return False

    def find_largest(self, works: int, fails: int, patience: float) -> int:
        """The largest size that comes back, to `PRECISION`, when these two are known."""
        while fails - works > PRECISION:
            size = (works + fails) // 2
            if self.ping(size, patience) or self.ping(size, patience):
                works = size
            else:
                fails = size
        return works

    def _request(self, size: int) -> bytes:
        payload = bytes(max(0, size - _HEADERS[self._version]))
        header = _ECHO.pack(_REQUEST[self._version], 0, 0, self._identifier, self._sequence)
        if self._version == 6:  # the kernel does the checksum, since it chooses the source
            return header + payload
        checksum = checksum_of(ones_complement_sum(header + payload))
        return _ECHO.pack(_REQUEST[4], 0, checksum, self._identifier, self._sequence) + payload

    def _is_reply(self, received: bytes) -> bool:
        offset = (received[0] & 0xF) * 4 if self._version == 4 else 0
        if len(received) < offset + _ECHO.size:
            return False
        kind, _, _, identifier, sequence = _ECHO.unpack_from(received, offset)
        return (kind, identifier, sequence) == (_REPLY[self._version], self._identifier, self._sequence)

"""Whether a datagram with a given source would leave where it should: the kernel's routing, asked and watched.

A sticky source is right as long as the route from it to the peer goes out by the interface that the peer came in on.
When a laptop moves from wireless to wire, both addresses stay usable for a while, and what leaves by one interface with
the other's address is lost in the next router. The kernel's WireGuard gives up the source in that case, and so do we.

    send ──▶ changed()? ──▶ forget all paths          fits_source(endpoint) ──RTM_GETROUTE──▶ interface index

Two rtnetlink sockets, one to ask and one that only tells whether anything about addresses, routes or rules has changed
since the last look. The second one's buffer is tiny on purpose: an overflow says "changed" as well as any message, and
a router with a busy routing daemon costs us no more than that. (rtnetlink(7). Not `tunnel.netlink`, as there is
no event loop to wait with in the middle of a send: a question is one system call there and one back.)
"""

import select
import socket
import struct
from contextlib import suppress

from tunnel.endpoint import Endpoint

_NLMSG = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
_RTATTR = struct.Struct("=HH")  # length with this header, type
_INDEX = struct.Struct("=I")

_RTM_NEWROUTE = 24
_RTM_GETROUTE = 26
_NLM_F_REQUEST = 1
_RTA_DST = 1
_RTA_SRC = 2
_RTA_OIF = 4
_RTA_MARK = 16
_RTN_LOCAL = 2
_GROUPS = 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 0x40000  # IPv4 and IPv6: addresses, routes, rules
_ANSWER_SIZE = 4096

LOCAL = 0
"""In place of an interface: what we send ourselves comes in by the address' interface, though it leaves by lo."""


class Routing:
    """The routing of the network namespace that it was made in."""

    def __init__(self) -> None:
        """Raise `OSError` where netlink is forbidden."""
        self._questions = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._questions.setblocking(False)  # the kernel has answered before `send` returns
        self._changes = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._changes.setblocking(False)
        self._changes.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self._changes.bind((0, _GROUPS))
        self._poll = select.poll()
        self._poll.register(self._changes, select.POLLIN)

    def changed(self) -> bool:
        """Whether anything has changed since this was asked last."""
        has_changed = False
        while self._poll.poll(0):
            has_changed = True
            with suppress(OSError):  # ENOBUFS, the overflow, ends with being read
                self._changes.recv(_ANSWER_SIZE)
        return has_changed

    def fits_source(self, endpoint: Endpoint, fwmark: int) -> bool:
        """Whether a datagram from the endpoint's source goes to it by the source's interface, or stays on this host.

        Not if there is no route, or if the source is no address of ours any more.
        """
        source = endpoint.source
        if source is None:
            return False
        family = socket.AF_INET6 if endpoint.is_ipv6 else socket.AF_INET
        bits = 8 * len(endpoint.packed)
        body = _RTMSG.pack(family, bits, bits, 0, 0, 0, 0, 0, 0)
        body += _attribute(_RTA_DST, endpoint.packed) + _attribute(_RTA_SRC, socket.inet_pton(family, source.address))
        if endpoint.scope_id:
            body += _attribute(_RTA_OIF, _INDEX.pack(endpoint.scope_id))
        if fwmark:
            body += _attribute(_RTA_MARK, _INDEX.pack(fwmark))
        try:
            self._questions.send(_NLMSG.pack(_NLMSG.size + len(body), _RTM_GETROUTE, _NLM_F_REQUEST, 0, 0) + body)
            answer = self._questions.recv(_ANSWER_SIZE)
        except OSError:
            return False
        return _parse_interface(answer) in {source.interface, LOCAL}

    def close(self) -> None:
        self._questions.close()
        self._changes.close()


def _attribute(kind: int, value: bytes) -> bytes:
    """All of ours are 4 or 16 bytes long, and so need no padding."""
    return _RTATTR.pack(_RTATTR.size + len(value), kind) + value


def _parse_interface(answer: bytes) -> int | None:
    """RTA_OIF of an RTM_NEWROUTE message, `LOCAL` for a route to ourselves; None for an error message."""
    length, kind, *_ = _NLMSG.unpack_from(answer)
    if kind != _RTM_NEWROUTE:
        return None
    if _RTMSG.unpack_from(answer, _NLMSG.size)[7] == _RTN_LOCAL:
        return LOCAL
    offset = _NLMSG.size + _RTMSG.size
    while offset + _RTATTR.size <= length:
        size, attribute = _RTATTR.unpack_from(answer, offset)
        if attribute == _RTA_OIF:
            return int(_INDEX.unpack_from(answer, offset + _RTATTR.size)[0])
        offset += max(_RTATTR.size, (size + 3) & ~3)
    return None

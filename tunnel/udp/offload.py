"""UDP segmentation and receive offload: a whole train of datagrams in one system call.

    train ──sendmsg + UDP_SEGMENT (size)──▶ kernel or network card cuts it into datagrams of `size` bytes
    train ◀──recvmsg + UDP_GRO (size)────── kernel or network card joined datagrams of one flow and of `size` bytes

Every datagram but the last is `size` bytes long, the last may be shorter. The kernel has had UDP_SEGMENT since 4.18 and
UDP_GRO since 5.0; that it has them says nothing yet about the way to a certain peer, where a network card without
checksum offload, an IPsec policy or a path that is narrower than `size` are all reasons to refuse. (udp(7).)
"""

import errno
import socket
import struct
from collections.abc import Iterable
from functools import lru_cache

SOL_UDP = 17
UDP_SEGMENT = 103
UDP_GRO = 104

_INT = struct.Struct("=i")
_UINT16 = struct.Struct("=H")

GRO_ANCILLARY_SIZE = socket.CMSG_SPACE(_INT.size)
"""Room for the message that says of what size the datagrams are."""

GSO_UNUSABLE = {errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP}
"""Refusals that no train on this socket will escape."""

GSO_REFUSED = GSO_UNUSABLE | {errno.EMSGSIZE, errno.EINVAL}
"""Refusals that single datagrams may escape. A path narrower than the size is EMSGSIZE, before Linux 6.14 EINVAL."""


def set_gro(sockets: Iterable[socket.socket], is_wanted: bool) -> bool:
    """Have the kernel join what it receives, or not; return whether it will, on all of them."""
    try:
        for sock in sockets:
            sock.setsockopt(SOL_UDP, UDP_GRO, int(is_wanted))
    except OSError:
        return False
    return is_wanted


def knows_gso(sockets: Iterable[socket.socket]) -> bool:
    """Whether the kernel has heard of UDP_SEGMENT; an old one would refuse it as EINVAL, as it does much else."""
    try:
        for sock in sockets:
            sock.getsockopt(SOL_UDP, UDP_SEGMENT)
    except OSError:
        return False
    return True


@lru_cache(maxsize=1024)
def pack_segment_size(size: int) -> tuple[int, int, bytes]:
    """The control message that makes one send a train of datagrams of `size` bytes."""
    return (SOL_UDP, UDP_SEGMENT, _UINT16.pack(size))


@lru_cache(maxsize=1024)
def parse_segment_size(content: bytes) -> int:
    """The size in the content of a UDP_GRO message; 0 if it has another length."""
    if len(content) != _INT.size:
        return 0
    (size,) = _INT.unpack(content)
    return max(0, int(size))

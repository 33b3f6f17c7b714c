"""What becomes of a datagram that is larger than its path: usually fragments, and nothing if it is a probe.

    IPv4    usually DONT: never "don't fragment", any router may cut            PROBE: the bit is set
    IPv6    usually WANT: we cut to what we have learnt, and nobody else does   PROBE: we do not cut

PROBE also ignores what the kernel has learnt of the path: only the MTU of our own interface is a limit (ip(7),
ipv6(7), RFC 8899, section 4.6.2).
"""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

# Names that the socket module of Python 3.11 lacks.
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_PMTUDISC_DONT, _PMTUDISC_WANT, _PMTUDISC_PROBE = 0, 1, 3

_OPTIONS = {
    socket.AF_INET: (socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_DONT),
    socket.AF_INET6: (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_WANT),
}


def allow_fragments(sock: socket.socket) -> None:
    """Let the socket be as usual.

    The kernel's WireGuard does the same. What is found out about a path by probes, packets are cut to before; until
    then, and where nobody answers, a fragmented tunnel is slow, and one whose large packets vanish behind a firewall
    that eats ICMP is a riddle. (wireguard-go leaves Linux's default, which sets the bit.)
    """
    level, option, usual = _OPTIONS[sock.family]
    sock.setsockopt(level, option, usual)


@contextmanager
def probing(sock: socket.socket) -> Iterator[None]:
    """Within, what is sent arrives whole or not at all; what is larger than our interface's MTU is EMSGSIZE."""
    level, option, _ = _OPTIONS[sock.family]
    try:
        sock.setsockopt(level, option, _PMTUDISC_PROBE)
        yield
    finally:
        allow_fragments(sock)

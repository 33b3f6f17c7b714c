"""What is too big for the path to its peer, and cannot be cut as TCP can: who sent it is told, or it is fragmented.

IPv4 that may be fragmented      ─▶ fragments, each whole in one datagram (RFC 791)
IPv6, not longer than 1280 bytes ─▶ as it is: every link must carry it; ours over IPv4 is cut where it must be, over
                                    IPv6 by our kernel if a router told it, and else it is lost
anything else                    ─▶ dropped; ICMP "too big" to its sender, from where it was going to (RFC 1191, 8201)
"""

from tunnel.protocol.ratelimiter import RateLimiter
from tunnel.wire import ip
from tunnel.wire.icmp import IPV6_MIN_MTU, pack_too_big
from tunnel.wire.messages import TAG_SIZE, TRANSPORT_HEADER_SIZE
from tunnel.wire.train import Train


def pieces(packet: memoryview, limit: int) -> list[bytes]:
    """What goes to the peer of a whole packet if `limit` bytes fit: nothing, if its sender is to be told."""
    if ip.may_be_fragmented(packet):
        return ip.fragment(packet, limit)
    return [bytes(packet)] if len(packet) <= _promised(packet, limit) else []


def tell_sender(packet: memoryview, limit: int, limiter: RateLimiter, now: float) -> Train | None:
    """An ICMP error for the interface, as if it had come from the peer; None if nobody may be told, or was just now."""
    error = pack_too_big(packet, _promised(packet, limit))
    if error is None or not limiter.allow(ip.source(packet), now):
        return None
    return Train.single(memoryview(bytearray(bytes(TRANSPORT_HEADER_SIZE) + error + bytes(TAG_SIZE))))


def _promised(packet: memoryview, limit: int) -> int:
    """How long a packet of the same IP version may always be."""
    return limit if ip.version(packet) == 4 else max(limit, IPV6_MIN_MTU)

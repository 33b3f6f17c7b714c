"""The way to one peer: where it is reached now, and what went over it (WireGuard paper, section 2.1).

trains ─ transmit ───────────▶ host.datagrams, to `endpoint`
anything authentic ──────────▶ `endpoint` is where it came from: the peer may roam
no answer ─ forget_source ───▶ perhaps it is we who have moved
"""

from collections.abc import Sequence
from dataclasses import replace

from tunnel.endpoint import Endpoint
from tunnel.keys import PublicKey
from tunnel.protocol.events import PeerRoamed
from tunnel.protocol.host import Host
from tunnel.protocol.path_mtu import PathMtu
from tunnel.protocol.timers import Timers
from tunnel.wire.train import Train


class NetworkPath:
    """Towards the holder of `public_key`. `endpoint` is None until we are told, or the peer comes to us.

    `mtu` is what is known of its width.
    """

    __slots__ = ("_host", "endpoint", "mtu", "public_key", "rx_bytes", "timers", "tx_bytes")

    def __init__(self, public_key: PublicKey, timers: Timers, host: Host) -> None:
        self.public_key = public_key
        self.timers = timers
        self.endpoint: Endpoint | None = None
        self.mtu = PathMtu()
        self.rx_bytes = 0
        self.tx_bytes = 0
        self._host = host

    def transmit(self, trains: Sequence[Train], now: float) -> None:
        """Send datagrams that the peer will find authentic. The endpoint must be known."""
        endpoint = self.endpoint
        assert endpoint is not None
        self._host.datagrams.extend([(train, endpoint) for train in trains])
        self.tx_bytes += sum([len(train.buffer) for train in trains])
        self.timers.any_authenticated_packet_sent()
        self.timers.any_authenticated_packet_traversed(now)

    def authenticated(self, size: int, endpoint: Endpoint, now: float) -> None:
        """`size` bytes that are authentic, and new, came from `endpoint`: that is where the peer is now."""
        self.rx_bytes += size
        self.timers.any_authenticated_packet_received()
        self.timers.any_authenticated_packet_traversed(now)
        before = self.endpoint
        if before == endpoint:
            return
        self.move(endpoint)
        if before is None or _ends(before) != _ends(endpoint):
            self._host.events.append(PeerRoamed(self.public_key, before, endpoint))

    def move(self, endpoint: Endpoint) -> None:
        """From now on the peer is there. From another address of ours it is another path, too."""
        before, self.endpoint = self.endpoint, endpoint
        if before is None or _ends(before) != _ends(endpoint) or _is_other_source(before, endpoint):
            self.mtu.reset()

    def forget_source(self) -> None:
        """We hear nothing: perhaps our own address is gone; let the kernel choose again."""
        if self.endpoint is not None and self.endpoint.source is not None:
            self.endpoint = replace(self.endpoint, source=None)


def _ends(endpoint: Endpoint) -> tuple[str, int]:
    return endpoint.host, endpoint.port


def _is_other_source(before: Endpoint, after: Endpoint) -> bool:
    """Whether both are known, and differ: that one is not known yet means nothing."""
    return before.source is not None and after.source is not None and before.source != after.source

"""A NAT for the simulated network, of the strictest common kind (RFC 4787, address and port dependent).

Each pair of a host inside and a remote outside has a port of its own, which lives `idle` seconds after the last
datagram from inside; what comes to it is let in only from that remote.
"""

from itertools import count

from tunnel.endpoint import Endpoint

_FIRST_PORT = 40000
_Pair = tuple[tuple[str, int], tuple[str, int]]


class Nat:
    """One outside address that hosts share: set `SimulatedHost.nat`."""

    def __init__(self, address: str, idle: float = 30.0) -> None:
        self.address = address
        self.idle = idle
        self._ports = count(_FIRST_PORT)
        self._outside: dict[_Pair, tuple[int, float]] = {}
        self._inside: dict[int, tuple[Endpoint, Endpoint]] = {}

    def outbound(self, inside: Endpoint, remote: Endpoint, now: float) -> Endpoint:
        """What the remote sees as the source of a datagram from `inside`; opens a mapping, or keeps it alive."""
        pair = (inside.host, inside.port), (remote.host, remote.port)
        port, expires = self._outside.get(pair, (0, now))
        if now >= expires:
            self._inside.pop(port, None)
            port = next(self._ports)
            self._inside[port] = inside, remote
        self._outside[pair] = port, now + self.idle
        return Endpoint(self.address, port)

    def inbound(self, port: int, source: Endpoint, now: float) -> Endpoint | None:
        """Who inside a datagram from `source` to `port` is for; None if it is not let in."""
        inside, remote = self._inside.get(port, (None, None))
        if inside is None or remote is None or (source.host, source.port) != (remote.host, remote.port):
            return None
        _, expires = self._outside[(inside.host, inside.port), (remote.host, remote.port)]
        return inside if now < expires else None

    def forget(self) -> None:
        """The box was restarted: all mappings are gone, and ports are not used again."""
        self._outside.clear()
        self._inside.clear()

"""Where a peer is: an address and a port, and from which of our own addresses we reach it.

`Endpoint` is always numeric. What a configuration file says may be a name: `EndpointName`, which the daemon resolves.
"""

import ipaddress
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class Source:
    """Our own side of a path: the address a datagram came to and the interface it came in on (sticky source)."""

    address: str
    interface: int


@dataclass(frozen=True, slots=True)
class EndpointName:
    """``host:port`` as a person wrote it: a DNS name or an address."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """``vpn.example.com:51820``, ``[2001:db8::1]:51820``; raise `ValueError` with the reason."""
        host, colon, port = text.rpartition(":")
        if not colon or not host:
            raise ValueError("expected host:port")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            ipaddress.IPv6Address(host)
        elif ":" in host:
            raise ValueError("an IPv6 address needs brackets: [2001:db8::1]:51820")
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            raise ValueError(f"port '{port}' is not a number from 1 to 65535")
        if any(character.isspace() or not character.isprintable() for character in host):
            raise ValueError("white space in a host name")
        return cls(host, int(port))

    def numeric(self) -> "Endpoint | None":
        """The endpoint, if the host is an address already."""
        try:
            return Endpoint.create(self.host, self.port)
        except ValueError:
            return None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A numeric address and port; ``host`` is in canonical text form, IPv4-mapped IPv6 is IPv4.

    Two endpoints with another `source` differ: a peer that is now reached from another of our addresses has roamed.
    """

    host: str
    port: int
    scope_id: int = 0
    source: Source | None = None
    is_ipv6: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_ipv6", ":" in self.host)

    @classmethod
    def create(cls, host: str, port: int, scope_id: int = 0) -> Self:
        """Canonicalise; raise `ValueError` if the host is no address. A zone must be numeric: ``fe80::1%3``."""
        address = ipaddress.ip_address(host)
        if isinstance(address, ipaddress.IPv6Address):
            if address.ipv4_mapped:
                return cls(str(address.ipv4_mapped), port)
            if address.scope_id is not None:
                if not (address.scope_id.isascii() and address.scope_id.isdigit() and int(address.scope_id) < 1 << 32):
                    raise ValueError(f"zone '{address.scope_id}' is not an interface index")
                return cls(str(address).partition("%")[0], port, int(address.scope_id))
        return cls(str(address), port, scope_id)

    @classmethod
    def parse(cls, text: str) -> Self:
        """``192.0.2.1:51820`` or ``[2001:db8::1]:51820``; raise `ValueError` with the reason."""
        name = EndpointName.parse(text)
        return cls.create(name.host, name.port)

    @property
    def packed(self) -> bytes:
        """The address in network order: 4 or 16 bytes."""
        if not self.is_ipv6:  # without `ipaddress`, which would be a third of the cost of each message in a flood
            return bytes(map(int, self.host.split(".")))
        return ipaddress.ip_address(self.host).packed

    def __str__(self) -> str:
        if not self.is_ipv6:
            return f"{self.host}:{self.port}"
        zone = f"%{self.scope_id}" if self.scope_id else ""
        return f"[{self.host}{zone}]:{self.port}"

"""A WireGuard-compatible VPN: asyncio at the edges, a core that does no I/O."""

__version__ = "0.1.0"

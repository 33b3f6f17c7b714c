"""What the demo measured: as a table for people, as one JSON document for programs."""

import json
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from tunnel.demo.capture import Traffic
from tunnel.demo.host import RoundTrip
from tunnel.demo.narrator import StepFailedError
from tunnel.demo.web import Download
from tunnel.wire.messages import MessageType


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    mtu: int
    handshake_seconds: float
    ping_ipv4: RoundTrip
    ping_ipv6: RoundTrip
    download: Download
    traffic: Traffic
    revocation_seconds: float | None
    """From the revocation list to the end of the session; None if nothing was revoked."""

    def print_table(self, console: Console) -> None:
        megabytes = self.download.size / 1e6
        table = Table(title="measured through the tunnel", title_style="bold", show_header=False)
        table.add_column(style="bold")
        table.add_column(justify="right", style="cyan")
        table.add_column(style="dim")
        table.add_row(
            "throughput",
            f"{self.download.megabits_per_second:.0f} Mbit/s",
            f"{megabytes:.0f} MB over HTTP in {self.download.seconds:.1f} s, SHA-256 equal",
        )
        for family, ping in (("IPv4", self.ping_ipv4), ("IPv6", self.ping_ipv6)):
            table.add_row(f"latency {family}", f"{ping.average_ms:.2f} ms", f"at best {ping.minimum_ms:.2f} ms")
        table.add_row(
            "handshake",
            f"{self.handshake_seconds * 1e3:.2f} ms",
            "question to first sealed packet, certificates and all",
        )
        if self.revocation_seconds is not None:
            table.add_row("revocation", f"{self.revocation_seconds * 1e3:.0f} ms", "list written to session ended")
        table.add_row("on the cable", f"{self.datagrams} datagrams", self._on_the_cable())
        console.print(table)

    @property
    def datagrams(self) -> int:
        return self.traffic.datagrams.total()

    def _on_the_cable(self) -> str:
        data = self.traffic.count(MessageType.TRANSPORT_DATA) + self.traffic.count(MessageType.EXTENDED_DATA)
        handshakes = self.datagrams - data
        unseen = f"; {self.traffic.lost} frames passed unseen" if self.traffic.lost else ""
        return f"{handshakes} of handshakes, all others sealed, {self.traffic.foreign} foreign{unseen}"

    def to_json(self) -> str:
        """Units are in the names; sizes are bytes."""
        document = {
            "ok": True,
            "throughput_mbit_per_s": round(self.download.megabits_per_second, 1),
            "download_bytes": self.download.size,
            "download_s": round(self.download.seconds, 3),
            "download_sha256": self.download.sha256,
            "ping_ipv4_min_ms": self.ping_ipv4.minimum_ms,
            "ping_ipv4_avg_ms": self.ping_ipv4.average_ms,
            "ping_ipv6_min_ms": self.ping_ipv6.minimum_ms,
            "ping_ipv6_avg_ms": self.ping_ipv6.average_ms,
            "handshake_ms": round(self.handshake_seconds * 1e3, 3),
            "revocation_ms": None if self.revocation_seconds is None else round(self.revocation_seconds * 1e3, 3),
            "mtu": self.mtu,
            "datagrams": {kind.name.lower(): self.traffic.count(kind) for kind in MessageType},
            "foreign_frames": self.traffic.foreign,
            "unseen_frames": self.traffic.lost,
        }
        return json.dumps(document, indent=2)


def failure_to_json(failure: StepFailedError, logs: dict[str, str]) -> str:
    """`logs`: interface name → what its daemon said."""
    return json.dumps({"ok": False, "step": failure.step, "error": str(failure), "logs": logs}, indent=2)

"""The status of interfaces as Prometheus metrics.

    InterfaceStatus ──families──▶ metric families ──prometheus_client──▶ text that Prometheus scrapes

Names follow Prometheus' conventions: base units, ``_total`` for what only grows, and moments instead of ages, since
``time() - x`` is exact at the moment of the query. What is not known has no sample. docs/status.md lists the names; the
dashboard docs/grafana.json uses them.

Counters begin anew with the interface or when a peer is added anew, which ``rate()`` allows for.
"""

from collections.abc import Iterator, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from tunnel.control.status import InterfaceStatus, PeerStatus

SESSION_LIFETIME = 180.0
"""Seconds after its handshake during which packets can be sent in a session (the paper's Reject-After-Time)."""

_INTERFACE = ("interface",)
_PEER = ("interface", "public_key", "name")


class Metrics:
    """One scrape: every family once, with the samples of all interfaces. `unix_now` is in seconds since 1970."""

    def __init__(self, unix_now: float) -> None:
        self._unix_now = unix_now
        gauge, counter = GaugeMetricFamily, CounterMetricFamily
        self._up = gauge("tunnel_interface_up", "Whether the process of the interface answers", labels=_INTERFACE)
        self._info = InfoMetricFamily("tunnel_interface", "Who the interface is", labels=_INTERFACE)
        self._peers = gauge("tunnel_interface_peers", "Peers", labels=_INTERFACE)
        self._connected = gauge(
            "tunnel_interface_connected_peers", "Peers whose last handshake is less than 180 s ago", labels=_INTERFACE
        )
        self._dialling = gauge(
            "tunnel_interface_dialling", "Whether it looks for somebody to dial who does not answer", labels=_INTERFACE
        )
        self._expiry = gauge(
            "tunnel_interface_certificate_expiry_timestamp_seconds",
            "When the interface's own certificate ends, in seconds since 1970",
            labels=_INTERFACE,
        )
        self._refused = counter(
            "tunnel_interface_refused_certificates",
            "Certificates that were refused, by reason",
            labels=(*_INTERFACE, "reason"),
        )
        self._dropped = counter(
            "tunnel_interface_dropped_packets",
            "Datagrams and packets that were dropped, those of peers too, by reason",
            labels=(*_INTERFACE, "reason"),
        )
        self._received = counter("tunnel_peer_receive_bytes", "Bytes received through the tunnel", labels=_PEER)
        self._sent = counter("tunnel_peer_transmit_bytes", "Bytes sent through the tunnel", labels=_PEER)
        self._handshake = gauge(
            "tunnel_peer_last_handshake_timestamp_seconds",
            "When the last handshake was, in seconds since 1970",
            labels=_PEER,
        )
        self._path_mtu = gauge(
            "tunnel_peer_path_mtu_bytes", "The largest outer IP packet that is known to reach the peer", labels=_PEER
        )
        self._peer_dropped = counter(
            "tunnel_peer_dropped_packets",
            "Datagrams and packets of a peer that were dropped, by reason",
            labels=(*_PEER, "reason"),
        )
        self._peer_expiry = gauge(
            "tunnel_peer_certificate_expiry_timestamp_seconds",
            "When the peer's certificate ends, in seconds since 1970",
            labels=_PEER,
        )

    def families(self) -> Iterator[Metric]:
        """All of them, those without a sample too."""
        yield from (self._up, self._info, self._peers, self._connected, self._dialling, self._expiry)
        yield from (self._refused, self._dropped, self._received, self._sent, self._handshake)
        yield from (self._path_mtu, self._peer_dropped, self._peer_expiry)

    def add_silent(self, interface: str) -> None:
        """One whose process does not answer, or is not there."""
        self._up.add_metric((interface,), 0)

    def add(self, status: InterfaceStatus) -> None:
        labels = (status.name,)
        self._up.add_metric(labels, 1)
        who = {"public_key": status.public_key or "", "identity": status.identity or ""}
        self._info.add_metric(labels, who)
        self._peers.add_metric(labels, len(status.peers))
        self._connected.add_metric(labels, sum(map(self._is_connected, status.peers)))
        self._dialling.add_metric(labels, status.dialling is not None)
        _add_known(self._expiry, labels, status.certificate_expires)
        _add_counts(self._refused, labels, status.refusals)
        _add_counts(self._dropped, labels, status.drops)
        for peer in status.peers:
            self._add_peer((status.name, peer.public_key, peer.name or ""), peer)

    def _add_peer(self, labels: tuple[str, ...], peer: PeerStatus) -> None:
        self._received.add_metric(labels, peer.rx_bytes)
        self._sent.add_metric(labels, peer.tx_bytes)
        _add_known(self._handshake, labels, peer.last_handshake)
        _add_known(self._path_mtu, labels, peer.path_mtu)
        _add_counts(self._peer_dropped, labels, peer.drops)
        _add_known(self._peer_expiry, labels, peer.certificate_expires)

    def _is_connected(self, peer: PeerStatus) -> bool:
        return peer.last_handshake is not None and self._unix_now - peer.last_handshake < SESSION_LIFETIME


def _add_known(gauge: GaugeMetricFamily, labels: tuple[str, ...], value: float | None) -> None:
    if value is not None:
        gauge.add_metric(labels, value)


def _add_counts(counter: CounterMetricFamily, labels: tuple[str, ...], counts: Mapping[str, int]) -> None:
    for reason, count in counts.items():
        counter.add_metric((*labels, reason), count)

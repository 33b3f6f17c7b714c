"""Made-up facts: a peer and a host that are well, to which a test does one thing."""

from dataclasses import replace
from typing import Any

from tunnel.control.status import InterfaceStatus, PeerStatus
from tunnel.doctor.facts import Echo, Facts, Link, PeerFacts, Way

NOW = 1_800_000_000.0
KEY = "k" * 43 + "="
OTHER_KEY = "o" * 43 + "="

PEER_STATUS = PeerStatus(
    public_key=KEY,
    endpoint="198.51.100.7:51820",
    allowed_ips=("10.8.0.7/32",),
    last_handshake=NOW - 10,
    rx_bytes=1000,
)
STATUS = InterfaceStatus("wg0", public_key="m" * 43 + "=", listen_port=51820, fwmark=0, peers=(PEER_STATUS,))
OUTSIDE = Way("198.51.100.7", "eth0", "192.168.1.5", "192.168.1.1", "0.0.0.0/0")
INSIDE = Way("10.8.0.7", "wg0", "10.8.0.2", network="10.8.0.0/24")

PEER = PeerFacts(
    PEER_STATUS,
    PEER_STATUS,
    outside=OUTSIDE,
    inside={"10.8.0.7/32": INSIDE},
    echo=Echo("10.8.0.7", 1420),
)
FACTS = Facts(
    name="wg0",
    now=NOW,
    status=STATUS,
    before=STATUS,
    links={"wg0": Link("wg0", True, 1420, ("10.8.0.2/24",)), "eth0": Link("eth0", True, 1500, ("192.168.1.5/24",))},
    peers=(PEER,),
    settings={"net.ipv4.ip_forward": "0", "net.ipv4.conf.all.rp_filter": "0"},
)


def with_peer(**changes: Any) -> Facts:
    """The host with its peer changed; `status` changes are given as a dictionary."""
    status = changes.pop("status", {})
    peer = replace(PEER, status=replace(PEER_STATUS, **status), **changes)
    return replace(FACTS, peers=(peer,))


def with_status(**changes: Any) -> Facts:
    return replace(FACTS, status=replace(STATUS, **changes))


def silent(**changes: Any) -> Facts:
    """Nobody has answered our handshakes."""
    changes.setdefault("echo", Echo("10.8.0.7", 0))
    changes["status"] = {"last_handshake": None} | changes.get("status", {})
    return with_peer(**changes)

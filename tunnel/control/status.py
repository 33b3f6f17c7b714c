"""What an interface is doing, as values that programs and people read.

    our daemon's snapshot ─────────────┐
                                       ├─ from_snapshot ─▶ InterfaceStatus ── to_json ──▶ ``tunnel status --json``
    another implementation's ``get`` ──┘

Everything is in the text form that a person would write (base64 keys, ``host:port``, CIDR), so that reading a status
needs no cryptography. There is no secret in it: of a preshared key only whether there is one.

The JSON form, version 1, is one object per interface; docs/status.md has every member with its type and unit. Members
are never renamed or removed within a version, but new ones may come: readers ignore members that they do not know, and
take one that is missing (a daemon that was started before an upgrade) for null, zero or empty. What is not known (an
implementation other than ours tells less) is null.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:  # these import cryptography, which reading a status does not need
    from tunnel.config.snapshot import DeviceSnapshot, PeerSnapshot
    from tunnel.endpoint import EndpointName
    from tunnel.keys import PublicKey

STATUS_VERSION = 1


@dataclass(frozen=True, slots=True)
class MemberStatus:
    """What a certificate says of a peer; for the fields see docs/status.md."""

    name: str
    certificate_expires: float
    admitted: str


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One peer; for types and units see docs/status.md."""

    public_key: str
    has_preshared_key: bool = False
    endpoint_name: str | None = None
    endpoint: str | None = None
    allowed_ips: tuple[str, ...] = ()
    last_handshake: float | None = None
    rx_bytes: int = 0
    tx_bytes: int = 0
    persistent_keepalive: int = 0
    drops: Mapping[str, int] = field(default_factory=dict)
    extensions: tuple[str, ...] | None = None
    name: str | None = None
    certificate_expires: float | None = None
    admitted: str | None = None
    path_mtu: int | None = None
    max_packet: int | None = None


@dataclass(frozen=True, slots=True)
class InterfaceStatus:
    """One interface; for types and units see docs/status.md."""

    name: str
    public_key: str | None
    listen_port: int
    fwmark: int
    mtu: int | None = None
    pid: int | None = None
    receive_buffer: int | None = None
    send_buffer: int | None = None
    peers: tuple[PeerStatus, ...] = ()
    drops: Mapping[str, int] = field(default_factory=dict)
    send_offloads: tuple[str, ...] | None = None
    receive_offloads: tuple[str, ...] | None = None
    identity: str | None = None
    certificate_expires: float | None = None
    dialling: str | None = None
    refusals: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def from_snapshot(
        cls,
        snapshot: "DeviceSnapshot",
        *,
        name: str,
        mtu: int | None = None,
        pid: int | None = None,
        receive_buffer: int | None = None,
        send_buffer: int | None = None,
        send_offloads: Iterable[str] | None = None,
        receive_offloads: Iterable[str] | None = None,
        endpoint_names: "Mapping[PublicKey, EndpointName] | None" = None,
        identity: str | None = None,
        certificate_expires: float | None = None,
        dialling: str | None = None,
        refusals: Mapping[str, int] | None = None,
        members: "Mapping[PublicKey, MemberStatus] | None" = None,
    ) -> Self:
        """The device as it is, with what only the daemon knows about it.

        `endpoint_names` are the configured ones; `members` are the peers that are there by their certificates.
        """
        names, members = endpoint_names or {}, members or {}
        return cls(
            name=name,
            public_key=_public_key(snapshot),
            listen_port=snapshot.listen_port,
            fwmark=snapshot.fwmark,
            mtu=mtu,
            pid=pid,
            receive_buffer=receive_buffer,
            send_buffer=send_buffer,
            send_offloads=None if send_offloads is None else tuple(sorted(send_offloads)),
            receive_offloads=None if receive_offloads is None else tuple(sorted(receive_offloads)),
            identity=identity,
            certificate_expires=certificate_expires,
            dialling=dialling,
            refusals=_nonzero(refusals or {}),
            peers=tuple(
                _peer_from_snapshot(peer, names.get(peer.public_key), members.get(peer.public_key))
                for peer in snapshot.peers
            ),
            drops=_nonzero(snapshot.drops),
        )

    def to_json(self) -> str:
        """One line of JSON without a line feed."""
        return json.dumps({"version": STATUS_VERSION, **asdict(self)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read the status of a daemon that may be older or younger than we are: see docs/status.md.

        Raise `ValueError` if it is no status of version 1.
        """
        try:
            members = json.loads(text)
            if members["version"] != STATUS_VERSION:
                raise ValueError(f"status version {members['version']!r} instead of {STATUS_VERSION}")
            peers = tuple(PeerStatus(**_known(PeerStatus, peer)) for peer in members.get("peers", ()))
            return cls(**_known(cls, members) | {"peers": peers})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a status: {error}") from None


def _public_key(snapshot: "DeviceSnapshot") -> str | None:
    key = snapshot.private_key
    return None if key is None or key.is_zero else str(key.public_key)


def _peer_from_snapshot(peer: "PeerSnapshot", name: "EndpointName | None", member: MemberStatus | None) -> PeerStatus:
    return PeerStatus(
        public_key=str(peer.public_key),
        has_preshared_key=not peer.preshared_key.is_zero,
        endpoint_name=str(name) if name else None,
        endpoint=str(peer.endpoint) if peer.endpoint else None,
        allowed_ips=tuple(map(str, peer.allowed_ips)),
        last_handshake=peer.last_handshake or None,
        rx_bytes=peer.rx_bytes,
        tx_bytes=peer.tx_bytes,
        persistent_keepalive=peer.persistent_keepalive,
        drops=_nonzero(peer.drops or {}),
        extensions=peer.extensions,
        name=member.name if member else None,
        certificate_expires=member.certificate_expires if member else None,
        admitted=member.admitted if member else None,
        path_mtu=peer.path_mtu,
        max_packet=peer.max_packet,
    )


def _known(kind: type, members: Mapping[str, Any]) -> dict[str, Any]:
    """The members that `kind` has a field for, lists as tuples; a field without one keeps its default."""
    known = {item.name: members[item.name] for item in fields(kind) if item.name in members}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in known.items()}


def _nonzero(counts: Mapping[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}

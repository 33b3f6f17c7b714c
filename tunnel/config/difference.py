"""What has to change so that one configuration becomes another, and nothing besides.

    what runs ──┐                ┌─ describe() ──▶ one line each, for people
                ├─ difference ──▶ Plan ─ device_patch() ──▶ Device.apply
    the file ───┘                └─ addresses, routes, MTU ──▶ netlink

A peer that stays as it is does not occur in a plan, so that its session does not notice. Changes that a living
interface cannot take are in `Plan.needs_restart`; such a plan is for reading only.

Who is configured goes before who came by a certificate (`tunnel.daemon.admission`). A member that the file names from
now on becomes a configured peer and keeps its session, so a peer that comes is patched whole.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tunnel.config.model import InterfaceConfig, IPInterface, PeerConfig, TunnelConfig
from tunnel.config.patch import AllowedIPChange, DevicePatch, IPNetwork, PeerPatch
from tunnel.config.routing import wanted_routes
from tunnel.config.snapshot import DeviceSnapshot
from tunnel.endpoint import EndpointName
from tunnel.keys import NO_PRIVATE_KEY, PublicKey

NOTHING = "nothing to change"

Item = TypeVar("Item", IPInterface, IPNetwork)


@dataclass(frozen=True, slots=True)
class PeerChange:
    """One peer before and after; None: there is no such peer. The two differ."""

    before: PeerConfig | None
    after: PeerConfig | None

    def patch(self) -> PeerPatch:
        """What the device is to do. An endpoint that is no longer configured stays in use until the peer moves."""
        if self.after is None:
            assert self.before is not None
            return PeerPatch(self.before.public_key, remove=True)
        after, before = self.after, self.before
        if before is None:
            return after.patch()
        return PeerPatch(
            public_key=after.public_key,
            update_only=True,
            preshared_key=after.preshared_key if after.preshared_key != before.preshared_key else None,
            endpoint=after.endpoint.numeric() if after.endpoint and after.endpoint != before.endpoint else None,
            persistent_keepalive=(
                after.persistent_keepalive if after.persistent_keepalive != before.persistent_keepalive else None
            ),
            allowed_ips=(
                *(AllowedIPChange(network, remove=True) for network in _without(before.allowed_ips, after.allowed_ips)),
                *(AllowedIPChange(network) for network in _without(after.allowed_ips, before.allowed_ips)),
            ),
        )

    def describe(self) -> str:
        """One line, without any secret."""
        if self.before is None or self.after is None:
            sign, peer = ("+", self.after) if self.after else ("-", self.before)
            assert peer is not None
            return f"{sign} peer {peer.public_key.short} {', '.join(map(str, peer.allowed_ips))}".rstrip()
        return f"~ peer {self.after.public_key.short} {', '.join(_peer_changes(self.before, self.after))}"


@dataclass(frozen=True, slots=True)
class Plan:
    """From `before` to `after`. `peers`: who goes, then who changes, then who comes.

    `needs_restart` names the settings that cannot change meanwhile; if there are any, nothing of the plan can be done.
    """

    before: InterfaceConfig
    after: InterfaceConfig
    peers: tuple[PeerChange, ...]
    added_addresses: tuple[IPInterface, ...]
    removed_addresses: tuple[IPInterface, ...]
    added_routes: tuple[IPNetwork, ...]
    removed_routes: tuple[IPNetwork, ...]
    needs_restart: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not list(self._changes())

    @property
    def changes_mtu(self) -> bool:
        return self.before.mtu != self.after.mtu

    def device_patch(self) -> DevicePatch:
        """Everything that the device has to know."""
        before, after = self.before, self.after
        return DevicePatch(
            private_key=after.private_key if after.private_key != before.private_key else None,
            listen_port=after.listen_port if after.listen_port != before.listen_port else None,
            fwmark=after.fwmark if after.fwmark != before.fwmark else None,
            peers=tuple(change.patch() for change in self.peers),
        )

    def describe(self) -> list[str]:
        """A line for each change: what begins with ``+`` comes, ``-`` goes, ``~`` changes, ``!`` cannot be done."""
        return list(self._changes()) or [NOTHING]

    def _changes(self) -> Iterator[str]:
        yield from (f"! {setting}: needs a restart" for setting in self.needs_restart)
        yield from _interface_changes(self.before, self.after)
        yield from (change.describe() for change in self.peers)
        for kind, removed, added in (
            ("address", self.removed_addresses, self.added_addresses),
            ("route", self.removed_routes, self.added_routes),
        ):
            yield from (f"- {kind} {item}" for item in removed)
            yield from (f"+ {kind} {item}" for item in added)


def difference(old: TunnelConfig, new: TunnelConfig, routes: Sequence[IPNetwork] | None = None) -> Plan:
    """The plan from `old` to `new`. `routes`: those that there are, unless they follow from `old`."""
    routes_before = wanted_routes(old) if routes is None else routes
    routes_after = wanted_routes(new)
    before = {peer.public_key: peer for peer in old.peers}
    after = {peer.public_key: peer for peer in new.peers}
    return Plan(
        before=old.interface,
        after=new.interface,
        peers=(
            *(PeerChange(peer, None) for key, peer in before.items() if key not in after),
            *(
                PeerChange(before[key], peer)
                for key, peer in after.items()
                if key in before and any(_peer_changes(before[key], peer))
            ),
            *(PeerChange(None, peer) for key, peer in after.items() if key not in before),
        ),
        added_addresses=_without(new.interface.addresses, old.interface.addresses),
        removed_addresses=_without(old.interface.addresses, new.interface.addresses),
        added_routes=_without(routes_after, routes_before),
        removed_routes=_without(routes_before, routes_after),
        needs_restart=tuple(_settings_of_start(old.interface, new.interface)),
    )


def as_running(
    config: TunnelConfig, snapshot: DeviceSnapshot, members: Collection[PublicKey] = frozenset()
) -> TunnelConfig:
    """`config` with what ``wg set`` has made of it since; `members` were not configured, and are left out.

    Where a configured peer is by now, and which port was free, is no change: these stay as configured.
    """
    configured = {peer.public_key: peer.endpoint for peer in config.peers}
    interface = replace(
        config.interface,
        private_key=snapshot.private_key or NO_PRIVATE_KEY,
        listen_port=snapshot.listen_port if config.interface.listen_port else 0,
        fwmark=snapshot.fwmark,
    )
    peers: list[PeerConfig] = []
    for peer in snapshot.peers:
        if peer.public_key in members and peer.public_key not in configured:
            continue
        endpoint = configured.get(peer.public_key)
        if peer.public_key not in configured and peer.endpoint is not None:
            zone = f"%{peer.endpoint.scope_id}" if peer.endpoint.scope_id else ""
            endpoint = EndpointName(peer.endpoint.host + zone, peer.endpoint.port)
        peers.append(
            PeerConfig(peer.public_key, peer.preshared_key, endpoint, peer.persistent_keepalive, peer.allowed_ips)
        )
    return TunnelConfig(interface, tuple(peers))


def as_saved(config: TunnelConfig, merged: TunnelConfig) -> TunnelConfig:
    """What ``tunnel save`` keeps of `merged` (`tunnel.config.save`): no free port that was found, and for a peer that
    is configured without an endpoint, not where it happens to be."""
    calls_us = {peer.public_key for peer in config.peers if peer.endpoint is None}
    port = merged.interface.listen_port if config.interface.listen_port else 0
    peers = (replace(peer, endpoint=None) if peer.public_key in calls_us else peer for peer in merged.peers)
    return TunnelConfig(replace(merged.interface, listen_port=port), tuple(peers))


def _settings_of_start(before: InterfaceConfig, after: InterfaceConfig) -> Iterator[str]:
    """Names of the settings that are looked at only when the interface is made, and differ."""
    for setting, is_changed in (
        ("Table", before.table != after.table),
        ("Offload", before.offload is not after.offload),
        ("Extensions", before.extensions != after.extensions),
        ("PreUp", before.hooks.pre_up != after.hooks.pre_up),
        ("PostUp", before.hooks.post_up != after.hooks.post_up),
        ("PreDown", before.hooks.pre_down != after.hooks.pre_down),
        ("PostDown", before.hooks.post_down != after.hooks.post_down),
    ):
        if is_changed:
            yield setting
    old, new = before.certificates, after.certificates
    if old is None or new is None:
        if old != new:
            yield "Identity"
        return
    for setting, is_changed in (
        ("Identity", old.identity != new.identity),
        ("CA", old.authorities != new.authorities),
        ("CRL", old.crls != new.crls),
        ("Peer", old.peers != new.peers),
        ("Allow", old.allow != new.allow),
        ("MaxPeers", old.max_peers != new.max_peers),
    ):
        if is_changed:
            yield setting


def _interface_changes(before: InterfaceConfig, after: InterfaceConfig) -> Iterator[str]:
    if before.private_key != after.private_key:
        yield f"~ private key; ours is now {_own_key(after)}"
    if before.listen_port != after.listen_port:
        yield f"~ port {before.listen_port or 'any'} → {after.listen_port or 'any'}"
    if before.fwmark != after.fwmark:
        yield f"~ mark {_mark(before.fwmark)} → {_mark(after.fwmark)}"
    if before.mtu != after.mtu:
        yield f"~ mtu {before.mtu or 'auto'} → {after.mtu or 'auto'}"
    if before.save_config != after.save_config:
        yield f"~ save when it ends: {'yes' if after.save_config else 'no'}"


def _peer_changes(before: PeerConfig, after: PeerConfig) -> Iterator[str]:
    if before.endpoint != after.endpoint:
        yield f"endpoint {before.endpoint or 'none'} → {after.endpoint or 'none'}"
    if before.preshared_key != after.preshared_key:
        yield "another preshared key" if not after.preshared_key.is_zero else "no preshared key"
    if before.persistent_keepalive != after.persistent_keepalive:
        yield f"keepalive {_seconds(before.persistent_keepalive)} → {_seconds(after.persistent_keepalive)}"
    removed = [f"-{network}" for network in _without(before.allowed_ips, after.allowed_ips)]
    added = [f"+{network}" for network in _without(after.allowed_ips, before.allowed_ips)]
    if removed or added:
        yield f"allowed IPs {' '.join(removed + added)}"


def _own_key(interface: InterfaceConfig) -> str:
    return "none" if interface.private_key.is_zero else interface.private_key.public_key.short


def _mark(fwmark: int) -> str:
    return f"{fwmark:#x}" if fwmark else "off"


def _seconds(keepalive: int) -> str:
    return f"{keepalive} s" if keepalive else "off"


def _without(items: Sequence[Item], others: Sequence[Item]) -> tuple[Item, ...]:
    """In order, those that are not among the others."""
    known = set(others)
    return tuple(item for item in items if item not in known)

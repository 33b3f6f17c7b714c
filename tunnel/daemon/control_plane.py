"""What an interface is told to be, and what it says of itself: who asks, and who changes it.

    wg, tunnel ─▶ control socket ─▶ ┌──────────────┐ ── patch ──▶ DataPlane
    tunnel reload ─▶ Reload ──────▶ │ ControlPlane │ ───────────▶ Resolver, Enrolment, PeerRoutes
    DNS ─▶ Resolver ──────────────▶ └──────────────┘ ◀── events ── DataPlane
                                            └─ status, EventFeed ─▶ who listens

What can be refused (a port, a mark, a file) comes before anything is changed; the rest of a change cannot fail.
"""

import errno
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from tunnel.config.difference import as_running
from tunnel.config.hairpin import hairpins
from tunnel.config.model import CertificateConfig, TunnelConfig
from tunnel.config.patch import DevicePatch
from tunnel.config.routing import static_networks
from tunnel.config.save import merge_snapshot
from tunnel.config.snapshot import DeviceSnapshot
from tunnel.control.events import EventFeed
from tunnel.control.reload_request import ReloadRequest
from tunnel.control.status import InterfaceStatus
from tunnel.daemon.attendance import Attendance
from tunnel.daemon.clock import Clock
from tunnel.daemon.config_file import write_config
from tunnel.daemon.data_plane import DataPlane
from tunnel.daemon.event_source import EventSource
from tunnel.daemon.log import RateLimited
from tunnel.daemon.peer_routes import PeerRoutes
from tunnel.daemon.reload import Reload
from tunnel.daemon.resolver import Resolver
from tunnel.daemon.upkeep import Upkeep
from tunnel.endpoint import Endpoint
from tunnel.errors import ConfigError, ControlError, TunnelError
from tunnel.keys import PublicKey
from tunnel.protocol.events import Event, HandshakeCompleted, PeerClosed, SessionExpired

if TYPE_CHECKING:
    from tunnel.daemon.enrolment import Enrolment
    from tunnel.daemon.identity import LoadedIdentity

_log = logging.getLogger(__name__)


class ControlPlane:
    """Of the interface `name`: a `ControlHandler` for the control socket, an `Interface` for a reload.

    `config` is what is configured, with what our certificate says; None: the interface is bare. `passphrase` opens the
    identity. Raise `ConfigError` if that, or another of its files, is not good.
    """

    def __init__(
        self,
        name: str,
        config: TunnelConfig | None,
        passphrase: bytes | None,
        data_plane: DataPlane,
        clock: Clock,
        feed: EventFeed,
        attendance: Attendance,
    ) -> None:
        self.name = name
        self._data_plane = data_plane
        self._device = data_plane.device
        self._clock = clock
        self._attendance = attendance
        self._lines = RateLimited(_log, clock)
        self._event_source = EventSource(feed, self._device, clock, self._name_of)
        self.resolver = Resolver(clock, self._deliver)
        self.config = config
        self.enrolment: Enrolment | None = None
        if config is not None and config.interface.certificates is not None:
            self.enrolment = self._enrol(config, config.interface.certificates, passphrase, feed)
            self.config = self.identified(config)
        self.routes: PeerRoutes | None = None
        """Of peers that come and go, once the interface is there; so are the next two."""
        self.upkeep: Upkeep | None = None
        self.reloader: Reload | None = None
        """Of the configuration file, if it came from one."""

    def _enrol(
        self, config: TunnelConfig, certificates: CertificateConfig, passphrase: bytes | None, feed: EventFeed
    ) -> "Enrolment":
        """X.509 takes 4 MB of modules, so only who has an identity imports it."""
        from tunnel.daemon.enrolment import Enrolment

        enrolment = Enrolment(
            self._device,
            self._clock,
            certificates,
            passphrase,
            allow_default_route=not config.interface.is_table_consulted,
            turn=self._turn,
        )
        enrolment.membership.events = feed
        return enrolment

    # ── what the control socket asks ─────────────────────────────────────────────────────────────────────────────

    def snapshot(self) -> DeviceSnapshot:
        return self._device.snapshot(self._clock.unix_offset())

    def status(self) -> InterfaceStatus:
        names = {peer.public_key: peer.endpoint for peer in self.config.peers if peer.endpoint} if self.config else {}
        membership = self.enrolment.membership if self.enrolment else None
        receive_buffer, send_buffer = self._data_plane.buffers
        return InterfaceStatus.from_snapshot(
            self.snapshot(),
            name=self.name,
            pid=os.getpid(),
            mtu=self._device.mtu,
            receive_buffer=receive_buffer,
            send_buffer=send_buffer,
            send_offloads=self._data_plane.send_offloads,
            receive_offloads=self._data_plane.receive_offloads,
            endpoint_names=names,
            members=membership.members() if membership else None,
            identity=membership.identity.claims.name if membership else None,
            certificate_expires=membership.identity.claims.not_after if membership else None,
            refusals=membership.refusals if membership else None,
            dialling=membership.describe_dialling(self._clock.now()) if membership else None,
        )

    async def apply(self, patch: DevicePatch) -> None:
        """Change the device; raise `EdgeError`, with nothing changed, if the port, the mark or the key is refused."""
        if patch.private_key is not None and self.enrolment is not None:
            raise ControlError(f"{self.name}: its private key is that of its certificate", errno.EPERM)
        self.move_socket(patch)
        self._change_device(patch)
        self.resolver.forget(patch)
        if self.enrolment is not None:
            self.enrolment.membership.forget(patch, self._clock.now())
        self._attendance.changed()
        self._data_plane.turn()

    def _change_device(self, patch: DevicePatch) -> None:
        self._data_plane.change(patch)
        self._event_source.peers_changed()

    async def reload(self, request: ReloadRequest) -> list[str]:
        """Read our file and our identity again; raise `TunnelError`, with nothing changed, if they are not good."""
        with self._attendance.reloading():
            if self.reloader is not None:
                return await self.reloader.run(request)
            if self.enrolment is None:
                raise TunnelError(f"{self.name}: nothing to read again: no configuration file, and no identity")
            if request != ReloadRequest():
                raise TunnelError(f"{self.name}: only certificates are read again: it has no configuration file")
            await self.enrolment.reload()
            return await self._restore()

    async def _restore(self) -> list[str]:
        """Put back what others have taken away; returns it line by line."""
        if self.upkeep is None or self.config is None:
            return []
        async with self.upkeep.lock:
            missing = await self.upkeep.missing(self.config)
            await self.upkeep.restore(missing, self.config)
            return missing.lines()

    async def confirm(self) -> None:
        self._from_file().confirm()

    async def save(self) -> None:
        """Write what runs into the file that it came from; raise `TunnelError`, with the file as it was."""
        reloader = self._from_file()
        if self.enrolment is not None:
            raise TunnelError(f"{self.name}: not with Identity, as it would write down what certificates say")
        await reloader.save(self._merged(reloader.config))

    def save_at_end(self) -> None:
        """``SaveConfig = true``: write what runs now; the old file stays if that fails, and a link to it always."""
        if self.reloader is not None and self.reloader.config.interface.save_config:
            try:
                write_config(self.reloader.path, self._merged(self.reloader.config))
            except ConfigError as error:
                _log.error("%s", error)

    def _from_file(self) -> Reload:
        if self.reloader is None:
            raise TunnelError(f"{self.name}: it was not started from a configuration file")
        return self.reloader

    def _merged(self, config: TunnelConfig) -> TunnelConfig:
        return merge_snapshot(config, self.snapshot(), self.resolved())

    # ── what a reload needs ──────────────────────────────────────────────────────────────────────────────────────

    def identified(self, config: TunnelConfig, identity: "LoadedIdentity | None" = None) -> TunnelConfig:
        if self.enrolment is None or config.interface.certificates is None:
            return config
        loaded = identity or self.enrolment.membership.identity
        claims = loaded.claims
        return config.identified(loaded.identity.private_key, claims.addresses, is_server=claims.is_server)

    def running(self, config: TunnelConfig) -> TunnelConfig:
        members = self.enrolment.membership.members() if self.enrolment else {}
        return as_running(config, self.snapshot(), members)

    def mtu(self) -> int:
        return self._device.mtu

    def listen_port(self) -> int:
        return self._data_plane.listen_port

    def endpoints(self) -> Mapping[PublicKey, Endpoint]:
        return self._device.endpoints()

    def resolved(self) -> Mapping[PublicKey, Endpoint]:
        return self.resolver.resolved()

    async def read_identity(self) -> "LoadedIdentity | None":
        return await self.enrolment.read() if self.enrolment is not None else None

    def move_socket(self, patch: DevicePatch) -> None:
        """Before anything else changes, since this can be refused."""
        self._data_plane.move_socket(patch)

    def change(self, patch: DevicePatch, config: TunnelConfig, identity: "LoadedIdentity | None") -> None:
        self.config = config
        self._change_device(patch)
        if self.enrolment is not None and identity is not None:
            self.enrolment.take(identity)
        if self.enrolment is not None and self.routes is not None:
            self.enrolment.membership.overrule({peer.public_key for peer in config.peers}, self._clock.now())
            self.routes.configure(static_networks(config))
        self.resolver.configure(config)
        self._attendance.changed()
        self._data_plane.turn()

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────

    def observe(self, event: Event) -> None:
        """Every event of the device."""
        self._event_source.observe(event)
        self._lines.event(event)
        if isinstance(event, HandshakeCompleted | SessionExpired | PeerClosed):
            self._attendance.changed()
        self.resolver.observe(event)
        if self.enrolment is not None:
            self.enrolment.observe(event)

    def link_changed(self, is_up: bool) -> None:
        """Sessions may begin, or all of them are about to end."""
        if not is_up:
            self._event_source.link_down()
        if self.routes is not None:
            self.routes.link_changed(is_up)
        if self.enrolment is not None:
            self.enrolment.membership.link_changed(is_up, self._clock.now())

    def _deliver(self, patch: DevicePatch) -> None:
        """A name resolved. Datagrams to an address inside the tunnel would loop, so such a one is not used."""
        assert self.config is not None
        endpoints = {peer.public_key: peer.endpoint for peer in patch.peers if peer.endpoint}
        for hairpin in hairpins(self.config, endpoints):
            line = f"endpoint refused peer={hairpin.peer.short} endpoint={hairpin.endpoint} why={hairpin}"
            self._lines.log(logging.ERROR, f"hairpin {hairpin.peer.short}", line)
            return
        self._device.apply(patch, self._clock.now())
        self._event_source.resolved(self.config.peers, endpoints)
        self._data_plane.turn()

    def _turn(self) -> None:
        """Certificates may have brought peers, and removed some."""
        self._event_source.peers_changed()
        self._data_plane.turn()

    def _name_of(self, peer: PublicKey) -> str | None:
        return self.enrolment.membership.name_of(peer) if self.enrolment else None

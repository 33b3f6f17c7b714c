"""One interface, from start to stop: the place where everything meets.

    up:   TUN ─▶ control socket ─▶ UDP ─▶ device ─▶ names ─▶ addresses, MTU, routes, hooks ─▶ ready
    down: the same backwards, by leaving the contexts that were entered, whatever the reason is

Cancellation is the stop signal: SIGTERM, SIGINT, the control socket's file deleted, the interface deleted. The
kernel's word on the interface is law: when its link comes up the sockets open and sessions may begin, when it goes down
they close and all keys are forgotten, as with the kernel's own WireGuard. So ``ip link``, wg-quick and `tunnel up` all
drive the same thing.
"""

import asyncio
import errno
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import uvloop

from tunnel.config.difference import as_running
from tunnel.config.hairpin import hairpins
from tunnel.config.model import CertificateConfig, Offload, TunnelConfig
from tunnel.config.patch import DevicePatch
from tunnel.config.routing import static_networks, wanted_routes
from tunnel.config.save import merge_snapshot
from tunnel.config.snapshot import DeviceSnapshot
from tunnel.control.events import EventFeed
from tunnel.control.reload_request import ReloadRequest
from tunnel.control.status import InterfaceStatus
from tunnel.control.uapi_socket import ControlSocket
from tunnel.daemon.attendance import Attendance
from tunnel.daemon.capabilities import find_offer
from tunnel.daemon.clock import Clock, SystemClock
from tunnel.daemon.config_file import write_config
from tunnel.daemon.event_source import EventSource
from tunnel.daemon.handover import Handover, forget_stored, leave
from tunnel.daemon.key_log import KeyLog
from tunnel.daemon.lifecycle import Lifecycle
from tunnel.daemon.log import RateLimited, rename_interface
from tunnel.daemon.peer_routes import PeerRoutes
from tunnel.daemon.pipeline import Pipeline, superpacket_size
from tunnel.daemon.reload import Reload
from tunnel.daemon.resolver import Resolver
from tunnel.daemon.stamp import Stamper
from tunnel.daemon.systemd import Notifier, describe_peers
from tunnel.daemon.udp_port import UdpPort
from tunnel.daemon.upkeep import Upkeep
from tunnel.daemon.uplinks import Uplinks
from tunnel.endpoint import Endpoint
from tunnel.errors import ConfigError, ControlError, NetlinkError, TunnelError, UdpSocketError, only_tunnel_error
from tunnel.keys import PublicKey
from tunnel.netlink.link import LinkEvent, Netlink
from tunnel.protocol.device import Device
from tunnel.protocol.events import Event, HandshakeCompleted, PeerClosed, SessionExpired
from tunnel.protocol.host import DEFAULT_MTU
from tunnel.tun.device import TunDevice

if TYPE_CHECKING:
    from tunnel.daemon.enrolment import Enrolment
    from tunnel.daemon.identity import LoadedIdentity

DNS_PATIENCE = 3.0
"""Seconds that `up` waits for names to resolve, before it takes the default MTU and goes on."""

SESSION_PATIENCE = 3.0
"""Seconds that `up` waits for the first session with whom it dials, so that what comes next finds the tunnel open."""

DEAF_RETRY = 2.0
DEAF_REMIND = 600.0
"""Seconds from one attempt to have the UDP port to the next, and from one log line about that to the next."""

_log = logging.getLogger(__name__)


def run(
    name: str,
    config: TunnelConfig | None,
    *,
    path: Path | None,
    on_ready: Callable[[], None],
    offload: Offload = Offload.AUTO,
    extensions: bool = True,
    passphrase: bytes | None = None,
) -> None:
    """Run the interface `name` until it is stopped; `on_ready` is called once, when it is up.

    Without a `config` it is bare: an interface and a control socket, for ``wg`` to configure, and `offload` and
    `extensions` stand in for the settings that ``wg`` does not know. `path` is where the configuration came from, for
    ``SaveConfig``, and `passphrase` opens the identity of `config`. Raise `TunnelError` if something is refused, with
    all undone.
    """
    if config is not None:
        offload, extensions = config.interface.offload, config.interface.extensions

    notifier = Notifier.take_from(os.environ, os.getpid())
    handover = Handover.take_from(os.environ, os.getpid())

    async def serve() -> None:
        async with Netlink() as netlink:
            service = Service(name, netlink, SystemClock(), offload, extensions, notifier, handover)
            await service.run(config, path, on_ready, passphrase)

    with handover, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


class Named(Protocol):
    """Calls the interface by its name."""

    name: str


class Service:
    """Satisfies `tunnel.control.uapi_socket.ControlHandler`."""

    def __init__(
        self,
        name: str,
        netlink: Netlink,
        clock: Clock,
        offload: Offload,
        extensions: bool,
        notifier: Notifier,
        handover: Handover,
    ) -> None:
        self._name = name
        self._netlink = netlink
        self._clock = clock
        self._offload = offload
        self._wants_extensions = extensions
        self._notifier = notifier
        self._handover = handover
        self._attendance = Attendance(
            notifier,
            take_turn=self._take_turn,
            describe=self._describe,
            stop=self._terminate,
            reload=lambda: self.reload(ReloadRequest()),
        )
        self._stamper = Stamper(clock)
        self._device = Device(os.urandom, self._stamper)
        self._resolver = Resolver(clock, self._deliver)
        self._events = RateLimited(_log, clock)
        self._feed = EventFeed(name, lambda: clock.now() + clock.unix_offset())
        self._event_source = EventSource(self._feed, self._device, clock, self._name_of)
        self._config: TunnelConfig | None = None
        self._enrolment: Enrolment | None = None
        self._routes: PeerRoutes | None = None
        self._upkeep: Upkeep | None = None
        self._reload: Reload | None = None
        self._named: list[Named] = []
        self._control_socket: ControlSocket | None = None
        self._main: asyncio.Task[None] | None = None
        self._is_link_up = asyncio.Event()
        self._deaf: asyncio.TimerHandle | None = None
        self._is_stopping = False
        self._may_be_restarted = False
        self._was_left = False
        self._pipeline: Pipeline
        self._port: UdpPort

    async def run(
        self, config: TunnelConfig | None, path: Path | None, on_ready: Callable[[], None], passphrase: bytes | None
    ) -> None:
        """Until it is stopped; see the function `run`."""
        self._main = asyncio.current_task()
        if config is not None and config.interface.certificates is not None:
            config = self._identify(config, config.interface.certificates, passphrase)
        self._config = config
        self._attendance.start()
        try:
            await (self._serve_bare(on_ready) if config is None else self._serve(config, path, on_ready))
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
        except BaseExceptionGroup as group:
            raise only_tunnel_error(group) or group from None
        finally:
            self._attendance.close()
            self._stamper.close()
        _log.info("interface %s is %s", self._name, "left to systemd" if self._was_left else "gone")

    def _identify(
        self, config: TunnelConfig, certificates: CertificateConfig, passphrase: bytes | None
    ) -> TunnelConfig:
        """`config` with what our certificate says; raise `ConfigError` if it, or another of the files, is not good.

        X.509 takes 4 MB of modules, so only who has an identity imports it.
        """
        from tunnel.daemon.enrolment import Enrolment

        self._enrolment = Enrolment(
            self._device,
            self._clock,
            certificates,
            passphrase,
            allow_default_route=not config.interface.is_table_consulted,
            turn=self._turn,
        )
        self._enrolment.membership.events = self._feed
        return self.identified(config)

    def _terminate(self) -> None:
        """A signal ends us: our supervisor may be about to start us again."""
        self._may_be_restarted = True
        self._stop()

    def _stop(self) -> None:
        """End `run`. Harmless when repeated."""
        if not self._is_stopping:
            self._is_stopping = True
            self._attendance.stopping()
            assert self._main is not None
            self._main.cancel()

    # ── the two ways to run ──────────────────────────────────────────────────────────────────────────────────────

    async def _serve_bare(self, on_ready: Callable[[], None]) -> None:
        async with self._interface() as tun:
            index = await self._index()
            await self._netlink.leave_link_local_off(index)
            await self._netlink.set_link(index, mtu=DEFAULT_MTU)
            async with asyncio.TaskGroup() as tasks, self._control():
                tasks.create_task(self._watch_link(index))
                tasks.create_task(self._watch_routing(index))
                on_ready()
                _log.info("interface %s is ready", tun.name)
                with self._attendance.ready():
                    await asyncio.Event().wait()

    async def _serve(self, config: TunnelConfig, path: Path | None, on_ready: Callable[[], None]) -> None:
        lifecycle = Lifecycle(self._name, config, self._netlink, self._remove_interface)
        await self._go_on_with(config)
        self._named.append(lifecycle)
        await lifecycle.check()
        async with self._interface():
            self._port.open(config.interface.listen_port, config.interface.fwmark)
            self._stamper.use(config.interface.private_key.public_key)
            self._device.apply(config.device_patch(), self._clock.now())
            self._device.listen_port = self.listen_port()
            async with asyncio.TaskGroup() as tasks, self._control():
                index = await self._index()
                tasks.create_task(self._watch_link(index))
                tasks.create_task(self._watch_routing(index))
                tasks.create_task(self._resolver.run())
                self._resolver.configure(config)
                dialled = await self._enrol(self._enrolment, config, tasks) if self._enrolment else []
                await self._resolver.first_answers(DNS_PATIENCE)
                async with lifecycle.up([*self.endpoints().values(), *dialled]) as mtu:
                    await self._is_link_up.wait()
                    upkeep = await self._keep_up(config, index, tasks)
                    if self._enrolment is not None:
                        await self._enrolment.first_session(SESSION_PATIENCE)
                    on_ready()
                    _log.info("interface %s is up, port %d, MTU %d", self._name, self.listen_port(), mtu)
                    if path is not None:
                        self._reload = Reload(self._name, path, config, self, self._netlink, upkeep, tasks)
                        self._named.append(self._reload)
                    try:
                        with self._attendance.ready():
                            await asyncio.Event().wait()
                    finally:
                        upkeep.end()
                        if self._reload is not None and self._reload.config.interface.save_config:
                            self._save_at_end()

    async def _go_on_with(self, config: TunnelConfig) -> None:
        """What the process before us has left is to fit `config`, or it goes; raise `TunnelError`."""
        self._handover.check(config.interface.listen_port)
        if self._handover.is_empty:
            return
        forget_stored(self._notifier)
        from tunnel.netlink.leftovers import clear_interface, delete_interface

        found = self._handover.interface
        if found == self._name:
            table = config.interface.table if isinstance(config.interface.table, int) else None
            await clear_interface(await self._index(), config.interface.addresses, wanted_routes(config), table)
            return
        if found is not None:
            await delete_interface(found)
        self._handover.let_go_of_interface()

    async def _keep_up(self, config: TunnelConfig, index: int, tasks: asyncio.TaskGroup) -> Upkeep:
        """See from now on that nothing of the interface is missing."""
        self._upkeep = upkeep = Upkeep(self._name, index, self._netlink, lambda: self._config or config, self._routes)
        self._named.append(upkeep)
        if config.interface.hooks.pre_up or config.interface.hooks.post_up:
            await upkeep.begin()
        tasks.create_task(upkeep.run())
        return upkeep

    async def _enrol(self, enrolment: "Enrolment", config: TunnelConfig, tasks: asyncio.TaskGroup) -> list[Endpoint]:
        """Let certificates rule from now on; returns where those are whom we dial, as far as known."""
        self._routes = PeerRoutes(
            self._netlink, self._clock, self._name, await self._index(), config.interface.table, static_networks(config)
        )
        self._named.append(self._routes)
        tasks.create_task(enrolment.run(self._routes))
        return await enrolment.first_addresses(DNS_PATIENCE)

    @asynccontextmanager
    async def _interface(self) -> AsyncIterator[TunDevice]:
        """The TUN device with its packets being moved; on exit it is gone, and the sockets are closed."""
        tun = self._handover.take_tun(self._name, self._offload) or TunDevice.create(self._name, self._offload)
        self._tun = tun
        self._named.append(tun)
        if self._wants_extensions:
            self._device.offered = find_offer(tun.receive_offloads)
        self._pipeline = Pipeline(self._device, tun, self._clock, on_event=self._on_event, on_gone=self._on_gone)
        self._port = UdpPort(self._pipeline, self._offload, self._handover)
        try:
            self._pipeline.start()
            yield tun
        finally:
            self._remove_interface()
            self._port.close()

    @asynccontextmanager
    async def _control(self) -> AsyncIterator[None]:
        """The control socket; whoever deletes its file stops us."""
        keys = KeyLog(self._name, self._device)
        self._named.append(keys)
        self._control_socket = control = ControlSocket(self._name, self, events=self._feed, keys=keys)
        await control.open()
        watcher = asyncio.create_task(control.wait_unlinked())
        watcher.add_done_callback(self._control_gone)
        try:
            yield
        finally:
            watcher.cancel()
            await control.close()

    def _take_turn(self) -> bool:
        """Whether packets are being moved."""
        self._pipeline.turn()
        return self._pipeline.is_running

    def _describe(self) -> str:
        now = self._clock.now()
        peers = self.snapshot().peers
        return describe_peers(peers, sum(self._device.has_session(peer.public_key, now) for peer in peers))

    def _remove_interface(self) -> None:
        self._device.down(self._clock.now())
        self._pipeline.turn()  # peers like us are told
        self._pipeline.stop()
        if self._may_be_restarted and self._config is not None and not self._was_left:
            self._was_left = leave(self._notifier, self._tun.fileno(), self._port.to_leave())
        self._tun.close()

    def _save_at_end(self) -> None:
        """``SaveConfig = true``: write what runs now; the old file stays if that fails, and a link to it always."""
        assert self._reload is not None
        try:
            write_config(self._reload.path, self._merged(self._reload.config))
        except ConfigError as error:
            _log.error("%s", error)

    def _merged(self, config: TunnelConfig) -> TunnelConfig:
        return merge_snapshot(config, self.snapshot(), self._resolver.resolved())

    # ── what the control socket asks ─────────────────────────────────────────────────────────────────────────────

    def snapshot(self) -> DeviceSnapshot:
        return self._device.snapshot(self._clock.unix_offset())

    def status(self) -> InterfaceStatus:
        names = {peer.public_key: peer.endpoint for peer in self._config.peers if peer.endpoint} if self._config else {}
        membership = self._enrolment.membership if self._enrolment else None
        receive_buffer, send_buffer = self._port.buffers
        return InterfaceStatus.from_snapshot(
            self.snapshot(),
            name=self._name,
            pid=os.getpid(),
            mtu=self._device.mtu,
            receive_buffer=receive_buffer,
            send_buffer=send_buffer,
            send_offloads=self._tun.send_offloads.union(self._port.send_offloads),
            receive_offloads=self._tun.receive_offloads.union(self._port.receive_offloads),
            endpoint_names=names,
            members=membership.members() if membership else None,
            identity=membership.identity.claims.name if membership else None,
            certificate_expires=membership.identity.claims.not_after if membership else None,
            refusals=membership.refusals if membership else None,
            dialling=membership.describe_dialling(self._clock.now()) if membership else None,
        )

    async def apply(self, patch: DevicePatch) -> None:
        """Change the device; raise `EdgeError`, with nothing changed, if the port, the mark or the key is refused."""
        if patch.private_key is not None and self._enrolment is not None:
            raise ControlError(f"{self._name}: its private key is that of its certificate", errno.EPERM)
        self.move_socket(patch)
        self._change_device(patch)
        self._resolver.forget(patch)
        if self._enrolment is not None:
            self._enrolment.membership.forget(patch, self._clock.now())
        self._attendance.changed()
        self._pipeline.turn()

    def _change_device(self, patch: DevicePatch) -> None:
        if patch.private_key is not None:
            self._stamper.use(None if patch.private_key.is_zero else patch.private_key.public_key)
        now = self._clock.now()
        self._device.apply(patch, now)
        self._event_source.peers_changed()
        if self._port.number is not None:
            self._device.listen_port = self._port.number
            if self._is_link_up.is_set():
                self._device.up(now)
                self._tell_enrolment(is_up=True)

    async def reload(self, request: ReloadRequest) -> list[str]:
        """Read our file and our identity again; raise `TunnelError`, with nothing changed, if they are not good."""
        with self._attendance.reloading():
            if self._reload is not None:
                return await self._reload.run(request)
            if self._enrolment is None:
                raise TunnelError(f"{self._name}: nothing to read again: no configuration file, and no identity")
            if request != ReloadRequest():
                raise TunnelError(f"{self._name}: only certificates are read again: it has no configuration file")
            await self._enrolment.reload()
            return await self._restore()

    async def _restore(self) -> list[str]:
        """Put back what others have taken away; returns it line by line."""
        if self._upkeep is None or self._config is None:
            return []
        async with self._upkeep.lock:
            missing = await self._upkeep.missing(self._config)
            await self._upkeep.restore(missing, self._config)
            return missing.lines()

    async def confirm(self) -> None:
        self._reloaded().confirm()

    async def save(self) -> None:
        """Write what runs into the file that it came from; raise `TunnelError`, with the file as it was."""
        reload = self._reloaded()
        if self._enrolment is not None:
            raise TunnelError(f"{self._name}: not with Identity, as it would write down what certificates say")
        await reload.save(self._merged(reload.config))

    def _reloaded(self) -> Reload:
        if self._reload is None:
            raise TunnelError(f"{self._name}: it was not started from a configuration file")
        return self._reload

    # ── what a reload needs ──────────────────────────────────────────────────────────────────────────────────────

    def identified(self, config: TunnelConfig, identity: "LoadedIdentity | None" = None) -> TunnelConfig:
        if self._enrolment is None or config.interface.certificates is None:
            return config
        loaded = identity or self._enrolment.membership.identity
        claims = loaded.claims
        return config.identified(loaded.identity.private_key, claims.addresses, is_server=claims.is_server)

    def running(self, config: TunnelConfig) -> TunnelConfig:
        members = self._enrolment.membership.members() if self._enrolment else {}
        return as_running(config, self.snapshot(), members)

    def mtu(self) -> int:
        return self._device.mtu

    def endpoints(self) -> dict[PublicKey, Endpoint]:
        return self._device.endpoints()

    def resolved(self) -> dict[PublicKey, Endpoint]:
        return self._resolver.resolved()

    async def read_identity(self) -> "LoadedIdentity | None":
        return await self._enrolment.read() if self._enrolment is not None else None

    def change(self, patch: DevicePatch, config: TunnelConfig, identity: "LoadedIdentity | None") -> None:
        self._config = config
        self._change_device(patch)
        if self._enrolment is not None and identity is not None:
            self._enrolment.take(identity)
        if self._enrolment is not None and self._routes is not None:
            self._enrolment.membership.overrule({peer.public_key for peer in config.peers}, self._clock.now())
            self._routes.configure(static_networks(config))
        self._resolver.configure(config)
        self._attendance.changed()
        self._pipeline.turn()

    def move_socket(self, patch: DevicePatch) -> None:
        """Before anything else changes, since this can be refused."""
        self._port.move(patch, self._device.fwmark, is_link_up=self._is_link_up.is_set())

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _watch_link(self, index: int) -> None:
        mtu = 0
        async for event in self._netlink.watch_link(index):
            if event.is_gone:
                if not self._is_stopping:  # else it was us
                    _log.info("interface %s was deleted", self._name)
                self._stop()
                return
            if event.name != self._name:
                self._renamed(event.name)
            if event.mtu != mtu:
                mtu = event.mtu
                with suppress(NetlinkError):  # gone already: the next event says so
                    await self._netlink.set_link(index, gso_max_size=superpacket_size(mtu))
            self._link_changed(event)

    def _renamed(self, name: str) -> None:
        """Somebody calls the interface by another name, and so do we: whoever uses the old one means another."""
        before, self._name = self._name, name
        for named in self._named:
            named.name = name
        self._feed.interface = name
        self._feed.tell("interface_renamed", before=before)
        rename_interface(name)
        _log.info("interface %s is called %s now", before, name)
        if self._control_socket is not None:
            try:
                self._control_socket.rename(name)
            except ControlError as error:
                _log.warning("%s", error)

    def _link_changed(self, event: LinkEvent) -> None:
        self._device.mtu = event.mtu
        self._device.addresses = event.addresses
        if self._upkeep is not None:
            self._upkeep.link_changed(event.is_up)
            self._upkeep.addresses_changed(event.addresses)
        if event.is_up and not self._is_link_up.is_set():
            self._is_link_up.set()
            self._link_came_up()
        elif self._is_link_up.is_set() and not event.is_up:
            self._is_link_up.clear()
            self._event_source.link_down()
            self._device.down(self._clock.now())
            self._pipeline.turn()  # peers like us are told
            self._port.close()
            self._tell_enrolment(is_up=False)
        self._pipeline.turn()

    async def _watch_routing(self, index: int) -> None:
        uplinks = Uplinks(self._device, self._clock, self._port.has_moved, self._pipeline.turn)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(uplinks.run())
            async for change in self._netlink.watch_routing(index):
                if change.is_elsewhere:
                    uplinks.changed()
                if self._upkeep is not None and change.is_incomplete:
                    self._upkeep.routes_unknown()
                elif self._upkeep is not None:
                    self._upkeep.routes_removed(change.removed)

    def _tell_enrolment(self, *, is_up: bool) -> None:
        if self._routes is not None:
            self._routes.link_changed(is_up)
        if self._enrolment is not None:
            self._enrolment.membership.link_changed(is_up, self._clock.now())

    def _link_came_up(self) -> None:
        if self._port.number is None:
            try:
                self._port.open(self._device.listen_port, self._device.fwmark)
            except UdpSocketError as error:
                line = f"interface {self._name} is up, but deaf, trying on: {error}"
                self._events.log(logging.ERROR, "deaf", line, DEAF_REMIND)
                self._try_again()
                return
            self._device.listen_port = self.listen_port()
        self._port.listen()
        self._device.up(self._clock.now())
        self._tell_enrolment(is_up=True)

    def _try_again(self) -> None:
        """Who has our port may leave it, and descriptors may be free again."""
        if self._deaf is not None:
            self._deaf.cancel()
        self._deaf = asyncio.get_running_loop().call_later(DEAF_RETRY, self._listen_again)

    def _listen_again(self) -> None:
        if self._is_link_up.is_set() and self._port.number is None and not self._is_stopping:
            self._link_came_up()
            self._pipeline.turn()

    def _name_of(self, peer: PublicKey) -> str | None:
        return self._enrolment.membership.name_of(peer) if self._enrolment else None

    def _on_event(self, event: Event) -> None:
        self._event_source.observe(event)
        self._events.event(event)
        if isinstance(event, HandshakeCompleted | SessionExpired | PeerClosed):
            self._attendance.changed()
        self._resolver.observe(event)
        if self._enrolment is not None:
            self._enrolment.observe(event)

    def _turn(self) -> None:
        """Certificates may have brought peers, and removed some."""
        self._event_source.peers_changed()
        self._pipeline.turn()

    def _on_gone(self, error: TunnelError) -> None:
        _log.info("%s", error)
        self._stop()

    def _control_gone(self, watcher: asyncio.Task[None]) -> None:
        if watcher.cancelled():
            return
        if (error := watcher.exception()) is not None:
            _log.warning("control socket of %s is not watched: %s", self._name, error)
            return
        _log.info("control socket of %s was deleted", self._name)
        self._stop()

    def _deliver(self, patch: DevicePatch) -> None:
        """A name resolved. Datagrams to an address inside the tunnel would loop, so such a one is not used."""
        assert self._config is not None
        endpoints = {peer.public_key: peer.endpoint for peer in patch.peers if peer.endpoint}
        for hairpin in hairpins(self._config, endpoints):
            line = f"endpoint refused peer={hairpin.peer.short} endpoint={hairpin.endpoint} why={hairpin}"
            self._events.log(logging.ERROR, f"hairpin {hairpin.peer.short}", line)
            return
        self._device.apply(patch, self._clock.now())
        self._event_source.resolved(self._config.peers, endpoints)
        self._pipeline.turn()

    def listen_port(self) -> int:
        return self._device.listen_port if self._port.number is None else self._port.number

    async def _index(self) -> int:
        index = await self._netlink.link_index(self._name)
        assert index is not None, "the TUN device is there"
        return index

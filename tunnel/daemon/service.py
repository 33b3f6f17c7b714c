"""One interface, from start to stop: the place where everything meets.

    up:   TUN ─▶ control socket ─▶ UDP ─▶ device ─▶ names ─▶ addresses, MTU, routes, hooks ─▶ ready
    down: the same backwards, by leaving the contexts that were entered, whatever the reason is

    kernel ─ link, routes, names ─▶ ┌─────────┐ ─▶ DataPlane      packets move (`tunnel.daemon.data_plane`)
    SIGTERM, deleted ─────────────▶ │ Service │ ─▶ ControlPlane   who asks and changes (`tunnel.daemon.control_plane`)
                                    └─────────┘ ─▶ Upkeep, Uplinks, everybody who goes by the name

Cancellation is the stop signal: SIGTERM, SIGINT, the control socket's file deleted, the interface deleted.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import uvloop

from tunnel.config.model import Offload, TunnelConfig
from tunnel.config.routing import static_networks, wanted_routes
from tunnel.control.events import EventFeed
from tunnel.control.reload_request import ReloadRequest
from tunnel.control.uapi_socket import ControlSocket
from tunnel.daemon.attendance import Attendance
from tunnel.daemon.clock import Clock, SystemClock
from tunnel.daemon.control_plane import ControlPlane
from tunnel.daemon.data_plane import DataPlane
from tunnel.daemon.handover import Handover, forget_stored
from tunnel.daemon.key_log import KeyLog
from tunnel.daemon.lifecycle import Lifecycle
from tunnel.daemon.log import rename_interface
from tunnel.daemon.peer_routes import PeerRoutes
from tunnel.daemon.pipeline import superpacket_size
from tunnel.daemon.reload import Reload
from tunnel.daemon.systemd import Notifier, describe_peers
from tunnel.daemon.upkeep import Upkeep
from tunnel.daemon.uplinks import Uplinks
from tunnel.endpoint import Endpoint
from tunnel.errors import ControlError, NetlinkError, TunnelError, only_tunnel_error
from tunnel.netlink.link import LinkEvent, Netlink
from tunnel.protocol.host import DEFAULT_MTU

if TYPE_CHECKING:
    from tunnel.daemon.enrolment import Enrolment

DNS_PATIENCE = 3.0
"""Seconds that `up` waits for names to resolve, before it takes the default MTU and goes on."""

SESSION_PATIENCE = 3.0
"""Seconds that `up` waits for the first session with whom it dials, so that what comes next finds the tunnel open."""

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
            clock = SystemClock()
            data_plane = DataPlane(name, clock, offload, handover, has_extensions=extensions)
            await Service(name, config, passphrase, data_plane, netlink, clock, notifier, handover).run(path, on_ready)

    with handover, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


class Named(Protocol):
    """Calls the interface by its name."""

    name: str


class Service:
    """Of the interface `name`. Raise `ConfigError` if the identity that `config` names is not good."""

    def __init__(
        self,
        name: str,
        config: TunnelConfig | None,
        passphrase: bytes | None,
        data_plane: DataPlane,
        netlink: Netlink,
        clock: Clock,
        notifier: Notifier,
        handover: Handover,
    ) -> None:
        self._name = name
        self._data_plane = data_plane
        self._netlink = netlink
        self._clock = clock
        self._notifier = notifier
        self._handover = handover
        self._attendance = Attendance(
            notifier,
            take_turn=self._take_turn,
            describe=self._describe,
            stop=self._terminate,
            reload=lambda: self._control_plane.reload(ReloadRequest()),
        )
        self._feed = EventFeed(name, lambda: clock.now() + clock.unix_offset())
        self._control_plane = ControlPlane(name, config, passphrase, data_plane, clock, self._feed, self._attendance)
        self._named: list[Named] = [data_plane, self._control_plane]
        self._control_socket: ControlSocket | None = None
        self._main: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def run(self, path: Path | None, on_ready: Callable[[], None]) -> None:
        """Until it is stopped; see the function `run`."""
        self._main = asyncio.current_task()
        config = self._control_plane.config
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
        _log.info("interface %s is %s", self._name, "left to systemd" if self._data_plane.was_left else "gone")

    def _terminate(self) -> None:
        """A signal ends us: our supervisor may be about to start us again."""
        if self._control_plane.config is not None:
            self._data_plane.leave_to(self._notifier)
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
        with self._interface():
            index = await self._index()
            await self._netlink.leave_link_local_off(index)
            await self._netlink.set_link(index, mtu=DEFAULT_MTU)
            async with asyncio.TaskGroup() as tasks, self._control():
                tasks.create_task(self._watch_link(index))
                tasks.create_task(self._watch_routing(index))
                on_ready()
                _log.info("interface %s is ready", self._name)
                with self._attendance.ready():
                    await asyncio.Event().wait()

    async def _serve(self, config: TunnelConfig, path: Path | None, on_ready: Callable[[], None]) -> None:
        lifecycle = Lifecycle(self._name, config, self._netlink, self._data_plane.remove)
        await self._go_on_with(config)
        self._named.append(lifecycle)
        await lifecycle.check()
        control_plane = self._control_plane
        with self._interface():
            self._data_plane.configure(config.device_patch())
            async with asyncio.TaskGroup() as tasks, self._control():
                index = await self._index()
                tasks.create_task(self._watch_link(index))
                tasks.create_task(self._watch_routing(index))
                tasks.create_task(control_plane.resolver.run())
                control_plane.resolver.configure(config)
                enrolment = control_plane.enrolment
                dialled = await self._enrol(enrolment, config, tasks) if enrolment else []
                await control_plane.resolver.first_answers(DNS_PATIENCE)
                async with lifecycle.up([*control_plane.endpoints().values(), *dialled]) as mtu:
                    await self._data_plane.wait_for_link()
                    upkeep = await self._keep_up(config, index, tasks)
                    if enrolment is not None:
                        await enrolment.first_session(SESSION_PATIENCE)
                    on_ready()
                    _log.info("interface %s is up, port %d, MTU %d", self._name, self._data_plane.listen_port, mtu)
                    if path is not None:
                        reloader = Reload(self._name, path, config, control_plane, self._netlink, upkeep, tasks)
                        control_plane.reloader = reloader
                        self._named.append(reloader)
                    try:
                        with self._attendance.ready():
                            await asyncio.Event().wait()
                    finally:
                        upkeep.end()
                        control_plane.save_at_end()

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
        control_plane = self._control_plane
        upkeep = Upkeep(self._name, index, self._netlink, lambda: control_plane.config or config, control_plane.routes)
        upkeep.link_changed(self._data_plane.is_link_up)  # which may be down again already
        control_plane.upkeep = upkeep
        self._named.append(upkeep)
        if config.interface.hooks.pre_up or config.interface.hooks.post_up:
            await upkeep.begin()
        tasks.create_task(upkeep.run())
        return upkeep

    async def _enrol(self, enrolment: "Enrolment", config: TunnelConfig, tasks: asyncio.TaskGroup) -> list[Endpoint]:
        """Let certificates rule from now on; returns where those are whom we dial, as far as known."""
        routes = PeerRoutes(
            self._netlink, self._clock, self._name, await self._index(), config.interface.table, static_networks(config)
        )
        self._control_plane.routes = routes
        self._named.append(routes)
        tasks.create_task(enrolment.run(routes))
        return await enrolment.first_addresses(DNS_PATIENCE)

    def _interface(self) -> AbstractContextManager[None]:
        """The interface with its packets being moved."""
        control_plane = self._control_plane
        return self._data_plane.running(
            on_event=control_plane.observe, on_link=control_plane.link_changed, on_gone=self._on_gone
        )

    @asynccontextmanager
    async def _control(self) -> AsyncIterator[None]:
        """The control socket; whoever deletes its file stops us."""
        keys = KeyLog(self._name, self._data_plane.device)
        self._named.append(keys)
        self._control_socket = control = ControlSocket(self._name, self._control_plane, events=self._feed, keys=keys)
        await control.open()
        watcher = asyncio.create_task(control.wait_unlinked())
        watcher.add_done_callback(self._control_gone)
        try:
            yield
        finally:
            watcher.cancel()
            await control.close()

    async def _index(self) -> int:
        index = await self._netlink.link_index(self._name)
        assert index is not None, "the TUN device is there"
        return index

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────

    def _take_turn(self) -> bool:
        """Whether packets are being moved."""
        self._data_plane.turn()
        return self._data_plane.is_moving

    def _describe(self) -> str:
        peers, device, now = self._control_plane.snapshot().peers, self._data_plane.device, self._clock.now()
        return describe_peers(peers, sum(device.has_session(peer.public_key, now) for peer in peers))

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
        upkeep = self._control_plane.upkeep
        if upkeep is not None:
            upkeep.link_changed(event.is_up)
            upkeep.addresses_changed(event.addresses)
        self._data_plane.link_changed(event)

    async def _watch_routing(self, index: int) -> None:
        data_plane = self._data_plane
        uplinks = Uplinks(data_plane.device, self._clock, data_plane.has_moved, data_plane.turn)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(uplinks.run())
            async for change in self._netlink.watch_routing(index):
                upkeep = self._control_plane.upkeep
                if change.is_elsewhere:
                    uplinks.changed()
                if upkeep is not None and change.is_incomplete:
                    upkeep.routes_unknown()
                elif upkeep is not None:
                    upkeep.routes_removed(change.removed)

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

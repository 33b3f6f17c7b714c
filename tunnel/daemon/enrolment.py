"""Enrolment: an interface that has an identity instead of keys, run on the loop.

    files ─ read, watch ─▶ renew ──▶ ┌────────────┐
    DNS ─── look up ─────▶ found ──▶ │ Membership │ ──▶ the device's peers
    alarm ─ deadline ────▶ expire ─▶ └────────────┘ ──▶ PeerRoutes ──▶ the kernel's routes

`tunnel.daemon.membership` decides; here is what waits: for files, names, the clock and the kernel.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

from tunnel.config.model import CertificateConfig
from tunnel.daemon.clock import Clock
from tunnel.daemon.dns import SystemDns
from tunnel.daemon.file_watch import FileWatch
from tunnel.daemon.identity import IdentityFiles, LoadedIdentity, ignore_warnings
from tunnel.daemon.log import RateLimited
from tunnel.daemon.membership import Membership
from tunnel.daemon.peer_routes import PeerRoutes
from tunnel.daemon.resolver import Lookup
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.errors import ConfigError
from tunnel.protocol.device import Device
from tunnel.protocol.events import Event

LOOK_AT_CLOCK = 60.0
"""Seconds after which the wall clock is looked at again: certificates end by it, and somebody may have set it."""

_log = logging.getLogger(__name__)


class Enrolment:
    """Of the identity that `config` names, whose key `passphrase` opens. `turn` carries off what the device made.

    The files are read at once: raise `ConfigError`. Everything but `run`, `read`, `reload` and the waiting returns at
    once. One task runs `run`.
    """

    def __init__(
        self,
        device: Device,
        clock: Clock,
        config: CertificateConfig,
        passphrase: bytes | None,
        *,
        allow_default_route: bool,
        turn: Callable[[], None],
        lookup: Lookup | None = None,
    ) -> None:
        self._device = device
        self._clock = clock
        self._files = IdentityFiles(config.identity, config.authorities, config.crls, passphrase)
        self._turn = turn
        self._lookup = lookup or SystemDns()
        self._woken = asyncio.Event()
        self._changed = asyncio.Condition()
        self._is_reading = asyncio.Lock()
        self._failures = RateLimited(_log, clock, LOOK_AT_CLOCK)
        self._watch = FileWatch(self._files.paths, self._files_changed)
        self._tasks: asyncio.TaskGroup
        ignore_warnings()
        self.membership = Membership(
            device,
            self._files.read(clock.now() + clock.unix_offset()),
            config,
            clock.now(),
            allow_default_route=allow_default_route,
            unix_offset=clock.unix_offset,
            wake=self._woken.set,
            lines=RateLimited(_log, clock),
        )

    async def run(self, routes: PeerRoutes) -> None:
        """Until cancelled; `routes` follow who is admitted."""
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(routes.run())
            self._tasks.create_task(self._watch.run())
            while True:
                self._woken.clear()
                self._look_up_due()
                self.membership.expire(self._clock.now())
                routes.want(self.membership.networks(), self._device.endpoints(), self._device.fwmark)
                self._turn()
                await self._tell_waiting()
                await self._sleep()

    def observe(self, event: Event) -> None:
        """Tell us every event of the core."""
        self.membership.observe(event, self._clock.now())

    async def read(self) -> LoadedIdentity:
        """The files as they are now, for `take`; raise `ConfigError` if what they say cannot be taken."""
        unix_now = self._clock.now() + self._clock.unix_offset()
        loaded = await asyncio.to_thread(self._files.read, unix_now, self.membership.identity)
        try:
            self.membership.check(loaded)
        except ConfigError as error:
            raise self._refusal(error.why) from None
        return loaded

    def take(self, loaded: LoadedIdentity) -> None:
        """What was read is in force from now on; the interface has its addresses."""
        self.membership.renew(loaded, self._clock.now())
        self._files_changed()  # since they were read, maybe, and then `loaded` was not the last word
        self._turn()

    async def reload(self) -> None:
        """Read the files and use what they say; raise `ConfigError`, and what was in force stays so."""
        async with self._is_reading:
            loaded = await self.read()
            if loaded.claims.addresses != self.membership.identity.claims.addresses:
                raise self._refusal("has other addresses: `tunnel reload` with a file, or a restart, takes them")
            self.membership.renew(loaded, self._clock.now())
        self._turn()

    def _refusal(self, why: str) -> ConfigError:
        return ConfigError(why, source=str(self._files.identity))

    # ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def first_addresses(self, timeout: float) -> list[Endpoint]:
        """Where the names lead to, as far as is known after at most `timeout` seconds; `run` must be running."""
        dialling = self.membership.dialling
        await self._wait_for(lambda: not dialling.names_without_address, timeout)
        return dialling.endpoints()

    async def first_session(self, timeout: float) -> bool:
        """Whether there is a session with somebody whom we dial, after at most `timeout` seconds."""
        if not self.membership.dialling.names:
            return False
        names = ", ".join(map(str, self.membership.dialling.names))
        _log.info("dialling %s", names)
        is_there = await self._wait_for(lambda: self.membership.dialling.is_connected, timeout)
        if not is_there:
            _log.warning("nobody answers yet at %s; dialling on", names)
        return is_there

    async def _wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(condition)
        return condition()

    async def _tell_waiting(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _sleep(self) -> None:
        delay = min(self.membership.deadline - self._clock.now(), LOOK_AT_CLOCK)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, delay)):
                await self._woken.wait()

    # ── files and names ──────────────────────────────────────────────────────────────────────────────────────────

    def _files_changed(self) -> None:
        self._tasks.create_task(self._read_again())

    async def _read_again(self) -> None:
        try:
            await self.reload()
        except ConfigError as error:
            self._failures.log(logging.ERROR, str(error), f"{error}; what was read before stays in force")

    def _look_up_due(self) -> None:
        for name in self.membership.dialling.due_lookups(self._clock.now()):
            self._tasks.create_task(self._look_up(name))

    async def _look_up(self, name: EndpointName) -> None:
        dialling = self.membership.dialling
        try:
            endpoints = await self._lookup(name)
            tell = partial(dialling.found, name, endpoints)
            why = "" if endpoints else "no address"
        except OSError as error:
            tell = partial(dialling.failed, name)
            why = error.strerror or str(error)
        if why:
            self._failures.log(logging.WARNING, str(name), f"name not resolved, trying on name={name} why={why}")
        tell(self._clock.now())
        self._woken.set()

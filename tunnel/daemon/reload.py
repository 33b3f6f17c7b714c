"""Another configuration for an interface that runs, without dropping anybody.

    file ─▶ difference to what runs, and to what is there ─▶ check ─▶ port and mark ─▶ addresses, MTU, routes ─▶ device
                                                     ◀── undone, in reverse, if one is refused

What can be refused comes first and the device, which refuses nothing, last. So either all of a plan is done, or none of
it, and a peer that stays as it is never notices: its keys, its endpoint and what waits for it are not touched.

A plan may be on trial: unless somebody confirms it in time, what ran before comes back. That is for the change that
locks out who makes it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tunnel.config.difference import Plan, as_saved, difference
from tunnel.config.hairpin import hairpins
from tunnel.config.model import IPInterface, TunnelConfig
from tunnel.config.patch import DevicePatch, IPNetwork
from tunnel.config.routing import wanted_routes
from tunnel.control.reload_request import ReloadRequest
from tunnel.daemon.config_file import read_config, write_config
from tunnel.daemon.lifecycle import Lifecycle
from tunnel.daemon.lifecycle import Links as LinksOfStart
from tunnel.daemon.upkeep import MAIN_TABLE, Missing, Upkeep
from tunnel.endpoint import Endpoint
from tunnel.errors import ConfigError, EdgeError, TunnelError
from tunnel.keys import PublicKey

if TYPE_CHECKING:  # X.509 takes its time to import, and only who has an identity needs it
    from tunnel.daemon.identity import LoadedIdentity

_log = logging.getLogger(__name__)


class Links(LinksOfStart, Protocol):
    """What we need of netlink besides; all raise `NetlinkError`, and what is gone already is fine."""

    async def delete_address(self, index: int, address: IPInterface) -> None: ...

    async def delete_routes(self, index: int, networks: Sequence[IPNetwork], table: int | None) -> None: ...


class Interface(Protocol):
    """What runs; `tunnel.daemon.control_plane.ControlPlane` is the real one."""

    async def read_identity(self) -> "LoadedIdentity | None":
        """Our certificate as its files are now, None if we have none; raise `ConfigError`. Nothing is changed."""
        ...

    def identified(self, config: TunnelConfig, identity: "LoadedIdentity | None" = None) -> TunnelConfig:
        """`config` with what `identity` says, or the certificate in force, if we have one.

        Raise `ConfigError` if they do not fit together.
        """
        ...

    def running(self, config: TunnelConfig) -> TunnelConfig:
        """`config` with what others have made of it since."""
        ...

    def mtu(self) -> int: ...

    def listen_port(self) -> int: ...

    def endpoints(self) -> Mapping[PublicKey, Endpoint]:
        """Where the peers are, as far as known."""
        ...

    def resolved(self) -> Mapping[PublicKey, Endpoint]:
        """Where the names of endpoints led to last."""
        ...

    def move_socket(self, patch: DevicePatch) -> None:
        """Take the port and the mark of `patch`; raise `UdpSocketError` with nothing changed."""
        ...

    def change(self, patch: DevicePatch, config: TunnelConfig, identity: "LoadedIdentity | None") -> None:
        """Apply `patch`, after which `config` is what is configured, and `identity`, if any, in force. Cannot fail."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """`undo` leaves things as they were before `do`, also if `do` got only half way."""

    do: Callable[[], Awaitable[object]]
    undo: Callable[[], Awaitable[object]]


class Reload:
    """Of the interface `name`, which came from `path`. `config` is what was applied last: what the routes follow.

    `upkeep` knows what of it others have taken away, which is put back. `tasks` is where the wait for a confirmation
    runs; `sleep` is how it waits.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        config: TunnelConfig,
        interface: Interface,
        links: Links,
        upkeep: Upkeep,
        tasks: asyncio.TaskGroup,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.path = path
        self.config = config
        self.name = name
        self._interface = interface
        self._links = links
        self._upkeep = upkeep
        self._tasks = tasks
        self._sleep = sleep
        self._one_at_a_time = upkeep.lock
        self._trial: asyncio.Task[None] | None = None

    @property
    def is_on_trial(self) -> bool:
        """What runs goes away again unless it is confirmed."""
        return self._trial is not None

    async def run(self, request: ReloadRequest) -> list[str]:
        """Do what the file says now; returns what that is, line by line. Raise `TunnelError`, with all as before."""
        async with self._one_at_a_time:
            if self.is_on_trial and not request.dry_run:
                raise TunnelError(f"{self.name}: the last change waits for `tunnel confirm {self.name}`")
            config = await asyncio.to_thread(read_config, self.path)
            identity = await self._interface.read_identity()
            new = self._interface.identified(config, identity)
            before, config_before = self._interface.running(self.config), self.config
            plan = difference(before, new, wanted_routes(self.config))
            if request.dry_run and plan.needs_restart:
                return plan.describe()
            missing = await self._missing(plan, new)
            await self._check(plan, new, missing)
            said = [*([] if plan.is_empty and missing else plan.describe()), *missing.lines()]
            if request.dry_run:
                return said
            await self._apply(plan, new, missing, identity)
            if request.confirm is None or plan.is_empty:
                return said
            self._trial = self._tasks.create_task(self._go_back(request.confirm, before, config_before))
            return [*said, f"back again in {request.confirm} s, unless: tunnel confirm {self.name}"]

    def confirm(self) -> None:
        """What is on trial stays. Raise `TunnelError` if nothing is."""
        if self._trial is None:
            raise TunnelError(f"{self.name}: nothing waits to be confirmed")
        self._trial.cancel()
        self._trial = None
        _log.info("the change was confirmed")

    async def save(self, merged: TunnelConfig) -> None:
        """Write what runs, as `merged` says, into the file. Raise `TunnelError`, with the file as it was."""
        async with self._one_at_a_time:
            if self.is_on_trial:
                raise TunnelError(f"{self.name}: the last change waits for `tunnel confirm {self.name}`")
            saved = as_saved(self.config, merged)
            await asyncio.to_thread(write_config, self.path, saved)
            # Else the next reload would take a peer back to where it was when this was written.
            endpoints = {peer.public_key: peer.endpoint for peer in saved.peers}
            peers = (
                replace(peer, endpoint=endpoints.get(peer.public_key, peer.endpoint)) for peer in self.config.peers
            )
            self.config = replace(self.config, peers=tuple(peers))

    async def _go_back(self, seconds: float, before: TunnelConfig, config_before: TunnelConfig) -> None:
        await self._sleep(seconds)
        async with self._one_at_a_time:
            self._trial = None  # from here on it is too late to confirm
            # A certificate that was taken stays in force, and what it says with it.
            before, config_before = map(self._interface.identified, (before, config_before))
            plan = difference(self._interface.running(self.config), before, wanted_routes(self.config))
            try:
                await self._apply(plan, config_before, Missing())
            except TunnelError as error:
                _log.error("not confirmed within %g s, but going back failed: %s", seconds, error)
            else:
                _log.warning("not confirmed within %g s: what ran before is back", seconds)

    # ── a plan, all of it or nothing ─────────────────────────────────────────────────────────────────────────────

    async def _missing(self, plan: Plan, new: TunnelConfig) -> Missing:
        """What was there before, and is to be there after `plan`, and is not there now."""
        table = new.interface.table if isinstance(new.interface.table, int) else MAIN_TABLE
        added = {*plan.added_addresses, *((table, network) for network in plan.added_routes)}
        return (await self._upkeep.missing(new)).without(added)

    async def _check(self, plan: Plan, new: TunnelConfig, missing: Missing) -> None:
        """Raise `TunnelError` for what is known to be impossible, before anything is done."""
        if plan.needs_restart:
            settings = ", ".join(plan.needs_restart)
            why = f"{settings}: needs a restart (tunnel down, tunnel up), so nothing was changed"
            raise ConfigError(why, source=str(self.path))
        names = {peer.public_key: peer.endpoint for peer in new.peers}
        same = {peer.public_key for peer in self.config.peers if peer.endpoint == names.get(peer.public_key)}
        known = {key: endpoint for key, endpoint in self._interface.resolved().items() if key in same}
        for hairpin in hairpins(new, known):
            raise ConfigError(f"peer {hairpin.peer.short}: '{hairpin.endpoint}': {hairpin}", source=str(self.path))
        if plan.added_addresses or plan.added_routes or missing:
            await self._lifecycle(new).check()

    async def _apply(
        self, plan: Plan, new: TunnelConfig, missing: Missing, identity: "LoadedIdentity | None" = None
    ) -> None:
        """Raise `EdgeError` with all as before."""
        index = await self._links.link_index(self.name)
        if index is None:
            raise TunnelError(f"{self.name}: the interface is gone")
        mtu = await self._mtu(plan, new)
        undo: list[Callable[[], Awaitable[object]]] = []
        try:
            for step in self._steps(plan, new, missing, index, mtu):
                undo.append(step.undo)
                await step.do()
        except EdgeError as error:
            trouble = await _undo(undo)
            rest = f", but not all could be undone: {trouble}" if trouble else "; all is as before"
            raise EdgeError(f"{error}{rest}", error.errno) from None
        self.config = new
        self._interface.change(plan.device_patch(), new, identity)
        for line in [*([] if plan.is_empty else plan.describe()), *missing.lines()]:
            _log.info("changed: %s", line)

    async def _mtu(self, plan: Plan, new: TunnelConfig) -> int:
        """What it is to be: as configured, or what suits the routes if that is new, else as it is."""
        if not plan.changes_mtu:
            return self._interface.mtu()
        if new.interface.mtu is not None:
            return new.interface.mtu
        return await self._lifecycle(new).route_mtu(self._interface.endpoints().values())

    def _steps(self, plan: Plan, new: TunnelConfig, missing: Missing, index: int, mtu: int) -> Iterator[Step]:
        """In an order in which each is possible: a large MTU before IPv6 comes, a small one after it has gone."""
        links, before = self._links, self._interface.mtu()
        table = new.interface.table if isinstance(new.interface.table, int) else None
        resize = Step(partial(links.set_link, index, mtu=mtu), partial(links.set_link, index, mtu=before))
        add, delete = partial(self._add_routes, index), partial(links.delete_routes, index)
        yield self._move(plan.device_patch())
        if mtu > before:
            yield resize
        for address in plan.added_addresses:
            yield Step(partial(links.add_address, index, address), partial(links.delete_address, index, address))
        if routes := plan.added_routes:
            yield Step(partial(add, routes, table), partial(delete, routes, table))
        if missing:
            yield Step(partial(self._upkeep.restore, missing, new), partial(self._upkeep.withdraw, missing))
        if routes := plan.removed_routes:
            yield Step(partial(delete, routes, table), partial(add, routes, table))
        if plan.removed_addresses:
            yield Step(partial(self._take_addresses, plan, new, index), partial(self._give_back, plan, index, table))
        if mtu < before:
            yield resize

    def _move(self, patch: DevicePatch) -> Step:
        """To another port or mark, and back to those that there are."""
        back = DevicePatch(
            listen_port=None if patch.listen_port is None else self._interface.listen_port(),
            fwmark=None if patch.fwmark is None else self._interface.running(self.config).interface.fwmark,
        )

        async def move(patch: DevicePatch) -> None:
            self._interface.move_socket(patch)

        return Step(partial(move, patch), partial(move, back))

    async def _take_addresses(self, plan: Plan, new: TunnelConfig, index: int) -> None:
        """With an address the kernel may take others, and routes: those that stay are put back."""
        for address in plan.removed_addresses:
            await self._links.delete_address(index, address)
        for address in new.interface.addresses:
            await self._links.add_address(index, address)
        table = new.interface.table if isinstance(new.interface.table, int) else None
        await self._add_routes(index, wanted_routes(new), table)

    async def _give_back(self, plan: Plan, index: int, table: int | None) -> None:
        for address in plan.before.addresses:
            await self._links.add_address(index, address)
        await self._add_routes(index, wanted_routes(self.config), table)

    async def _add_routes(self, index: int, networks: Sequence[IPNetwork], table: int | None) -> None:
        """While the link is down there are none: they come with it."""
        if self._upkeep.is_link_up:
            await self._links.add_routes(index, networks, table)

    def _lifecycle(self, config: TunnelConfig) -> Lifecycle:
        return Lifecycle(self.name, config, self._links, remove=lambda: None)


async def _undo(steps: Sequence[Callable[[], Awaitable[object]]]) -> str:
    """In reverse, all of them; returns what could not be undone, empty if nothing."""
    trouble: list[str] = []
    for undo in reversed(steps):
        try:
            await undo()
        except EdgeError as error:
            trouble.append(str(error))
    return "; ".join(trouble)

"""Membership: what a host with a certificate does about others, put together from those who decide.

    device ──16–19──▶ Membership ─┬─ Admission       who may be a peer, and until when
           ◀──patch──             ├─ Dialling        whom to ask, and which answer to take
    events ──observe─▶            └─ ExpiryWarnings  what of our own ends soon

It is told the time and what happens, and keeps the device's peers as they should be. There is no I/O here but lines in
the log: names are looked up, files read and routes kept by `tunnel.daemon.enrolment`, so that a whole network of
members can be simulated.

The device asks us in the middle of its work (`tunnel.protocol.credentials.Gatekeeper`), when it must not be changed.
What is to be done then waits for `expire`, and `wake` says that something does.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from math import inf

from tunnel.config.model import CertificateConfig
from tunnel.config.patch import DevicePatch, IPNetwork, PeerPatch
from tunnel.control.events import EventFeed
from tunnel.control.status import MemberStatus
from tunnel.daemon.admission import Admission, Admitted, Policy, Removed
from tunnel.daemon.dialling import Dialling
from tunnel.daemon.expiry import ExpiryWarnings
from tunnel.daemon.identity import LoadedIdentity
from tunnel.daemon.log import RateLimited
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.errors import ConfigError
from tunnel.keys import PublicKey
from tunnel.pki.issuer import authority_hash
from tunnel.pki.problem import CertificateError
from tunnel.pki.validity import format_time
from tunnel.pki.verify import is_named
from tunnel.protocol.credentials import Chain, Credentials
from tunnel.protocol.device import Device
from tunnel.protocol.events import Event, HandshakeCompleted, HandshakeUnanswered, PeerClosed, SessionExpired

PATIENCE = 10.0
"""Seconds without an answer until it is worth a line."""

REMIND = 60.0
"""Seconds between lines about the same trouble, which others go on making."""

_NOT_WANTED = DevicePatch()


class Membership:
    """Of the host that `loaded` is of. Satisfies `Gatekeeper`.

    `unix_offset()` is Unix time minus `now`; `wake()` is called when `deadline` may have come nearer.
    """

    def __init__(
        self,
        device: Device,
        loaded: LoadedIdentity,
        config: CertificateConfig,
        now: float,
        *,
        allow_default_route: bool,
        unix_offset: Callable[[], float],
        wake: Callable[[], None],
        lines: RateLimited,
    ) -> None:
        self.dialling = Dialling(config.peers, now)
        self.events = EventFeed()  # whoever has listeners puts in his own
        self._device = device
        self._loaded = loaded
        self._unix_offset = unix_offset
        self._wake = wake
        self._lines = lines
        policy = Policy(config.allow, config.max_peers, allow_default_route)
        self._admission = Admission(loaded.claims, loaded.trust, policy, device)
        self._warnings = ExpiryWarnings()
        self._dialled: PublicKey | None = None
        self._left_behind: Mapping[IPNetwork, PublicKey] = {}
        self._has_work = False
        self._is_up = False
        device.gatekeeper = self
        self._show(loaded)

    # ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def deadline(self) -> float:
        """When to call `expire` next; in the past if something waits, infinite if only news can change anything."""
        if self._has_work:
            return -inf
        ends = min(self._admission.deadline, self._warnings.deadline) - self._unix_offset()
        return min(ends, self.dialling.deadline) if self._is_up else ends

    def expire(self, now: float) -> None:
        """Remove whose certificate has ended, say what ends soon, and ask whom we dial."""
        self._has_work = False
        unix_now = now + self._unix_offset()
        for level, line in self._warnings.due(unix_now):
            self._lines.log(level, line, line)
        for removed in self._admission.expire(unix_now):
            self._remove(removed, now)
        if not self.dialling.is_asking:
            self._device.stop_asking()
        for endpoint in self.dialling.expire(now) if self._is_up else ():
            self._device.ask(endpoint, now)
            self._complain(now)

    def link_changed(self, is_up: bool, now: float) -> None:
        """Without the link, as at first, there are no sessions; once it is there we ask at once."""
        if is_up == self._is_up:
            return
        self._is_up = is_up
        if is_up:
            self.dialling.roused(now)
        elif self.dialling.peer is not None:
            self.dialling.lost(self.dialling.peer, now)
        self._do_soon()

    # ── what the device asks ─────────────────────────────────────────────────────────────────────────────────────

    def answered(self, endpoint: Endpoint, chain: Chain, now: float) -> DevicePatch | None:
        if not self.dialling.takes(endpoint, now):
            return _NOT_WANTED
        names = self.dialling.names_at(endpoint)
        try:
            public_key, patch = self._admission.dial(chain, names, now, now + self._unix_offset())
        except CertificateError as error:
            self.dialling.refused(endpoint, now)
            self._refuse(error, f"name={names[0]} endpoint={endpoint}", endpoint, dialled_as=names[0])
            return None
        self.dialling.taken(public_key, endpoint, now)
        return self._replacing(public_key, patch)

    def presented(self, public_key: PublicKey, chain: Chain, endpoint: Endpoint, now: float) -> DevicePatch | None:
        before = self._admission.find(public_key)
        try:
            patch = self._admission.admit(public_key, chain, now, now + self._unix_offset())
        except CertificateError as error:
            self._refuse(error, f"peer={public_key.short} endpoint={endpoint}", endpoint, peer=public_key)
            return None
        admitted = self._admission.find(public_key)
        if admitted is not None and admitted is not before:
            self._say_admitted(admitted, "admitted" if before is None else "renewed")
        self._do_soon()
        return patch

    def _replacing(self, public_key: PublicKey, patch: DevicePatch) -> DevicePatch:
        """`patch`, and whoever was dialled before goes: one stands for all."""
        before, self._dialled = self._dialled, public_key
        self._left_behind = {}
        self._do_soon()
        if before is None or before == public_key:
            return patch
        admitted = self._admission.find(before)
        if admitted is None or admitted.dialled_as is None:
            return patch
        self._admission.forget(before)
        return DevicePatch(peers=(PeerPatch(before, remove=True), *patch.peers))

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────────────────

    def observe(self, event: Event, now: float) -> None:
        """Tell us every event of the core."""
        match event:
            case HandshakeCompleted(peer, _, _):
                self._completed(peer, now)
            case HandshakeUnanswered(peer, _):
                self.dialling.unanswered(peer, now)
            case PeerClosed(peer) | SessionExpired(peer):
                self._ended(peer, now)
            case _:
                return
        self._do_soon()

    def _completed(self, public_key: PublicKey, now: float) -> None:
        was_connected = self.dialling.is_connected
        self.dialling.completed(public_key)
        admitted = self._admission.find(public_key)
        if admitted is None:
            return
        if admitted.dialled_as is None and self._is_one_of_ours(admitted):
            self.dialling.arrived(public_key)
        if self.dialling.is_connected and not was_connected and self.dialling.peer == public_key:
            self._say_admitted(admitted, "connected")

    def _is_one_of_ours(self, admitted: Admitted) -> bool:
        """Whether it is somebody whom we dial, who came by itself."""
        return admitted.claims.is_server and any(is_named(admitted.claims, name.host) for name in self.dialling.names)

    def _ended(self, public_key: PublicKey, now: float) -> None:
        """No session is left. Whoever came to us can come again; whom we dial stays, so that packets wait for it."""
        self.dialling.lost(public_key, now)
        admitted = self._admission.find(public_key)
        if admitted is not None and admitted.dialled_as is None:
            self._admission.forget(public_key)
            self._device.apply(DevicePatch(peers=(PeerPatch(public_key, remove=True),)), now)

    def _remove(self, removed: Removed, now: float) -> None:
        """Its certificate will not do any more. The routes to whom we dialled stay, so that nothing leaves in clear."""
        public_key = removed.public_key
        if public_key == self._dialled:
            networks = [peer.allowed_ips for peer in self._device.snapshot(0).peers if peer.public_key == public_key]
            self._left_behind = {network: public_key for allowed in networks for network in allowed}
        line = f"peer removed peer={public_key.short} name={removed.name} why={removed.why}"
        self._lines.log(logging.WARNING, f"removed {public_key.short}", line)
        self._device.apply(DevicePatch(peers=(PeerPatch(public_key, remove=True),)), now)
        self.dialling.lost(public_key, now)
        why = removed.why
        self.events.tell("removed", peer=public_key, name=removed.name, reason=why.problem, why=why)
        self._do_soon()

    def forget(self, patch: DevicePatch, now: float) -> None:
        """Somebody else (``wg set``) has applied this patch: whom it has removed is not one of us any more."""
        gone = [peer.public_key for peer in patch.peers if peer.remove]
        if patch.replace_peers:
            gone += [admitted.public_key for admitted in self._admission]
        for public_key in gone:
            self._admission.forget(public_key)
            self.dialling.lost(public_key, now)
        self._do_soon()

    def overrule(self, configured: Collection[PublicKey], now: float) -> None:
        """Tell us who is configured by hand, when the device has been changed to that."""
        for removed in self._admission.overrule(configured):
            self._remove(removed, now)
        self._do_soon()

    # ── what we show ─────────────────────────────────────────────────────────────────────────────────────────────

    def check(self, loaded: LoadedIdentity) -> None:
        """Raise `ConfigError` for what only a restart can do."""
        if loaded.claims.public_key != self._loaded.claims.public_key:
            raise ConfigError("has another private key: restart the interface to use it")

    def renew(self, loaded: LoadedIdentity, now: float) -> None:
        """Our files have changed, and the interface has their addresses. Raise as `check`, with nothing changed."""
        self.check(loaded)
        before = self._loaded
        for removed in self._admission.renew(loaded.claims, loaded.trust, now + self._unix_offset()):
            self._remove(removed, now)
        self._show(loaded)
        if loaded.identity.chain != before.identity.chain:
            line = f"identity renewed name={loaded.claims.name} until={format_time(loaded.claims.not_after)}"
            self._lines.log(logging.INFO, line, line)
            own = loaded.claims
            self.events.tell("identity_renewed", name=own.name, certificate_expires=own.not_after)
            if self._dialled is not None:
                self._device.handshake(self._dialled, now)
        self._do_soon()

    def _show(self, loaded: LoadedIdentity) -> None:
        self._loaded = loaded
        trusted = tuple(dict.fromkeys(map(authority_hash, loaded.trust.authorities)))
        authority, is_dialled = authority_hash(loaded.authority), loaded.claims.is_server
        self._device.credentials = Credentials(loaded.identity.chain, authority, trusted, is_dialled)
        self._warnings.watch(loaded.expiring)

    # ── who is there ─────────────────────────────────────────────────────────────────────────────────────────────

    def networks(self) -> dict[IPNetwork, PublicKey]:
        """What is to be routed into the tunnel, and to whom."""
        return {**self._left_behind, **self._admission.networks()}

    def members(self) -> dict[PublicKey, MemberStatus]:
        """The peers that are there by their certificates."""
        return {
            one.public_key: MemberStatus(
                name=one.claims.name,
                certificate_expires=one.claims.not_after,
                admitted=_why_admitted(one),
            )
            for one in self._admission
        }

    def name_of(self, public_key: PublicKey) -> str | None:
        """What its certificate calls a peer; None if it is not there by one."""
        admitted = self._admission.find(public_key)
        return admitted.claims.name if admitted is not None else None

    @property
    def identity(self) -> LoadedIdentity:
        """Ours, as it was read last."""
        return self._loaded

    @property
    def refusals(self) -> Mapping[str, int]:
        """How many were refused, by the value of the `Problem`."""
        return self._admission.refusals

    def describe_dialling(self, now: float) -> str | None:
        """Whom we look for, in words; None if we look for nobody."""
        since = self.dialling.asked_since
        if since is None or not self.dialling.names:
            return None
        return f"{_join(self.dialling.names)}, no answer for {now - since:.0f} s"

    # ── words ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _do_soon(self) -> None:
        self._has_work = True
        self._wake()

    def _refuse(
        self,
        error: CertificateError,
        who: str,
        endpoint: Endpoint,
        *,
        peer: PublicKey | None = None,
        dialled_as: EndpointName | None = None,
    ) -> None:
        """One line for each kind of problem and place, at most."""
        kind = f"refused {error.problem.value} {endpoint.host}"
        self._lines.log(logging.WARNING, kind, f"peer refused {who} why={error}", REMIND)
        self.events.tell(
            "refused", peer=peer, dialled_as=dialled_as, endpoint=endpoint, reason=error.problem, why=error
        )

    def _say_admitted(self, admitted: Admitted, what: str) -> None:
        by = f"dialled={admitted.dialled_as}" if admitted.dialled_as else f"authority={admitted.authority}"
        until = format_time(admitted.until)
        line = f"peer {what} peer={admitted.public_key.short} name={admitted.claims.name} {by} until={until}"
        self._lines.log(logging.INFO, f"{what} {admitted.public_key.short}", line)
        self.events.tell(
            "renewed" if what == "renewed" else "admitted",
            peer=admitted.public_key,
            name=admitted.claims.name,
            certificate_expires=admitted.claims.not_after,
            admitted=_why_admitted(admitted),
        )

    def _complain(self, now: float) -> None:
        """Nobody answers, or somebody did and then fell silent."""
        since = self.dialling.asked_since
        silent = self.dialling.unanswering(now)
        if silent is not None:
            why = "its certificate came, but no handshake: it may refuse us, and its log says why"
            line = f"dialling unanswered endpoint={silent} why={why}"
        elif since is not None and now - since >= PATIENCE:
            line = f"dialling unanswered names={_join(self.dialling.names)} for={now - since:.0f}s"
        else:
            return
        self._lines.log(logging.WARNING, line.partition(" for=")[0], line, REMIND)


def _why_admitted(admitted: Admitted) -> str:
    """In words, for the status and for who listens."""
    if admitted.dialled_as is not None:
        return f"dialled as {admitted.dialled_as}"
    return f"vouched for by {admitted.authority}"


def _join(names: Sequence[EndpointName]) -> str:
    return ",".join(map(str, names))

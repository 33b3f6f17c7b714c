"""Hosts with certificates on a simulated network: what would be in their files, and who keeps their peers.

    Authority ─ issue ─▶ LoadedIdentity ─▶ Membership ◀─ events, deadline ─ Network
    found_authority       Member.renew      of a SimulatedHost

Everything is dated by the network's clock. A certificate has a lifetime of whole days; `lasts` says how many seconds of
it are left, as if it had been issued long ago.

    network = Network()
    authority = found_authority(network)
    gateway = enrol(network.host(), authority, "gw", addresses=["10.9.0.1"], is_server=True, dns_names=["gw"])
    laptop = enrol(network.host(), authority, "laptop", addresses=["10.9.0.2"], peers=["gw"])
    network.names["gw"] = [gateway.host.endpoint]
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address, ip_network
from math import ceil
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tunnel.config.model import DEFAULT_MAX_PEERS, CertificateConfig
from tunnel.daemon.expiry import Expiring
from tunnel.daemon.identity import LoadedIdentity
from tunnel.daemon.log import RateLimited
from tunnel.daemon.membership import Membership
from tunnel.endpoint import EndpointName
from tunnel.keys import PublicKey
from tunnel.pki.authority import CERTIFICATE_DAYS, CRL_DAYS, DAY, Authority, Request, build_crl, create_authority, issue
from tunnel.pki.store import Identity
from tunnel.pki.verify import Trust, verify
from tunnel.testing.network import Network, SimulatedHost

PORT = 51820


@dataclass(frozen=True, slots=True)
class Files:
    """What lies on a host's disk; `above` is the intermediate, if there is one."""

    certificate: x509.Certificate
    above: tuple[x509.Certificate, ...]
    authorities: tuple[x509.Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...] = ()


class Member:
    """A host with a certificate: it can be given other files, stopped and started. `lines` is its log."""

    def __init__(self, host: SimulatedHost, request: Request, files: Files, config: CertificateConfig) -> None:
        self.host = host
        self.request = request
        self.files = files
        self.config = config
        self.lines: list[str] = []
        self.serials = [files.certificate.serial_number]
        """Of all certificates that it ever had."""
        self.configured: set[PublicKey] = set()
        """Peers that somebody made by hand."""
        self._log = logging.Logger(request.name)
        self._log.addHandler(_Lines(self.lines))
        self.membership = self._start()

    @property
    def name(self) -> str:
        return self.request.name

    @property
    def peers(self) -> list[str]:
        """The names in the certificates of its peers, sorted."""
        return sorted(status.name for status in self.membership.members().values())

    def has_session(self, other: "Member") -> bool:
        """Whether it could send to the other one at once."""
        return self.host.device.has_session(other.host.public_key, self.host.network.clock.now())

    # ── files ────────────────────────────────────────────────────────────────────────────────────────────────────

    def renew(self, authority: Authority, *, lasts: float | None = None, days: int = CERTIFICATE_DAYS) -> None:
        """Another certificate of the same content."""
        self.install(replace(self.files, certificate=_issue(self.host.network, authority, self.request, days, lasts)))

    def trust(self, *authorities: Authority, crls: Iterable[x509.CertificateRevocationList] | None = None) -> None:
        """Other authorities to believe; without `crls` the lists stay."""
        certificates = tuple(authority.certificate for authority in authorities)
        lists = self.files.crls if crls is None else tuple(crls)
        self.install(replace(self.files, authorities=certificates, crls=lists))

    def install(self, files: Files) -> None:
        """Replace the files, which are read at once; raise `CertificateError`, with nothing changed."""
        self.membership.renew(self._load(files), self.host.network.clock.now())
        self.files = files
        self.serials.append(files.certificate.serial_number)
        self.host.network.flush(self.host)

    # ── power ────────────────────────────────────────────────────────────────────────────────────────────────────

    def crash(self) -> None:
        """Power fails; nobody is told."""
        self.host.crash()

    def stop(self) -> None:
        """The interface goes down in good order."""
        now = self.host.network.clock.now()
        self.host.device.down(now)
        self.host.network.flush(self.host)
        self.membership.link_changed(False, now)
        self.host.crash()

    def restart(self) -> None:
        """It starts with nothing but its files; running or not."""
        self.host.restart()
        self.configured.clear()
        self.membership = self._start()

    def _start(self) -> Membership:
        host, clock = self.host, self.host.network.clock
        membership = Membership(
            host.device,
            self._load(self.files),
            self.config,
            clock.now(),
            allow_default_route=False,
            unix_offset=clock.unix_offset,
            wake=lambda: None,
            lines=RateLimited(self._log, clock),
        )
        host.membership = membership
        membership.link_changed(True, clock.now())
        return membership

    def _load(self, files: Files) -> LoadedIdentity:
        """As `tunnel.daemon.identity` would, without files."""
        chain = tuple(one.public_bytes(Encoding.DER) for one in (files.certificate, *files.above))
        trust = Trust(files.authorities, files.crls)
        verified = verify(chain, trust, unix_now(self.host.network), key=self.host.public_key)
        claims = verified.claims
        expiring = Expiring(
            f"certificate of {claims.name}", "identity.pem", verified.made, claims.not_after, "renew it"
        )
        identity = Identity(self.host.private_key, chain, files.authorities)
        return LoadedIdentity(identity, claims, trust, verified.authority, (expiring,))


def found_authority(network: Network, name: str = "Example CA", *, lasts: float | None = None) -> Authority:
    """A new one."""
    days = 3650 if lasts is None else ceil(lasts / DAY)
    return create_authority(name, network.random.randbytes, _issued_at(network, days, lasts), days=days)


def revoke(
    network: Network, authority: Authority, *members: Member, number: int = 1, lasts: float | None = None
) -> x509.CertificateRevocationList:
    """A list of all certificates that they have had so far, as ``tunnel cert revoke NAME`` makes it."""
    now = unix_now(network)
    revoked: Mapping[int, float] = {serial: now for member in members for serial in member.serials}
    return build_crl(authority, revoked, number, _issued_at(network, CRL_DAYS, lasts), days=CRL_DAYS)


def enrol(
    host: SimulatedHost,
    authority: Authority,
    name: str,
    *,
    addresses: Sequence[str],
    routes: Sequence[str] = (),
    is_server: bool = False,
    dns_names: Sequence[str] = (),
    peers: Sequence[str | EndpointName] = (),
    allow: Sequence[str] = (),
    max_peers: int = DEFAULT_MAX_PEERS,
    days: int = CERTIFICATE_DAYS,
    lasts: float | None = None,
    above: Sequence[x509.Certificate] = (),
    trusted: Sequence[Authority] = (),
) -> Member:
    """Give the host a certificate of `authority`, and start it anew with this instead of its keys.

    `peers` are dialled, at `PORT` if they are only names. `above` is the authority's own certificate if it is an
    intermediate; `trusted` are believed, and without them `authority`.
    """
    request = Request(
        name,
        host.public_key,
        addresses=tuple(map(ip_address, addresses)),
        routes=tuple(map(ip_network, routes)),
        dns_names=tuple(dns_names),
        is_server=is_server,
    )
    files = Files(
        _issue(host.network, authority, request, days, lasts),
        tuple(above),
        tuple(one.certificate for one in trusted or (authority,)),
    )
    names = tuple(EndpointName(peer, PORT) if isinstance(peer, str) else peer for peer in peers)
    config = CertificateConfig(Path("identity.pem"), peers=names, allow=tuple(allow), max_peers=max_peers)
    host.address = next(one for one in request.addresses if isinstance(one, IPv4Address))
    return Member(host, request, files, config)


def unix_now(network: Network) -> float:
    return network.clock.unix_ns() / 1e9


def _issue(
    network: Network, authority: Authority, request: Request, days: int, lasts: float | None
) -> x509.Certificate:
    return issue(authority, request, network.random.randbytes, _issued_at(network, days, lasts), days=days)


def _issued_at(network: Network, days: int, lasts: float | None) -> float:
    """When something has to have been made that has a lifetime of `days`, of which `lasts` seconds are left."""
    now = unix_now(network)
    return now if lasts is None else now + lasts - days * DAY


class _Lines(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(record.getMessage())

"""``tunnel cert issue`` and ``renew``: what the CA gives out.

The ledger has an entry before anybody has the certificate, and the file is written before the ledger has the entry
(beside its place): so an error leaves neither a certificate that nobody can revoke nor an address that nobody has.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from pathlib import Path

import click
from cryptography import x509

from tunnel.cli.ca_folder import CaFolder
from tunnel.cli.cert_options import (
    ask_passphrase_option,
    ca_dir_option,
    ca_passphrase_option,
    days_option,
    file_option,
    force_option,
    is_dns_name,
    parse_key_or_file,
    parse_name,
    parse_outside,
    parse_own_address,
    parse_route,
    parsed,
    passphrase_option,
    several,
)
from tunnel.cli.cert_show import summary
from tunnel.cli.secret_files import PRIVATE, PUBLIC, check_free, new_passphrase, prepared_file
from tunnel.config.patch import IPNetwork
from tunnel.daemon.identity import read_file, read_identity
from tunnel.errors import ConfigError
from tunnel.keys import PrivateKey, PublicKey
from tunnel.pki import authority as pki
from tunnel.pki.issuer import read_issuer
from tunnel.pki.ledger import Entry, Ledger, find_conflict
from tunnel.pki.profile import read_claims
from tunnel.pki.store import (
    Certificates,
    blaming,
    format_identity,
    has_private_key,
    parse_certificates,
    renewed_identity,
)
from tunnel.pki.validity import format_time

Outside = str | IPv4Address | IPv6Address


@click.command(
    epilog="""\b
Examples:
  tunnel cert issue laptop --address 10.9.0.2
  tunnel cert issue office --address 10.9.0.3 --route 192.168.7.0/24
  tunnel cert issue gw --address 10.9.0.1 --transit 10.9.0.0/24 --server --dns gw.example.com
  tunnel cert issue phone --address 10.9.0.4 --public-key phone.pub
"""
)
@click.argument("name", callback=parsed(parse_name))
@several("--address", parse_own_address, "Its own address inside; repeatable.", "ADDRESS")
@several("--route", parse_route, "A network behind it; repeatable.", "NETWORK")
@several("--transit", parse_route, "A network reached through it, but not its own: others may have parts.", "NETWORK")
@several("--dns", parse_outside, "Name or address that it is dialled by, outside; repeatable.", "NAME")
@days_option(pki.CERTIFICATE_DAYS)
@click.option("--server", is_flag=True, help="Others may dial it: as NAME, unless --dns says how.")
@click.option(
    "--public-key",
    metavar="KEY|FILE",
    callback=parsed(parse_key_or_file, quoted=False),
    help="Certify this key.",
)
@click.option("--allow-default-route", is_flag=True, help="Let it route 0.0.0.0/0 or ::/0.")
@file_option("-o", "--output", help_text="Where the identity goes.  [default: NAME.pem]")
@force_option
@passphrase_option
@ask_passphrase_option
@ca_dir_option
@ca_passphrase_option
def issue(
    name: str,
    address: tuple[IPv4Address | IPv6Address, ...],
    route: tuple[IPNetwork, ...],
    transit: tuple[IPNetwork, ...],
    dns: tuple[Outside, ...],
    days: int,
    server: bool,
    public_key: PublicKey | None,
    allow_default_route: bool,
    output: Path | None,
    force: bool,
    passphrase_file: Path | None,
    ask_passphrase: bool,
    ca_dir: Path,
    ca_passphrase_file: Path | None,
) -> None:
    """Issue an identity: key, certificate and CA in one file.

    With --public-key the file has no private key; its owner puts it behind their own.
    """
    if public_key and (passphrase_file or ask_passphrase):
        raise ConfigError("there is no private key to protect with a passphrase", key="--public-key")
    if not allow_default_route and not all(one.prefixlen for one in (*route, *transit)):
        raise ConfigError("a default route needs --allow-default-route", source=name)
    path = output or Path(f"{name}.pem")
    check_free(path, overwrite=force)
    private_key = None
    if public_key is None:
        private_key = PrivateKey.generate(os.urandom)
        public_key = private_key.public_key
    grant = _new_grant(name, public_key, address, route, transit, dns, server)
    with CaFolder.open(ca_dir, ca_passphrase_file) as folder:
        now = time.time()
        _refuse_second(folder.ledger, name, now)
        certificate = _sign(folder, grant, days, now, allow_default_route=allow_default_route)
        passphrase = new_passphrase(passphrase_file, ask=ask_passphrase)
        authorities = [folder.authority.certificate]
        remark = summary(read_claims(certificate))
        data = format_identity(private_key, [certificate], authorities, passphrase, remark=remark)
        _hand_out(folder, grant, certificate, path, data, overwrite=force)
    click.echo(f"{path}: {remark}")


@click.command(
    epilog="""\b
Examples:
  tunnel cert renew laptop.pem
  tunnel cert renew laptop.pem --days 30 -o laptop-new.pem
"""
)
@click.argument("file", type=click.Path(path_type=Path))
@days_option(pki.CERTIFICATE_DAYS)
@file_option("-o", "--output", help_text="Where it goes.  [default: FILE itself]")
@force_option
@ca_dir_option
@ca_passphrase_option
def renew(
    file: Path, days: int, output: Path | None, force: bool, ca_dir: Path, ca_passphrase_file: Path | None
) -> None:
    """Give an identity a new certificate.

    It is for the same key, name, addresses and routes. FILE is replaced; its private key stays as it is, and needs no
    passphrase. A FILE without private key will do.
    """
    raw = read_identity(file)
    certificates = parse_certificates(raw, str(file))
    leaf = _leaf(certificates, file)
    path = output or file
    check_free(path, overwrite=force or output is None)
    with CaFolder.open(ca_dir, ca_passphrase_file) as folder:
        entry = _issued_entry(folder, leaf, file)
        grant = _Grant(_same_request(leaf, file), entry.own, entry.transit)
        certificate = _sign(folder, grant, days, time.time(), allow_default_route=True)  # if it has one, it may
        ours = folder.authority.certificate
        authorities = [ours, *(one for one in certificates.authorities if one != ours)]
        remark = summary(read_claims(certificate))
        data = renewed_identity(raw, [certificate], authorities, remark=remark)
        _hand_out(folder, grant, certificate, path, data, overwrite=True)
    click.echo(f"{path}: {remark}")


@dataclass(frozen=True, slots=True)
class _Grant:
    """What is to be certified; `own` and `transit` are the request's networks as the ledger divides them."""

    request: pki.Request
    own: tuple[IPNetwork, ...]
    transit: tuple[IPNetwork, ...]


def _sign(folder: CaFolder, grant: _Grant, days: int, now: float, *, allow_default_route: bool) -> x509.Certificate:
    """Raise `ConfigError` if somebody else has what is wanted, or the CA may not grant it."""
    conflict = find_conflict(folder.ledger, grant.request.name, grant.own, now)
    if conflict:
        raise ConfigError(str(conflict))
    with blaming(grant.request.name):
        return pki.issue(
            folder.authority, grant.request, os.urandom, now, days=days, allow_default_route=allow_default_route
        )


def _hand_out(
    folder: CaFolder, grant: _Grant, certificate: x509.Certificate, path: Path, data: bytes, *, overwrite: bool
) -> None:
    """Write the ledger and the file, both or neither."""
    not_after = certificate.not_valid_after_utc.timestamp()
    entry = Entry(certificate.serial_number, grant.request.name, grant.own, not_after, grant.transit)
    mode = PRIVATE if has_private_key(data) else PUBLIC
    with prepared_file(path, data, mode, overwrite=overwrite) as publish:
        folder.save(folder.ledger.with_entry(entry))
        publish()


# ---- issue ------------------------------------------------------------------------------------------------------


def _new_grant(
    name: str,
    public_key: PublicKey,
    addresses: tuple[IPv4Address | IPv6Address, ...],
    routes: tuple[IPNetwork, ...],
    transit: tuple[IPNetwork, ...],
    outside: tuple[Outside, ...],
    is_server: bool,
) -> _Grant:
    """Routes are the host's own, but for a default route: everybody may have a way out."""
    if not addresses:
        raise ConfigError("needs an address, such as --address 10.9.0.2", source=name)
    request = pki.Request(
        name=name,
        public_key=public_key,
        addresses=addresses,
        routes=(*routes, *transit),
        dns_names=_dns_names(name, outside, is_server),
        ip_names=tuple(one for one in outside if not isinstance(one, str)),
        is_server=is_server,
    )
    own = (*map(ip_network, addresses), *(one for one in routes if one.prefixlen))
    return _Grant(request, own, (*transit, *(one for one in routes if not one.prefixlen)))


def _dns_names(name: str, outside: Sequence[Outside], is_server: bool) -> tuple[str, ...]:
    if is_server and not outside:
        if not is_dns_name(name):
            raise ConfigError(f"'{name}' is no DNS name: say with --dns what the others dial", key="--server")
        return (name.lower(),)
    return tuple(one for one in outside if isinstance(one, str))


def _refuse_second(ledger: Ledger, name: str, now: float) -> None:
    for entry in ledger.valid_of(name, now):
        why = f"has a certificate until {format_time(entry.not_after)}: renew it, or revoke it first"
        raise ConfigError(why, source=name)


# ---- renew ------------------------------------------------------------------------------------------------------


def read_leaf(path: Path) -> x509.Certificate:
    """The certificate of the host that a file is about; raise `ConfigError`."""
    return _leaf(parse_certificates(read_file(path), str(path)), path)


def _leaf(certificates: Certificates, path: Path) -> x509.Certificate:
    if not certificates.chain:
        raise ConfigError("no certificate of a host in it", source=str(path))
    return certificates.chain[0]


def _issued_entry(folder: CaFolder, certificate: x509.Certificate, path: Path) -> Entry:
    """The ledger's entry of a certificate that this CA issued and has not revoked."""
    entry = folder.ledger.find(certificate.serial_number)
    if entry is None or not read_issuer(folder.authority.certificate).has_signed(certificate):
        raise ConfigError(f"not issued by the CA in {folder.path}", source=str(path))
    if entry.revoked is not None:
        raise ConfigError(f"revoked at {format_time(entry.revoked)}; issue a new one", source=str(path))
    return entry


def _same_request(certificate: x509.Certificate, path: Path) -> pki.Request:
    with blaming(str(path)):
        claims = read_claims(certificate)
    return pki.Request(
        name=claims.name,
        public_key=claims.public_key,
        addresses=claims.addresses,
        routes=claims.routes,
        dns_names=claims.dns_names,
        ip_names=claims.ip_names,
        is_server=claims.is_server,
    )

"""``tunnel cert show`` and ``verify``: what a certificate says, and whether it would be believed."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tunnel.cli.ca_folder import read_ledger
from tunnel.cli.cert_options import ca_dir_option, file_option
from tunnel.cli.secret_files import known_passphrase
from tunnel.cli.show import Section, plain_text
from tunnel.daemon.identity import read_file, read_identity
from tunnel.errors import ConfigError
from tunnel.pki.ledger import Entry, bare, format_serial
from tunnel.pki.profile import Claims, read_claims
from tunnel.pki.store import (
    Certificates,
    blaming,
    has_private_key,
    is_encrypted,
    parse_certificates,
    parse_crl_file,
    parse_identity_file,
)
from tunnel.pki.validity import format_time
from tunnel.pki.verify import Trust
from tunnel.pki.verify import verify as verify_chain

_DAY = 86400


def summary(claims: Claims) -> str:
    """``gw 10.9.0.1 routes 10.9.0.0/24, until 2027-02-20T12:00:00Z``."""
    inside = [claims.name, *map(str, claims.addresses)]
    inside += ["routes", *map(str, claims.routes)] if claims.routes else []
    return f"{' '.join(inside)}, until {format_time(claims.not_after)}"


@click.command(
    epilog="""\b
Examples:
  tunnel cert show laptop.pem
  tunnel cert show                      what the CA in ./ca has issued
"""
)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@ca_dir_option
def show(file: Path | None, ca_dir: Path) -> None:
    """Show what a certificate says, or what was issued.

    With FILE the certificates in there, without it the ledger of the CA. Nothing is verified.
    """
    now = time.time()
    if file is None:
        click.echo("\n".join(_ledger_lines(read_ledger(ca_dir).entries, now)) or f"{ca_dir}: nothing issued yet")
        return
    raw = read_file(file)
    certificates = parse_certificates(raw, str(file))
    with blaming(str(file)):
        click.echo(plain_text(list(_sections(certificates, _describe_key(raw), now))))


@click.command(
    epilog="""\b
Examples:
  tunnel cert verify laptop.pem
  tunnel cert verify gw.pem --crl ca/crl.pem --server gw.example.com
"""
)
@click.argument("file", type=click.Path(path_type=Path))
@file_option("--ca", help_text="Trust the CAs in this file instead of those in FILE.")
@file_option("--crl", help_text="A revocation list to look into.")
@click.option("--server", metavar="NAME", help="May it be dialled by this name or address?")
@click.option("--allow-default-route", is_flag=True, help="It may route 0.0.0.0/0 or ::/0.")
@file_option("--passphrase-file", help_text="Its first line unlocks the private key, to compare that too.")
def verify(
    file: Path,
    ca: Path | None,
    crl: Path | None,
    server: str | None,
    allow_default_route: bool,
    passphrase_file: Path | None,
) -> None:
    """Check an identity as its peers would.

    Signatures, times, addresses, revocation, what it was issued for, and that its private key belongs to it.
    """
    raw = read_identity(file)
    certificates = parse_certificates(raw, str(file))
    if not certificates.chain:
        raise ConfigError("no certificate of a host in it", source=str(file))
    _check_private_key(raw, file, passphrase_file)
    authorities = parse_certificates(read_file(ca), str(ca)).authorities if ca else certificates.authorities
    crls = (parse_crl_file(read_file(crl), str(crl)),) if crl else ()
    chain = [certificate.public_bytes(Encoding.DER) for certificate in certificates.chain]
    with blaming(str(file)):
        verified = verify_chain(
            chain,
            Trust(authorities, crls),
            time.time(),
            name=server,
            as_server=server is not None,
            allow_default_route=allow_default_route,
        )
    click.echo(f"{file}: good: {summary(verified.claims)}")


def _check_private_key(raw: bytes, file: Path, passphrase_file: Path | None) -> None:
    """An encrypted key that nobody offers to unlock is left alone."""
    if not has_private_key(raw) or (is_encrypted(raw) and passphrase_file is None):
        return
    passphrase = known_passphrase(passphrase_file, str(file), "--passphrase-file") if is_encrypted(raw) else None
    parse_identity_file(raw, passphrase, str(file))


# ---- in words ---------------------------------------------------------------------------------------------------


def _describe_key(raw: bytes) -> str:
    if not has_private_key(raw):
        return "not in this file"
    return "in this file, encrypted" if is_encrypted(raw) else "in this file, not encrypted"


def _sections(certificates: Certificates, private_key: str, now: float) -> Iterator[Section]:
    for number, certificate in enumerate(certificates.chain):
        if number:
            yield Section("intermediate", _name(certificate.subject), list(_validity_rows(certificate, now)))
        else:
            claims = read_claims(certificate)
            yield Section("identity", claims.name, list(_identity_rows(claims, certificate, private_key, now)))
    for certificate in certificates.authorities:
        yield Section("authority", _name(certificate.subject), list(_validity_rows(certificate, now)))


def _identity_rows(
    claims: Claims, certificate: x509.Certificate, private_key: str, now: float
) -> Iterator[tuple[str, str]]:
    yield "public key", str(claims.public_key)
    yield "private key", private_key
    yield "addresses", ", ".join(map(str, claims.addresses)) or "(none)"
    if claims.routes:
        yield "routes", ", ".join(map(str, claims.routes))
    if claims.is_server:
        yield "dialled as", ", ".join(map(str, (*claims.dns_names, *claims.ip_names))) or "(no name)"
    yield "issuer", _name(certificate.issuer)
    yield from _validity_rows(certificate, now)


def _validity_rows(certificate: x509.Certificate, now: float) -> Iterator[tuple[str, str]]:
    not_before, not_after = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    yield "serial", format_serial(certificate.serial_number)
    yield "valid from", format_time(not_before)
    yield "valid until", f"{format_time(not_after)} ({_days_left(not_after, now)})"


def _days_left(not_after: float, now: float) -> str:
    if now > not_after:
        return "expired"
    days = round((not_after - now) / _DAY)
    return f"{days} day{'' if days == 1 else 's'} left" if days else "expires today"


def _name(name: x509.Name) -> str:
    return ", ".join(str(part.value) for part in name)


def _ledger_lines(entries: Sequence[Entry], now: float) -> Iterator[str]:
    width = max((len(entry.name) for entry in entries), default=0)
    for entry in entries:
        networks = ", ".join(map(bare, (*entry.own, *entry.transit)))
        yield f"{entry.name:<{width}}  {networks}  {_standing(entry, now)}  serial {format_serial(entry.serial)}"


def _standing(entry: Entry, now: float) -> str:
    if entry.revoked is not None:
        return f"revoked at {format_time(entry.revoked)}"
    return f"{'expired at' if now > entry.not_after else 'until'} {format_time(entry.not_after)}"

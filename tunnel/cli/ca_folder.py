"""The folder that a CA lives in, under a lock while a command works with it.

ca.pem        its certificate                                    public
ca.key        its private key, perhaps under a passphrase        whoever has it can be anybody
ledger.json   what was issued, and what of that was revoked
crl.pem       the last revocation list                           public, and to be spread
"""

import fcntl
import os
import shlex
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tunnel.cli.secret_files import PRIVATE, PUBLIC, known_passphrase, prepared_file, write_file
from tunnel.daemon.identity import read_file, read_secret
from tunnel.errors import ConfigError
from tunnel.pki.authority import Authority, build_crl
from tunnel.pki.ledger import Ledger, format_ledger, parse_ledger
from tunnel.pki.store import format_certificates, format_private_key, is_encrypted, parse_authority

CERTIFICATE = "ca.pem"
KEY = "ca.key"
LEDGER = "ledger.json"
CRL = "crl.pem"


def create_folder(path: Path, authority: Authority, passphrase: bytes | None) -> None:
    """Raise `ConfigError` if there is a CA in it already, or it cannot be written."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(error.strerror or str(error), source=str(path)) from None
    files = (
        (KEY, format_private_key(authority.key, passphrase), PRIVATE),
        (LEDGER, format_ledger(Ledger()), PRIVATE),
        (CERTIFICATE, format_certificates([authority.certificate]), PUBLIC),
    )
    with _locked(path), ExitStack() as prepared:
        check_vacant(path)
        publishers = [
            prepared.enter_context(prepared_file(path / name, data, mode, overwrite=False))
            for name, data, mode in files
        ]
        for publish in publishers:  # all are written: half a CA would be in the way of the next attempt
            publish()


def check_vacant(path: Path) -> None:
    """Raise `ConfigError` if there is a CA in the folder, or a part of one."""
    if any(os.path.lexists(path / name) for name in (CERTIFICATE, KEY, LEDGER)):
        raise ConfigError("there is a CA already; a new one needs a folder of its own", source=str(path))


def read_ledger(path: Path) -> Ledger:
    """Raise `ConfigError`."""
    _check_is_ca(path)
    return parse_ledger(read_file(path / LEDGER), str(path / LEDGER))


@dataclass(slots=True)
class CaFolder:
    """A CA that is ours for the length of a command."""

    path: Path
    authority: Authority
    ledger: Ledger

    @classmethod
    @contextmanager
    def open(cls, path: Path, passphrase_file: Path | None) -> Iterator["CaFolder"]:
        """Raise `ConfigError`, also if others could read the key or put another in its place."""
        _check_is_ca(path)
        with _locked(path):
            certificate, key = path / CERTIFICATE, path / KEY
            raw_key = read_secret(key)
            passphrase = None
            if is_encrypted(raw_key):
                passphrase = known_passphrase(passphrase_file, str(key), "--ca-passphrase-file")
            sources = str(certificate), str(key)
            authority = parse_authority(read_file(certificate), raw_key, passphrase, sources)
            yield cls(path, authority, read_ledger(path))

    def save(self, ledger: Ledger) -> None:
        write_file(self.path / LEDGER, format_ledger(ledger), PRIVATE, overwrite=True)
        self.ledger = ledger

    def renew_crl(self, now: float, days: int) -> x509.CertificateRevocationList:
        """A list with the next number, which replaces `crl.pem`."""
        self.save(self.ledger.with_next_crl())
        crl = build_crl(self.authority, self.ledger.revoked, self.ledger.crl_number, now, days=days)
        write_file(self.path / CRL, crl.public_bytes(Encoding.PEM), PUBLIC, overwrite=True)
        return crl


def _check_is_ca(path: Path) -> None:
    try:
        is_there = (path / KEY).exists()
        is_writable_by_all = is_there and path.stat().st_mode & 0o002
    except OSError as error:
        raise ConfigError(error.strerror or str(error), source=str(path)) from None
    if not is_there:
        raise ConfigError("there is no CA here; tunnel cert ca makes one, --ca-dir names its folder", source=str(path))
    if is_writable_by_all:
        remedy = f"chmod 700 {shlex.quote(str(path))}"
        raise ConfigError(f"everybody may put another CA in its place: {remedy}", source=str(path))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Commands on one folder run one after the other: else two could give away the same address."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(error.strerror or str(error), source=str(path)) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)

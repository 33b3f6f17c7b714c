"""`tunnel cert` in the current folder, as a shell would call it, and what is there afterwards."""

import stat
from pathlib import Path

from tests.unit.cli.invoking import error_of, invoke
from tunnel.keys import PrivateKey
from tunnel.pki.ledger import Entry, parse_ledger
from tunnel.pki.profile import Claims, read_claims
from tunnel.pki.store import parse_certificates

KEY = PrivateKey(bytes(range(32)))


def run(*arguments: str) -> str:
    """The output of a command that must succeed."""
    result = invoke("cert", *arguments)
    assert result.exit_code == 0, result.exception
    return result.output


def refusal(*arguments: str) -> str:
    """The one line of a command that must fail."""
    text = error_of(invoke("cert", *arguments))
    assert "\n" not in text
    return text


def issue(name: str, *arguments: str, address: str = "10.9.0.2") -> str:
    return run("issue", name, "--address", address, *arguments)


def claims(path: str) -> Claims:
    return read_claims(parse_certificates(Path(path).read_bytes(), path).chain[0])


def entries() -> tuple[Entry, ...]:
    return parse_ledger(Path("ca/ledger.json").read_bytes(), "ledger.json").entries


def mode(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def passphrase_file(name: str, text: str) -> str:
    Path(name).write_text(text)
    Path(name).chmod(0o600)
    return name

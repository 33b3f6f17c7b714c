from pathlib import Path

import pytest
from cryptography.x509 import CRLNumber, load_pem_x509_crl

from tests.unit.cli.certifying import claims, entries, issue, mode, refusal, run


@pytest.mark.parametrize("who", ["laptop", "laptop.pem"])
def test_revoking_a_host_takes_back_all_that_it_has(ca: Path, who: str) -> None:
    issue("laptop")
    Path("old.pem").write_bytes(Path("laptop.pem").read_bytes())
    run("renew", "laptop.pem")
    assert run("revoke", who).count("revoked laptop, serial ") == 2
    for path in ("old.pem", "laptop.pem"):
        assert "revoked" in refusal("verify", path, "--crl", "ca/crl.pem")
        assert "issue a new one" in refusal("renew", path)
    assert refusal("revoke", who) == f"{who}: nothing to revoke: expired, or revoked already"
    issue("successor")


def test_one_certificate_can_be_revoked_by_its_serial_number(ca: Path) -> None:
    issue("laptop")
    run("renew", "laptop.pem", "-o", "new.pem")
    run("revoke", f"{claims('laptop.pem').serial:x}")
    assert [entry.revoked is None for entry in entries()] == [False, True]
    assert "good" in run("verify", "new.pem", "--crl", "ca/crl.pem")


@pytest.mark.parametrize("who", ["nobody", "", "ABCDEF", ":", "x" * 300])
def test_what_was_never_issued_cannot_be_revoked(ca: Path, who: str) -> None:
    assert refusal("revoke", "--", who).endswith("neither a name, nor a file, nor a serial number that was issued here")
    assert not (ca / "crl.pem").exists()


def test_a_revocation_list_is_made_anew_with_the_next_number(ca: Path) -> None:
    issue("laptop")
    run("revoke", "laptop")
    first = load_pem_x509_crl((ca / "crl.pem").read_bytes())
    assert run("crl", "--days", "60").startswith("ca/crl.pem: 1 revoked, until ")
    second = load_pem_x509_crl((ca / "crl.pem").read_bytes())
    assert [one.serial_number for one in second] == [claims("laptop.pem").serial]
    assert second.next_update_utc is not None
    assert first.next_update_utc is not None
    assert second.next_update_utc > first.next_update_utc
    assert [one.extensions.get_extension_for_class(CRLNumber).value.crl_number for one in (first, second)] == [1, 2]
    assert mode(ca / "crl.pem") == 0o644


@pytest.mark.parametrize("name", ["ca", "issue", "show", "verify", "renew", "revoke", "crl"])
def test_every_command_has_help_with_an_example(name: str) -> None:
    assert f"tunnel cert {name}" in run(name, "--help").partition("Example")[2]

from pathlib import Path

import pytest

from tests.unit.cli.certifying import KEY, issue, refusal, run
from tunnel.pki.store import parse_identity_file


def test_show_says_what_a_certificate_says_and_no_secret(ca: Path) -> None:
    issue("gw", "--server", "--route", "192.168.7.0/24")
    output = run("show", "gw.pem")
    for line in (
        "identity: gw",
        "  private key:     in this file, not encrypted",
        "  addresses:       10.9.0.2",
        "  routes:          192.168.7.0/24",
        "  dialled as:      gw",
        "(90 days left)",
        "authority: tunnel CA",
    ):
        assert line in output
    identity = parse_identity_file(Path("gw.pem").read_bytes(), None, "gw.pem")
    assert identity.private_key.to_base64() not in output


def test_show_without_a_file_lists_what_was_issued(ca: Path) -> None:
    assert run("show") == "ca: nothing issued yet\n"
    issue("laptop")
    issue("gw", "--transit", "10.9.0.0/24", address="10.9.0.1")
    run("revoke", "laptop")
    first, second = run("show").splitlines()
    assert first.startswith("laptop  10.9.0.2  revoked at ")
    assert second.startswith("gw      10.9.0.1, 10.9.0.0/24  until ")


def test_verify_looks_at_the_name_that_is_dialled(ca: Path) -> None:
    issue("gw", "--server", "--dns", "gw.example.com")
    assert "good" in run("verify", "gw.pem", "--server", "gw.example.com")
    assert "other.example.com" in refusal("verify", "gw.pem", "--server", "other.example.com")


def test_verify_believes_only_the_authorities_it_is_given(ca: Path) -> None:
    run("ca", "--ca-dir", "other", "--name", "Other CA")
    issue("laptop")
    assert refusal("verify", "laptop.pem", "--ca", "other/ca.pem").startswith("laptop.pem: authority that we do not")
    assert refusal("verify", "ca/ca.pem") == "ca/ca.pem: no certificate of a host in it"


@pytest.mark.parametrize("command", ["verify", "renew"])
def test_an_identity_that_everybody_may_read_is_refused_if_it_has_a_private_key(
    ca: Path, folder: Path, command: str
) -> None:
    issue("laptop")
    issue("phone", "--public-key", str(KEY.public_key), address="10.9.0.3")
    folder.chmod(0o755)
    Path("laptop.pem").chmod(0o644)
    assert refusal(command, "laptop.pem") == (
        "laptop.pem: holds a secret, and everybody may read or change it: chmod 600 laptop.pem"
    )
    run(command, "phone.pem")


@pytest.mark.parametrize("command", ["show", "verify", "renew"])
def test_what_is_no_certificate_is_refused_with_its_name(ca: Path, command: str) -> None:
    assert refusal(command, "missing.pem") == "missing.pem: No such file or directory"
    assert refusal(command, "ca/ledger.json") == "ca/ledger.json: no certificate in it"
    assert refusal(command, "ca") == "ca: Is a directory"

"""Debian's openssl and our certificates: each reads, verifies and believes what the other has issued."""

import os
import re
import subprocess
import time
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.unit.cli.invoking import REPOSITORY, error_of, invoke
from tunnel.pki.profile import Claims
from tunnel.pki.store import parse_identity_file
from tunnel.pki.verify import Trust, verify

SCRIPT = REPOSITORY / "certs" / "openssl.sh"
P256 = "EC -pkeyopt ec_paramgen_curve:P-256"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run in a folder of their own."""
    monkeypatch.chdir(tmp_path)


def shell(*command: str | Path, fails: bool = False, **environment: str) -> str:
    """What a command prints, on either output."""
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
        env=os.environ | environment,
    )
    assert (done.returncode != 0) is fails, done.stdout
    return done.stdout


def cert(*arguments: str) -> str:
    result = invoke("cert", *arguments)
    assert result.exit_code == 0, result.exception
    return result.output


def believed(path: str, *, name: str | None = None) -> Claims:
    """What we take from an identity file after every check."""
    identity = parse_identity_file(Path(path).read_bytes(), None, path)
    key = identity.private_key.public_key
    return verify(
        identity.chain, Trust(identity.authorities), time.time(), name=name, key=key, as_server=name is not None
    ).claims


# ---- issued by openssl ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ed25519", P256])
def test_we_believe_a_client_that_openssl_has_issued(algorithm: str) -> None:
    shell(SCRIPT, "ca", "ca", "Example VPN", ALGORITHM=algorithm)
    shell(SCRIPT, "peer", "ca", "laptop", "IPv4:10.9.0.2,IPv6:fd09::2")
    claims = believed("laptop.pem")
    assert claims.name == "laptop"
    assert claims.addresses == (ip_address("10.9.0.2"), ip_address("fd09::2"))
    assert not claims.is_server
    assert "good: laptop 10.9.0.2 fd09::2, " in cert("verify", "laptop.pem")


def test_we_believe_a_gateway_that_openssl_has_issued_by_its_names_only() -> None:
    shell(SCRIPT, "ca", "ca")
    outside = "DNS:gw.example.com,IP:192.0.2.1"
    shell(SCRIPT, "peer", "ca", "gw", "IPv4:10.9.0.1,IPv4-SAFI:1:10.9.0.0/24,IPv6-SAFI:1:fd07::/64", outside)
    assert shell("openssl", "verify", "-CAfile", "ca/ca.pem", "gw.pem") == "gw.pem: OK\n"
    claims = believed("gw.pem", name="gw.example.com")
    assert claims.addresses == (ip_address("10.9.0.1"),)
    assert set(claims.routes) == {ip_network("10.9.0.0/24"), ip_network("fd07::/64")}
    assert believed("gw.pem", name="192.0.2.1") == claims
    assert "other.example.com" in error_of(invoke("cert", "verify", "gw.pem", "--server", "other.example.com"))


def test_a_client_that_openssl_has_issued_cannot_pose_as_a_gateway() -> None:
    shell(SCRIPT, "ca", "ca")
    shell(SCRIPT, "peer", "ca", "laptop", "IPv4:10.9.0.2")
    assert "not issued for this use" in error_of(invoke("cert", "verify", "laptop.pem", "--server", "laptop"))


def test_the_script_writes_private_files_and_overwrites_none() -> None:
    shell(SCRIPT, "ca", "ca")
    shell(SCRIPT, "peer", "ca", "laptop", "IPv4:10.9.0.2")
    for path in ("ca/ca.key", "laptop.pem"):
        assert Path(path).stat().st_mode & 0o077 == 0
    assert shell(SCRIPT, "ca", "ca", fails=True) == "openssl.sh: ca: there is a CA already\n"
    again = shell(SCRIPT, "peer", "ca", "laptop", "IPv4:10.9.0.3", fails=True)
    assert again == "openssl.sh: laptop.pem: exists already\n"


# ---- issued by us -----------------------------------------------------------------------------------------------


@pytest.fixture
def gateway() -> str:
    cert("ca", "--name", "Example VPN")
    arguments = "--address 10.9.0.1 --address fd09::1 --transit 10.9.0.0/24 --server --dns gw.example.com"
    cert("issue", "gw", *arguments.split(), "--dns", "192.0.2.1")
    return "gw.pem"


def test_openssl_prints_all_that_our_certificate_says(gateway: str) -> None:
    text = shell("openssl", "x509", "-noout", "-text", "-in", gateway)
    for pattern in (
        r"Issuer: CN = Example VPN",
        r"Subject: CN = gw",
        r"Public Key Algorithm: X25519",
        r"Signature Algorithm: ED25519",
        r"Basic Constraints: critical\s+CA:FALSE",
        r"Key Usage: critical\s+Key Agreement",
        r"TLS Web Server Authentication, TLS Web Client Authentication",
        r"DNS:gw.example.com, IP Address:192.0.2.1",
        r"sbgp-ipAddrBlock: critical",
        r"10\.9\.0\.1/32",
        r"fd09:0:0:0:0:0:0:1/128",
        r"10\.9\.0\.0/24",
    ):
        assert re.search(pattern, text), pattern


def test_openssl_verifies_what_we_issue_with_its_addresses(gateway: str) -> None:
    strict = ("openssl", "verify", "-x509_strict", "-CAfile", "ca/ca.pem")
    assert shell(*strict, "-purpose", "sslserver", "-verify_hostname", "gw.example.com", gateway) == "gw.pem: OK\n"


def test_both_refuse_addresses_that_the_authority_does_not_have() -> None:
    cert("ca", "--network", "192.0.2.0/24")
    shell(SCRIPT, "peer", "ca", "thief", "IPv4:10.9.0.2")
    verdict = shell("openssl", "verify", "-CAfile", "ca/ca.pem", "thief.pem", fails=True)
    assert "RFC 3779 resource not subset of parent's resources" in verdict
    assert "addresses that its issuer does not have" in error_of(invoke("cert", "verify", "thief.pem"))


def test_openssl_finds_what_we_have_revoked(gateway: str) -> None:
    check = ("openssl", "verify", "-crl_check", "-CAfile", "ca/ca.pem", "-CRLfile", "ca/crl.pem", gateway)
    cert("crl")
    assert shell(*check) == "gw.pem: OK\n"
    cert("revoke", "gw")
    assert "certificate revoked" in shell(*check, fails=True)


def test_openssl_opens_a_private_key_with_our_passphrase(gateway: str) -> None:
    Path("secret").write_text("correct horse\n")
    Path("secret").chmod(0o600)
    cert("issue", "laptop", "--address", "10.9.0.2", "--passphrase-file", "secret")
    assert "X25519" in shell("openssl", "pkey", "-in", "laptop.pem", "-passin", "file:secret", "-noout", "-text")
    assert "BEGIN" not in shell("openssl", "pkey", "-in", "laptop.pem", "-passin", "pass:wrong", fails=True)


def test_a_key_that_openssl_made_is_certified_without_travelling(gateway: str) -> None:
    shell("openssl", "genpkey", "-algorithm", "X25519", "-out", "phone.key")
    shell("openssl", "pkey", "-in", "phone.key", "-pubout", "-out", "phone.pub")
    cert("issue", "phone", "--address", "10.9.0.4", "--public-key", "phone.pub", "-o", "phone.crt")
    Path("phone.pem").write_bytes(Path("phone.key").read_bytes() + Path("phone.crt").read_bytes())
    assert believed("phone.pem").name == "phone"

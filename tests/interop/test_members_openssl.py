"""Identities that stock openssl has made, at both ends of a tunnel: P-256, and an intermediate."""

from pathlib import Path

import pytest

from tests.netns.flows import ping
from tests.netns.members import Member, Site, open_site
from tests.unit.cli.invoking import REPOSITORY
from tunnel.testing.namespaces import run_command

pytestmark = pytest.mark.root

SCRIPT = REPOSITORY / "certs" / "openssl.sh"
P256 = "EC -pkeyopt ec_paramgen_curve:P-256"

INTERMEDIATE = """
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
sbgp-ipAddrBlock = critical, @networks
[networks]
IPv4.0 = 10.9.0.0/16
IPv6.0 = fd09::/16
IPv4-SAFI.0 = 1:10.9.0.0/16
IPv6-SAFI.0 = 1:fd09::/16
"""


def shell(directory: Path, script: str) -> None:
    run_command("sh", "-ec", f"cd {directory}; umask 077; {script}")


def identity(directory: Path, folder: str, name: str, number: int, *, outside: str = "") -> Path:
    """``NAME.pem`` by the CA in `folder`; with `outside` others may dial it, and it is the way to everybody."""
    inside = f"IPv4:10.9.0.{number},IPv6:fd09::{number}"
    transit = ",IPv4-SAFI:1:10.9.0.0/24,IPv6-SAFI:1:fd09::/64" if outside else ""
    shell(directory, f"{SCRIPT} peer {folder} {name} {inside}{transit} {outside}")
    return directory / f"{name}.pem"


def bring_up(site: Site, gateway: Path, laptop: Path) -> tuple[Member, Member]:
    first = site.put("gw", 1, gateway)
    second = site.put("laptop", 2, laptop, "--peer=gw.example.com")
    first.up()
    second.up()
    return first, second


@pytest.mark.parametrize(
    "algorithm", [pytest.param("ed25519", id="ed25519", marks=pytest.mark.slow), pytest.param(P256, id="p256")]
)
def test_hosts_with_identities_of_openssl_come_together(tmp_path: Path, algorithm: str) -> None:
    shell(tmp_path, f"ALGORITHM={algorithm!r} {SCRIPT} ca openssl-ca 'Example VPN'")
    with open_site(tmp_path / "site", f"ssl{algorithm[0]}".lower()) as site:
        gateway, laptop = bring_up(
            site,
            identity(tmp_path, "openssl-ca", "gw", 1, outside="DNS:gw.example.com"),
            identity(tmp_path, "openssl-ca", "laptop", 2),
        )
        for address in gateway.inner:
            ping(laptop.namespace, address, count=1)
        (peer,) = gateway.status()["peers"]
        assert (peer["name"], peer["admitted"]) == ("laptop", "vouched for by 'Example VPN'")


@pytest.mark.slow
def test_hosts_below_an_intermediate_come_together(tmp_path: Path) -> None:
    (tmp_path / "extensions").write_text(INTERMEDIATE)
    key = f"openssl genpkey -algorithm {P256}"
    shell(
        tmp_path,
        f"""
        ALGORITHM={P256!r} {SCRIPT} ca root 'Root'
        mkdir middle
        {key} -out middle/ca.key
        openssl req -new -key middle/ca.key -subj /CN=Branch -out request
        openssl x509 -req -in request -CA root/ca.pem -CAkey root/ca.key -sha256 -days 900 \
            -extfile extensions -out middle/ca.pem
        """,
    )
    files = {"gw": identity(tmp_path, "middle", "gw", 1, outside="DNS:gw.example.com")}
    files["laptop"] = identity(tmp_path, "middle", "laptop", 2)
    for file in files.values():
        shell(tmp_path, f"cat root/ca.pem >> {file}")
    with open_site(tmp_path / "site", "sslm") as site:
        gateway, laptop = bring_up(site, files["gw"], files["laptop"])
        ping(laptop.namespace, gateway.inner_ipv4, count=1)
        ping(gateway.namespace, laptop.inner_ipv6, count=1)
        (peer,) = gateway.status()["peers"]
        assert (peer["name"], peer["admitted"]) == ("laptop", "vouched for by 'Root'")


@pytest.mark.slow
def test_one_end_by_openssl_and_the_other_by_us_come_together(tmp_path: Path) -> None:
    with open_site(tmp_path / "site", "sslx", "--name=Both") as site:
        made = identity(site.office.directory, "ca", "laptop", 2)
        gateway, laptop = bring_up(site, site.office.issue_gateway("gw", 1), made)
        ping(laptop.namespace, gateway.inner_ipv4, count=1)

"""Certified and hand-configured peers on one port: a laptop with a certificate, Debian's wireguard-go, and wg(8).

laptop ── certificate ─┐
                       ├── gateway, one interface, configured by a file
wireguard-go ── key ───┘
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import is_reachable, ping, send_tcp
from tests.netns.hosts import BIN, Host, PeerSection, Program
from tests.netns.members import Member, Site, open_site
from tunnel.keys import PrivateKey, PublicKey
from tunnel.pki.store import parse_identity_file
from tunnel.testing.namespaces import Namespace

pytestmark = [pytest.mark.root, pytest.mark.slow]


@dataclass(frozen=True, slots=True)
class Mixture:
    site: Site
    gateway: Member
    laptop: Member
    plain: Host

    def wg(self, *arguments: str, check: bool = True) -> str:
        """What ``wg … NAME`` prints on either output."""
        command, *rest = arguments
        done = self.gateway.wg(command, self.gateway.interface, *rest, check=check)
        return done.stdout + done.stderr

    def key_of(self, member: Member) -> PublicKey:
        return key_in(member.identity)


def key_in(identity: Path) -> PublicKey:
    return parse_identity_file(identity.read_bytes(), None, str(identity)).private_key.public_key


def configure(gateway: Member, plain: Host, directory: Path) -> Path:
    """Every setting that a file can have about certificates, and a hand-configured peer."""
    file = directory / f"{gateway.interface}.conf"
    file.touch(mode=0o600)
    file.write_text(
        f"""
        [Interface]
        Identity = {gateway.identity.name}
        CA = ca/ca.pem
        CRL = ca/crl.pem
        Peer = elsewhere.example.com:4711
        Allow = laptop, office-*
        MaxPeers = 5
        Address = 10.50.0.1/32

        [Peer]
        PublicKey = {plain.public_key}
        AllowedIPs = {plain.inner_ipv4}/32
        """
    )
    return file


@pytest.fixture(scope="module")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mixture]:
    directory = tmp_path_factory.mktemp("mix")
    with open_site(directory, "mix") as site:
        site.office.cert("crl")
        gateway = site.gateway("gw", 1, issue=["--transit=10.50.0.0/24"])
        laptop = site.client("laptop", 2)
        plain = Host(site.stack.enter_context(Namespace("mix-plain")), "plain", 3, Program.WIREGUARD_GO, directory)
        site.lan.attach(plain.port)
        plain.peers.append(PeerSection(key_in(gateway.identity), ("10.9.0.0/24", "10.50.0.0/24"), "192.0.2.1:51820"))
        file = configure(gateway, plain, directory)
        up = gateway.namespace.popen(str(BIN / "tunnel"), "up", str(file), "-d", log=gateway.log_file)
        assert up.wait(30) == 0, gateway.log
        laptop.up()
        plain.up()
        yield Mixture(site, gateway, laptop, plain)


def test_both_kinds_of_peers_reach_the_gateway_and_each_other(mixture: Mixture) -> None:
    plain, laptop = mixture.plain, mixture.laptop
    ping(plain.namespace, "10.50.0.1", count=1)
    ping(laptop.namespace, mixture.gateway.inner_ipv4, count=1)
    ping(plain.namespace, laptop.inner_ipv4, count=1)
    send_tcp(plain.namespace, mixture.gateway.namespace, "10.50.0.1", 1_000_000)
    send_tcp(laptop.namespace, mixture.gateway.namespace, mixture.gateway.inner_ipv4, 1_000_000)


def test_the_status_tells_which_is_which(mixture: Mixture) -> None:
    shown = {peer["public_key"]: peer for peer in mixture.gateway.status()["peers"]}
    by_hand, by_certificate = shown[str(mixture.plain.public_key)], shown[str(mixture.key_of(mixture.laptop))]
    assert (by_hand["name"], by_hand["admitted"], by_hand["certificate_expires"]) == (None, None, None)
    assert (by_certificate["name"], by_certificate["admitted"]) == ("laptop", "vouched for by 'tunnel CA'")
    assert mixture.gateway.status()["dialling"].startswith("elsewhere.example.com:4711, no answer for")


def test_wg_shows_both(mixture: Mixture) -> None:
    allowed = dict(line.split("\t") for line in mixture.wg("show", "allowed-ips").splitlines())
    assert allowed[str(mixture.plain.public_key)] == "10.50.0.3/32"
    assert set(allowed[str(mixture.key_of(mixture.laptop))].split()) == {"10.9.0.2/32", "fd09::2/128"}
    assert mixture.wg("show", "public-key").strip() == str(mixture.key_of(mixture.gateway))


def test_wg_adds_and_removes_peers_beside_those_with_certificates(mixture: Mixture) -> None:
    key = str(PrivateKey.generate(os.urandom).public_key)
    mixture.wg("set", "peer", key, "allowed-ips", "10.9.0.77/32")
    assert f"{key}\t10.9.0.77/32" in mixture.wg("show", "allowed-ips")
    mixture.wg("set", "peer", key, "remove")
    assert key not in mixture.wg("show", "peers")
    assert mixture.gateway.peers == {"laptop"}


def test_the_private_key_is_not_for_wg_to_change(mixture: Mixture, tmp_path: Path) -> None:
    other = tmp_path / "key"
    other.write_text(PrivateKey.generate(os.urandom).to_base64())
    refused = mixture.wg("set", "private-key", str(other), check=False)
    assert "Operation not permitted" in refused
    assert mixture.wg("show", "public-key").strip() == str(mixture.key_of(mixture.gateway))
    ping(mixture.laptop.namespace, mixture.gateway.inner_ipv4, count=1)


def test_a_peer_with_a_certificate_whom_wg_removes_may_come_again(mixture: Mixture) -> None:
    """It is told that its session is closed, and dials at once."""
    key = str(mixture.key_of(mixture.laptop))

    def last_handshake() -> float:
        handshakes = {peer["public_key"]: peer["last_handshake"] for peer in mixture.gateway.status()["peers"]}
        return handshakes.get(key) or 0.0

    before = last_handshake()
    mixture.wg("set", "peer", key, "remove")
    eventually(lambda: last_handshake() > before, "it has come again")
    eventually(lambda: mixture.laptop.inner_ipv4 in mixture.gateway.routes, "its route is there")


@pytest.mark.slow
def test_a_name_that_the_file_does_not_allow_is_turned_away(mixture: Mixture) -> None:
    visitor = mixture.site.client("visitor", 9)
    with visitor.running():
        mixture.gateway.says("peer refused", "name that is not allowed here: visitor")
        assert not is_reachable(visitor.namespace, mixture.gateway.inner_ipv4)


def test_the_list_that_the_file_names_is_watched(mixture: Mixture) -> None:
    gateway = mixture.gateway
    mixture.site.office.cert("revoke", "laptop")
    eventually(lambda: gateway.peers == set(), "the laptop is out", 2)
    ping(mixture.plain.namespace, "10.50.0.1", count=1)
    gateway.says("peer removed", "name=laptop", "certificate revoked")

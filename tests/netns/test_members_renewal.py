"""Files that change under running traffic: renewed, revoked, expired, and a new authority in place of the old one."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import is_reachable, ping
from tests.netns.hosts import BIN
from tests.netns.members import Member, Office, RunningPing, RunningStream, Site, dns_name, open_site
from tunnel.pki.authority import DAY, Request, issue
from tunnel.pki.store import format_identity, parse_identity_file
from tunnel.pki.verify import Trust, verify
from tunnel.testing.namespaces import run_command

pytestmark = pytest.mark.root


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A gateway and a laptop, both with a revocation list, up and talking."""
    with open_site(tmp_path, "new") as site:
        site.office.cert("crl")
        for label in ("gw", "laptop"):
            site.office.spread_crl(crl_of(site, label))
        site.gateway("gw", 1, f"--crl={crl_of(site, 'gw')}").up()
        site.client("laptop", 2, f"--peer={dns_name('gw')}", f"--crl={crl_of(site, 'laptop')}").up()
        ping(site.members["laptop"].namespace, site.members["gw"].inner_ipv4, count=1)
        yield site


def crl_of(site: Site, label: str) -> Path:
    """Each host has a copy of its own."""
    return site.office.directory / f"{label}-crl.pem"


def pair(site: Site) -> tuple[Member, Member]:
    return site.members["gw"], site.members["laptop"]


def expiry_of(name: str, at: Member) -> float:
    """When the certificate of that peer ends, as far as the host knows."""
    (expires,) = (peer["certificate_expires"] for peer in at.status()["peers"] if peer["name"] == name)
    return float(expires)


def until(condition: Callable[[], bool], what: str) -> float:
    """Seconds until it is so, at most one of them."""
    began = time.monotonic()
    eventually(condition, what, 1.0)
    return time.monotonic() - began


@pytest.mark.slow
def test_a_renewed_certificate_reaches_the_others_and_not_a_packet_is_lost(site: Site, tmp_path: Path) -> None:
    gateway, laptop = pair(site)
    stream = RunningStream(laptop.namespace, gateway.namespace, gateway.inner_ipv4)
    with RunningPing(laptop.namespace, gateway.inner_ipv4, tmp_path / "ping") as flow, stream:
        before = expiry_of("laptop", gateway)
        site.office.cert("renew", "gw.pem", "--days=30")
        gateway.says("identity renewed", "name=gw")
        site.office.cert("renew", "laptop.pem", "--days=30")  # its handshake, five seconds after the last, brings both
        eventually(lambda: expiry_of("laptop", gateway) < before - 50 * DAY, "the gateway has the laptop's", 10)
        eventually(lambda: expiry_of("gw", laptop) < before - 50 * DAY, "the laptop has the gateway's")
        flow.wait_for_more()
    print(f"both renewed: {flow.lost} of {flow.sent} lost, longest silence {flow.silence * 1000:.0f} ms")
    assert flow.lost == 0
    assert stream.received == stream.sent
    gateway.says("peer renewed", "name=laptop")


def test_a_client_that_was_revoked_is_out_within_a_second_of_the_list(site: Site) -> None:
    gateway, laptop = pair(site)
    site.office.cert("revoke", "laptop")
    site.office.spread_crl(crl_of(site, "gw"))
    took = until(lambda: laptop.inner_ipv4 not in gateway.routes, "its route is gone")
    print(f"revoked: route gone after {took:.2f} s")
    gateway.says("peer removed", "name=laptop", "certificate revoked")
    assert gateway.peers == set()
    assert not is_reachable(laptop.namespace, gateway.inner_ipv4)
    eventually(lambda: gateway.refusals.get("revoked", 0) > 0, "its next attempt is counted", 30)


@pytest.mark.slow
def test_a_gateway_that_was_revoked_is_left_within_a_second_of_the_list(site: Site) -> None:
    gateway, laptop = pair(site)
    site.office.cert("revoke", "gw")
    site.office.spread_crl(crl_of(site, "laptop"))
    took = until(lambda: laptop.peers == set(), "the gateway is no peer")
    print(f"gateway revoked: no peer after {took:.2f} s")
    laptop.says("peer removed", "name=gw", "certificate revoked")
    assert not is_reachable(laptop.namespace, gateway.inner_ipv4)
    assert "10.9.0.0/24" in laptop.routes  # so that nothing leaves in clear


@pytest.mark.slow
def test_reload_says_what_is_wrong_with_the_files_and_leaves_what_was_in_force(site: Site) -> None:
    gateway, laptop = pair(site)
    good = gateway.identity.read_bytes()
    gateway.identity.write_bytes(good[:700])
    refused = gateway.tunnel("reload", gateway.interface, check=False)
    assert refused.returncode == 1
    assert refused.stderr == f"tunnel: {gateway.identity}: a PEM block in it is cut off\n"
    gateway.says("error", "stays in force")
    ping(laptop.namespace, gateway.inner_ipv4, count=1)
    gateway.identity.write_bytes(good)
    gateway.tunnel("reload", gateway.interface)


def shorten(office: Office, identity: Path, seconds: float) -> None:
    """Give it a certificate that ends so soon."""
    before = parse_identity_file(identity.read_bytes(), None, str(identity))
    claims = verify(before.chain, Trust(before.authorities), time.time()).claims
    request = Request(claims.name, claims.public_key, claims.addresses, claims.routes)
    certificate = issue(office.keeper(), request, os.urandom, time.time() + seconds - DAY, days=1)
    identity.write_bytes(format_identity(before.private_key, [certificate], before.authorities))


@pytest.mark.slow
def test_a_session_ends_with_the_certificate(site: Site, tmp_path: Path) -> None:
    gateway, laptop = pair(site)
    shorten(site.office, laptop.identity, 9)
    eventually(lambda: expiry_of("laptop", gateway) < time.time() + 10, "the gateway has the short one", 10)
    ends = expiry_of("laptop", gateway)
    with RunningPing(laptop.namespace, gateway.inner_ipv4, tmp_path / "ping") as flow:
        eventually(lambda: gateway.peers == set(), "it is no peer any more", 15)
    last = flow.answers[-1][0]
    print(f"expired: last answer {last - ends:+.2f} s from the end")
    assert -0.5 < last - ends < 1.5
    gateway.says("peer removed", "name=laptop", "certificate expired")
    assert laptop.inner_ipv4 not in gateway.routes


def shell(script: str) -> None:
    """As it stands in docs/certificates.md."""
    run_command("sh", "-c", script)


@pytest.mark.slow
def test_the_documented_way_to_another_authority_loses_not_a_packet(site: Site, tmp_path: Path) -> None:
    gateway, laptop = pair(site)
    both = (gateway, laptop)
    office, tunnel = site.office.directory, BIN / "tunnel"
    options = {gateway: "--transit 10.9.0.0/24 --transit fd09::/64 --server --dns gw.example.com", laptop: ""}
    site.office.cert("ca", "--ca-dir", "ca2", "--name", "tunnel CA 2027")
    site.office.cert("crl", "--ca-dir", "ca2")
    with RunningPing(laptop.namespace, gateway.inner_ipv4, tmp_path / "ping") as flow:
        for host in both:
            shell(f"cat {office}/ca2/ca.pem >> {host.identity}")
            host.tunnel("reload", host.interface)
        for host in both:
            own = f"--address {host.inner_ipv4} --address {host.inner_ipv6} {options[host]}"
            shell(f"""
                set -eu; umask 077; cd {office}
                openssl x509 -in {host.identity} -noout -pubkey > {host.label}.pub
                {tunnel} cert issue {host.label} --ca-dir ca2 {own} --public-key {host.label}.pub -o {host.label}.crt
                {{ sed -n '/PRIVATE KEY/,/PRIVATE KEY/p' {host.identity}; cat {host.label}.crt ca/ca.pem; }} > new
                {tunnel} cert verify new && mv new {host.identity}
            """)
        eventually(lambda: vouching(laptop, at=gateway) == "vouched for by 'tunnel CA 2027'", "the new one vouches", 15)
        for host in both:
            shell(f"""
                set -eu; umask 077; cd {office}; cp ca2/crl.pem new.crl
                {{ sed -n '/PRIVATE KEY/,/PRIVATE KEY/p' {host.identity}; cat {host.label}.crt; }} > new
                mv new {host.identity} && mv new.crl {crl_of(site, host.label)}
            """)
            host.tunnel("reload", host.interface)
        flow.wait_for_more()
    print(f"another authority: {flow.lost} of {flow.sent} lost")
    assert flow.lost == 0
    assert (gateway.peers, laptop.peers) == ({"laptop"}, {"gw"})


def vouching(peer: Member, *, at: Member) -> str:
    """Who vouches for that peer, in words."""
    return next((str(one["admitted"]) for one in at.status()["peers"] if one["name"] == peer.label), "")

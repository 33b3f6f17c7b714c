"""Certificates that are not good enough: each is refused with its one line, at home or at the far end."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from ssl import DER_cert_to_PEM_cert

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.netns.eventually import eventually
from tests.netns.flows import is_reachable, ping
from tests.netns.landscape import survey
from tests.netns.members import Member, Office, Site, dns_name, open_site
from tests.unit.pki.authorities import LAPTOP, altered, key_of
from tunnel.pki.authority import DAY, EVERYTHING, Authority, build_crl, create_authority, issue
from tunnel.pki.ipblocks import IP_BLOCKS_OID, encode_ip_blocks
from tunnel.pki.store import format_identity
from tunnel.pki.validity import format_time

pytestmark = pytest.mark.root

NOW = time.time()


# ---- at home ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A host that is never up, with an identity that is good."""
    with open_site(tmp_path_factory.mktemp("home"), "home") as site:
        site.put("laptop", 2, site.office.issue_client("laptop", 2))
        yield site


Case = Callable[[Office, Path], tuple[Sequence[str], str]]
"""Spoils the good identity that the path leads to: more options of `tunnel up`, and the line to come, less the file."""


def certificate_of(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificates(path.read_bytes())[0]


def resign(office: Office, path: Path, **changes: object) -> None:
    """Put an altered copy of its certificate in its place."""
    before = certificate_of(path)
    after = altered(before, office.keeper(), **changes)  # type: ignore[arg-type]
    raw = path.read_bytes()
    pem = before.public_bytes(Encoding.PEM)
    assert pem in raw
    path.write_bytes(raw.replace(pem, after.public_bytes(Encoding.PEM)))


def missing(office: Office, path: Path) -> tuple[Sequence[str], str]:
    path.unlink()
    return (), "no such file: tunnel cert issue makes one"


def readable_by_others(office: Office, path: Path) -> tuple[Sequence[str], str]:
    for folder in (path.parent, path.parent.parent):
        folder.chmod(0o755)
    path.chmod(0o644)
    return (), f"holds a secret, and everybody may read or change it: chmod 600 {path}"


def encrypted(office: Office, path: Path) -> tuple[Sequence[str], str]:
    secret = path.with_name("secret")
    secret.touch(mode=0o600)
    secret.write_text("six random words")
    office.cert("issue", "locked", "--address=10.9.0.90", f"--passphrase-file={secret}", "-o", str(path), "--force")
    return (), "its private key is encrypted; --passphrase-file FILE names the passphrase's file"


def key_of_another(office: Office, path: Path) -> tuple[Sequence[str], str]:
    other = office.issue("other", "--address=10.9.0.91").read_bytes()
    head, middle, _ = other.partition(b"-----END PRIVATE KEY-----\n")
    path.write_bytes(head + middle + path.read_bytes().partition(middle)[2])
    return (), "its private key is not that of its certificate"


def expired(office: Office, path: Path) -> tuple[Sequence[str], str]:
    ended = NOW - 60
    resign(office, path, not_before=NOW - DAY, not_after=ended)
    return (), f"certificate expired: laptop held until {format_time(ended)}; renew it: tunnel cert renew"


def not_yet_valid(office: Office, path: Path) -> tuple[Sequence[str], str]:
    begins = NOW + DAY
    resign(office, path, not_before=begins)
    why = f"certificate not yet valid: laptop holds from {format_time(begins)} on; set the clock of this host"
    return (), why


def of_an_unknown_ca(office: Office, path: Path) -> tuple[Sequence[str], str]:
    other = create_authority("Other CA", os.urandom, NOW).certificate.public_bytes(Encoding.PEM)
    path.write_bytes(path.read_bytes().replace(office.authority.read_bytes(), other))
    return (), "authority that we do not trust: 'tunnel CA'; --ca or CA = names the file of its CA"


def wrong_key_type(office: Office, path: Path) -> tuple[Sequence[str], str]:
    key = Ed25519PrivateKey.generate()
    resign(office, path, public_key=key.public_key())
    _, _, rest = path.read_bytes().partition(b"-----END PRIVATE KEY-----\n")
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + rest)
    return (), "key of the wrong type"


def recode(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the bytes of its certificate."""
    before = certificate_of(path)
    after = DER_cert_to_PEM_cert(change(before.public_bytes(Encoding.DER))).encode()
    path.write_bytes(path.read_bytes().replace(before.public_bytes(Encoding.PEM), after))


def broken_der(office: Office, path: Path) -> tuple[Sequence[str], str]:
    recode(path, lambda der: der[:40] + b"\xff\xff" + der[42:])
    return (), "not a certificate of our profile: broken"


def trailing_der(office: Office, path: Path) -> tuple[Sequence[str], str]:
    recode(path, lambda der: der + b"\0")
    return (), "not a certificate of our profile: broken"


def too_large(office: Office, path: Path) -> tuple[Sequence[str], str]:
    names = [x509.DNSName(f"{'x' * 50}{number}.example.com") for number in range(12)]
    resign(office, path, replacing=[x509.SubjectAlternativeName(names)])
    return (), "certificate too large for a datagram"


def write_crl(path: Path, authority: Authority, *revoked: x509.Certificate, made: float = NOW) -> Path:
    crl = path.with_name("crl.pem")
    listed = {one.serial_number: made for one in revoked}
    crl.write_bytes(build_crl(authority, listed, 1, made, days=30).public_bytes(Encoding.PEM))
    return crl


def crl_expired(office: Office, path: Path) -> tuple[Sequence[str], str]:
    ended = NOW - DAY
    crl = write_crl(path, office.keeper(), made=ended - 30 * DAY)
    why = f"revocation list of 'tunnel CA' held until {format_time(ended)}; make a new one: tunnel cert crl"
    return (f"--crl={crl}",), f"revocation list expired: {why}"


def revoked(office: Office, path: Path) -> tuple[Sequence[str], str]:
    crl = write_crl(path, office.keeper(), certificate_of(path))
    why = f"'laptop' on {format_time(NOW)}; issue a new one: tunnel cert issue"
    return (f"--crl={crl}",), f"certificate revoked: {why}"


def crl_of_another_ca(office: Office, path: Path) -> tuple[Sequence[str], str]:
    crl = write_crl(path, create_authority("Other CA", os.urandom, NOW))
    why = "revocation list of 'Other CA', which is none of our authorities; --ca or CA = names the file of its CA"
    return (f"--crl={crl}",), why


CASES: Sequence[Case] = (missing, encrypted, expired, revoked)
SLOW_CASES: Sequence[Case] = (
    readable_by_others,
    key_of_another,
    not_yet_valid,
    of_an_unknown_ca,
    wrong_key_type,
    broken_der,
    trailing_der,
    too_large,
    crl_expired,
    crl_of_another_ca,
)


@pytest.mark.parametrize("spoil", [*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW_CASES)])
def test_files_that_are_not_good_are_refused_with_one_line_before_anything_has_changed(
    home: Site, tmp_path: Path, spoil: Case
) -> None:
    laptop = home.members["laptop"]
    identity = tmp_path / "laptop.pem"
    identity.touch(mode=0o600)
    identity.write_bytes(laptop.identity.read_bytes())
    options, line = spoil(home.office, identity)
    before = survey(laptop.namespace, laptop.interface)
    said = replace(laptop, identity=identity).refused("--peer=192.0.2.1", *options)
    print(said.replace(str(tmp_path), "…"))
    blamed = options[0].removeprefix("--crl=") if options and spoil is not revoked else str(identity)
    assert said.startswith(f"{blamed}: ")
    assert line in said
    assert survey(laptop.namespace, laptop.interface) == before


# ---- at the gateway -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A gateway that only lets in who is called ``ok…``, and three at most; two are there."""
    with open_site(tmp_path_factory.mktemp("strict"), "str", "--network=0.0.0.0/0", "--network=fd09::/16") as site:
        site.gateway("gw", 1, "--allow=ok*", "--max-peers=3").up()
        for number, label in enumerate(("ok1", "ok2"), 2):
            site.client(label, number).up()
        yield site


def turned_away(site: Site, member: Member, problem: str, *words: str) -> None:
    """The gateway refuses it for that reason: one line, one count, no peer, no route, and nobody else suffers."""
    gateway = site.members["gw"]
    before, routes, peers = gateway.refusals.get(problem, 0), gateway.routes, gateway.peers
    with member.running(f"--peer={dns_name('gw')}"):
        print(gateway.says("warning: peer refused", *words))
        eventually(lambda: gateway.refusals.get(problem, 0) > before, f"{problem} is counted")
        assert (gateway.routes, gateway.peers) == (routes, peers)
        assert not is_reachable(member.namespace, gateway.inner_ipv4)
    ping(site.members["ok1"].namespace, gateway.inner_ipv4, count=1)


def forged(
    site: Site, name: str, number: int, certificate: x509.Certificate, *, authority: Authority | None = None
) -> Member:
    """A host with a certificate for `LAPTOP`'s key that `tunnel cert issue` would not have made."""
    identity = site.office.directory / f"{name}.pem"
    identity.touch(mode=0o600)
    believed = authority or site.office.keeper()
    identity.write_bytes(format_identity(key_of("laptop"), [certificate], [believed.certificate]))
    return site.put(name, number, identity)


def test_a_name_that_is_not_allowed_is_turned_away(strict: Site) -> None:
    stranger = strict.client("stranger", 11)
    turned_away(strict, stranger, "not_allowed", "why=name that is not allowed here: stranger")


@pytest.mark.slow
def test_an_address_that_somebody_has_is_not_given_to_another(strict: Site) -> None:
    certificate = issue(strict.office.keeper(), replace(LAPTOP, name="ok-thief"), os.urandom, NOW)
    thief = forged(strict, "ok-thief", 12, certificate)
    turned_away(
        strict, thief, "overlap", "why=address of somebody else: ok-thief claims 10.9.0.2, which is ok1's already"
    )
    ping(strict.members["ok1"].namespace, strict.members["gw"].inner_ipv4)


@pytest.mark.slow
def test_addresses_that_the_issuer_does_not_have_are_turned_away(strict: Site) -> None:
    authority = strict.office.keeper()
    everything = [x509.UnrecognizedExtension(IP_BLOCKS_OID, encode_ip_blocks(EVERYTHING, EVERYTHING))]
    generous = replace(authority, certificate=altered(authority.certificate, authority, replacing=everything))
    request = replace(LAPTOP, name="ok-wide", addresses=(ip_address("10.9.0.13"),), routes=(ip_network("fd08::/64"),))
    certificate = issue(generous, request, os.urandom, NOW)
    wide = forged(strict, "ok-wide", 13, certificate, authority=generous)
    turned_away(strict, wide, "prefix_not_issuers", "why=addresses that its issuer does not have: fd08::/64")


@pytest.mark.slow
def test_a_default_route_is_turned_away(strict: Site) -> None:
    request = replace(LAPTOP, name="ok-all", addresses=(ip_address("10.9.0.14"),), routes=(ip_network("0.0.0.0/0"),))
    certificate = issue(strict.office.keeper(), request, os.urandom, NOW, allow_default_route=True)
    greedy = forged(strict, "ok-all", 14, certificate)
    turned_away(strict, greedy, "default_route", "why=default route without permission: ok-all to 0.0.0.0/0")


@pytest.mark.slow
def test_nobody_comes_in_when_it_is_full(strict: Site) -> None:
    strict.client("ok3", 15).up()
    turned_away(strict, strict.client("ok4", 16), "too_many_peers", "no place for ok4 beside 3 others")
    strict.members["ok3"].down()


@pytest.mark.slow
def test_who_has_a_certificate_of_another_ca_hears_nothing(strict: Site, tmp_path: Path) -> None:
    other = Office(tmp_path)
    stranger = strict.put("outsider", 17, other.issue_client("ok-outsider", 17))
    gateway = strict.members["gw"]
    before = gateway.log, gateway.refusals
    with stranger.running(f"--peer={dns_name('gw')}"):
        stranger.says("dialling unanswered")
        assert (gateway.log, gateway.refusals) == before
        assert stranger.status()["peers"] == []


# ---- at the client --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dialling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A client, and somebody who listens."""
    with open_site(tmp_path_factory.mktemp("dial"), "dial") as site:
        site.put("laptop", 2, site.office.issue_client("laptop", 2))
        yield site


@contextmanager
def dialled(site: Site, gateway: Member, name: str) -> Iterator[Member]:
    """A client that dials that host by that name."""
    laptop = site.members["laptop"]
    laptop.log_file.unlink(missing_ok=True)
    gateway.up("--port=51820")
    laptop.know({name: gateway.outer_ipv4})
    with laptop.running(f"--peer={name}"):
        yield laptop
        assert laptop.status()["peers"] == []
        assert laptop.routes == set()
    gateway.down()


def not_taken(site: Site, gateway: Member, name: str, problem: str, *words: str) -> None:
    """The client refuses what answers there: one line, one count, no peer."""
    with dialled(site, gateway, name) as laptop:
        print(laptop.says("warning: peer refused", f"name={name}", *words))
        assert laptop.refusals == {problem: 1}


@pytest.mark.slow
def test_a_gateway_that_is_dialled_by_a_name_that_it_does_not_have_is_not_taken(dialling: Site) -> None:
    gateway = dialling.gateway("gw", 1)
    not_taken(dialling, gateway, "other.example.com", "name_mismatch", "why=certificate for another name")


@pytest.mark.slow
def test_a_host_that_only_dials_does_not_answer(dialling: Site) -> None:
    with dialled(dialling, dialling.client("phone", 3), dns_name("phone")) as laptop:
        laptop.says("warning: dialling unanswered", "phone.example.com:51820")
        assert laptop.refusals == {}


@pytest.mark.slow
def test_a_gateway_to_everywhere_is_not_taken_without_permission(dialling: Site) -> None:
    everywhere = dialling.gateway("exit", 4, issue=["--transit=0.0.0.0/0", "--allow-default-route"])
    not_taken(dialling, everywhere, dns_name("exit"), "default_route", "why=default route without permission")

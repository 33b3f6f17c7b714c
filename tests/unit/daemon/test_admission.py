"""Who comes to us, whom we dial, who has to go."""

from collections.abc import Sequence
from dataclasses import replace
from math import inf

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from tests.unit.daemon.roster import Roster
from tests.unit.pki.authorities import (
    GATEWAY,
    LAPTOP,
    NOW,
    addresses,
    altered,
    days,
    der,
    intermediate,
    issued,
    issued_to,
    key_of,
    networks,
    new_authority,
)
from tests.unit.pki.chains import chain, narrowed, refused
from tunnel.config.model import PeerConfig
from tunnel.config.patch import AllowedIPChange, DevicePatch, PeerPatch
from tunnel.daemon.admission import AT_ONCE, DIALLED_KEEPALIVE, Admission, Admitted, Policy, Removed
from tunnel.endpoint import EndpointName
from tunnel.keys import PublicKey
from tunnel.pki.authority import BACKDATING, Authority, build_crl
from tunnel.pki.ipblocks import IP_BLOCKS_OID
from tunnel.pki.problem import Problem
from tunnel.pki.profile import read_claims
from tunnel.pki.verify import Trust

CA = new_authority()
OTHER_CA = new_authority("Other CA")
INTERMEDIATE = intermediate(CA)
TRUST = Trust((CA.certificate,))

SERVER = issued(CA, GATEWAY)
CLIENT = issued_to(CA, "client", "10.9.0.77")
LAPTOP_CERTIFICATE = issued_to(CA, "laptop", "10.9.0.2")
GATEWAY_NAME = EndpointName("gw.example.com", 51820)
GATEWAY_NETWORKS = networks("10.9.0.1/32", "10.9.0.0/24", "192.168.7.0/24")


class Host:
    """Admission over a `Roster` to which its patches are applied, at a time that stands still."""

    def __init__(self, own: x509.Certificate, policy: Policy = Policy(), trust: Trust = TRUST) -> None:  # noqa: B008
        self.roster = Roster()
        self.admission = Admission(read_claims(own), trust, policy, self.roster)
        self.now = NOW

    def admit(self, certificate: x509.Certificate, *above: Authority, key: PublicKey | None = None) -> list[PeerPatch]:
        """Whoever has the key of the certificate, unless another is said, comes and has a session."""
        public_key = read_claims(certificate).public_key if key is None else key
        patch = self.admission.admit(public_key, chain(certificate, *above), 0.0, self.now)
        self.roster.apply(patch)
        self.roster.alive.add(public_key)
        return list(patch.peers)

    def dial(self, certificate: x509.Certificate, *names: EndpointName) -> list[PeerPatch]:
        """Whoever we asked answers; there is no handshake yet."""
        public_key, patch = self.admission.dial(chain(certificate), names or (GATEWAY_NAME,), 0.0, self.now)
        assert patch.peers[-1].public_key == public_key
        self.roster.apply(patch)
        return list(patch.peers)

    def handshake(self, name: str) -> None:
        self.roster.alive.add(key_of(name).public_key)

    def silence(self, name: str) -> None:
        """The session of the peer ends."""
        self.roster.alive.discard(key_of(name).public_key)

    def names(self) -> list[str]:
        return [one.claims.name for one in self.admission]

    def find(self, name: str) -> Admitted:
        admitted = self.admission.find(key_of(name).public_key)
        assert admitted is not None
        return admitted


def server(policy: Policy = Policy(), trust: Trust = TRUST) -> Host:  # noqa: B008
    return Host(SERVER, policy, trust)


def client(policy: Policy = Policy(), trust: Trust = TRUST) -> Host:  # noqa: B008
    return Host(CLIENT, policy, trust)


def another(name: str, *texts: str, called: str = "laptop", made: float = NOW) -> x509.Certificate:
    """Of the host whose key is made of `name`; what the certificate calls it is another matter."""
    request = replace(LAPTOP, name=called, public_key=key_of(name).public_key, addresses=addresses(*texts))
    return issued(CA, request, now=made)


def gateway(name: str, *texts: str, called: str = "", dns: str = "gw.example.com") -> x509.Certificate:
    """Another gateway to the same network."""
    request = replace(
        GATEWAY,
        name=called or name,
        public_key=key_of(name).public_key,
        addresses=addresses(*texts),
        routes=networks("10.9.0.0/24"),
        dns_names=(dns,),
    )
    return issued(CA, request)


HUB = issued(
    CA,
    replace(LAPTOP, name="hub", public_key=key_of("hub").public_key, addresses=addresses("10.9.9.9"), is_server=True),
)
"""A server that is not the gateway."""


def removal(name: str) -> PeerPatch:
    return PeerPatch(key_of(name).public_key, remove=True)


def why(removed: Sequence[Removed]) -> dict[str, Problem]:
    return {one.name: one.why.problem for one in removed}


# ── who comes to us ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_stranger_with_a_good_certificate_becomes_a_peer() -> None:
    host = server()
    assert host.admit(LAPTOP_CERTIFICATE) == [
        PeerPatch(
            key_of("laptop").public_key,
            replace_allowed_ips=True,
            allowed_ips=tuple(map(AllowedIPChange, networks("10.9.0.2/32"))),
        )
    ]


def test_of_those_who_are_there_it_is_known_by_whose_word_and_until_when() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    assert host.find("laptop") == Admitted(
        claims=read_claims(LAPTOP_CERTIFICATE),
        chain=(der(LAPTOP_CERTIFICATE),),
        authority="'Example CA'",
        dialled_as=None,
        made=NOW - BACKDATING,
        until=NOW + days(90),
    )
    assert host.find("laptop").networks == networks("10.9.0.2/32")
    assert len(host.admission) == 1
    assert host.admission.networks().keys() == set(networks("10.9.0.2/32"))


def test_a_chain_may_lead_over_an_intermediate() -> None:
    host = server()
    host.admit(issued(INTERMEDIATE), INTERMEDIATE)
    assert host.find("laptop").authority == "'Example CA'"


def test_a_host_that_may_not_be_dialled_admits_nobody() -> None:
    host = client()
    with refused(Problem.NOT_ADMITTING, "client"):
        host.admit(LAPTOP_CERTIFICATE)


def test_what_a_peer_has_shown_before_is_not_verified_again() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    host.now = 0.0
    assert host.admit(LAPTOP_CERTIFICATE) == [PeerPatch(key_of("laptop").public_key, update_only=True)]


def test_what_has_ended_since_it_was_shown_first_is_refused() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    host.now += days(90)
    host.admit(LAPTOP_CERTIFICATE)
    host.now += 0.5
    with refused(Problem.EXPIRED):
        host.admit(LAPTOP_CERTIFICATE)


def test_a_peer_that_somebody_removed_comes_as_a_stranger() -> None:
    host = server()
    first = host.admit(LAPTOP_CERTIFICATE)
    host.roster.remove(key_of("laptop").public_key)
    assert host.admit(LAPTOP_CERTIFICATE) == first
    assert len(host.admission) == 1


def test_a_renewed_certificate_takes_the_place_of_the_old_one() -> None:
    host = server()
    host.admit(another("laptop", "10.9.0.2", "10.9.0.4"))
    host.admit(issued_to(CA, "phone", "10.9.0.3"))
    host.now += days(1)
    (patch,) = host.admit(another("laptop", "10.9.0.4", "10.9.0.6", made=host.now))
    assert [change.network for change in patch.allowed_ips] == list(networks("10.9.0.4/32", "10.9.0.6/32"))
    assert patch.replace_allowed_ips
    assert host.admission.networks().keys() == set(networks("10.9.0.3/32", "10.9.0.4/32", "10.9.0.6/32"))
    assert host.find("laptop").until == NOW + days(91)
    assert host.names() == ["laptop", "phone"]


def test_a_peer_whose_new_certificate_is_refused_stays_what_it_was() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    before = host.find("laptop")
    with refused(Problem.UNKNOWN_AUTHORITY):
        host.admit(issued_to(OTHER_CA, "laptop", "10.9.0.2", "10.9.0.4"))
    assert host.find("laptop") is before
    assert host.admission.networks().keys() == set(networks("10.9.0.2/32"))


def test_a_peer_that_is_configured_stays_what_it_was_configured_to_be() -> None:
    """Its key is trusted in its own right, so that its certificate is not even looked at."""
    host = client()
    host.roster.configure(key_of("laptop").public_key, *networks("172.16.0.1/32"))
    for certificate in (LAPTOP_CERTIFICATE, issued_to(OTHER_CA, "laptop", "10.9.0.2")):
        assert host.admit(certificate) == [PeerPatch(key_of("laptop").public_key, update_only=True)]
    assert len(host.admission) == 0


# ── what is refused, by its own name ─────────────────────────────────────────────────────────────────────────────────


def revoking(*certificates: x509.Certificate, made: float = NOW) -> Trust:
    revoked = {certificate.serial_number: made for certificate in certificates}
    return Trust((CA.certificate,), (build_crl(CA, revoked, 1, made),))


STRANGE = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\5\0")
ED25519_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
ZERO_KEY = X25519PublicKey.from_public_bytes(bytes(32))
LAPTOP_KEY = LAPTOP_CERTIFICATE.public_key()
LAPTOP_DER = der(LAPTOP_CERTIFICATE)
MANY_ROUTES = [f"10.{number}.0.0/24" for number in range(40)]
ABOVE = intermediate(CA, "Above", path_length=1)
BELOW = intermediate(ABOVE, "Below")
NARROW = Trust((narrowed(CA, "10.9.1.0/24").certificate,))
FORGER = Authority(CA.certificate, OTHER_CA.key)


Misfit = tuple[Problem, list[bytes], Trust, float]


def misfit(problem: Problem, *shown: bytes | x509.Certificate, trust: Trust = TRUST, now: float = NOW) -> Misfit:
    """What somebody with the laptop's key shows."""
    return problem, [one if isinstance(one, bytes) else der(one) for one in shown], trust, now


MISFITS = {
    "no certificate": misfit(Problem.MALFORMED),
    "broken DER": misfit(Problem.MALFORMED, LAPTOP_DER[:-1]),
    "trailing DER": misfit(Problem.MALFORMED, LAPTOP_DER + b"\0"),
    "too large": misfit(
        Problem.TOO_LARGE, issued_to(INTERMEDIATE, "laptop", "10.9.0.2", *MANY_ROUTES), INTERMEDIATE.certificate
    ),
    "chain too long": misfit(Problem.CHAIN_TOO_LONG, issued(BELOW), BELOW.certificate, ABOVE.certificate),
    "wrong key type": misfit(Problem.WRONG_KEY_TYPE, altered(LAPTOP_CERTIFICATE, CA, public_key=ED25519_KEY)),
    "key of low order": misfit(Problem.WRONG_KEY_TYPE, altered(LAPTOP_CERTIFICATE, CA, public_key=ZERO_KEY)),
    "missing extension": misfit(Problem.MISSING_EXTENSION, altered(LAPTOP_CERTIFICATE, CA, without=[IP_BLOCKS_OID])),
    "critical extension": misfit(
        Problem.UNKNOWN_CRITICAL_EXTENSION,
        altered(LAPTOP_CERTIFICATE, CA, replacing=[STRANGE], critical=True),
    ),
    "an authority's": misfit(Problem.WRONG_USAGE, altered(INTERMEDIATE.certificate, CA, public_key=LAPTOP_KEY)),
    "unknown authority": misfit(Problem.UNKNOWN_AUTHORITY, issued_to(OTHER_CA, "laptop", "10.9.0.2")),
    "forged signature": misfit(Problem.BAD_SIGNATURE, altered(LAPTOP_CERTIFICATE, FORGER)),
    "addresses outside": misfit(Problem.PREFIX_NOT_ISSUERS, LAPTOP_DER, trust=NARROW),
    "default route": misfit(Problem.DEFAULT_ROUTE, issued_to(CA, "laptop", "fd09::2", "0.0.0.0/0")),
    "expired": misfit(Problem.EXPIRED, LAPTOP_DER, now=NOW + days(90) + 1),
    "not yet valid": misfit(Problem.NOT_YET_VALID, altered(LAPTOP_CERTIFICATE, CA, not_before=NOW + 1)),
    "wrong clock": misfit(Problem.WRONG_CLOCK, LAPTOP_DER, now=0.0),
    "revoked": misfit(Problem.REVOKED, LAPTOP_DER, trust=revoking(LAPTOP_CERTIFICATE)),
    "list expired": misfit(Problem.CRL_EXPIRED, LAPTOP_DER, trust=revoking(SERVER), now=NOW + days(30) + 1),
    "another's key": misfit(Problem.KEY_MISMATCH, issued_to(CA, "phone", "10.9.0.2")),
    "another's address": misfit(Problem.OVERLAP, issued_to(CA, "laptop", "10.9.0.50")),
    "our own address": misfit(Problem.OVERLAP, issued_to(CA, "laptop", "10.9.0.1")),
    "name not allowed": misfit(Problem.NOT_ALLOWED, another("laptop", "10.9.0.2", called="evil")),
}


@pytest.mark.parametrize(("problem", "shown", "trust", "now"), MISFITS.values(), ids=MISFITS)
def test_a_refusal_has_its_own_reason_is_counted_and_changes_nothing(
    problem: Problem, shown: list[bytes], trust: Trust, now: float
) -> None:
    host = server(Policy(allow=("laptop", "phone")), trust)
    host.roster.configure(key_of("neighbour").public_key, *networks("10.9.0.50/32"))
    with refused(problem):
        host.admission.admit(key_of("laptop").public_key, shown, 0.0, now)
    assert host.admission.refusals == {problem.value: 1}
    assert len(host.admission) == 0
    assert host.admission.networks().keys() == set()
    assert host.admission.deadline == inf


def test_every_refusal_counts_and_nothing_else_does() -> None:
    host = client()
    assert host.admission.refusals == {}
    for _ in range(3):
        with refused(Problem.NOT_ADMITTING):
            host.admit(LAPTOP_CERTIFICATE)
    with refused(Problem.WRONG_USAGE):
        host.dial(LAPTOP_CERTIFICATE)
    host.dial(SERVER)
    assert host.admission.refusals == {"not_admitting": 3, "wrong_usage": 1}


def test_our_own_key_is_nobody_elses() -> None:
    host = server()
    with refused(Problem.KEY_MISMATCH, "the key of this host"):
        host.admit(SERVER)


# ── whom we allow ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pattern", ["gateway", "gate*", "gw.example.com", "*.vpn.example.com", "g[a-w].example.*"])
def test_one_name_has_to_fit_one_pattern(pattern: str) -> None:
    host = Host(HUB, Policy(allow=("other", pattern)))
    host.admit(SERVER)
    assert host.names() == ["gateway"]


@pytest.mark.parametrize("pattern", ["", "Gateway", "gat", "ateway", "192.0.2.1", "laptop"])
def test_who_fits_no_pattern_is_refused(pattern: str) -> None:
    host = Host(HUB, Policy(allow=(pattern,)))
    with refused(Problem.NOT_ALLOWED, "gateway"):
        host.admit(SERVER)


def test_who_is_there_may_not_change_to_a_name_that_is_not_allowed() -> None:
    host = server(Policy(allow=("laptop",)))
    host.admit(LAPTOP_CERTIFICATE)
    with refused(Problem.NOT_ALLOWED):
        host.admit(another("laptop", "10.9.0.2", called="evil"))
    assert host.names() == ["laptop"]


def test_a_default_route_is_taken_where_it_does_no_harm() -> None:
    host = server(Policy(allow_default_route=True))
    host.admit(issued_to(CA, "laptop", "fd09::2", "0.0.0.0/0"))
    assert host.admission.networks().keys() == set(networks("fd09::2/128", "0.0.0.0/0"))


# ── whose address it is ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("taken", ["10.9.0.2", "10.8.0.0/24"])
def test_a_network_of_somebody_who_is_there_is_refused(taken: str) -> None:
    host = server()
    host.admit(issued_to(CA, "laptop", "10.9.0.4", taken))
    with refused(Problem.OVERLAP, f"claims {taken}, which is laptop's already"):
        host.admit(issued_to(CA, "phone", "10.9.0.6", taken))
    assert host.names() == ["laptop"]


def test_networks_inside_each_other_are_different_networks() -> None:
    host = server()
    host.admit(issued_to(CA, "router", "10.9.0.4", "10.8.0.0/24"))
    host.admit(issued_to(CA, "phone", "10.8.0.7", "10.8.0.128/25"))
    assert host.names() == ["router", "phone"]


def test_whoever_has_no_session_yields() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    host.silence("laptop")
    patches = host.admit(issued_to(CA, "phone", "10.9.0.2"))
    assert patches[0] == removal("laptop")
    assert patches[1].public_key == key_of("phone").public_key
    assert host.names() == ["phone"]
    assert host.roster.holder(*networks("10.9.0.2/32")) == key_of("phone").public_key


def test_all_who_are_in_the_way_have_to_yield() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    host.admit(issued_to(CA, "phone", "10.9.0.4"))
    host.silence("laptop")
    greedy = issued_to(CA, "greedy", "10.9.0.2", "10.9.0.4")
    with refused(Problem.OVERLAP, "phone"):
        host.admit(greedy)
    assert host.names() == ["laptop", "phone"]
    host.silence("phone")
    assert host.admit(greedy)[:-1] == [removal("laptop"), removal("phone")]


def test_a_new_key_takes_over_from_the_old_one_of_the_same_name() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    assert host.admit(another("new laptop", "10.9.0.2"))[:-1] == [removal("laptop")]
    host.now += 1
    assert host.admit(another("newer laptop", "10.9.0.2", made=host.now))[:-1] == [removal("new laptop")]


def test_an_older_certificate_takes_over_from_nobody() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    with refused(Problem.OVERLAP):
        host.admit(another("old laptop", "10.9.0.2", made=NOW - 1))


def test_a_peer_that_is_configured_never_yields() -> None:
    host = server()
    laptop = key_of("old laptop").public_key
    host.roster.configure(laptop, *networks("10.9.0.2/32"))
    with refused(Problem.OVERLAP, f"claims 10.9.0.2, which is that of {laptop.short}, who is configured"):
        host.admit(LAPTOP_CERTIFICATE)


def test_an_address_that_was_taken_from_a_peer_by_hand_is_still_claimed_by_it() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    host.roster.networks[key_of("laptop").public_key].clear()
    with refused(Problem.OVERLAP, "laptop"):
        host.admit(issued_to(CA, "phone", "10.9.0.2"))


def test_our_own_address_is_nobody_elses() -> None:
    host = server()
    with refused(Problem.OVERLAP, "claims 10.9.0.1, which is this host's"):
        host.admit(issued_to(CA, "laptop", "10.9.0.1"))


def test_what_we_route_may_be_a_siblings_too() -> None:
    host = server()
    host.admit(gateway("sibling", "10.9.0.10"))
    assert host.admission.networks().keys() == set(networks("10.9.0.10/32", "10.9.0.0/24"))


# ── how many ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def crowd(host: Host, *names: str) -> None:
    for number, name in enumerate(names):
        host.admit(issued_to(CA, name, f"10.9.0.{10 + 2 * number}"))


def test_where_all_places_are_taken_by_the_living_the_next_is_refused() -> None:
    host = server(Policy(max_peers=2))
    crowd(host, "a", "b")
    with refused(Problem.TOO_MANY_PEERS, "no place for laptop beside 2 others"):
        host.admit(LAPTOP_CERTIFICATE)
    assert host.names() == ["a", "b"]


def test_of_those_without_a_session_the_first_who_came_goes() -> None:
    host = server(Policy(max_peers=3))
    crowd(host, "a", "b", "c")
    host.silence("c")
    host.silence("b")
    assert host.admit(LAPTOP_CERTIFICATE)[:-1] == [removal("b")]
    assert host.names() == ["a", "c", "laptop"]


def test_whom_we_dialled_is_not_sent_away() -> None:
    host = server(Policy(max_peers=2))
    host.dial(gateway("sibling", "10.9.0.10"))
    host.admit(issued_to(CA, "phone", "10.9.0.3"))
    host.silence("phone")
    assert host.admit(LAPTOP_CERTIFICATE)[:-1] == [removal("phone")]
    with refused(Problem.TOO_MANY_PEERS):
        host.admit(issued_to(CA, "phone", "10.9.0.3"))


def test_who_yields_makes_room() -> None:
    host = server(Policy(max_peers=2))
    crowd(host, "a", "b")
    host.silence("b")
    assert host.admit(issued_to(CA, "laptop", "10.9.0.12"))[:-1] == [removal("b")]


def test_who_is_there_already_needs_no_room() -> None:
    host = server(Policy(max_peers=1))
    host.admit(LAPTOP_CERTIFICATE)
    assert len(host.admit(another("laptop", "10.9.0.4"))) == 1


def test_whom_we_dial_needs_room_too() -> None:
    host = server(Policy(max_peers=1))
    host.admit(LAPTOP_CERTIFICATE)
    with refused(Problem.TOO_MANY_PEERS):
        host.dial(gateway("sibling", "10.9.0.10"))


# ── whom we dial ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_whoever_is_dialled_becomes_a_peer_that_hears_from_us() -> None:
    """Where it is, the device knows, which has asked."""
    host = client()
    assert host.dial(SERVER) == [
        PeerPatch(
            key_of("gateway").public_key,
            persistent_keepalive=DIALLED_KEEPALIVE,
            replace_allowed_ips=True,
            allowed_ips=tuple(map(AllowedIPChange, GATEWAY_NETWORKS)),
        )
    ]
    assert host.find("gateway").dialled_as == GATEWAY_NAME


def test_no_pattern_has_to_allow_whom_we_dial() -> None:
    host = client(Policy(allow=("nobody",)))
    host.dial(SERVER)
    assert host.names() == ["gateway"]


@pytest.mark.parametrize("host_name", ["gw.example.com", "eu.vpn.example.com", "192.0.2.1", "2001:db8::1"])
def test_the_certificate_has_to_have_one_of_the_names_that_we_dialled(host_name: str) -> None:
    host = client()
    host.dial(SERVER, EndpointName("gw.example.org", 51820), EndpointName(host_name, 7))
    assert host.find("gateway").dialled_as == EndpointName(host_name, 7)


def test_whoever_has_none_of_the_names_is_refused() -> None:
    host = client()
    with refused(Problem.NAME_MISMATCH, "gateway is not reached as gw.example.org, 192.0.2.9"):
        host.dial(SERVER, EndpointName("gw.example.org", 51820), EndpointName("192.0.2.9", 51820))
    assert len(host.admission) == 0


def test_whoever_may_not_be_dialled_is_refused() -> None:
    host = client()
    with refused(Problem.WRONG_USAGE):
        host.dial(issued(CA, replace(GATEWAY, is_server=False)))


def test_whoever_dials_himself_is_told() -> None:
    host = server()
    with refused(Problem.KEY_MISMATCH, "gateway has the key of this host"):
        host.dial(SERVER)


def test_an_answer_takes_nothing_from_who_has_a_session() -> None:
    """Not even in the name of the holder: the key has not been proved."""
    host = Host(HUB)
    host.admit(gateway("sibling", "10.9.0.10"))
    for answer in (SERVER, gateway("gateway", "10.9.0.1", called="sibling")):
        with refused(Problem.OVERLAP, "claims 10.9.0.0/24, which is sibling's already"):
            host.dial(answer)


def test_an_answer_takes_the_place_of_who_has_none() -> None:
    host = Host(HUB)
    host.admit(gateway("sibling", "10.9.0.10"))
    host.silence("sibling")
    assert host.dial(SERVER)[:-1] == [removal("sibling")]


def test_whom_we_dialled_before_yields_even_with_a_session() -> None:
    """We doubt him, or we would not have dialled."""
    host = client()
    host.dial(SERVER)
    host.handshake("gateway")
    assert host.dial(gateway("sibling", "10.9.0.10"))[:-1] == [removal("gateway")]


def test_whom_we_dialled_does_not_yield_to_who_comes() -> None:
    host = Host(HUB)
    host.dial(SERVER)
    host.handshake("gateway")
    with refused(Problem.OVERLAP, "gateway"):
        host.admit(gateway("sibling", "10.9.0.10"))


def test_an_answer_that_was_a_lie_yields_to_the_truth() -> None:
    host = Host(HUB)
    host.dial(SERVER)
    assert host.admit(gateway("sibling", "10.9.0.10"))[:-1] == [removal("gateway")]


def test_an_answer_takes_nothing_from_a_peer_that_is_configured() -> None:
    host = client()
    host.roster.configure(key_of("neighbour").public_key, *networks("192.168.7.0/24"))
    with refused(Problem.OVERLAP, "192.168.7.0/24"):
        host.dial(SERVER)


def test_a_peer_that_is_configured_may_be_dialled_and_stays_as_it_is() -> None:
    host = client()
    host.roster.configure(key_of("gateway").public_key, *networks("172.16.0.1/32"))
    assert host.dial(SERVER) == [PeerPatch(key_of("gateway").public_key, update_only=True)]
    assert len(host.admission) == 0
    with refused(Problem.NAME_MISMATCH):
        host.dial(SERVER, EndpointName("gw.example.org", 51820))


def test_the_gateway_may_renew_its_certificate() -> None:
    host = client()
    host.dial(SERVER)
    (patch,) = host.admit(issued(CA, GATEWAY, now=NOW, days=91))
    assert patch.persistent_keepalive == DIALLED_KEEPALIVE
    assert host.find("gateway").dialled_as == GATEWAY_NAME
    assert host.find("gateway").until == NOW + days(91)


def test_the_gateway_has_to_remain_what_we_dialled() -> None:
    host = client()
    host.dial(SERVER)
    with refused(Problem.NAME_MISMATCH):
        host.admit(issued(CA, replace(GATEWAY, dns_names=("gw.example.org",))))
    with refused(Problem.WRONG_USAGE):
        host.admit(issued(CA, replace(GATEWAY, is_server=False)))
    assert host.find("gateway").chain == (der(SERVER),)


def test_one_who_came_to_us_may_be_dialled() -> None:
    host = Host(HUB)
    host.admit(SERVER)
    (patch,) = host.dial(SERVER)
    assert patch.persistent_keepalive == DIALLED_KEEPALIVE
    assert host.find("gateway").dialled_as == GATEWAY_NAME


# ── who has to go ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_was_revoked_goes_and_its_addresses_are_free() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    host.admit(issued_to(CA, "phone", "10.9.0.3"))
    (removed,) = host.admission.renew(read_claims(SERVER), revoking(LAPTOP_CERTIFICATE), NOW)
    assert removed.public_key == key_of("laptop").public_key
    assert removed.name == "laptop"
    assert removed.why.problem is Problem.REVOKED
    assert host.names() == ["phone"]
    assert host.admission.networks().keys() == set(networks("10.9.0.3/32"))


def test_who_is_not_revoked_is_believed_until_the_next_list() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    assert host.admission.renew(read_claims(SERVER), revoking(SERVER), NOW) == []
    assert host.find("laptop").until == NOW + days(30)


def test_with_another_authority_everybody_of_the_old_one_goes() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    removed = host.admission.renew(read_claims(SERVER), Trust((OTHER_CA.certificate,)), NOW)
    assert why(removed) == {"laptop": Problem.UNKNOWN_AUTHORITY}
    host.admit(issued_to(OTHER_CA, "laptop", "10.9.0.2"))


def test_who_has_what_is_now_our_own_address_goes() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    own = replace(read_claims(SERVER), addresses=addresses("10.9.0.1", "10.9.0.2"))
    assert why(host.admission.renew(own, TRUST, NOW)) == {"laptop": Problem.OVERLAP}


def test_who_came_to_us_goes_when_we_may_not_be_dialled_any_more() -> None:
    host = Host(HUB)
    host.dial(SERVER)
    host.admit(LAPTOP_CERTIFICATE)
    own = replace(read_claims(HUB), is_server=False)
    assert why(host.admission.renew(own, TRUST, NOW)) == {"laptop": Problem.NOT_ADMITTING}
    assert host.names() == ["gateway"]


def test_whom_we_dialled_is_verified_anew_as_such() -> None:
    host = client()
    host.dial(SERVER)
    assert host.admission.renew(read_claims(CLIENT), TRUST, NOW) == []
    assert host.find("gateway").dialled_as == GATEWAY_NAME


def test_the_deadline_is_the_moment_after_the_first_end() -> None:
    host = server()
    assert host.admission.deadline == inf
    host.admit(issued(CA, replace(LAPTOP, addresses=addresses("10.9.0.2")), days=2))
    host.admit(issued_to(CA, "phone", "10.9.0.3"))
    assert host.admission.deadline == pytest.approx(NOW + days(2), abs=1e-3)
    assert host.admission.expire(NOW + days(2)) == []
    removed = host.admission.expire(host.admission.deadline)
    assert why(removed) == {"laptop": Problem.EXPIRED}
    assert host.names() == ["phone"]
    assert host.admission.deadline == pytest.approx(NOW + days(90), abs=1e-3)


def test_who_is_believed_by_a_list_goes_when_the_list_has_ended() -> None:
    """Otherwise whoever keeps the next list from us keeps a thief with us."""
    host = server(trust=revoking(SERVER))
    host.admit(LAPTOP_CERTIFICATE)
    assert host.admission.expire(NOW + days(30)) == []
    assert why(host.admission.expire(host.admission.deadline)) == {"laptop": Problem.CRL_EXPIRED}


def test_who_is_believed_by_an_authority_that_was_issued_anew_stays() -> None:
    ending = altered(CA.certificate, CA, not_before=NOW - 2, not_after=NOW + 5)
    host = server(trust=Trust((ending, CA.certificate)))
    host.admit(LAPTOP_CERTIFICATE)
    assert host.admission.deadline == pytest.approx(NOW + 5, abs=1e-3)
    assert host.admission.expire(NOW + 6) == []
    assert host.find("laptop").until == NOW + days(90)


def test_who_was_forgotten_leaves_nothing() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    host.roster.remove(key_of("laptop").public_key)
    for name in ("laptop", "laptop", "stranger"):
        host.admission.forget(key_of(name).public_key)
    assert len(host.admission) == 0
    assert host.admission.networks().keys() == set()
    assert host.admission.deadline == inf
    host.admit(issued_to(CA, "phone", "10.9.0.2"))


def test_somebody_may_be_forgotten_while_all_are_counted() -> None:
    host = server()
    crowd(host, "a", "b")
    for one in host.admission:
        host.admission.forget(one.public_key)
    assert len(host.admission) == 0


def test_of_many_peers_only_some_are_verified_anew_at_once() -> None:
    """A new revocation list must not keep the packets of a large gateway waiting."""
    host = server()
    crowd = [issued_to(CA, f"one-{number}", f"10.9.1.{number}") for number in range(2 * AT_ONCE + 1)]
    for certificate in crowd:
        host.admit(certificate)
    host.admission.renew(read_claims(SERVER), revoking(*crowd), NOW)
    assert len(host.admission) == AT_ONCE + 1
    assert host.admission.deadline < NOW
    host.admission.expire(NOW)
    host.admission.expire(NOW)
    assert len(host.admission) == 0
    assert host.admission.deadline > NOW


# ── who is configured by hand meanwhile ──────────────────────────────────────────────────────────────────────────────


def configure(host: Host, name: str, *texts: str) -> list[Removed]:
    """A reload brings a peer with these networks."""
    peer = PeerConfig(key_of(name).public_key, allowed_ips=networks(*texts))
    host.roster.apply(DevicePatch(peers=(peer.patch(),)))
    return host.admission.overrule({peer.public_key})


def test_who_loses_a_network_to_a_peer_that_is_configured_is_removed() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    host.admit(another("tablet", "10.9.0.3", called="tablet"))
    (removed,) = configure(host, "printer", "10.9.0.2/32")
    assert (removed.name, removed.why.problem) == ("laptop", Problem.OVERLAP)
    assert f"which is that of {key_of('printer').public_key.short}, who is configured" in str(removed.why)
    assert host.names() == ["tablet"]
    assert list(host.admission.networks()) == list(networks("10.9.0.3/32"))


def test_a_larger_network_of_a_peer_that_is_configured_takes_nothing_away() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    assert configure(host, "printer", "10.9.0.0/24") == []
    assert host.names() == ["laptop"]


def test_a_member_that_is_configured_now_is_left_to_that() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    assert configure(host, "laptop", "10.9.0.2/32", "10.70.0.0/16") == []
    assert host.names() == []
    assert host.admission.deadline == inf
    (patch,) = host.admit(LAPTOP_CERTIFICATE)
    assert patch == PeerPatch(key_of("laptop").public_key, update_only=True)


def test_a_network_that_somebody_took_away_by_hand_is_nobodys_claim() -> None:
    host = server()
    host.admit(LAPTOP_CERTIFICATE)
    host.roster.configure(key_of("laptop").public_key)
    assert host.admission.overrule(()) == []
    assert host.names() == ["laptop"]

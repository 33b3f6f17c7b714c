"""Whatever happens in whatever order: nobody shares a network, there are not too many, and everybody is to be believed.

A few hosts with several certificates each, which overlap, end at different times and may be revoked, come, are dialled,
fall silent and are forgotten; time passes and lists are replaced. The device is a table of networks.
"""

from dataclasses import replace
from functools import cache
from ipaddress import ip_network
from math import inf

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.unit.daemon.roster import Roster
from tests.unit.pki.authorities import GATEWAY, NOW, addresses, days, der, issued, key_of, networks, new_authority
from tunnel.daemon.admission import Admission, Policy
from tunnel.endpoint import EndpointName
from tunnel.pki.authority import build_crl
from tunnel.pki.problem import CertificateError
from tunnel.pki.profile import read_claims
from tunnel.pki.verify import Trust, verify

CA = new_authority()
KEYS = "abcd"
OURS = "10.9.0.1"
CONFIGURED_ADDRESS = "10.9.0.99"
ADDRESSES = ("10.9.0.10", "10.9.0.12", "10.9.0.14", "10.9.0.16", "10.9.0.10", "10.9.0.12", OURS, CONFIGURED_ADDRESS)
ROUTES = ((), (), (), (), (), ("10.8.0.0/24",), ("10.8.0.0/24",), ("10.8.0.0/24", "10.7.0.0/16"))
GATEWAY_NAME = EndpointName("gw.example.com", 51820)
MAX_PEERS = 2
CONFIGURED = key_of("configured").public_key
CONFIGURED_NETWORKS = set(networks("10.7.0.0/16", CONFIGURED_ADDRESS))

keys = st.sampled_from(KEYS)
certificates = st.tuples(
    keys,  # whose
    st.sampled_from(["laptop", "phone"]),  # called
    st.sampled_from(ADDRESSES),
    st.sampled_from(ROUTES),
    st.booleans(),  # is a server
    st.sampled_from([-1, 0, 0, 0, 0, 1]),  # made how many days from now
    st.sampled_from([4, 40]),  # for days
)
Certificate = tuple[str, str, str, tuple[str, ...], bool, int, int]


@cache
def issue_on(day: int, certificate: Certificate) -> bytes:
    key, name, address, routes, is_server, begin, length = certificate
    request = replace(
        GATEWAY,
        name=name,
        public_key=key_of(key).public_key,
        addresses=addresses(address),
        routes=networks(*routes),
        is_server=is_server,
    )
    return der(issued(CA, request, now=NOW + days(day + begin), days=length))


@cache
def trust_without(revoked: frozenset[str], made: int) -> Trust:
    """The serial number of a certificate comes of its name."""
    serials = {read_claims(issued(CA, replace(GATEWAY, name=name))).serial: NOW for name in revoked}
    return Trust((CA.certificate,), (build_crl(CA, serials, 1, NOW + days(made), days=15),))


class AdmissionMachine(RuleBasedStateMachine):
    @initialize(is_server=st.sampled_from([True, True, False]))
    def begin(self, is_server: bool) -> None:
        self.roster = Roster()
        self.roster.configure(CONFIGURED, *CONFIGURED_NETWORKS)
        self.own = read_claims(issued(CA, replace(GATEWAY, is_server=is_server)))
        self.trust = Trust((CA.certificate,))
        self.admission = Admission(self.own, self.trust, Policy(max_peers=MAX_PEERS), self.roster)
        self.now = NOW

    @property
    def day(self) -> int:
        return int((self.now - NOW) // days(1))

    @rule(certificate=certificates)
    def one_comes(self, certificate: Certificate) -> None:
        public_key = key_of(certificate[0]).public_key
        try:
            patch = self.admission.admit(public_key, [issue_on(self.day, certificate)], 0.0, self.now)
        except CertificateError:
            return
        self.roster.apply(patch)
        self.roster.alive.add(public_key)

    @rule(certificate=certificates)
    def another_comes(self, certificate: Certificate) -> None:
        """It is what happens most."""
        self.one_comes(certificate)

    @rule(certificate=certificates)
    def one_answers(self, certificate: Certificate) -> None:
        alive = set(self.roster.alive)
        dialled = {one.public_key for one in self.admission if one.dialled_as}
        try:
            public_key, patch = self.admission.dial([issue_on(self.day, certificate)], [GATEWAY_NAME], 0.0, self.now)
        except CertificateError:
            return
        self.roster.apply(patch)
        assert alive - self.roster.alive <= dialled
        assert patch.peers[-1].public_key == public_key

    @rule(key=keys)
    def one_falls_silent(self, key: str) -> None:
        self.roster.alive.discard(key_of(key).public_key)

    @rule(key=keys)
    def one_is_removed(self, key: str) -> None:
        self.roster.remove(key_of(key).public_key)
        self.admission.forget(key_of(key).public_key)

    @rule(
        revoked=st.frozensets(st.sampled_from(["laptop", "phone"]), max_size=1),
        age=st.sampled_from([0, 0, 13, 16]),
        is_server=st.sampled_from([True, True, True, False]),
    )
    def what_we_have_is_replaced(self, revoked: frozenset[str], age: int, is_server: bool) -> None:
        self.trust = trust_without(revoked, self.day - age)
        self.own = replace(self.own, is_server=is_server)
        for one in self.admission.renew(self.own, self.trust, self.now):
            self.roster.remove(one.public_key)

    @rule(hours=st.integers(1, 24))
    def time_passes(self, hours: int) -> None:
        self.now += days(hours / 24)
        self.expire()

    @precondition(lambda self: self.admission.deadline < inf)
    @rule()
    def the_first_ends(self) -> None:
        self.now = self.admission.deadline
        before = len(self.admission)
        self.expire()
        assert len(self.admission) < before

    def expire(self) -> None:
        for one in self.admission.expire(self.now):
            self.roster.remove(one.public_key)

    @invariant()
    def nobody_shares_a_network(self) -> None:
        claimed = [network for one in self.admission for network in one.networks]
        assert len(claimed) == len(set(claimed))
        assert self.admission.networks() == {
            network: one.public_key for one in self.admission for network in one.networks
        }

    @invariant()
    def the_device_has_what_was_admitted_and_what_was_configured(self) -> None:
        expected = {one.public_key: set(one.networks) for one in self.admission}
        assert self.roster.networks == {CONFIGURED: CONFIGURED_NETWORKS, **expected}

    @invariant()
    def there_are_not_too_many(self) -> None:
        assert len(self.admission) <= MAX_PEERS

    @invariant()
    def nobody_has_an_address_of_ours(self) -> None:
        assert not self.admission.networks().keys() & set(map(ip_network, self.own.addresses))

    @invariant()
    def everybody_is_to_be_believed(self) -> None:
        for one in self.admission:
            name = one.dialled_as.host if one.dialled_as else None
            verified = verify(
                one.chain, self.trust, self.now, key=one.public_key, name=name, as_server=name is not None
            )
            assert verified.claims == one.claims
            assert verified.until == one.until
            assert name is not None or self.own.is_server

    @invariant()
    def the_deadline_is_the_first_end(self) -> None:
        first = min((one.until for one in self.admission), default=inf)
        assert first <= self.admission.deadline <= first + 1e-3


TestAdmission = AdmissionMachine.TestCase
TestAdmission.settings = settings(max_examples=40, stateful_step_count=40)

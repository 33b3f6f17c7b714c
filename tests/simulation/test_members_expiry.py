"""Certificates that end, are renewed in time or too late, are revoked; authorities that follow each other."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from tests.simulation.member_sites import Flow, Site, exchange
from tests.unit.pki.authorities import altered, intermediate
from tunnel.pki.authority import Authority
from tunnel.pki.problem import CertificateError
from tunnel.testing.members import Member, found_authority, revoke, unix_now

LASTS = 300
"""Seconds of a certificate that is about to end."""


def short_lived_intermediate(site: Site) -> Authority:
    """Below the site's authority, for `LASTS` seconds."""
    below = intermediate(site.authority)
    now = unix_now(site.network)
    certificate = altered(below.certificate, site.authority, not_before=now - 86400, not_after=now + LASTS)
    return Authority(certificate, below.key)


def client_ends(site: Site) -> tuple[Member, Member]:
    return site.gateway(), site.client(lasts=LASTS)


def gateway_ends(site: Site) -> tuple[Member, Member]:
    return site.gateway(lasts=LASTS), site.client()


def intermediate_ends(site: Site) -> tuple[Member, Member]:
    below = short_lived_intermediate(site)
    client = site.client(authority=below, above=[below.certificate], trusted=[site.authority])
    return site.gateway(), client


def gateways_list_ends(site: Site) -> tuple[Member, Member]:
    gateway, client = site.gateway(), site.client()
    gateway.trust(site.authority, crls=[revoke(site.network, site.authority, lasts=LASTS)])
    return gateway, client


def clients_list_ends(site: Site) -> tuple[Member, Member]:
    gateway, client = site.gateway(), site.client()
    client.trust(site.authority, crls=[revoke(site.network, site.authority, lasts=LASTS)])
    return gateway, client


def authority_ends(site: Site) -> tuple[Member, Member]:
    site.authority = found_authority(site.network, "Old CA", lasts=LASTS)
    return site.gateway(), site.client()


ENDINGS = [client_ends, gateway_ends, intermediate_ends, gateways_list_ends, clients_list_ends, authority_ends]


@pytest.mark.parametrize("create", ENDINGS)
def test_not_a_packet_passes_once_a_certificate_has_ended(create: Callable[[Site], tuple[Member, Member]]) -> None:
    site = Site()
    gateway, client = create(site)
    flow = Flow(site, (client, gateway))
    site.network.run(0.5)
    flow.run(LASTS - 1)
    assert flow.lost == 0
    site.network.run(1)
    before = len(gateway.host.received), len(client.host.received)
    flow.run(60)
    assert (len(gateway.host.received), len(client.host.received)) == before
    site.check()


@pytest.mark.parametrize("create", ENDINGS)
def test_who_is_left_without_a_certificate_has_no_session_and_grows_nothing(
    create: Callable[[Site], tuple[Member, Member]],
) -> None:
    site = Site()
    gateway, client = create(site)
    site.network.run(LASTS + 900)
    assert not gateway.has_session(client)
    assert gateway.peers == []
    assert len(gateway.host.device._host.indices) == 0
    assert len(client.host.device._host.indices) <= 2
    site.check()


def test_the_gateway_says_whom_it_has_removed_and_why() -> None:
    site = Site()
    gateway, _ = client_ends(site)
    site.network.run(LASTS + 2)
    (line,) = [line for line in gateway.lines if "removed" in line]
    assert "name=client2" in line
    assert "why=certificate expired" in line


def test_who_renews_too_late_comes_back_with_the_new_one() -> None:
    site = Site()
    gateway, client = client_ends(site)
    site.network.run(LASTS + 600)
    client.renew(site.authority)
    site.connect(client, gateway=gateway, seconds=30)
    assert exchange(site, client, gateway)


def test_a_gateway_that_renews_too_late_is_found_again() -> None:
    site = Site()
    gateway, client = gateway_ends(site)
    site.network.run(LASTS + 600)
    gateway.renew(site.authority)
    site.connect(client, gateway=gateway, seconds=90)
    assert exchange(site, client, gateway)


def test_a_clock_that_jumps_past_the_end_ends_the_session() -> None:
    site = Site()
    gateway, client = site.gateway(), site.client()
    site.network.run(1)
    site.network.clock.step_wall_clock(91 * 86400)
    site.network.run(1)
    assert gateway.peers == client.peers == []
    site.network.clock.step_wall_clock(-91 * 86400)
    site.connect(client, gateway=gateway, seconds=120)


# ── renewed in time ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("who", "before"), [("client", 2), ("client", 200), ("gateway", 150), ("gateway", 200), ("both", 150)]
)
def test_who_renews_in_time_loses_not_a_packet(who: str, before: int) -> None:
    """A client shows it at once; nobody tells the clients of a gateway, whose rekeying brings it within two minutes."""
    site = Site()
    gateway = site.gateway(lasts=None if who == "client" else LASTS)
    client = site.client(lasts=None if who == "gateway" else LASTS)
    flow = Flow(site, (client, gateway))
    site.network.run(1)
    flow.run(LASTS - before)
    for one in {"client": [client], "gateway": [gateway], "both": [gateway, client]}[who]:
        one.renew(site.authority)
    flow.run(before + 200)
    assert flow.lost == 0
    assert not [line for line in (*gateway.lines, *client.lines) if "removed" in line]


def test_a_gateway_that_renews_in_its_last_seconds_costs_its_clients_a_second() -> None:
    site = Site()
    gateway, client = gateway_ends(site)
    flow = Flow(site, (client, gateway))
    site.network.run(1)
    flow.run(LASTS - 10)
    gateway.renew(site.authority)
    flow.run(100)
    assert 0 < flow.lost <= 4


@pytest.mark.parametrize("seed", range(3))
def test_on_a_bad_line_a_minute_is_enough_to_renew(seed: int) -> None:
    site = Site(seed, loss=0.2)
    gateway, client = site.gateway(lasts=LASTS), site.client(lasts=LASTS)
    flow = Flow(site, (client, gateway))
    site.network.run(1)
    flow.run(LASTS - 60)
    gateway.renew(site.authority)
    client.renew(site.authority)
    flow.run(200)
    assert not [line for line in (*gateway.lines, *client.lines) if "removed" in line]
    assert client.has_session(gateway)


def test_idle_members_renew_in_time_as_well() -> None:
    """Certificates of 90 days, renewed every 60, on a line that carries nothing but keepalives for half an hour."""
    site = Site()
    gateway, client = site.gateway(lasts=1800), site.client(lasts=1800)
    site.network.run(1200)
    gateway.renew(site.authority)
    client.renew(site.authority)
    site.network.run(1200)
    assert not [line for line in (*gateway.lines, *client.lines) if "removed" in line]
    assert exchange(site, client, gateway)


def test_a_gateway_of_many_renews_without_one_of_them_being_cut_off() -> None:
    """Nobody tells the clients: their rekeying brings them its new certificate, two minutes later at the latest."""
    site = Site()
    gateway = site.gateway(lasts=LASTS)
    clients = [site.client(number) for number in range(2, 8)]
    flow = Flow(site, *((client, gateway) for client in clients))
    site.network.run(1)
    flow.run(LASTS - 150)
    gateway.renew(site.authority)
    flow.run(300)
    assert flow.lost == 0


def test_a_renewal_with_a_route_more_is_used_at_once() -> None:
    site = Site()
    gateway, client = site.gateway(), site.client()
    site.network.run(10)
    client.request = replace(client.request, routes=site.networks("192.168.7.0/24"))
    client.renew(site.authority)
    site.network.run(1)
    assert site.networks("192.168.7.0/24")[0] in gateway.membership.networks()
    site.check()


# ── revoked ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_who_is_revoked_is_cut_off_at_once_and_others_stay() -> None:
    site = Site()
    gateway, thief, other = site.gateway(), site.client(2), site.client(3)
    flow = Flow(site, (other, gateway))
    site.network.run(1)
    gateway.trust(site.authority, crls=[revoke(site.network, site.authority, thief)])
    received = len(gateway.host.received)
    thief.host.send_to(gateway.host, b"one more")
    site.network.run(1)
    assert len(gateway.host.received) == received
    flow.run(300)
    assert flow.lost == 0
    assert gateway.peers == ["client3"]
    assert gateway.membership.refusals["revoked"] >= 1


def test_a_revoked_gateway_is_left_by_those_who_know() -> None:
    site = Site()
    gateway, client = site.gateway(), site.client()
    site.network.run(1)
    client.trust(site.authority, crls=[revoke(site.network, site.authority, gateway)])
    gateway.host.send_to(client.host, b"still there?")
    site.network.run(300)
    assert client.host.received == []
    assert client.peers == []
    assert client.membership.refusals["revoked"] >= 1


def test_what_was_routed_to_a_revoked_gateway_does_not_leave_in_clear() -> None:
    site = Site()
    gateway, client = site.gateway(), site.client()
    site.network.run(1)
    routed = set(client.membership.networks())
    client.trust(site.authority, crls=[revoke(site.network, site.authority, gateway)])
    site.network.run(1)
    assert set(client.membership.networks()) == routed


def test_who_was_revoked_and_certified_anew_comes_back() -> None:
    site = Site()
    gateway, client = site.gateway(), site.client()
    site.network.run(1)
    gateway.trust(site.authority, crls=[revoke(site.network, site.authority, client)])
    site.network.run(30)
    client.renew(site.authority)
    site.connect(client, gateway=gateway, seconds=60)


# ── one authority after the other ────────────────────────────────────────────────────────────────────────────────────


class Rollover:
    """A gateway and three clients with packets every second, who are moved from one authority to the next."""

    def __init__(self) -> None:
        self.site = Site()
        self.old = self.site.authority
        self.new = found_authority(self.site.network, "Example CA")
        self.gateway = self.site.gateway()
        self.clients = [self.site.client(number) for number in (2, 3, 4)]
        self.flow = Flow(self.site, *((client, self.gateway) for client in self.clients))
        self.site.network.run(1)
        self.flow.run(20)

    def do(self, steps: Sequence[str], pause: int) -> None:
        for step in steps:
            {
                "all trust both": lambda: self.everybody(self.trust_both),
                "clients trust both": lambda: self.each_client(self.trust_both),
                "gateway trusts both": lambda: self.trust_both(self.gateway),
                "gateway reissued": lambda: self.gateway.renew(self.new),
                "clients reissued": lambda: self.each_client(lambda one: one.renew(self.new)),
                "old removed": lambda: self.everybody(lambda one: one.trust(self.new)),
            }[step]()
            self.flow.run(pause)

    def everybody(self, do: Callable[[Member], None]) -> None:
        do(self.gateway)
        self.each_client(do)

    def each_client(self, do: Callable[[Member], None]) -> None:
        for client in self.clients:
            do(client)
            self.flow.run(3)

    def trust_both(self, member: Member) -> None:
        member.trust(self.old, self.new)


GOOD_ORDERS = [
    ("all trust both", "gateway reissued", "clients reissued", "old removed"),
    ("all trust both", "clients reissued", "gateway reissued", "old removed"),
    ("clients trust both", "gateway trusts both", "gateway reissued", "clients reissued", "old removed"),
    ("gateway trusts both", "clients trust both", "clients reissued", "gateway reissued", "old removed"),
]


@pytest.mark.parametrize("order", GOOD_ORDERS, ids="|".join)
def test_one_authority_follows_another_without_a_lost_packet(order: Sequence[str]) -> None:
    """Between two steps everybody has to have rekeyed once: that takes two minutes, or three for who is silent."""
    rollover = Rollover()
    rollover.do(order, pause=130)
    assert rollover.flow.lost == 0
    assert len(rollover.gateway.membership.members()) == 3
    for member in (rollover.gateway, *rollover.clients):
        member.restart()
    rollover.site.connect(*rollover.clients, gateway=rollover.gateway, seconds=30)


def test_gateways_reissued_before_their_clients_need_no_pause() -> None:
    """The clients' new certificates are shown by a handshake at once, which brings back the gateway's."""
    rollover = Rollover()
    rollover.do(GOOD_ORDERS[0], pause=5)
    rollover.flow.run(200)
    assert rollover.flow.lost == 0


def test_the_old_authority_removed_too_soon_after_the_gateways_turn_costs_a_second() -> None:
    rollover = Rollover()
    rollover.do(GOOD_ORDERS[1], pause=5)
    rollover.flow.run(200)
    assert 0 < rollover.flow.lost <= 4 * len(rollover.clients)
    assert len(rollover.gateway.membership.members()) == 3


@pytest.mark.parametrize("steps", [("gateway reissued",), ("all trust both", "clients reissued", "old removed")])
def test_a_step_that_would_leave_a_host_without_its_own_authority_is_refused(steps: Sequence[str]) -> None:
    rollover = Rollover()
    with pytest.raises(CertificateError):
        rollover.do(steps, pause=5)
    rollover.flow.run(100)
    assert rollover.flow.lost == 0

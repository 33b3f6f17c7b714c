"""Who gets in by a certificate, who does not, and who has to go."""

from ipaddress import IPv4Address, ip_network

import pytest

from tests.simulation.member_sites import Flow, Site, exchange, plain_peers
from tunnel.config.patch import AllowedIPChange, DevicePatch, PeerPatch
from tunnel.protocol.events import SessionExpired
from tunnel.protocol.stats import DropReason
from tunnel.testing.members import Member, found_authority
from tunnel.testing.network import Network, ipv4_packet
from tunnel.wire.messages import MessageType

PLAIN_HANDSHAKES = (MessageType.HANDSHAKE_INITIATION, MessageType.HANDSHAKE_RESPONSE)


def test_who_dials_a_gateway_by_name_talks_with_it_at_once() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    site.network.run(0.05)
    assert exchange(site, laptop, gateway, 0.05)
    assert (gateway.peers, laptop.peers) == (["client2"], ["gw"])
    assert not any(host.sent_of(kind) for host in site.network.hosts for kind in PLAIN_HANDSHAKES)
    site.check()


@pytest.mark.parametrize("seed", range(5))
def test_on_a_bad_line_it_takes_seconds(seed: int) -> None:
    site = Site(seed, loss=0.2)
    gateway, laptop = site.gateway(), site.client()
    site.connect(laptop, gateway=gateway, seconds=30)


def test_what_was_sent_while_nobody_was_there_waits_for_a_peer_that_was_there_once() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    site.network.run(5)
    gateway.stop()
    site.network.run(200)
    laptop.host.send_to(gateway.host, b"are you there?")
    site.network.run(20)
    gateway.restart()
    site.network.run(30)
    assert gateway.host.received == [b"are you there?"]


def test_clients_of_one_gateway_are_admitted_side_by_side() -> None:
    site = Site()
    gateway = site.gateway()
    clients = [site.client(number) for number in range(2, 22)]
    flow = Flow(site, *((client, gateway) for client in clients))
    site.network.run(1)
    flow.run(5)
    assert flow.lost == 0
    assert len(gateway.peers) == 20


def test_the_session_is_renewed_for_hours_with_certificates_only() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    site.network.run(3600)
    assert exchange(site, laptop, gateway)
    assert len(laptop.host.sent_of(MessageType.CERTIFICATE_REQUEST)) == 1
    assert len(laptop.host.sent_of(MessageType.CERTIFIED_INITIATION)) in range(25, 32)
    assert not any(host.sent_of(kind) for host in site.network.hosts for kind in PLAIN_HANDSHAKES)


def test_a_client_that_leaves_politely_is_forgotten_at_once_if_it_can_say_so() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    site.network.run(5)
    laptop.stop()
    site.network.run(1)
    assert gateway.peers == (["client2"] if Network.offered is None else [])
    site.network.run(600)
    assert gateway.host.device.snapshot(0).peers == ()


def test_a_client_that_crashes_is_forgotten_with_its_session() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    site.connect(laptop, gateway=gateway)
    laptop.crash()
    site.network.run(530)
    assert gateway.peers == ["client2"]
    site.network.run(30)
    assert gateway.peers == []
    assert len(gateway.host.events_of(SessionExpired)) == 1
    assert gateway.host.device.snapshot(0).peers == ()


def test_whoever_was_forgotten_comes_back_by_itself() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    site.connect(laptop, gateway=gateway)
    laptop.crash()
    site.network.run(600)
    laptop.restart()
    site.network.run(1)
    assert exchange(site, laptop, gateway)


# ── who is refused ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_host_that_is_no_server_is_silent_when_it_is_asked() -> None:
    site = Site()
    laptop = site.client(2, peers=(), dns_names=["laptop"])
    other = site.client(3, peers=["laptop"])
    site.network.names["laptop"] = [laptop.host.endpoint]
    site.network.run(60)
    assert laptop.host.device.snapshot(0).peers == other.host.device.snapshot(0).peers == ()
    assert laptop.host.sent == []


def test_a_client_whose_key_is_known_to_a_stranger_does_not_let_it_in() -> None:
    """It dials, and is not dialled: not even by one with a good certificate who knows its public key."""
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    site.connect(laptop, gateway=gateway)
    stranger = site.client(3)
    site.connect(stranger, gateway=gateway)
    _impersonate_gateway_of(stranger, laptop, site)
    site.network.run(30)
    assert laptop.membership.refusals["not_admitting"] >= 1
    assert laptop.peers == ["gw"]
    assert exchange(site, laptop, gateway)


def _impersonate_gateway_of(stranger: Member, target: Member, site: Site) -> None:
    """The stranger begins a certified handshake with somebody it was not told about, as a changed client could."""
    device, now = stranger.host.device, site.network.clock.now()
    allowed = (AllowedIPChange(ip_network(target.host.address)),)
    patch = PeerPatch(target.host.public_key, endpoint=target.host.endpoint, allowed_ips=allowed)
    device.apply(DevicePatch(peers=(patch,)), now)
    device._peers[target.host.public_key].handshakes.chain = (b"any",)
    device.handshake(target.host.public_key, now)
    stranger.configured.add(target.host.public_key)
    site.network.flush(stranger.host)


def test_a_stranger_of_another_authority_hears_nothing_at_all() -> None:
    site = Site()
    gateway = site.gateway()
    site.client(authority=found_authority(site.network, "Elsewhere"))
    site.network.run(120)
    assert gateway.host.sent == []
    assert gateway.host.device.snapshot(0).peers == ()


def test_a_member_of_an_authority_that_only_the_client_trusts_is_refused() -> None:
    site = Site()
    elsewhere = found_authority(site.network, "Elsewhere")
    gateway = site.gateway(trusted=[site.authority])
    client = site.client(authority=elsewhere, trusted=[site.authority, elsewhere])
    site.network.run(60)
    assert gateway.host.device.snapshot(0).peers == client.host.device.snapshot(0).peers == ()


def test_only_those_whose_names_are_allowed_are_admitted() -> None:
    site = Site()
    gateway = site.gateway(allow=["laptop-*", "printer"])
    wanted = [site.client(2, name="laptop-anna"), site.client(3, name="printer")]
    other = site.client(4, name="phone")
    site.network.run(30)
    assert gateway.peers == ["laptop-anna", "printer"]
    assert gateway.membership.refusals["not_allowed"] >= 1
    assert all(exchange(site, one, gateway) for one in wanted)
    assert not exchange(site, other, gateway)


def test_only_as_many_are_admitted_as_there_may_be_and_the_next_when_one_goes() -> None:
    site = Site()
    gateway = site.gateway(max_peers=3)
    first = [site.client(number) for number in (2, 3, 4)]
    site.connect(*first, gateway=gateway)
    late = site.client(5)
    site.network.run(30)
    assert gateway.peers == ["client2", "client3", "client4"]
    assert gateway.membership.refusals["too_many_peers"] >= 1
    first[1].stop()
    site.network.run(240)
    assert gateway.peers == ["client2", "client4", "client5"]
    assert exchange(site, late, gateway)
    site.check()


def test_an_address_that_somebody_uses_is_not_given_to_another() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client(2)
    site.connect(laptop, gateway=gateway)
    twin = site.client(2, name="twin")
    flow = Flow(site, (laptop, gateway))
    flow.run(200)
    assert flow.lost == 0
    assert gateway.peers == ["client2"]
    assert gateway.membership.refusals["overlap"] >= 1
    assert not twin.has_session(gateway)


def test_an_address_that_nobody_uses_any_more_is_given_to_another() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client(2)
    site.connect(laptop, gateway=gateway)
    laptop.crash()
    twin = site.client(2, name="twin")
    site.network.run(240)
    assert gateway.peers == ["twin"]
    assert exchange(site, twin, gateway)
    site.check()


def test_a_host_with_a_new_key_takes_the_place_of_what_it_was() -> None:
    """Somebody made a new laptop of the same name and addresses: the old one need not be waited for."""
    site = Site()
    gateway, laptop = site.gateway(), site.client(2)
    site.connect(laptop, gateway=gateway)
    laptop.crash()
    site.network.run(1)
    anew = site.client(2)
    site.connect(anew, gateway=gateway, seconds=5)
    assert gateway.peers == ["client2"]
    assert exchange(site, anew, gateway)
    site.check()


def test_a_client_with_the_gateways_own_address_does_not_even_call_it() -> None:
    site = Site()
    gateway = site.gateway()
    thief = site.client(1, name="thief")
    site.network.run(30)
    assert gateway.host.device.snapshot(0).peers == thief.host.device.snapshot(0).peers == ()
    assert thief.membership.refusals["overlap"] >= 1


def test_a_peer_configured_by_hand_lives_beside_members() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    stock = site.network.host()
    stock.address = IPv4Address("10.9.0.200")
    plain_peers(gateway, stock)
    site.connect(laptop, gateway=gateway)
    stock.send_to(gateway.host, b"plain")
    site.network.run(1)
    gateway.host.send_to(stock, b"back")
    site.network.run(1)
    assert (gateway.host.received[-1], stock.received) == (b"plain", [b"back"])
    site.network.run(1200)
    assert exchange(site, laptop, gateway)
    assert gateway.host.public_key in {peer.public_key for peer in stock.device.snapshot(0).peers}
    assert stock.public_key in {peer.public_key for peer in gateway.host.device.snapshot(0).peers}
    site.check()


def test_a_member_does_not_get_the_address_of_a_peer_configured_by_hand() -> None:
    site = Site()
    gateway = site.gateway()
    stock = site.network.host()
    stock.address = IPv4Address("10.9.0.2")
    plain_peers(gateway, stock)
    site.client(2)
    site.network.run(60)
    assert gateway.peers == []
    assert gateway.membership.refusals["overlap"] >= 1
    stock.send_to(gateway.host, b"mine")
    site.network.run(1)
    assert gateway.host.received == [b"mine"]


def test_nobody_is_believed_beyond_the_addresses_in_his_certificate() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client(2)
    site.connect(laptop, gateway=gateway)
    forged = ipv4_packet(IPv4Address("10.9.0.3"), gateway.host.address, b"from client3, as it were")
    laptop.host.send_packets(forged)
    site.network.run(1)
    assert gateway.host.received == []
    assert gateway.host.drops()[DropReason.SOURCE_NOT_ALLOWED.value] == 1

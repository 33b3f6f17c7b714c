"""Members that dial each other, stand behind NATs, move, or are not who they are taken for."""

import pytest

from tests.simulation.member_sites import Flow, Site, exchange
from tunnel.endpoint import Endpoint
from tunnel.protocol.events import PeerRoamed
from tunnel.testing.members import Member
from tunnel.wire.messages import MessageType


def elsewhere(number: int) -> Endpoint:
    return Endpoint(f"203.0.113.{number}", 1000 + number)


def create_two(site: Site, *, left_dials: bool = True, right_dials: bool = True) -> tuple[Member, Member]:
    """Two offices that may dial each other by the names `left` and `right`."""
    left = site.gateway("left", 1, routes=["10.1.0.0/16"], peers=["right"] if left_dials else [])
    right = site.gateway("right", 2, routes=["10.2.0.0/16"], peers=["left"] if right_dials else [])
    return left, right


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(5))
def test_two_that_dial_each_other_at_once_find_each_other(seed: int, loss: float) -> None:
    site = Site(seed, loss=loss)
    left, right = create_two(site)
    site.network.run(30)
    site.network.loss = 0.0
    site.network.run(5)
    assert exchange(site, left, right)
    site.check()


def test_two_that_dial_each_other_do_not_ask_for_ever() -> None:
    site = Site()
    left, right = create_two(site)
    site.network.run(30)
    asked = (
        len(left.host.sent_of(MessageType.CERTIFICATE_REQUEST)),
        len(right.host.sent_of(MessageType.CERTIFICATE_REQUEST)),
    )
    flow = Flow(site, (left, right))
    flow.run(1000)
    assert flow.lost == 0
    assert asked == (
        len(left.host.sent_of(MessageType.CERTIFICATE_REQUEST)),
        len(right.host.sent_of(MessageType.CERTIFICATE_REQUEST)),
    )
    assert left.membership.dialling.is_connected
    assert right.membership.dialling.is_connected


def test_one_that_starts_later_is_found() -> None:
    site = Site()
    left, right = create_two(site)
    right.crash()
    site.network.run(300)
    right.restart()
    site.network.run(1)
    assert exchange(site, left, right)


@pytest.mark.parametrize("seed", range(3))
def test_whoever_was_dialled_may_be_restarted_and_dial_in_his_turn(seed: int) -> None:
    site = Site(seed, loss=0.2)
    left, right = create_two(site)
    site.network.run(60)
    for one in (left, right, left):
        one.restart()
        site.network.run(60)
    site.network.loss = 0.0
    site.network.run(10)
    assert exchange(site, left, right)
    site.check()


# ── NAT ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_behind_a_nat_reaches_the_other_who_cannot_reach_it() -> None:
    """The other one dials too, in vain; it is content with whom has come."""
    site = Site()
    left, right = create_two(site)
    left.host.nat = site.network.nat(idle=30)
    flow = Flow(site, (left, right))
    site.network.run(10)
    flow.run(400)
    assert flow.lost == 0
    asked = len(right.host.sent_of(MessageType.CERTIFICATE_REQUEST))
    site.network.run(400)
    assert len(right.host.sent_of(MessageType.CERTIFICATE_REQUEST)) == asked


def test_a_client_behind_a_nat_can_be_reached_for_hours() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    laptop.host.nat = site.network.nat(idle=30)
    site.network.run(3 * 3600)
    gateway.host.send_to(laptop.host, b"are you there?")
    site.network.run(1)
    assert laptop.host.received == [b"are you there?"]
    assert len(laptop.host.sent_of(MessageType.CERTIFICATE_REQUEST)) == 1


def test_both_behind_nats_with_a_forwarded_port_on_one_side() -> None:
    """`left`'s box lets everybody in on one port, as port forwarding does."""
    site = Site()
    left, right = create_two(site)
    right.host.nat = site.network.nat(idle=30)
    site.network.names["right"] = [Endpoint(right.host.nat.address, 51820)]
    flow = Flow(site, (left, right))
    site.network.run(10)
    flow.run(300)
    assert flow.lost == 0
    site.check()


def test_both_behind_nats_with_nobody_reachable_find_each_other_never_and_stay_small() -> None:
    site = Site()
    left, right = create_two(site)
    for one in (left, right):
        one.host.nat = site.network.nat(idle=30)
        site.network.names[one.name] = [Endpoint(one.host.nat.address, 51820)]
    site.network.run(3600)
    assert not left.has_session(right)
    for one in (left, right):
        assert len(one.host.device._host.indices) <= 1
        assert one.host.device.snapshot(0).peers == ()
        assert len(one.host.sent) < 350


def test_a_nat_that_forgets_costs_at_most_a_keepalive() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    nat = laptop.host.nat = site.network.nat(idle=30)
    site.network.run(60)
    nat.forget()
    site.network.run(26)
    gateway.host.send_to(laptop.host, b"are you there?")
    site.network.run(1)
    assert laptop.host.received == [b"are you there?"]


# ── those who move ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_client_may_move_every_second() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    flow = Flow(site, (laptop, gateway))
    site.network.run(1)
    for number in range(200):
        laptop.host.endpoint = elsewhere(number)
        laptop.host.send_to(gateway.host, b"I moved")
        site.network.run(0.1)
        flow.run(1)
    assert flow.lost == 0
    assert len(gateway.host.events_of(PeerRoamed)) > 190


def test_a_gateway_that_moves_is_followed_when_it_speaks() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    flow = Flow(site, (laptop, gateway))
    site.network.run(1)
    gateway.host.endpoint = elsewhere(1)
    gateway.host.send_to(laptop.host, b"I moved")
    site.network.run(0.1)
    flow.run(300)
    assert flow.lost == 0


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("has_traffic", [True, False], ids=["busy", "idle"])
def test_a_gateway_that_moves_silently_is_found_by_its_name(has_traffic: bool, loss: float) -> None:
    """It was off for a while, and DNS knows its new address when it is back."""
    site = Site(loss=loss)
    gateway, laptop = site.gateway(), site.client()
    site.connect(laptop, gateway=gateway)
    site.network.run(130)
    gateway.host.endpoint = elsewhere(1)
    gateway.restart()
    site.network.names["gw"] = [gateway.host.endpoint]
    since = site.network.clock.now()
    while not (laptop.has_session(gateway) and gateway.has_session(laptop)):
        assert site.network.clock.now() - since < (60 if has_traffic else 200)
        if has_traffic:
            laptop.host.send_to(gateway.host, b"where are you?")
        site.network.run(1)
    site.network.loss = 0.0
    site.network.run(10)
    assert exchange(site, laptop, gateway)


def test_a_name_that_is_known_to_nobody_is_asked_for_until_it_is() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    del site.network.names["gw"]
    site.network.run(600)
    assert laptop.host.sent == []
    site.network.names["gw"] = [gateway.host.endpoint]
    site.connect(laptop, gateway=gateway, seconds=31)


def test_of_several_addresses_of_a_name_the_one_that_answers_is_taken() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    site.network.names["gw"] = [elsewhere(1), elsewhere(2), gateway.host.endpoint]
    site.connect(laptop, gateway=gateway, seconds=1)


# ── those who are not who they seem ──────────────────────────────────────────────────────────────────────────────────


def test_a_server_of_another_name_cannot_pose_as_the_one_that_was_dialled() -> None:
    """DNS is in the hands of somebody who has a good certificate, for a name of his own."""
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    impostor = site.gateway("printer", 9)
    site.network.names["gw"] = [impostor.host.endpoint]
    site.network.run(300)
    assert laptop.host.device.snapshot(0).peers == impostor.host.device.snapshot(0).peers == ()
    assert laptop.membership.refusals["name_mismatch"] >= 1
    assert laptop.host.sent_of(MessageType.CERTIFIED_INITIATION) == []
    assert any("peer refused name=gw:51820" in line for line in laptop.lines)
    site.network.names["gw"] = [gateway.host.endpoint]
    site.connect(laptop, gateway=gateway, seconds=60)


def test_an_impostor_beside_the_right_address_is_passed_over() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    impostor = site.gateway("printer", 9)
    site.network.names["gw"] = [impostor.host.endpoint, gateway.host.endpoint]
    site.connect(laptop, gateway=gateway, seconds=1)
    assert laptop.peers == ["gw"]


def test_poisoned_dns_does_not_end_a_session() -> None:
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    impostor = site.gateway("printer", 9)
    flow = Flow(site, (laptop, gateway))
    site.network.run(1)
    site.network.names["gw"] = [impostor.host.endpoint]
    flow.run(600)
    assert flow.lost == 0


def test_a_member_that_shows_somebody_elses_certificate_gets_nothing() -> None:
    """It answers in the gateway's name, whose chain it knows from its own dialling, but it has not the key."""
    site = Site()
    gateway, laptop = site.gateway(), site.client()
    impostor = site.gateway("printer", 9)
    credentials = impostor.host.device.credentials
    shown = gateway.host.device.credentials
    assert credentials is not None
    assert shown is not None
    impostor.host.device.credentials = shown
    site.network.names["gw"] = [impostor.host.endpoint]
    site.network.run(120)
    assert not laptop.membership.dialling.is_connected
    assert impostor.host.device.snapshot(0).peers == ()
    site.network.names["gw"] = [impostor.host.endpoint, gateway.host.endpoint]
    site.connect(laptop, gateway=gateway, seconds=120)
    assert exchange(site, laptop, gateway)

"""The peers that a hub is measured with are peers like others."""

import os

from tests.bench.crowd import Member, deterministic_key, outer_address
from tunnel.config.patch import DevicePatch, PeerPatch
from tunnel.endpoint import Endpoint
from tunnel.keys import PublicKey
from tunnel.protocol.cookie import CookieChecker, pack_source
from tunnel.protocol.device import Device
from tunnel.wire.messages import pack_cookie_reply
from tunnel.wire.tai64n import pack_stamp
from tunnel.wire.train import Train

SEED = "unit"
HUB = deterministic_key(SEED, 0)


def new_member(number: int = 1) -> Member:
    return Member(number, deterministic_key(SEED, number), HUB.public_key)


def new_hub(*peers: PublicKey) -> Device:
    hub = Device(os.urandom, lambda: pack_stamp(0))
    hub.apply(DevicePatch(private_key=HUB, peers=tuple(PeerPatch(public_key=peer) for peer in peers)), 0)
    hub.up(0)
    return hub


def tell(hub: Device, member: Member, datagram: bytes, now: float) -> list[bytes]:
    """What the hub answers."""
    hub.receive([Train.single(memoryview(bytearray(datagram)))], [Endpoint(str(outer_address(member.number)), 9)], now)
    while hub.deadline <= now:
        hub.expire(now)
    return [bytes(train.buffer) for train, _ in hub.take_datagrams()]


def shake_hands(hub: Device, member: Member, now: float) -> bool:
    member.prepare()
    (response,) = tell(hub, member, member.initiation(now), now)
    return member.consume_response(response)


def test_a_member_and_a_hub_come_to_a_session() -> None:
    hub, member = new_hub(deterministic_key(SEED, 1).public_key), new_member()
    assert shake_hands(hub, member, 1.0)
    tell(hub, member, member.keepalive(), 2.0)
    assert hub.snapshot(0).peers[0].last_handshake == 2.0


def test_a_session_takes_more_than_one_keepalive() -> None:
    hub, member = new_hub(deterministic_key(SEED, 1).public_key), new_member()
    shake_hands(hub, member, 1.0)
    for now in (2.0, 3.0):
        tell(hub, member, member.keepalive(), now)
    assert not hub.snapshot(0).drops


def test_a_second_handshake_in_the_same_moment_is_no_replay() -> None:
    hub, member = new_hub(deterministic_key(SEED, 1).public_key), new_member()
    assert all(shake_hands(hub, member, now) for now in (1.0, 1.1))


def test_a_response_to_somebody_else_is_none() -> None:
    keys = [deterministic_key(SEED, number).public_key for number in (1, 2)]
    hub, member, other = new_hub(*keys), new_member(1), new_member(2)
    member.prepare()
    other.prepare()
    (response,) = tell(hub, member, member.initiation(1.0), 1.0)
    assert not other.consume_response(response)


def test_a_member_that_is_asked_to_proves_its_address() -> None:
    member, checker = new_member(), CookieChecker(HUB.public_key, os.urandom)
    source = pack_source(Endpoint(str(outer_address(1)), 9))
    member.prepare()
    before = member.initiation(1.0)
    assert not checker.check_mac2(before, source, 1.0)
    assert member.consume_cookie_reply(pack_cookie_reply(checker.create_reply(before, 1, source, 1.0)), 1.0)
    assert checker.check_mac2(member.initiation(1.0), source, 1.0)

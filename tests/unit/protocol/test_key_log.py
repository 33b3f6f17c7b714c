"""Whoever listens is told the ephemeral keys of WireGuard handshakes, and nobody else is."""

import pytest

from tests.unit.protocol.pairs import create_pair
from tests.unit.protocol.test_certified import INITIATION, RESPONSE, Members, sent
from tunnel.keys import PresharedKey, PrivateKey, PublicKey
from tunnel.protocol.device import Device
from tunnel.wire.messages import MessageType, parse_initiation, parse_response

PSK = PresharedKey(b"k" * 32)


class Listener:
    """What one device told; `publics` are the public keys of the ephemeral ones."""

    def __init__(self, device: Device) -> None:
        self.peers: list[PublicKey] = []
        self.publics: list[bytes] = []
        self.preshared: list[PresharedKey] = []
        device.key_log = self

    def __call__(self, peer: PublicKey, ephemeral: PrivateKey, preshared: PresharedKey) -> None:
        self.peers.append(peer)
        self.publics.append(ephemeral.public_key.raw)
        self.preshared.append(preshared)


def test_an_initiator_tells_the_key_of_its_message() -> None:
    network, left, right = create_pair(psk=PSK)
    told = Listener(left.device)
    left.send_to(right, b"hello")
    network.run(1)
    message = parse_initiation(left.sent_of(MessageType.HANDSHAKE_INITIATION)[0])
    assert message is not None
    assert (told.peers, told.publics, told.preshared) == ([right.public_key], [message.ephemeral], [PSK])


def test_a_responder_tells_the_key_of_its_message() -> None:
    network, left, right = create_pair(psk=PSK)
    told = Listener(right.device)
    left.send_to(right, b"hello")
    network.run(1)
    message = parse_response(right.sent_of(MessageType.HANDSHAKE_RESPONSE)[0])
    assert message is not None
    assert (told.peers, told.publics, told.preshared) == ([left.public_key], [message.ephemeral], [PSK])


def test_who_listens_no_more_is_told_nothing_more() -> None:
    network, left, right = create_pair()
    told = Listener(left.device)
    left.send_to(right, b"hello")
    network.run(1)
    left.device.key_log = None
    network.run(121)
    left.send_to(right, b"renew")
    network.run(1)
    assert len(left.sent_of(MessageType.HANDSHAKE_INITIATION)) == 2
    assert len(told.publics) == 1


@pytest.fixture
def members() -> Members:
    return Members()


def test_keys_of_certified_handshakes_are_told_to_nobody(members: Members) -> None:
    laptop, gateway = members.host("laptop"), members.host("gateway")
    told = Listener(laptop.device), Listener(gateway.device)
    members.dial(laptop, gateway)
    members.network.run(1)
    assert INITIATION in sent(laptop)
    assert RESPONSE in sent(gateway)
    assert told[0].publics == told[1].publics == []

"""Under load: cookies, the token bucket, and queues that end (WireGuard paper, section 5.3)."""

from math import inf

import pytest

from tests.unit.protocol.pairs import create_pair, create_session, hold, initiation, let_pass, peer_of
from tunnel.endpoint import Endpoint
from tunnel.keys import PrivateKey, PublicKey
from tunnel.protocol.constants import (
    HANDSHAKE_BUDGET,
    MAX_QUEUED_HANDSHAKES,
    UNDER_LOAD_HANDSHAKES_PER_SECOND,
    UNDER_LOAD_QUEUED_HANDSHAKES,
)
from tunnel.protocol.cookie import CookieGenerator
from tunnel.protocol.device import Device
from tunnel.protocol.events import UnderLoad
from tunnel.protocol.ratelimiter import BURST
from tunnel.testing.network import Network, SimulatedHost
from tunnel.wire.messages import (
    COOKIE_REPLY_SIZE,
    INITIATION_SIZE,
    RESPONSE_SIZE,
    MessageType,
    message_type,
    parse_cookie_reply,
)
from tunnel.wire.train import Train

STRANGER = Endpoint("203.0.113.9", 999)
STRANGER_KEY = PrivateKey(b"s" * 32)
COOKIE_REPLY = MessageType.COOKIE_REPLY


def flood(network: Network, host: SimulatedHost, count: int = UNDER_LOAD_HANDSHAKES_PER_SECOND + 1) -> None:
    """Outsiders send so many initiations with a right MAC1, at once; all that is made of them is thrown away."""
    message = initiation(STRANGER_KEY, host.public_key)
    datagrams = [Train.single(memoryview(bytearray(message))) for _ in range(count)]
    host.device.receive(datagrams, [STRANGER] * count, network.clock.now())
    while host.device.deadline == -inf:
        host.device.expire(network.clock.now())
    host.device.take_datagrams()
    network.flush(host)


def receive(device: Device, datagram: bytes, source: Endpoint, now: float) -> list[bytes]:
    """What comes back at once, before any handshake has its turn."""
    device.receive([Train.single(memoryview(bytearray(datagram)))], [source], now)
    return [bytes(answer.buffer) for answer, _ in device.take_datagrams()]


class Outsider:
    """Someone who knows a public key, no more, and learns cookies at many addresses."""

    def __init__(self, device: Device, public_key: PublicKey, now: float) -> None:
        self.device = device
        self.public_key = public_key
        self.now = now
        self.message = initiation(STRANGER_KEY, public_key)

    def prove(self, source: Endpoint) -> bytes:
        """The message with the MAC2 that is right at this source."""
        generator = CookieGenerator(self.public_key)
        generator.add_macs(self.message, self.now)
        (answer,) = receive(self.device, self.message, source, self.now)
        reply = parse_cookie_reply(answer)
        assert reply is not None
        assert generator.consume_reply(reply, self.now)
        return generator.add_macs(self.message, self.now)


def create_outsider() -> tuple[Network, SimulatedHost, Outsider]:
    network, _, right = create_pair()
    flood(network, right)
    return network, right, Outsider(right.device, right.public_key, network.clock.now())


def test_a_flood_puts_us_under_load_until_a_second_after_it() -> None:
    network, _, right = create_pair()
    flood(network, right)
    network.run(0.9)
    assert right.events == [UnderLoad(True)]
    network.run(0.2)
    assert right.events == [UnderLoad(True), UnderLoad(False)]


def test_a_long_queue_puts_us_under_load_too() -> None:
    network, _, right = create_pair()
    message = initiation(STRANGER_KEY, right.public_key)
    for number in range(UNDER_LOAD_QUEUED_HANDSHAKES + 1):
        receive(right.device, message, STRANGER, network.clock.now() + number / 400)
    assert right.device.take_events() == [UnderLoad(True)]


def test_handshakes_with_a_wrong_mac1_are_no_load() -> None:
    network, _, right = create_pair()
    message = initiation(STRANGER_KEY, STRANGER_KEY.public_key)
    count = UNDER_LOAD_HANDSHAKES_PER_SECOND * 2
    trains = [Train.single(memoryview(bytearray(message)))] * count
    right.device.receive(trains, [STRANGER] * count, network.clock.now())
    assert right.device.take_events() == []
    assert right.drops() == {"wrong_mac1": count}


def test_an_initiation_is_answered_with_a_cookie_and_then_with_it_accepted() -> None:
    network, left, right = create_pair()
    flood(network, right)
    left.send_to(right, b"hello")
    network.run(0.5)
    assert len(right.sent_of(COOKIE_REPLY)) == 1
    assert right.received == []
    network.run(4.3)
    flood(network, right)
    network.run_until(lambda: right.received == [b"hello"], 1)
    assert len(left.sent_of(MessageType.HANDSHAKE_INITIATION)) == 2
    assert len(right.sent_of(COOKIE_REPLY)) == 1


def test_without_load_nobody_is_asked_for_a_cookie() -> None:
    network, left, right = create_pair()
    left.send_to(right, b"hello")
    network.run(1)
    assert right.sent_of(COOKIE_REPLY) == []
    assert right.received == [b"hello"]


def test_a_cookie_that_is_not_asked_for_any_more_does_no_harm() -> None:
    network, left, right = create_pair()
    flood(network, right)
    left.send_to(right, b"hello")
    network.run(7)
    assert right.received == [b"hello"]


def test_a_response_is_answered_with_a_cookie_too() -> None:
    network, left, right = create_pair()
    held = hold(network, MessageType.HANDSHAKE_RESPONSE)
    left.send_to(right, b"hello")
    network.run(0.1)
    let_pass(network)
    flood(network, left)
    network.inject(*held[0])
    network.run(0.1)
    assert len(left.sent_of(COOKIE_REPLY)) == 1
    network.run(4.7)
    flood(network, left)
    network.run_until(lambda: right.received == [b"hello"], 1)
    assert right.drops() == {}


def test_sessions_go_on_under_load() -> None:
    network, left, right = create_session()
    flood(network, right)
    left.send_to(right, b"hello")
    network.run(0.1)
    assert right.received == [b"hello"]


def test_data_does_not_wait_for_handshakes() -> None:
    network, left, right = create_session()
    held = hold(network)
    left.send_to(right, b"hello")
    message = initiation(STRANGER_KEY, right.public_key)
    batch = [message] * 300 + [held[0][2]]
    trains = [Train.single(memoryview(bytearray(each))) for each in batch]
    right.device.receive(trains, [STRANGER] * 301, network.clock.now())
    assert len(right.device.take_packets()) == 1


def test_a_wrong_mac1_is_met_with_silence_under_load_as_well() -> None:
    network, _, right = create_pair()
    flood(network, right)
    message = initiation(STRANGER_KEY, STRANGER_KEY.public_key)
    assert receive(right.device, message, STRANGER, network.clock.now()) == []


@pytest.mark.parametrize("size", [INITIATION_SIZE, RESPONSE_SIZE])
def test_a_cookie_reply_is_never_larger_than_what_asked_for_it(size: int) -> None:
    network, _, right = create_pair()
    flood(network, right)
    message = bytes([1 if size == INITIATION_SIZE else 2]) + bytes(size - 1)
    asking = CookieGenerator(right.public_key).add_macs(message, 0.0)
    (answer,) = receive(right.device, asking, STRANGER, network.clock.now())
    assert message_type(answer) == COOKIE_REPLY
    assert len(answer) == COOKIE_REPLY_SIZE < size


def test_a_cookie_is_good_only_where_it_was_sent() -> None:
    _, right, outsider = create_outsider()
    proof = outsider.prove(STRANGER)
    before = right.drops()["wrong_mac2"]
    for elsewhere in (Endpoint("203.0.113.10", 999), Endpoint("203.0.113.9", 998)):
        (answer,) = receive(right.device, proof, elsewhere, outsider.now)
        assert message_type(answer) == COOKIE_REPLY
    assert right.drops()["wrong_mac2"] == before + 2


def test_a_cookie_is_good_for_two_minutes() -> None:
    network, right, outsider = create_outsider()
    proof = outsider.prove(STRANGER)
    assert receive(right.device, proof, STRANGER, network.clock.now()) == []
    network.run(120)
    flood(network, right)
    (answer,) = receive(right.device, proof, STRANGER, network.clock.now())
    assert message_type(answer) == COOKIE_REPLY


def test_who_has_proved_its_address_is_still_limited() -> None:
    _, right, outsider = create_outsider()
    proof = outsider.prove(STRANGER)
    for _ in range(BURST + 3):
        assert receive(right.device, proof, STRANGER, outsider.now) == []
    assert right.drops()["rate_limited"] == 3


def test_addresses_of_one_ipv6_network_share_a_bucket() -> None:
    _, right, outsider = create_outsider()
    for number in range(BURST + 3):
        source = Endpoint(f"2001:db8::{number + 1:x}", 999)
        receive(right.device, outsider.prove(source), source, outsider.now)
    assert right.drops()["rate_limited"] == 3


def test_the_queue_of_handshakes_ends() -> None:
    _, right, outsider = create_outsider()
    for number in range(MAX_QUEUED_HANDSHAKES // BURST + 1):
        source = Endpoint(f"198.18.{number >> 8}.{number & 255}", 999)
        proof = outsider.prove(source)
        for _ in range(BURST):
            receive(right.device, proof, source, outsider.now)
    assert len(right.device._intake) == MAX_QUEUED_HANDSHAKES
    surplus = (MAX_QUEUED_HANDSHAKES // BURST + 1) * BURST - MAX_QUEUED_HANDSHAKES
    assert right.drops()["handshake_queue_full"] == surplus


def test_a_turn_consumes_a_few_handshakes_and_asks_for_the_next_turn() -> None:
    network, _, right = create_pair()
    message = initiation(STRANGER_KEY, right.public_key)
    count = HANDSHAKE_BUDGET + 1
    trains = [Train.single(memoryview(bytearray(message)))] * count
    right.device.receive(trains, [STRANGER] * count, network.clock.now())
    right.device.expire(network.clock.now())
    assert right.drops() == {"unknown_peer": HANDSHAKE_BUDGET}
    assert right.device.deadline == -inf
    right.device.expire(network.clock.now())
    assert right.drops() == {"unknown_peer": count}
    assert right.device.deadline == inf


def test_the_load_meter_wakes_the_device_to_say_that_it_is_over() -> None:
    network, _, right = create_pair()
    flood(network, right)
    assert right.device.deadline == network.clock.now() + 1


def test_a_forged_cookie_reply_does_not_replace_a_cookie() -> None:
    network, left, right = create_pair()
    flood(network, right)
    held = hold(network, COOKIE_REPLY)
    left.send_to(right, b"hello")
    network.run(0.1)
    source, destination, reply = held[0]
    let_pass(network)
    network.inject(source, destination, reply[:40] + bytes(24))
    network.inject(source, destination, reply)
    network.run(0.1)
    assert left.drops() == {"unexpected_cookie": 1}
    assert peer_of(left, right).handshakes._cookie._cookie != b""


def test_a_cookie_reply_is_good_once() -> None:
    network, left, right = create_pair()
    flood(network, right)
    network.duplication = 1.0
    left.send_to(right, b"hello")
    network.run(0.1)
    assert left.drops()["unexpected_cookie"] >= 1

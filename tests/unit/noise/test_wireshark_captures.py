"""Real handshakes, captured between kernels: every byte is reproduced from the private keys."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.vectors import load
from tunnel.keys import PresharedKey, PrivateKey, PublicKey, Rng
from tunnel.noise.handshake import Initiator, Responder, TransportKeys, compute_static_shared
from tunnel.protocol.cookie import CookieChecker, CookieGenerator
from tunnel.wire.messages import (
    TRANSPORT_HEADER,
    TRANSPORT_HEADER_SIZE,
    Initiation,
    MessageType,
    Response,
    pack_initiation,
    pack_response,
    parse_initiation,
    parse_response,
)

Case = dict[str, Any]
CASES: list[Case] = load("wireshark")["cases"]
TRANSPORT = [(case, packet) for case in CASES for packet in case["transport"]]
NO_RNG: Rng = bytes


def private(case: Case, name: str) -> PrivateKey:
    return PrivateKey(bytes.fromhex(case[name]))


def psk(case: Case) -> PresharedKey:
    return PresharedKey(bytes.fromhex(case["preshared_key"]))


def initiator(case: Case) -> Initiator:
    return Initiator(
        private(case, "initiator_static_private"),
        PublicKey(bytes.fromhex(case["responder_static_public"])),
        psk(case),
        private(case, "initiator_ephemeral_private"),
    )


def respond(case: Case) -> tuple[bytes, bytes, TransportKeys]:
    initiation = parse_initiation(bytes.fromhex(case["initiation"]))
    assert initiation is not None
    static = private(case, "responder_static_private")
    handshake = Responder(static).consume_initiation(initiation.ephemeral, initiation.static)
    assert handshake is not None
    assert handshake.initiator.raw.hex() == case["initiator_static_public"]
    shared = compute_static_shared(static, handshake.initiator)
    assert shared is not None
    timestamp = handshake.consume_timestamp(shared, initiation.timestamp)
    assert timestamp is not None
    assert timestamp.hex() == case["timestamp_tai64n"]
    return handshake.create_response(private(case, "responder_ephemeral_private"), psk(case))


@pytest.mark.parametrize("case", CASES)
def test_the_public_keys_are_those_of_the_private_ones(case: Case) -> None:
    for side in ("initiator", "responder"):
        assert private(case, f"{side}_static_private").public_key.to_hex() == case[f"{side}_static_public"]


@pytest.mark.parametrize("case", CASES)
def test_the_initiation_is_reproduced_with_its_macs(case: Case) -> None:
    fields = initiator(case).create_initiation(bytes.fromhex(case["timestamp_tai64n"]))
    message = pack_initiation(Initiation(case["initiator_index"], *fields))
    macs = CookieGenerator(private(case, "responder_static_private").public_key)
    assert macs.add_macs(message, 0.0).hex() == case["initiation"]


@pytest.mark.parametrize("case", CASES)
def test_the_response_is_reproduced_with_its_macs(case: Case) -> None:
    ephemeral, nothing, _ = respond(case)
    message = pack_response(Response(case["responder_index"], case["initiator_index"], ephemeral, nothing))
    macs = CookieGenerator(private(case, "initiator_static_private").public_key)
    assert macs.add_macs(message, 0.0).hex() == case["response"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("message", "receiver"), [("initiation", "responder"), ("response", "initiator")])
def test_the_captured_mac1_is_right(case: Case, message: str, receiver: str) -> None:
    checker = CookieChecker(private(case, f"{receiver}_static_private").public_key, NO_RNG)
    assert checker.check_mac1(bytes.fromhex(case[message]))


@pytest.mark.parametrize("case", CASES)
def test_both_sides_derive_the_captured_transport_keys(case: Case) -> None:
    sending = bytes.fromhex(case["initiator_sending_key"])
    receiving = bytes.fromhex(case["initiator_receiving_key"])
    side = initiator(case)
    side.create_initiation(bytes.fromhex(case["timestamp_tai64n"]))
    response = parse_response(bytes.fromhex(case["response"]))
    assert response is not None
    initiators = side.consume_response(response.ephemeral, response.nothing)
    assert initiators is not None
    assert (initiators.send, initiators.receive) == (sending, receiving)
    responders = respond(case)[2]
    assert (responders.send, responders.receive) == (receiving, sending)


@pytest.mark.parametrize(("case", "packet"), TRANSPORT)
def test_a_captured_transport_packet_is_reproduced(case: Case, packet: Case) -> None:
    keys = respond(case)[2]
    is_from_initiator = packet["direction"] == "initiator->responder"
    receiver = case["responder_index" if is_from_initiator else "initiator_index"]
    header = TRANSPORT_HEADER.pack(MessageType.TRANSPORT_DATA, receiver, packet["counter"])
    cipher = ChaCha20Poly1305(keys.receive if is_from_initiator else keys.send)
    nonce = bytes(4) + header[TRANSPORT_HEADER_SIZE - 8 :]
    sealed = cipher.encrypt(nonce, bytes.fromhex(packet["plaintext_padded"]), None)
    assert (header + sealed).hex() == packet["packet"]


def test_all_captured_packets_are_there() -> None:
    assert (len(CASES), len(TRANSPORT)) == (4, 18)

"""The official Noise vectors: prologue, payloads, with and without a preshared key, and the messages after Split."""

from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.vectors import load
from tunnel.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey
from tunnel.noise.handshake import Initiator, Protocol, Responder, TransportKeys, compute_static_shared

Vector = dict[str, Any]
VECTORS: list[Vector] = load("noise")["vectors"]
NAMES = [f"{vector['_source']}-{vector['protocol_name']}" for vector in VECTORS]


def private(vector: Vector, name: str) -> PrivateKey:
    return PrivateKey(bytes.fromhex(vector[name]))


def psk(vector: Vector, side: str) -> PresharedKey:
    keys = vector.get(f"{side}_psks")
    return PresharedKey(bytes.fromhex(keys[0])) if keys else NO_PRESHARED_KEY


def payload(vector: Vector, number: int) -> bytes:
    return bytes.fromhex(vector["messages"][number]["payload"])


def ciphertext(vector: Vector, number: int) -> bytes:
    return bytes.fromhex(vector["messages"][number]["ciphertext"])


def protocol(vector: Vector, side: str) -> Protocol:
    return Protocol(vector["protocol_name"].encode(), bytes.fromhex(vector[f"{side}_prologue"]))


def initiator(vector: Vector) -> Initiator:
    return Initiator(
        private(vector, "init_static"),
        PublicKey(bytes.fromhex(vector["init_remote_static"])),
        psk(vector, "init"),
        private(vector, "init_ephemeral"),
        protocol=protocol(vector, "init"),
    )


def respond(vector: Vector) -> tuple[bytes, bytes, bytes, TransportKeys]:
    """The opened first payload, then what `create_response` returns for the vector's initiation."""
    first = ciphertext(vector, 0)
    static = private(vector, "resp_static")
    handshake = Responder(static, protocol=protocol(vector, "resp")).consume_initiation(first[:32], first[32:80])
    assert handshake is not None
    shared = compute_static_shared(static, handshake.initiator)
    assert shared is not None
    opened = handshake.consume_timestamp(shared, first[80:])
    assert opened is not None
    response = handshake.create_response(private(vector, "resp_ephemeral"), psk(vector, "resp"), payload(vector, 1))
    return opened, *response


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_the_initiation_is_that_of_the_vector(vector: Vector) -> None:
    assert b"".join(initiator(vector).create_initiation(payload(vector, 0))) == ciphertext(vector, 0)


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_the_responder_reads_the_initiation(vector: Vector) -> None:
    assert respond(vector)[0] == payload(vector, 0)


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_the_response_is_that_of_the_vector(vector: Vector) -> None:
    _, ephemeral, sealed, _ = respond(vector)
    assert ephemeral + sealed == ciphertext(vector, 1)


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_the_initiator_reads_the_response(vector: Vector) -> None:
    side = initiator(vector)
    side.create_initiation(payload(vector, 0))
    second = ciphertext(vector, 1)
    keys = side.consume_response(second[:32], second[32:])
    bobs = respond(vector)[3]
    assert keys is not None
    assert keys.payload == payload(vector, 1)
    assert (keys.send, keys.receive, keys.handshake_hash) == (bobs.receive, bobs.send, bobs.handshake_hash)


@pytest.mark.parametrize("vector", [vector for vector in VECTORS if "handshake_hash" in vector])
def test_the_handshake_hash_is_that_of_the_vector(vector: Vector) -> None:
    assert respond(vector)[3].handshake_hash.hex() == vector["handshake_hash"]


@pytest.mark.parametrize("vector", VECTORS, ids=NAMES)
def test_the_transport_messages_are_those_of_the_vector(vector: Vector) -> None:
    """The initiator sends the third message and they take turns; each side counts its own."""
    keys = respond(vector)[3]
    ciphers = (ChaCha20Poly1305(keys.receive), ChaCha20Poly1305(keys.send))
    assert len(vector["messages"]) > 2
    for number in range(2, len(vector["messages"])):
        nonce = bytes(4) + ((number - 2) // 2).to_bytes(8, "little")
        assert ciphers[number % 2].encrypt(nonce, payload(vector, number), b"") == ciphertext(vector, number)

"""One conversation between two identities, and everything that can be wrong with it."""

from typing import NamedTuple

import pytest

from tests.vectors import load
from tunnel.keys import NO_PRESHARED_KEY, PresharedKey, PrivateKey, PublicKey
from tunnel.noise.handshake import (
    CERTIFIED,
    WIREGUARD,
    IncomingHandshake,
    Initiator,
    Protocol,
    Responder,
    TransportKeys,
    compute_static_shared,
)

ALICE, BOB, EVE = (PrivateKey(bytes([number]) * 32) for number in (1, 2, 3))
ALICE_EPHEMERAL, BOB_EPHEMERAL, EVE_EPHEMERAL = (PrivateKey(bytes([number]) * 32) for number in (4, 5, 6))
PSK = PresharedKey(b"p" * 32)
TIMESTAMP = b"twelve bytes"

LOW_ORDER = [PublicKey.from_base64(text) for text in load("tables")["low_order_points_base64"]]


class Wire(NamedTuple):
    """The fields of an initiation."""

    ephemeral: bytes
    static: bytes
    timestamp: bytes


def shared(one: PrivateKey, other: PrivateKey) -> bytes:
    secret = compute_static_shared(one, other.public_key)
    assert secret is not None
    return secret


def alice(psk: PresharedKey = PSK) -> Initiator:
    return Initiator(ALICE, BOB.public_key, psk, ALICE_EPHEMERAL)


def incoming(wire: Wire) -> IncomingHandshake:
    """The handshake as Bob has it after the first step, which must succeed."""
    handshake = Responder(BOB).consume_initiation(wire.ephemeral, wire.static)
    assert handshake is not None
    return handshake


def respond(wire: Wire, psk: PresharedKey = PSK) -> tuple[bytes, bytes, TransportKeys]:
    handshake = incoming(wire)
    assert handshake.consume_timestamp(shared(BOB, ALICE), wire.timestamp) == TIMESTAMP
    return handshake.create_response(BOB_EPHEMERAL, psk)


def flip(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def test_both_sides_get_the_same_keys_crossed_over() -> None:
    initiator = alice()
    ephemeral, nothing, bobs = respond(Wire(*initiator.create_initiation(TIMESTAMP)))
    alices = initiator.consume_response(ephemeral, nothing)
    assert alices is not None
    assert (alices.send, alices.receive) == (bobs.receive, bobs.send)
    assert alices.send != alices.receive
    assert alices.handshake_hash == bobs.handshake_hash


def test_the_responder_learns_who_it_is_before_the_timestamp() -> None:
    assert incoming(Wire(*alice().create_initiation(TIMESTAMP))).initiator == ALICE.public_key


def test_a_precomputed_shared_secret_makes_no_difference() -> None:
    precomputed = Initiator(ALICE, BOB.public_key, PSK, ALICE_EPHEMERAL, static_shared=shared(ALICE, BOB))
    assert precomputed.create_initiation(TIMESTAMP) == alice().create_initiation(TIMESTAMP)


def test_an_initiation_to_someone_else_is_refused() -> None:
    wire = Wire(*Initiator(ALICE, EVE.public_key, PSK, ALICE_EPHEMERAL).create_initiation(TIMESTAMP))
    assert Responder(BOB).consume_initiation(wire.ephemeral, wire.static) is None


@pytest.mark.parametrize("position", range(31))
def test_an_initiation_with_another_ephemeral_key_is_refused(position: int) -> None:
    wire = Wire(*alice().create_initiation(TIMESTAMP))
    assert Responder(BOB).consume_initiation(flip(wire.ephemeral, position), wire.static) is None


def test_the_unused_bit_of_an_ephemeral_key_is_authenticated_too() -> None:
    wire = Wire(*alice().create_initiation(TIMESTAMP))
    same_point = wire.ephemeral[:31] + bytes([wire.ephemeral[31] ^ 0x80])
    assert Responder(BOB).consume_initiation(same_point, wire.static) is None


@pytest.mark.parametrize("position", range(48))
def test_an_initiation_with_a_flipped_static_key_is_refused(position: int) -> None:
    wire = Wire(*alice().create_initiation(TIMESTAMP))
    assert Responder(BOB).consume_initiation(wire.ephemeral, flip(wire.static, position)) is None


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_static_key_of_another_size_is_refused(size: int) -> None:
    state = WIREGUARD.begin(BOB.public_key)
    WIREGUARD.mix_ephemeral(state, ALICE_EPHEMERAL.public_key.raw)
    state.mix_key(ALICE_EPHEMERAL.exchange(BOB.public_key.raw))
    sealed = state.encrypt_and_hash(bytes(size))
    assert Responder(BOB).consume_initiation(ALICE_EPHEMERAL.public_key.raw, sealed) is None


def test_who_does_not_hold_the_static_key_it_claims_is_refused_at_the_timestamp() -> None:
    state = WIREGUARD.begin(BOB.public_key)
    WIREGUARD.mix_ephemeral(state, EVE_EPHEMERAL.public_key.raw)
    state.mix_key(EVE_EPHEMERAL.exchange(BOB.public_key.raw))
    static = state.encrypt_and_hash(ALICE.public_key.raw)
    state.mix_key(EVE.exchange(BOB.public_key.raw))
    handshake = incoming(Wire(EVE_EPHEMERAL.public_key.raw, static, b""))
    assert handshake.initiator == ALICE.public_key
    assert handshake.consume_timestamp(shared(BOB, ALICE), state.encrypt_and_hash(TIMESTAMP)) is None


@pytest.mark.parametrize("position", range(28))
def test_a_flipped_timestamp_is_refused(position: int) -> None:
    wire = Wire(*alice().create_initiation(TIMESTAMP))
    assert incoming(wire).consume_timestamp(shared(BOB, ALICE), flip(wire.timestamp, position)) is None


def test_a_refused_timestamp_leaves_the_handshake_as_it_was() -> None:
    wire = Wire(*alice().create_initiation(TIMESTAMP))
    handshake = incoming(wire)
    assert handshake.consume_timestamp(shared(BOB, ALICE), flip(wire.timestamp, 0)) is None
    assert handshake.consume_timestamp(shared(BOB, EVE), wire.timestamp) is None
    assert handshake.consume_timestamp(shared(BOB, ALICE), wire.timestamp) == TIMESTAMP
    assert handshake.create_response(BOB_EPHEMERAL, PSK) == respond(wire)


def test_a_responder_keeps_nothing_of_a_handshake() -> None:
    responder = Responder(BOB)
    first = Wire(*alice().create_initiation(TIMESTAMP))
    second = Wire(*Initiator(EVE, BOB.public_key, PSK, EVE_EPHEMERAL).create_initiation(TIMESTAMP))
    assert responder.consume_initiation(first.ephemeral, flip(first.static, 0)) is None
    one = responder.consume_initiation(first.ephemeral, first.static)
    two = responder.consume_initiation(second.ephemeral, second.static)
    assert one is not None
    assert two is not None
    assert (one.initiator, two.initiator) == (ALICE.public_key, EVE.public_key)
    assert one.consume_timestamp(shared(BOB, ALICE), first.timestamp) == TIMESTAMP


@pytest.mark.parametrize("position", range(32))
def test_a_response_with_another_ephemeral_key_is_refused(position: int) -> None:
    initiator = alice()
    ephemeral, nothing, _ = respond(Wire(*initiator.create_initiation(TIMESTAMP)))
    assert initiator.consume_response(flip(ephemeral, position), nothing) is None


@pytest.mark.parametrize("position", range(16))
def test_a_response_with_a_flipped_tag_is_refused(position: int) -> None:
    initiator = alice()
    ephemeral, nothing, _ = respond(Wire(*initiator.create_initiation(TIMESTAMP)))
    assert initiator.consume_response(ephemeral, flip(nothing, position)) is None


def test_a_right_response_still_works_after_a_wrong_one() -> None:
    initiator = alice()
    ephemeral, nothing, bobs = respond(Wire(*initiator.create_initiation(TIMESTAMP)))
    assert initiator.consume_response(ephemeral, flip(nothing, 0)) is None
    assert initiator.consume_response(EVE_EPHEMERAL.public_key.raw, nothing) is None
    alices = initiator.consume_response(ephemeral, nothing)
    assert alices is not None
    assert alices.send == bobs.receive


@pytest.mark.parametrize(("alices", "bobs"), [(PSK, NO_PRESHARED_KEY), (NO_PRESHARED_KEY, PSK)])
def test_different_preshared_keys_do_not_agree(alices: PresharedKey, bobs: PresharedKey) -> None:
    initiator = alice(alices)
    ephemeral, nothing, _ = respond(Wire(*initiator.create_initiation(TIMESTAMP)), bobs)
    assert initiator.consume_response(ephemeral, nothing) is None


def test_a_response_to_another_initiation_is_refused() -> None:
    older, newer = alice(), Initiator(ALICE, BOB.public_key, PSK, EVE_EPHEMERAL)
    ephemeral, nothing, _ = respond(Wire(*older.create_initiation(TIMESTAMP)))
    newer.create_initiation(TIMESTAMP)
    assert newer.consume_response(ephemeral, nothing) is None


def test_a_second_initiation_from_one_initiator_is_a_bug() -> None:
    initiator = alice()
    initiator.create_initiation(TIMESTAMP)
    with pytest.raises(AssertionError):
        initiator.create_initiation(b"another time")


def test_a_response_before_the_timestamp_is_a_bug() -> None:
    handshake = incoming(Wire(*alice().create_initiation(TIMESTAMP)))
    with pytest.raises(AssertionError):
        handshake.create_response(BOB_EPHEMERAL, PSK)


@pytest.mark.parametrize("point", LOW_ORDER)
def test_there_is_no_shared_secret_with_a_low_order_key(point: PublicKey) -> None:
    assert compute_static_shared(BOB, point) is None


@pytest.mark.parametrize("point", LOW_ORDER)
def test_an_initiation_with_a_low_order_ephemeral_key_is_refused(point: PublicKey) -> None:
    """Sealed with the all-zero secret, as someone would who hoped for it."""
    state = WIREGUARD.begin(BOB.public_key)
    WIREGUARD.mix_ephemeral(state, point.raw)
    state.mix_key(bytes(32))
    assert Responder(BOB).consume_initiation(point.raw, state.encrypt_and_hash(ALICE.public_key.raw)) is None


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_response_with_a_low_order_ephemeral_key_is_refused(point: PublicKey) -> None:
    initiator = alice()
    initiator.create_initiation(TIMESTAMP)
    assert initiator.consume_response(point.raw, bytes(16)) is None


@pytest.mark.parametrize("point", LOW_ORDER)
def test_an_initiation_to_a_low_order_key_is_not_made(point: PublicKey) -> None:
    with pytest.raises(ValueError, match="shared key"):
        Initiator(ALICE, point, PSK, ALICE_EPHEMERAL).create_initiation(TIMESTAMP)


def test_transport_keys_do_not_show_themselves() -> None:
    keys = TransportKeys(b"send" * 8, b"recv" * 8, b"hash" * 8, b"payload")
    assert repr(keys) == str(keys) == "TransportKeys(redacted)"


# ── the certified handshake ──────────────────────────────────────────────────────────────────────────────────────────

CHAIN, ANSWER = b"a chain" * 100, b"another chain" * 80


def certified(psk: PresharedKey = PSK) -> Initiator:
    return Initiator(ALICE, BOB.public_key, psk, ALICE_EPHEMERAL, protocol=CERTIFIED)


def certified_incoming(wire: Wire) -> IncomingHandshake:
    handshake = Responder(BOB, protocol=CERTIFIED).consume_initiation(wire.ephemeral, wire.static)
    assert handshake is not None
    return handshake


def test_a_certified_handshake_carries_something_both_ways() -> None:
    initiator = certified()
    handshake = certified_incoming(wire := Wire(*initiator.create_initiation(TIMESTAMP + CHAIN)))
    assert handshake.consume_timestamp(shared(BOB, ALICE), wire.timestamp) == TIMESTAMP + CHAIN
    ephemeral, sealed, bobs = handshake.create_response(BOB_EPHEMERAL, PSK, ANSWER)
    alices = initiator.consume_response(ephemeral, sealed)
    assert alices is not None
    assert alices.payload == ANSWER
    assert (alices.send, alices.receive) == (bobs.receive, bobs.send)


@pytest.mark.parametrize(("made", "read"), [(WIREGUARD, CERTIFIED), (CERTIFIED, WIREGUARD)])
def test_an_initiation_of_one_protocol_is_none_of_the_other(made: Protocol, read: Protocol) -> None:
    ephemeral, static, _ = Initiator(ALICE, BOB.public_key, PSK, ALICE_EPHEMERAL, protocol=made).create_initiation(
        TIMESTAMP
    )
    assert Responder(BOB, protocol=read).consume_initiation(ephemeral, static) is None
    assert Responder(BOB, protocol=made).consume_initiation(ephemeral, static) is not None


def test_the_same_conversation_in_both_protocols_has_no_seal_in_common() -> None:
    """The prologue is in what is authenticated, not in the keys (Noise paper, section 6): ephemerals make those new."""
    seals: list[bytes] = []
    for protocol in (WIREGUARD, CERTIFIED):
        initiator = Initiator(ALICE, BOB.public_key, PSK, ALICE_EPHEMERAL, protocol=protocol)
        wire = Wire(*initiator.create_initiation(TIMESTAMP))
        handshake = Responder(BOB, protocol=protocol).consume_initiation(wire.ephemeral, wire.static)
        assert handshake is not None
        handshake.consume_timestamp(shared(BOB, ALICE), wire.timestamp)
        _, sealed, bobs = handshake.create_response(BOB_EPHEMERAL, PSK)
        seals += [wire.static[-16:], wire.timestamp[-16:], sealed, bobs.handshake_hash]
    assert len(set(seals)) == len(seals)


@pytest.mark.parametrize("position", [0, 11, 12, 500, 711, 712, 727])
def test_a_flipped_payload_is_refused(position: int) -> None:
    wire = Wire(*certified().create_initiation(TIMESTAMP + CHAIN))
    assert len(wire.timestamp) == 728
    assert certified_incoming(wire).consume_timestamp(shared(BOB, ALICE), flip(wire.timestamp, position)) is None


@pytest.mark.parametrize("position", [0, 500, 1039, 1040, 1055])
def test_a_response_with_a_flipped_payload_is_refused(position: int) -> None:
    initiator = certified()
    handshake = certified_incoming(wire := Wire(*initiator.create_initiation(TIMESTAMP + CHAIN)))
    handshake.consume_timestamp(shared(BOB, ALICE), wire.timestamp)
    ephemeral, sealed, _ = handshake.create_response(BOB_EPHEMERAL, PSK, ANSWER)
    assert len(sealed) == 1056
    assert initiator.consume_response(ephemeral, flip(sealed, position)) is None
    assert initiator.consume_response(ephemeral, sealed) is not None


def test_the_chain_of_the_responder_is_for_who_has_both_keys_of_the_initiator() -> None:
    """Who has the initiator's static key, and records, cannot read it: it is sealed under the ephemeral ones too."""
    initiator = certified()
    handshake = certified_incoming(wire := Wire(*initiator.create_initiation(TIMESTAMP + CHAIN)))
    handshake.consume_timestamp(shared(BOB, ALICE), wire.timestamp)
    ephemeral, sealed, _ = handshake.create_response(BOB_EPHEMERAL, PSK, ANSWER)
    thief = Initiator(ALICE, BOB.public_key, PSK, EVE_EPHEMERAL, protocol=CERTIFIED)
    thief.create_initiation(TIMESTAMP + CHAIN)
    assert thief.consume_response(ephemeral, sealed) is None


@pytest.mark.parametrize("point", LOW_ORDER)
def test_low_order_ephemeral_keys_are_refused_in_it_too(point: PublicKey) -> None:
    state = CERTIFIED.begin(BOB.public_key)
    CERTIFIED.mix_ephemeral(state, point.raw)
    state.mix_key(bytes(32))
    static = state.encrypt_and_hash(ALICE.public_key.raw)
    assert Responder(BOB, protocol=CERTIFIED).consume_initiation(point.raw, static) is None
    initiator = certified()
    initiator.create_initiation(TIMESTAMP + CHAIN)
    assert initiator.consume_response(point.raw, bytes(1056)) is None


def test_what_a_response_carried_does_not_show_itself() -> None:
    assert "chain" not in repr(TransportKeys(b"send" * 8, b"recv" * 8, payload=b"chain"))

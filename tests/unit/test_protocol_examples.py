"""docs/protocol-examples.md: every byte of it is what our devices say (tests/unit/conversation.py,
certified_conversation.py).

That other people's primitives agree is in test_protocol_examples_opened.py.
"""

from collections.abc import Callable, Iterator
from functools import cache

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.properties.slices import slices_of
from tests.unit import certified_conversation
from tests.unit.conversation import Beginning, Given, Side, begin, frames_of, greet
from tests.unit.examples import DOCUMENT, PARTIAL, SUPERPACKET, Fields, Layout, lay_out, read_examples, whole
from tunnel.endpoint import Endpoint
from tunnel.keys import PrivateKey
from tunnel.noise.primitives import hchacha20
from tunnel.pki.authority import Authority, create_authority
from tunnel.pki.issuer import authority_hash
from tunnel.protocol.cookie import CookieChecker, CookieGenerator, cookie_key, mac1_key, pack_source
from tunnel.protocol.credentials import AuthorityId
from tunnel.protocol.enquiry import answer_key
from tunnel.wire.certified import pack_chain
from tunnel.wire.control import Capability, Hello, pack_close, pack_hello, pack_probe, pack_probe_ack
from tunnel.wire.messages import TRANSPORT_OVERHEAD, ExtendedFlag, pack_cookie_reply, parse_cookie_reply
from tunnel.wire.tai64n import pack_stamp, tag_stamp

MOMENT = 1767225600_500_000_000
"""2026-01-01 00:00:00.5 UTC, in nanoseconds since 1970."""

ALL = Capability(sum(Capability))
AES = Capability.AES_256_GCM
INITIATOR_OFFERS = ALL & ~Capability.UDP_SLICES
INITIATOR = Endpoint("192.0.2.1", 51820)
RESPONDER = Endpoint("192.0.2.2", 51820)

VALUES = read_examples(DOCUMENT.read_text())

GIVEN = {
    *(
        f"{side} {key}"
        for side in ("initiator", "responder")
        for key in ("private key", "ephemeral private key", "index")
    ),
    *("preshared key", "cookie secret", "cookie nonce"),
    *("authority private key", "request index", "request nonce", "answer nonce"),
    *(f"certificate of the {side}" for side in ("initiator", "responder")),
}
"""Where the example begins; all else follows from it."""

DERIVED = {
    *(f"{value} after message {number}" for value in ("chaining key", "hash") for number in (1, 2, 18, 19)),
    *(f"transport key after message 19, {way}" for way in ("initiator to responder", "responder to initiator")),
    *(
        f"{kind} key, {way}"
        for kind in ("transport", "ChaCha20-Poly1305", "AES-256-GCM")
        for way in ("initiator to responder", "responder to initiator")
    ),
}
"""What only the way there has in it: checked where the messages are opened."""

# ---- how values are made of fields ----------------------------------------------------------------------------------

VALUE = " n"
STAMP = "seconds 8 | nanoseconds 4"
SOURCE = "address 4 | port 2"
_MACS = "mac1 16 | mac2 16"
MESSAGE_1 = (
    "type 1 | reserved 3 | sender 4 | ephemeral 32 | sealed static 32 | static tag 16 | sealed stamp 12 | stamp tag 16"
    f" | {_MACS}"
)
MESSAGE_2 = f"type 1 | reserved 3 | sender 4 | receiver 4 | ephemeral 32 | tag 16 | {_MACS}"
MESSAGE_3 = "type 1 | reserved 3 | receiver 4 | nonce 24 | sealed cookie 16 | tag 16"
MESSAGE_4 = "type 1 | reserved 3 | receiver 4 | counter 8 | sealed content n | tag 16"
MESSAGE_5 = "type 1 | flags 1 | segment size 2 | receiver 4 | counter 8 | sealed content n | tag 16"
MESSAGE_16 = f"type 1 | reserved 3 | sender 4 | nonce 32 | padding 1128 | {_MACS}"
MESSAGE_17 = "type 1 | reserved 3 | receiver 4 | nonce 24 | sealed answer 1152 | tag 16"
MESSAGE_18 = (
    "type 1 | reserved 3 | sender 4 | ephemeral 32 | sealed static 32 | static tag 16 | sealed payload 1064"
    f" | payload tag 16 | {_MACS}"
)
MESSAGE_19 = f"type 1 | reserved 3 | sender 4 | receiver 4 | ephemeral 32 | sealed chain 1108 | chain tag 16 | {_MACS}"
CHAIN = "length 2 | certificate n"
HELLO = "kind 1 | version 1 | capabilities 2 | MTU 2 | padding n"
CLOSE = "kind 1 | padding n"
PROBE = "kind 1 | zero 1 | number 2 | padding n"
_IPV4 = (
    "version, TOS 2 | IP length 2 | identification 2 | fragment 2 | TTL, protocol 2 | IP checksum 2"
    " | source 4 | destination 4"
)
ECHO = f"{_IPV4} | ICMP type, code 2 | ICMP checksum 2 | ICMP id, number 4 | payload 5 | padding n"
TCP = (
    f"{_IPV4} | ports 4 | sequence 4 | acknowledgement 4 | offset, flags 2 | window 2 | TCP checksum 2 | urgent 2"
    " | payload n"
)
FRAME = f"virtio flags 1 | GSO type 1 | header length 2 | GSO size 2 | checksum start 2 | checksum offset 2 | {TCP}"

# ---- what our code makes of what is given ---------------------------------------------------------------------------


def given(name: str) -> bytes:
    return whole(VALUES[name])


def echo_request() -> bytes:
    """Without its padding."""
    return b"".join(value for label, value in VALUES["echo request"].items() if label != "padding")


def side(name: str, number: int, offered: Capability | None) -> Given:
    """The initiator (1) or the responder (2)."""
    return Given(
        private_key=PrivateKey(given(f"{name} private key")),
        ephemeral=given(f"{name} ephemeral private key"),
        index=given(f"{name} index"),
        endpoint=(INITIATOR, RESPONDER)[number - 1],
        network=f"10.0.0.{number}/32",
        mtu=(1400, 1420)[number - 1],
        offered=offered,
    )


def talk(responder_offers: Capability | None = ALL) -> Beginning:
    initiator, responder = side("initiator", 1, INITIATOR_OFFERS), side("responder", 2, responder_offers)
    return begin(initiator, responder, pack_stamp(MOMENT), echo_request())


def padded(content: bytes) -> bytes:
    return content.ljust(-(-len(content) // 16) * 16, b"\0")


Made = Iterator[tuple[str, Layout, bytes]]


def made_keys_and_handshake() -> Made:
    initiator, responder = (PrivateKey(given(f"{name} private key")) for name in ("initiator", "responder"))
    yield "initiator public key", VALUE, initiator.public_key.raw
    yield "responder public key", VALUE, responder.public_key.raw
    yield "stamp", STAMP, tag_stamp(pack_stamp(MOMENT))
    yield "mac1 key of the responder", VALUE, mac1_key(responder.public_key)
    yield "mac1 key of the initiator", VALUE, mac1_key(initiator.public_key)
    talked = talk()
    yield "message 1", MESSAGE_1, talked.initiation
    yield "message 2", MESSAGE_2, talked.response


def made_cookie() -> Made:
    public_key = PrivateKey(given("responder private key")).public_key
    random = {24: given("cookie nonce"), 32: given("cookie secret")}
    checker, generator = CookieChecker(public_key, random.__getitem__), CookieGenerator(public_key)
    message = talk().initiation
    assert generator.add_macs(message, 0) == message
    source = pack_source(INITIATOR)
    receiver = int.from_bytes(given("initiator index"), "little")
    reply = pack_cookie_reply(checker.create_reply(message, receiver, source, 0))
    parsed = parse_cookie_reply(reply)
    assert parsed is not None
    assert generator.consume_reply(parsed, 0)
    yield "source", SOURCE, source
    yield "cookie", VALUE, generator._cookie
    yield "cookie key", VALUE, cookie_key(public_key)
    yield "cookie subkey", VALUE, hchacha20(cookie_key(public_key), given("cookie nonce")[:16])
    yield "message 3", MESSAGE_3, reply
    again = generator.add_macs(message, 0)
    assert checker.check_mac2(again, source, 0)
    yield "message 1 with a cookie", MESSAGE_1, again


def made_packets_and_control() -> Made:
    echo, talked = echo_request(), talk()
    yield "echo request", ECHO, padded(echo)
    yield "message 4 with the echo request", MESSAGE_4, talked.data
    yield "hello of the responder", HELLO, padded(pack_hello(Hello(ALL, 1420)))
    yield "message 4 with the hello of the responder", MESSAGE_4, talked.answer
    yield "hello of the initiator", HELLO, padded(pack_hello(Hello(INITIATOR_OFFERS, 1400)))
    yield "message 4 with the hello of the initiator", MESSAGE_4, greet(talked)
    yield "message 4, keepalive", MESSAGE_4, talk(None).answer
    yield "message 5 with the echo request, AES-256-GCM", MESSAGE_5, talked.initiator.send(echo)
    chacha = talk(ALL & ~AES)
    greet(chacha)
    yield "message 5 with the echo request, ChaCha20-Poly1305", MESSAGE_5, chacha.initiator.send(echo)
    talked.responder.receive(talked.initiator, talked.initiator.send(echo))
    talked.responder.device.expire(talked.responder.device.deadline)
    yield "message 5, keepalive", MESSAGE_5, talked.responder.said()


def made_partial_and_slices() -> Made:
    talked = talk()
    greet(talked)
    initiator, responder = talked.initiator, talked.responder
    initiator.send(echo_request())
    packet = PARTIAL.flow.packet(PARTIAL.payload, is_partial=True)
    sealed = initiator.send(packet, ExtendedFlag.PARTIAL)
    yield "packet with a partial checksum", TCP, packet
    yield "message 5 with a partial checksum", MESSAGE_5, sealed
    yield "frame with a partial checksum", FRAME, frames_of(initiator, responder, [sealed])[0]
    frame = SUPERPACKET.frame()
    yield "superpacket", FRAME, frame
    datagrams = initiator.send_superpacket(frame)
    for number, (each, datagram) in enumerate(zip(slices_of(SUPERPACKET), datagrams, strict=True)):
        yield f"slice {number}", TCP, each.content
        yield f"message 5 with slice {number}", MESSAGE_5, datagram
    yield "frame of all slices", FRAME, frames_of(initiator, responder, datagrams)[0]
    for name, some in (("slices 1 and 2", slice(1, 3)), ("slices 0 and 1", slice(0, 2)), ("slice 2", slice(2, 3))):
        other = talk()
        greet(other)
        yield f"frame of {name}", FRAME, frames_of(other.initiator, other.responder, datagrams[some])[0]
    responder.device.expire(responder.device.deadline)
    responder.said()  # the keepalive
    yield from made_probe_and_close(initiator, responder)


def made_probe_and_close(initiator: Side, responder: Side) -> Made:
    small, _ = initiator.probe()
    yield "probe", PROBE, pack_probe(0, len(small) - TRANSPORT_OVERHEAD)
    yield "message 4 with the probe", MESSAGE_4, small
    responder.receive(initiator, small)
    yield "probe ack", PROBE, padded(pack_probe_ack(0))
    yield "message 4 with the probe ack", MESSAGE_4, responder.said()
    responder.device.down(0)
    yield "close", CLOSE, padded(pack_close())
    yield "message 4 with the close", MESSAGE_4, responder.said()


def certified_side(name: str, number: int, *random: bytes) -> certified_conversation.Given:
    """The initiator (1), or the responder (2)."""
    return certified_conversation.Given(
        private_key=PrivateKey(given(f"{name} private key")),
        endpoint=(INITIATOR, RESPONDER)[number - 1],
        certificate=given(f"certificate of the {name}"),
        authority=authority_hash(given_authority().certificate),
        random=(*random, given(f"{name} ephemeral private key"), given(f"{name} index")),
    )


def given_authority() -> Authority:
    """Only its key matters."""
    return create_authority("example", lambda size: given("authority private key")[:size], MOMENT / 1e9)


def made_certificates() -> Made:
    root = given_authority().certificate
    authority = AuthorityId(authority_hash(root))
    yield "authority public key", VALUE, root.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    yield "authority", VALUE, authority.raw
    yield "mac1 key of the authority", VALUE, mac1_key(authority)
    yield "answer key", VALUE, answer_key(authority)
    yield "answer subkey", VALUE, hchacha20(answer_key(authority), given("answer nonce")[:16])
    for side in ("initiator", "responder"):
        certificate = given(f"certificate of the {side}")
        yield f"chain of the {side}", CHAIN, pack_chain((certificate,), 2 + len(certificate))
    conversation = certified_conversation.converse(
        certified_side("initiator", 1, given("request nonce"), given("request index")),
        certified_side("responder", 2, given("cookie secret"), given("answer nonce")),
        pack_stamp(MOMENT),
    )
    yield "message 16", MESSAGE_16, conversation.request
    yield "message 17", MESSAGE_17, conversation.answer
    yield "message 18", MESSAGE_18, conversation.initiation
    yield "message 19", MESSAGE_19, conversation.response


MAKERS: list[Callable[[], Made]] = [
    made_keys_and_handshake,
    made_cookie,
    made_packets_and_control,
    made_partial_and_slices,
    made_certificates,
]


@cache
def made() -> dict[str, Fields]:
    """Every value by its name, but those that are given and those that only a derivation has."""
    return {name: lay_out(layout, value) for maker in MAKERS for name, layout, value in maker()}


@pytest.mark.parametrize("name", sorted(VALUES.keys() - GIVEN - DERIVED))
def test_a_value_is_what_our_code_makes(name: str) -> None:
    assert VALUES[name] == made()[name]


def test_every_value_has_its_example() -> None:
    assert VALUES.keys() == GIVEN | DERIVED | made().keys()

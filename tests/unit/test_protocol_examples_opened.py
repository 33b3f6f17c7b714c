"""docs/protocol-examples.md, checked with the primitives of `cryptography` and `hashlib` and nothing of ours.

So the document is right if these are, and not only what our code happens to do. Only HChaCha20, which neither has, is
taken from the document: `tests/unit/noise/test_primitives.py` holds ours to the vectors of its draft.
"""

from hashlib import blake2s

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.properties.slices import cut
from tests.properties.superpackets import word_sum
from tests.unit.examples import DOCUMENT, PARTIAL, SUPERPACKET, Fields, read_examples, whole

VALUES = read_examples(DOCUMENT.read_text())


def given(name: str) -> bytes:
    return whole(VALUES[name])


def unpadded(fields: Fields) -> bytes:
    return whole({label: value for label, value in fields.items() if label != "padding"})


def kdf(key: bytes, data: bytes, outputs: int) -> list[bytes]:
    derived = HKDF(hashes.BLAKE2s(32), 32 * outputs, key, b"").derive(data)
    return [derived[start : start + 32] for start in range(0, len(derived), 32)]


def mix(state: bytes, *data: bytes) -> bytes:
    for each in data:
        state = blake2s(state + each).digest()
    return state


def dh(private: str, public: bytes) -> bytes:
    return X25519PrivateKey.from_private_bytes(given(private)).exchange(X25519PublicKey.from_public_bytes(public))


def opened(key: bytes, fields: Fields, sealed: str, tag: str, additional: bytes) -> bytes:
    return ChaCha20Poly1305(key).decrypt(bytes(12), fields.get(sealed, b"") + fields[tag], additional)


def initiated(number: int, prologue: bytes, content: str) -> bytes:
    """What the initiator has sealed in this message, after its static key."""
    message = VALUES[f"message {number}"]
    ck = blake2s(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s").digest()
    h = mix(ck, prologue, given("responder public key"), message["ephemeral"])
    (ck,) = kdf(ck, message["ephemeral"], 1)
    ck, k = kdf(ck, dh("responder private key", message["ephemeral"]), 2)
    assert opened(k, message, "sealed static", "static tag", h) == given("initiator public key")
    h = mix(h, message["sealed static"] + message["static tag"])
    ck, k = kdf(ck, dh("responder private key", given("initiator public key")), 2)
    payload = opened(k, message, f"sealed {content}", f"{content} tag", h)
    assert ck == given(f"chaining key after message {number}")
    assert mix(h, message[f"sealed {content}"] + message[f"{content} tag"]) == given(f"hash after message {number}")
    return payload


def responded(number: int, initiation: int, sealed: str, tag: str) -> tuple[bytes, list[bytes]]:
    """What the responder has sealed in this message, which answers `initiation`, and the transport keys."""
    message = VALUES[f"message {number}"]
    ck = given(f"chaining key after message {initiation}")
    h = mix(given(f"hash after message {initiation}"), message["ephemeral"])
    (ck,) = kdf(ck, message["ephemeral"], 1)
    (ck,) = kdf(ck, dh("initiator ephemeral private key", message["ephemeral"]), 1)
    (ck,) = kdf(ck, dh("initiator private key", message["ephemeral"]), 1)
    ck, hashed, k = kdf(ck, given("preshared key"), 3)
    h = mix(h, hashed)
    payload = opened(k, message, sealed, tag, h)
    assert ck == given(f"chaining key after message {number}")
    assert mix(h, message.get(sealed, b"") + message[tag]) == given(f"hash after message {number}")
    return payload, kdf(ck, b"", 2)


def test_message_1_opens_as_the_paper_says() -> None:
    assert initiated(1, b"WireGuard v1 zx2c4 Jason@zx2c4.com", "stamp") == given("stamp")


def test_message_2_opens_as_the_paper_says_and_the_transport_keys_follow() -> None:
    payload, keys = responded(2, 1, "", "tag")
    assert payload == b""
    assert keys == [
        given("transport key, initiator to responder"),
        given("transport key, responder to initiator"),
    ]


@pytest.mark.parametrize("owner", ["initiator", "responder"])
@pytest.mark.parametrize("key", ["private key", "ephemeral private key"])
def test_private_keys_are_clamped(owner: str, key: str) -> None:
    private = given(f"{owner} {key}")
    assert private[0] & 7 == 0
    assert private[31] >> 6 == 1


@pytest.mark.parametrize("owner", ["initiator", "responder"])
def test_ephemerals_and_indices_are_those_of_their_owner(owner: str) -> None:
    message = VALUES["message 1" if owner == "initiator" else "message 2"]
    private = X25519PrivateKey.from_private_bytes(given(f"{owner} ephemeral private key"))
    assert message["ephemeral"] == private.public_key().public_bytes_raw()
    assert message["sender"] == given(f"{owner} index")


@pytest.mark.parametrize(
    ("name", "owner"),
    [("message 1", "responder"), ("message 2", "initiator"), ("message 1 with a cookie", "responder")],
)
def test_mac1_is_keyed_with_the_public_key_of_the_receiver(name: str, owner: str) -> None:
    message = VALUES[name]
    key = blake2s(b"mac1----" + given(f"{owner} public key")).digest()
    assert key == given(f"mac1 key of the {owner}")
    assert message["mac1"] == blake2s(whole(message)[:-32], key=key, digest_size=16).digest()


def test_the_cookie_is_a_mac_of_the_source_and_the_key_of_mac2() -> None:
    cookie = blake2s(given("source"), key=given("cookie secret"), digest_size=16).digest()
    again = VALUES["message 1 with a cookie"]
    assert cookie == given("cookie")
    assert given("cookie key") == blake2s(b"cookie--" + given("responder public key")).digest()
    assert again["mac2"] == blake2s(whole(again)[:-16], key=cookie, digest_size=16).digest()


def test_message_3_opens_under_the_subkey_of_its_nonce() -> None:
    message = VALUES["message 3"]
    cipher, nonce = ChaCha20Poly1305(given("cookie subkey")), bytes(4) + message["nonce"][16:]
    sealed = message["sealed cookie"] + message["tag"]
    assert cipher.decrypt(nonce, sealed, VALUES["message 1"]["mac1"]) == given("cookie")


@pytest.mark.parametrize("way", ["initiator to responder", "responder to initiator"])
def test_the_keys_of_message_5_are_derived_from_that_of_message_4(way: str) -> None:
    keys = [given(f"{cipher} key, {way}") for cipher in ("ChaCha20-Poly1305", "AES-256-GCM")]
    assert kdf(given(f"transport key, {way}"), b"tunnel extension 1, message 5", 2) == keys


# ── certificates ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_authority_is_a_hash_of_its_public_key() -> None:
    key = Ed25519PrivateKey.from_private_bytes(given("authority private key")).public_key()
    assert key.public_bytes_raw() == given("authority public key")
    subject_public_key_info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert given("authority") == blake2s(b"tunnel authority" + subject_public_key_info).digest()


@pytest.mark.parametrize(
    ("number", "addressee", "owner"),
    [
        (16, "authority", "authority"),
        (18, "responder", "responder public key"),
        (19, "initiator", "initiator public key"),
    ],
)
def test_mac1_of_a_certified_message_is_keyed_with_whom_it_is_for(number: int, addressee: str, owner: str) -> None:
    message = VALUES[f"message {number}"]
    key = blake2s(b"mac1----" + given(owner)).digest()
    assert key == given(f"mac1 key of the {addressee}")
    assert message["mac1"] == blake2s(whole(message)[:-32], key=key, digest_size=16).digest()


@pytest.mark.parametrize("number", [16, 17, 18, 19])
def test_each_certified_message_has_1200_bytes(number: int) -> None:
    message = VALUES[f"message {number}"]
    assert len(whole(message)) == 1200
    assert message["type"] + message["reserved"] == number.to_bytes(4, "little")


def test_message_16_has_the_index_the_nonce_and_zeros() -> None:
    message = VALUES["message 16"]
    assert (message["sender"], message["nonce"]) == (given("request index"), given("request nonce"))
    assert message["padding"] == bytes(1128)
    assert message["mac2"] == bytes(16)


@pytest.mark.parametrize("owner", ["initiator", "responder"])
def test_a_chain_is_a_certificate_behind_its_length(owner: str) -> None:
    chain = VALUES[f"chain of the {owner}"]
    assert chain["certificate"] == given(f"certificate of the {owner}")
    assert int.from_bytes(chain["length"], "little") == len(chain["certificate"])


def test_message_17_opens_to_the_cookie_and_the_chain() -> None:
    message = VALUES["message 17"]
    assert given("answer key") == blake2s(b"answer--" + given("authority")).digest()
    assert (message["receiver"], message["nonce"]) == (given("request index"), given("answer nonce"))
    cipher, nonce = ChaCha20Poly1305(given("answer subkey")), bytes(4) + message["nonce"][16:]
    answer = cipher.decrypt(nonce, message["sealed answer"] + message["tag"], VALUES["message 16"]["mac1"])
    assert answer == given("cookie") + given("chain of the responder").ljust(1136, b"\0")


def test_message_18_opens_as_message_1_does_to_the_stamp_the_cookie_and_the_chain() -> None:
    payload = initiated(18, b"tunnel v1 certified handshake", "payload")
    assert payload == given("stamp") + given("cookie") + given("chain of the initiator").ljust(1036, b"\0")


def test_mac2_of_message_18_is_keyed_with_the_cookie_of_message_17() -> None:
    message = VALUES["message 18"]
    assert message["mac2"] == blake2s(whole(message)[:-16], key=given("cookie"), digest_size=16).digest()


def test_message_19_opens_as_message_2_does_to_the_chain_and_the_transport_keys_follow() -> None:
    payload, keys = responded(19, 18, "sealed chain", "chain tag")
    assert payload == given("chain of the responder").ljust(1108, b"\0")
    assert keys == [
        given("transport key after message 19, initiator to responder"),
        given("transport key after message 19, responder to initiator"),
    ]


@pytest.mark.parametrize(("number", "owner"), [(18, "initiator"), (19, "responder")])
def test_ephemerals_and_indices_of_certified_messages_are_those_of_their_owner(number: int, owner: str) -> None:
    message = VALUES[f"message {number}"]
    private = X25519PrivateKey.from_private_bytes(given(f"{owner} ephemeral private key"))
    assert message["ephemeral"] == private.public_key().public_bytes_raw()
    assert message["sender"] == given(f"{owner} index")


# ── transport data ───────────────────────────────────────────────────────────────────────────────────────────────────

CONTENTS = {
    "message 4 with the echo request": "echo request",
    "message 4 with the hello of the responder": "hello of the responder",
    "message 4 with the hello of the initiator": "hello of the initiator",
    "message 4, keepalive": None,
    "message 5 with the echo request, AES-256-GCM": "echo request",
    "message 5 with the echo request, ChaCha20-Poly1305": "echo request",
    "message 5, keepalive": None,
    "message 5 with a partial checksum": "packet with a partial checksum",
    **{f"message 5 with slice {number}": f"slice {number}" for number in range(3)},
    "message 4 with the probe": "probe",
    "message 4 with the probe ack": "probe ack",
    "message 4 with the close": "close",
}
"""What each transport message has in it."""


def test_all_transport_messages_are_opened_here() -> None:
    assert CONTENTS.keys() == {name for name in VALUES if "sealed content" in VALUES[name] or "keepalive" in name}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_transport_message_opens_under_its_key(name: str) -> None:
    message, content = VALUES[name], CONTENTS[name]
    is_to_responder = message["receiver"] == given("responder index")
    way = "initiator to responder" if is_to_responder else "responder to initiator"
    sealed = message.get("sealed content", b"") + message["tag"]
    nonce, header = bytes(4) + message["counter"], None
    cipher: ChaCha20Poly1305 | AESGCM = ChaCha20Poly1305(given(f"transport key, {way}"))
    if message["type"] == b"\5":
        header = whole(message)[:16]
        is_aes = bool(message["flags"][0] & 8)
        key = given(f"{'AES-256-GCM' if is_aes else 'ChaCha20-Poly1305'} key, {way}")
        cipher = AESGCM(key) if is_aes else ChaCha20Poly1305(key)
    plain = VALUES[content] if content else {}
    assert cipher.decrypt(nonce, sealed, header) == (whole(plain) if header is None else unpadded(plain))


def test_the_checksums_of_the_echo_request_are_right() -> None:
    packet = unpadded(VALUES["echo request"])
    assert word_sum(packet[:20]) == word_sum(packet[20:]) == 0xFFFF


@pytest.mark.parametrize(
    ("name", "packets"),
    [
        ("frame of all slices", slice(0, 3)),
        ("frame of slices 1 and 2", slice(1, 3)),
        ("frame of slices 0 and 1", slice(0, 2)),
        ("frame of slice 2", slice(2, 3)),
    ],
)
def test_a_kernel_makes_of_a_frame_what_it_would_have_made_of_the_superpacket(name: str, packets: slice) -> None:
    assert cut(given(name)) == SUPERPACKET.packets()[packets]


def test_a_kernel_completes_the_partial_checksum() -> None:
    assert cut(given("frame with a partial checksum")) == [PARTIAL.flow.packet(PARTIAL.payload)]

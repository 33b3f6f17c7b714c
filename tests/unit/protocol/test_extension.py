import pytest

from tunnel.noise.handshake import TransportKeys
from tunnel.protocol.constants import HELLO_ATTEMPTS, HELLO_INTERVAL
from tunnel.protocol.extension import Extension
from tunnel.wire.control import SLICES, Capability, Hello
from tunnel.wire.messages import ExtendedFlag

ALL = Capability(sum(Capability))
NOTHING = Capability(0)
SLICE, LAST, PARTIAL, AES = ExtendedFlag
KEYS = TransportKeys(bytes([1]) * 32, bytes([2]) * 32)
NONCE = bytes(12)


def extension(offered: Capability = ALL, heard: Capability | None = None, *, is_initiator: bool = False) -> Extension:
    made = Extension(KEYS, offered, is_initiator=is_initiator)
    if heard is not None:
        made.consume_hello(Hello(heard, 1400))
    return made


def test_nothing_is_taken_before_the_first_hello() -> None:
    assert extension().takes is None
    assert list(extension().names()) == []


def test_slices_are_taken_by_who_says_so_whatever_we_take_ourselves() -> None:
    assert extension(NOTHING, SLICES | Capability.PARTIAL).takes == SLICES | Capability.PARTIAL


@pytest.mark.parametrize(
    ("ours", "theirs", "flags", "name"),
    [
        (ALL, ALL, AES, "aes-256-gcm"),
        (ALL, SLICES, 0, "chacha20-poly1305"),
        (SLICES, ALL, 0, "chacha20-poly1305"),
        (NOTHING, NOTHING, 0, "chacha20-poly1305"),
    ],
)
def test_aes_is_used_if_both_have_it(ours: Capability, theirs: Capability, flags: int, name: str) -> None:
    made = extension(ours, theirs)
    assert made.flags == flags
    assert next(made.names()) == name


def test_names_say_what_is_in_use() -> None:
    assert list(extension(ALL, ALL).names()) == ["aes-256-gcm", "tcp-slices", "udp-slices", "partial-checksums"]


def test_the_mtu_of_the_other_is_known_after_its_hello() -> None:
    assert extension().remote_mtu == 0
    assert extension(heard=ALL).remote_mtu == 1400


@pytest.mark.parametrize("is_aes", [True, False])
def test_what_one_seals_the_other_opens(is_aes: bool) -> None:
    ours = extension(heard=ALL if is_aes else SLICES)
    theirs = Extension(TransportKeys(KEYS.receive, KEYS.send), ALL, is_initiator=True)
    assert ours.sealer is not None
    sealed = ours.sealer.encrypt(NONCE, b"packet", b"header")
    assert theirs.opener(ours.flags).decrypt(NONCE, sealed, b"header") == b"packet"


def test_each_cipher_and_each_direction_has_a_key_of_its_own() -> None:
    keys = [*extension()._send_keys, *extension()._receive_keys, KEYS.send, KEYS.receive]
    assert len(set(keys)) == 6


@pytest.mark.parametrize("flags", [0, AES, PARTIAL, PARTIAL | AES, SLICE, SLICE | LAST, SLICE | LAST | AES])
def test_who_takes_everything_accepts_every_kind(flags: int) -> None:
    assert extension().accepts(flags)


@pytest.mark.parametrize("flags", [LAST, LAST | AES, SLICE | PARTIAL, LAST | PARTIAL, 15, 16, 16 | AES, 128, 255])
def test_flags_without_sense_are_not_accepted(flags: int) -> None:
    assert not extension().accepts(flags)


@pytest.mark.parametrize(
    ("missing", "flags"),
    [(SLICES, SLICE), (SLICES, SLICE | LAST), (Capability.PARTIAL, PARTIAL), (Capability.AES_256_GCM, AES)],
)
def test_what_was_not_offered_is_not_accepted(missing: Capability, flags: int) -> None:
    assert not extension(ALL & ~missing).accepts(flags)


def test_the_initiator_does_not_say_hello_first() -> None:
    assert not extension(is_initiator=True).is_hello_due(1e9)


def test_the_responder_says_hello_at_most_once_a_second_until_it_is_answered() -> None:
    made = extension()
    assert made.is_hello_due(5.0)
    made.hello_sent(5.0)
    assert not made.is_hello_due(5.0 + HELLO_INTERVAL / 2)
    assert made.is_hello_due(5.0 + HELLO_INTERVAL)
    made.consume_hello(Hello(ALL, 1420))
    assert not made.is_hello_due(1e9)


def test_the_responder_gives_up_who_never_answers() -> None:
    made = extension()
    for second in range(HELLO_ATTEMPTS):
        assert made.is_hello_due(second * HELLO_INTERVAL)
        made.hello_sent(second * HELLO_INTERVAL)
    assert not made.is_hello_due(1e9)

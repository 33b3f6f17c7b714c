from hashlib import blake2s

from tunnel.noise.primitives import kdf1, kdf2, kdf3
from tunnel.noise.symmetric import SymmetricState


def test_a_short_protocol_name_is_padded() -> None:
    state = SymmetricState.initialize(b"Noise_NN_25519_AESGCM_BLAKE2s", b"")
    assert state.ck == b"Noise_NN_25519_AESGCM_BLAKE2s\0\0\0"


def test_a_protocol_name_of_exactly_a_hash_is_taken_as_it_is() -> None:
    assert SymmetricState.initialize(b"n" * 32, b"").ck == b"n" * 32


def test_a_long_protocol_name_is_hashed() -> None:
    assert SymmetricState.initialize(b"n" * 33, b"").ck == blake2s(b"n" * 33).digest()


def test_the_prologue_is_mixed_into_the_hash_only() -> None:
    one = SymmetricState.initialize(b"name", b"one")
    two = SymmetricState.initialize(b"name", b"two")
    assert one.ck == two.ck
    assert one.h != two.h


def test_mix_key_and_mix_chaining_key_go_on_to_the_same_chaining_key() -> None:
    one, two = SymmetricState(b"c" * 32, b"h" * 32), SymmetricState(b"c" * 32, b"h" * 32)
    one.mix_key(b"material")
    two.mix_chaining_key(b"material")
    assert (one.ck, one.k) == kdf2(b"c" * 32, b"material")
    assert two.ck == kdf1(b"c" * 32, b"material") == one.ck


def test_mix_key_and_hash_changes_all_three() -> None:
    state = SymmetricState(b"c" * 32, b"h" * 32)
    state.mix_key_and_hash(b"psk")
    ck, hashed, k = kdf3(b"c" * 32, b"psk")
    assert (state.ck, state.h, state.k) == (ck, blake2s(b"h" * 32 + hashed).digest(), k)


def test_both_sides_agree_after_something_was_encrypted() -> None:
    sender = SymmetricState(b"c" * 32, b"h" * 32, b"k" * 32)
    receiver = sender.copy()
    assert receiver.decrypt_and_hash(sender.encrypt_and_hash(b"hello")) == b"hello"
    assert sender.h == receiver.h != b"h" * 32


def test_what_does_not_decrypt_changes_nothing() -> None:
    state = SymmetricState(b"c" * 32, b"h" * 32, b"k" * 32)
    assert state.decrypt_and_hash(bytes(20)) is None
    assert (state.ck, state.h, state.k) == (b"c" * 32, b"h" * 32, b"k" * 32)


def test_a_copy_goes_its_own_way() -> None:
    state = SymmetricState(b"c" * 32, b"h" * 32, b"k" * 32)
    copy = state.copy()
    copy.mix_key_and_hash(b"material")
    assert (state.ck, state.h, state.k) == (b"c" * 32, b"h" * 32, b"k" * 32)


def test_split_gives_two_keys() -> None:
    assert SymmetricState(b"c" * 32, b"h" * 32).split() == kdf2(b"c" * 32, b"")


def test_a_state_does_not_show_its_secrets() -> None:
    assert "c" * 8 not in repr(SymmetricState(b"c" * 32, b"h" * 32, b"k" * 32))

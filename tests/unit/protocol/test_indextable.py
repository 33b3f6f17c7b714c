from collections.abc import Callable

import pytest

from tunnel.protocol.indextable import IndexTable


def scripted(*numbers: int) -> Callable[[int], bytes]:
    """An rng that returns these numbers in turn."""
    remaining = iter(numbers)
    return lambda size: next(remaining).to_bytes(size, "little")


def test_an_index_is_what_the_rng_drew() -> None:
    assert IndexTable[str](scripted(0xDEADBEEF)).insert("a") == 0xDEADBEEF


def test_an_index_stands_for_its_value() -> None:
    table = IndexTable[str](scripted(1, 2))
    first, second = table.insert("a"), table.insert("b")
    assert (table.lookup(first), table.lookup(second)) == ("a", "b")


def test_an_index_in_use_is_not_given_again() -> None:
    table = IndexTable[str](scripted(7, 7, 7, 8))
    assert (table.insert("a"), table.insert("b")) == (7, 8)
    assert table.lookup(7) == "a"


def test_an_unknown_index_stands_for_nothing() -> None:
    assert IndexTable[str](scripted()).lookup(7) is None


def test_a_replaced_value_keeps_its_index() -> None:
    table = IndexTable[str](scripted(7))
    table.insert("handshake")
    table.replace(7, "keypair")
    assert table.lookup(7) == "keypair"
    assert len(table) == 1


def test_replacing_what_is_not_there_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        IndexTable[str](scripted()).replace(7, "keypair")


def test_a_removed_index_is_free_again() -> None:
    table = IndexTable[str](scripted(7, 7))
    table.insert("a")
    table.remove(7)
    assert table.lookup(7) is None
    assert table.insert("b") == 7


def test_removing_twice_is_harmless() -> None:
    table = IndexTable[str](scripted(7))
    table.insert("a")
    table.remove(7)
    table.remove(7)
    assert len(table) == 0

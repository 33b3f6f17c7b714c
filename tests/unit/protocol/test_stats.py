"""Drop reasons and their counters."""

import re

import pytest

from tunnel.protocol.stats import DropReason, Drops


def test_nothing_has_been_dropped_at_first() -> None:
    drops = Drops()
    assert drops.nonzero() == {}
    assert all(drops[reason] == 0 for reason in DropReason)


def test_drops_are_counted_by_reason() -> None:
    drops = Drops()
    drops.count(DropReason.REPLAYED)
    drops.count(DropReason.REPLAYED, 4)
    drops.count(DropReason.NO_ROUTE)
    assert (drops[DropReason.REPLAYED], drops[DropReason.NO_ROUTE]) == (5, 1)


def test_counting_none_is_no_occurrence() -> None:
    drops = Drops()
    drops.count(DropReason.REPLAYED, 0)
    assert drops.nonzero() == {}


def test_what_is_dropped_of_one_peer_is_dropped_of_the_whole() -> None:
    whole = Drops()
    one, other = Drops(whole), Drops(whole)
    one.count(DropReason.REPLAYED, 2)
    other.count(DropReason.REPLAYED)
    assert [drops[DropReason.REPLAYED] for drops in (one, other, whole)] == [2, 1, 3]


def test_they_are_shown_in_the_order_of_the_enum_whatever_came_first() -> None:
    drops = Drops()
    drops.count(DropReason.TUN_REFUSED)
    drops.count(DropReason.MALFORMED_DATAGRAM)
    assert list(drops.nonzero()) == ["malformed_datagram", "tun_refused"]


@pytest.mark.parametrize("reason", DropReason)
def test_a_reason_has_a_name_for_machines_and_words_for_people(reason: DropReason) -> None:
    assert re.fullmatch("[a-z0-9_]+", reason.value)
    assert reason.value == reason.name.lower()
    assert " " in reason.words

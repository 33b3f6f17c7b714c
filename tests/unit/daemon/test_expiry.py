from logging import ERROR, INFO, WARNING
from math import inf
from typing import Any

import pytest

from tunnel.daemon.expiry import DAY, Expiring, ExpiryWarnings
from tunnel.pki.authority import AUTHORITY_DAYS, BACKDATING, CERTIFICATE_DAYS, CRL_DAYS

START = 1_800_000_000.0
Said = list[tuple[float, int]]


def lasting(days: float, *, what: str = "certificate of laptop", backdating: float = 0) -> Expiring:
    return Expiring(what, "me.pem", START - backdating, START + days * DAY, "renew it: tunnel cert renew")


CERTIFICATE = lasting(CERTIFICATE_DAYS, backdating=BACKDATING)


def watching(*things: Expiring) -> ExpiryWarnings:
    warnings = ExpiryWarnings()
    warnings.watch(things)
    return warnings


def lived_through(*things: Expiring) -> Said:
    """(days before the end of the first, level) of all that is said from START on, asking at each deadline."""
    warnings, said = watching(*things), []
    while (now := warnings.deadline) < inf:
        lines = warnings.due(now)
        assert lines, "a deadline at which there is nothing to say"
        said += [((things[0].not_after - now) / DAY, level) for level, _ in lines]
    return said


def left(days: float, thing: Expiring = CERTIFICATE) -> float:
    """The moment so many days before its end."""
    return thing.not_after - days * DAY


JUST_AFTER: Any = pytest.approx(0, abs=2 / DAY)


def test_a_certificate_is_announced_three_times_and_then_its_end() -> None:
    assert lived_through(CERTIFICATE) == [(30, INFO), (7, WARNING), (1, WARNING), (JUST_AFTER, ERROR)]


def test_an_authority_is_announced_at_the_same_times() -> None:
    assert [days for days, _ in lived_through(lasting(AUTHORITY_DAYS))] == [30, 7, 1, JUST_AFTER]


def test_a_revocation_list_of_thirty_days_says_nothing_at_birth() -> None:
    assert lived_through(lasting(CRL_DAYS)) == [(7, WARNING), (1, WARNING), (JUST_AFTER, ERROR)]


def test_a_list_of_a_week_is_announced_on_its_last_day() -> None:
    assert lived_through(lasting(7)) == [(1, WARNING), (JUST_AFTER, ERROR)]


def test_what_holds_for_a_day_is_announced_in_its_last_third() -> None:
    assert lived_through(lasting(1)) == [(pytest.approx(1 / 3), WARNING), (JUST_AFTER, ERROR)]


def test_nothing_that_was_just_made_is_complained_about() -> None:
    for days in (0.01, 1, 2, 3, 7, 20, 21, 30, 89, 90, 91, 3650):
        assert watching(lasting(days)).due(START) == []


def test_nothing_is_said_before_its_time() -> None:
    warnings = watching(CERTIFICATE)
    assert warnings.due(left(30) - 1) == []
    assert warnings.deadline == left(30)
    assert len(warnings.due(left(30))) == 1


def test_nothing_is_said_twice() -> None:
    warnings = watching(CERTIFICATE)
    assert len(warnings.due(left(7))) == 1
    assert warnings.due(left(7)) == warnings.due(left(6)) == warnings.due(left(8)) == []


def test_a_start_within_several_thresholds_says_the_last_of_them() -> None:
    warnings = watching(CERTIFICATE)
    assert [level for level, _ in warnings.due(left(5))] == [WARNING]
    assert warnings.deadline == left(1)


def test_a_start_after_the_end_says_that_it_has_ended_and_no_more() -> None:
    warnings = watching(CERTIFICATE)
    assert [level for level, _ in warnings.due(left(-100))] == [ERROR]
    assert warnings.deadline == inf


def test_in_its_last_second_it_has_not_expired() -> None:
    warnings = watching(CERTIFICATE)
    (said,) = warnings.due(left(0))
    assert said[0] == WARNING
    assert warnings.due(left(0) + 0.9) == []
    assert [level for level, _ in warnings.due(left(0) + 1)] == [ERROR]


def test_what_was_renewed_is_announced_anew() -> None:
    warnings = watching(CERTIFICATE)
    warnings.due(left(0.5))
    renewed = lasting(180)
    warnings.watch([renewed])
    assert warnings.due(left(0.5)) == []
    assert warnings.deadline == left(30, renewed)


def test_what_stayed_the_same_is_not_announced_again_when_something_else_was_renewed() -> None:
    authority = lasting(100, what="authority 'Example CA'")
    warnings = watching(CERTIFICATE, authority)
    assert len(warnings.due(left(6, authority))) == 2
    warnings.watch([lasting(200), authority])
    assert warnings.due(left(6, authority)) == []
    assert warnings.deadline == left(1, authority)


def test_each_thing_has_its_own_times() -> None:
    later = lasting(CERTIFICATE_DAYS + 1, what="authority 'Example CA'")
    assert [days for days, _ in lived_through(CERTIFICATE, later)] == [
        30,
        29,
        7,
        6,
        1,
        0,
        JUST_AFTER,
        pytest.approx(-1, abs=1e-4),
    ]


def test_nothing_watched_means_nothing_to_say() -> None:
    assert watching().deadline == inf
    assert watching().due(START) == []


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (6.999, "expires in 7 days, at 2027-04-15 08:00 UTC"),
        (1, "expires in 1 day, at 2027-04-15 08:00 UTC"),
        (0.5, "expires in less than a day, at 2027-04-15 08:00 UTC"),
        (0, "expires in less than a day, at 2027-04-15 08:00 UTC"),
        (-3, "expired, at 2027-04-15 08:00 UTC"),
    ],
)
def test_a_line_says_what_where_until_when_and_what_to_do(days: float, words: str) -> None:
    ((_, line),) = watching(CERTIFICATE).due(left(days))
    assert line == f"me.pem: certificate of laptop {words}; renew it: tunnel cert renew"

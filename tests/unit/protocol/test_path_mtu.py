"""What is found out about a path from what is answered, and what asking costs. Nothing here but sizes and times."""

import heapq
import random
from collections.abc import Callable
from itertools import pairwise
from math import inf

import pytest

from tunnel.protocol.path_mtu import (
    CONFIRM_INTERVAL,
    LATE_TIME,
    LIKELY,
    RAISE_LATER,
    SMALL_PROBE,
    PathMtu,
    Probe,
)
from tunnel.protocol.transport import MAX_PACKET

PACKET, OVERHEAD = 1420, 60
FULL = PACKET + OVERHEAD
STEP = 0.01


class Wire:
    """A path that carries `capacity` bytes, and on which large data flows every 10 ms; `sent` are probes and when."""

    def __init__(
        self,
        capacity: int = 1500,
        *,
        round_trip: float = 0.02,
        loss: float = 0.0,
        version: int = 4,
        packet: int = PACKET,
    ) -> None:
        self.mtu = PathMtu()
        self.now = 100.0
        self.capacity = capacity
        self.round_trip = round_trip
        self.loss = loss
        self.version = version
        self.packet = packet
        self.is_answering = True
        self.has_large_data = True
        self.sent: list[tuple[float, Probe]] = []
        self.limits: list[tuple[float, int]] = []
        """Every limit that there was, and since when."""
        self._random = random.Random(1)
        self._answers: list[tuple[float, int]] = []

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        end = self.now + seconds
        while self.now < end and not until():
            if self.has_large_data and self.now >= self.mtu.due:
                self._send(self.mtu.begin(self.packet, OVERHEAD, self.version, self.now))
            answer = self._answers[0][0] if self._answers else inf
            self.now = min(self.now + STEP, answer, max(self.mtu.deadline, self.now))
            while self._answers and self._answers[0][0] <= self.now:
                self._send(self.mtu.answered(heapq.heappop(self._answers)[1], self.now) or [])
            self._send(self.mtu.expire(self.now))
            if not self.limits or self.limits[-1][1] != self.mtu.limit:
                self.limits.append((self.now, self.mtu.limit))

    def _send(self, probes: list[Probe]) -> None:
        for probe in probes:
            self.sent.append((self.now, probe))
            if self.is_answering and probe.size <= self.capacity and self._random.random() >= self.loss:
                heapq.heappush(self._answers, (self.now + self.round_trip, probe.number))

    @property
    def sizes(self) -> list[int]:
        return [probe.size for _, probe in self.sent]

    def seconds_until(self, condition: Callable[[], bool], most: float = 60.0) -> float:
        before = self.now
        self.run(most, condition)
        assert condition()
        return self.now - before


def settled(wire: Wire) -> bool:
    return wire.mtu.is_settled and wire.mtu.is_narrow


# ── a path that is wide enough ───────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_known_and_nothing_limited_at_first() -> None:
    mtu = PathMtu()
    assert (mtu.is_known, mtu.is_narrow, mtu.limit, mtu.deadline) == (False, False, MAX_PACKET, inf)
    assert mtu.due <= 0


def test_a_path_that_is_wide_enough_is_asked_twice_a_second_and_limits_nothing() -> None:
    wire = Wire()
    wire.run(10)
    assert wire.sizes == [SMALL_PROBE] + [FULL] * 20
    assert {limit for _, limit in wire.limits} == {MAX_PACKET}
    assert (wire.mtu.is_known, wire.mtu.size, wire.mtu.max_packet) == (True, FULL, PACKET)
    gaps = [later - before for (before, _), (later, _) in zip(wire.sent[1:], wire.sent[2:], strict=False)]
    assert min(gaps) >= CONFIRM_INTERVAL - 0.001


def test_nothing_is_asked_while_no_large_data_flows() -> None:
    wire = Wire()
    wire.run(1)
    wire.has_large_data = False
    wire.sent.clear()
    wire.run(1000)
    assert wire.sent == []
    assert wire.mtu.deadline == inf


@pytest.mark.parametrize(("packet", "version"), [(500, 4), (1200, 6)])
def test_what_every_path_carries_is_not_asked_for(packet: int, version: int) -> None:
    wire = Wire(packet=packet, version=version)
    wire.run(10)
    assert wire.sent == []


def test_one_lost_probe_is_no_narrow_path() -> None:
    wire = Wire()
    wire.run(2.2)
    wire.loss = 1.0
    wire.run(0.4)  # one is lost
    wire.loss = 0.0
    wire.run(5)
    assert len(wire.limits) == 1


def test_what_is_answered_late_is_no_narrow_path_and_waited_for_longer_from_then_on() -> None:
    wire = Wire()
    wire.run(2)
    wire.round_trip = 0.3
    wire.run(10)
    assert wire.sizes.count(SMALL_PROBE) == 2, "when nothing was known, and once when it seemed lost"
    wire.sent.clear()
    wire.run(5)
    assert len(wire.limits) == 1
    assert set(wire.sizes) == {FULL}


# ── a path that is not ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("capacity", [576, 577, 767, 1000, 1279, 1280, 1281, 1399, 1400, 1401, 1450, 1478, 1479])
def test_a_narrow_path_is_found_to_the_byte(capacity: int) -> None:
    wire = Wire(capacity)
    wire.seconds_until(lambda: settled(wire), 3)
    assert (wire.mtu.size, wire.mtu.limit) == (capacity, capacity - OVERHEAD)


def test_no_limit_is_ever_more_than_the_path_carries_while_it_is_searched() -> None:
    wire = Wire(1333)
    wire.seconds_until(lambda: settled(wire))
    assert all(limit <= 1333 - OVERHEAD or limit == MAX_PACKET for _, limit in wire.limits)


@pytest.mark.parametrize(("round_trip", "most"), [(0.001, 0.85), (0.02, 0.85), (0.1, 1.4), (0.25, 1.99)])
@pytest.mark.parametrize("offset", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
def test_a_path_that_shrinks_is_usable_again_within_two_seconds(round_trip: float, most: float, offset: float) -> None:
    wire = Wire(round_trip=round_trip)
    wire.run(5 + offset)
    wire.capacity = 1280
    assert wire.seconds_until(lambda: wire.mtu.limit <= 1280 - OVERHEAD) < most


def test_a_path_that_is_narrow_from_the_start_is_usable_within_half_a_second() -> None:
    wire = Wire(1280)
    assert wire.seconds_until(lambda: wire.mtu.limit <= 1280 - OVERHEAD) < 0.5


def test_a_path_that_shrinks_again_is_followed() -> None:
    wire = Wire(1400)
    wire.seconds_until(lambda: settled(wire))
    wire.capacity = 1100
    wire.seconds_until(lambda: wire.mtu.is_settled and wire.mtu.size == 1100, 3)


def test_a_path_that_widens_at_once_is_followed_within_two_seconds() -> None:
    wire = Wire(1400)
    wire.seconds_until(lambda: settled(wire))
    wire.capacity = 1500
    assert wire.seconds_until(lambda: not wire.mtu.is_narrow) < 2
    assert wire.mtu.limit == MAX_PACKET


def test_a_path_that_widens_later_is_followed_within_a_minute() -> None:
    wire = Wire(1300)
    wire.seconds_until(lambda: settled(wire))
    wire.run(20)
    wire.capacity = 1450
    assert wire.seconds_until(lambda: wire.mtu.size > 1440, 70) <= RAISE_LATER + 2
    wire.seconds_until(lambda: settled(wire), 5)
    assert wire.mtu.size == 1450


def test_a_narrow_path_that_stays_so_is_hardly_asked_for_more() -> None:
    wire = Wire(1400)
    wire.run(30)
    wire.sent.clear()
    wire.run(600)
    larger = [size for size in wire.sizes if size > 1400]
    assert len(larger) <= 11 * 25
    assert {limit for when, limit in wire.limits if when > 110} <= {1400 - OVERHEAD}


def test_what_is_answered_late_raises_what_was_taken_for_too_much() -> None:
    """The answers to large probes come after the round: a link so slow that its queue holds them."""
    wire = Wire(1500)
    wire.run(2)
    mtu, now = wire.mtu, 200.0
    confirm = mtu.begin(PACKET, OVERHEAD, 4, now)
    burst = mtu.expire(mtu.deadline)
    (small,) = [probe for probe in burst if probe.size == 1280]
    assert mtu.answered(small.number, now + 0.2) == []
    mtu.expire(mtu.deadline)
    assert mtu.limit == 1280 - OVERHEAD
    assert mtu.answered(confirm[0].number, now + 1) == []
    assert (mtu.limit, mtu.is_settled) == (MAX_PACKET, True)


# ── loss ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("loss", "most"), [(0.1, 0.02), (0.5, 0.25)])
def test_loss_hardly_shrinks_a_path_and_not_for_long(loss: float, most: float) -> None:
    """Of probe or answer: 0.5 is what thirty per cent in each direction come to."""
    wire = Wire(1500, loss=loss)
    wire.run(600)
    ends = [when for when, _ in wire.limits[1:]] + [wire.now]
    narrow = [end - since for (since, limit), end in zip(wire.limits, ends, strict=True) if limit < MAX_PACKET]
    assert sum(narrow) < most * 600
    assert wire.mtu.deadline < inf or wire.mtu.due < inf


def test_who_answers_nothing_tells_nothing_and_is_asked_ever_more_rarely() -> None:
    wire = Wire()
    wire.is_answering = False
    wire.run(1000)
    assert {limit for _, limit in wire.limits} == {MAX_PACKET}
    assert not wire.mtu.is_known
    assert set(wire.sizes) == {SMALL_PROBE, FULL}, "no burst towards nobody"
    assert len(wire.sent) <= 2 * (7 + 1000 / 60)


def test_who_answers_small_probes_only_is_asked_ever_more_rarely_too() -> None:
    wire = Wire(500)
    wire.run(600)
    assert wire.mtu.limit == MAX_PACKET
    assert len(wire.sent) <= 16 * (2 + 20)


def test_who_answers_no_more_keeps_what_is_known() -> None:
    wire = Wire(1400)
    wire.seconds_until(lambda: settled(wire))
    wire.is_answering = False
    wire.sent.clear()
    wire.run(1000)
    assert wire.mtu.limit == 1400 - OVERHEAD
    assert len(wire.sent) <= len(LIKELY) + 6 + 2 * (7 + 1000 / 60)


def test_who_answers_again_is_asked_as_before() -> None:
    wire = Wire()
    wire.run(2)
    wire.is_answering = False
    wire.run(10)
    wire.is_answering = True
    wire.run(20)
    wire.sent.clear()
    wire.run(10)
    assert wire.sizes == [FULL] * 20


# ── another path, other sizes ────────────────────────────────────────────────────────────────────────────────────────


def test_on_another_path_nothing_is_known_and_asked_at_once() -> None:
    wire = Wire(1300)
    wire.seconds_until(lambda: settled(wire))
    wire.mtu.reset()
    assert (wire.mtu.limit, wire.mtu.is_known, wire.mtu.due) == (MAX_PACKET, False, -inf)


def test_an_answer_over_the_path_before_says_nothing_of_this_one() -> None:
    mtu = PathMtu()
    probes = mtu.begin(PACKET, OVERHEAD, 4, 1.0)
    mtu.reset()
    assert [mtu.answered(probe.number, 1.1) for probe in probes] == [None, None]
    assert not mtu.is_known


def test_an_answer_that_is_much_too_late_is_none() -> None:
    mtu = PathMtu()
    _, full = mtu.begin(PACKET, OVERHEAD, 4, 1.0)
    assert mtu.answered(full.number, 1.1 + LATE_TIME) is None


def test_nobody_waits_for_what_will_never_come() -> None:
    wire = Wire(1300)
    wire.seconds_until(lambda: settled(wire))
    assert wire.mtu.awaits_answers(wire.now)
    assert not wire.mtu.awaits_answers(wire.now + LATE_TIME)


def test_a_session_in_which_there_is_no_way_to_ask_is_looked_at_ever_more_rarely() -> None:
    mtu, began, looks = PathMtu(), 1.0, [1.0]
    for _ in range(10):
        mtu.put_off(looks[-1] - began, looks[-1])
        looks.append(mtu.due)
    assert [after - before for before, after in pairwise(looks)] == [0.5, 0.5, 1, 2, 4, 8, 16, 32, 60, 60]


def test_numbers_go_on_over_a_reset() -> None:
    mtu = PathMtu()
    before = {probe.number for probe in mtu.begin(PACKET, OVERHEAD, 4, 1.0)}
    mtu.reset()
    assert before.isdisjoint(probe.number for probe in mtu.begin(PACKET, OVERHEAD, 4, 1.0))


def test_a_larger_interface_mtu_asks_for_more() -> None:
    wire = Wire(9000)
    wire.run(1)
    wire.packet = 8900
    wire.run(2)
    assert (wire.mtu.size, wire.mtu.is_narrow) == (8960, False)
    wire.packet = 8990
    wire.run(5)
    assert wire.mtu.size == 9000


# ── answers that make no sense ───────────────────────────────────────────────────────────────────────────────────────


def test_an_answer_to_what_was_never_sent_is_none() -> None:
    wire = Wire(1300)
    wire.seconds_until(lambda: settled(wire))
    state = wire.mtu.size, wire.mtu.due, wire.mtu.deadline
    assert [wire.mtu.answered(number, wire.now) for number in range(30000, 65536, 97)] == [None] * len(
        range(30000, 65536, 97)
    )
    assert (wire.mtu.size, wire.mtu.due, wire.mtu.deadline) == state


def test_an_answer_counts_once() -> None:
    mtu = PathMtu()
    small, full = mtu.begin(PACKET, OVERHEAD, 4, 1.0)
    assert mtu.answered(full.number, 1.1) == []
    assert mtu.answered(full.number, 1.1) is None
    assert mtu.answered(small.number, 1.1) == []


def test_numbers_are_of_16_bits_and_begin_anew() -> None:
    wire = Wire(round_trip=0.001)
    wire.mtu._next = 65530
    wire.run(10)
    assert (max(probe.number for _, probe in wire.sent), wire.sent[-1][1].number) == (65535, 14)


def test_what_is_waited_for_is_bounded() -> None:
    wire = Wire(loss=0.9)
    for _ in range(300):
        wire.run(1)
        assert len(wire.mtu._awaited) < 300

"""Dialling, whatever happens in whatever order: never too often, never silent for long, never two at once."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tunnel.daemon.dialling import COURTSHIP, FIRST_PAUSES, PAUSE, SLOW_AFTER, SLOW_PAUSE, Dialling
from tunnel.endpoint import Endpoint, EndpointName
from tunnel.keys import PublicKey

NAMES = (EndpointName("a.example.com", 51820), EndpointName("b.example.com", 51820), EndpointName("192.0.2.9", 51820))
ENDPOINTS = tuple(Endpoint(f"192.0.2.{number}", 51820) for number in (1, 2, 3, 9))
KEYS = st.sampled_from([PublicKey(bytes([number]) * 32) for number in (1, 2, 3)])
SLACK = 1e-6


@given(steps=st.lists(st.floats(0.0, 20.0), min_size=1, max_size=200))
def test_nobody_is_asked_more_often_than_the_schedule_says(steps: list[float]) -> None:
    now = 50.0
    dialling = Dialling(NAMES[2:], now)
    assert dialling.expire(now) == [ENDPOINTS[3]]
    last, pauses = now, list(FIRST_PAUSES)
    for step in steps:
        now += step
        pause = pauses[0] if pauses else PAUSE if last < 50.0 + SLOW_AFTER else SLOW_PAUSE
        assert dialling.expire(now) == ([ENDPOINTS[3]] if now >= last + pause else [])
        if now >= last + pause:
            last, pauses = now, pauses[1:]


class Conversation(RuleBasedStateMachine):
    """With a driver that does as it is told: wakes up at the deadline, takes whom it may take, removes who yields."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.dialling = Dialling(NAMES, self.now)
        self.under_way: set[EndpointName] = set()
        self.in_place: set[PublicKey] = set()
        self.courted: PublicKey | None = None
        self.courted_at = 0.0
        self.asked: dict[Endpoint, float] = {}
        self.waiting: dict[Endpoint, float] = {}
        self.drive()

    def drive(self) -> None:
        """What is due, as the daemon does it after everything that happens."""
        due = self.dialling.due_lookups(self.now)
        assert not self.under_way.intersection(due), "looked up while a look-up is under way"
        self.under_way.update(due)
        if self.courted is not None and self.now >= self.courted_at + COURTSHIP:
            self.courted = None
        for endpoint in self.dialling.expire(self.now):
            assert self.dialling.names_at(endpoint)
            assert self.now - self.asked.get(endpoint, 0.0) >= FIRST_PAUSES[0] - SLACK, "asked twice within a second"
            self.asked[endpoint] = self.waiting[endpoint] = self.now
        assert self.dialling.deadline > self.now
        self.note()

    def note(self) -> None:
        known = {endpoint for endpoint in ENDPOINTS if self.dialling.names_at(endpoint)}
        self.asked = {endpoint: at for endpoint, at in self.asked.items() if endpoint in known}
        waiting = known if self.dialling.is_asking else set()
        self.waiting = {endpoint: self.waiting.get(endpoint, self.now) for endpoint in waiting}

    def replaced(self, newcomer: PublicKey, removed: PublicKey | None) -> None:
        self.in_place.add(newcomer)
        if removed is not None:
            self.in_place.remove(removed)

    @rule(seconds=st.floats(0.0, 40.0))
    def time_passes(self, seconds: float) -> None:
        end = self.now + seconds
        while self.dialling.deadline <= end:
            self.now = self.dialling.deadline
            self.never_silent_for_long()
            self.drive()
        self.now = end

    @rule(seconds=st.floats(0.0, 10000.0))
    def the_host_sleeps(self, seconds: float) -> None:
        self.now += seconds
        self.drive()

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), endpoints=st.lists(st.sampled_from(ENDPOINTS), max_size=3))
    def dns_answers(self, data: st.DataObject, endpoints: list[Endpoint]) -> None:
        name = data.draw(st.sampled_from(sorted(self.under_way, key=str)))
        self.under_way.remove(name)
        self.dialling.found(name, endpoints, self.now)
        self.note()
        self.drive()

    @rule(endpoint=st.sampled_from(ENDPOINTS), key=KEYS)
    def a_certificate_comes(self, endpoint: Endpoint, key: PublicKey) -> None:
        if self.dialling.takes(endpoint, self.now):
            self.replaced(key, self.dialling.taken(key, endpoint, self.now))
            self.courted, self.courted_at = key, self.now
            self.drive()

    @rule(endpoint=st.sampled_from(ENDPOINTS))
    def a_certificate_is_refused(self, endpoint: Endpoint) -> None:
        if self.dialling.takes(endpoint, self.now):
            self.dialling.refused(endpoint, self.now)
            self.drive()

    @rule(key=KEYS)
    def a_session_is_made(self, key: PublicKey) -> None:
        self.dialling.completed(key)
        self.courted = None if key == self.courted else self.courted
        self.drive()

    @rule(key=KEYS)
    def somebody_comes(self, key: PublicKey) -> None:
        before = self.dialling.peer
        removed = self.dialling.arrived(key)
        if self.dialling.peer != before:
            self.replaced(key, removed)
        self.courted = None
        assert self.dialling.is_connected
        self.drive()

    @rule(key=KEYS)
    def a_handshake_is_unanswered(self, key: PublicKey) -> None:
        self.dialling.unanswered(key, self.now)
        self.courted = None if key == self.courted else self.courted
        self.drive()

    @rule(key=KEYS)
    def a_peer_is_lost(self, key: PublicKey) -> None:
        self.dialling.lost(key, self.now)
        self.in_place.discard(key)
        self.courted = None if key == self.courted else self.courted
        self.drive()

    @rule()
    def something_is_to_be_sent(self) -> None:
        self.dialling.roused(self.now)
        self.drive()

    @invariant()
    def never_silent_for_long(self) -> None:
        assert all(self.now - since <= SLOW_PAUSE + SLACK for since in self.waiting.values())
        assert self.courted is None or self.now - self.courted_at <= COURTSHIP + SLACK
        assert self.dialling.is_connected or self.dialling.is_asking or self.courted is not None

    @invariant()
    def never_two_at_once(self) -> None:
        assert self.in_place == ({self.dialling.peer} if self.dialling.peer else set())
        if self.courted is not None:
            assert self.courted == self.dialling.peer
            assert not any(self.dialling.takes(endpoint, self.now) for endpoint in ENDPOINTS)

    @invariant()
    def silent_while_connected(self) -> None:
        if self.dialling.asked_since is None:
            assert self.dialling.is_connected
            assert not self.dialling.is_asking


TestConversation = Conversation.TestCase

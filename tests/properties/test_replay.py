"""The replay window against a set of all counters that were ever accepted."""

from hypothesis import given
from hypothesis import strategies as st

from tunnel.protocol.constants import REJECT_AFTER_MESSAGES
from tunnel.protocol.replay import WINDOW_SIZE, ReplayWindow


class SetOfCounters:
    """The definition, with unbounded memory."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._greatest = 0

    def accept(self, counter: int) -> bool:
        is_acceptable = (
            counter < REJECT_AFTER_MESSAGES and self._greatest - counter <= WINDOW_SIZE and counter not in self._seen
        )
        if is_acceptable:
            self._seen.add(counter)
            self._greatest = max(self._greatest, counter)
        return is_acceptable


def steps(largest: int) -> st.SearchStrategy[int]:
    """How far a counter is from the one before: mostly little, often about a window or a ring."""
    edges = [edge + off for edge in (64, 256, 8128, 8192, 16384) for off in (-1, 0, 1)]
    near = st.integers(-3, 3) | st.sampled_from(edges) | st.sampled_from(edges).map(lambda edge: -edge)
    return near | st.integers(-largest, largest)


@given(
    start=st.integers(0, 3 * WINDOW_SIZE) | st.just(REJECT_AFTER_MESSAGES - WINDOW_SIZE) | st.integers(0, 2**64 - 1),
    walk=st.lists(steps(3 * WINDOW_SIZE), max_size=60),
)
def test_it_judges_as_a_set_does(start: int, walk: list[int]) -> None:
    replay, model = ReplayWindow(), SetOfCounters()
    counter = start
    for step in [0, *walk]:
        counter = min(max(counter + step, 0), 2**64 - 1)
        would_accept = replay.check(counter)
        assert replay.accept(counter) is model.accept(counter) is would_accept


@given(order=st.permutations(range(200)), repeated=st.lists(st.integers(0, 199)))
def test_every_counter_of_a_shuffled_run_is_accepted_exactly_once(order: list[int], repeated: list[int]) -> None:
    replay = ReplayWindow()
    assert all(replay.accept(counter) for counter in order)
    assert not any(replay.accept(counter) for counter in repeated)


@given(
    runs=st.lists(st.tuples(st.integers(0, 300) | st.integers(0, 3 * WINDOW_SIZE), st.integers(1, 64)), max_size=20),
    back=st.lists(st.integers(0, 2 * WINDOW_SIZE), max_size=20),
)
def test_a_run_counts_as_each_of_its_counters(runs: list[tuple[int, int]], back: list[int]) -> None:
    replay, model = ReplayWindow(), SetOfCounters()
    end = 0
    for gap, count in runs:
        replay.accept_run(end + gap, count)
        assert all(model.accept(counter) for counter in range(end + gap, end + gap + count))
        end += gap + count
    for behind in back:
        counter = max(0, end - behind)
        assert replay.accept(counter) is model.accept(counter)

"""What was recorded on the cable and is sent again gets nothing through, and is counted."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import ping
from tests.netns.hosts import Host, open_pair
from tests.netns.recorder import Recorder, message_type

pytestmark = pytest.mark.root

Pair = tuple[Host, Host]


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    with open_pair(tmp_path) as hosts:
        yield hosts


def count_drops(host: Host, reason: str) -> int:
    count: int = host.status()["drops"].get(reason, 0)
    return count


def count_arrivals(host: Host) -> int:
    """Packets that have come out of the tunnel."""
    statistics = json.loads(host.namespace.ip("-j", "-s", "link", "show", host.interface))
    count: int = statistics[0]["stats64"]["rx"]["packets"]
    return count


def test_recorded_data_is_refused(pair: Pair) -> None:
    left, right = pair
    with Recorder(left.namespace) as recorder:
        ping(left.namespace, right.inner_ipv4, count=20)
        sealed = [frame for frame in recorder.take() if message_type(frame) == 4]
        assert len(sealed) >= 20
        before = count_arrivals(right)
        recorder.inject(sealed)
        eventually(lambda: count_drops(right, "replayed") >= len(sealed), "every replayed datagram is counted")
        assert count_arrivals(right) == before
        ping(left.namespace, right.inner_ipv4)


def test_a_recorded_initiation_is_refused_and_not_answered(pair: Pair) -> None:
    left, right = pair
    with Recorder(left.namespace) as recorder, Recorder(right.namespace) as answers:
        ping(left.namespace, right.inner_ipv4)
        initiations = [frame for frame in recorder.take() if message_type(frame) == 1]
        assert initiations
        answers.take()
        recorder.inject(initiations)
        eventually(lambda: count_drops(right, "replayed_handshake") >= len(initiations), "the replay is counted")
        assert not [frame for frame in answers.take() if message_type(frame) in (2, 3)]
        ping(left.namespace, right.inner_ipv4)


def test_recorded_data_with_one_byte_changed_is_refused(pair: Pair) -> None:
    left, right = pair
    with Recorder(left.namespace) as recorder:
        ping(left.namespace, right.inner_ipv4, count=5)
        sealed = [frame for frame in recorder.take() if message_type(frame) == 4]
        recorder.inject([frame[:-1] + bytes([frame[-1] ^ 1]) for frame in sealed])

        def are_counted() -> bool:
            return count_drops(right, "tag_failed") + count_drops(right, "replayed") >= len(sealed)

        eventually(are_counted, "every changed datagram is counted")
        ping(left.namespace, right.inner_ipv4)

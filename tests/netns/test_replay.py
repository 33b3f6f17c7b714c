"""What was recorded on the cable and is sent again gets nothing through, and is counted."""

import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.netns.eventually import eventually
from tests.netns.flows import ping
from tests.netns.hosts import Host, open_pair
from tests.netns.recorder import Recorder, message_type, with_later_counter
from tunnel.wire.messages import MessageType

pytestmark = pytest.mark.root

Pair = tuple[Host, Host]

DATA = (MessageType.TRANSPORT_DATA, MessageType.EXTENDED_DATA)


class Eavesdropped(NamedTuple):
    """Two hosts that have met, and the initiations of the left one."""

    left: Host
    right: Host
    initiations: list[bytes]


@pytest.fixture(scope="module")
def eavesdropped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Eavesdropped]:
    with open_pair(tmp_path_factory.mktemp("replay")) as (left, right), Recorder(left.namespace) as recorder:
        ping(left.namespace, right.inner_ipv4)
        yield Eavesdropped(left, right, [frame for frame in recorder.take() if message_type(frame) == 1])


@pytest.fixture
def pair(eavesdropped: Eavesdropped) -> Pair:
    return eavesdropped.left, eavesdropped.right


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
        sealed = [frame for frame in recorder.take() if message_type(frame) in DATA]
        assert len(sealed) >= 20
        refused, arrived = count_drops(right, "replayed"), count_arrivals(right)
        recorder.inject(sealed)
        eventually(lambda: count_drops(right, "replayed") >= refused + len(sealed), "every replayed one is counted")
        assert count_arrivals(right) == arrived
    ping(left.namespace, right.inner_ipv4)


def test_a_recorded_initiation_is_refused_and_not_answered(eavesdropped: Eavesdropped) -> None:
    left, right, initiations = eavesdropped
    assert initiations
    with Recorder(left.namespace) as recorder, Recorder(right.namespace) as answers:
        recorder.inject(initiations)
        eventually(lambda: count_drops(right, "replayed_handshake") >= len(initiations), "the replay is counted")
        assert not [frame for frame in answers.take() if message_type(frame) in (2, 3)]
    ping(left.namespace, right.inner_ipv4)


def test_recorded_data_under_new_counters_is_refused(pair: Pair) -> None:
    left, right = pair
    with Recorder(left.namespace) as recorder:
        ping(left.namespace, right.inner_ipv4, count=5)
        sealed = [frame for frame in recorder.take() if message_type(frame) in DATA]
        refused, arrived = count_drops(right, "tag_failed"), count_arrivals(right)
        recorder.inject([with_later_counter(frame) for frame in sealed])
        eventually(lambda: count_drops(right, "tag_failed") >= refused + len(sealed), "every forged one is counted")
        assert count_arrivals(right) == arrived
    ping(left.namespace, right.inner_ipv4)

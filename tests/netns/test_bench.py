"""The benchmark's own promises: a failure is named and stops nobody, and nothing is left behind."""

from pathlib import Path

import pytest

from tests.bench.__main__ import measure_all
from tests.bench.measures import MEASURES
from tests.bench.programs import Program, programs
from tests.bench.topology import Host, ProgramError, await_made
from tests.bench.tunnels import tunnel_of
from tunnel.testing.namespaces import Namespace

pytestmark = pytest.mark.root

PING = [measure for measure in MEASURES if measure.key == "ping"]
BARE = next(program for program in programs() if program.key == "none")


def start_and_die(client: Host, server: Host) -> tuple[()]:
    process = client.start("sh", "-c", "echo my licence has expired; exit 3")
    await_made(lambda: False, "anything", process)
    return ()


@pytest.mark.slow
def test_a_program_that_fails_is_named_with_its_last_words_and_the_next_is_measured() -> None:
    dying = Program("dying", "dying", (), (), start_and_die)
    failed, bare = measure_all([dying, BARE], PING, rounds=1, seconds=1)
    assert failed.rounds == []
    assert "status 3" in failed.failures[0]
    assert "my licence has expired" in failed.failures[0]
    assert set(bare.rounds[0]) == {"ping", "ping-p99"}
    assert not list(Path("/run/netns").glob(f"{Namespace('bench').name}-*"))


def test_a_tunnel_that_passes_nothing_is_not_measured(tmp_path: Path) -> None:
    silent = Program("silent", "silent", (), (), lambda client, server: ())
    with pytest.raises(ProgramError, match="a ping from client to server"), tunnel_of(silent, tmp_path, patience=0):
        pytest.fail("it was taken for a tunnel")


def test_a_missing_program_is_known_before_it_is_started() -> None:
    absent = Program("absent", "absent", ("sh", "no-such-command"), (), start_and_die)
    assert absent.missing() == ["no-such-command"]
    assert BARE.missing() == []


def test_waiting_ends_with_the_process(tmp_path: Path) -> None:
    with Namespace("bench-wait") as namespace:
        host = Host("client", namespace, "192.0.2.1", "10.0.0.1", "bench0", tmp_path)
        with pytest.raises(ProgramError, match="status 0 before it had made its interface"):
            await_made(lambda: False, "its interface", host.start("true"))

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from tests.unit.cli.fake_daemon import fake_daemon
from tests.unit.cli.invoking import error_of, invoke
from tunnel.cli.show import Rate
from tunnel.cli.watch import Look, Rates, draw, looks, print_plain, rates
from tunnel.control.status import InterfaceStatus, PeerStatus

NOW = 1_700_000_000.0
KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="


def _status(received: int, sent: int, **members: object) -> InterfaceStatus:
    peer = PeerStatus(KEY, rx_bytes=received, tx_bytes=sent, **members)  # type: ignore[arg-type]
    return InterfaceStatus("wg0", "ours", 51820, 0, peers=(peer,))


def _look(at: float, *statuses: InterfaceStatus) -> Look:
    return Look(at, NOW + at, statuses)


def _drawn(look: Look, moved: Rates, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(draw(look, moved, console))
    return console.export_text().splitlines()


class _Clock:
    """Its sleep ends the watching after so many looks, as Ctrl-C would."""

    def __init__(self, naps: int) -> None:
        self.now = 100.0
        self.naps = naps

    def sleep(self, seconds: float) -> None:
        if not self.naps:
            raise KeyboardInterrupt
        self.naps -= 1
        self.now += seconds


def _looks(take: Callable[[], Sequence[InterfaceStatus]], naps: int) -> Iterator[tuple[Look, Rates]]:
    clock = _Clock(naps)
    return looks(take, 2.0, monotonic=lambda: clock.now, unix_time=lambda: NOW, sleep=clock.sleep)


# ---- rates ------------------------------------------------------------------------------------------------------


def test_a_rate_is_what_two_looks_differ_by_per_second() -> None:
    assert rates(_look(0, _status(100, 10)), _look(2, _status(2100, 14))) == {("wg0", KEY): Rate(1000.0, 2.0)}


def test_the_first_look_has_no_rates() -> None:
    assert rates(None, _look(0, _status(100, 10))) == {}


def test_counters_that_went_back_give_no_rate() -> None:
    assert rates(_look(0, _status(100, 10)), _look(2, _status(50, 20))) == {}


def test_a_peer_that_is_new_has_no_rate() -> None:
    assert rates(_look(0), _look(2, _status(50, 20))) == {}


def test_the_same_peer_of_two_interfaces_is_two() -> None:
    other = InterfaceStatus("wg1", None, 0, 0, peers=(PeerStatus(KEY),))
    moved = rates(_look(0, _status(0, 0), other), _look(1, _status(8, 0), other))
    assert moved == {("wg0", KEY): Rate(8.0, 0.0), ("wg1", KEY): Rate(0.0, 0.0)}


def test_what_an_answer_takes_is_part_of_the_interval() -> None:
    clock = _Clock(2)
    naps: list[float] = []

    def take() -> list[InterfaceStatus]:
        clock.now += 0.5
        return []

    seen = looks(take, 2.0, monotonic=lambda: clock.now, unix_time=lambda: NOW, sleep=naps.append)
    assert [next(seen)[0].at for _ in range(2)] == [100.5, 101.0]
    assert naps == [2.0]


# ---- what is shown ----------------------------------------------------------------------------------------------


def test_a_peer_is_one_line_with_its_rates() -> None:
    look = _look(2, _status(0, 0, name="gw", endpoint="192.0.2.1:51820", last_handshake=NOW))
    title, _, line = _drawn(look, {("wg0", KEY): Rate(3_000_000.0, 12.0)})[:3]
    assert title == "interface wg0   2.86 MiB/s received, 12 B/s sent"
    assert line.split() == ["gw", "192.0.2.1:51820", "2", "s", "ago", "2.86", "MiB/s", "12", "B/s"]


def test_eighty_columns_are_enough_for_the_longest_of_everything() -> None:
    longest = _status(0, 0, name="n" * 64, endpoint="[2001:db8:1111:2222:3333:4444:5555:6666]:51820", last_handshake=1)
    (line,) = [line for line in _drawn(_look(0, longest), {("wg0", KEY): Rate(2e9, 2e9)}) if "nnn" in line]
    assert len(line) <= 80
    assert line.count("1.86 GiB/s") == 2


def test_peers_that_have_no_room_are_counted() -> None:
    peers = tuple(PeerStatus(str(number), last_handshake=float(number)) for number in range(100))
    lines = _drawn(_look(0, InterfaceStatus("wg0", "ours", 1, 0, peers=peers)), {})
    assert len(lines) <= 24
    assert lines[2].startswith("99…")
    assert any(line == "and 82 more" for line in lines)


def test_nothing_to_watch_is_said() -> None:
    assert _drawn(_look(0), {})[0] == "no interface is up"


def test_without_a_terminal_every_look_is_printed_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    received = iter(range(0, 9000, 3000))
    with pytest.raises(KeyboardInterrupt):
        print_plain(_looks(lambda: [_status(next(received), 0)], naps=1))
    first, second = capsys.readouterr().out.split("--- 2023-11-14T22:13:20Z\n")[1:]
    assert first.startswith("interface: wg0\n")
    assert "rate" not in first
    assert second.count("rate:            1.46 KiB/s received, 0 B/s sent\n") == 2


# ---- the command ------------------------------------------------------------------------------------------------


def test_watching_starts_with_what_is_there(tmp_path: Path) -> None:
    assert error_of(invoke("status", "wg0", "--watch", directory=tmp_path)) == "nothing runs as wg0"


def test_a_name_behind_watch_is_taken_for_seconds_and_refused_with_what_to_write(tmp_path: Path) -> None:
    result = invoke("status", "--watch", "wg0", directory=tmp_path)
    assert result.exit_code == 2
    assert "tunnel status wg0 --watch" in " ".join(result.output.split())


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e9"])
def test_intervals_that_make_no_sense_are_refused(tmp_path: Path, seconds: str) -> None:
    assert invoke("status", f"--watch={seconds}", directory=tmp_path).exit_code == 2


def test_json_is_not_watched(tmp_path: Path) -> None:
    with fake_daemon(tmp_path):
        result = invoke("status", "--json", "--watch", directory=tmp_path)
    assert (result.exit_code, "--json prints once" in result.output) == (2, True)

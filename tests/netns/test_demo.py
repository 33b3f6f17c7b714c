"""`tunnel demo`, as a user starts it; nothing is left after success, Ctrl-C or SIGTERM."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.eventually import eventually
from tests.netns.hosts import BIN, SOCKETS

pytestmark = pytest.mark.root

NAMESPACES = Path("/run/netns")


class Demo:
    """A running demo; it removes itself, and we check that."""

    def __init__(self, *flags: str) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [BIN / "tunnel", "demo", *flags], stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )

    def namespaces(self) -> list[Path]:
        return list(NAMESPACES.glob(f"tunnel-{self.process.pid}-*"))

    def directories(self) -> list[Path]:
        return list(Path(tempfile.gettempdir()).glob(f"tunnel-demo-{self.process.pid}-*"))

    def finish(self, timeout: float = 60) -> tuple[int, str, str]:
        """(exit status, stdout, stderr)."""
        output, errors = self.process.communicate(timeout=timeout)
        return self.process.returncode, output, errors

    def interfaces(self) -> list[str]:
        """Those whose identity it has made."""
        return [path.stem for directory in self.directories() for path in directory.glob("*.pem")]

    def assert_nothing_left(self) -> None:
        assert self.namespaces() == []
        assert self.directories() == []


@pytest.fixture
def started() -> Iterator[Demo]:
    demo = Demo()
    yield demo
    if demo.process.poll() is None:
        demo.process.terminate()
        demo.finish()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing(started: Demo, number: signal.Signals) -> None:
    interfaces = eventually(started.interfaces, "identities are made", 10)
    os.killpg(started.process.pid, number)  # to all of its group, as a terminal does
    status, _, _ = started.finish()
    assert status == 128 + number
    started.assert_nothing_left()
    assert not [name for name in interfaces if (SOCKETS / f"{name}.sock").exists()]


def test_a_failing_demo_names_its_step_and_shows_the_log(started: Demo) -> None:
    left = eventually(
        lambda: [name for name in started.interfaces() if name.startswith("left")], "an identity is made", 10
    )
    right = left[0].replace("left", "right")
    namespace = next(path.name for path in started.namespaces() if path.name.endswith("right"))
    subprocess.run(["ip", "-n", namespace, "link", "add", right, "type", "bridge"], check=True)
    status, output, _ = started.finish()
    assert status == 1
    assert "failed to start a daemon" in output
    assert f"the log of {right}" in output
    started.assert_nothing_left()


@pytest.mark.slow
def test_the_demo_measures_and_leaves_nothing() -> None:
    demo = Demo("--json")
    status, output, errors = demo.finish()
    assert status == 0, errors
    measured = json.loads(output)
    assert measured["ok"]
    assert measured["throughput_mbit_per_s"] > 10
    assert 0 < measured["ping_ipv4_min_ms"] <= measured["ping_ipv4_avg_ms"]
    assert 0 < measured["handshake_ms"] < 1000
    assert measured["datagrams"]["certified_initiation"] >= 1
    assert measured["foreign_frames"] == 0
    assert 0 < measured["revocation_ms"] < 2000
    assert "ca$ tunnel cert revoke" in errors
    assert "why=certificate revoked" in errors
    demo.assert_nothing_left()


def answers(ping: str) -> bool:
    done = subprocess.run([*ping.split(), "-c1", "-W0.2"], check=False, stdout=subprocess.DEVNULL)
    return done.returncode == 0


@pytest.mark.slow
def test_a_kept_demo_can_be_played_with_and_removed_with_the_command_that_it_prints() -> None:
    demo = Demo("--keep")
    status, output, errors = demo.finish()
    assert status == 0, errors
    commands = [line.strip() for line in output.splitlines() if line.startswith("  ") and not line.startswith("  #")]
    (ping,) = [line for line in commands if " ping 10." in line]
    (show,) = [line for line in commands if line.startswith("wg show")]
    (revoke,) = [line for line in commands if " cert revoke " in line]
    (remove,) = [line for line in commands if line.startswith("sh ")]
    assert answers(ping)
    subprocess.run(show.split(), check=True, stdout=subprocess.DEVNULL)
    subprocess.run(revoke.split(), check=True, stdout=subprocess.DEVNULL)
    eventually(lambda: not answers(ping), "the ping of who was revoked is not answered")
    subprocess.run(remove.split(), check=True, stdout=subprocess.DEVNULL)
    demo.assert_nothing_left()
